"""The tensors of a model folder, one at a time: names, shapes and dtypes without loading, values on request.

Safetensors files are read by their headers. Pickle files (``.bin``) are mapped into memory and read with
``weights_only=True`` alone: one with anything but tensors in it is an error, and nothing in it is ever run.
"""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from plaudit.errors import PlauditError

__all__ = ["ADAPTER", "TRL_VALUE_HEAD", "VALUE_HEAD", "WHOLE", "TensorFiles", "shard_names", "weight_files"]

SAFETENSORS_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "BOOL": torch.bool,
    "C64": torch.complex64,
    "F8_E8M0": torch.float8_e8m0fnu,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
"""Names in the header of a safetensors file (its documentation)."""

WHOLE = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Weights of a model in the order in which transformers looks for them."""
ADAPTER = ("adapter_model.safetensors", "adapter_model.bin")
"""Weights of an adapter in the order in which peft looks for them."""
VALUE_HEAD = ("value_head.safetensors", "value_head.bin")
"""A value head beside them, in the order in which LLaMA-Factory looks for it."""
TRL_VALUE_HEAD = "pytorch_model.bin"
"""The file of TRL's value head beside an adapter."""


class TensorFiles:
    """The tensors of a folder by name, read when asked for.

    Where two files have a tensor of one name, the first file's counts.

    >>> files = TensorFiles("my-reward-model")  # doctest: +SKIP
    >>> files.shape("score.weight"), files.tensor("score.weight").norm()  # doctest: +SKIP
    """

    def __init__(self, path: str | Path, *, files: Iterable[Path] | None = None) -> None:
        """
        Args:
            path: The folder.
            files: Which files of it; None takes those of `weight_files`.

        Raises:
            PlauditError: A file is missing, damaged, or holds code.
        """
        self.path = Path(path)
        self.files = tuple(weight_files(self.path) if files is None else files)
        self._file_of: dict[str, Path] = {}
        self._headers: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
        self._in_memory: tuple[Path, Mapping[str, Tensor]] | None = None
        for file in self.files:
            for name, header in _headers_of(file).items():
                if name not in self._file_of:
                    self._file_of[name], self._headers[name] = file, header

    def names(self) -> list[str]:
        """Names of all tensors, in the order of the files."""
        return list(self._file_of)

    def __contains__(self, name: object) -> bool:
        return name in self._file_of

    def __len__(self) -> int:
        return len(self._file_of)

    def file_of(self, name: str) -> Path:
        """The file that a tensor is in."""
        return self._file_of[name]

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, from the header."""
        return self._headers[name][0]

    def dtype(self, name: str) -> torch.dtype:
        """A tensor's dtype, from the header."""
        return self._headers[name][1]

    def num_bytes(self, name: str) -> int:
        """The size of a tensor's values in bytes."""
        count = 1
        for size in self.shape(name):
            count *= size
        return count * self.dtype(name).itemsize

    def tensor(self, name: str) -> Tensor:
        """One tensor, on the CPU as stored, in memory of its own."""
        file = self._file_of[name]
        if file.suffix == ".safetensors":
            with safe_open(file, framework="pt") as tensors:
                return tensors.get_tensor(name)
        if _is_zip(file):
            # Mapped, and mapped anew each time: pages that were read are given back with the mapping.
            return _unpickled(file)[name].clone()
        # A pickle of torch before 1.6 cannot be mapped: it is read whole, so the last one is kept.
        if self._in_memory is None or self._in_memory[0] != file:
            self._in_memory = None  # never two at a time
            self._in_memory = (file, _unpickled(file))
        return self._in_memory[1][name].clone()


def weight_files(path: Path) -> tuple[Path, ...]:
    """The files that hold a folder's weights: a value head, then the adapter or model beside it.

    A model's files are those that transformers would read; other files of safetensors count only where there are none
    (Mistral's ``consolidated.safetensors`` is a second copy). Beside an adapter's file a model's do not count: an
    earlier save left them. TRL's value head does, which is in ``pytorch_model.bin`` there.

    Raises:
        PlauditError: The index is none, or names files that are not there.
    """
    is_adapter = (path / "adapter_config.json").is_file()
    found: list[Path] = []
    if is_adapter:
        found += [path / name for name in ADAPTER if (path / name).is_file()][:1]
    heads = [path / name for name in VALUE_HEAD if (path / name).is_file()][:1]
    if found:
        beside = path / TRL_VALUE_HEAD
        if beside.is_file() and any(name.startswith("v_head.") for name in _headers_of(beside)):
            found.append(beside)
    elif whole := next((path / name for name in WHOLE if (path / name).is_file()), None):
        found += _shards(whole) if whole.suffix == ".json" else [whole]
    elif not is_adapter:
        found += sorted(file for file in path.glob("*.safetensors") if file.name not in VALUE_HEAD)
    return (*heads, *found)


def shard_names(index: Path) -> list[str]:
    """The names of the weight files that an index lists, in order.

    Raises:
        PlauditError: It is no index, or one of files that are not beside it.
    """

    def no_index(why: str) -> PlauditError:
        return PlauditError(f"not an index of weight files ({why})", where=str(index), fix="Copy it again.")

    try:
        content: Any = json.loads(index.read_text(encoding="utf-8"))
    except ValueError as error:
        raise no_index(f"{type(error).__name__}: {error}") from error
    weight_map = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(weight_map, dict):
        raise no_index("no weight_map from tensors to files in it")
    for file in weight_map.values():
        if not isinstance(file, str) or Path(file).name != file or "\\" in file:
            raise no_index(f"{file!r} is no name of a file beside it")
    return sorted(set(weight_map.values()))


def _shards(index: Path) -> list[Path]:
    shards = shard_names(index)
    missing = [shard for shard in shards if not (index.parent / shard).is_file()]
    if missing:
        raise PlauditError(
            f"{len(missing)} of {len(shards)} weight files are missing: {', '.join(missing[:5])}",
            where=str(index),
            fix="Copy or download the missing files.",
        )
    return [index.parent / shard for shard in shards]


# One file ----------------------------------------------------------------------------------------------------


def _headers_of(file: Path) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    if file.suffix != ".safetensors":
        return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in _unpickled(file).items()}
    try:
        with safe_open(file, framework="pt") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 (no mapping)
            return {
                name: (tuple(part.get_shape()), SAFETENSORS_DTYPES[part.get_dtype()])
                for name, part in slices.items()
            }
    except KeyError as error:
        raise PlauditError(
            f"tensors of the type {error.args[0]}, which torch does not have",
            where=str(file),
            fix="Give the model in another precision.",
        ) from error
    except (SafetensorError, OSError) as error:
        raise _damaged(file, error) from error


def _unpickled(file: Path) -> Mapping[str, Tensor]:
    """The state dict of a pickle file, mapped into memory where the file's layout lets it."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of other versions of the pickle protocol
            content: Any = torch.load(file, map_location="cpu", weights_only=True, mmap=_is_zip(file))
    except pickle.UnpicklingError as error:
        # The text of torch's error recommends to run the code; it is not passed on.
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise PlauditError(
            f"holds {f'code ({named[1]})' if named else 'something else'}, not only tensors; nothing in it was run",
            where=str(file),
            fix="Do not load it by other means. Ask for the weights as safetensors.",
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError) as error:
        raise _damaged(file, error) from error
    content = content.get("state_dict", content) if isinstance(content, dict) else content
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise PlauditError(
            f"holds {type(content).__name__}, not tensors by name",
            where=str(file),
            fix="Copy the model again.",
        )
    return content


def _is_zip(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def _damaged(file: Path, error: Exception) -> PlauditError:
    reason = f"{type(error).__name__}: {error}".split(". ")[0].splitlines()[0]
    return PlauditError(
        f"unreadable weights ({reason})",
        where=str(file),
        fix="The file is damaged or was copied in part: copy it again.",
    )
