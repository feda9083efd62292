"""Normalised rewards: by hand, by OpenRLHF's formula, and what a folder has to hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import zscore

from plaudit import Scorer
from plaudit.errors import PlauditError
from plaudit.model.normalization import (
    RewardNormalization,
    find_normalization,
    normalization_fields,
    normalize_group,
    normalize_rewards,
    write_calibrated_record,
)
from plaudit.model.record import ModelRecord, read_record
from plaudit.tokens import RenderingRule
from stand_ins.folders import write_reward_model

REWARDS = np.array([-3.0, 0.0, 1.25, 40.0], dtype=np.float32)
KNOWN = RewardNormalization(mean=1.25, std=2.5, temperature=0.5)
RECORD = ModelRecord(rendering=RenderingRule(render="text", eos_token="</s>"))


def test_affine_is_what_openrlhf_returns_with_normalize_reward():
    # openrlhf/models/model.py: reward = (reward - self.mean) / self.std
    assert normalize_rewards(REWARDS, "affine", KNOWN).tolist() == pytest.approx([-1.7, -0.5, 0.0, 15.5])


def test_sigmoid_is_one_half_at_the_mean_and_its_logits_differ_by_margin_over_temperature():
    values = normalize_rewards(REWARDS, "sigmoid", KNOWN)
    assert values.tolist() == pytest.approx(expit((REWARDS - 1.25) / 0.5).tolist(), rel=1e-6)
    assert values[2] == 0.5
    assert logit(values[1]) - logit(values[0]) == pytest.approx(3.0 / 0.5, rel=1e-4)


def test_sigmoid_of_far_rewards_is_zero_or_one_without_a_warning():
    far = np.array([-1e30, 1e30], dtype=np.float32)
    assert normalize_rewards(far, "sigmoid", KNOWN).tolist() == [0.0, 1.0]


def test_none_gives_the_raw_rewards():
    assert normalize_rewards(REWARDS, "none", None) is REWARDS


def test_group_scores_equal_scipy_and_are_zero_where_all_rewards_are_equal():
    assert normalize_group(REWARDS) == pytest.approx(zscore(REWARDS.astype(np.float64)), rel=1e-6)
    assert normalize_group(np.full(3, 0.1, dtype=np.float32)).tolist() == [0.0, 0.0, 0.0]
    assert normalize_group(REWARDS[:1]).tolist() == [0.0]
    assert normalize_group(REWARDS[:0]).tolist() == []


@pytest.mark.parametrize(
    ("how", "known", "said"),
    [
        ("affine", None, "mean and standard deviation"),
        ("sigmoid", None, "mean and standard deviation"),
        ("sigmoid", RewardNormalization(mean=0.0, std=1.0), "temperature"),
        ("afine", KNOWN, "none, affine, sigmoid"),
    ],
)
def test_what_is_not_known_is_an_error_with_the_command_that_measures_it(
    how: str, known: RewardNormalization | None, said: str
):
    with pytest.raises(PlauditError, match=said) as caught:
        normalize_rewards(REWARDS, how, known, model="my-model")
    if how != "afine":
        assert "plaudit calibrate my-model --data" in str(caught.value)


def test_the_record_is_asked_first_and_openrlhfs_config_second():
    measured = replace(RECORD, reward_mean=2.0, reward_std=3.0, temperature=1.5)
    config = {"mean": 0.5, "std": 4.0, "normalize_reward": False}
    assert find_normalization(measured, config) == RewardNormalization(mean=2.0, std=3.0, temperature=1.5)
    assert find_normalization(RECORD, config) == RewardNormalization(mean=0.5, std=4.0)
    assert find_normalization(None, {"mean": 0.5, "std": 4.0}) is None  # of some other config
    assert find_normalization(None, {**config, "std": 0.0}) is None
    assert find_normalization(None, None) is None


def test_fields_of_an_openrlhf_config_change_nothing_where_nothing_is_known():
    assert normalization_fields(RECORD) == {"mean": 0.0, "std": 1.0, "normalize_reward": False}
    known = replace(RECORD, reward_mean=2.0, reward_std=3.0)
    assert normalization_fields(known, normalize_reward=True) == {
        "mean": 2.0,
        "std": 3.0,
        "normalize_reward": True,
    }


def test_a_calibrated_record_also_reaches_the_config_of_openrlhfs_folder_and_no_other(tmp_path: Path):
    measured = replace(RECORD, reward_mean=2.0, reward_std=3.0, temperature=1.5, calibration={"n": 4})
    plain, openrlhf = tmp_path / "plain", tmp_path / "openrlhf"
    for folder, config in ((plain, {"a": 1}), (openrlhf, {"a": 1, "mean": 0.0, "normalize_reward": True})):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        write_calibrated_record(folder, measured)
        assert read_record(folder) == measured
        assert sorted(file.name for file in folder.iterdir()) == ["config.json", "plaudit.json"]
    assert json.loads((plain / "config.json").read_text()) == {"a": 1}
    assert json.loads((openrlhf / "config.json").read_text()) == {
        "a": 1,
        "mean": 2.0,
        "std": 3.0,
        "normalize_reward": True,
    }


def test_a_record_of_before_there_were_temperatures_is_read(tmp_path: Path):
    measured = replace(RECORD, reward_mean=2.0, reward_std=3.0)
    measured.write(tmp_path)
    content = json.loads((tmp_path / "plaudit.json").read_text())
    for name in ("temperature", "calibration", "averaged_from"):
        del content[name]
    (tmp_path / "plaudit.json").write_text(json.dumps(content))
    assert read_record(tmp_path) == measured


def test_a_scorer_gives_normalised_values_only_when_asked(tmp_path: Path):
    folder = write_reward_model(tmp_path / "model")
    raw = Scorer.from_pretrained(folder).score("the cat?", [" a dog", " the mat"])
    plain = Scorer.from_pretrained(folder)
    record = replace(ModelRecord(rendering=plain.renderer.rule), reward_mean=0.5, reward_std=2.0)
    write_calibrated_record(folder, replace(record, temperature=4.0))
    scorer = Scorer.from_pretrained(folder)
    assert scorer.score("the cat?", [" a dog", " the mat"]) == raw
    affine = scorer.score("the cat?", [" a dog", " the mat"], normalize="affine")
    assert affine == pytest.approx([(r - 0.5) / 2 for r in raw], rel=1e-5)
    sigmoid = scorer.score("the cat?", [" a dog", " the mat"], normalize="sigmoid")
    assert sigmoid == pytest.approx([expit((r - 0.5) / 4) for r in raw], rel=1e-5)
    assert scorer.score("the cat?", [" a dog", " the mat"], normalize="group_zscore") == pytest.approx(
        [1.0, -1.0] if raw[0] > raw[1] else [-1.0, 1.0], rel=1e-5
    )
