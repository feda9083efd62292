"""What the recipes say: their sources' values, how to run them, what they need, and that help and docs know them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from plaudit.cli.app import app
from plaudit.cli.settings import flag_of, setting_names
from plaudit.cli.train_options import TrainOptions
from plaudit.training.guide import advice

ROOT = Path(__file__).parents[2]
NUM_PARAMETERS = {
    "8bit-single-gpu": 8_030_000_000,
    "debug-cpu": 150_000,
    "llama3.1-8b-gsm8k": 8_030_000_000,
    "lora-single-gpu": 8_030_000_000,
    "qwen2.5-0.5b-ultrafeedback": 494_000_000,
    "smoltulu-1.7b-rm": 1_710_000_000,
    "tulu3-8b-rm": 8_030_000_000,
}
"""Of each recipe's model."""

each_recipe = pytest.mark.parametrize("name", sorted(NUM_PARAMETERS))


def content(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text())


def comment(name: str) -> str:
    lines = (ROOT / "recipes" / f"{name}.yaml").read_text().splitlines()
    return "\n".join(line for line in lines if line.startswith("#"))


def test_every_recipe_is_tested():
    assert sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml")) == sorted(NUM_PARAMETERS)


@each_recipe
def test_the_comment_says_how_to_run_it_and_what_is_whose(name: str):
    text = comment(name)
    assert f"train --config recipes/{name}.yaml" in text
    for word in ("# Source  ", "# Ours  ", "# Hardware  "):
        assert word in text
    if "parallel" in content(name):
        assert "torchrun" in text


@each_recipe
def test_every_key_of_a_recipe_is_explained_by_help(name: str):
    page = CliRunner().invoke(app, ["train", "--help"], env={"COLUMNS": "200"}).output
    for key in content(name):
        assert key in setting_names() or key in TrainOptions.__dataclass_fields__
        assert flag_of(key) in page


@each_recipe
def test_no_recipe_is_far_off_the_guide(name: str):
    said = content(name)
    found = advice(
        NUM_PARAMETERS[name],
        said["learning_rate"],
        said["per_device_train_batch_size"],
        None if "max_steps" in said else said["num_train_epochs"],
        uses_adapter=said.get("use_peft", False),
    )
    assert found == []


def test_every_recipe_is_in_the_docs_with_its_output_folder():
    page = (ROOT / "docs" / "recipes.md").read_text()
    for name in NUM_PARAMETERS:
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert f"`{content(name)['output_dir']}`" in line


PUBLISHED = {
    # TRL's reward modelling guide, its script.
    "qwen2.5-0.5b-ultrafeedback": {
        "model": "Qwen/Qwen2.5-0.5B-Instruct",
        "data": "trl-lib/ultrafeedback_binarized@train",
        "output_dir": "Qwen2.5-Reward",
        "learning_rate": 1e-5,
        "num_train_epochs": 1,
    },
    # The card of SultanR/SmolTulu-1.7b-RM, its training details.
    "smoltulu-1.7b-rm": {
        "model": "SultanR/SmolTulu-1.7b-Instruct",
        "data": "allenai/llama-3.1-tulu-3-8b-preference-mixture",
        "bf16": True,
        "learning_rate": 4e-5,
        "max_length": 2048,
        "num_train_epochs": 1,
        "gradient_checkpointing": True,
    },
    # open-instruct, scripts/train/tulu3/reward_modeling_8b.sh.
    "tulu3-8b-rm": {
        "model": "allenai/Llama-3.1-Tulu-3-8B-SFT",
        "data": "allenai/llama-3.1-tulu-3-8b-preference-mixture",
        "max_length": 4096,
        "max_prompt_length": 2048,
        "learning_rate": 3e-6,
        "lr_scheduler_type": "linear",
        "num_train_epochs": 1,
        "gradient_checkpointing": True,
        "bf16": True,
        "seed": 8,
    },
    # The card of the value-head model, its hyperparameters.
    "llama3.1-8b-gsm8k": {
        "model": "meta-llama/Llama-3.1-8B-Instruct",
        "learning_rate": 1e-5,
        "gradient_accumulation_steps": 16,
        "optim": "adamw_torch",
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "adam_epsilon": 1e-8,
        "lr_scheduler_type": "linear",
        "warmup_steps": 0.03,
        "num_train_epochs": 1,
        "eval_steps": 5,
    },
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_published_recipe_has_the_values_of_its_source(name: str):
    said = content(name)
    assert {key: said.get(key) for key in PUBLISHED[name]} == PUBLISHED[name]


def test_the_batch_of_each_published_recipe_is_that_of_its_source():
    # Comparisons (of GSM8K questions) a step: per device x accumulation x GPUs of the command in the comment.
    for name, num_gpus, batch in (
        ("qwen2.5-0.5b-ultrafeedback", 1, 2),
        ("smoltulu-1.7b-rm", 1, 4),
        ("tulu3-8b-rm", 16, 256),
        ("llama3.1-8b-gsm8k", 8, 128),
    ):
        said = content(name)
        steps = said.get("gradient_accumulation_steps", 1)
        assert said["per_device_train_batch_size"] * steps * num_gpus == batch, name
    assert "--nnodes 2 --nproc-per-node 8" in comment("tulu3-8b-rm")
    assert "--nproc-per-node 8" in comment("llama3.1-8b-gsm8k")
    assert "--nproc-per-node 1" in comment("smoltulu-1.7b-rm")


@pytest.mark.parametrize(
    ("name", "extra"),
    [("lora-single-gpu", "lora"), ("8bit-single-gpu", "quant"), ("tulu3-8b-rm", "deepspeed")],
)
def test_the_comment_names_the_extra_that_it_needs(name: str, extra: str):
    assert f"plaudit[{extra}]" in comment(name) or f",{extra}]" in comment(name)
