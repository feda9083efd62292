"""Where rewards come from: what a run needs of a model, whether it is a scorer here, a server, or a file.

A source plans what is to be scored (token sequences or conversations), cuts it into chunks that it scores together,
and scores them. `plaudit.evaluation.scoring_pass` does the rest alike for all: what is known, who scores what, what is
kept.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int
from torch import nn

from plaudit.evaluation.equal_ids import groups_with_equal_ids
from plaudit.evaluation.fingerprint import model_fingerprint
from plaudit.evaluation.plan import EvaluationPlan, item_of_tokens, plan_items
from plaudit.evaluation.reward_store import Cost
from plaudit.model.inference import DEFAULT_MAX_TOKENS
from plaudit.preferences import Preferences
from plaudit.scoring import EnsembleScorer
from plaudit.tokens import LengthLimits, Renderer, TokenTable, tokenize_preferences
from plaudit.tokens.report import TokenReport
from plaudit.tree.packing import pack_sequences

__all__ = ["PlannedSet", "RewardSource", "ScoredChunk", "SequenceScorer", "TokenSource", "as_source"]

PASSES_PER_CHUNK = 4
"""Forward passes between two writes to disk (assumed: seconds of work, and nothing beside it)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedSet:
    """One data set, ready to be scored."""

    plan: EvaluationPlan
    """What to score, and the comparisons that wait for it."""
    tokenizing: TokenReport | None
    """What tokenising kept and lost; None where the source reads text and nobody tokenised it."""
    settings: dict[str, Any]
    """How conversations become what is scored: limits, rendering, unit of lengths."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredChunk:
    """Rewards that came together."""

    indices: Int[np.ndarray, " sequence"]
    """Which of the given items they are of."""
    rewards: Float[np.ndarray, " sequence"]
    """float32 of a model, float64 where others computed them: they are stored and compared as they are."""
    cost: Cost
    """What they took."""


@runtime_checkable
class RewardSource(Protocol):
    """Anything that gives rewards to preference data."""

    name: str
    """What to call it in results."""

    def fingerprint(self) -> str | None:
        """What its rewards belong to; None where they cannot be known again and are not stored."""
        ...

    def plan(self, preferences: Preferences, limits: LengthLimits, *, progress: bool) -> PlannedSet:
        """What of some data has to be scored."""
        ...

    def chunks(self, items: Sequence[Any]) -> list[Int[np.ndarray, " _sequence"]]:
        """The items' indices in the parts that are scored together, each index once; the same on every process."""
        ...

    def score(
        self, items: Sequence[Any], chunks: Sequence[Int[np.ndarray, " _sequence"]]
    ) -> Iterator[ScoredChunk]:
        """Rewards of the items in some of the chunks, in any order, as they come."""
        ...


@runtime_checkable
class SequenceScorer(Protocol):
    """Anything that gives a reward to token sequences: `plaudit.scoring.Scorer`, or a stand-in for it.

    Where it has a ``model``, its rewards are stored under that model's fingerprint.
    """

    @property
    def renderer(self) -> Renderer:
        """How its model wants conversations rendered."""
        ...

    @property
    def name(self) -> str:
        """What to call it in results; may be empty."""
        ...

    @property
    def num_tokens_given(self) -> int:
        """Tokens of all sequences given so far."""
        ...

    @property
    def num_tokens_computed(self) -> int:
        """Tokens that went through the model so far."""
        ...

    def score_sequences(
        self, sequences: Sequence[np.ndarray], *, description: str = ..., progress: bool = ...
    ) -> np.ndarray:
        """float32 [sequence], in the order of the sequences."""
        ...


class TokenSource:
    """A scorer of token sequences. Chunks are runs of neighbours in the prefix tree, whole passes each."""

    def __init__(self, scorer: SequenceScorer) -> None:
        self.scorer = scorer
        self.name = scorer.name or type(scorer).__name__

    def fingerprint(self) -> str | None:
        """Of the scorer's model, or of an ensemble's members and how they are combined; None where it shows none."""
        if isinstance(self.scorer, EnsembleScorer):
            how = self.scorer.combination
            parts = [TokenSource(member).fingerprint() for member in self.scorer.members]
            if None in parts:
                return None
            described = [how.how, how.uwo_coefficient if how.how == "uwo" else None, parts]
            return hashlib.sha256(json.dumps(described).encode()).hexdigest()
        model = getattr(self.scorer, "model", None)
        return model_fingerprint(model) if isinstance(model, nn.Module) else None

    def plan(self, preferences: Preferences, limits: LengthLimits, *, progress: bool) -> PlannedSet:
        """Tokenise, by the scorer's own rendering.

        Raises:
            PlauditError: Streamed preferences, or what tokenising raises.
        """
        tokens = tokenize_preferences(preferences, self.scorer.renderer, limits, progress=progress)
        assert isinstance(tokens, TokenTable), "a preference table becomes a token table"
        return PlannedSet(
            plan=plan_items(
                groups_with_equal_ids(tokens, preferences, self.scorer.renderer, limits),
                preferences,
                item_of_tokens,
            ),
            tokenizing=tokens.report,
            settings={
                "limits": asdict(limits),
                "rendering": asdict(self.scorer.renderer.rule),
                "length_unit": "tokens",
            },
        )

    def chunks(self, items: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Passes as the scorer makes them, some at a time, so that nothing is computed again for the cut."""
        if not len(items):
            return []
        packing = pack_sequences(
            items, max_tokens=self._tokens_per_pass(), shares_prefixes=self._shares_prefixes()
        )
        order = np.argsort(packing.index_of_given, kind="stable")
        firsts = [first for first, _ in packing.passes[::PASSES_PER_CHUNK]]
        return np.split(order, firsts[1:])

    def score(self, items: Sequence[np.ndarray], chunks: Sequence[np.ndarray]) -> Iterator[ScoredChunk]:
        """One call of the scorer for each chunk."""
        for indices in chunks:
            given, computed = self.scorer.num_tokens_given, self.scorer.num_tokens_computed
            start = time.perf_counter()
            rewards = self.scorer.score_sequences([items[i] for i in indices], progress=False)
            yield ScoredChunk(
                indices=indices,
                rewards=rewards,
                cost=Cost(
                    num_sequences=len(indices),
                    num_tokens_given=self.scorer.num_tokens_given - given,
                    num_tokens_computed=self.scorer.num_tokens_computed - computed,
                    seconds=time.perf_counter() - start,
                ),
            )

    def _tokens_per_pass(self) -> int:
        chosen = getattr(self.scorer, "max_tokens_per_pass", None)
        device = getattr(getattr(self.scorer, "model", None), "device", None)
        return chosen or DEFAULT_MAX_TOKENS.get(getattr(device, "type", "cpu"), DEFAULT_MAX_TOKENS["cpu"])

    def _shares_prefixes(self) -> bool:
        return getattr(getattr(self.scorer, "model", None), "attention_backend", "") != "padded"


def as_source(model: SequenceScorer | RewardSource) -> RewardSource:
    """A scorer as a source; a source as it is."""
    return TokenSource(model) if isinstance(model, SequenceScorer) else model
