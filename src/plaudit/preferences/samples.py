"""Groups from sampled answers: verified right or wrong, or rated. The natural source of comparisons.

Each correct answer is better than each incorrect one; of rated answers, the higher rated than the lower.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from plaudit.errors import PlauditError
from plaudit.preferences.bad_record import BadRecord
from plaudit.preferences.formats.recognise import check_columns, parse_record
from plaudit.preferences.group import Comparison, PreferenceGroup

__all__ = ["groups_from_samples"]


def groups_from_samples(
    records: Iterable[Mapping[str, Any]],
    *,
    verify: Callable[[Mapping[str, Any], str], bool] | None = None,
    columns: Mapping[str, str] | None = None,
    max_comparisons: int | None = None,
    min_gap: float = 0.0,
    seed: int = 0,
    source: str = "samples",
) -> Iterator[PreferenceGroup]:
    """One group for each prompt with its samples; `read_preferences` takes the iterator.

    Args:
        records: Objects with ``prompt`` and ``samples``, each sample with ``text`` and ``is_correct`` or
            ``rating``. A sample may be plain text where ``verify`` judges it.
        verify: Called with the record and a sample's text; says whether it is correct.
        columns: Our names to the records', such as ``{"rating": "p_win"}``.
        max_comparisons: Keep at most so many comparisons of a prompt, drawn at random; the completions stay.
        min_gap: Leave out comparisons (ties too) of ratings that differ by less, in the ratings' own unit.
        seed: Draws the comparisons.
        source: Begins the place of each group, ``samples[3]``.

    Raises:
        PlauditError: A record is bad.

    >>> record = {"prompt": "2+2?", "answer": "4", "samples": ["4", "5", "22"]}
    >>> (group,) = groups_from_samples([record], verify=lambda record, text: text == record["answer"])
    >>> group.ratings, [(c.better, c.worse) for c in group.comparisons]
    ((1.0, 0.0, 0.0), [(0, 1), (0, 2)])
    """
    check_columns(columns or {})
    for number, record in enumerate(records):
        where = f"{source}[{number}]"
        judged = dict(record) if verify is None else _judge(record, verify, columns or {})
        try:
            _, group, _ = parse_record(judged, where, columns=columns)
        except BadRecord as bad:
            raise PlauditError(f"{bad.reason}: {bad.what}", where=where, fix=bad.fix) from bad
        comparisons = [c for c in group.comparisons if _gap(group, c) >= min_gap]
        if max_comparisons is not None and len(comparisons) > max_comparisons:
            kept = random.Random(f"{seed}:{number}").sample(range(len(comparisons)), max_comparisons)
            comparisons = [comparisons[index] for index in sorted(kept)]
        yield replace(group, comparisons=tuple(comparisons))


def _judge(
    record: Mapping[str, Any], verify: Callable[[Mapping[str, Any], str], bool], columns: Mapping[str, str]
) -> dict[str, Any]:
    samples, text = columns.get("samples", "samples"), columns.get("text", "text")
    verdict = columns.get("is_correct", "is_correct")
    judged = []
    for sample in record.get(samples) or []:
        entry = dict(sample) if isinstance(sample, Mapping) else {text: sample}
        judged.append(entry | {verdict: bool(verify(record, entry.get(text, "")))})
    return dict(record) | {samples: judged}


def _gap(group: PreferenceGroup, comparison: Comparison) -> float:
    """How far the ratings of the two lie apart."""
    assert group.ratings is not None, "samples always have ratings"
    better, worse = group.ratings[comparison.better], group.ratings[comparison.worse]
    assert better is not None and worse is not None, "unrated samples are not compared"
    return better - worse
