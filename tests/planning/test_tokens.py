"""Tokens and steps of a plan, against those that runs count."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plaudit.planning.made_up import made_up_pairs
from plaudit.planning.tokens import count_steps, count_tokens
from plaudit.training import RewardTrainer
from stand_ins.processes import run_script

RUNS: dict[str, dict[str, Any]] = {
    "one epoch with a short last step": {"num_train_epochs": 1, "per_device_train_batch_size": 5},
    "an epoch and a half, two batches a step": {"num_train_epochs": 1.5, "gradient_accumulation_steps": 2},
    "steps beyond an epoch": {"max_steps": 19, "seed": 3},
    "several passes a batch": {"num_train_epochs": 1, "max_tokens_per_pass": 60},
    "the last batch dropped, prompts cut": {
        "num_train_epochs": 1,
        "dataloader_drop_last": True,
        "per_device_train_batch_size": 6,
        "max_length": 32,
        "on_overlength": "truncate-prompt",
    },
    "groups of similar length": {"num_train_epochs": 1, "train_sampling_strategy": "group_by_length"},
}


@pytest.mark.parametrize("given", RUNS.values(), ids=RUNS)
def test_tokens_and_steps_are_exactly_those_of_the_run(
    given: dict[str, Any],
    model: Path,
    pairs: Path,
    settings: Callable[..., Any],
    prepared: Callable[..., Any],
):
    args = settings(**given)
    groups, _ = prepared(model, pairs, args)
    counts, steps = count_tokens(groups, args), count_steps(args, len(groups), 1)
    RewardTrainer(str(model), args=args, train_dataset=str(pairs)).train()
    run = json.loads((Path(args.output_dir) / "run.json").read_text())
    assert (counts.num_tokens, counts.num_given_tokens) == (run["num_tokens"], run["num_given_tokens"])
    assert steps.num_steps == run["num_steps"]
    assert counts.is_exact and counts.imbalance == 1
    assert counts.num_tokens < counts.num_given_tokens  # prompts are shared


@pytest.mark.slow
def test_tokens_and_steps_are_exactly_those_of_a_run_on_two_processes(
    model: Path, pairs: Path, settings: Callable[..., Any], prepared: Callable[..., Any], tmp_path: Path
):
    given = {"num_train_epochs": 1, "per_device_train_batch_size": 3, "gradient_accumulation_steps": 2}
    args = settings(**given)
    groups, _ = prepared(model, pairs, args)
    counts, steps = count_tokens(groups, args, num_processes=2), count_steps(args, len(groups), 2)
    plain = {"output_dir": str(tmp_path / "two"), "use_cpu": True, "bf16": False, "report_to": "none"}
    plain |= {"gradient_checkpointing": False, "save_strategy": "no", "disable_tqdm": True}
    file = tmp_path / "settings.json"
    file.write_text(json.dumps({"model": str(model), "data": str(pairs), **plain, **given}))
    run_script(Path(__file__).with_name("token_run.py"), [str(file)], num_processes=2)
    run = json.loads((tmp_path / "two" / "run.json").read_text())
    assert (counts.num_tokens, counts.num_given_tokens) == (run["num_tokens"], run["num_given_tokens"])
    assert steps.num_steps == run["num_steps"]
    assert counts.imbalance >= 1


@pytest.mark.parametrize("accumulation", [1, 3])
@pytest.mark.parametrize("epochs", [1, 2.5])
def test_steps_follow_trainers_rule(
    accumulation: int, epochs: float, model: Path, pairs: Path, settings: Callable[..., Any]
):
    args = settings(
        gradient_accumulation_steps=accumulation, num_train_epochs=epochs, per_device_train_batch_size=7
    )
    trainer = RewardTrainer(str(model), args=args, train_dataset=str(pairs))
    loader = trainer.get_train_dataloader()
    values = trainer.set_initial_training_values(args, loader)
    steps = count_steps(args, 64, 1)
    assert (steps.num_steps, steps.steps_per_epoch) == (values[-1], values[1])


def test_visible_pairs_are_those_of_the_paths(
    model: Path, pairs: Path, settings: Callable[..., Any], prepared: Callable[..., Any]
):
    # One pair a batch: the prompt of p tokens is seen once, then each completion sees prompt and itself.
    args = settings(per_device_train_batch_size=1, num_train_epochs=1)
    groups, _ = prepared(model, pairs, args)
    expected = in_window = 0
    for group in groups:
        one, other = group.sequences
        num_shared = int(
            np.argmin(one[: min(map(len, (one, other)))] == other[: min(map(len, (one, other)))])
        )
        seen = [*range(1, len(one) + 1), *range(num_shared + 1, len(other) + 1)]
        expected += sum(seen)
        in_window += sum(min(number, 4) for number in seen)
    counts = count_tokens(groups, args, window=4)
    assert counts.num_visible_pairs == expected
    assert counts.num_visible_pairs_in_window == in_window


def test_a_sample_stands_for_more_of_its_kind_in_proportion(
    model: Path, pairs: Path, settings: Callable[..., Any], prepared: Callable[..., Any]
):
    args = settings(num_train_epochs=1)
    groups, _ = prepared(model, pairs, args)
    own = count_tokens(groups, args)
    more = count_tokens(groups, args, num_groups=6400)
    assert not more.is_exact and more.num_steps_counted == 16
    assert count_steps(args, 6400, 1).num_steps == 1600
    assert abs(more.num_tokens / own.num_tokens - 100) < 1  # other batches, so that other beginnings meet


def test_the_first_steps_alone_are_counted_where_that_is_asked_for(
    model: Path, pairs: Path, settings: Callable[..., Any], prepared: Callable[..., Any]
):
    args = settings(num_train_epochs=1)
    groups, _ = prepared(model, pairs, args)
    some = count_tokens(groups, args, max_steps_counted=4)
    assert (some.num_steps_counted, some.is_exact) == (4, False)
    assert 0.8 < some.num_tokens / count_tokens(groups, args).num_tokens < 1.2


def test_processes_that_have_fewer_passes_make_empty_ones_in_lockstep(
    model: Path, pairs: Path, settings: Callable[..., Any], prepared: Callable[..., Any]
):
    args = settings(num_train_epochs=1, max_tokens_per_pass=40, per_device_train_batch_size=5)
    groups, _ = prepared(model, pairs, args)
    free = count_tokens(groups, args, num_processes=3)
    together = count_tokens(groups, args, num_processes=3, in_lockstep=True)
    assert free.num_tokens < together.num_tokens <= free.num_tokens + 3 * free.num_passes


def test_made_up_pairs_have_the_lengths_that_were_asked_for():
    groups = made_up_pairs(mean_tokens=300, mean_prompt_tokens=200, max_length=None)
    assert groups.lengths().mean() / 2 == pytest.approx(300, rel=0.03)
    assert groups.num_shared_tokens().mean() == pytest.approx(200, rel=0.03)
    cut = made_up_pairs(mean_tokens=300, max_length=256)
    assert cut.longest().max() == 256 and len(cut) == len(groups)
