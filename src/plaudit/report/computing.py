"""How the numbers of a report came about, in words: rules, settings, data and what of them was lost, versions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from plaudit.report.scores import missing_data

__all__ = ["INTERVALS", "Explanation", "explanations", "rows_sentences"]

Explanation: TypeAlias = dict[str, Any]
"""``rules``: per suite the names and rules of its scores; ``facts``: per suite and model, names and values as text;
``missing``: per suite the models whose data lack something, each with the names of scores and what they lack;
``rows``: sentences on the comparisons in the page; ``intervals``: on all intervals."""

INTERVALS = (
    "Every interval is a 95% interval: Wilson's for a proportion of items that share no prompt, else the middle 95% of "
    "1,000 bootstrap resamples of prompts. A number without one was computed by a rule that has none."
)

_READ_AND_LOST = (
    ("groups read", "num_groups_in"),
    ("comparisons read", "num_comparisons_in"),
    ("comparisons lost to length", "num_comparisons_too_long"),
    ("comparisons of equal tokens, counted as equal rewards", "num_comparisons_identical"),
    ("prompts cut", "num_truncated_groups"),
)


def explanations(contents: Mapping[str, Any], rows: Mapping[str, Any]) -> Explanation:
    """What the last section of the page says.

    Args:
        contents: Of the report.
        rows: `ComparisonData.summary`.
    """
    return {
        "rules": {suite["name"]: _rules(suite) for suite in contents["suites"]},
        "facts": {
            suite["name"]: {result["model"]: _facts(result) for result in suite["results"]}
            for suite in contents["suites"]
        },
        "missing": {suite["name"]: _missing(suite) for suite in contents["suites"]},
        "rows": rows_sentences(rows),
        "intervals": INTERVALS,
    }


def rows_sentences(rows: Mapping[str, Any]) -> list[str]:
    """What of the comparisons is in the page and what is not."""
    shown, total = rows["num_rows"], rows["num_rows_in_all"]
    sentences = [f"All {total:,} comparisons are in this page."]
    if shown < total:
        sentences = [
            f"{shown:,} of {total:,} comparisons are in this page, spread evenly over the data; "
            "tables and charts are over all."
        ]
    if rows["texts_left_out"]:
        sentences.append("Prompts and completions were left out (--no-texts).")
    elif not rows["has_texts"] and shown:
        sentences.append("The evaluation stored no texts.")
    if rows["num_texts_cut"]:
        sentences.append(f"{rows['num_texts_cut']:,} texts are cut to {rows['max_characters']:,} characters.")
    return sentences


def _rules(suite: Mapping[str, Any]) -> dict[str, str]:
    """The rule of each score that is no subset, and one for the subsets where theirs is the same."""
    scores = [score for result in suite["results"] for score in result["scores"]]
    rules = {score["name"]: score["rule"] for score in scores if score["kind"] != "subset"}
    of_subsets = {score["name"]: score["rule"] for score in scores if score["kind"] == "subset"}
    if len(set(of_subsets.values())) == 1:
        return rules | {"each subset": next(iter(of_subsets.values()))}
    return rules | of_subsets


def _missing(suite: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
    found = {result["model"]: missing_data(result["scores"]) for result in suite["results"]}
    return {model: lacks for model, lacks in found.items() if lacks}


def _facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, tokenizing = result["data"], result["data"].get("tokenizing") or {}
    facts = [
        ("evaluated", str(result["created"] or "not said")),
        ("data", ", ".join(map(str, data.get("sources") or [])) or "not said"),
        ("fingerprint of the data", str(data.get("fingerprint") or "not said")),
        ("bad records skipped", f"{(data.get('reading') or {}).get('num_bad', 0):,}"),
    ]
    facts += [
        (name, f"{tokenizing[key]:,}") for name, key in _READ_AND_LOST if tokenizing.get(key) is not None
    ]
    facts += [
        (f"groups dropped: {dropped['reason']}", f"{dropped['num_groups']:,}")
        for dropped in tokenizing.get("dropped") or []
        if dropped["reason"] != "identical"  # training drops them; here their comparisons count, see above
    ]
    facts += [(name, _plain(value)) for name, value in result["settings"].items()]
    cost = result["throughput"]
    if cost.get("num_tokens_given"):
        facts.append(
            ("tokens", f"{cost['num_tokens_given']:,} given, {cost['num_tokens_computed']:,} computed")
        )
        facts.append(("given tokens per second", f"{cost['given_tokens_per_s']:,.0f}"))
    facts.append(("versions", ", ".join(f"{name} {number}" for name, number in result["versions"].items())))
    return facts


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
