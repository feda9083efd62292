"""Token groups with the prefix structure of real data and made-up ids: the cost is the same, and no text travels.

A structure is, for the sequences of a group in lexicographic order, their lengths and how many leading tokens each
shares with the one before. That determines the prefix tree.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from plaudit.errors import PlauditError
from plaudit.tokens import TokenGroup
from plaudit.tree.plan import common_prefix_lengths, sort_and_merge

__all__ = ["GroupShape", "group_of", "made_up_shapes", "read_lengths", "shape_of", "write_lengths"]

LONGEST = 1_024

STATISTICS: dict[str, tuple[int, float, int, float, int]] = {
    "hh-rlhf": (80, 1.0, 33, 1.0, 2),
    "gsm8k-groups": (54, 0.4, 81, 0.4, 4),
    "ultrafeedback": (55, 1.1, 321, 1.0, 2),
}
"""Shared prompt and own answer of a sequence in tokens, each a log-normal's median and deviation of the logarithm, and
K (measured: the benchmark's batches under a vocabulary of 16,384)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupShape:
    """The prefix structure of a token group. S sequences in lexicographic order, C comparisons."""

    lengths: tuple[int, ...]
    """Tokens of each sequence, S of them."""
    shared: tuple[int, ...]
    """Leading tokens shared with the sequence before; 0 for the first."""
    better: tuple[int, ...]
    """Index of each comparison's better sequence, C of them."""
    worse: tuple[int, ...]
    """Index of the worse one."""


def shape_of(group: TokenGroup) -> GroupShape:
    """The structure of a group whose sequences are distinct."""
    ordered, place = sort_and_merge([np.asarray(ids, dtype=np.int64) for ids in group.sequences])
    return GroupShape(
        lengths=tuple(map(len, ordered)),
        shared=tuple(common_prefix_lengths(ordered).tolist()),
        better=tuple(place[group.better].tolist()),
        worse=tuple(place[group.worse].tolist()),
    )


def group_of(shape: GroupShape, *, vocabulary: int, generator: np.random.Generator) -> TokenGroup:
    """A group of that structure with random ids from 2 on (0 and 1 are the pad and end-of-sequence tokens)."""
    sequences: list[np.ndarray] = []
    for length, shared in zip(shape.lengths, shape.shared, strict=True):
        ids = generator.integers(2, vocabulary, size=length).astype(np.int32)
        if sequences:
            last = sequences[-1]
            ids[:shared] = last[:shared]
            if shared < min(length, len(last)) and ids[shared] == last[shared]:
                ids[shared] = 2 + (ids[shared] - 1) % (vocabulary - 2)
        sequences.append(ids)
    num = len(shape.better)
    return TokenGroup(
        sequences=tuple(sequences),
        num_prompt_tokens=min(shape.shared[1:], default=0),
        better=np.array(shape.better, dtype=np.int32),
        worse=np.array(shape.worse, dtype=np.int32),
        margin=np.zeros(num, dtype=np.float32),
        weight=np.ones(num, dtype=np.float32),
        is_tie=np.zeros(num, dtype=np.bool_),
    )


def made_up_shapes(name: str, *, num_groups: int, seed: int = 0) -> list[GroupShape]:
    """Structures drawn from `STATISTICS`: one shared prompt, K answers, the first better than the others."""
    prompt_median, prompt_spread, answer_median, answer_spread, num_answers = STATISTICS[name]
    generator = np.random.default_rng(seed)

    def draw(median: int, spread: float) -> int:
        return int(np.clip(generator.lognormal(np.log(median), spread), 4, LONGEST // 2))

    shapes: list[GroupShape] = []
    for _ in range(num_groups):
        prompt = draw(prompt_median, prompt_spread)
        lengths = [prompt + draw(answer_median, answer_spread) for _ in range(num_answers)]
        shapes.append(
            GroupShape(
                lengths=tuple(lengths),
                shared=(0, *[prompt] * (num_answers - 1)),
                better=(0,) * (num_answers - 1),
                worse=tuple(range(1, num_answers)),
            )
        )
    return shapes


def write_lengths(path: Path, shapes: dict[str, Iterable[GroupShape]]) -> None:
    """Structures by data name, as JSON."""
    data = {name: [asdict(shape) for shape in of_name] for name, of_name in shapes.items()}
    path.write_text(json.dumps(data, separators=(",", ":")) + "\n", encoding="utf-8")


def read_lengths(path: Path, name: str) -> list[GroupShape]:
    """The structures of one data set.

    Raises:
        PlauditError: When the file has none of that name.
    """
    data: dict[str, list[dict[str, Sequence[int]]]] = json.loads(path.read_text(encoding="utf-8"))
    if name not in data:
        raise PlauditError(
            f"no lengths of {name!r}, only of {', '.join(data)}", where=str(path), fix="Write it anew."
        )
    return [GroupShape(**{key: tuple(values) for key, values in row.items()}) for row in data[name]]
