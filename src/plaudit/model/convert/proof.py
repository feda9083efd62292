"""The proof of a conversion: the same conversations scored before and after, in float32, one model at a time.

Conversations are rendered by the source's tokenizer and by the new folder's; their ids have to agree. What a cast or
a merge rounds is computed for itself: the source's weights are rounded in memory and scored again, and the new folder
has to agree with that within the tolerance of float32.
"""

from __future__ import annotations

import gc
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn
from transformers import PreTrainedTokenizerBase

from plaudit.errors import PlauditError
from plaudit.model.adapter import has_adapter
from plaudit.model.checkpoint import CheckpointFacts, inspect_checkpoint
from plaudit.model.convert.precision import computing_in_float32
from plaudit.model.convert.side_files import SideFiles
from plaudit.model.head import head_of
from plaudit.model.inference import rewards_of_sequences
from plaudit.model.loading import load_reward_model
from plaudit.model.merging import merge_adapter
from plaudit.model.quantization import is_quantized
from plaudit.model.reward_model import RewardModel
from plaudit.model.tensor_files import TensorFiles
from plaudit.tokens import Renderer

__all__ = ["CONVERSATIONS", "TOLERANCE", "Proof", "Scored", "compare", "score_converted", "score_source"]

TOLERANCE = 1e-5
"""Largest difference of two rewards, relative to the largest reward where that is above 1 (the house's bound on the
same reward by two paths in float32)."""

CONVERSATIONS = (
    ("What is the capital of France?", "The capital of France is Paris."),
    ("What is the capital of France?", "Bananas."),
    ("Write a function that adds two numbers.", "def add(a, b):\n    return a + b"),
    ("How do I boil an egg?", "Put it into boiling water, wait seven minutes, and cool it under cold water."),
    ("Explain photosynthesis to a child.", "Plants eat light! They use it to turn air and water into sugar."),
    ("¿Cuánto es 12 por 12?", "Doce por doce son 144. ¡Fácil!"),
    ("Summarise: the meeting was moved from Monday to Wednesday at 3 pm.", "The meeting is on Wednesday."),
    ("I feel sad today.", "I am sorry to hear that. Would you like to talk about what happened?"),
)
"""Prompts and answers: good ones and a bad one, code, several lines, letters beyond ASCII."""

NUM_RANDOM_IDS = (3, 9, 17, 33)
"""Lengths of the sequences of random ids that are scored where there is no tokenizer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """Rewards of the conversations under the source."""

    sequences: Sequence[np.ndarray]
    """Their token ids."""
    rewards: Float[np.ndarray, " conversation"]
    """In float32, from the weights as they are stored."""
    expected: Float[np.ndarray, " conversation"]
    """From the weights merged and rounded as they were written; the same where nothing was."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Proof:
    """What the comparison of before and after found."""

    num_conversations: int
    largest_difference: float
    """Between the new folder's rewards and what they have to be."""
    tolerance: float
    """What it may be."""
    rounding: float
    """By how much the cast or the merge itself moved a reward at most; 0 without one."""

    @property
    def holds(self) -> bool:
        """Whether the difference is within the tolerance (NaN is not)."""
        return self.largest_difference <= self.tolerance

    def line(self) -> str:
        """The outcome in words."""
        rounded = (
            f" (rounding of the weights moved rewards by up to {self.rounding:.1e})" if self.rounding else ""
        )
        return (
            f"proof: {self.num_conversations} conversations scored before and after in float32, largest difference "
            f"{self.largest_difference:.1e} (allowed: {self.tolerance:.1e}){rounded}"
        )


def score_source(
    facts: CheckpointFacts,
    sides: SideFiles,
    written: Mapping[str, torch.dtype],
    *,
    merges: bool,
    head_key: str | None,
) -> Scored:
    """The rewards of the source, and what they have to be afterwards but for a bias that is dropped.

    Args:
        facts: The source.
        sides: Its tokenizer and record.
        written: The dtype of every tensor that was written, by name.
        merges: Whether its adapter was merged.
        head_key: The name of its head where that is an unusual one.
    """
    model = _load(facts.path, sides.tokenizer, head_key=head_key)
    renderer = sides.renderer()
    sequences = _rendered(renderer) if renderer is not None else _random_ids(model)
    rewards = _rewards(model, sequences)
    expected = rewards
    if merges and has_adapter(model):
        model = _merged(model)
        expected = _rewards(model, sequences)
    if _round_as_written(model, written):
        expected = _rewards(model, sequences)
    return Scored(sequences=sequences, rewards=rewards, expected=expected)


def score_converted(
    folder: Path, scored: Scored, sides: SideFiles, origin: SideFiles
) -> Float[np.ndarray, " conversation"]:
    """The rewards of the new folder for the same conversations.

    Raises:
        PlauditError: Its tokenizer gives other ids.
    """
    before, after = origin.renderer(), sides.renderer()
    if before is not None:
        ids = [] if after is None else _rendered(after)
        if len(ids) != len(scored.sequences) or not all(
            np.array_equal(a, b) for a, b in zip(ids, scored.sequences, strict=True)
        ):
            raise PlauditError(
                "the new folder's tokenizer gives other ids than the source's",
                where=str(origin.folder),
                fix="This is a mistake of plaudit's: please report it with the tokenizer's files.",
            )
    return _rewards(_load(folder, sides.tokenizer, head_key=None), scored.sequences)


def compare(scored: Scored, after: Float[np.ndarray, " conversation"], *, shift: float) -> Proof:
    """Before and after, once every reward has moved by ``shift``."""
    expected = scored.expected.astype(np.float64) + shift
    largest = float(np.abs(expected).max(initial=0.0))
    # The source's float32 sums hold the bias, which may be large beside what is left without it.
    held = float(np.spacing(np.abs(scored.expected).max(initial=0.0))) if shift else 0.0
    return Proof(
        num_conversations=len(scored.sequences),
        largest_difference=float(np.abs(after - expected).max()),
        tolerance=TOLERANCE * max(1.0, largest) + held,
        rounding=float(np.abs(scored.expected - scored.rewards).max()),
    )


def _load(path: Path, tokenizer: PreTrainedTokenizerBase | None, *, head_key: str | None) -> RewardModel:
    """A folder's model in the widest dtype that its tensors have."""
    gc.collect()
    facts = inspect_checkpoint(path, head_key=head_key)
    files = facts.open_tensors()
    # peft computes with a base layer's weights in places that no call of the layer sees (DoRA's norms).
    widest = torch.float32 if facts.is_adapter else _widest(files)
    model = load_reward_model(
        path, tokenizer=tokenizer, attention="padded", dtype=widest, head_key=head_key
    ).model
    head: Any = head_of(model)
    key = facts.head_weight_key
    if facts.is_adapter or not isinstance(head, nn.Linear):
        return model
    # The head of a 16-bit model may be stored in float32, and computes in float32 wherever plaudit runs.
    for stored, parameter in ((key, head.weight), (facts.head_bias_key, head.bias)):
        if stored is None or parameter is None:
            continue
        if files.dtype(stored).itemsize > parameter.dtype.itemsize:
            parameter.data = files.tensor(stored).reshape(parameter.shape).float()
    return model


def _widest(files: TensorFiles) -> torch.dtype:
    """What holds every tensor's values; a head of one row is widened on its own."""
    dtypes = {
        files.dtype(name) for name in files.names() if len(shape := files.shape(name)) > 1 and shape[0] > 1
    }
    kinds = {dtype for dtype in dtypes if dtype.is_floating_point}
    return kinds.pop() if kinds in ({torch.float16}, {torch.bfloat16}) else torch.float32


def _rewards(model: RewardModel, sequences: Sequence[np.ndarray]) -> Float[np.ndarray, " conversation"]:
    with computing_in_float32(model):
        return rewards_of_sequences(model, sequences).rewards


def _rendered(renderer: Renderer) -> list[np.ndarray]:
    space = "" if renderer.render == "chat" else " "
    return [renderer.token_ids(prompt, space + answer) for prompt, answer in CONVERSATIONS]


def _random_ids(model: RewardModel) -> list[np.ndarray]:
    generator = np.random.default_rng(zlib.crc32(b"plaudit convert"))
    num_tokens = model.config.get_text_config().vocab_size
    return [generator.integers(0, num_tokens, size=length, dtype=np.int32) for length in NUM_RANDOM_IDS]


def _merged(model: RewardModel) -> RewardModel:
    """The model with its adapter merged; in place where its weights are what they seem."""
    if is_quantized(model):
        return merge_adapter(model)
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in list(model.modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
    return model


def _round_as_written(model: RewardModel, written: Mapping[str, torch.dtype]) -> bool:
    """Round the weights, in place, to what they were written in; whether that was narrower for one."""
    changed = False
    for name, parameter in model.named_parameters():
        plain = name.replace(".base_layer.", ".").replace(".modules_to_save.", ".").replace(".default.", ".")
        dtype = written.get(plain, parameter.dtype)
        if dtype.is_floating_point and dtype.itemsize < parameter.dtype.itemsize:
            parameter.data = parameter.data.to(dtype)
            changed = True
    return changed
