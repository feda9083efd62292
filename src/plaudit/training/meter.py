"""Training metrics between two log lines: kept on the device, added up exactly, reduced over processes once.

Nothing waits for the device in a step: rewards are kept as they are and read when a line is logged.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from plaudit.objective.metrics import PairSums
from plaudit.training.batch import PreferenceBatch, PreferencePass

__all__ = ["TrainingMeter"]


class TrainingMeter:
    """Sums and counts since the last log line."""

    def __init__(self) -> None:
        self._pending: list[tuple[PreferencePass, Float[Tensor, " sequence"]]] = []
        self._num_tokens = 0
        self._num_given_tokens = 0
        self._since = time.perf_counter()

    def add_rewards(self, part: PreferencePass, rewards: Float[Tensor, " sequence"]) -> None:
        """Note the rewards of a pass."""
        self._pending.append((part, rewards))

    def add_batch(self, batch: PreferenceBatch) -> None:
        """Note the tokens of a micro-batch."""
        self._num_tokens += batch.num_tokens
        self._num_given_tokens += batch.num_given_tokens

    def leave_out(self, seconds: float) -> None:
        """Take time that was not training (an evaluation) out of the rate."""
        self._since += seconds

    def drain(self, accelerator: Accelerator) -> dict[str, float]:
        """The metrics over all processes since the last call, under their names; starts anew."""
        sums = sum((_sums_of(part, rewards) for part, rewards in self._pending), PairSums())
        counts = np.array([self._num_tokens, self._num_given_tokens], dtype=np.float64)
        vector = torch.from_numpy(np.concatenate([sums.to_vector(), counts])).to(accelerator.device)
        reduced = accelerator.reduce(vector, reduction="sum").cpu().numpy()  # type: ignore[union-attr]
        total, (num_tokens, num_given) = PairSums.from_vector(reduced[:-2]), reduced[-2:]
        seconds = time.perf_counter() - self._since
        self._restart()
        metrics = total.as_dict("rm/")
        if num_given:
            metrics["tokens_per_second"] = float(num_tokens / seconds)
            metrics["tokens_saved"] = float(1 - num_tokens / num_given)
        return metrics

    def _restart(self) -> None:
        self._pending = []
        self._num_tokens = self._num_given_tokens = 0
        self._since = time.perf_counter()


def _sums_of(part: PreferencePass, rewards: Float[Tensor, " sequence"]) -> PairSums:
    return PairSums.from_rewards(
        rewards[part.better].double().cpu().numpy(),
        rewards[part.worse].double().cpu().numpy(),
        margin=part.margin.double().cpu().numpy(),
        weight=part.weight.double().cpu().numpy(),
        is_tie=part.is_tie.cpu().numpy(),
    )
