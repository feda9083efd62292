"""Which split a file belongs to, by the hub's rules for names, and which split is meant."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from plaudit.errors import PlauditError

__all__ = ["choose_files", "pick_split", "split_of"]

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


def pick_split(splits: Sequence[str], asked: str | None, where: str) -> str:
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
        return splits[0]
    raise PlauditError(
        f"there are several splits ({names}) and none is called train",
        where=where,
        fix=f"Name one: {where}@{splits[0]}.",
    )


def choose_files(splits: dict[str, list[Path]], asked: str | None, where: str) -> list[Path]:
    """The files of the split; all files where no name tells a split and none was asked for."""
    if asked is None and set(splits) == {""}:
        return splits[""]
    if asked is not None and asked not in splits:
        by_stem = [file for files in splits.values() for file in files if file.name.split(".")[0] == asked]
        if by_stem:
            return by_stem
        asked = _SPLIT_WORDS.get(asked, asked)
    if set(splits) == {""}:
        raise PlauditError(
            f"no file's name tells a split, so none is {asked!r}",
            where=where,
            fix="Leave @split out, or name the file.",
        )
    named = {name: files for name, files in splits.items() if name}
    if asked is None and "" in splits and "train" not in named:
        names = ", ".join(str(file.name) for file in splits[""][:3])
        raise PlauditError(
            f"some files belong to a split ({', '.join(named)}), others to none ({names})",
            where=where,
            fix="Name a split with @split, or name the files.",
        )
    return named[pick_split(list(named), asked, where)]


def split_of(file: Path, root: Path) -> str:
    """The split that a file's or its folders' names tell, "" where they tell none."""
    stem = file.name.split(".")[0]
    shard = _SHARD.match(stem)
    if shard:
        return _SPLIT_WORDS.get(shard["split"], shard["split"])
    inner = file.relative_to(root).parts[:-1] if file.is_relative_to(root) else ()
    for part in (stem, *reversed(inner)):
        words = [_SPLIT_WORDS[word] for word in re.split(r"[^a-z]+", part.lower()) if word in _SPLIT_WORDS]
        if words:
            return words[0]
    return ""
