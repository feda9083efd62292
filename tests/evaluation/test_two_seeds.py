"""Two models trained with different seeds on the same data: what `compare` says of them, and whether it is true."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.stats import binomtest

from plaudit import RewardTrainer, Scorer
from plaudit.evaluation.compare import compare_evaluations
from plaudit.evaluation.comparison import SuiteComparison
from plaudit.evaluation.folder import read_evaluation
from plaudit.evaluation.run import evaluate_suites
from plaudit.evaluation.sets import EvaluationSet
from plaudit.evaluation.significance import paired_difference
from plaudit.preferences import read_preferences
from stand_ins.folders import write_causal_model
from stand_ins.runs import quick_config

WORTH = {"happily": 2, "sat": 1, "dog": 0, "mat": -1, "never": -2}
"""What a word adds to an answer; people see it through noise."""

NUM_HELD_OUT = 400


def records(rng: np.random.Generator, num: int) -> list[dict[str, str]]:
    found = []
    for number in range(num):
        answers = [rng.choice(list(WORTH), size=5) for _ in range(2)]
        seen = [sum(WORTH[word] for word in answer) + rng.normal(0, 2) for answer in answers]
        better = int(np.argmax(seen))
        found.append(
            {
                "prompt": f"\n\nHuman: number {number}?\n\nAssistant:",
                "chosen": " " + " ".join(answers[better]),
                "rejected": " " + " ".join(answers[1 - better]),
            }
        )
    return found


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> SuiteComparison:
    """Both models on held-out comparisons, trained, saved, loaded, measured and compared as anybody would."""
    folder = tmp_path_factory.mktemp("seeds")
    rng = np.random.default_rng(0)
    training, held_out = Dataset.from_list(records(rng, 64)), records(rng, NUM_HELD_OUT)
    base = write_causal_model(folder / "base")
    sets = [
        EvaluationSet(
            name="held-out", preferences=read_preferences(held_out, transcripts="text", progress=False)
        )
    ]
    evaluations = []
    for seed in (1, 2):
        args = quick_config(folder / f"run-{seed}", seed=seed, max_steps=16)
        trainer = RewardTrainer(str(base), args, train_dataset=training)
        trainer.train()
        trainer.save_model(str(folder / f"model-{seed}"))
        scorer = Scorer.from_pretrained(folder / f"model-{seed}", dtype=torch.float32, device="cpu")
        evaluate_suites(scorer, sets, output_dir=folder / f"out-{seed}", progress=False)
        evaluations.append(read_evaluation(folder / f"out-{seed}"))
    (suite,) = compare_evaluations(evaluations).suites
    return suite


def decisions(found: SuiteComparison) -> tuple[np.ndarray, np.ndarray]:
    first, second = ((rows.reward_better > rows.reward_worse).astype(float) for rows in found.shared.rows)
    return first, second


def test_the_seeds_have_made_two_models_that_have_both_learnt(found: SuiteComparison):
    first, second = decisions(found)
    assert len(first) == NUM_HELD_OUT
    assert min(first.mean(), second.mean()) > 0.6
    assert 0.01 < np.mean(first != second) < 0.5


def test_what_is_said_of_them_is_scipys_test_of_their_decisions(found: SuiteComparison):
    first, second = decisions(found)
    (whole,) = found.whole
    only_first, only_second = (
        int(((first == 1) & (second == 0)).sum()),
        int(((first == 0) & (second == 1)).sum()),
    )
    assert (whole.num_only_first, whole.num_only_second) == (only_first, only_second)
    assert whole.p_value == pytest.approx(binomtest(only_first, only_first + only_second).pvalue)
    assert whole.difference.value == pytest.approx(second.mean() - first.mean())


def test_the_interval_holds_the_difference_on_all_rows_in_95_of_100_draws_of_some(found: SuiteComparison):
    """All held-out rows are the truth, and each repetition has 120 of them drawn anew."""
    first, second = decisions(found)
    truth = second.mean() - first.mean()
    rng = np.random.default_rng(3)
    hits = 0
    for repetition in range(600):
        drawn = rng.integers(0, len(first), size=120)
        interval = paired_difference(
            first[drawn], second[drawn], np.arange(120), num_resamples=400, seed=repetition
        ).interval
        hits += interval.low <= truth <= interval.high
    assert hits / 600 == pytest.approx(0.95, abs=0.03)
