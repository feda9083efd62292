"""Rewards on disk as they come: what was scored once is not scored again, whatever interrupts the run.

Guarantees: a reward that `RewardStore.append` has returned for is on disk; a chunk that was cut short, or whose bytes
are not those that were written, is dropped and not read; rewards of another model are never read. Each process of a
run writes a file of its own, so that nothing is locked.

A file is an Arrow stream, one record batch for each chunk, with the chunk's checksum and cost in the batch's metadata.
"""

from __future__ import annotations

import logging
import math
import os
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

__all__ = ["Cost", "RewardStore", "StoredRewards"]

SUFFIX = ".arrows"
"""An Arrow stream, as the format's makers name it."""

KEY_BYTES = 16

_SCHEMA = pa.schema(
    [
        pa.field("key", pa.binary(KEY_BYTES), nullable=False),  # hash of what was scored
        pa.field("reward", pa.float64(), nullable=False),
    ]
)

_DAMAGE = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError)
"""What reading a file raises whose bytes are not those that were written."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What scoring some sequences took. Costs add up."""

    num_sequences: int = 0
    """Sequences scored."""
    num_tokens_given: int = 0
    """Sum of their lengths; 0 where nobody counted."""
    num_tokens_computed: int = 0
    """Tokens that went through the model."""
    num_truncated: int = 0
    """Sequences that a server cut to its own length limit."""
    seconds: float = 0.0
    """Time to score; where several processes score at a time, each chunk counts its share."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            num_sequences=self.num_sequences + other.num_sequences,
            num_tokens_given=self.num_tokens_given + other.num_tokens_given,
            num_tokens_computed=self.num_tokens_computed + other.num_tokens_computed,
            num_truncated=self.num_truncated + other.num_truncated,
            seconds=self.seconds + other.seconds,
        )

    def share(self, num_sequences: int) -> Cost:
        """The part of the cost that so many of its sequences stand for; truncated ones are rounded up."""
        part = num_sequences / self.num_sequences if self.num_sequences else 0.0
        return Cost(
            num_sequences=num_sequences,
            num_tokens_given=round(self.num_tokens_given * part),
            num_tokens_computed=round(self.num_tokens_computed * part),
            num_truncated=min(num_sequences, math.ceil(self.num_truncated * part)),
            seconds=self.seconds * part,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredRewards:
    """What a store knows of some sequences."""

    rewards: Float[np.ndarray, " sequence"]
    """float64; NaN for those that it does not know."""
    cost: Cost
    """What scoring the known ones took, when it was done."""


class RewardStore:
    """The rewards of one model in a folder.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with RewardStore(Path(folder), "the model") as store:
    ...         store.append([b"a" * 16], np.array([0.5]), Cost(num_sequences=1))
    ...     RewardStore(Path(folder), "the model").rewards_of([b"b" * 16, b"a" * 16]).rewards.tolist()
    [nan, 0.5]
    """

    def __init__(self, folder: Path, fingerprint: str, *, forget: bool = False) -> None:
        """
        Args:
            folder: Where the files are; made when the first chunk is written.
            fingerprint: What the rewards belong to: the model, as `plaudit.evaluation.fingerprint` names it.
            forget: Know nothing of what was written before; it stays, and what is written now counts later.
        """
        self.folder = folder
        self.fingerprint = fingerprint
        self.forget = forget
        self._file: IO[bytes] | None = None
        self._writer: pa.ipc.RecordBatchStreamWriter | None = None

    def __enter__(self) -> RewardStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rewards_of(self, keys: Sequence[bytes]) -> StoredRewards:
        """What is known of sequences with these keys."""
        index_of = {key: index for index, key in enumerate(keys)}
        rewards = np.full(len(keys), np.nan)
        cost = Cost()
        for found_keys, found, chunk_cost in self._chunks():
            indices = np.array([index_of.get(key, -1) for key in found_keys], dtype=np.int64)
            is_new = indices >= 0
            is_new[is_new] = np.isnan(rewards[indices[is_new]])
            rewards[indices[is_new]] = found[is_new]
            cost += chunk_cost.share(int(np.count_nonzero(is_new)))
        return StoredRewards(rewards=rewards, cost=cost)

    def append(self, keys: Sequence[bytes], rewards: Float[np.ndarray, " sequence"], cost: Cost) -> None:
        """Write a chunk; on disk when this returns."""
        if not keys:
            return
        batch = pa.record_batch(
            [pa.array(keys, type=pa.binary(KEY_BYTES)), pa.array(rewards.astype(np.float64))], schema=_SCHEMA
        )
        writer, file = self._open()
        values = {
            "checksum": _checksum(keys, rewards),
            "num_tokens_given": cost.num_tokens_given,
            "num_tokens_computed": cost.num_tokens_computed,
            "num_truncated": cost.num_truncated,
            "seconds": cost.seconds,
        }
        writer.write_batch(batch, custom_metadata={name: repr(value) for name, value in values.items()})
        file.flush()
        os.fsync(file.fileno())

    def close(self) -> None:
        """Write the end of this process's file, if it has one."""
        if self._writer is not None and self._file is not None:
            self._writer.close()
            self._file.close()
        self._writer = self._file = None

    def _open(self) -> tuple[pa.ipc.RecordBatchStreamWriter, IO[bytes]]:
        if self._writer is None or self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = f"{self.fingerprint[:16]}-{time.time_ns()}-{os.getpid()}{SUFFIX}"
            self._file = (self.folder / name).open("xb")
            schema = _SCHEMA.with_metadata({"plaudit.rewards.of": self.fingerprint})
            self._writer = pa.ipc.new_stream(self._file, schema)
            _sync_folder(self.folder)
        return self._writer, self._file

    def _chunks(self) -> Iterator[tuple[list[bytes], np.ndarray, Cost]]:
        """The latest files first: where a sequence was scored again, that reward counts."""
        num_others = 0
        paths = [] if self.forget else sorted(self.folder.glob(f"*{SUFFIX}"), key=_when, reverse=True)
        for path in paths:
            try:
                # Read whole: a file that shrinks under a memory map ends the process.
                reader = pa.ipc.open_stream(pa.py_buffer(path.read_bytes()))
                found = (reader.schema.metadata or {}).get(b"plaudit.rewards.of", b"").decode()
            except _DAMAGE:
                continue  # killed before the file had a beginning: no chunk is lost
            if found != self.fingerprint:
                num_others += 1
                continue
            yield from _whole_chunks(reader, path)
        if num_others:
            log.info("%s: %d files hold rewards of another model and are left alone", self.folder, num_others)


def _when(path: Path) -> str:
    return path.name.partition("-")[2]


def _whole_chunks(
    reader: pa.ipc.RecordBatchStreamReader, path: Path
) -> Iterator[tuple[list[bytes], np.ndarray, Cost]]:
    """Up to the first chunk that is not whole: nothing was written behind it."""
    while True:
        try:
            batch, metadata = reader.read_next_batch_with_custom_metadata()
        except StopIteration:
            return
        except _DAMAGE:
            log.info("%s: its last chunk was cut short or is damaged, and is scored again", path)
            return
        try:
            chunk = _checked(batch, _as_numbers(metadata))
        except _DAMAGE:
            log.warning("%s: a chunk is damaged; it and what follows is scored again", path)
            return
        yield chunk


def _checked(batch: pa.RecordBatch, values: Mapping[str, Any]) -> tuple[list[bytes], np.ndarray, Cost]:
    """A chunk as it was written.

    Raises:
        Any of `_DAMAGE`: its bytes are others.
    """
    batch.validate(full=True)
    keys, rewards = batch["key"].to_pylist(), batch["reward"].to_numpy()
    if values["checksum"] != _checksum(keys, rewards):
        raise ValueError("the checksum is another")
    cost = Cost(
        num_sequences=len(keys),
        num_tokens_given=int(values["num_tokens_given"]),
        num_tokens_computed=int(values["num_tokens_computed"]),
        num_truncated=int(values["num_truncated"]),
        seconds=float(values["seconds"]),
    )
    return keys, rewards, cost


def _as_numbers(metadata: Mapping[bytes, bytes] | None) -> dict[str, float]:
    return {name.decode(): float(value) for name, value in (metadata or {}).items()}


def _checksum(keys: Sequence[bytes], rewards: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(rewards, dtype="<f8").tobytes(), zlib.crc32(b"".join(keys)))


def _sync_folder(folder: Path) -> None:
    """Make the file's name as durable as its content."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
