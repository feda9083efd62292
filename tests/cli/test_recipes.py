"""Every recipe runs: two steps on a small model and data of the format that the recipe names.

Only what a small machine forces is overridden. What is not overridden must reach the trainer as the file says it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification

from plaudit.cli.train_options import TrainOptions
from stand_ins.folders import write_causal_model
from stand_ins.tokenizers import CHATML_TEMPLATE, LLAMA3_LIKE_TEMPLATE

Record = dict[str, Any]

FOLDER = Path(__file__).parents[2] / "recipes"
BASES = {"llama": LLAMA3_LIKE_TEMPLATE, "chatml": CHATML_TEMPLATE, "plain": None}
OVERRIDDEN = {"model", "data", "eval_data", "output_dir", "max_steps", "use_cpu", "parallel"}


def turn(role: str, content: str) -> Record:
    return {"role": role, "content": content}


def trl_ultrafeedback(i: int) -> Record:
    """trl-lib/ultrafeedback_binarized: whole conversations and their scores, no prompt; some answers are empty."""
    question = turn("user", f"Name {i} animals.")
    answers = (f"A cat, and {i} dogs.", "" if i == 7 else f"I will not name {i}.")
    chosen, rejected = ([question, turn("assistant", answer)] for answer in answers)
    return {"chosen": chosen, "rejected": rejected, "score_chosen": 8.0 + i / 100, "score_rejected": 3.5}


def tulu_mixture(i: int) -> Record:
    """allenai/llama-3.1-tulu-3-8b-preference-mixture: a prompt and whole conversations, some of several turns."""
    before = [turn("user", "Hello."), turn("assistant", "Hello! What is it?")] if i % 3 == 0 else []
    question = f"What is {i} and {i}?"
    chosen = [*before, turn("user", question), turn("assistant", f"It is {2 * i}.")]
    rejected = [*before, turn("user", question), turn("assistant", f"Perhaps {2 * i + 1}, who knows.")]
    prompt = before[0]["content"] if before else question
    return {"id": f"made-{i}", "source": "made", "prompt": prompt, "chosen": chosen, "rejected": rejected}


def cleaned_ultrafeedback(i: int) -> Record:
    """allenai/ultrafeedback_binarized_cleaned: the same with scores, in which some pairs tie."""
    record = tulu_mixture(3 * i + 1)
    return record | {
        "score_chosen": 7.0,
        "score_rejected": 7.0 if i == 3 else 4.0,
        "messages": record["chosen"],
    }


def verified_samples(i: int) -> Record:
    """Questions with sampled answers, each right or wrong; in one question all are wrong."""
    answers = [2 * i, 2 * i + 1, 2 * i, i - 5, 2 * i + 2]
    samples = [
        {"text": f"{i} + {i} = {n}, by way {k}.", "is_correct": n == 2 * i and i != 4}
        for k, n in enumerate(answers)
    ]
    return {"prompt": f"Janet has {i} eggs and buys as many. How many has she?", "samples": samples}


@dataclass(frozen=True, kw_only=True)
class StandIn:
    """What takes the place of a recipe's model and data."""

    base: str
    """Key of `BASES`."""
    data: Callable[[int], Record]
    """A record of the training data's format."""
    eval_data: Callable[[int], Record]
    """A record of the evaluation data's format."""


UF, TULU, CLEANED, SAMPLES = trl_ultrafeedback, tulu_mixture, cleaned_ultrafeedback, verified_samples
STAND_INS = {
    "8bit-single-gpu": StandIn(base="llama", data=UF, eval_data=UF),
    "debug-cpu": StandIn(base="plain", data=SAMPLES, eval_data=SAMPLES),
    "llama3.1-8b-gsm8k": StandIn(base="llama", data=SAMPLES, eval_data=SAMPLES),
    "lora-single-gpu": StandIn(base="llama", data=UF, eval_data=UF),
    "qwen2.5-0.5b-ultrafeedback": StandIn(base="chatml", data=UF, eval_data=UF),
    "smoltulu-1.7b-rm": StandIn(base="chatml", data=TULU, eval_data=CLEANED),
    "tulu3-8b-rm": StandIn(base="llama", data=TULU, eval_data=CLEANED),
}
each_recipe = pytest.mark.parametrize("name", sorted(STAND_INS))


def content(name: str) -> Record:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small causal model for each kind of chat template."""
    folder = tmp_path_factory.mktemp("bases")
    return {name: write_causal_model(folder / name, chat_template=BASES[name]) for name in BASES}


@pytest.fixture(scope="module")
def train_recipe(tmp_path_factory: pytest.TempPathFactory, bases: dict[str, Path]) -> Callable[[str], Path]:
    """Two steps of a recipe, once for all tests; its output folder."""
    from plaudit.cli import main

    folder, done = tmp_path_factory.mktemp("runs"), {}

    def write(path: Path, records: list[Record]) -> Path:
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return path

    def train(name: str) -> Path:
        if name not in done:
            stand_in = STAND_INS[name]
            data = write(folder / f"{name}.jsonl", [stand_in.data(i) for i in range(40)])
            eval_data = write(folder / f"{name}-eval.jsonl", [stand_in.eval_data(i) for i in range(5)])
            words = ["train", "--config", FOLDER / f"{name}.yaml", "--output-dir", folder / name, "--quiet"]
            words += ["--model", bases[stand_in.base], "--data", data, "--eval-data", eval_data]
            words += ["--max-steps", "2", "--use-cpu", "true"]
            words += ["--parallel", "none"] if "parallel" in content(name) else []
            assert main([str(word) for word in words]) == 0
            done[name] = folder / name
        return done[name]

    return train


def test_every_recipe_is_tested():
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(STAND_INS)


@each_recipe
def test_what_a_recipe_says_reaches_the_trainer(name: str, train_recipe: Callable[[str], Path]):
    folder, said = train_recipe(name), content(name)
    args = torch.load(folder / "training_args.bin", weights_only=False)
    options = yaml.safe_load((folder / "run.yaml").read_text())
    for key, value in said.items():
        if key in OVERRIDDEN:
            continue
        reached = options[key] if key in TrainOptions.__dataclass_fields__ else getattr(args, key)
        assert reached == value, key


@each_recipe
def test_a_recipe_trains_two_steps_and_evaluates(name: str, train_recipe: Callable[[str], Path]):
    folder = train_recipe(name)
    state = json.loads((folder / "trainer_state.json").read_text())
    assert state["global_step"] == 2
    results = json.loads((folder / "all_results.json").read_text())
    assert 0 <= results["eval_rm/accuracy"] <= 1
    # 5 records: pairs, one of which ties in the cleaned data; or 2 right x 3 wrong answers but where none is right.
    assert results["eval_num_comparisons"] == {UF: 5, CLEANED: 5, SAMPLES: 24}[STAND_INS[name].eval_data]


# peft asks transformers by the old name.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@each_recipe
def test_the_folder_of_a_recipe_loads_in_plain_libraries(
    name: str, train_recipe: Callable[[str], Path], bases: dict[str, Path]
):
    folder = train_recipe(name)
    if content(name).get("use_peft") and not content(name).get("merge_adapter"):
        from peft import AutoPeftModelForSequenceClassification

        model = AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=1)
        assert model.active_peft_config.base_model_name_or_path == str(bases[STAND_INS[name].base])
    else:
        model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]
    assert model.config.num_labels == 1


@each_recipe
def test_a_recipe_trains_its_head(name: str, train_recipe: Callable[[str], Path], bases: dict[str, Path]):
    from plaudit.model import load_reward_model

    folder, seed = train_recipe(name), content(name).get("seed", 42)
    (file,) = folder.glob("*model.safetensors")
    ((_, trained),) = [(key, w) for key, w in load_file(file).items() if ".score." in f".{key}"]
    kwargs = content(name).get("model_init_kwargs")
    base = bases[STAND_INS[name].base]
    fresh = load_reward_model(base, allow_fresh_head=True, seed=seed, model_init_kwargs=kwargs).model
    start = fresh.score.weight.detach().float()
    # In bfloat16 a step of this length would be lost in rounding.
    assert trained.dtype == torch.float32
    moved = (trained - start).abs().max()
    # Adam's steps are about as long as the learning rate, of which there were two.
    assert 0 < moved < 2.5 * content(name)["learning_rate"]
