"""Which format a record has, by its keys and their types; and the record as a preference group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from plaudit.errors import PlauditError, unknown_choice
from plaudit.preferences.bad_record import BadRecord
from plaudit.preferences.formats.draft import Draft, finish
from plaudit.preferences.formats.llama_factory import parse_alpaca, parse_sharegpt
from plaudit.preferences.formats.messages import is_message_list
from plaudit.preferences.formats.pairs import parse_all_pairs, parse_pair
from plaudit.preferences.formats.rankings import parse_completions, parse_samples
from plaudit.preferences.formats.responses import parse_response
from plaudit.preferences.group import PreferenceGroup

__all__ = ["FORMATS", "KEYS", "Parsed", "check_columns", "parse_record", "rename"]

FORMATS = (
    "prompt + chosen + rejected (TRL, OpenRLHF, HH-RLHF, UltraFeedback)",
    "chosen + rejected, the prompt being what they share (TRL, HH-RLHF)",
    "prompt + lists of chosen and rejected (RewardBench 2)",
    "instruction + chosen + rejected (LLaMA-Factory alpaca)",
    "conversations + chosen + rejected (LLaMA-Factory sharegpt)",
    "context + completions with rank (NeMo-RL)",
    "prompt + completions + ratings, scores or ranks (K-wise)",
    "prompt + samples with is_correct or rating (verifiable samples)",
    "prompt + response + helpfulness or other rated attributes (HelpSteer)",
    "instruction + completions with annotations, where attributes are asked for (UltraFeedback)",
)
"""What can be read, for error texts."""

KEYS = (
    *("prompt", "chosen", "rejected", "completions", "ratings", "scores", "ranks", "context"),
    *("samples", "text", "is_correct", "rating", "response"),
    *("instruction", "input", "history", "system", "conversations", "messages"),
    *("score_chosen", "score_rejected", "label"),
    *("margin", "weight", "tools", "chat_template_kwargs", "subset", "id"),
)
"""The keys that have a meaning here; ``columns`` says which of another data set's names stands for which."""

_SAMPLE_KEYS = ("text", "is_correct", "rating")

Parsed: TypeAlias = tuple[str, PreferenceGroup, tuple[str, ...]]
"""The name of the format, the group, and notes to be counted."""


def parse_record(
    record: Any,
    source: str,
    *,
    transcripts: str = "messages",
    columns: Mapping[str, str] | None = None,
    attributes: Sequence[str] = (),
) -> Parsed:
    """The preference group that a record means, whatever its format.

    Args:
        record: One JSON object.
        source: Where it was read, kept in the group.
        transcripts: ``messages`` or ``text``: what becomes of Human/Assistant transcripts.
        columns: Our names to the record's, such as ``{"prompt": "question"}``.
        attributes: Names of rated attributes to keep.

    Raises:
        BadRecord: With the reason.

    >>> name, group, _ = parse_record({"prompt": "2+2?", "chosen": "4", "rejected": "5"}, "here:1")
    >>> name, group.completions
    ('trl-standard', ('4', '5'))
    """
    if type(record) is not dict:
        kind = "null" if record is None else type(record).__name__
        raise BadRecord(
            "not-an-object", f"the record is a JSON {kind}", "Write one JSON object for each record."
        )
    if columns:
        record = rename(record, columns)
    parse = _recognise(record)
    draft = parse(record, transcripts, attributes)
    return draft.format, finish(draft, record, source), draft.notes


def check_columns(columns: Mapping[str, str]) -> None:
    """Whether every renaming is of a key that has a meaning.

    Raises:
        PlauditError: An unknown key of ours, or two of them from the same column.
    """
    for ours in columns:
        if ours not in KEYS:
            raise unknown_choice("columns", ours, KEYS)
    theirs = list(columns.values())
    doubled = [name for name in theirs if theirs.count(name) > 1]
    if doubled:
        raise PlauditError(
            f"{doubled[0]!r} stands for two keys", where="columns", fix="Name each column once."
        )


def rename(record: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The record, and its samples, under our names; a column that is absent changes nothing."""
    taken = {theirs for theirs in columns.values() if theirs in record}
    renamed = {key: value for key, value in record.items() if key not in taken}
    renamed |= {ours: record[theirs] for ours, theirs in columns.items() if theirs in taken}
    inner = {ours: columns[ours] for ours in _SAMPLE_KEYS if ours in columns}
    if inner and isinstance(renamed.get("samples"), list):
        renamed["samples"] = [
            rename(item, inner) if isinstance(item, dict) else item for item in renamed["samples"]
        ]
    return renamed


def _recognise(record: Mapping[str, Any]) -> Callable[[Mapping[str, Any], str, Sequence[str]], Draft]:
    get = record.get
    chosen, rejected = get("chosen"), get("rejected")
    if chosen is not None and rejected is not None:
        if get("conversations") is not None or get("messages") is not None:
            return parse_sharegpt
        if get("instruction") is not None and not get("prompt"):
            return parse_alpaca
        if _is_list_of_completions(chosen) or _is_list_of_completions(rejected):
            return parse_all_pairs
        return parse_pair
    if get("samples") is not None:
        return parse_samples
    if get("completions") is not None:
        return parse_completions
    if get("response") is not None and chosen is None and rejected is None:
        return parse_response
    raise _unrecognised(record)


def _is_list_of_completions(value: Any) -> bool:
    """Whether the value is a list of texts or of conversations, rather than one conversation."""
    return isinstance(value, list) and not is_message_list(value) and (not value or _is_completion(value[0]))


def _is_completion(value: Any) -> bool:
    return isinstance(value, str) or is_message_list(value)


def _unrecognised(record: Mapping[str, Any]) -> BadRecord:
    keys = ", ".join(map(str, record)) or "none"
    for key in ("chosen", "rejected"):
        if record.get(key) is not None:
            other = "rejected" if key == "chosen" else "chosen"
            return _missing(other, record, keys)
    if "chosen" in record or "rejected" in record:
        return _missing("chosen" if "chosen" in record else "rejected", record, keys)
    if "samples" in record or "completions" in record:
        return _missing("samples" if "samples" in record else "completions", record, keys)
    return BadRecord(
        "unknown-format",
        f"no known format; keys found: {keys}",
        f"Rename keys with columns={{'prompt': 'question', ...}}. Formats read: {'; '.join(FORMATS)}.",
    )


def _missing(key: str, record: Mapping[str, Any], keys: str) -> BadRecord:
    state = "null" if key in record else "absent"
    return BadRecord(
        "missing-key",
        f"{key} is {state}; keys found: {keys}",
        f"Add {key}, or name its column with columns={{'{key}': ...}}.",
    )
