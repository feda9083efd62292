"""From a file of preferences to results on disk, with a reward that is worked out on paper."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset
from rich.console import Console

from plaudit.errors import PlauditError
from plaudit.evaluation import compute_metrics, evaluate, read_rows
from plaudit.evaluation.rewards_file import FileSource
from plaudit.preferences import Preferences, read_preferences
from plaudit.preferences.group import Comparison, PreferenceGroup
from plaudit.preferences.table import SCHEMA, group_to_row
from plaudit.scoring import Scorer
from plaudit.tokens import LengthLimits, Renderer
from stand_ins.models import build_model
from stand_ins.tokenizers import build_tokenizer


class CountingScorer:
    """0.25 for each ``!``; ``bad_reward`` for texts with the word bad; says it computes half the tokens."""

    def __init__(self, bad_reward: float | None = None) -> None:
        self.renderer = Renderer(build_tokenizer(vocab_size=300), render="text")
        self.name = "counting"
        self.num_tokens_given = 1000
        self.num_tokens_computed = 1000
        self.bad_reward = bad_reward
        self.scored: list[str] = []

    def score_sequences(
        self, sequences: Sequence[np.ndarray], *, description: str = "", progress: bool = True
    ) -> np.ndarray:
        texts = [self.renderer.tokenizer.decode(ids) for ids in sequences]
        self.scored += texts
        self.num_tokens_given += sum(map(len, sequences))
        self.num_tokens_computed += sum(map(len, sequences)) // 2
        rewards = [0.25 * text.count("!") for text in texts]
        if self.bad_reward is not None:
            rewards = [self.bad_reward if "bad" in t else r for t, r in zip(texts, rewards, strict=True)]
        return np.array(rewards, dtype=np.float32)


RECORDS = [
    {"prompt": "One? ", "chosen": "yes!!", "rejected": "no!", "subset": "a", "id": "r1"},
    {"prompt": "Two? ", "chosen": "yes", "rejected": "no!!!", "subset": "b", "id": "r2"},
    {"prompt": "Three? ", "chosen": "a longer bad answer!", "rejected": "no", "subset": "b", "id": "r3"},
]


@pytest.fixture
def preferences(tmp_path: Path) -> Preferences:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    return read_preferences(str(path))


def test_file_in_and_metrics_out(preferences: Preferences):
    scorer = CountingScorer()
    result = evaluate(scorer, preferences, progress=False)
    assert (result.metrics.accuracy.value, result.metrics.accuracy.n) == (pytest.approx(2 / 3), 3)
    # Margins 0.25, -0.75, 0.25
    assert result.metrics.mean_margin.value == pytest.approx(-0.25 / 3)
    assert {s.name: s.accuracy.value for s in result.metrics.subsets} == {"a": 1.0, "b": 0.5}
    assert len(scorer.scored) == 6


def test_results_on_disk_say_what_was_measured_on_what(preferences: Preferences, tmp_path: Path):
    result = evaluate(CountingScorer(), preferences, output_dir=tmp_path / "out", progress=False, model="M")
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert (stored["schema"], stored["schema_version"], stored["model"]) == ("plaudit.evaluation", 1, "M")
    assert set(stored["versions"]) == {"plaudit", "torch", "transformers"}
    assert stored["data"]["fingerprint"] == preferences.fingerprint
    assert stored["data"]["sources"][0].endswith("data.jsonl")
    assert stored["data"]["tokenizing"]["num_groups_in"] == 3
    assert stored["metrics"]["accuracy"]["value"] == pytest.approx(2 / 3)
    assert stored["metrics"]["accuracy"]["interval"]["method"] == "wilson"
    assert stored["settings"]["ties"] == "zero"
    assert stored["throughput"]["num_tokens_given"] == result.throughput.num_tokens_given > 0
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["results.json", "rows.parquet"]


def test_stored_rows_hold_every_reward_and_give_the_same_metrics(preferences: Preferences, tmp_path: Path):
    result = evaluate(CountingScorer(), preferences, output_dir=tmp_path, progress=False)
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [(r["id"], r["reward_better"], r["reward_worse"]) for r in rows] == [
        ("r1", 0.5, 0.25),
        ("r2", 0.0, 0.75),
        ("r3", 0.25, 0.0),
    ]
    assert rows[1]["source"].endswith("data.jsonl:2")
    assert rows[2]["text_better"] == "a longer bad answer!"
    again = compute_metrics(read_rows(tmp_path / "rows.parquet"))
    assert again.style.left_out == ("length",)  # of style the file holds lengths alone
    assert replace(again, style=result.metrics.style) == result.metrics


def test_undefined_numbers_are_null_in_json_with_a_reason(tmp_path: Path):
    path = tmp_path / "one.jsonl"
    path.write_text(json.dumps({"prompt": "p", "chosen": "a!", "rejected": "bbbb"}) + "\n")
    result = evaluate(CountingScorer(), read_preferences(str(path)), progress=False)
    metrics = json.loads(result.to_json())["metrics"]
    assert metrics["mean_margin"]["interval"]["low"] is None
    assert metrics["mean_margin"]["interval"]["reason"] == "one prompt alone says nothing about others"
    assert metrics["macro_accuracy"]["value"] is None


@pytest.mark.parametrize("bad_reward", [math.nan, math.inf])
def test_reward_that_is_not_finite_names_its_record(preferences: Preferences, bad_reward: float):
    with pytest.raises(PlauditError) as caught:
        evaluate(CountingScorer(bad_reward), preferences, progress=False)
    assert "data.jsonl:3" in str(caught.value)
    assert f"is {bad_reward}" in str(caught.value)
    assert "1 of 6 sequences" in str(caught.value)


def test_dropped_groups_are_counted_and_said(preferences: Preferences):
    # One token per character or less: "Three? a longer bad answer!" is the only long one.
    result = evaluate(CountingScorer(), preferences, limits=LengthLimits(max_length=14), progress=False)
    assert result.metrics.num_comparisons == 2
    assert result.data.tokenizing.num_dropped_groups == 1
    assert "1 of 3 groups dropped" in printed(result)


def test_a_dropped_completion_of_many_keeps_texts_and_rewards_together(tmp_path: Path):
    record = {"prompt": "p ", "completions": ["far too long " * 20, "mid!", "z"], "ratings": [3, 2, 1]}
    path = tmp_path / "k.jsonl"
    path.write_text(json.dumps(record) + "\n")
    evaluate(
        CountingScorer(),
        read_preferences(str(path)),
        limits=LengthLimits(max_length=14),
        output_dir=tmp_path,
        progress=False,
    )
    (row,) = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert (row["text_better"], row["reward_better"]) == ("mid!", 0.25)
    assert (row["text_worse"], row["reward_worse"]) == ("z", 0.0)
    assert (row["completion_better"], row["completion_worse"]) == (1, 2)


def test_nothing_left_to_score_is_a_result_that_says_so(preferences: Preferences, tmp_path: Path):
    scorer = CountingScorer()
    limits = LengthLimits(max_length=1)
    result = evaluate(scorer, preferences, limits=limits, output_dir=tmp_path / "out", progress=False)
    assert scorer.scored == []
    assert (result.metrics.accuracy.n, result.metrics.accuracy.reason) == (0, "no items")
    assert json.loads((tmp_path / "out" / "results.json").read_text())["metrics"]["accuracy"]["value"] is None
    assert "3 of 3 groups dropped" in printed(result)


def test_groups_with_ratings_only_are_counted_as_without_comparison(tmp_path: Path):
    path = tmp_path / "k.jsonl"
    tied = {"prompt": "p", "completions": ["a", "b"], "ratings": [1, None]}
    path.write_text("".join(json.dumps(record) + "\n" for record in [tied, RECORDS[0]]))
    result = evaluate(CountingScorer(), read_preferences(str(path)), progress=False)
    assert result.metrics.num_comparisons == 1
    assert [(d.reason, d.num_groups) for d in result.data.tokenizing.dropped] == [("no-comparison", 1)]


def test_throughput_counts_this_evaluation_alone(preferences: Preferences):
    scorer = CountingScorer()
    result = evaluate(scorer, preferences, progress=False)
    assert result.throughput.num_tokens_given == scorer.num_tokens_given - 1000
    assert result.throughput.num_tokens_computed == scorer.num_tokens_computed - 1000


def test_unknown_tie_rule_is_refused_before_anything_is_scored(preferences: Preferences):
    scorer = CountingScorer()
    with pytest.raises(PlauditError, match="Choose one of: zero, half"):
        evaluate(scorer, preferences, ties="skip", progress=False)
    assert scorer.scored == []


def test_printed_table_shows_value_interval_and_n(preferences: Preferences):
    text = printed(evaluate(CountingScorer(), preferences, progress=False, model="M", name="three"))
    assert "M on three" in text
    line = next(line for line in text.splitlines() if "accuracy" in line)
    assert "0.667" in line and "0.208 to 0.939" in line
    assert "mean over subsets" in text and "0.750" in text
    assert "67 tokens given, 33 computed (51% saved)" in text


def test_a_reward_that_is_the_length_is_as_accurate_as_picking_the_longer(shared_data: Path):
    preferences = read_preferences(str(shared_data / "llmbar" / "pairs.jsonl"))
    length_of = {f"{g.prompt}{c}": float(len(str(c))) for g in preferences for c in g.completions}

    class LengthScorer(CountingScorer):
        def score_sequences(
            self, sequences: Sequence[np.ndarray], *, description: str = "", progress: bool = True
        ) -> np.ndarray:
            texts = [self.renderer.tokenizer.decode(ids[:-1]) for ids in sequences]
            return np.array([length_of[text] for text in texts], dtype=np.float32)

    metrics = evaluate(LengthScorer(), preferences, ties="half", progress=False).metrics
    assert metrics.accuracy.n == 419
    assert metrics.accuracy.value == pytest.approx(metrics.length.longer_baseline.value)
    assert metrics.length.accuracy_better_longer.value == 1.0
    assert metrics.length.accuracy_better_shorter.value == 0.0
    # The numbers of comparisons per subset that RewardBench's Chat Hard section gives for LLMBar.
    assert {s.name: s.num_comparisons for s in metrics.subsets} == {
        "LLMBar/Natural": 100,
        "LLMBar/Adversarial/Neighbor": 134,
        "LLMBar/Adversarial/GPTInst": 92,
        "LLMBar/Adversarial/GPTOut": 47,
        "LLMBar/Adversarial/Manual": 46,
    }


def printed(result) -> str:
    console = Console(file=io.StringIO(), width=120)
    result.print(console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_rewards_of_a_real_model_are_those_of_plain_transformers(preferences: Preferences, tmp_path: Path):
    tokenizer = build_tokenizer(vocab_size=300)
    model = build_model("llama", vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    model.save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    scorer = Scorer.from_pretrained(tmp_path / "model", dtype=torch.float32, device="cpu")
    result = evaluate(scorer, preferences, progress=False)
    assert result.model == str(tmp_path / "model")

    def reward_of(prompt: str, completion: str) -> float:
        ids = tokenizer(prompt + completion + tokenizer.eos_token, return_tensors="pt").input_ids
        return float(model(input_ids=ids).logits[0, 0].detach())

    better = [reward_of(r["prompt"], r["chosen"]) for r in RECORDS]
    worse = [reward_of(r["prompt"], r["rejected"]) for r in RECORDS]
    np.testing.assert_allclose(result.rows.reward_better, better, atol=1e-5)
    np.testing.assert_allclose(result.rows.reward_worse, worse, atol=1e-5)
    assert result.metrics.accuracy.value == pytest.approx(np.mean(np.array(better) > np.array(worse)))


def test_statistics_never_stand_beside_rows_of_another_time(
    preferences: Preferences, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    first = evaluate(CountingScorer(), preferences, output_dir=tmp_path, progress=False)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("plaudit.evaluation.result.write_whole", killed)
    with pytest.raises(KeyboardInterrupt):
        first.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".jsonl"] == ["rows.parquet"]


def test_the_table_shows_accuracy_with_length_and_style_held_equal(preferences: Preferences):
    text = printed(evaluate(CountingScorer(), preferences, progress=False))
    assert "accuracy at equal length, matched" in text and "accuracy at equal style, regression" in text


def test_equal_texts_count_as_a_tie_whether_a_model_or_a_file_gives_the_rewards(tmp_path: Path):
    records = [
        *({"prompt": f"p{i} ", "responses": ["same!", "same!"]} for i in range(2)),
        {"prompt": "p3 ", "responses": ["a!", "b", "a!"]},
        {"prompt": "p4 ", "responses": ["far too long " * 20, "far too long " * 20]},
    ]
    groups = [
        PreferenceGroup(
            prompt=r["prompt"],
            completions=tuple(r["responses"]),
            comparisons=tuple(Comparison(better=0, worse=k) for k in range(1, len(r["responses"]))),
            source=f"made:{i}",
        )
        for i, r in enumerate(records)
    ]
    table = pa.Table.from_pylist([group_to_row(group) for group in groups], schema=SCHEMA)
    preferences = Preferences(Dataset(table), fingerprint=str(tmp_path))
    limits = LengthLimits(max_length=60)
    by_model = evaluate(CountingScorer(), preferences, limits=limits, progress=False)
    path = tmp_path / "r.jsonl"
    rows = [
        {"prompt": r["prompt"], "completion": c, "reward": 0.25 * c.count("!")}
        for r in records
        for c in dict.fromkeys(r["responses"])
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    by_file = evaluate(
        FileSource(path, renderer=CountingScorer().renderer), preferences, limits=limits, progress=False
    )
    for result in (by_model, by_file):
        # Of p3 the better one wins once and ties once; p1 and p2 tie; p4 is too long.
        assert (result.metrics.accuracy.n, result.metrics.num_reward_ties) == (4, 3)
        assert result.metrics.accuracy.value == 0.25
        assert result.rows.group.tolist() == [0, 1, 2, 2]
        assert result.rows.completion_worse.tolist() == [1, 1, 1, 2]
        assert result.rows.comparison.tolist() == [0, 0, 0, 1]
    without_limits = evaluate(FileSource(path), preferences, progress=False)
    assert (
        without_limits.metrics.accuracy.n
        == evaluate(CountingScorer(), preferences, progress=False).metrics.accuracy.n
        == 5
    )
