"""Records with ``chosen`` and ``rejected``: TRL, OpenRLHF, HH-RLHF, UltraFeedback, RewardBench 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.preferences.bad_record import BadRecord, shorten
from plaudit.preferences.formats.attributes import read_pair_attributes
from plaudit.preferences.formats.conversation import unify
from plaudit.preferences.formats.draft import Draft, Judgement, as_finite

__all__ = ["parse_all_pairs", "parse_pair", "read_pair_scores"]

_NAMES = ("chosen", "rejected")
_SCORED_ABOVE = "records whose rejected one is scored above the chosen one, which stays the better"
_SCORE_KEYS = (
    ("score_chosen", "score_rejected"),
    ("chosen_score", "rejected_score"),
    ("chosen_rating", "rejected_rating"),
)
"""The names that UltraFeedback's descendants give to the two scores."""


def parse_pair(record: Mapping[str, Any], transcripts: str, attributes: Sequence[str] = ()) -> Draft:
    """One chosen and one rejected completion; equal scores make the comparison a tie.

    Raises:
        BadRecord: See `unify`; and ``bad-rating``, ``missing-key`` for the scores and attributes.
    """
    conversation = unify(
        record.get("prompt"),
        (record["chosen"], record["rejected"]),
        _NAMES,
        transcripts=transcripts,
        system=record.get("system"),
    )
    ratings = read_pair_scores(record)
    is_tie = ratings is not None and ratings[0] == ratings[1]
    is_odd = ratings is not None and ratings[0] < ratings[1]
    notes = conversation.notes + ((_SCORED_ABOVE,) * is_odd)
    return Draft(
        format=conversation.shape,
        prompt=conversation.prompt,
        completions=conversation.completions,
        judgements=((0, 1, is_tie),),
        ratings=ratings,
        attributes=read_pair_attributes(record, attributes),
        names=_NAMES,
        notes=notes,
    )


def parse_all_pairs(record: Mapping[str, Any], transcripts: str, attributes: Sequence[str] = ()) -> Draft:
    """Lists of good and bad completions: each chosen one is better than each rejected one (RewardBench 2).

    The form has no place for rated attributes.
    """
    chosen, rejected = record["chosen"], record["rejected"]
    if not isinstance(chosen, list) or not isinstance(rejected, list):
        raise BadRecord(
            "mixed-kinds", "one of chosen and rejected is a list, the other is not", "Make both lists."
        )
    if not chosen or not rejected:
        empty = "chosen" if not chosen else "rejected"
        raise BadRecord("single-completion", f"{empty} is an empty list", "Give at least one of each.")
    names = [f"{name}[{i}]" for name in _NAMES for i in range(len(record[name]))]
    conversation = unify(
        record.get("prompt"),
        [*chosen, *rejected],
        names,
        transcripts=transcripts,
        system=record.get("system"),
    )
    judgements: list[Judgement] = [
        (better, len(chosen) + worse, False)
        for better in range(len(chosen))
        for worse in range(len(rejected))
    ]
    return Draft(
        format="chosen-rejected-lists",
        prompt=conversation.prompt,
        completions=conversation.completions,
        judgements=tuple(judgements),
        names=tuple(names),
        notes=conversation.notes,
    )


def read_pair_scores(record: Mapping[str, Any]) -> tuple[float, float] | None:
    """The scores of chosen and rejected, where the record has them.

    Raises:
        BadRecord: ``missing-key`` (only one of the two), ``bad-rating`` (no finite number).
    """
    for keys in _SCORE_KEYS:
        given = [record.get(key) is not None for key in keys]
        if not any(given):
            continue
        if not all(given):
            raise BadRecord(
                "missing-key",
                f"{keys[given.index(True)]} without {keys[given.index(False)]}",
                "Give both scores or neither.",
            )
        return _score(record, keys[0]), _score(record, keys[1])
    return None


def _score(record: Mapping[str, Any], key: str) -> float:
    number = as_finite(record[key])
    if number is None:
        raise BadRecord(
            "bad-rating",
            f"{key} is {shorten(repr(record[key]))}",
            "Give a finite number, or leave out both scores.",
        )
    return number
