"""Records with several completions: K-wise with ratings or ranks, NeMo-RL's ranks, and verifiable samples.

Every pair of completions with different values is a comparison, every pair with equal values a tie; of
verifiable samples, each correct one is better than each incorrect one and nothing else is compared.
Completions that are the same text with the same value are one completion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from plaudit.preferences.bad_record import BadRecord, shorten
from plaudit.preferences.formats.attributes import read_listed_attributes
from plaudit.preferences.formats.conversation import Conversation, unify
from plaudit.preferences.formats.distinct import merge_identical
from plaudit.preferences.formats.draft import Draft, Judgement, as_finite

__all__ = ["TEXT_KEYS", "compare_values", "parse_completions", "parse_samples"]

TEXT_KEYS = ("text", "completion", "response", "content")
"""Where an object may keep its completion."""

_RATING_KEYS = ("rating", "score")


def parse_completions(record: Mapping[str, Any], transcripts: str, attributes: Sequence[str] = ()) -> Draft:
    """``prompt`` or ``context``, and ``completions`` with ratings (higher is better) or ranks (lower is).

    The values stand beside the completions (``ratings``, ``scores``, ``ranks``) or in them (``rating``,
    ``score``, ``rank``). Where rated attributes are asked for and given, there need be no values, and one
    completion is enough. UltraFeedback's prompt is its ``instruction``.

    Raises:
        BadRecord: ``wrong-type``, ``single-completion``, ``length-mismatch``, ``bad-rating``, ``bad-rank``.
    """
    items = _list(record, "completions")
    texts = [_completion_of(item, f"completions[{index}]") for index, item in enumerate(items)]
    rated, has_attributes = read_listed_attributes(record, "completions", items, attributes)
    if not has_attributes:
        _need_two(items, "completions")
    key, values = _values(record, items, optional=has_attributes)
    is_rank = key in ("rank", "ranks")
    is_nemo = record.get("context") is not None
    prompts = [record.get(name) for name in ("context", "prompt", "instruction")]
    prompt = next((prompt for prompt in prompts if prompt is not None), None)
    conversation = _conversation(prompt, texts, record, transcripts)
    distinct = merge_identical(conversation.completions, values, rated, "completions", same_value=True)
    if len(distinct.completions) == 1 and not has_attributes:
        raise BadRecord(
            "identical-completions", f"all {len(items)} completions are the same text", "Remove the record."
        )
    ranks_up = [-n if n is not None else None for n in distinct.values]
    kind = "k-wise-ranks" if is_rank else "k-wise-ratings" if key else "k-wise-attributes"
    return Draft(
        format="nemo-rl" if is_nemo else kind,
        prompt=conversation.prompt,
        completions=distinct.completions,
        judgements=compare_values(ranks_up if is_rank else distinct.values),
        ratings=None if is_rank or not key else distinct.values,
        attributes=distinct.attributes,
        notes=conversation.notes + distinct.notes,
    )


def parse_samples(record: Mapping[str, Any], transcripts: str, attributes: Sequence[str] = ()) -> Draft:
    """``prompt`` and ``samples``: objects with ``text`` and ``is_correct`` or ``rating``.

    An empty text is a sample like any other, since a policy can answer with nothing.

    Raises:
        BadRecord: ``wrong-type``, ``missing-key``, ``bad-rating``, ``single-completion``.
    """
    items = _list(record, "samples")
    _need_two(items, "samples")
    texts = [_completion_of(item, f"samples[{index}]", sample=True) for index, item in enumerate(items)]
    verdicts = [_verdict(item, f"samples[{index}]") for index, item in enumerate(items)]
    has_verdicts = verdicts[0] is not None
    if any((verdict is not None) != has_verdicts for verdict in verdicts):
        raise BadRecord(
            "missing-key", "some samples have is_correct and some have not", "Give it for all or none."
        )
    ratings = [
        float(verdict) if verdict is not None else _rating(item, index)
        for index, (verdict, item) in enumerate(zip(verdicts, items, strict=True))
    ]
    conversation = _conversation(record.get("prompt"), texts, record, transcripts)
    rated, _ = read_listed_attributes(record, "samples", items, attributes)
    distinct = merge_identical(conversation.completions, ratings, rated, "samples", same_value=has_verdicts)
    return Draft(
        format="verifiable-samples" if has_verdicts else "rated-samples",
        prompt=conversation.prompt,
        completions=distinct.completions,
        judgements=compare_values(distinct.values, ties=not has_verdicts),
        ratings=distinct.values,
        attributes=distinct.attributes,
        allows_empty=True,
        notes=conversation.notes + distinct.notes,
    )


def compare_values(values: Sequence[float | None], *, ties: bool = True) -> tuple[Judgement, ...]:
    """Every pair of known values: the higher is better, equal ones tie (or are left out).

    >>> compare_values([1.0, 3.0, 1.0, None])
    ((1, 0, False), (0, 2, True), (1, 2, False))
    """
    judgements: list[Judgement] = []
    for first, second in combinations(range(len(values)), 2):
        one, other = values[first], values[second]
        if one is None or other is None:
            continue
        if one == other:
            judgements += [(first, second, True)] if ties else []
        else:
            judgements.append((first, second, False) if one > other else (second, first, False))
    return tuple(judgements)


def _conversation(prompt: Any, texts: list[Any], record: Mapping[str, Any], transcripts: str) -> Conversation:
    if prompt is None:
        raise BadRecord(
            "missing-key",
            f"no prompt: the record has {', '.join(record)}",
            "Add the key prompt, or name it with columns={'prompt': ...}.",
        )
    if prompt in ("", []):
        raise BadRecord("empty-prompt", "the prompt is empty", "Write the prompt.")
    names = [f"completions[{index}]" for index in range(len(texts))]
    return unify(prompt, texts, names, transcripts=transcripts, system=record.get("system"))


def _list(record: Mapping[str, Any], key: str) -> list[Any]:
    value = record[key]
    if not isinstance(value, list):
        raise BadRecord("wrong-type", f"{key} is {shorten(repr(value))}", f"Give {key} as a list.")
    return value


def _need_two(items: list[Any], key: str) -> None:
    if len(items) < 2:
        raise BadRecord(
            "single-completion", f"{key} has {len(items)} of the 2 or more to compare", "Remove the record."
        )


def _completion_of(item: Any, name: str, *, sample: bool = False) -> Any:
    """The text or messages of an entry, which may be an object that carries its value too."""
    if not isinstance(item, dict):
        if sample:
            raise BadRecord(
                "wrong-type",
                f"{name} is {shorten(repr(item))}",
                'A sample is an object with "text" and a verdict.',
            )
        return item
    if "role" in item or "from" in item:
        return item
    for key in TEXT_KEYS:
        if item.get(key) is not None:
            return item[key]
    raise BadRecord(
        "missing-key",
        f"{name} has no text; its keys are {', '.join(map(str, item)) or 'none'}",
        f"Give one of: {', '.join(TEXT_KEYS)}.",
    )


def _values(record: Mapping[str, Any], items: list[Any], *, optional: bool) -> tuple[str, list[float | None]]:
    """The ratings or ranks, one for each completion, and the key they were found under; "" for none."""
    for key, reason in (("ratings", "bad-rating"), ("scores", "bad-rating"), ("ranks", "bad-rank")):
        values = record.get(key)
        are_attributes = optional and isinstance(values, list) and any(isinstance(v, dict) for v in values)
        if values is not None and not are_attributes:
            return key, _beside(values, key, reason, len(items))
    for key, reason in (("rank", "bad-rank"), ("rating", "bad-rating"), ("score", "bad-rating")):
        if any(isinstance(item, dict) and item.get(key) is not None for item in items):
            numbers = [item.get(key) if isinstance(item, dict) else None for item in items]
            return key, [_number(n, f"completions[{i}].{key}", reason) for i, n in enumerate(numbers)]
    if optional:
        return "", [None] * len(items)
    raise BadRecord(
        "missing-key",
        "completions without ratings, scores or ranks",
        "Add ratings (higher is better) or ranks (lower is better), one for each completion; where they have "
        'rated attributes, name those to read: attributes=["helpfulness", ...].',
    )


def _beside(values: Any, key: str, reason: str, num_completions: int) -> list[float | None]:
    if not isinstance(values, list):
        raise BadRecord(
            "wrong-type", f"{key} is {shorten(repr(values))}", f"Give {key} as a list of numbers."
        )
    if len(values) != num_completions:
        raise BadRecord(
            "length-mismatch",
            f"{len(values)} {key} for {num_completions} completions",
            "Give one for each completion; null where it is unknown.",
        )
    return [_number(value, f"{key}[{index}]", reason) for index, value in enumerate(values)]


def _number(value: Any, name: str, reason: str) -> float | None:
    if value is None and reason == "bad-rating":
        return None
    number = as_finite(value)
    if number is None:
        raise BadRecord(reason, f"{name} is {shorten(repr(value))}", "Give a finite number.")
    return number


def _verdict(item: Mapping[str, Any], name: str) -> bool | None:
    value = item.get("is_correct")
    if value is None or isinstance(value, bool):
        return value
    if value in (0, 1):
        return bool(value)
    raise BadRecord("wrong-type", f"{name}.is_correct is {shorten(repr(value))}", "Give true or false.")


def _rating(item: Mapping[str, Any], index: int) -> float | None:
    for key in _RATING_KEYS:
        if key in item:
            return _number(item[key], f"samples[{index}].{key}", "bad-rating")
    raise BadRecord(
        "missing-key",
        f"samples[{index}] has neither is_correct nor rating; its keys are {', '.join(map(str, item))}",
        'Name the key with columns, such as columns={"rating": "p_win"} or columns={"is_correct": "passed"}.',
    )
