"""fp8: the backbone's products while training, and nothing else. (Without a GPU torchao emulates them.)"""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import AutoModelForSequenceClassification

from plaudit import RewardConfig, RewardTrainer
from plaudit.errors import PlauditError
from plaudit.model import prepare_reward_model
from plaudit.model.head import head_of
from plaudit.tree import build_tree_batch
from stand_ins.folders import PAIRS, write_reward_model
from stand_ins.models import build_model
from stand_ins.runs import quick_config

torchao = pytest.importorskip("torchao")

from plaudit.training.fp8 import use_fp8  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # torchao's own, on import

WIDTHS = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2}

TREE = build_tree_batch([[5, 6, 7, 8, 9], [5, 6, 7, 10, 11, 12, 13]])


def rounded(values: torch.Tensor) -> torch.Tensor:
    """To float8 (e4m3, largest number 448) with one scale, and back."""
    scale = 448 / values.abs().max()
    return (values * scale).to(torch.float8_e4m3fn).float() / scale


def test_while_training_both_factors_of_a_product_are_rounded_to_eight_bits():
    model = prepare_reward_model(build_model("llama", **WIDTHS, head_dim=16), None).train()
    assert use_fp8(model, is_emulated=True) == 7 * len(model.model.layers)
    assert type(model.model.layers[0].mlp.up_proj) is type(model.model.layers[1].mlp.up_proj)
    layer, inputs = model.model.layers[0].mlp.up_proj, torch.randn(7, 64)
    expected = rounded(inputs) @ rounded(layer.weight.detach()).T
    torch.testing.assert_close(layer(inputs).detach(), expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected, inputs @ layer.weight.T, rtol=1e-2)


def test_gradients_reach_every_weight_and_keep_its_precision():
    model = prepare_reward_model(build_model("llama", **WIDTHS, head_dim=16), None).train()
    use_fp8(model, is_emulated=True)
    model.rewards(TREE).square().sum().backward()
    for name, weight in model.named_parameters():
        assert weight.grad.dtype == torch.float32 and weight.grad.abs().max() > 0, name


def test_rewards_are_read_in_the_precision_of_the_weights():
    model = prepare_reward_model(build_model("llama", **WIDTHS, head_dim=16), None)
    plain, names = model.rewards(TREE), list(model.state_dict())
    use_fp8(model, is_emulated=True)
    torch.testing.assert_close(model.eval().rewards(TREE), plain, rtol=0, atol=0)
    assert list(model.state_dict()) == names


def test_the_head_and_an_adapters_matrices_stay_as_they_are():
    from peft import LoraConfig, get_peft_model

    model = prepare_reward_model(build_model("llama", **WIDTHS, head_dim=16), None)
    adapted = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear", modules_to_save=["score"]))
    inside = adapted.get_base_model()
    use_fp8(inside, is_emulated=True)
    kinds = {
        name: type(part).__name__ for name, part in adapted.named_modules() if isinstance(part, nn.Linear)
    }
    assert {kind for name, kind in kinds.items() if "lora_" in name or "score" in name} == {"Linear"}
    assert {kind for name, kind in kinds.items() if name.endswith("base_layer")} == {"TrainingFloat8Linear"}
    assert isinstance(head_of(inside), nn.Module)


def test_a_model_whose_widths_the_hardware_cannot_take_is_an_error():
    model = prepare_reward_model(build_model("llama", hidden_size=24, intermediate_size=40), None)
    with pytest.raises(PlauditError, match=r"--fp8: .*multiples of 16"):
        use_fp8(model, is_emulated=True)


def test_a_run_says_that_it_is_emulated_learns_and_saves_a_plain_folder(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    folder = write_reward_model(tmp_path / "base")
    args = quick_config(tmp_path / "out", fp8=True, max_steps=8, learning_rate=1e-2, logging_steps=1)
    with caplog.at_level(logging.WARNING, logger="plaudit"):
        trainer = RewardTrainer(
            str(folder), args, train_dataset=Dataset.from_list(PAIRS), eval_dataset=Dataset.from_list(PAIRS)
        )
    assert "it is emulated" in caplog.text
    trainer.train()
    losses = [line["rm/loss"] for line in trainer.state.log_history if "rm/lr" in line]
    assert losses[-1] < losses[0]
    trainer.save_model()
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert type(plain.model.layers[0].mlp.up_proj) is nn.Linear
    for ours, saved in zip(trainer.model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, saved)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"load_in_4bit": True}, "quantised weights"), ({"parallel": "zero2"}, "not tried under DeepSpeed")],
)
def test_what_fp8_does_not_go_with_is_said_before_anything_is_loaded(settings: dict, message: str):
    with pytest.raises(PlauditError, match=message):
        RewardConfig("out", fp8=True, use_cpu=True, **settings)
