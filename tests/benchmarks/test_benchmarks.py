"""The benchmarks run, at small size, on made-up rows; their counts and ratios are right."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from plaudit.tokens import TokenGroup
from plaudit.tree import num_distinct_tokens

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _import_as_the_scripts_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def run(script: str, *arguments: str, output: Path) -> list[dict[str, str]]:
    """Run a benchmark as a user does; the rows it appended."""
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / script), "--quick", *arguments, "--output", str(output)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    with output.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write(path: Path, records: list[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


def dialogues(first: int) -> list[dict[str, object]]:
    return [
        {
            "prompt": f"\n\nHuman: What is {i} and {i}, and why do you say so?\n\nAssistant:",
            "chosen": f" It is {2 * i}." + " I counted." * (i % 3),
            "rejected": f" It is {2 * i + 1}.",
        }
        for i in range(first, first + 20)
    ]


def group(*sequences: list[int], comparisons: list[tuple[int, int]]) -> TokenGroup:
    better, worse = zip(*comparisons, strict=True)
    return TokenGroup(
        sequences=tuple(np.array(ids, dtype=np.int32) for ids in sequences),
        num_prompt_tokens=1,
        better=np.array(better, dtype=np.int32),
        worse=np.array(worse, dtype=np.int32),
        margin=np.zeros(len(comparisons), dtype=np.float32),
        weight=np.ones(len(comparisons), dtype=np.float32),
        is_tie=np.zeros(len(comparisons), dtype=np.bool_),
    )


def test_training_benchmark_compares_the_same_step(tmp_path: Path) -> None:
    write(tmp_path / "hh-rlhf" / "harmless.jsonl", dialogues(0))
    write(tmp_path / "hh-rlhf" / "helpful.jsonl", dialogues(100))
    folder = ("--data", "hh-rlhf", "--data-folder", str(tmp_path))
    rows = run("train_vs_trl.py", *folder, output=tmp_path / "rows.csv")
    assert [(row["precision"], row["variant"]) for row in rows] == [
        (precision, variant)
        for precision in ("fp32", "bf16")
        for variant in ("TRL", "TRL -ckpt", "plaudit", "plaudit +ckpt")
    ]
    for row in rows[:4]:
        assert float(row["reward_diff"]) < 1e-5 and float(row["grad_diff"]) < 1e-4
    assert {row["ratio_vs_trl"] for row in rows if row["variant"] == "TRL"} == {"1"}
    # 16 prompts of two answers each: TRL pads all 32 rows, and plaudit computes a prompt once.
    given, distinct = int(rows[0]["given_tokens"]), int(rows[0]["distinct_tokens"])
    assert distinct < given < int(rows[0]["tokens"])
    assert distinct <= int(rows[2]["tokens"]) < given


def test_scoring_benchmark_gives_every_side_the_same_rewards(tmp_path: Path) -> None:
    samples = [{"sample": k, "text": f"It is {k}." + " Surely." * k} for k in range(11)]
    prompts = [{"prompt": f"What is {i} and {i}? " * 4, "samples": samples} for i in range(3)]
    path = tmp_path / "best-of-16" / "samples.jsonl"
    write(path, prompts)
    compress(path)
    folder = ("--data", "best-of-16", "--data-folder", str(tmp_path), "--precision", "fp32")
    rows = run("score_vs_pipeline.py", *folder, output=tmp_path / "rows.csv")
    assert [row["variant"] for row in rows] == [
        "pipeline, batch 8",
        "sorted padding, batch 8",
        "sorted padding, batch 32",
        "plaudit",
        "plaudit, a call a prompt",
    ]
    assert max(float(row["reward_diff"]) for row in rows) < 1e-5
    assert rows[3]["tokens"] == rows[3]["distinct_tokens"]


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    from setting.corpus import read_corpus

    from plaudit.errors import PlauditError

    with pytest.raises(PlauditError, match=r"harmless\.jsonl.*--data-folder"):
        read_corpus("hh-rlhf", tmp_path)


def test_a_batch_takes_whole_groups_until_it_has_enough_comparisons() -> None:
    from setting.corpus import make_batches, pair_rows

    pair = group([1, 2], [1, 3], comparisons=[(0, 1)])
    four = group([1, 2], [1, 3], [1, 4], [1, 5], comparisons=[(0, 2), (0, 3), (1, 2), (1, 3)])
    batches = make_batches([pair, four, pair, pair, four], name="made", num_batches=2, batch_size=3)
    assert [[len(part.better) for part in batch] for batch in batches] == [[1, 4], [1, 1, 4]]
    rows = [(better.tolist(), worse.tolist()) for better, worse in pair_rows(batches[0])]
    assert rows[0] == ([1, 2], [1, 3])
    assert rows[1:] == [([1, 2], [1, 4]), ([1, 2], [1, 5]), ([1, 3], [1, 4]), ([1, 3], [1, 5])]


def test_ratios_are_of_totals_and_spread_is_between_rounds() -> None:
    from setting.timing import Timings

    timings = Timings(seconds={"slow": [[4.0, 2.0], [4.0, 4.0]], "fast": [[1.0, 1.0], [1.0, 1.0]]})
    assert timings.total_s("slow") == 14.0 and timings.median_s("slow") == 4.0
    assert timings.ratio("fast", "slow") == 3.5
    assert timings.ratio_spread("fast", "slow") == pytest.approx(1 / 3.5)  # 3 in one round, 4 in the other


def test_sides_take_turns_unit_by_unit_after_a_warm_up() -> None:
    from setting.timing import alternate

    calls: list[tuple[str, int]] = []
    sides = {name: lambda unit, name=name: calls.append((name, unit)) for name in "ab"}
    alternate(sides, num_units=2, num_rounds=1)
    assert calls == [("a", 0), ("b", 0), ("a", 0), ("b", 0), ("b", 1), ("a", 1)]


def test_made_up_ids_have_the_prefix_tree_of_the_real_ones() -> None:
    from setting.lengths import group_of, shape_of

    real = group([7, 7, 8, 9], [7, 7, 8], [7, 5], comparisons=[(0, 2), (2, 1)])
    shape = shape_of(real)
    # In lexicographic order: [7, 5], [7, 7, 8], [7, 7, 8, 9].
    assert shape.lengths == (2, 3, 4) and shape.shared == (0, 1, 3)
    assert shape.better == (2, 0) and shape.worse == (0, 1)
    for seed in range(20):  # three ids only: a chance meeting would show
        made = group_of(shape, vocabulary=5, generator=np.random.default_rng(seed))
        assert num_distinct_tokens(made.sequences) == num_distinct_tokens(real.sequences) == 5


def test_results_are_appended_under_one_header(tmp_path: Path) -> None:
    from setting.results import COLUMNS, append_results

    path = tmp_path / "results.csv"
    append_results(path, [{"benchmark": "made", "median_s": 0.123456, "peak_gib": None}])
    append_results(path, [{"benchmark": "made again"}])
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == ",".join(COLUMNS) and len(lines) == 3
    row = next(csv.DictReader(lines))
    assert row["median_s"] == "0.1235" and row["peak_gib"] == "" and row["torch"]


def compress(path: Path) -> None:
    import gzip

    with gzip.open(path.with_suffix(".jsonl.gz"), "wb") as file:
        file.write(path.read_bytes())
