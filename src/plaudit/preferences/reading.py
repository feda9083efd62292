"""`read_preferences`: any source, any format, to preference groups on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

from plaudit.errors import PlauditError, unknown_choice
from plaudit.preferences.attributes import AskedAttributes, check_attributes
from plaudit.preferences.bad_record import BadRecordPolicy
from plaudit.preferences.cache import find_kept, keep, reading_key
from plaudit.preferences.collection import Preferences, StreamState
from plaudit.preferences.formats.recognise import check_columns
from plaudit.preferences.group import PreferenceGroup
from plaudit.preferences.merge import write_merged
from plaudit.preferences.pipeline import Reading
from plaudit.preferences.report import Tally
from plaudit.preferences.sources.resolve import resolve
from plaudit.preferences.store import TableWriter, new_table_path

__all__ = ["Source", "check_options", "finish_table", "read_preferences"]

Source: TypeAlias = str | Path | Dataset | IterableDataset | DatasetDict | IterableDatasetDict | Iterable[Any]
"""A hub id, file, folder or glob; a data set; or an iterable of records or of preference groups."""


def read_preferences(
    source: Source,
    *,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    transcripts: str = "messages",
    attributes: Sequence[str] | None = None,
    on_bad_record: str = "error",
    bad_records_path: str | Path | None = None,
    group_by_prompt: bool = False,
    streaming: bool = False,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> Preferences:
    """Read preference data of any format into groups: a memory-mapped table, or a stream of a stream.

    Args:
        source: A hub id (``name[:config][@split]``), a file, folder or glob (.jsonl, .json, .csv, .tsv,
            .parquet, each also .gz or .zst), a `datasets` object, or an iterable of records.
        split: The split, where the source has several; ``train`` when nothing is said.
        columns: Our names to the source's, such as ``{"prompt": "question"}``.
        transcripts: ``messages`` turns Human/Assistant transcripts into messages, ``text`` keeps them as they
            are.
        attributes: Names of rated attributes to keep (HelpSteer's helpfulness, correctness, ...); a value that a
            record does not have is unknown. Groups given as such carry their values in this order.
        on_bad_record: ``error`` stops at the first, ``skip`` counts them.
        bad_records_path: Where skipped records are written, as JSON lines of source, line, reason and
            excerpt.
        group_by_prompt: Merge the records of one prompt into one group.
        streaming: Read anew at each iteration and store nothing: hub data sets are streamed, files too.
        cache_dir: Where the table is kept and found again; without it, in a temporary folder until the
            process ends.
        progress: Show progress on standard error when it takes more than two seconds.

    Raises:
        PlauditError: The source cannot be found or holds no records; an option is unknown; no record has an
            attribute asked for; or a record is bad and ``on_bad_record`` is ``error``.

    >>> preferences = read_preferences([{"prompt": "2+2?", "chosen": "4", "rejected": "5"}])
    >>> preferences[0].comparisons[0].better
    0
    """
    check_options(columns, transcripts)
    renames = dict(columns or {})
    asked = AskedAttributes(check_attributes(attributes, source), renames)
    located, is_stream = resolve(source, split, renames, streaming)
    with BadRecordPolicy(on_bad_record, bad_records_path) as policy:
        reading = Reading(located, renames, transcripts, policy, progress, asked)
        if is_stream:
            return _stream(reading, group_by_prompt)
        options = {"columns": renames, "transcripts": transcripts, "group_by_prompt": group_by_prompt}
        options["attributes"] = asked.names
        key = reading_key(located, options) if cache_dir is not None else None
        kept = find_kept(Path(cache_dir), key) if cache_dir is not None and key is not None else None
        return kept if kept is not None else _store(reading, group_by_prompt, cache_dir, key)


def check_options(columns: Mapping[str, str] | None, transcripts: str) -> None:
    """Whether the options are known.

    Raises:
        PlauditError: One is not.
    """
    check_columns(columns or {})
    if transcripts not in ("messages", "text"):
        raise unknown_choice("transcripts", transcripts, ("messages", "text"))


def finish_table(
    writer: TableWriter,
    tally: Tally,
    *,
    group_by_prompt: bool,
    cache_dir: str | Path | None,
    key: str | None = None,
) -> Preferences:
    """The preferences of a written table, merged by prompt and kept where that was asked for."""
    preferences, path = writer.opened(tally), writer.path
    if group_by_prompt:
        unmerged, path = path, new_table_path(cache_dir)
        preferences = write_merged(preferences, path)
        unmerged.unlink()
    return preferences if cache_dir is None else keep(preferences, path, Path(cache_dir), key)


def _store(
    reading: Reading, group_by_prompt: bool, cache_dir: str | Path | None, key: str | None
) -> Preferences:
    tally = Tally()
    with TableWriter(new_table_path(cache_dir), reading.attributes.names) as writer:
        writer.extend(sealed for _, sealed in reading.sealed(tally))
        reading.check_any(tally)
        reading.attributes.check_met(tally.sources)
    return finish_table(writer, tally, group_by_prompt=group_by_prompt, cache_dir=cache_dir, key=key)


def _stream(reading: Reading, group_by_prompt: bool) -> Preferences:
    if group_by_prompt:
        raise PlauditError(
            "group_by_prompt needs all records before it gives the first group, which a stream does not have",
            where="group_by_prompt",
            fix="Read the source without streaming, or without group_by_prompt.",
        )

    def run(state: StreamState) -> Iterator[PreferenceGroup]:
        tally = Tally()
        reading.policy.restart()
        state.report = lambda: tally.report(**state.counts.as_counts())
        for group, sealed in reading.sealed(tally):
            state.counts.add(sealed)
            yield group
        reading.check_any(tally)
        reading.attributes.check_met(tally.sources)

    return Preferences(stream=run, attribute_names=reading.attributes.names)
