"""From what a person names (a hub id, a path, a glob, a data set) to the parts to read, in a fixed order.

``name[:config][@split]`` works for hub ids, for folders (``config`` is a folder inside it) and for globs. Files
that are not read, since another split was asked for, are named in the result.
"""

from __future__ import annotations

import difflib
import glob
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from datasets import Dataset, DatasetDict, load_from_disk

from plaudit.errors import PlauditError
from plaudit.preferences.sources.item import Item, Part, Position
from plaudit.preferences.sources.json_array import is_json_array, read_json_array
from plaudit.preferences.sources.lines import read_json_lines
from plaudit.preferences.sources.tabular import read_csv, read_dataset, read_parquet

__all__ = ["DATA_SUFFIXES", "Located", "dataset_part", "is_local", "locate_files", "parse_name", "pick_split"]

DATA_SUFFIXES = (".jsonl", ".json", ".csv", ".tsv", ".parquet")
"""Endings of data files; each also with .gz or .zst behind it."""

_COMPRESSED = (".gz", ".zst")
_NOT_DATA = ("dataset_info.json", "dataset_dict.json", "dataset_infos.json", "state.json", "config.json")
_SHARD = re.compile(r"^(?P<split>[\w.]+?)-\d+-of-\d+$")
_SPLIT_WORDS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
    "valid": "validation",
    "validation": "validation",
    "val": "validation",
    "dev": "validation",
}
"""Words in file and folder names that tell the split (as in the hub's rules)."""


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
    """Whether a name is meant as a path: it exists, has a data file's ending, a wildcard, or a path's look."""
    path = Path(name).expanduser()
    looks = name.startswith(("/", "./", "../", "~")) or name.count("/") > 1 or bool(glob.has_magic(name))
    return path.exists() or looks or _data_suffix(path) is not None


def locate_files(
    name: str, config: str | None, split: str | None, columns: Mapping[str, str]
) -> Located:
    """The parts of a file, folder or glob.

    Raises:
        PlauditError: Nothing is there, no data files are there, or the split is not.
    """
    path = Path(name).expanduser()
    path = path / config if config else path
    if glob.has_magic(name) and not path.exists():
        return _from_folder([Path(found) for found in glob.glob(str(path), recursive=True)], path, split, columns)
    if path.is_file():
        return Located(parts=(_file_part(path, columns),))
    if path.is_dir():
        if (path / "dataset_dict.json").exists() or (path / "state.json").exists():
            return Located(parts=(_saved_part(path, split),))
        return _from_folder(sorted(path.rglob("*")), path, split, columns)
    raise _nothing_there(path)


def dataset_part(dataset: Dataset, name: str, *, place: str | None = None) -> Part:
    """The part of a data set in memory or on disk."""
    return Part(name=place or name, read=lambda position: read_dataset(dataset), place="line")


def pick_split(splits: Mapping[str, object], asked: str | None, where: str) -> str:
    """The split asked for; without one, ``train``, or the only one.

    Raises:
        PlauditError: It is not there, or none was asked for and several are possible.
    """
    names = ", ".join(splits)
    if asked is not None:
        if asked in splits:
            return asked
        raise PlauditError(f"there is no split {asked!r}", where=where, fix=f"Choose one of: {names}.")
    if "train" in splits:
        return "train"
    if len(splits) == 1:
        return next(iter(splits))
    raise PlauditError(
        f"there are several splits ({names}) and none is called train",
        where=where,
        fix=f"Name one: {where}@{next(iter(splits))}.",
    )


def _from_folder(found: list[Path], path: Path, split: str | None, columns: Mapping[str, str]) -> Located:
    root = path if path.is_dir() else Path(glob.escape(str(path)).split("[")[0]).parent
    files = sorted(file for file in found if _is_data_file(file, root))
    if not files:
        raise PlauditError(
            f"there are no data files among the {len(found)} entries",
            where=str(path),
            fix=f"Looked for {', '.join(DATA_SUFFIXES)}, each also with .gz or .zst, in all its folders.",
        )
    splits: dict[str, list[Path]] = {}
    for file in files:
        splits.setdefault(_split_of(file, root), []).append(file)
    chosen = _choose(splits, split, str(path))
    return Located(
        parts=tuple([_file_part(file, columns) for file in chosen]),
        not_read=tuple([str(file) for file in files if file not in chosen]),
    )


def _choose(splits: dict[str, list[Path]], asked: str | None, where: str) -> list[Path]:
    """The files of the split; all files where no name tells a split and none was asked for."""
    if asked is None and set(splits) == {""}:
        return splits[""]
    if asked is not None and asked not in splits:
        by_stem = [file for files in splits.values() for file in files if file.name.split(".")[0] == asked]
        if by_stem:
            return by_stem
        asked = _SPLIT_WORDS.get(asked, asked)
    named = {name: files for name, files in splits.items() if name}
    if asked is None and "" in splits and "train" not in named:
        names = ", ".join(str(file.name) for file in splits[""][:3])
        raise PlauditError(
            f"some files belong to a split ({', '.join(named)}), others to none ({names})",
            where=where,
            fix="Name a split with @split, or name the files.",
        )
    return named[pick_split(named, asked, where)]


def _split_of(file: Path, root: Path) -> str:
    """The split that a file's or its folders' names tell, "" where they tell none."""
    stem = file.name.split(".")[0] if _data_suffix(file) else file.stem
    shard = _SHARD.match(stem)
    if shard:
        return _SPLIT_WORDS.get(shard["split"], shard["split"])
    inner = file.relative_to(root).parts[:-1] if file.is_relative_to(root) else ()
    for part in (stem, *reversed(inner)):
        words = [_SPLIT_WORDS[word] for word in re.split(r"[^a-z]+", part.lower()) if word in _SPLIT_WORDS]
        if words:
            return words[0]
    return ""


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
    readers = {
        ".jsonl": read_json_lines,
        ".json": read_json_array if is_array else read_json_lines,
        ".csv": partial(read_csv, delimiter=",", columns=columns),
        ".tsv": partial(read_csv, delimiter="\t", columns=columns),
        ".parquet": read_parquet,
    }
    return Part(
        name=str(path),
        read=partial(_read_file, readers[suffix], path),
        place="element" if is_array or suffix == ".parquet" else "line",
        num_bytes=path.stat().st_size,
    )


def _read_file(reader: partial[Iterator[Item]] | object, path: Path, position: Position) -> Iterator[Item]:
    return reader(path, position)  # pyright: ignore[reportCallIssue]


def _saved_part(path: Path, split: str | None) -> Part:
    """A folder written by `datasets.save_to_disk`."""
    saved = load_from_disk(str(path))
    if isinstance(saved, DatasetDict):
        name = pick_split(saved, split, str(path))
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
