"""From what a person names (a hub id, a path, a glob, a data set) to the parts to read, in a fixed order.

``name[:config][@split]`` works for hub ids, for folders (``config`` is a folder inside it) and for globs.
Files that are not read, since another split was asked for, are named in the result.
"""

from __future__ import annotations

import difflib
import glob
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from datasets import Dataset, DatasetDict, load_from_disk

from plaudit.errors import PlauditError
from plaudit.preferences.sources.item import Items, Part, Position
from plaudit.preferences.sources.json_array import is_json_array, read_json_array
from plaudit.preferences.sources.lines import read_json_lines
from plaudit.preferences.sources.splits import choose_files, pick_split, split_of
from plaudit.preferences.sources.tabular import read_csv, read_dataset, read_parquet

__all__ = ["DATA_SUFFIXES", "Located", "dataset_part", "is_local", "locate_files", "parse_name"]

DATA_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
"""Endings of data files; each also with .gz or .zst behind it."""

_COMPRESSED = (".gz", ".zst")
_NOT_DATA = ("dataset_info.json", "dataset_dict.json", "dataset_infos.json", "state.json", "config.json")


@dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    """The parts of a source."""

    parts: tuple[Part, ...]
    """In the order in which they are read."""
    not_read: tuple[str, ...] = ()
    """Files that belong to other splits."""


def parse_name(name: str) -> tuple[str, str | None, str | None]:
    """Name, config and split of ``name[:config][@split]``. An existing path is all name.

    >>> parse_name("org/data:helpful@test")
    ('org/data', 'helpful', 'test')
    """
    if Path(name).exists():
        return name, None, None
    base, _, split = name.partition("@") if name.count("@") == 1 else name.rpartition("@")
    if not base:
        base, split = split, ""
    if Path(base).exists():
        return base, None, split or None
    stem, _, config = base.partition(":")
    return stem, config or None, split or None


def is_local(name: str) -> bool:
    """Whether a name means a path: it exists, or has a data file's ending, a wildcard, or a path's form."""
    path = Path(name).expanduser()
    looks = name.startswith(("/", "./", "../", "~")) or name.count("/") > 1 or bool(glob.has_magic(name))
    return path.exists() or looks or _data_suffix(path) is not None


def locate_files(name: str, config: str | None, split: str | None, columns: Mapping[str, str]) -> Located:
    """The parts of a file, folder or glob.

    Raises:
        PlauditError: Nothing is there, no data files are there, or the split is not.
    """
    path = Path(name).expanduser()
    path = path / config if config else path
    if glob.has_magic(name) and not path.exists():
        return _from_glob(path, split, columns)
    if path.is_file():
        return Located(parts=(_file_part(path, columns),))
    if path.is_dir():
        if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
            return Located(parts=(_saved_part(path, split),))
        return _from_folder(path, split, columns)
    raise _nothing_there(path)


def dataset_part(dataset: Dataset, name: str) -> Part:
    """The part of a data set in memory or on disk."""
    return Part(name=name, read=lambda position: read_dataset(dataset), place="line")


def _from_glob(path: Path, split: str | None, columns: Mapping[str, str]) -> Located:
    """All matches, since the person chose them; of one split where one is asked for."""
    found = [Path(match) for match in glob.glob(str(path), recursive=True)]
    plain = [part for part, _ in zip(path.parts, _until_magic(path), strict=False)]
    root = Path(*plain)
    return _located(_data_files(found, path, root), root, path, split, columns, takes_all=split is None)


def _until_magic(path: Path) -> Iterator[str]:
    for part in path.parts:
        if glob.has_magic(part):
            return
        yield part


def _from_folder(path: Path, split: str | None, columns: Mapping[str, str]) -> Located:
    return _located(_data_files(list(path.rglob("*")), path, path), path, path, split, columns)


def _data_files(found: list[Path], path: Path, root: Path) -> list[Path]:
    files = sorted(file for file in found if _is_data_file(file, root))
    if not files:
        raise PlauditError(
            f"there are no data files among the {len(found)} entries",
            where=str(path),
            fix=f"Looked for {', '.join(DATA_SUFFIXES)}, each also with .gz or .zst, in all its folders.",
        )
    return files


def _located(
    files: list[Path],
    root: Path,
    path: Path,
    split: str | None,
    columns: Mapping[str, str],
    *,
    takes_all: bool = False,
) -> Located:
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(split_of(file, root), []).append(file)
    chosen = files if takes_all else choose_files(splits, split, str(path))
    return Located(
        parts=tuple([_file_part(file, columns) for file in chosen]),
        not_read=tuple([str(file) for file in files if file not in chosen]),
    )


def _is_data_file(file: Path, root: Path) -> bool:
    inner = file.relative_to(root).parts if file.is_relative_to(root) else file.parts[-1:]
    if any(part.startswith((".", "_")) for part in inner) or file.name in _NOT_DATA:
        return False
    return _data_suffix(file) is not None and file.is_file()


def _data_suffix(path: Path) -> str | None:
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in _COMPRESSED:
        suffixes.pop()
    return suffixes[-1] if suffixes and suffixes[-1] in DATA_SUFFIXES else None


def _file_part(path: Path, columns: Mapping[str, str]) -> Part:
    suffix = _data_suffix(path)
    if suffix is None:
        raise PlauditError(
            f"the ending {''.join(path.suffixes) or '(none)'} is of no format that is read",
            where=str(path),
            fix=f"Rename or convert the file: {', '.join(DATA_SUFFIXES)}, each also with .gz or .zst.",
        )
    is_array = suffix == ".json" and is_json_array(path)
    readers: dict[str, Callable[[Path, Position], Items]] = {
        ".jsonl": read_json_lines,
        ".json": read_json_array if is_array else read_json_lines,
        ".csv": partial(read_csv, delimiter=",", columns=columns),
        ".tsv": partial(read_csv, delimiter="\t", columns=columns),
        ".parquet": read_parquet,
    }
    return Part(
        name=str(path),
        read=partial(readers[suffix], path),
        place="element" if is_array or suffix == ".parquet" else "line",
        num_bytes=path.stat().st_size,
    )


def _saved_part(path: Path, split: str | None) -> Part:
    """A folder written by `datasets.save_to_disk`."""
    saved = load_from_disk(str(path))
    if isinstance(saved, DatasetDict):
        name = pick_split(list(map(str, saved)), split, str(path))
        return dataset_part(saved[name], f"{path}[{name}]")
    if split is not None and str(saved.split) != split:
        raise PlauditError(
            f"the saved data set has no splits (it is {saved.split or 'one table'}), so no {split!r}",
            where=str(path),
            fix="Leave @split out.",
        )
    return dataset_part(saved, str(path))


def _nothing_there(path: Path) -> PlauditError:
    folder = path.parent
    names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=3)
    fix = f"Did you mean {' or '.join(near)}?" if near else "Check the path."
    where = "" if folder.is_dir() else f" (nor its folder {folder})"
    return PlauditError(f"there is no such file or folder{where}", where=str(path), fix=fix)
