"""plaudit compare on two models with different seeds, as plaudit eval stored them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.stats import binomtest

from plaudit.cli import main
from stand_ins.folders import write_reward_model

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def evaluated(reward_model: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Results of two seeds on the same data."""
    folder = tmp_path_factory.mktemp("results")
    other = write_reward_model(folder / "seed-1", seed=1)
    for name, model in (("a", reward_model), ("b", other)):
        words = ["eval", model, "--data", pairs, "--output-dir", folder / name, "--quiet"]
        assert main([str(word) for word in words]) == 0
    return folder / "a", folder / "b"


def decisions(folder: Path) -> np.ndarray:
    (file,) = folder.rglob("rows.parquet")
    return pq.read_table(file)["is_correct"].to_numpy(zero_copy_only=False).astype(bool)


def test_json_agrees_with_scipy_on_the_stored_rows(plaudit: Run, evaluated: tuple[Path, Path]):
    done = plaudit("compare", *evaluated, "--json", "--show", "2")
    assert done.status == 0, done.err
    (suite,) = json.loads(done.out)["suites"]
    (whole,) = suite["whole"]
    a, b = map(decisions, evaluated)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    assert (whole["num_only_first"], whole["num_only_second"]) == (only_a, only_b)
    assert whole["p_value"] == pytest.approx(binomtest(only_a, only_a + only_b).pvalue)
    assert whole["difference"]["value"] == pytest.approx(b.mean() - a.mean())
    assert len(suite["most_different"]) == 2


def test_table_names_both_models_and_the_rows_that_differ(plaudit: Run, evaluated: tuple[Path, Path]):
    done = plaudit("compare", *evaluated, "--show", "3")
    assert done.status == 0, done.err
    assert "points (95%:" in done.out and "exact McNemar" in done.out
    assert "Where they differ most" in done.out and "3. " in done.out and "4. " not in done.out


def test_a_folder_of_several_models_stands_for_all_of_them(plaudit: Run, evaluated: tuple[Path, Path]):
    done = plaudit("compare", evaluated[0].parent, "--json")
    assert done.status == 0, done.err
    assert len(json.loads(done.out)["models"]) == 2


@pytest.mark.parametrize(("words", "said"), [(["--ties", "third"], "--ties"), (["--show", "-1"], "--show")])
def test_a_wrong_choice_is_named(plaudit: Run, evaluated: tuple[Path, Path], words: list[str], said: str):
    done = plaudit("compare", *evaluated, *words)
    assert done.status == 2 and said in done.err and "Traceback" not in done.err


def test_a_folder_without_an_evaluation_is_named(plaudit: Run, evaluated: tuple[Path, Path], tmp_path: Path):
    done = plaudit("compare", evaluated[0], tmp_path)
    assert done.status == 2 and str(tmp_path) in done.err
