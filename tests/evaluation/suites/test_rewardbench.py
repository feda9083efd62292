"""RewardBench: the published averages from counts, the weights, and what is said about data that lack subsets."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from plaudit.errors import PlauditError
from plaudit.evaluation.suites import SUITES, ScoredItem, across_suites
from plaudit.evaluation.suites.prior_sets import COUNTS as PRIOR_COUNTS
from plaudit.evaluation.suites.rewardbench import COUNTS, SECTIONS
from stand_ins.suite_items import item, items_from_groups, pair, pairs_with

SUITE = SUITES["rewardbench"]
OF_SECTION = {section.name: list(section.weights) for section in SECTIONS}


def spread(num_right: int, subsets: list[str]) -> list[ScoredItem]:
    """So many right pairs over these subsets, each filled before the next one."""
    items = []
    for name in subsets:
        right = min(num_right, COUNTS[name])
        num_right -= right
        items += pairs_with(right, COUNTS[name], name)
    assert num_right == 0
    return items


def of_counts(chat: int, hard: int, safety: int, math_prm: int, code: int) -> list[ScoredItem]:
    return (
        spread(chat, OF_SECTION["Chat"])
        + spread(hard, OF_SECTION["Chat Hard"])
        + spread(safety, OF_SECTION["Safety"])
        + spread(math_prm, ["math-prm"])
        + spread(code, OF_SECTION["Reasoning"][1:])
    )


def percent(value: float) -> float:
    return round(100 * value, 2)


def test_the_counts_are_those_of_the_benchmark():
    assert sum(COUNTS.values()) == 2985 and len(COUNTS) == 23
    assert {name: sum(COUNTS[s] for s in subsets) for name, subsets in OF_SECTION.items()} == {
        "Chat": 358,
        "Chat Hard": 456,
        "Safety": 740,
        "Reasoning": 1431,
    }
    assert (COUNTS["xstest-should-refuse"], COUNTS["xstest-should-respond"]) == (154, 250)


def test_the_card_of_smoltulu_is_reproduced_from_its_counts():
    # The card: Chat 94.13, Chat Hard 43.64, Safety 75.54, Reasoning 68.01, average 72.43.
    scores = SUITE.score(of_counts(337, 199, 559, 226, 841))
    assert [percent(scores[name].value) for name in OF_SECTION] == [94.13, 43.64, 75.54, 68.01]
    assert percent(scores["micro accuracy"].value) == 72.43
    assert percent(scores["section mean"].value) == 70.33
    assert scores.headline == "section mean" and scores.headline_score.num_items == 2985
    assert all(score.note is None for score in scores.of_kind("section"))


def test_the_average_on_the_card_of_tulu_3_is_micro():
    # The card: Chat 96.27, Chat Hard 55.92, Safety 84.05, Reasoning 76.50, average 81.34. No whole numbers of pairs
    # give 96.27 % of 358; the nearest counts with the printed average are these. The sections' mean is 78.2.
    scores = SUITE.score(of_counts(345, 255, 622, 249, 957))
    assert percent(scores["micro accuracy"].value) == 81.34
    assert [percent(scores[name].value) for name in ("Chat Hard", "Safety")] == [55.92, 84.05]
    assert [scores[name].value for name in ("Chat", "Reasoning")] == pytest.approx(
        [0.9627, 0.7650], abs=1.1e-3
    )
    assert scores["section mean"].value == pytest.approx((0.9627 + 0.5592 + 0.8405 + 0.7650) / 4, abs=1e-3)


def test_math_weighs_as_much_as_all_code():
    all_math = SUITE.score(of_counts(0, 0, 0, 447, 0))
    assert all_math["Reasoning"].value == pytest.approx(0.5)
    assert all_math["micro accuracy"].value == pytest.approx(447 / 2985)


def test_equal_rewards_count_nothing_or_half():
    items = [pair(1.0, 1.0, "hep-go"), pair(2.0, 1.0, "hep-go")]
    assert SUITE.score(items)["hep-go"].value == 0.5
    assert SUITE.score(items, ties="half")["hep-go"].value == 0.75
    assert SUITE.score(items)["tie rate"].value == 0.5
    with pytest.raises(PlauditError, match="zero, half"):
        SUITE.score(items, ties="full")


def test_absent_and_partial_subsets_are_named_and_their_weights_go_to_the_others():
    items = pairs_with(50, 100, "llmbar-natural") + pairs_with(23, 46, "llmbar-adver-manual")
    items += pairs_with(10, 37, "mt-bench-hard")[:10] + pairs_with(82, 164, "hep-go")
    scores = SUITE.score(items)
    # Weights 100, 46 and, though only 10 of its pairs are here, 37.
    expected = (100 * 0.5 + 46 * 0.5 + 37 * 1.0) / 183
    assert scores["Chat Hard"].value == pytest.approx(expected)
    assert scores["section mean"].value == pytest.approx((expected + 0.5) / 2)
    assert scores["Chat Hard"].note == (
        "without llmbar-adver-neighbor, llmbar-adver-GPTInst, llmbar-adver-GPTOut; 10 of 37 of mt-bench-hard"
    )
    assert (scores["section mean"].note or "").startswith(
        "over 2 of 4 sections: without Chat, Safety; without"
    )
    assert scores["mt-bench-hard"].note == "10 of 37 of mt-bench-hard"
    assert math.isnan(scores["Chat"].value) and scores["Chat"].num_items == 0


def test_pairs_of_an_unknown_subset_are_in_no_average():
    items = [*pairs_with(100, 100, "llmbar-natural"), *pairs_with(0, 50, "made-up")]
    scores = SUITE.score(items)
    assert scores["micro accuracy"].value == 1.0 and scores["section mean"].value == 1.0
    assert "not a subset" in (scores["made-up"].note or "")


def test_an_item_without_a_reward_is_in_no_score_and_counted():
    items = [*pairs_with(50, 100, "llmbar-natural"), item([math.nan, math.nan], subset="llmbar-natural")]
    scores = SUITE.score(items)
    assert scores["llmbar-natural"].value == 0.5 and scores["llmbar-natural"].num_items == 100
    assert scores["items not scored"].value == 1.0


def test_the_average_with_prior_sets_weighs_them_as_half_a_section():
    main = SUITE.score(of_counts(337, 199, 559, 226, 841))
    assert math.isnan(main["mean with prior sets"].value)
    assert "prior-sets" in (main["mean with prior sets"].note or "")
    items = [i for name in PRIOR_COUNTS for i in pairs_with(3, 10, name)]
    items += pairs_with(30, 30, "mtbench_human")  # in no average
    prior = SUITES["prior-sets"].score(items)
    both = across_suites({"rewardbench": main, "prior-sets": prior})["rewardbench"]
    sections = [main[name].value for name in OF_SECTION]
    assert both["mean with prior sets"].value == pytest.approx((2 * sum(sections) + 0.3) / 9)
    assert prior.headline_score.value == pytest.approx(0.3)
    low, high = both["mean with prior sets"].low, both["mean with prior sets"].high
    assert low is not None and high is not None and low < both["mean with prior sets"].value < high
    assert [score.name for score in both.scores] == [score.name for score in main.scores]


def test_the_interval_of_the_average_with_prior_sets_is_that_of_both_resampled():
    right = {name: round(0.7 * count) for name, count in COUNTS.items()}
    main = SUITE.score([i for name, count in COUNTS.items() for i in pairs_with(right[name], count, name)])
    prior = SUITES["prior-sets"].score([i for name in PRIOR_COUNTS for i in pairs_with(60, 100, name)])
    found = across_suites({"rewardbench": main, "prior-sets": prior})["rewardbench"]["mean with prior sets"]
    random, num = np.random.default_rng(0), 4000
    drawn = {}  # All 2,985 pairs are drawn anew together; each is of a subset, and right or wrong.
    cells = [(name, is_right) for name in COUNTS for is_right in (True, False)]
    shares = [right[n] / 2985 if is_right else (COUNTS[n] - right[n]) / 2985 for n, is_right in cells]
    times = dict(zip(cells, random.multinomial(2985, shares, size=num).T, strict=True))
    for name in COUNTS:
        drawn[name] = times[name, True] / (times[name, True] + times[name, False])
    weights = {**COUNTS, "math-prm": 984}
    sections = [
        sum(weights[n] * drawn[n] for n in names) / sum(weights[n] for n in names)
        for names in OF_SECTION.values()
    ]
    priors = random.binomial(100, 0.6, size=(num, 4)).mean(axis=1) / 100
    low, high = np.quantile((2 * np.sum(sections, axis=0) + priors) / 9, [0.025, 0.975])
    width = high - low
    assert found.low == pytest.approx(low, abs=0.08 * width)
    assert found.high == pytest.approx(high, abs=0.08 * width)


def test_sections_on_real_pairs_equal_a_plain_count(shared_data: Path, tmp_path: Path):
    """LLMBar and HumanEvalPack under RewardBench's names; the reward is the number of characters."""
    rows = real_rows(shared_data)
    path = tmp_path / "rewardbench.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    groups = list(SUITE.read(str(path), progress=False))
    scores = SUITE.score(items_from_groups(groups))
    hits: dict[str, list[bool]] = {}
    for row in rows:
        hits.setdefault(row["subset"], []).append(len(row["chosen"]) > len(row["rejected"]))
    for name, of_subset in hits.items():
        assert scores[name].value == pytest.approx(np.mean(of_subset)) and scores[name].note is None
    hard = [n for n in OF_SECTION["Chat Hard"] if n in hits]
    expected_hard = sum(sum(hits[n]) for n in hard) / sum(len(hits[n]) for n in hard)
    code = [n for n in OF_SECTION["Reasoning"] if n in hits]
    expected_code = sum(sum(hits[n]) for n in code) / 984
    assert scores["Chat Hard"].value == pytest.approx(expected_hard)
    assert scores["Reasoning"].value == pytest.approx(expected_code)
    assert scores["section mean"].value == pytest.approx((expected_hard + expected_code) / 2)
    assert scores["micro accuracy"].value == pytest.approx(sum(map(sum, hits.values())) / 1403)


def real_rows(shared_data: Path) -> list[dict[str, str]]:
    rows = []
    for line in (shared_data / "llmbar" / "pairs.jsonl").read_text().splitlines():
        row = json.loads(line)
        last = row["subset"].rpartition("/")[2]
        rows.append(
            row | {"subset": "llmbar-natural" if last == "Natural" else f"llmbar-adver-{_name(last)}"}
        )
    for line in (shared_data / "humanevalpack" / "pairs.jsonl").read_text().splitlines():
        row = json.loads(line)
        rows.append(row | {"subset": f"hep-{row['language']}"})
    return rows


def _name(last: str) -> str:
    return last.lower() if last in ("Neighbor", "Manual") else last
