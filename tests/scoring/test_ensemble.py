"""An ensemble: the combined rewards by hand, members that read differently, files with each one's column."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from plaudit.errors import PlauditError
from plaudit.evaluation import evaluate
from plaudit.model.record import ModelRecord
from plaudit.preferences import read_preferences
from plaudit.scoring import EnsembleScorer, Scorer
from plaudit.scoring.ensemble import combine_rewards
from plaudit.scoring.files import FileScores, score_file
from stand_ins.folders import PAIRS, write_reward_model
from stand_ins.tokenizers import CHATML_TEMPLATE


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Scorer]:
    folder = tmp_path_factory.mktemp("members")
    return [
        Scorer.from_pretrained(write_reward_model(folder / str(seed), seed=seed), device="cpu")
        for seed in (0, 1, 2)
    ]


@pytest.fixture(scope="module")
def chat_member(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    folder = tmp_path_factory.mktemp("chat")
    return Scorer.from_pretrained(
        write_reward_model(folder / "chat", seed=3, chat_template=CHATML_TEMPLATE), device="cpu"
    )


RECORDS: list[dict[str, Any]] = [
    {"prompt": "the cat sat?", "completions": [" on the mat", " under a tree", ""]},
    {"prompt": "the dog?", "completion": " ran", "i": 7},
]


def write(path: Path, records: list[Any]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def scored(scorer: Scorer | EnsembleScorer, tmp_path: Path, **options: Any) -> list[dict[str, Any]]:
    target = tmp_path / "out.jsonl"
    score_file(scorer, write(tmp_path / "in.jsonl", RECORDS), str(target), overwrite=True, **options)
    return [json.loads(line) for line in target.read_text().splitlines()]


def own_rewards(members: list[Scorer], prompt: str, completions: list[str]) -> np.ndarray:
    return np.array([member.score(prompt, completions) for member in members])


@pytest.mark.parametrize(
    ("how", "coefficient", "expected"),
    [
        ("mean", 9.0, [2.0, 5.0]),
        ("min", 9.0, [1.0, 5.0]),
        # The variance of 1, 1, 4 with divisor 3 is 2.
        ("uwo", 0.5, [1.0, 5.0]),
        ("uwo", 0.0, [2.0, 5.0]),
    ],
)
def test_combined_rewards_equal_values_worked_by_hand(how: str, coefficient: float, expected: list[float]):
    rewards = np.array([[1.0, 5.0], [1.0, 5.0], [4.0, 5.0]], dtype=np.float32)
    assert combine_rewards(rewards, how, coefficient).tolist() == expected


@given(
    rewards=st.lists(st.lists(st.floats(-100, 100, width=32), min_size=4, max_size=4), min_size=1, max_size=5)
)
def test_a_shift_of_every_member_shifts_what_is_combined_and_order_does_not_matter(rewards):
    given_ = np.array(rewards, dtype=np.float32)
    for how in ("mean", "min", "uwo"):
        combined = combine_rewards(given_, how)
        assert combine_rewards(given_ + 8, how) == pytest.approx(combined + 8, rel=1e-4, abs=1e-2)
        assert combine_rewards(given_[::-1], how) == pytest.approx(combined, rel=1e-5, abs=1e-5)
        assert (combined <= given_.max(axis=0) + 1e-4).all()


@pytest.mark.parametrize("how", ["mean", "min", "uwo"])
def test_a_prompts_completions_get_the_combination_of_what_each_member_gives(members: list[Scorer], how: str):
    own = own_rewards(members, "the cat sat?", [" on the mat", " under a tree"])
    expected = {"mean": own.mean(0), "min": own.min(0), "uwo": own.mean(0) - 0.25 * own.var(0)}[how]
    assert own.std(axis=0).min() > 0.01
    ensemble = EnsembleScorer(members, combine=how, uwo_coefficient=0.25)
    assert ensemble.score("the cat sat?", [" on the mat", " under a tree"]) == pytest.approx(
        expected, abs=1e-5
    )


def test_a_file_gets_the_combination_its_spread_the_worst_and_each_members_reward(
    members: list[Scorer], tmp_path: Path
):
    group, single = scored(EnsembleScorer(members), tmp_path, details=True)
    own = own_rewards(members, "the cat sat?", RECORDS[0]["completions"])
    assert list(group) == [
        *("prompt", "completions", "rewards", "reward_std", "reward_min", "member_rewards", "num_tokens")
    ]
    assert group["rewards"] == pytest.approx(own.mean(axis=0), abs=1e-5)
    assert group["reward_std"] == pytest.approx(own.std(axis=0), abs=1e-5)
    assert group["reward_min"] == pytest.approx(own.min(axis=0), abs=1e-5)
    assert np.array(group["member_rewards"]) == pytest.approx(own.T, abs=1e-5)
    assert len(group["num_tokens"]) == 3
    own = own_rewards(members, "the dog?", [" ran"])[:, 0]
    assert single["i"] == 7 and single["reward"] == pytest.approx(own.mean(), abs=1e-5)
    assert single["member_rewards"] == pytest.approx(own, abs=1e-5)
    assert single["reward_min"] == pytest.approx(own.min(), abs=1e-5)


def test_a_file_of_one_model_has_no_columns_of_ensembles(members: list[Scorer], tmp_path: Path):
    group, single = scored(members[0], tmp_path)
    assert list(group) == ["prompt", "completions", "rewards"]
    assert list(single) == ["prompt", "completion", "i", "reward"]


def with_normalization(folder: Path, seed: int, mean: float, std: float, temperature: float | None) -> Scorer:
    plain = Scorer.from_pretrained(write_reward_model(folder, seed=seed), device="cpu")
    record = ModelRecord(rendering=plain.renderer.rule, reward_mean=mean, reward_std=std)
    replace(record, temperature=temperature).write(folder)
    return Scorer.from_pretrained(folder, device="cpu")


def test_normalised_values_are_each_members_own_and_then_combined(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    a = with_normalization(tmp_path / "a", 0, 0.0, 1.0, 1.0)
    b = with_normalization(tmp_path / "b", 1, 30.0, 2.0, 0.5)
    (group, _) = scored(EnsembleScorer([a, b], combine="min"), tmp_path, normalize="affine")
    assert "different scales" in caplog.text
    raw = np.array(group["member_rewards"])
    expected = np.minimum(raw[:, 0], (raw[:, 1] - 30) / 2)
    assert group["normalized"] == pytest.approx(expected, abs=1e-5)
    assert group["rewards"] == pytest.approx(raw.min(axis=1), abs=1e-6)  # the reward stays raw
    (group, single) = scored(a, tmp_path, normalize="sigmoid")
    assert group["normalized"] == pytest.approx(1 / (1 + np.exp(-np.array(group["rewards"]))), abs=1e-6)
    assert isinstance(single["normalized"], float)


def test_members_on_one_scale_give_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    a = with_normalization(tmp_path / "a", 0, 0.0, 1.0, None)
    b = with_normalization(tmp_path / "b", 1, 0.5, 2.0, None)
    EnsembleScorer([a, b])
    assert "different scales" not in caplog.text


def test_a_member_that_was_not_calibrated_stops_before_anything_is_written(
    members: list[Scorer], tmp_path: Path
):
    with pytest.raises(PlauditError, match="plaudit calibrate"):
        scored(EnsembleScorer(members), tmp_path, normalize="affine")
    assert [file.name for file in tmp_path.iterdir()] == ["in.jsonl"]


def test_each_member_reads_a_file_in_its_own_rendering(
    members: list[Scorer], chat_member: Scorer, tmp_path: Path
):
    group, single = scored(EnsembleScorer([members[0], chat_member]), tmp_path)
    own = own_rewards([members[0], chat_member], "the cat sat?", RECORDS[0]["completions"])
    assert np.array(group["member_rewards"]) == pytest.approx(own.T, abs=1e-5)
    assert single["reward"] == pytest.approx(
        own_rewards([members[0], chat_member], "the dog?", [" ran"]).mean(), abs=1e-5
    )


def test_over_token_sequences_members_of_different_renderings_are_an_error(
    members: list[Scorer], chat_member: Scorer, tmp_path: Path
):
    ensemble = EnsembleScorer([members[0], chat_member])
    with pytest.raises(PlauditError, match=r"chat: it reads conversations .* as text.* as chat"):
        ensemble.score_sequences([np.array([5, 6, 7], dtype=np.int32)])
    data = read_preferences(write(tmp_path / "pairs.jsonl", PAIRS[:4]), transcripts="text")
    with pytest.raises(PlauditError, match="members of one rendering"):
        evaluate(ensemble, data)


def test_evaluation_of_an_ensemble_uses_the_combined_reward(members: list[Scorer], tmp_path: Path):
    data = read_preferences(write(tmp_path / "pairs.jsonl", PAIRS[:8]), transcripts="text")
    result = evaluate(EnsembleScorer(members, combine="min"), data, progress=False)
    own = [own_rewards(members, pair["prompt"], [pair["chosen"]]).min() for pair in PAIRS[:8]]
    assert result.rows.reward_better == pytest.approx(own, abs=1e-5)
    assert result.model.startswith("min of ") and result.model.count(",") == 2
    assert result.throughput.num_tokens_given == 3 * sum(
        len(members[0].token_ids(pair["prompt"], pair[key]))
        for pair in PAIRS[:8]
        for key in ("chosen", "rejected")
    )


def test_a_run_that_was_interrupted_goes_on_only_with_the_same_members_and_combination(
    members: list[Scorer], tmp_path: Path
):
    source = write(tmp_path / "in.jsonl", [{"prompt": "a", "completion": str(i)} for i in range(6)])

    class StoppedError(Exception):
        pass

    def stop(counts: FileScores, num_bytes: int) -> None:
        raise StoppedError

    def resumed(scorer: EnsembleScorer) -> int:
        target = str(tmp_path / "out.jsonl")
        with pytest.raises(StoppedError):
            score_file(EnsembleScorer(members), source, target, records_per_window=2, on_window=stop)
        num = score_file(scorer, source, target).num_resumed
        (tmp_path / "out.jsonl").unlink()
        return num

    assert resumed(EnsembleScorer(members)) == 2
    assert resumed(EnsembleScorer(members, combine="min")) == 0
    assert resumed(EnsembleScorer(members[::-1])) == 0


def test_fields_of_an_ensemble_are_reserved_only_for_ensembles(members: list[Scorer], tmp_path: Path):
    source = write(tmp_path / "in.jsonl", [{"prompt": "a", "completion": "b", "reward_std": 1}])
    score_file(members[0], source, str(tmp_path / "one.jsonl"))
    with pytest.raises(PlauditError, match="reward_std"):
        score_file(EnsembleScorer(members), source, str(tmp_path / "all.jsonl"))


@pytest.mark.parametrize(
    ("options", "said"),
    [({"combine": "median"}, "mean, min, uwo"), ({"uwo_coefficient": -1.0}, "reward disagreement")],
)
def test_a_wrong_choice_is_named(members: list[Scorer], options: dict[str, Any], said: str):
    with pytest.raises(PlauditError, match=said):
        EnsembleScorer(members, **options)
    with pytest.raises(PlauditError, match="no models"):
        EnsembleScorer([])
