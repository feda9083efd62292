"""A run that is killed and started again ends with the weights of one that was not, wherever it was killed."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from stand_ins.folders import write_reward_model
from stand_ins.kills import Kill, draw_kills, final_weights, log_lines, run_once, run_with_kills

Weights = dict[str, torch.Tensor]

NUM_STEPS = 16  # 61 groups: 8 steps an epoch, two epochs

ENGINES = {"single": 1, "lora": 1, "ddp": 2, "fsdp2": 2}
"""And the processes of each."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="module")
def uninterrupted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a run of an engine to which nothing happened."""
    runs: dict[str, Path] = {}

    def run(engine: str) -> Path:
        if engine not in runs:
            runs[engine] = tmp_path_factory.mktemp("whole") / engine
            ranks = run_once(model, runs[engine], engine=engine, num_processes=ENGINES[engine])
            assert set(ranks.wait()) == {0}, ranks.text()[-3000:]
        return runs[engine]

    return run


def expect_same_weights(output: Path, expected: Path, model: Path, tolerance: float = 0.0) -> None:
    weights, whole, before = (
        final_weights(output),
        final_weights(expected),
        load_file(model / "model.safetensors"),
    )
    assert weights.keys() == whole.keys()
    assert any(name not in before or not torch.equal(weights[name], before[name]) for name in weights), (
        "no training"
    )
    for name, tensor in whole.items():
        torch.testing.assert_close(weights[name], tensor, rtol=0.0, atol=tolerance)


@pytest.mark.parametrize("engine", ENGINES)
def test_killed_again_and_again_at_random_the_weights_are_the_same(
    model: Path, uninterrupted: Callable[[str], Path], tmp_path: Path, engine: str
) -> None:
    kills = draw_kills(5, ENGINES[engine], seed=20 + list(ENGINES).index(engine))
    output = tmp_path / engine
    happened = run_with_kills(
        kills, model, output, engine=engine, num_processes=ENGINES[engine], step_seconds=0.03
    )
    print("\n".join(happened))
    assert sum("-9" in line for line in happened) >= 2, f"{happened}: the kills came too late to try anything"
    expect_same_weights(output, uninterrupted(engine), model)
    assert log_lines(output) == log_lines(uninterrupted(engine))


def test_killed_after_a_random_step_it_goes_on_from_the_checkpoint_before(
    model: Path, uninterrupted: Callable[[str], Path], tmp_path: Path
) -> None:
    step = random.SystemRandom().randrange(1, NUM_STEPS)
    output = tmp_path / "run"
    happened = run_with_kills([Kill("step", step)], model, output)
    last_saved = step // 2 * 2 if step % 2 else step - 2  # the kill comes before that step's save
    assert happened[-1] == ("from None" if last_saved <= 0 else f"from checkpoint-{last_saved}"), happened
    expect_same_weights(output, uninterrupted("single"), model)


# The run saves every second step and keeps two checkpoints.
@pytest.mark.parametrize(
    ("change", "goes_on_from"),
    [
        ("os.rename|_saving/checkpoint-4|0", "checkpoint-2"),  # which makes checkpoint-4 whole
        ("os.rename|_saving/checkpoint-4|1", "checkpoint-4"),
        ("os.rename|run/checkpoint-2|0", "checkpoint-6"),  # in order to be removed
        ("shutil.rmtree|_saving/old-checkpoint-2|3", "checkpoint-6"),  # half removed
    ],
    ids=["before the rename", "after the rename", "before the rotation", "in the rotation"],
)
def test_killed_where_checkpoints_come_and_go_it_goes_on_from_the_last_whole_one(
    model: Path, uninterrupted: Callable[[str], Path], tmp_path: Path, change: str, goes_on_from: str
) -> None:
    output = tmp_path / "run"
    happened = run_with_kills([Kill("change", change)], model, output)
    assert happened[-1] == f"from {goes_on_from}", happened
    expect_same_weights(output, uninterrupted("single"), model)
    assert sorted(path.name for path in output.glob("checkpoint-*")) == ["checkpoint-14", "checkpoint-16"]


def test_killed_while_the_final_model_is_moved_into_its_folder_the_same_command_mends_it(
    model: Path, uninterrupted: Callable[[str], Path], tmp_path: Path
) -> None:
    whole = uninterrupted("single")
    output = tmp_path / "run"
    shutil.copytree(whole, output)
    (output / "config.json").unlink()
    (output / "model.safetensors").unlink()
    part = tmp_path / ".run.part-abc"
    shutil.copytree(whole / "checkpoint-16", part)
    assert run_with_kills([], model, output) == ["from checkpoint-16"]
    expect_same_weights(output, whole, model)
    assert log_lines(output) == log_lines(whole)


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
@pytest.mark.parametrize("num_processes", [1, 4])
def test_saved_on_two_processes_it_goes_on_with_another_number(
    model: Path, uninterrupted: Callable[[str], Path], tmp_path: Path, engine: str, num_processes: int
) -> None:
    output = tmp_path / "run"
    killed = run_once(model, output, engine=engine, num_processes=2, moment="step:9")
    assert -9 in killed.wait(), killed.text()[-3000:]
    happened = run_with_kills([], model, output, engine=engine, num_processes=num_processes)
    assert happened == ["from checkpoint-8"]
    # Sums of gradients in another order, which Adam amplifies where they are near zero.
    expect_same_weights(output, uninterrupted(engine), model, tolerance=1e-5)
