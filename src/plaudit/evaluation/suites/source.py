"""Where a suite's rows are: its hub id, another one of the same schema, or local files laid out like it.

A suite may consist of several parts, each a split or a hub id of its own. Local files belong to a part by their
name or a folder's, with or without the numbers of shards; where no name tells a part, all files are read and their
rows have to say what they are. Files that are not read are named in the report.
"""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

from datasets import DatasetDict, load_from_disk
from huggingface_hub import snapshot_download

from plaudit.errors import PlauditError
from plaudit.preferences import PreferenceGroup, Preferences
from plaudit.preferences.attributes import AskedAttributes
from plaudit.preferences.bad_record import BadRecord, BadRecordPolicy
from plaudit.preferences.pipeline import Reading
from plaudit.preferences.reading import finish_table
from plaudit.preferences.report import Tally
from plaudit.preferences.sources.hub import load_hub
from plaudit.preferences.sources.item import BLANK, Items, Part, Position
from plaudit.preferences.sources.locate import Located, dataset_part, is_local, locate_files, parse_name
from plaudit.preferences.sources.splits import split_of
from plaudit.preferences.store import TableWriter, new_table_path

__all__ = ["RowReader", "SuitePart", "read_suite"]

_SHARD = re.compile(r"-\d+-of-\d+$")


@dataclass(frozen=True, kw_only=True, slots=True)
class SuitePart:
    """One split of a suite's data on the hub, and what it is called on disk."""

    name: str
    """What the suite calls it."""
    hub_id: str
    """The data set on the hub."""
    split: str | None
    """Its split there; None for a repository of plain files, which are downloaded as they are."""
    aliases: tuple[str, ...] = ()
    """Names of files or folders that mean this part, besides ``name``; the end of ``hub_id`` means it, too,
    where no other part of the suite has the same."""

    @property
    def hub_name(self) -> str:
        """The end of ``hub_id``, in lower case."""
        return self.hub_id.rpartition("/")[2].casefold()


@runtime_checkable
class RowReader(Protocol):
    """What reading needs to know of a suite; see `plaudit.evaluation.suites.suite.Benchmark`."""

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    parts: ClassVar[tuple[SuitePart, ...]]

    def to_group(self, row: Mapping[str, Any], part: str | None, where: str) -> PreferenceGroup:
        """The group of one row."""
        ...


def read_suite(
    suite: RowReader, source: str | None, *, progress: bool = True, on_bad_record: str = "error"
) -> Preferences:
    """The rows of a suite as preference groups.

    Args:
        suite: What the rows mean.
        source: A file, folder, glob or hub id; the suite's own when None.
        progress: Whether progress is shown.
        on_bad_record: ``error`` or ``skip``.

    Raises:
        PlauditError: Nothing is there; a part is asked for that is not; a row is bad.
    """
    named, not_read = _locate(suite, source)
    parts = tuple([replace(part, read=partial(_groups, suite, name, part)) for name, part in named])
    tally = Tally()
    with BadRecordPolicy(on_bad_record) as policy:
        located = Located(parts=parts, not_read=not_read)
        reading = Reading(located, {}, "messages", policy, progress, AskedAttributes((), {}))
        with TableWriter(new_table_path(None)) as writer:
            writer.extend(sealed for _, sealed in reading.sealed(tally))
            reading.check_any(tally)
    tally.formats = Counter({suite.name: tally.formats.total()})
    return finish_table(writer, tally, group_by_prompt=False, cache_dir=None)


def _groups(suite: RowReader, part_name: str | None, part: Part, position: Position) -> Items:
    """The rows as groups; a bad one as the reason why."""
    with closing(part.read(position)) as rows:
        for number, row in rows:
            is_row = row is not BLANK and not isinstance(row, BadRecord)
            yield number, _group(suite, row, part_name, part.where(number)) if is_row else row


def _group(suite: RowReader, row: Any, part_name: str | None, where: str) -> PreferenceGroup | BadRecord:
    if not isinstance(row, dict):
        return BadRecord(
            "not-an-object", f"the row is a {type(row).__name__}", "Write one object for each row."
        )
    missing = [name for name in suite.columns if row.get(name) is None]
    if missing:
        found = ", ".join(map(str, row)) or "none"
        return BadRecord(
            "missing-key",
            f"no {', '.join(missing)}; columns of {suite.name}: {', '.join(suite.columns)}; found: {found}",
            "Name a file of this schema, or read other pairs with --data.",
        )
    try:
        return suite.to_group(row, part_name, where)
    except BadRecord as bad:
        return bad


_Named = list[tuple[str | None, Part]]


def _locate(suite: RowReader, source: str | None) -> tuple[_Named, tuple[str, ...]]:
    """The parts to read, each with the name of its `SuitePart`, and the files that are not read."""
    if source is None:
        return _own_parts(suite)
    base, config, split = parse_name(source)
    if is_local(base):
        return _local_parts(suite, Path(base).expanduser(), split, source)
    return [_hub_part(part, config) for part in _renamed(suite.parts, base, split)], ()


def _own_parts(suite: RowReader) -> tuple[_Named, tuple[str, ...]]:
    if not suite.parts:
        raise PlauditError(
            "this suite has no data set on the hub",
            where=f"--suite {suite.name}",
            fix=f"Name a file of it: --suite {suite.name}=PATH, with the columns {', '.join(suite.columns)}.",
        )
    files = {part.hub_id for part in suite.parts if part.split is None}
    if files:
        (hub_id,) = files
        return _local_parts(suite, _download(hub_id), None, hub_id)
    return [_hub_part(part, None) for part in suite.parts], ()


def _renamed(parts: Sequence[SuitePart], hub_id: str, split: str | None) -> list[SuitePart]:
    """The suite's parts in another data set of the hub."""
    named = [part for part in parts if hub_id.rpartition("/")[2].casefold() in _names_of(part, parts)]
    same = named or list(parts)
    if split is not None:
        same = [part for part in same if split in (part.name, part.split)] or [
            SuitePart(name="", hub_id=hub_id, split=split)
        ]
    elif len({part.hub_id for part in same}) != 1:
        same = [SuitePart(name="", hub_id=hub_id, split=None)]
    return [replace(part, hub_id=hub_id) for part in same]


def _hub_part(part: SuitePart, config: str | None) -> tuple[str | None, Part]:
    dataset, where = load_hub(part.hub_id, config, part.split, streaming=False)
    return part.name or None, dataset_part(dataset, where)  # pyright: ignore[reportArgumentType]


def _download(hub_id: str) -> Path:
    try:
        return Path(snapshot_download(hub_id, repo_type="dataset"))
    except Exception as error:  # the library raises a dozen kinds; each means that there is no data
        lines = str(error).splitlines() or [type(error).__name__]
        raise PlauditError(
            f"the files of the data set cannot be had ({lines[0]})",
            where=hub_id,
            fix="Check the network and HF_TOKEN, or name a local copy.",
        ) from error


def _local_parts(
    suite: RowReader, path: Path, split: str | None, source: str
) -> tuple[_Named, tuple[str, ...]]:
    candidates = _saved_splits(path) if (path / "dataset_dict.json").exists() else _files(path)
    named = [(_part_of(suite.parts, words), words, part) for words, part in candidates]
    if split is not None:
        named = [entry for entry in named if split.casefold() in entry[1] or entry[0] == split]
        if not named:
            raise _no_part(suite, source, f"nothing here is called {split!r}")
    elif any(name is not None for name, _, _ in named):
        named = [entry for entry in named if entry[0] is not None]
    else:
        _check_no_other_split(suite, path, candidates, source)
        only = suite.parts[0].name if len(suite.parts) == 1 else None
        named = [(only, words, part) for _, words, part in named]
    read = {part.name for _, _, part in named}
    not_read = tuple(part.name for _, part in candidates if part.name not in read)
    return [(name, part) for name, _, part in named], not_read


_Candidate = tuple[tuple[str, ...], Part]
"""Lower-case names of a file and of its folders below the one that was named, innermost first; and the file."""


def _files(path: Path) -> list[_Candidate]:
    if path.is_dir() and not (path / "state.json").exists():
        located = locate_files(f"{glob.escape(str(path))}/**", None, None, {})
        return [(_words(Path(part.name).relative_to(path)), part) for part in located.parts]
    located = locate_files(str(path), None, None, {})
    return [(_words(Path(Path(part.name).name)), part) for part in located.parts]


def _saved_splits(path: Path) -> list[_Candidate]:
    saved = load_from_disk(str(path))
    assert isinstance(saved, DatasetDict), "dataset_dict.json makes it one"
    return [((str(name).casefold(),), dataset_part(saved[name], f"{path}[{name}]")) for name in saved]


def _words(path: Path) -> tuple[str, ...]:
    stem = _SHARD.sub("", path.name.split(".")[0])
    return tuple(name.casefold() for name in (stem, *reversed(path.parts[:-1])))


def _part_of(parts: Sequence[SuitePart], words: Sequence[str]) -> str | None:
    names = {part.name: _names_of(part, parts) for part in parts}
    return next((name for word in words for name, known in names.items() if word in known), None)


def _names_of(part: SuitePart, parts: Sequence[SuitePart]) -> frozenset[str]:
    """What a file or folder of a part may be called, in lower case. A name that all parts share tells none."""
    shares = [other.hub_name for other in parts].count(part.hub_name) > 1
    own = () if shares else (part.hub_name,)
    return frozenset([name.casefold() for name in (part.name, *part.aliases)]).union(own)


def _check_no_other_split(
    suite: RowReader, path: Path, candidates: Sequence[_Candidate], source: str
) -> None:
    """A folder whose files say that they are other splits is not read as if they were the right one."""
    if not path.is_dir() or not suite.parts:
        return
    others = {split_of(Path(part.name), path) for _, part in candidates} - {""}
    if others:
        raise _no_part(suite, source, f"the files are of other splits: {', '.join(sorted(others))}")


def _no_part(suite: RowReader, source: str, what: str) -> PlauditError:
    names = ", ".join(part.name for part in suite.parts)
    wanted = f"{suite.name} reads {names}; name" if names else "Name"
    return PlauditError(what, where=source, fix=f"{wanted} the file itself.".capitalize())
