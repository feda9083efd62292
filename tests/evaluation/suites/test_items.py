"""From rewards of token sequences to items: every group is there, and identical answers are ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.evaluation.equal_ids import groups_with_equal_ids
from plaudit.evaluation.plan import item_of_tokens, plan_items
from plaudit.evaluation.suites import SUITES, NamedScore, ScoredItem, SuiteScores, items_of
from plaudit.preferences import PreferenceGroup, Preferences, read_preferences
from plaudit.tokens import LengthLimits, Renderer, TokenTable, tokenize_preferences
from stand_ins.comparisons import linear_reward, rows_of, text_group
from stand_ins.suite_items import item, pair
from stand_ins.tokenizers import LLAMA3_LIKE_TEMPLATE, build_tokenizer


def evaluated(groups: list[PreferenceGroup], limits: LengthLimits | None = None) -> list[ScoredItem]:
    """Items of groups that went through a chat template that strips; the reward is the number of tokens."""
    preferences: Preferences = read_preferences(groups, progress=False)
    renderer = Renderer(build_tokenizer(chat_template=LLAMA3_LIKE_TEMPLATE))
    limits = limits or LengthLimits()
    tokens = tokenize_preferences(preferences, renderer, limits, progress=False)
    assert isinstance(tokens, TokenTable)
    whole = groups_with_equal_ids(tokens, preferences, renderer, limits)
    plan = plan_items(whole, preferences, item_of_tokens)
    rewards = np.array([len(s) for s in plan.sequences], dtype=np.float32)
    return items_of(plan.rows.with_rewards(rewards), preferences)


def test_each_completion_has_its_own_reward():
    groups = [
        text_group("a", ["x!", "x!!", "x?"], [(0, 2), (1, 2)], subset="s", id="i"),
        text_group("b", ["y", "y!"], [(1, 0)]),
    ]
    items = items_of(rows_of(groups), groups)
    assert [i.rewards.tolist() for i in items] == [[0.25, 0.5, -0.125], [0.0, 0.25]]
    assert [i.is_correct.tolist() for i in items] == [[True, True, False], [False, True]]
    assert [(i.subset, i.id, i.group) for i in items] == [("s", "i", 0), (None, None, 1)]
    assert items[0].num_characters.tolist() == [2, 3, 2]
    assert items[0].num_tokens.tolist() == [3, 4, 3]  # bytes and the end
    assert linear_reward(np.array([ord("!")])) == 0.25


def test_a_tie_of_the_data_makes_neither_answer_wrong():
    group = text_group("a", ["x!", "x!!", "x?"], [(0, 2)], ties=[(0, 1)])
    (only,) = items_of(rows_of([group]), [group])
    assert only.is_correct.tolist() == [True, True, False]


def test_groups_of_one_prompt_share_a_number():
    groups = [text_group("a", ["x", "y"]), text_group("b", ["x", "y"]), text_group("a", ["z", "y!"])]
    items = items_of(rows_of(groups), groups)
    assert items[0].prompt == items[2].prompt != items[1].prompt


def test_a_group_that_was_not_scored_is_an_item_without_rewards():
    groups = [text_group("a", ["word " * 50, "short"]), text_group("b", ["longer answer", "no"])]
    items = evaluated(groups, LengthLimits(max_length=40))
    assert np.isnan(items[0].rewards).all() and not items[0].is_scored
    assert items[1].is_scored


def test_identical_answers_are_a_tie_and_stay_in_the_count():
    """Tokenising drops a comparison of equal ids; a benchmark counts the pair, as a tie."""
    groups = [
        text_group("a", ["same ", "same"], subset="hep-go"),
        text_group("b", ["longer answer", "no"], subset="hep-go"),
    ]
    items = evaluated(groups)
    scores = SUITES["rewardbench"].score(items)
    assert scores["hep-go"].value == 0.5 and scores["hep-go"].num_items == 2
    assert scores["tie rate"].value == 0.5
    assert SUITES["rewardbench"].score(items, ties="half")["hep-go"].value == 0.75


def test_identical_answers_that_are_too_long_are_no_tie():
    groups = [
        text_group("a", ["same " * 50, "same " * 50], subset="hep-go"),
        text_group("b", ["longer answer", "no"], subset="hep-go"),
    ]
    items = evaluated(groups, LengthLimits(max_length=40))
    assert np.isnan(items[0].rewards).all()
    scores = SUITES["rewardbench"].score(items)
    assert (scores["hep-go"].value, scores["hep-go"].num_items) == (1.0, 1)
    assert (scores["items not scored"].value, scores["tie rate"].value) == (1.0, 0.0)


def test_a_wrong_answer_given_twice_counts_twice():
    group = text_group("a", ["yes", "no indeed", "no indeed "], [(0, 1), (0, 2)], subset="Math", id="3")
    (only,) = evaluated([group])
    assert only.is_scored and only.rewards[1] == only.rewards[2] > only.rewards[0]


@settings(max_examples=20)
@given(st.permutations(range(8)))
def test_the_order_of_items_changes_no_score(order: list[int]):
    items = [pair(float(n % 3), 1.0, f"hep-{'go' if n % 2 else 'cpp'}", prompt=n // 2) for n in range(8)]
    plain = SUITES["rewardbench"].score(items)
    shuffled = SUITES["rewardbench"].score([items[n] for n in order])
    assert plain.to_dict() == shuffled.to_dict()


def test_scores_survive_json():
    items = [pair(1.0, 0.0, "hep-go"), item([math.nan, 1.0], subset="hep-go")]
    scores = SUITES["rewardbench"].score(items)
    again = SuiteScores.from_dict(scores.to_dict())
    assert again.to_dict() == scores.to_dict() and again.headline == scores.headline
    assert math.isnan(again["Chat"].value) and scores.to_dict()["scores"][-3]["value"] == 1.0
    score = NamedScore(name="a", value=math.nan, num_items=0, kind="average", rule="r")
    assert score.to_dict()["value"] is None


def test_an_unknown_score_is_a_key_error_that_lists_the_known():
    with pytest.raises(KeyError, match="micro accuracy"):
        SUITES["rewardbench"].score([])["average"]


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_scores_nothing_at_all_without_failing(name: str):
    scores = SUITES[name].score([])
    assert scores.headline_score.num_items == 0 and math.isnan(scores.headline_score.value)
    assert len({score.name for score in scores.scores}) == len(scores.scores)
