"""The most important test of the project: a tree gives the rewards and gradients of one sequence at a time.

The truth is plain ``AutoModelForSequenceClassification``, each sequence alone, unpadded, in float32.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import PreTrainedModel

from plaudit.model import RewardModel, prepare_reward_model
from plaudit.tree import build_tree_batch
from stand_ins.models import ENCODER_FAMILIES, PADDED_FAMILIES, TREE_FAMILIES, VOCABULARY, build_model

TOLERANCE = 1e-5
"""Largest difference, relative to the largest reward, and to the largest gradient of each parameter."""

ZERO_GRADIENT = 1e-4
"""A parameter whose gradient is below this share of the model's largest is compared at that scale: the gradient of
a key bias, for one, is zero but for rounding (softmax does not see a shift of all scores)."""


def make_sequences() -> list[np.ndarray]:
    """Permuted, duplicated, prefix-of-each-other, single-token completions and a lone token, windows exceeded."""
    rng = np.random.default_rng(0)
    prompt = rng.integers(3, VOCABULARY, 30)
    other = rng.integers(3, VOCABULARY, 25)
    answers = [np.concatenate([prompt, rng.integers(3, VOCABULARY, n)]) for n in (5, 7, 1, 1, 150)]
    sequences = [
        *answers,
        np.concatenate([answers[0], [7, 8, 9]]),  # begins with a whole other sequence
        prompt,
        prompt[:12],
        other,
        np.concatenate([other[:20], rng.integers(3, VOCABULARY, 40)]),
        np.array([5]),
        answers[1].copy(),
    ]
    return [sequences[i] for i in rng.permutation(len(sequences))]


SEQUENCES = make_sequences()
WEIGHTS = torch.linspace(-1.0, 1.5, len(SEQUENCES))


def rewards_one_at_a_time(model: PreTrainedModel) -> torch.Tensor:
    return torch.stack([model(input_ids=torch.tensor(ids)[None]).logits[0, 0] for ids in SEQUENCES])


def gradients(model: PreTrainedModel, rewards: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    (rewards * WEIGHTS).sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def worst_gradient(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    largest = max(float(grad.abs().max()) for grad in expected.values())
    worst = 0.0
    for name, grad in expected.items():
        scale = max(float(grad.abs().max()), ZERO_GRADIENT * largest)
        worst = max(worst, float((ours[name] - grad).abs().max()) / scale)
    return worst


def expect_equal(
    model: PreTrainedModel, backend: str, *, checkpointing: bool, tolerance: float = TOLERANCE
) -> None:
    expected = rewards_one_at_a_time(model)
    expected_gradients = gradients(model, expected)
    expected = expected.detach()
    assert float(expected.std()) > 0.05, "rewards that are all alike would prove nothing"
    reward_model = prepare_reward_model(model, None, attention=backend)
    assert reward_model.attention_backend == backend
    if checkpointing:
        reward_model.activation_checkpointing_enable()
        reward_model.train()  # dropout is off; checkpointing is on in training mode only
    tree = build_tree_batch(SEQUENCES, min_shared_tokens=1)
    rewards = reward_model.rewards(tree)
    gradient_difference = worst_gradient(gradients(reward_model, rewards), expected_gradients)
    difference = float((rewards.detach() - expected).abs().max() / expected.abs().max())
    print(f"{model.config.model_type} {backend} reward {difference:.1e} gradient {gradient_difference:.1e}")
    assert difference <= tolerance
    assert gradient_difference <= tolerance


@pytest.mark.parametrize("checkpointing", [False, True], ids=["plain", "checkpointing"])
@pytest.mark.parametrize("family", TREE_FAMILIES)
def test_tree_rewards_and_gradients_equal_one_at_a_time(family: str, checkpointing: bool) -> None:
    expect_equal(build_model(family), "sdpa", checkpointing=checkpointing)


@pytest.mark.parametrize("family", ["llama", "gemma2", "bloom"])
def test_padded_rewards_and_gradients_equal_one_at_a_time(family: str) -> None:
    expect_equal(build_model(family), "padded", checkpointing=False)


@pytest.mark.parametrize("family", [*PADDED_FAMILIES, *ENCODER_FAMILIES])
def test_models_that_cannot_read_trees_run_padded_and_say_why(family: str) -> None:
    model = build_model(family)
    expected = rewards_one_at_a_time(model).detach()
    reward_model = prepare_reward_model(model, None)
    assert reward_model.attention_backend == "padded"
    assert reward_model.attention_reason not in ("", RewardModel.attention_reason)
    rewards = reward_model.rewards(build_tree_batch(SEQUENCES)).detach()
    assert float((rewards - expected).abs().max()) <= TOLERANCE * float(expected.abs().max())


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("family", ["llama", "gemma2", "gemma3_text", "qwen3"])
def test_flex_rewards_equal_one_at_a_time(family: str) -> None:
    model = build_model(family)
    with torch.no_grad():
        expected = rewards_one_at_a_time(model)
        rewards = prepare_reward_model(model, None, attention="flex").rewards(build_tree_batch(SEQUENCES))
    assert float((rewards - expected).abs().max()) <= TOLERANCE * float(expected.abs().max())


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_the_classes_own_forward_is_as_it_was(family: str) -> None:
    model = build_model(family)
    padded = torch.zeros(2, 20, dtype=torch.long)
    padded[0, :20], padded[1, :9] = torch.arange(3, 23), torch.arange(30, 39)
    mask = (padded != 0).long()
    with torch.no_grad():
        before = model(input_ids=padded, attention_mask=mask).logits
        prepared = prepare_reward_model(model, None)
        after = prepared(input_ids=padded, attention_mask=mask).logits
    assert prepared.attention_backend == "sdpa"
    assert torch.equal(before, after)
    assert type(prepared).__name__ == type(build_model(family)).__name__


@pytest.mark.parametrize("family", TREE_FAMILIES)
def test_bfloat16_tree_rewards_are_as_far_from_float32_as_padded_ones(family: str) -> None:
    model = build_model(family)
    with torch.no_grad():
        expected = rewards_one_at_a_time(model)
        tree = build_tree_batch(SEQUENCES)
        off = {}
        for backend in ("padded", "sdpa"):
            reward_model = prepare_reward_model(model, None, attention=backend)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                off[backend] = float((reward_model.rewards(tree) - expected).abs().mean() / expected.std())
    assert off["sdpa"] <= 2.0 * off["padded"] + 0.01
