"""A pass without memory is halved, and the step is the one that it would have been."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset

from plaudit import RewardConfig, RewardTrainer
from plaudit.errors import PlauditError
from stand_ins.folders import PAIRS, write_reward_model
from stand_ins.forked import start_ranks
from stand_ins.memory import limit_memory

SCRIPT = Path(__file__).with_name("memory_run.py")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("model") / "base")


def build(model: Path, folder: Path, **settings: Any) -> RewardTrainer:
    """A trainer of plain gradient descent over 16 pairs a step, in order."""
    given = {"per_device_train_batch_size": 16, "max_steps": 1} | settings
    args = RewardConfig(
        str(folder),
        optim="sgd",
        learning_rate=0.5,
        max_grad_norm=0.0,
        lr_scheduler_type="constant",
        train_sampling_strategy="sequential",
        logging_steps=1,
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        gradient_checkpointing=False,
        disable_tqdm=True,
        **given,
    )
    return RewardTrainer(str(model), args, train_dataset=Dataset.from_list(PAIRS[:32]))


def first_layer(trainer: RewardTrainer) -> Any:
    return trainer._reward_model().model.layers[0]  # type: ignore[union-attr]


def train(trainer: RewardTrainer) -> dict[str, torch.Tensor]:
    trainer.train()
    return {name: tensor.clone() for name, tensor in trainer._reward_model().state_dict().items()}


@pytest.mark.parametrize("where", ["forward", "backward"])
@pytest.mark.parametrize("accumulation", [1, 2], ids=["one batch", "two batches"])
def test_the_step_is_that_of_a_run_with_enough_memory(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, where: str, accumulation: int
) -> None:
    settings = {
        "gradient_accumulation_steps": accumulation,
        "per_device_train_batch_size": 16 // accumulation,
    }
    enough = build(model, tmp_path / "enough", max_steps=2, **settings)
    expected = train(enough)
    tight = build(model, tmp_path / "tight", max_steps=2, **settings)
    passes = limit_memory(first_layer(tight), 60, where=where)
    with caplog.at_level(logging.WARNING, logger="plaudit"):
        weights = train(tight)
    assert max(passes) > 60 and min(passes) <= 60, "memory never ran out"
    before = build(model, tmp_path / "before")._reward_model().state_dict()
    assert max(float((expected[name] - before[name]).abs().max()) for name in expected) > 1e-2
    for name in expected:
        torch.testing.assert_close(weights[name], expected[name], rtol=0.0, atol=1e-6)
    said = [record.getMessage() for record in caplog.records if "out of memory" in record.getMessage()]
    sizes = sorted({size for size in passes if size > 60}, reverse=True)
    assert len(said) <= len(sizes) and all("--max-tokens-per-pass" in text for text in said)
    # What is logged is what was learnt, nothing twice.
    for ours, theirs in zip(tight.state.log_history, enough.state.log_history, strict=True):
        for name in ("loss", "rm/loss", "rm/accuracy", "rm/chosen_rewards", "episode", "tokens_saved"):
            assert ours.get(name) == pytest.approx(theirs.get(name), abs=1e-5), name


def test_later_passes_keep_to_the_size_that_went_well(model: Path, tmp_path: Path) -> None:
    trainer = build(model, tmp_path, max_steps=2)
    passes = limit_memory(first_layer(trainer), 200, where="forward")
    trainer.train()
    limit = trainer.passes.max_tokens
    assert limit is not None and limit <= 200
    second_step = passes[len(passes) // 2 :]
    assert max(second_step) <= limit, passes


def test_a_group_that_does_not_fit_alone_is_named(model: Path, tmp_path: Path) -> None:
    trainer = build(model, tmp_path)
    limit_memory(first_layer(trainer), 10, where="backward")
    with pytest.raises(
        PlauditError, match=r"out of memory on group \d+ alone: its 2 completions are \d+ computed"
    ) as error:
        trainer.train()
    assert "--gradient-checkpointing" in str(error.value)


def run_on_two(model: Path, folder: Path, *words: object) -> tuple[list[int | None], str, Path]:
    output = folder / "weights.pt"
    ranks = start_ranks(
        SCRIPT, [str(model), str(output), *map(str, words)], num_processes=2, log_folder=folder / "logs"
    )
    return ranks.wait(), ranks.text(), output


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_one_of_two_processes_halves_its_pass_and_the_other_does_not_wait_in_vain(
    model: Path, tmp_path: Path, where: str
) -> None:
    expected = train(build(model, tmp_path / "one", max_steps=2))
    codes, text, output = run_on_two(model, tmp_path, "ddp", where, 60, 2)
    assert codes == [0, 0], text[-3000:]
    assert text.count("out of memory in a pass") >= 1
    weights = torch.load(output)
    for name in expected:
        torch.testing.assert_close(weights[name], expected[name], rtol=0.0, atol=2e-6)


@pytest.mark.parametrize("engine", ["fsdp2", "zero2"])
def test_where_every_pass_needs_every_process_it_is_an_error_that_names_the_option(
    model: Path, tmp_path: Path, engine: str
) -> None:
    if engine == "zero2":
        pytest.importorskip("deepspeed")
    codes, text, _ = run_on_two(model, tmp_path, engine, "forward", 60, 2)
    assert 0 not in codes and None not in codes, text[-3000:]
    assert "with sharded parameters all processes make the same passes" in text, text[-3000:]
    assert "--max-tokens-per-pass" in text


def test_memory_that_runs_out_while_gradients_are_exchanged_is_an_error(model: Path, tmp_path: Path) -> None:
    # The first step went well with passes of this size; in the second one there is less memory.
    codes, text, _ = run_on_two(model, tmp_path, "ddp", "backward", 60, 2, 1)
    assert 0 not in codes and None not in codes, text[-3000:]
    assert "its gradients were being exchanged" in text, text[-3000:]


def test_passes_that_went_well_before_memory_ran_out_count_once_and_are_not_lost(
    model: Path, tmp_path: Path
) -> None:
    settings = {"gradient_accumulation_steps": 2, "per_device_train_batch_size": 8}
    expected = train(build(model, tmp_path / "enough", **settings))
    tight = build(model, tmp_path / "tight", **settings)
    # The first batch leaves its gradient; the second one fails in its backward part, and takes it along.
    passes = limit_memory(first_layer(tight), 60, where="backward", after=1)
    weights = train(tight)
    assert passes[0] > 60 and passes[1] > 60 and len(passes) > 4
    for name in expected:
        torch.testing.assert_close(weights[name], expected[name], rtol=0.0, atol=1e-6)
