"""The same weights, data, order and steps through TRL's RewardTrainer and through ours."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig

from plaudit import RewardConfig, RewardTrainer
from stand_ins.folders import PAIRS, write_reward_model
from stand_ins.tokenizers import CHATML_TEMPLATE

# TRL's base configuration sets a field that transformers renamed; other warnings are its own as well.
pytestmark = pytest.mark.filterwarnings("ignore")


def common_settings(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {
        "per_device_train_batch_size": 4,
        "max_steps": 12,
        "learning_rate": 5e-3,
        "bf16": False,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "save_strategy": "no",
        "train_sampling_strategy": "sequential",
        "disable_tqdm": True,
        "max_length": 256,
        **more,
    }


def loss_curves(
    tmp_path: Path, model: Path, dataset: Dataset, *, peft_config: Any = None, **more: Any
) -> tuple[list[float], list[float]]:
    import trl

    settings = common_settings(tmp_path, **more)
    theirs = trl.RewardTrainer(
        model=str(model),
        args=trl.RewardConfig(str(tmp_path / "trl"), **settings),
        train_dataset=dataset,
        peft_config=copy.deepcopy(peft_config),  # peft writes into it
    )
    ours = RewardTrainer(
        model=str(model),
        args=RewardConfig(str(tmp_path / "ours"), **settings),
        train_dataset=dataset,
        peft_config=copy.deepcopy(peft_config),
    )
    expect_same_start(theirs.model, ours.model)
    curves = []
    for trainer in (theirs, ours):
        trainer.train()
        curves.append([line["loss"] for line in trainer.state.log_history if "loss" in line])
    return curves[0], curves[1]


def expect_same_start(theirs: Any, ours: Any) -> None:
    """The same weights are trained, from the same values: an adapter's too, which the seed draws."""
    starts = [{n: p for n, p in model.named_parameters() if p.requires_grad} for model in (theirs, ours)]
    assert starts[0].keys() == starts[1].keys()
    assert all(torch.equal(starts[0][name], starts[1][name]) for name in starts[0])


def expect_same(curves: tuple[list[float], list[float]]) -> None:
    theirs, ours = curves
    assert len(theirs) == len(ours) == 12
    assert max(theirs) - min(theirs) > 0.05, "a flat curve would prove nothing"
    assert max(abs(a - b) for a, b in zip(theirs, ours, strict=True)) < 1e-3


@pytest.mark.parametrize(
    "settings",
    [
        {"gradient_checkpointing": False},
        {"gradient_checkpointing": True},
        {"gradient_checkpointing": False, "gradient_accumulation_steps": 4},
        {"gradient_checkpointing": False, "center_rewards_coefficient": 0.05},
    ],
    ids=["plain", "checkpointing", "accumulation", "centering"],
)
def test_loss_curves_equal_trls_at_every_step(tmp_path: Path, settings: dict[str, Any]) -> None:
    model = write_reward_model(tmp_path / "base")
    expect_same(loss_curves(tmp_path, model, Dataset.from_list(PAIRS), **settings))


def test_loss_curves_equal_trls_with_margins(tmp_path: Path) -> None:
    pairs = [{**pair, "margin": (i % 4) / 2} for i, pair in enumerate(PAIRS)]
    model = write_reward_model(tmp_path / "base")
    expect_same(loss_curves(tmp_path, model, Dataset.from_list(pairs), gradient_checkpointing=False))


@pytest.mark.parametrize("gradient_accumulation_steps", [1, 4])
def test_loss_curves_equal_trls_with_lora_and_the_head_trained(
    tmp_path: Path, gradient_accumulation_steps: int
) -> None:
    # SEQ_CLS is the one task type under which TRL trains and saves the head.
    config = LoraConfig(
        task_type="SEQ_CLS",
        modules_to_save=["score"],
        r=8,
        lora_alpha=16,
        target_modules=["q_proj", "v_proj"],
    )
    model = write_reward_model(tmp_path / "base")
    settings = {"gradient_checkpointing": False, "gradient_accumulation_steps": gradient_accumulation_steps}
    expect_same(loss_curves(tmp_path, model, Dataset.from_list(PAIRS), peft_config=config, **settings))


IMPLICIT = [{key: pair["prompt"] + pair[key] for key in ("chosen", "rejected")} for pair in PAIRS]


def as_turns(pair: dict[str, str], *, with_prompt: bool) -> dict[str, Any]:
    user, answers = {"role": "user", "content": pair["prompt"]}, ("chosen", "rejected")
    turns = {key: [{"role": "assistant", "content": pair[key]}] for key in answers}
    if with_prompt:
        return {"prompt": [user], **turns}
    return {key: [user, *turns[key]] for key in answers}


@pytest.mark.parametrize(
    "pairs",
    [
        IMPLICIT,
        [as_turns(pair, with_prompt=True) for pair in PAIRS],
        [as_turns(pair, with_prompt=False) for pair in PAIRS],
    ],
    ids=["implicit text", "explicit conversation", "implicit conversation"],
)
def test_loss_curves_equal_trls_in_every_form_of_data(tmp_path: Path, pairs: list[dict[str, Any]]) -> None:
    template = None if isinstance(pairs[0]["chosen"], str) else CHATML_TEMPLATE
    model = write_reward_model(tmp_path / "base", chat_template=template)
    settings = {"gradient_checkpointing": False, "max_length": 512}
    expect_same(loss_curves(tmp_path, model, Dataset.from_list(pairs), **settings))


def test_loss_curves_equal_trls_on_hh_rlhf(tmp_path: Path, shared_data: Path) -> None:
    lines = (shared_data / "hh-rlhf" / "helpful.jsonl").read_text("utf-8").splitlines()[:48]
    pairs = [{key: json.loads(line)[key] for key in ("prompt", "chosen", "rejected")} for line in lines]
    model = write_reward_model(tmp_path / "base", max_position_embeddings=2048)
    settings = {"gradient_checkpointing": False, "max_length": 2048}
    expect_same(loss_curves(tmp_path, model, Dataset.from_list(pairs), **settings))
