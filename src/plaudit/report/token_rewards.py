"""The reward at each token of one comparison: what the model would say had the completion ended there.

The reward at a token is the reward of the sequence up to it, unclosed. All beginnings of a sequence are one branch of
the prefix tree, so they cost one pass together on models that read trees.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plaudit.errors import PlauditError
from plaudit.evaluation.shared_rows import rows_at
from plaudit.report.outputs import ROW_COLUMNS, TEXT_COLUMNS, ModelOutput, stored_columns
from plaudit.scoring import Scorer

__all__ = ["find_row", "token_pieces", "token_rewards"]

TOLERANCE = 0.05
"""How far the last reward may be from the stored one, relative to 1 + its size (assumed: bfloat16)."""


def token_rewards(models: Sequence[ModelOutput], key: str, scorer: Scorer) -> dict[str, Any]:
    """The rewards of both completions of a comparison at each of their tokens.

    Args:
        models: The outputs that hold the comparison.
        key: The comparison's key as the page shows it, or its first digits.
        scorer: The model.

    Returns:
        ``key``, ``suite``, ``name``, ``model``, and for ``better`` and ``worse``: ``pieces`` (texts of tokens),
        ``rewards`` after each, ``start`` (the reward of the prompt alone) and ``stored_reward``.

    Raises:
        PlauditError: No such comparison, several, one without texts, or rewards that are not the stored ones.
    """
    suite, row = find_row(models, key)
    if row["prompt"] is None:
        raise PlauditError(
            f"the texts of comparison {row['key'][:12]} were not stored",
            where="--tokens-of",
            fix="Evaluate again with its texts.",
        )
    prompt = _parts(row["prompt"], row["is_conversational"])
    sides = {}
    for side in ("better", "worse"):
        completion = _parts(row[f"text_{side}"], row["is_conversational"])
        ids = scorer.renderer.token_ids(prompt, completion)
        sides[side] = _rewards_along(scorer, ids)
    _check_same_model(row, sides, models)
    start = _common_length(sides["better"]["ids"], sides["worse"]["ids"])
    return {
        "key": row["key"][:12],
        "suite": suite,
        "name": row["id"] or row["source"].rsplit("/", 1)[-1],
        "model": Path(scorer.name).name or scorer.name,
        **{side: _from(sides[side], start, scorer) for side in sides},
    }


def find_row(models: Sequence[ModelOutput], key: str) -> tuple[str, dict[str, Any]]:
    """The suite and the stored row whose key begins so.

    Raises:
        PlauditError: No comparison has such a key, or several have.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for model in models:
        for name, suite in model.suites.items():
            (keys,) = stored_columns(suite, "key")
            for index in (i for i, known in enumerate(keys) if key and known.startswith(key.split("~")[0])):
                if keys[index] not in found:
                    (row,) = rows_at(suite, [index], [*ROW_COLUMNS, *TEXT_COLUMNS])
                    found[keys[index]] = (name, row)
    if len(found) == 1:
        return next(iter(found.values()))
    what = f"{len(found):,} comparisons have a key that begins with" if found else "no comparison has the key"
    raise PlauditError(
        f"{what} {key!r}", where="--tokens-of", fix="Copy a key from a comparison in the report."
    )


def token_pieces(tokenizer: Any, ids: Sequence[int]) -> Iterator[str]:
    """The text that each token adds. A token that ends within a character adds nothing; the next one adds all of it."""
    before, shown = 0, 0
    for end in range(1, len(ids) + 1):
        old = _decode(tokenizer, ids[before:shown])
        new = _decode(tokenizer, ids[before:end])
        if new.endswith("\ufffd") and end - shown < 6 and end < len(ids):
            yield ""
            continue
        yield new[len(old) :]
        before, shown = shown, end


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _parts(text: str, is_conversational: bool) -> Any:
    return tuple(json.loads(text)) if is_conversational else text


def _rewards_along(scorer: Scorer, ids: np.ndarray) -> dict[str, Any]:
    beginnings = [ids[:end] for end in range(1, len(ids) + 1)]
    return {"ids": ids, "rewards": scorer.score_sequences(beginnings, progress=False).tolist()}


def _common_length(a: np.ndarray, b: np.ndarray) -> int:
    """Tokens that both begin with: the prompt, and what the completions share; one less than all of the shorter."""
    length = min(len(a), len(b)) - 1
    differs = np.flatnonzero(a[:length] != b[:length])
    return int(differs[0]) if len(differs) else length


def _from(side: dict[str, Any], start: int, scorer: Scorer) -> dict[str, Any]:
    ids = side["ids"].tolist()
    pieces = list(token_pieces(scorer.renderer.tokenizer, ids))
    return {
        "start": side["rewards"][start - 1] if start else None,
        "pieces": pieces[start:],
        "rewards": side["rewards"][start:],
    }


def _check_same_model(
    row: dict[str, Any], sides: dict[str, dict[str, Any]], models: Sequence[ModelOutput]
) -> None:
    """The last rewards are those of one of the evaluations, or these are rewards of something else."""
    measured = [sides["better"]["rewards"][-1], sides["worse"]["rewards"][-1]]
    nearest = min(
        (stored for stored in _stored_rewards(models, row["key"])),
        key=lambda stored: max(abs(s - m) for s, m in zip(stored, measured, strict=True)),
    )
    for stored, now in zip(nearest, measured, strict=True):
        if abs(stored - now) > TOLERANCE * (1 + abs(stored)):
            raise PlauditError(
                f"the reward is {now:.4f} now and was {stored:.4f} in the evaluation",
                where="--tokens-of",
                fix="Give as --model the model that was evaluated, with the same --dtype. Prompts with tools cannot "
                "be shown: they are not stored.",
            )


def _stored_rewards(models: Sequence[ModelOutput], key: str) -> Iterator[tuple[float, float]]:
    for model in models:
        for suite in model.suites.values():
            columns = stored_columns(suite, "key", "reward_better", "reward_worse")
            yield from (
                (better, worse) for known, better, worse in zip(*columns, strict=True) if known == key
            )
