"""Several reward models asked as one: the mean of their rewards, how far they disagree, and the worst case.

Members trained apart agree on the data that they have seen and part where a policy has drifted away from it. What
they disagree on is worth less, which the worst case and the uncertainty-weighted reward say (Coste et al.,
arXiv:2310.02743).

Costs one forward pass and the memory of every member: all stay loaded. Weight averaging (`plaudit.model.averaging`)
costs one model's, and knows no disagreement.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from plaudit.errors import PlauditError, unknown_choice
from plaudit.model.normalization import normalize_group
from plaudit.preferences.group import Completion, Message, Prompt
from plaudit.scoring.scorer import Scorer
from plaudit.tokens import Renderer
from plaudit.tokens.difference import rendering_difference

__all__ = ["COMBINATIONS", "DEFAULT_UWO_COEFFICIENT", "EnsembleScorer", "combine_rewards"]

COMBINATIONS = ("mean", "min", "uwo")
"""How members' rewards become one."""

DEFAULT_UWO_COEFFICIENT = 0.5
"""Of the variance in ``uwo`` (the paper's code: 0.5 for best of n, 0.1 for PPO)."""

log = logging.getLogger(__name__)


def combine_rewards(
    rewards: Float[np.ndarray, "member sequence"], how: str, uwo_coefficient: float = DEFAULT_UWO_COEFFICIENT
) -> Float[np.ndarray, " sequence"]:
    """One reward of each sequence from those of M members, float32.

    ``mean``: their mean. ``min``: the lowest, the paper's worst-case optimisation. ``uwo``: mean - k * variance, with
    the variance among the members (divisor M).

    Source: arXiv:2310.02743 (mean, WCO and UWO).

    >>> rewards = np.array([[1.0, 2.0], [3.0, 2.0]])
    >>> [combine_rewards(rewards, how).tolist() for how in COMBINATIONS]
    [[2.0, 2.0], [1.0, 2.0], [1.5, 2.0]]
    """
    values = rewards.astype(np.float64)
    if how == "min":
        return values.min(axis=0).astype(np.float32)
    mean = values.mean(axis=0)
    if how == "mean":
        return mean.astype(np.float32)
    if how != "uwo":
        raise unknown_choice("--combine", how, COMBINATIONS)
    return (mean - uwo_coefficient * values.var(axis=0)).astype(np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Combination:
    how: str
    uwo_coefficient: float

    def __call__(self, rewards: Float[np.ndarray, "member sequence"]) -> Float[np.ndarray, " sequence"]:
        return combine_rewards(rewards, self.how, self.uwo_coefficient)

    def __str__(self) -> str:
        return f"uwo({self.uwo_coefficient:g})" if self.how == "uwo" else self.how


class EnsembleScorer:
    """Reward models that answer as one; a `plaudit.scoring.Scorer` to whoever scores with it.

    Each member reads a conversation in its own rendering. Where all render alike, token sequences can be scored too,
    which evaluation does.

    >>> ensemble = EnsembleScorer.from_pretrained(["a", "b"], combine="min")  # doctest: +SKIP
    >>> ensemble.score("What is 2 + 2?", ["4", "5"])  # doctest: +SKIP
    [1.51, -0.67]
    """

    def __init__(
        self,
        members: Sequence[Scorer],
        *,
        combine: str = "mean",
        uwo_coefficient: float = DEFAULT_UWO_COEFFICIENT,
    ) -> None:
        """
        Args:
            members: M scorers, at least one.
            combine: How their rewards become one: ``mean``, ``min`` or ``uwo``.
            uwo_coefficient: k of ``uwo``, mean - k * variance.

        Raises:
            PlauditError: No member, an unknown way to combine, or a negative coefficient.
        """
        if not members:
            raise PlauditError("an ensemble of no models", where="EnsembleScorer", fix="Give at least one.")
        if combine not in COMBINATIONS:
            raise unknown_choice("--combine", combine, COMBINATIONS)
        if not 0 <= uwo_coefficient < float("inf"):
            raise PlauditError(
                f"{uwo_coefficient} would reward disagreement",
                where="--uwo-coefficient",
                fix="Give 0 or more.",
            )
        self.members = tuple(members)
        self.combination = _Combination(how=combine, uwo_coefficient=uwo_coefficient)
        _warn_of_scales(self.members)

    @classmethod
    def from_pretrained(
        cls,
        paths_or_ids: Sequence[str | Path],
        *,
        combine: str = "mean",
        uwo_coefficient: float = DEFAULT_UWO_COEFFICIENT,
        **options: Any,
    ) -> EnsembleScorer:
        """Load each member by `Scorer.from_pretrained`, which takes the other options."""
        members = [Scorer.from_pretrained(path, **options) for path in paths_or_ids]
        return cls(members, combine=combine, uwo_coefficient=uwo_coefficient)

    @property
    def name(self) -> str:
        """What to call it in results."""
        return f"{self.combination} of {', '.join(member.name or 'a model' for member in self.members)}"

    @property
    def renderer(self) -> Renderer:
        """The rendering of the first member; that of all where token sequences can be scored."""
        return self.members[0].renderer

    def check_one_rendering(self) -> None:
        """Raise the error of members that read conversations differently: no token sequence is right for all.

        Raises:
            PlauditError: Naming the member and what differs.
        """
        first, *others = self.members
        for other in others:
            if (difference := rendering_difference(first.renderer, other.renderer)) is not None:
                raise PlauditError(
                    f"it reads conversations otherwise than {first.name or 'the first model'} ({difference})",
                    where=other.name or "ensemble",
                    fix="Ensembles over token sequences need members of one rendering; "
                    "plaudit score takes others too.",
                )

    @property
    def transcripts(self) -> str:
        """What all members take transcripts for.

        Raises:
            PlauditError: They differ.
        """
        if len(found := {member.transcripts for member in self.members}) > 1:
            raise PlauditError(
                f"members take Human/Assistant transcripts for {' and for '.join(sorted(found))}",
                where=self.name,
                fix="Choose one for all with --transcripts.",
            )
        return self.members[0].transcripts

    @property
    def max_length(self) -> int | None:
        """The shortest of the lengths that members were trained on, in tokens."""
        return min((m.max_length for m in self.members if m.max_length is not None), default=None)

    @property
    def num_tokens_given(self) -> int:
        """Tokens of all sequences given so far, for each member again."""
        return sum(member.num_tokens_given for member in self.members)

    @property
    def num_tokens_computed(self) -> int:
        """Tokens that went through the models so far."""
        return sum(member.num_tokens_computed for member in self.members)

    def score(
        self,
        prompt: Prompt | Sequence[Message],
        completions: Sequence[Completion],
        *,
        normalize: str = "none",
    ) -> list[float]:
        """The combined reward of each completion of a prompt, rendered by each member in its own way.

        Args:
            prompt: Text, or the messages so far.
            completions: Texts, or (for messages) assistant turns.
            normalize: Give normalised values in place of rewards: with ``affine`` and ``sigmoid`` each member's are
                normalised by its own folder and then combined; ``group_zscore`` is of the combined rewards.

        Raises:
            PlauditError: When the conversation cannot be rendered, or a member was not calibrated.
        """
        rewards = self.member_rewards([[m.token_ids(prompt, c) for c in completions] for m in self.members])
        if normalize == "group_zscore":
            return normalize_group(self.combination(rewards)).tolist()
        return self.normalized(rewards, normalize).tolist()

    def score_sequences(
        self,
        sequences: Sequence[np.ndarray],
        *,
        description: str = "scoring",
        progress: bool = True,
        on_progress: Callable[[int], None] | None = None,
    ) -> Float[np.ndarray, " sequence"]:
        """The combined reward of each token sequence, float32, in the order given.

        Raises:
            PlauditError: The members do not share a rendering.
        """
        self.check_one_rendering()
        rewards = self.member_rewards(
            [sequences] * len(self.members),
            description=description,
            progress=progress,
            on_progress=on_progress,
        )
        return self.combination(rewards)

    def member_rewards(
        self,
        sequences: Sequence[Sequence[np.ndarray]],
        *,
        description: str = "scoring",
        progress: bool = False,
        on_progress: Callable[[int], None] | None = None,
    ) -> Float[np.ndarray, "member sequence"]:
        """The raw reward of each member for the same S conversations, float32.

        Args:
            sequences: For each member the S conversations as its own token ids.
            description: What the progress bar says.
            progress: Whether there is one.
            on_progress: Called instead, while the last member scores.
        """
        last = len(self.members) - 1
        return np.stack(
            [
                member.score_sequences(
                    of_member,
                    description=f"{description}, model {index + 1} of {last + 1}",
                    progress=progress,
                    on_progress=None if index < last else on_progress,
                )
                for index, (member, of_member) in enumerate(zip(self.members, sequences, strict=True))
            ]
        )

    def normalized(
        self, rewards: Float[np.ndarray, "member sequence"], how: str
    ) -> Float[np.ndarray, " sequence"]:
        """Members' raw rewards, each normalised by its own folder, then combined.

        Raises:
            PlauditError: An unknown choice, or a member's folder does not hold what it needs.
        """
        each = [member.normalized(row, how) for member, row in zip(self.members, rewards, strict=True)]
        return self.combination(np.stack(each))


def _warn_of_scales(members: Sequence[Scorer]) -> None:
    """Say so where members' rewards lie apart: their spread and minimum then say more of that than of answers."""
    known = [member.normalization for member in members]
    if any(one is None for one in known):
        return
    means = np.array([one.mean for one in known if one is not None])
    stds = np.array([one.std for one in known if one is not None])
    if np.ptp(means) > stds.min() or stds.max() > 3 * stds.min():
        log.warning(
            "the members' rewards are on different scales (mean and standard deviation %s): normalise them "
            "(--normalize affine) before their spread or minimum is used",
            ", ".join(f"{mean:.2f} and {std:.2f}" for mean, std in zip(means, stds, strict=True)),
        )
