"""A run over several sets: one pass, each sequence once, the same results however it came about."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from plaudit.errors import PlauditError
from plaudit.evaluation.folder import read_evaluation
from plaudit.evaluation.run import evaluate_suites
from plaudit.evaluation.sets import EvaluationSet
from plaudit.evaluation.suites import find_suite
from plaudit.preferences import Preferences, read_preferences
from plaudit.scoring import Scorer
from stand_ins.folders import PAIRS, write_reward_model
from stand_ins.forked import start_ranks

SCRIPT = Path(__file__).with_name("evaluation_run.py")

SUBSETS = ("alpacaeval-easy", "llmbar-natural", "xstest-should-refuse", "hep-python")
"""One of each of RewardBench's sections."""


class RecordingScorer(Scorer):
    """A scorer that remembers what it was given."""

    def score_sequences(self, sequences: Sequence[np.ndarray], **arguments) -> np.ndarray:  # type: ignore[override]
        self.__dict__.setdefault("seen", []).extend(tuple(ids.tolist()) for ids in sequences)
        return super().score_sequences(sequences, **arguments)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("model"))


def scorer_of(folder: Path, **settings) -> RecordingScorer:
    return RecordingScorer.from_pretrained(
        folder, dtype=torch.float32, device="cpu", **{"max_tokens_per_pass": 64, **settings}
    )  # type: ignore[return-value]


def preferences_of(pairs: Sequence[dict[str, str]]) -> Preferences:
    return read_preferences(list(pairs), transcripts="text", progress=False)


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> list[EvaluationSet]:
    """A suite and two data sets that have pairs in common."""
    path = tmp_path_factory.mktemp("data") / "rewardbench.jsonl"
    rows = [{**pair, "subset": SUBSETS[i % 4], "id": str(i)} for i, pair in enumerate(PAIRS[:40])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    suite = find_suite("rewardbench")
    return [
        EvaluationSet(name="rewardbench", preferences=suite.read(str(path), progress=False), suite=suite),
        EvaluationSet(name="one", preferences=preferences_of(PAIRS[20:50])),
        EvaluationSet(name="two", preferences=preferences_of(PAIRS[30:64])),
    ]


def test_a_sequence_of_several_sets_is_scored_once(folder: Path, sets: list[EvaluationSet]):
    scorer = scorer_of(folder)
    run = evaluate_suites(scorer, sets, progress=False)
    assert len(scorer.seen) == len(set(scorer.seen)) == run.throughput.num_sequences == 128
    alone = evaluate_suites(scorer_of(folder), sets[1:2], progress=False).results["one"]
    np.testing.assert_allclose(run.results["one"].rows.margin, alone.rows.margin, atol=1e-5)


def test_a_second_run_on_the_same_rows_scores_nothing_and_finds_the_same(
    folder: Path, sets: list[EvaluationSet], tmp_path: Path
):
    first = evaluate_suites(scorer_of(folder), sets[:2], output_dir=tmp_path, progress=False)
    scorer = scorer_of(folder)
    again = evaluate_suites(scorer, sets[:2], output_dir=tmp_path, progress=False)
    assert "seen" not in scorer.__dict__
    assert again.throughput.num_sequences_known == first.throughput.num_sequences
    assert again.throughput.num_tokens_computed == first.throughput.num_tokens_computed
    for name, result in again.results.items():
        assert result.metrics == first.results[name].metrics
        np.testing.assert_array_equal(result.rows.margin, first.results[name].rows.margin)


def test_a_set_that_is_added_costs_its_own_sequences_alone(
    folder: Path, sets: list[EvaluationSet], tmp_path: Path
):
    evaluate_suites(scorer_of(folder), sets[1:2], output_dir=tmp_path, progress=False)
    scorer = scorer_of(folder)
    evaluate_suites(scorer, sets[2:], output_dir=tmp_path, progress=False)
    assert len(scorer.seen) == 2 * (64 - 50)
    assert list(read_evaluation(tmp_path).suites) == ["one", "two"]


def test_rescoring_scores_all_again(folder: Path, sets: list[EvaluationSet], tmp_path: Path):
    evaluate_suites(scorer_of(folder), sets[1:2], output_dir=tmp_path, progress=False)
    scorer = scorer_of(folder)
    evaluate_suites(scorer, sets[1:2], output_dir=tmp_path, progress=False, rescore=True)
    assert len(scorer.seen) == 60


def test_another_model_in_the_folder_is_refused_and_its_rewards_are_never_taken(
    folder: Path, sets: list[EvaluationSet], tmp_path: Path
):
    other = write_reward_model(tmp_path / "other", seed=1)
    out = tmp_path / "out"
    evaluate_suites(scorer_of(folder), sets[1:2], output_dir=out, progress=False)
    with pytest.raises(PlauditError, match="results of another model"):
        evaluate_suites(scorer_of(other), sets[1:2], output_dir=out, progress=False)
    scorer = scorer_of(other)
    evaluate_suites(scorer, sets[1:2], output_dir=out, progress=False, overwrite=True)
    assert len(scorer.seen) == 60


def test_the_suite_is_scored_by_its_own_rule(folder: Path, sets: list[EvaluationSet], tmp_path: Path):
    result = evaluate_suites(scorer_of(folder), sets[:1], output_dir=tmp_path, progress=False).results[
        "rewardbench"
    ]
    rows = result.rows
    is_right = rows.reward_better > rows.reward_worse
    for code, name in enumerate(rows.subset_names):
        assert result.suite_scores is not None
        assert result.suite_scores[name].value == pytest.approx(is_right[rows.subset == code].mean())
    stored = read_evaluation(tmp_path).suites["rewardbench"]
    assert stored.scores == result.suite_scores
    np.testing.assert_array_equal(stored.rows.margin, rows.margin)


def test_what_stands_beside_an_accuracy_is_on_disk(folder: Path, sets: list[EvaluationSet], tmp_path: Path):
    evaluate_suites(scorer_of(folder), sets[1:2], output_dir=tmp_path, progress=False)
    result = read_evaluation(tmp_path).suites["one"].result
    metrics = result["metrics"]
    assert {"value", "n", "interval"} <= set(metrics["accuracy"])
    assert {
        "longer_baseline",
        "shorter_baseline",
        "accuracy_better_longer",
        "accuracy_better_shorter",
    } <= set(metrics["length"])
    assert {"pearson", "spearman"} <= set(metrics["length"])
    assert {"log_loss", "brier_score", "expected_calibration_error", "bins"} <= set(metrics["calibration"])
    assert sum(result["margins"]["counts"]) == metrics["num_comparisons"] == 30
    assert {"num_truncated_groups", "dropped"} <= set(result["data"]["tokenizing"])
    assert result["throughput"]["computed_tokens_per_s"] > 0
    assert metrics["reward_tie_rate"]["n"] == 30


@pytest.mark.parametrize(
    "settings",
    [
        {"max_tokens_per_pass": 16},
        {"max_tokens_per_pass": 4096},
        {"attention": "padded"},
        {"attention": "padded", "max_tokens_per_pass": 4096},
    ],
)
def test_decisions_do_not_move_with_the_size_of_passes_or_the_backend(
    folder: Path, sets: list[EvaluationSet], settings: dict
):
    expected = evaluate_suites(scorer_of(folder), sets, progress=False)
    found = evaluate_suites(scorer_of(folder, **settings), sets, progress=False)
    assert_same_decisions(found.results, expected.results)


def test_decisions_do_not_move_with_the_order_of_the_data(folder: Path):
    pairs = PAIRS[:40]
    forwards = evaluate_suites(
        scorer_of(folder), [EvaluationSet(name="a", preferences=preferences_of(pairs))], progress=False
    ).results["a"]
    backwards = evaluate_suites(
        scorer_of(folder), [EvaluationSet(name="a", preferences=preferences_of(pairs[::-1]))], progress=False
    ).results["a"]
    np.testing.assert_array_equal(forwards.rows.margin > 0, backwards.rows.margin[::-1] > 0)
    assert forwards.metrics.accuracy == backwards.metrics.accuracy


def test_two_processes_find_what_one_finds(folder: Path, tmp_path: Path):
    alone = run_script(folder, tmp_path / "alone", 1)
    together = run_script(folder, tmp_path / "together", 2)
    assert_same_decisions(together, alone)
    seen = [
        line for rank in (0, 1) for line in (tmp_path / "together" / f"seen-{rank}").read_text().splitlines()
    ]
    assert len(seen) == len(set(seen)) == 128
    files = list((tmp_path / "together" / "rewards").iterdir())
    assert len(files) == 2, "each process writes a file of its own"
    seconds = [suites["one"].result["throughput"]["seconds"] for suites in (alone, together)]
    assert seconds[1] == seconds[0] / 2, "processes that work side by side share the seconds on the clock"


@pytest.mark.parametrize("moment", ["scored:1", "scored:3", "torn:2", "file:5", "file:9"])
def test_a_run_that_is_killed_goes_on_and_loses_what_was_in_flight(folder: Path, tmp_path: Path, moment: str):
    whole = run_script(folder, tmp_path / "whole", 1)
    out = tmp_path / "out"
    ranks = start(folder, out, 1, moment)
    assert ranks.wait(280) == [-9], ranks.text()[-3000:]
    before = (out / "seen-0").read_text().splitlines()
    in_flight = [line for line in before if line not in stored_before(out)]
    found = run_script(folder, out, 1)
    for name, result in found.items():
        assert (result.rows.margin == whole[name].rows.margin).all()
        assert result.result["metrics"] == whole[name].result["metrics"]
    after = (out / "seen-0").read_text().splitlines()[len(before) :]
    assert set(before) & set(after) <= set(in_flight)
    assert len(after) == len(set(after))
    assert set(before) | set(after) == set((tmp_path / "whole" / "seen-0").read_text().splitlines())


def test_a_reward_that_is_not_finite_names_its_record(folder: Path, sets: list[EvaluationSet]):
    scorer = scorer_of(folder)
    with torch.no_grad():
        scorer.model.score.weight.fill_(float("nan"))
    with pytest.raises(PlauditError, match="is nan") as caught:
        evaluate_suites(scorer, sets, progress=False)
    assert "rewardbench.jsonl:" in str(caught.value)


def test_two_sets_of_one_name_are_refused(folder: Path, sets: list[EvaluationSet]):
    with pytest.raises(PlauditError, match="two data sets are called 'one'"):
        evaluate_suites(scorer_of(folder), [sets[1], sets[1]], progress=False)


def assert_same_decisions(found, expected) -> None:
    assert list(found) == list(expected)
    for name in expected:
        ours, theirs = found[name].rows.margin, expected[name].rows.margin
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
        np.testing.assert_array_equal(ours > 0, theirs > 0)


def start(folder: Path, out: Path, num_processes: int, moment: str = ""):
    arguments = [str(folder), str(out), moment]
    return start_ranks(SCRIPT, arguments, num_processes=num_processes, log_folder=out.with_name("logs"))


def run_script(folder: Path, out: Path, num_processes: int):
    ranks = start(folder, out, num_processes)
    assert set(ranks.wait(280)) == {0}, ranks.text()[-3000:]
    return read_evaluation(out).suites


def stored_before(out: Path) -> set[str]:
    """What the script noted as stored when it was killed."""
    path = out / "stored-0"
    return set(path.read_text().splitlines()) if path.exists() else set()
