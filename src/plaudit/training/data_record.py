"""What a run learnt from, and what of it was left out: counts by reason, from the reports of reading and tokenising.

These counts are what ``run.json`` stores and the model card shows, so each says in words what it counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from plaudit.preferences.bad_record import REASONS
from plaudit.preferences.report import ReadReport
from plaudit.tokens.report import TokenReport

__all__ = [
    "Count",
    "DataRecord",
    "HubDataset",
    "data_record",
    "hub_dataset",
    "is_hub_id",
    "source_of_dataset",
]

_HUB_SOURCE = re.compile(r"(?P<id>[^:\[\]]+)(:(?P<config>[^:\[\]]+))?(\[(?P<split>[^\[\]]+)\])?")
_HUB_FILE = re.compile(r"hf://datasets/(?P<id>[^@]+)@")

LOST_GROUPS = {
    "too-long": "groups dropped: longer than max_length",
    "prompt-too-long": "groups dropped: prompt longer than max_prompt_length",
    "identical": "groups dropped: all completions are the same tokens",
    "no-comparison": "groups dropped: nothing is compared",
}
"""In words, what `plaudit.tokens.limits.DROP_REASONS` mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Count:
    """So many of so many, and what became of them."""

    what: str
    """What was counted and what became of it."""
    number: int
    """How many."""
    out_of: int
    """Of how many."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DataRecord:
    """One data set of a run; None where a number is not known (a stream, ids without their text)."""

    sources: tuple[str, ...] = ()
    """Files as they were named, or hub data sets as ``org/data:config[split]``."""
    fingerprint: str | None = None
    """Changes with the data, the tokenizer and the limits."""
    num_groups: int | None = None
    """Groups left."""
    num_comparisons: int | None = None
    """Comparisons left, ties included."""
    num_ties: int | None = None
    """Ties among the comparisons read."""
    num_tokens: int | None = None
    """Tokens of all sequences left."""
    max_length: int | None = None
    """Tokens of the longest sequence left."""
    lost: tuple[Count, ...] = ()
    """What was dropped, cut or merged, by reason."""
    noted: tuple[Count, ...] = ()
    """What is worth knowing of what was kept: duplicates, contradictions."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> DataRecord:
        """The inverse of `plaudit.plain_json.as_plain`."""
        counts = {name: tuple(Count(**count) for count in values[name]) for name in ("lost", "noted")}
        return cls(**{**values, **counts, "sources": tuple(values["sources"])})


@dataclass(frozen=True, kw_only=True, slots=True)
class HubDataset:
    """A data set of the hub."""

    id: str
    """Its id."""
    config: str | None = None
    """Its configuration."""
    split: str | None = None
    """Its split."""


def data_record(
    *,
    reading: ReadReport | None = None,
    tokens: TokenReport | None = None,
    fingerprint: str | None = None,
    sources: Sequence[str] = (),
) -> DataRecord:
    """The record of a data set from what reading and tokenising it reported.

    Args:
        reading: `Preferences.report`, where the data were read by plaudit.
        tokens: `TokenTable.report`; `TokenStream.report`, of what was read so far.
        fingerprint: `TokenTable.fingerprint`.
        sources: Where the data came from, when there is no reading.
    """
    return DataRecord(
        sources=reading.sources if reading is not None and reading.sources else tuple(sources),
        fingerprint=fingerprint,
        num_groups=tokens.num_groups_out if tokens else None,
        num_comparisons=tokens.num_comparisons_out if tokens else None,
        num_ties=reading.num_ties if reading else None,
        num_tokens=tokens.num_tokens if tokens else None,
        max_length=tokens.max_length if tokens else None,
        lost=tuple(count for count in [*_lost_reading(reading), *_lost_tokens(tokens)] if count.number),
        noted=tuple(count for count in _noted(reading) if count.number),
    )


def hub_dataset(source: str) -> HubDataset | None:
    """The hub data set that a source names; None for a file, a folder or anything else.

    >>> hub_dataset("trl-lib/ultrafeedback_binarized[train]")
    HubDataset(id='trl-lib/ultrafeedback_binarized', config=None, split='train')
    >>> hub_dataset("data/pairs.jsonl") is None
    True
    """
    match = _HUB_SOURCE.fullmatch(source)
    if match is None or "/" not in match["id"] or not is_hub_id(match["id"]):
        return None
    return HubDataset(id=match["id"], config=match["config"], split=match["split"])


def is_hub_id(name: str) -> bool:
    """Whether a name is an id of the hub, as far as can be told without asking it: no path, and nothing on the disk.

    >>> is_hub_id("Qwen/Qwen3-0.6B"), is_hub_id("../models/qwen"), is_hub_id("pairs.jsonl")
    (True, False, False)
    """
    if (
        not name
        or re.search(r"\.(jsonl?|csv|tsv|parquet|arrow|gz|zst|bz2|xz|zip)$", name)
        or Path(name).exists()
    ):
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def source_of_dataset(dataset: Any) -> tuple[str, ...]:
    """The hub data set that a ``datasets.Dataset`` was loaded from, as ``org/data[split]``; empty where unknown.

    Its id is read from the addresses of the files it was made of, which `datasets` keeps in its description.
    """
    info = getattr(dataset, "info", None)
    files = getattr(info, "download_checksums", None) or {}
    ids = dict.fromkeys(match["id"] for file in files if (match := _HUB_FILE.match(str(file))))
    split = getattr(dataset, "split", None)
    config = getattr(info, "config_name", None)
    middle = f":{config}" if config and config != "default" else ""
    return tuple(f"{name}{middle}[{split}]" if split else f"{name}{middle}" for name in ids)


def _lost_reading(report: ReadReport | None) -> Iterator[Count]:
    if report is None:
        return
    for reason, number in report.bad_by_reason.items():
        meaning = REASONS.get(reason, reason)
        yield Count(what=f"bad records skipped: {meaning}", number=number, out_of=report.num_records)


def _lost_tokens(report: TokenReport | None) -> Iterator[Count]:
    if report is None:
        return
    groups, completions = report.num_groups_in, report.num_completions_in
    for dropped in report.dropped:
        meaning = LOST_GROUPS.get(dropped.reason, f"groups dropped: {dropped.reason}")
        yield Count(what=meaning, number=dropped.num_groups, out_of=groups)
    comparisons = report.num_comparisons_in
    yield Count(
        what="completions dropped: too long", number=report.num_completions_too_long, out_of=completions
    )
    yield Count(
        what="comparisons dropped with a completion that is too long",
        number=report.num_comparisons_too_long,
        out_of=comparisons,
    )
    yield Count(
        what="completions merged: the same tokens as another of their group",
        number=report.num_completions_identical,
        out_of=completions,
    )
    yield Count(
        what="comparisons dropped: between completions of the same tokens",
        number=report.num_comparisons_identical,
        out_of=comparisons,
    )
    yield Count(what="prompts cut from the left", number=report.num_truncated_groups, out_of=groups)


def _noted(report: ReadReport | None) -> Iterator[Count]:
    if report is None:
        return
    yield Count(what="ties", number=report.num_ties, out_of=report.num_comparisons)
    yield Count(
        what="groups without a comparison", number=report.num_without_comparison, out_of=report.num_groups
    )
    yield Count(
        what="duplicates of an earlier group (kept)", number=report.num_duplicates, out_of=report.num_groups
    )
    yield Count(
        what="pairs judged both ways (kept)", number=report.num_contradictions, out_of=report.num_comparisons
    )
    for what, number in report.notes.items():
        yield Count(what=what, number=number, out_of=report.num_records)
