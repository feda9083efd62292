"""Best of n as it is stored: the curve, what it says of over-optimisation, curves by difficulty, every reward.

Guarantees: ``bestofn.json`` is strict JSON and is written last; ``rewards.jsonl`` holds every sample with its reward,
so that all of it can be computed again without a model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from plaudit.evaluation.bestofn import BestOfNCurve, expected_best_of_n
from plaudit.evaluation.overoptimisation import (
    DifficultyLevel,
    OverOptimisation,
    curves_by_difficulty,
    measure_overoptimisation,
)
from plaudit.evaluation.samples import PromptSamples, number_prompts
from plaudit.model.record import installed_versions
from plaudit.plain_json import as_plain, write_json
from plaudit.whole_file import write_whole

__all__ = [
    "REWARDS_FILE",
    "BestOfNResult",
    "default_n_values",
    "measure_best_of_n",
]

BEST_OF_N_SCHEMA_VERSION = 1
"""Goes up when a key of ``bestofn.json`` changes its meaning or goes away; new keys leave it as it is."""

REWARDS_FILE = "rewards.jsonl"
"""Every sample of a prompt on a line, in a form that `plaudit.evaluation.rewards_file` reads."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BestOfNResult:
    """What `measure_best_of_n` found."""

    model: str
    """The reward model's name, or the file of its rewards."""
    name: str
    """What the samples are called."""
    samples: tuple[PromptSamples, ...]
    """The prompts."""
    rewards: tuple[np.ndarray, ...]
    """For each prompt the float64 rewards of its samples."""
    curve: BestOfNCurve
    """Quality against n over all prompts."""
    over_optimisation: OverOptimisation
    """Whether the curve falls after its peak."""
    difficulty: tuple[DifficultyLevel, ...]
    """The curve by level of difficulty, hardest first; empty where it was not asked for."""
    num_without_answer: int
    """Samples that name no final answer: they do not vote."""

    def as_dict(self) -> dict[str, Any]:
        """The content of ``bestofn.json`` as plain values; NaN stays NaN."""
        return {
            "schema": "plaudit.bestofn",
            "schema_version": BEST_OF_N_SCHEMA_VERSION,
            "name": self.name,
            "model": self.model,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": installed_versions(),
            "num_prompts": len(self.samples),
            "num_samples": sum(len(s.completions) for s in self.samples),
            "num_without_answer": self.num_without_answer,
            "curve": asdict(self.curve),
            "over_optimisation": asdict(self.over_optimisation)
            | {"is_shown": self.over_optimisation.is_shown},
            "difficulty": [asdict(level) for level in self.difficulty],
        }

    def save(self, output_dir: str | Path) -> None:
        """Write ``rewards.jsonl`` and then ``bestofn.json``; the folder is made when absent."""
        folder = Path(output_dir)
        lines = [
            {
                "id": s.id,
                "prompt": s.prompt,
                "completions": s.completions,
                "rewards": r.tolist(),
                "quality": s.quality.tolist(),
                "answers": s.answers,
            }
            for s, r in zip(self.samples, self.rewards, strict=True)
        ]
        text = "".join(json.dumps(as_plain(line), ensure_ascii=False) + "\n" for line in lines)
        write_whole(folder / REWARDS_FILE, text)
        write_json(folder / "bestofn.json", self.as_dict())


def measure_best_of_n(
    samples: Sequence[PromptSamples],
    rewards: Sequence[np.ndarray],
    *,
    n_values: Sequence[int] | None = None,
    num_levels: int = 4,
    model: str = "",
    name: str = "samples",
) -> BestOfNResult:
    """Everything that is said of best of n.

    Args:
        samples: The prompts.
        rewards: For each prompt the reward of each sample.
        n_values: The n to compute, in any order; by default powers of two up to the smallest number of samples, and
            that number.
        num_levels: Levels of difficulty; none below 2.
        model: What to call the model.
        name: What to call the samples.

    Raises:
        PlauditError: What `expected_best_of_n` raises.
    """
    chosen = sorted(set(n_values)) if n_values else default_n_values(samples)
    given = [np.asarray(r, dtype=np.float64) for r in rewards]
    quality = [s.quality for s in samples]
    has_answers = any(answer is not None for s in samples for answer in s.answers)
    answers = [s.answers for s in samples] if has_answers else None
    clusters = number_prompts(samples)
    return BestOfNResult(
        model=model,
        name=name,
        samples=tuple(samples),
        rewards=tuple(given),
        curve=expected_best_of_n(given, quality, chosen, answers=answers, clusters=clusters),
        over_optimisation=measure_overoptimisation(given, quality, chosen, clusters=clusters),
        difficulty=curves_by_difficulty(
            given, quality, chosen, num_levels=num_levels, answers=answers, clusters=clusters
        )
        if num_levels >= 2
        else (),
        num_without_answer=sum(answer is None for s in samples for answer in s.answers),
    )


def default_n_values(samples: Sequence[PromptSamples]) -> list[int]:
    """1, 2, 4, ... up to the number of samples that every prompt has, and that number."""
    most = min(len(s.completions) for s in samples)
    return sorted({most, *(2**k for k in range(most.bit_length()))})
