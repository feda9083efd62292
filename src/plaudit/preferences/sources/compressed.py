"""The bytes of a .gz or .zst file, up to the last one that can be had.

A truncated file gives everything before the break and only then an error, so that the records before it count
and the place of the break is exact. (The readers of `gzip`, `zstandard` and `pyarrow` drop up to a buffer, or
end without a word.)
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from typing import Any

import zstandard

__all__ = ["DECOMPRESSORS", "Decompressed"]

_CHUNK_BYTES = 2**16

DECOMPRESSORS: dict[str, Callable[[], Any]] = {
    ".gz": lambda: zlib.decompressobj(wbits=31),
    ".zst": lambda: zstandard.ZstdDecompressor().decompressobj(),
}
"""Makes the object that decompresses one gzip member or zstd frame."""


class Decompressed(io.RawIOBase):
    """Decompresses as it is read; several members or frames in a row are one stream.

    Raises:
        OSError: The data are broken, or end within a member.
    """

    def __init__(self, raw: io.BufferedIOBase, make: Callable[[], Any]) -> None:
        self._raw = raw
        self._make = make
        self._member: Any = None
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any, /) -> int:
        """Fill the buffer as far as the bytes at hand go; 0 at the end."""
        while not self._ready:
            if not self._advance():
                return 0
        num_bytes = min(len(buffer), len(self._ready))
        buffer[:num_bytes] = self._ready[:num_bytes]
        self._ready = self._ready[num_bytes:]
        return num_bytes

    def close(self) -> None:
        """Close the file below, too."""
        self._raw.close()
        super().close()

    def _advance(self) -> bool:
        """Decompress one more chunk; whether there was one."""
        chunk = self._rest or self._raw.read(_CHUNK_BYTES)
        if not chunk:
            if self._member is not None:
                raise OSError("truncated: it ends within compressed data")
            return False
        self._rest = b""
        if self._member is None:
            chunk = chunk.lstrip(b"\0")  # some archivers pad with zeros between members
            if not chunk:
                return True
            self._member = self._make()
        try:
            self._ready = memoryview(self._member.decompress(chunk))
        except (zlib.error, zstandard.ZstdError) as error:
            raise OSError(f"broken compressed data: {error}") from error
        if self._member.eof:
            self._rest, self._member = self._member.unused_data, None
        return True
