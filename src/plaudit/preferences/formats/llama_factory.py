"""LLaMA-Factory's ranking records: alpaca (``instruction``, ``input``) and sharegpt (``conversations``).

Both become messages, as LLaMA-Factory renders both through a chat template. An instruction and its input are
joined by a line break, as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plaudit.preferences.bad_record import BadRecord, shorten
from plaudit.preferences.formats.attributes import read_pair_attributes
from plaudit.preferences.formats.conversation import unify
from plaudit.preferences.formats.draft import Draft
from plaudit.preferences.formats.messages import assistant_turn, user_turn
from plaudit.preferences.formats.pairs import read_pair_scores

__all__ = ["parse_alpaca", "parse_sharegpt"]

_NAMES = ("chosen", "rejected")


def parse_alpaca(record: Mapping[str, Any], transcripts: str, attributes: Sequence[str] = ()) -> Draft:
    """``instruction``, ``input``, ``history``, ``system``, with ``chosen`` and ``rejected`` as text.

    Raises:
        BadRecord: ``wrong-type``, ``empty-prompt``.
    """
    texts = [_text(record, key) for key in ("instruction", "input")]
    query = "\n".join(text for text in texts if text)
    if not query.strip():
        raise BadRecord("empty-prompt", "instruction and input are both blank", "Write the instruction.")
    prompt: list[Any] = []
    for question, answer in _history(record.get("history")):
        prompt += [user_turn(question), assistant_turn(answer)]
    return _pair("llama-factory-alpaca", record, [*prompt, user_turn(query)], transcripts, attributes)


def parse_sharegpt(record: Mapping[str, Any], transcripts: str, attributes: Sequence[str] = ()) -> Draft:
    """``conversations`` (or ``messages``) so far, with one message each as ``chosen`` and ``rejected``.

    Raises:
        BadRecord: ``wrong-type``, and what `read_messages` raises.
    """
    key = "conversations" if record.get("conversations") is not None else "messages"
    prompt = record[key]
    if not isinstance(prompt, list):
        raise BadRecord("wrong-type", f"{key} is {shorten(repr(prompt))}", "Give a list of messages.")
    if not prompt:
        raise BadRecord("empty-prompt", f"{key} is an empty list", "Give the messages before the answers.")
    return _pair("llama-factory-sharegpt", record, prompt, transcripts, attributes)


def _pair(
    name: str, record: Mapping[str, Any], prompt: list[Any], transcripts: str, attributes: Sequence[str]
) -> Draft:
    answers = (record["chosen"], record["rejected"])
    conversation = unify(prompt, answers, _NAMES, transcripts=transcripts, system=record.get("system"))
    ratings = read_pair_scores(record)
    return Draft(
        format=name,
        prompt=conversation.prompt,
        completions=conversation.completions,
        judgements=((0, 1, ratings is not None and ratings[0] == ratings[1]),),
        ratings=ratings,
        attributes=read_pair_attributes(record, attributes),
        names=_NAMES,
        notes=conversation.notes,
    )


def _text(record: Mapping[str, Any], key: str) -> str:
    value = record.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRecord("wrong-type", f"{key} is {shorten(repr(value))}", f"Give {key} as text.")
    return value


def _history(value: Any) -> list[tuple[str, str]]:
    if value is None:
        return []
    is_right = isinstance(value, list) and all(
        isinstance(turn, list) and len(turn) == 2 and all(isinstance(text, str) for text in turn)
        for turn in value
    )
    if not is_right:
        raise BadRecord(
            "wrong-type",
            f"history is {shorten(repr(value))}",
            'Give a list of pairs of texts: [["question", "answer"], ...].',
        )
    return [(question, answer) for question, answer in value]
