"""Sequences in, rewards out: the one inference path under scoring, evaluation and evaluation during training."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from plaudit.errors import PlauditError
from plaudit.model.attributes import reward_of_outputs, reward_weights
from plaudit.model.reward_model import RewardModel
from plaudit.tree.batch import TreeBatch, build_tree_batch
from plaudit.tree.packing import Packing, pack_sequences

__all__ = ["DEFAULT_MAX_TOKENS", "InferenceResult", "is_out_of_memory", "rewards_of_sequences"]

DEFAULT_MAX_TOKENS = {"cuda": 32_768, "cpu": 4_096}
"""Computed tokens in one forward pass, by device type (assumed for cuda; on a CPU 1,024 to 8,192 differ by less than
the noise seen, LOG.md)."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class InferenceResult:
    """Rewards, and what they cost."""

    rewards: Float[np.ndarray, " sequence"]
    """Raw rewards in the order given, float32."""
    outputs: Float[np.ndarray, "sequence output"]
    """What the head gave: the reward itself, or one column per attribute."""
    num_given_tokens: int
    """Tokens of the sequences as given, duplicates included."""
    num_computed_tokens: int
    """Tokens that went through the model (padding not counted)."""
    max_tokens: int
    """The budget at the end: smaller than at the start when memory ran out."""


def rewards_of_sequences(
    model: RewardModel,
    sequences: Sequence[np.ndarray | Sequence[int]],
    *,
    max_tokens: int | None = None,
    autocast_dtype: torch.dtype | None = None,
    call: Callable[..., object] | None = None,
    can_halve: bool = True,
    on_progress: Callable[[int], None] | None = None,
) -> InferenceResult:
    """Score S token sequences; shared beginnings and duplicates are computed once per pass.

    Args:
        model: The reward model. Its dropout is off while it scores.
        sequences: S sequences of token ids, each with at least one.
        max_tokens: Computed tokens in one pass; None takes the device's default. When memory runs out it is
            halved and the pass repeated.
        autocast_dtype: Run under autocast in this precision.
        call: What to call instead of the model (the trainer's wrapped one).
        can_halve: Whether a pass may be repeated in halves; not where other processes take part in each.
        on_progress: Called after each pass with the number of given sequences it scored.

    Raises:
        PlauditError: When one sequence alone does not fit into memory, or a pass that may not be halved.
    """
    budget = max_tokens or DEFAULT_MAX_TOKENS.get(model.device.type, DEFAULT_MAX_TOKENS["cpu"])
    packing = pack_sequences(
        sequences, max_tokens=budget, shares_prefixes=model.attention_backend != "padded"
    )
    outputs = np.empty((len(packing.distinct), len(reward_weights(model.config))), dtype=np.float32)
    copies = np.bincount(packing.index_of_given, minlength=len(packing.distinct))
    num_computed = 0
    waiting = packing.passes[::-1]
    with _scoring_mode(model, autocast_dtype):
        while waiting:
            first, last = waiting.pop()
            tree = build_tree_batch(packing.distinct[first:last]).to(model.device)
            try:
                outputs[first:last] = _outputs(call or model, tree)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not is_out_of_memory(error):
                    raise
                if not can_halve:
                    raise _cannot_halve(tree.num_tokens) from error
                budget = _halve(packing, first, last, budget)
                waiting.extend(_halves(first, last))
                continue
            num_computed += tree.num_tokens
            if on_progress is not None:
                on_progress(int(copies[first:last].sum()))
    return InferenceResult(
        rewards=reward_of_outputs(model.config, torch.from_numpy(outputs)).numpy()[packing.index_of_given],
        outputs=outputs[packing.index_of_given],
        num_given_tokens=sum(len(ids) for ids in sequences),
        num_computed_tokens=num_computed,
        max_tokens=budget,
    )


def _outputs(call: Callable[..., object], tree: TreeBatch) -> Float[np.ndarray, "sequence output"]:
    logits = call(tree=tree).logits  # type: ignore[attr-defined]
    return logits.float().cpu().numpy()


@contextlib.contextmanager
def _scoring_mode(model: RewardModel, autocast_dtype: torch.dtype | None):
    was_training = model.training
    model.eval()
    autocast = (
        contextlib.nullcontext()
        if autocast_dtype is None
        else torch.autocast(model.device.type, dtype=autocast_dtype)
    )
    try:
        with torch.no_grad(), autocast:
            yield
    finally:
        model.train(was_training)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on a device or on the host."""
    # torch raises a plain RuntimeError when the CPU's allocator fails.
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _halve(packing: Packing, first: int, last: int, budget: int) -> int:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    num_tokens = sum(len(ids) for ids in packing.distinct[first:last])
    if last - first == 1:
        raise PlauditError(
            f"out of memory on a single sequence of {num_tokens:,} tokens",
            fix="Set a smaller --max-length, load the model in bfloat16, or use a device with more memory.",
        )
    log.warning("out of memory at %d tokens a pass; going on with %d", budget, budget // 2)
    return budget // 2


def _cannot_halve(num_tokens: int) -> PlauditError:
    return PlauditError(
        f"out of memory in a pass of {num_tokens:,} tokens, which cannot be halved: with divided weights all processes "
        "make the same passes",
        where="--max-tokens-per-pass",
        fix=f"Give the same command with --max-tokens-per-pass {max(1, num_tokens // 2)}.",
    )


def _halves(first: int, last: int) -> list[tuple[int, int]]:
    middle = (first + last) // 2
    return [(middle, last), (first, middle)]
