"""The steps of the demo, each of which says what it did."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from plaudit.cli.console import results
from plaudit.cli.demo_model import write_base_model
from plaudit.cli.demo_task import NUM_SAMPLES, make_records, verify
from plaudit.evaluation import BestOfNCurve, EvaluationResult, evaluate, expected_best_of_n
from plaudit.objective.intervals import Estimate
from plaudit.preferences import Preferences, groups_from_samples, read_preferences
from plaudit.scoring import Scorer
from plaudit.training import RewardConfig, RewardTrainer
from plaudit.training.samples import collect_samples, table_of_samples

__all__ = ["tell"]

N_VALUES = (1, 2, 4, 8)


def tell(folder: Path, seed: int, num_questions: int, num_test_questions: int, num_steps: int) -> None:
    """Run the demo and print it."""
    console, start = results(), time.perf_counter()
    # Matrices this small are no faster on two threads, and far slower where the cores are busy with other work.
    torch.set_num_threads(1)
    train, test = _make_data(folder, seed, num_questions, num_test_questions)
    _say(console, "1. Questions and sampled answers", _describe_data(folder, train, test))
    train_groups, test_groups = _groups(train), _groups(test)
    _say(console, "2. Comparisons", _describe_groups(train_groups, test_groups))
    num_parameters = write_base_model(folder / "base", _texts(train), seed=seed)
    what = f"A Llama of {num_parameters:,} parameters with random weights ({folder / 'base'}), {num_steps} steps."
    _say(console, "3. Training", what)
    trainer = _train(folder, train_groups, test_groups, seed, num_steps)
    assert trainer.last_eval_rewards is not None, "it was evaluated at its last step"
    console.print(table_of_samples(collect_samples(trainer.last_eval_rewards, trainer.renderer, 3)))
    _say(console, "4. Evaluation on questions it has not seen", "")
    scorer = Scorer.from_pretrained(folder / "model", device=trainer.args.device)
    result = evaluate(
        scorer, test_groups, output_dir=folder / "evaluation", progress=False, name="held-out questions"
    )
    result.print(console)
    _say(console, "5. Best of n: answer several times, keep the answer with the highest reward", "")
    curve = _best_of_n(scorer, test)
    console.print(_curve_table(curve))
    _say(console, "What came out", _summary(result, curve, time.perf_counter() - start))
    _say(console, "What to run next", _next(folder))


def _make_data(
    folder: Path, seed: int, num_train: int, num_test: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Samples of training and test questions, written down; no question is in both."""
    records = list(make_records(num_train + num_test, seed=seed))
    train, test = records[:num_train], records[num_train:]
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "train.jsonl", train)
    _write(folder / "test.jsonl", test)
    answers = [{"prompt": r["prompt"], "completions": [s["text"] for s in r["samples"]]} for r in test]
    _write(folder / "answers.jsonl", answers)
    return train, test


def _groups(records: Sequence[dict[str, Any]]) -> Preferences:
    """Each right answer is better than each wrong one of the same question."""
    return read_preferences(groups_from_samples(records, verify=verify), progress=False)


def _train(folder: Path, train: Preferences, test: Preferences, seed: int, num_steps: int) -> RewardTrainer:
    config = RewardConfig(
        output_dir=str(folder / "model"),
        per_device_train_batch_size=16,
        max_steps=num_steps,
        learning_rate=3e-3,
        lr_scheduler_type="cosine",
        warmup_steps=min(20, num_steps // 4),
        adam_beta2=0.98,
        weight_decay=0.01,
        bf16=False,
        gradient_checkpointing=False,
        logging_steps=10,
        eval_strategy="steps",
        eval_steps=max(num_steps // 3, 1),
        save_strategy="no",
        num_sample_rows=0,
        dataloader_pin_memory=False,
        seed=seed,
    )
    trainer = RewardTrainer(str(folder / "base"), args=config, train_dataset=train, eval_dataset=test)
    trainer.train()
    trainer.save_model()
    return trainer


def _best_of_n(scorer: Scorer, test: Sequence[dict[str, Any]]) -> BestOfNCurve:
    """The share of right picks against n, exactly, over all ways to draw n of the answers."""
    sequences = [scorer.token_ids(r["prompt"], s["text"]) for r in test for s in r["samples"]]
    rewards = scorer.score_sequences(sequences, progress=False).reshape(len(test), NUM_SAMPLES)
    quality = [[float(sample["is_correct"]) for sample in record["samples"]] for record in test]
    return expected_best_of_n(rewards.astype(float), quality, N_VALUES)


def _curve_table(curve: BestOfNCurve) -> Table:
    table = Table(title="Share of right answers", title_justify="left")
    table.add_column("n", justify="right")
    for header in ("random pick", "picked by reward", "95% interval", "oracle"):
        table.add_column(header, justify="right")
    for point in curve.points:
        interval = f"{point.picked.interval.low:.3f} to {point.picked.interval.high:.3f}"
        values = [f"{e.value:.3f}" for e in (point.random, point.picked, point.oracle)]
        table.add_row(str(point.n), values[0], values[1], interval, values[2])
    return table


def _describe_data(folder: Path, train: Sequence[dict[str, Any]], test: Sequence[dict[str, Any]]) -> str:
    first = train[0]
    right = next((s["text"] for r in train for s in r["samples"] if s["is_correct"]), "")
    wrong = next((s["text"] for s in first["samples"] if not s["is_correct"]), "")
    share = sum(s["is_correct"] for r in train for s in r["samples"]) / (len(train) * NUM_SAMPLES)
    return (
        f"{len(train):,} questions to learn from ({folder / 'train.jsonl'}) and {len(test):,} others to be "
        f"tested on ({folder / 'test.jsonl'}), {NUM_SAMPLES} answers each, {share:.0%} of them right.\n"
        f"A question:     {first['prompt']}\nA wrong answer: {wrong}\nA right answer (to another): {right}"
    )


def _describe_groups(train: Preferences, test: Preferences) -> str:
    rows = [("to learn from", train.report), ("to be tested on", test.report)]
    return "\n".join(
        f"{name}: {report.num_groups:,} groups, {report.num_comparisons:,} comparisons; in "
        f"{report.num_without_comparison:,} groups all answers are right or all wrong, which compares nothing"
        for name, report in rows
    )


def _summary(result: EvaluationResult, curve: BestOfNCurve, seconds: float) -> str:
    metrics, (one, *_, last) = result.metrics, curve.points
    return (
        f"held-out accuracy   {_with_interval(metrics.accuracy)}\n"
        f"pick the longer     {_with_interval(metrics.length.longer_baseline)}\n"
        f"pick the shorter    {_with_interval(metrics.length.shorter_baseline)}\n"
        f"one answer          {one.picked.value:.3f} right\n"
        f"best of {last.n}           {last.picked.value:.3f} right (oracle {last.oracle.value:.3f})\n"
        f"time                {seconds:.0f} s"
    )


def _with_interval(estimate: Estimate) -> str:
    return (
        f"{estimate.value:.3f}  (95%: {estimate.interval.low:.3f} to {estimate.interval.high:.3f}, "
        f"n = {estimate.n:,})"
    )


def _next(folder: Path) -> str:
    return (
        f"plaudit eval {folder}/model --data {folder}/test.jsonl\n"
        f"plaudit score {folder}/model --input {folder}/answers.jsonl --output {folder}/scored.jsonl\n"
        f"plaudit train --model {folder}/base --data {folder}/train.jsonl --eval-fraction 0.1 "
        f"--output-dir {folder}/my-model --bf16 false --learning-rate 3e-3"
    )


def _say(console: Console, title: str, text: str) -> None:
    console.print()
    console.rule(f"[bold]{title}", align="left")
    if text:
        console.print(Text(text), soft_wrap=True)


def _texts(records: Sequence[dict[str, Any]]) -> list[str]:
    return [record["prompt"] + sample["text"] for record in records for sample in record["samples"]]


def _write(path: Path, records: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
