"""Between log lines the host reads nothing that the device computes.

The step runs on torch's meta device, whose tensors have shapes and no values: whatever asks for a value (``item``, a
truth value, a copy to the host, an index by a mask) raises there, in Python and in torch's own code.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

from plaudit import RewardConfig, RewardTrainer
from plaudit.model import set_backend
from plaudit.objective import OBJECTIVES, Prediction, choose_objective
from plaudit.tokens import TokenGroup
from plaudit.training.batch import TreeCollator
from plaudit.tree import build_tree_batch
from plaudit.tree.flex_attention import _block_mask
from plaudit.tree.varlen_attention import varlen_segments
from stand_ins.folders import PAIRS, write_reward_model

META = torch.device("meta")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("model") / "reward")


@pytest.fixture(autouse=True)
def autocast_knows_the_meta_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch has no autocast there; the code under test turns it off in places."""
    autocast, is_enabled = torch.autocast, torch.is_autocast_enabled
    monkeypatch.setattr(
        torch, "autocast", lambda kind, **more: nullcontext() if kind == "meta" else autocast(kind, **more)
    )
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda kind="cpu": kind != "meta" and is_enabled(kind))


def trainer_on_meta(folder: Path, output: Path, backend: str, **settings: Any) -> RewardTrainer:
    """A trainer whose model, and whose device, have no values."""
    args = RewardConfig(
        str(output), bf16=False, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True, **settings
    )
    trainer = RewardTrainer(str(folder), args, train_dataset=Dataset.from_list(PAIRS))
    trainer.create_optimizer_and_scheduler(num_training_steps=10)
    model = trainer._reward_model()
    set_backend(model, backend)
    if args.gradient_checkpointing:
        enable = (
            getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
        )
        enable()
    model.to("meta")
    vars(args)["_setup_devices"] = META  # what `args.device` returns
    trainer.state.max_steps = 10
    return trainer


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("max_tokens", [None, 60])
def test_a_training_step_reads_nothing_back(
    folder: Path, tmp_path: Path, max_tokens: int | None, checkpointing: bool
) -> None:
    """Over trees. (Padded rows do: transformers looks whether a mask hides anything.)"""
    trainer = trainer_on_meta(
        folder, tmp_path, "sdpa", max_tokens_per_pass=max_tokens, gradient_checkpointing=checkpointing
    )
    groups = [trainer.train_dataset[i] for i in range(8)]
    batches = [trainer.data_collator(groups[:4]), trainer.data_collator(groups[4:])]
    assert (len(batches[0].passes) > 1) == (max_tokens is not None)
    batches, weights = trainer.get_batch_samples(iter(batches), 2, META)
    trainer.accelerator.gradient_state._set_sync_gradients(True)
    loss = sum(trainer.training_step(trainer.model, batch, weights) for batch in batches)
    assert loss.device == META and loss.dim() == 0
    gradients = [p.grad for p in trainer.model.parameters()]
    assert all(gradient is not None and gradient.device == META for gradient in gradients)


def test_a_log_line_is_what_reads_values(folder: Path, tmp_path: Path) -> None:
    """So that the test above cannot pass because nothing is ever asked."""
    trainer = trainer_on_meta(folder, tmp_path, "sdpa")
    batch = trainer.data_collator([trainer.train_dataset[0]])
    trainer.training_step(trainer.model, batch, batch.total_weights.to(META))
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        trainer.meter.drain(trainer.accelerator)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_an_objective_reads_nothing_back(name: str) -> None:
    rng = np.random.default_rng(0)
    group = TokenGroup(
        sequences=tuple(rng.integers(3, 99, 5).astype(np.int32) for _ in range(3)),
        num_prompt_tokens=0,
        better=np.array([0, 0, 1], dtype=np.int32),
        worse=np.array([1, 2, 2], dtype=np.int32),
        margin=np.zeros(3, dtype=np.float32),
        weight=np.ones(3, dtype=np.float32),
        is_tie=np.array([False, True, False]),
        ratings=np.array([0.9, 0.5, np.nan], dtype=np.float32),
        attributes=np.array([[1.0, 2.0], [np.nan, 1.0], [0.0, 0.0]], dtype=np.float32),
    )
    objective = choose_objective({name: 1.0}, center_rewards_coefficient=0.01)
    collate = TreeCollator(objective=objective)
    batch = collate([group, replace(group, is_tie=np.zeros(3, dtype=np.bool_))])
    (part,) = batch.passes
    outputs = torch.zeros(6, 2 if name == "attributes" else 1, device=META, requires_grad=True)
    prediction = Prediction(rewards=outputs[:, 0], outputs=outputs)
    sums = objective.sums(prediction, part.judgements.to(META))
    objective.loss(sums, batch.total_weights.to(META)).backward()
    assert outputs.grad is not None


def test_what_the_gpu_backends_derive_from_a_tree_reads_nothing_back() -> None:
    """Their kernels need a GPU; what they make of a tree once a batch does not."""
    tree = build_tree_batch([[1] * 20 + [i] * 9 for i in range(2, 5)]).to(META)
    for window in (None, 16):
        assert _block_mask(tree, 128, window).shape == (1, 1, 128, 128)
    segments = varlen_segments(tree.plan, META)
    assert (segments.max_queries, segments.max_keys) == (20, 29)
