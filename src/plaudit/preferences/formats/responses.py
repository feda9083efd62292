"""Records with one response and its rated attributes: HelpSteer (arXiv:2311.09528), HelpSteer2 (arXiv:2406.08673).

A record is a group of one completion, which compares nothing; ``group_by_prompt`` brings the responses to a prompt
together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.preferences.bad_record import BadRecord
from plaudit.preferences.formats.attributes import or_none, read_attribute
from plaudit.preferences.formats.conversation import unify
from plaudit.preferences.formats.draft import Draft

__all__ = ["parse_response"]

_RATING = "helpfulness"
_RATED = f"records with one response, whose {_RATING} became the rating (attributes=[...] keeps the others)"


def parse_response(record: Mapping[str, Any], transcripts: str, attributes: Sequence[str] = ()) -> Draft:
    """``prompt`` and ``response``, with the attributes asked for; without any, helpfulness is the rating.

    Raises:
        BadRecord: ``missing-key`` (no prompt, or neither attributes asked for nor helpfulness), ``bad-rating``.
    """
    if record.get("prompt") is None:
        raise BadRecord(
            "missing-key", "response without prompt", "Add the key prompt, or name it with columns."
        )
    if not attributes and _RATING not in record:
        raise BadRecord(
            "missing-key",
            f"one response without {_RATING}; keys found: {', '.join(map(str, record))}",
            "Name the rated attributes to read: attributes=[...].",
        )
    conversation = unify(
        record["prompt"],
        (record["response"],),
        ("response",),
        transcripts=transcripts,
        system=record.get("system"),
    )
    values = tuple([read_attribute(record.get(name), name) for name in attributes or (_RATING,)])
    return Draft(
        format="rated-response",
        prompt=conversation.prompt,
        completions=conversation.completions,
        judgements=(),
        ratings=None if attributes or values == (None,) else values,
        attributes=or_none((values,)) if attributes else None,
        names=("response",),
        notes=conversation.notes + (() if attributes else (_RATED,)),
    )
