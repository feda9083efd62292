"""A loss or gradient that is not finite ends the run before the weights of a checkpoint are touched."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from plaudit import RewardConfig, RewardTrainer
from plaudit.errors import PlauditError
from stand_ins.folders import PAIRS, write_reward_model
from stand_ins.forked import start_ranks

SCRIPT = Path(__file__).with_name("not_finite_run.py")

POISONED = 13
"""The pair with a character that no other has, whose embedding is NaN."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that gives NaN for one pair, and finite rewards for all others."""
    folder = write_reward_model(tmp_path_factory.mktemp("model") / "poisoned")
    token = AutoTokenizer.from_pretrained(folder)("€").input_ids[0]
    weights = load_file(folder / "model.safetensors")
    weights["model.embed_tokens.weight"][token] = math.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    pairs = [dict(pair) for pair in PAIRS[:32]]
    pairs[POISONED]["chosen"] += "€"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return path


def build(model: Path, folder: Path, data: Path, **settings: Any) -> RewardTrainer:
    args = RewardConfig(
        str(folder),
        per_device_train_batch_size=4,
        train_sampling_strategy="sequential",
        bf16=False,
        use_cpu=True,
        report_to=[],
        gradient_checkpointing=False,
        disable_tqdm=True,
        **({"max_steps": 6, "save_steps": 1} | settings),
    )
    return RewardTrainer(str(model), args, train_dataset=str(data))


def finite(folder: Path) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in load_file(folder / "model.safetensors").values())


def test_a_loss_of_nan_names_the_step_and_the_groups_and_stops_before_the_update(
    poisoned: Path, data: Path, tmp_path: Path
) -> None:
    trainer = build(poisoned, tmp_path / "run", data, max_tokens_per_pass=80)
    # The fourth batch of four; a pass has two or three pairs.
    group = rf"group {POISONED} \(.*pairs.jsonl:{POISONED + 1}\)"
    place = rf"step 4: the loss is not finite.*loss nan in the pass over .*{group}"
    with pytest.raises(PlauditError, match=place) as error:
        trainer.train()
    assert "group 3 " not in str(error.value) and str(error.value).count("group ") <= 3
    assert "--learning-rate" in str(error.value)
    assert sorted(path.name for path in (tmp_path / "run").glob("checkpoint-*")) == [
        f"checkpoint-{n}" for n in (1, 2, 3)
    ]
    last = load_file(tmp_path / "run" / "checkpoint-3" / "model.safetensors")
    for name, tensor in trainer._reward_model().state_dict().items():
        assert torch.equal(tensor, last[name]) or name == "model.embed_tokens.weight", "the step was made"


def test_weights_that_blow_up_stop_at_the_step_that_meets_them(
    model: Path, data: Path, tmp_path: Path
) -> None:
    trainer = build(model, tmp_path / "run", data, learning_rate=1e30, lr_scheduler_type="constant")
    with pytest.raises(PlauditError, match=r"step 2: the loss is not finite"):
        trainer.train()
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-1"]


def overflow_from(trainer: RewardTrainer, num_backwards: int) -> None:
    """The head's gradient is infinite after so many backward passes, as by an overflow in a kernel."""
    seen = [0]

    def hook(grad: torch.Tensor) -> torch.Tensor:
        seen[0] += 1
        return grad * math.inf if seen[0] > num_backwards else grad

    trainer._reward_model().score.weight.register_hook(hook)  # type: ignore[union-attr]


@pytest.mark.parametrize("save_steps", [1, 100])
def test_an_infinite_gradient_never_reaches_a_checkpoint(
    model: Path, data: Path, tmp_path: Path, save_steps: int
) -> None:
    trainer = build(model, tmp_path / "run", data, save_steps=save_steps)
    overflow_from(trainer, 2)
    with pytest.raises(PlauditError, match=r"step 3: the norm of the gradient was (inf|nan)"):
        trainer.train()
    assert trainer.state.global_step == 3
    saved = sorted((tmp_path / "run").glob("checkpoint-*"))
    assert len(saved) == (2 if save_steps == 1 else 0)
    assert all(map(finite, saved))
    assert not (tmp_path / "run" / "_saving").exists()


def test_without_anything_infinite_no_step_is_stopped(model: Path, data: Path, tmp_path: Path) -> None:
    trainer = build(model, tmp_path / "run", data)
    assert trainer.train().global_step == 6


@pytest.mark.parametrize("engine", ["ddp", "zero2"])  # DeepSpeed moves the weights in its last backward pass
def test_nan_on_one_of_two_processes_ends_both_with_the_same_words(
    poisoned: Path, data: Path, tmp_path: Path, engine: str
) -> None:
    if engine == "zero2":
        pytest.importorskip("deepspeed")
    ranks = start_ranks(
        SCRIPT,
        [str(poisoned), str(data), str(tmp_path / "run"), engine],
        num_processes=2,
        log_folder=tmp_path / "logs",
    )
    assert ranks.wait() == [3, 3], ranks.text()[-3000:]
    said = [path.read_text().partition("PlauditError: ")[2].splitlines()[0] for path in ranks.outputs]
    assert said[0] == said[1] and f"group {POISONED} " in said[0] and "(process " in said[0]
    assert said[0].count("(process ") == 1, "the pass of the other process was finite"
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-1"]
