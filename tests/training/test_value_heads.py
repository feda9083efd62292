"""Training with a value head: what comes out is what LLaMA-Factory reads, and what resumes is what was interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from plaudit import RewardTrainer, Scorer
from plaudit.errors import PlauditError
from plaudit.model import load_reward_model, reward_model_of
from plaudit.model.inference import rewards_of_sequences
from stand_ins.conversions import ROWS, llama_factory_rewards, write_base
from stand_ins.folders import PAIRS
from stand_ins.runs import quick_config

# peft reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_base("llama", tmp_path_factory.mktemp("base") / "model")


def run(base: Path, folder: Path, *, resume: str | None = None, **settings: Any) -> RewardTrainer:
    """A trained model with a value head; centring is what moves its bias."""
    config = quick_config(
        folder,
        center_rewards_coefficient=0.1,
        max_length=None,
        gradient_checkpointing=False,
        **{"head": "value", "save_strategy": "steps", "save_steps": 2, **settings},
    )
    trainer = RewardTrainer(str(base), args=config, train_dataset=PAIRS[:32])
    trainer.train(resume_from_checkpoint=resume)
    trainer.save_model()
    return trainer


def rewards_in_memory(trainer: RewardTrainer) -> Tensor:
    model = reward_model_of(trainer.model)
    return torch.from_numpy(rewards_of_sequences(model, ROWS).rewards)


def test_llama_factory_reads_the_trained_model_with_its_rewards(base: Path, tmp_path: Path) -> None:
    trainer = run(base, tmp_path / "rm")
    model = reward_model_of(trainer.model)
    assert not hasattr(model, "lm_head")  # so no logits of a language model were ever computed
    expected = rewards_in_memory(trainer)
    torch.testing.assert_close(llama_factory_rewards(tmp_path / "rm"), expected, atol=1e-5, rtol=0)
    head = load_file(tmp_path / "rm" / "value_head.safetensors")
    assert head["v_head.summary.bias"].abs() > 0
    assert json.loads((tmp_path / "rm" / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    stored, of_base = (load_file(folder / "model.safetensors") for folder in (tmp_path / "rm", base))
    assert stored.keys() == of_base.keys()
    assert torch.equal(stored["lm_head.weight"], of_base["lm_head.weight"])
    assert not list((tmp_path / "rm").glob(".score*"))
    again = torch.from_numpy(rewards_of_sequences(load_reward_model(tmp_path / "rm").model, ROWS).rewards)
    torch.testing.assert_close(again, expected, atol=1e-5, rtol=0)
    assert Scorer.from_pretrained(tmp_path / "rm").renderer.rule == trainer.renderer.rule


def test_a_resumed_run_ends_where_the_uninterrupted_one_does(base: Path, tmp_path: Path) -> None:
    whole = rewards_in_memory(run(base, tmp_path / "whole"))
    checkpoint = tmp_path / "whole" / "checkpoint-2"
    resumed = rewards_in_memory(run(base, tmp_path / "resumed", resume=str(checkpoint)))
    assert torch.equal(resumed, whole)
    first, last = (load_file(tmp_path / name / "value_head.safetensors") for name in ("whole", "resumed"))
    assert all(torch.equal(first[name], last[name]) for name in first)
    # A checkpoint is a score head with its bias, in plaudit's own layout.
    stored = load_file(checkpoint / "model.safetensors")
    assert stored["score.bias"].abs() > 0 and not (checkpoint / "value_head.safetensors").exists()
    assert not load_reward_model(checkpoint).has_fresh_head


def test_an_adapter_is_saved_with_its_value_head_beside_it(base: Path, tmp_path: Path) -> None:
    trainer = run(base, tmp_path / "rm", use_peft=True, value_head_format="bin", save_strategy="no")
    expected = rewards_in_memory(trainer)
    config = json.loads((tmp_path / "rm" / "adapter_config.json").read_text())
    assert config["task_type"] == "CAUSAL_LM" and not config["modules_to_save"]
    assert not any("score" in name for name in load_file(tmp_path / "rm" / "adapter_model.safetensors"))
    head = torch.load(tmp_path / "rm" / "value_head.bin", weights_only=True)
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "rm")).eval()
    with torch.no_grad():
        hidden = [
            model(torch.tensor([row]), output_hidden_states=True).hidden_states[-1][0, -1] for row in ROWS
        ]
    rewards = torch.stack(hidden) @ head["v_head.summary.weight"][0] + head["v_head.summary.bias"]
    torch.testing.assert_close(rewards, expected, atol=1e-5, rtol=0)
    assert AutoTokenizer.from_pretrained(tmp_path / "rm").pad_token == "<pad>"


def test_a_score_head_leaves_no_value_head_of_an_earlier_run(base: Path, tmp_path: Path) -> None:
    run(base, tmp_path / "rm", save_strategy="no")
    run(base, tmp_path / "rm", save_strategy="no", head="score")
    assert not list((tmp_path / "rm").glob("value_head.*"))
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"head": "critic"}, "--head: unknown value 'critic'"),
        ({"value_head_format": "pt"}, "--value-head-format: unknown value 'pt'"),
        ({"head": "value", "objective": "attributes", "attributes": "a=1"}, "a value head has one output"),
    ],
)
def test_settings_that_cannot_be_are_errors(settings: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(PlauditError, match=said):
        quick_config(tmp_path, **settings)
