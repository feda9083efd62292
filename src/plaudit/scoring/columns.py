"""What scoring a file adds to each conversation: its reward, and what else was asked for, by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from plaudit.errors import PlauditError
from plaudit.scoring.ensemble import EnsembleScorer
from plaudit.scoring.scorer import Scorer

__all__ = ["added_columns", "columns_of", "members_of"]

OF_ENSEMBLES = ("reward_std", "reward_min", "member_rewards")


def members_of(scorer: Scorer | EnsembleScorer) -> tuple[Scorer, ...]:
    """The models that are asked."""
    return scorer.members if isinstance(scorer, EnsembleScorer) else (scorer,)


def added_columns(scorer: Scorer | EnsembleScorer, normalize: str) -> tuple[str, ...]:
    """Names of what is added besides the reward."""
    of_ensemble = OF_ENSEMBLES if isinstance(scorer, EnsembleScorer) else ()
    return (*of_ensemble, *(("normalized",) if normalize != "none" else ()))


def columns_of(
    scorer: Scorer | EnsembleScorer,
    sequences: Sequence[Sequence[np.ndarray]],
    normalize: str = "none",
    on_progress: Callable[[int], None] | None = None,
) -> dict[str, np.ndarray]:
    """Score S conversations.

    Args:
        scorer: The model or models.
        sequences: The S conversations as token ids, for each member as it reads them.
        normalize: ``none``, ``affine`` or ``sigmoid``.
        on_progress: Called with the number of conversations scored since the last call.

    Returns:
        ``reward`` [S] of a model, or combined; of an ensemble also ``reward_std`` [S] (divisor M) and ``reward_min``
        [S] of its members' raw rewards and those themselves, ``member_rewards`` [S, M]; ``normalized`` [S] where
        asked for.

    Raises:
        PlauditError: A reward is not finite.
    """
    if not isinstance(scorer, EnsembleScorer):
        rewards = scorer.score_sequences(sequences[0], progress=False, on_progress=on_progress)
        _check_finite(rewards)
        columns = {"reward": rewards}
    else:
        rewards = scorer.member_rewards(sequences, on_progress=on_progress)
        _check_finite(rewards)
        columns = {
            "reward": scorer.combination(rewards),
            "reward_std": rewards.astype(np.float64).std(axis=0).astype(np.float32),
            "reward_min": rewards.min(axis=0),
            "member_rewards": rewards.T,
        }
    if normalize != "none":
        columns["normalized"] = scorer.normalized(rewards, normalize)
    return columns


def _check_finite(rewards: np.ndarray) -> None:
    if not np.isfinite(rewards).all():
        raise PlauditError(
            f"{np.count_nonzero(~np.isfinite(rewards)):,} of {rewards.size:,} rewards are not finite",
            fix="Score in float32 (--dtype float32), and check the weights for NaN.",
        )
