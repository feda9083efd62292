"""Groups held out by prompt."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.errors import PlauditError
from plaudit.preferences import Preferences, read_preferences
from plaudit.preferences.holdout import first_groups, hold_out


def preferences_of(prompts: list[int]) -> Preferences:
    records = [{"prompt": f"p{p}?", "chosen": f"c{i}", "rejected": "r"} for i, p in enumerate(prompts)]
    return read_preferences(records, progress=False)


def prompts(part: Preferences) -> list[str]:
    return [str(group.prompt) for group in part]


@settings(deadline=None, max_examples=25)
@given(
    numbers=st.lists(st.integers(0, 6), min_size=2, max_size=30).filter(lambda p: len(set(p)) > 1),
    seed=st.integers(0, 3),
)
def test_no_prompt_is_on_both_sides_and_no_group_is_lost(numbers: list[int], seed: int):
    whole = preferences_of(numbers)
    train, test = hold_out(whole, num_groups=1, seed=seed)
    assert not set(prompts(train)) & set(prompts(test))
    assert sorted(prompts(train) + prompts(test)) == sorted(prompts(whole))
    assert len(set(prompts(test))) == 1  # one prompt already has one group


def test_at_least_so_many_groups_are_held_out():
    train, test = hold_out(preferences_of([i // 3 for i in range(30)]), num_groups=7)
    # Prompts have three groups each, so 7 groups take three prompts.
    assert (len(train), len(test)) == (21, 9)


def test_a_fraction_is_of_the_groups():
    train, test = hold_out(preferences_of(list(range(40))), fraction=0.25)
    assert (len(train), len(test)) == (30, 10)


def test_the_same_seed_holds_out_the_same_prompts_and_another_seed_others():
    whole = preferences_of(list(range(40)))
    first, again, other = (hold_out(whole, num_groups=8, seed=seed)[1] for seed in (1, 1, 2))
    assert prompts(first) == prompts(again)
    assert first.fingerprint == again.fingerprint
    assert prompts(first) != prompts(other)


def test_which_prompts_are_held_out_does_not_depend_on_their_order():
    _, one = hold_out(preferences_of(list(range(40))), num_groups=8)
    _, other = hold_out(preferences_of(list(range(39, -1, -1))), num_groups=8)
    assert sorted(prompts(one)) == sorted(prompts(other))


def test_the_reports_count_the_parts_and_say_how_many_were_held_out():
    train, test = hold_out(preferences_of(list(range(10))), num_groups=4)
    assert (train.report.num_groups, train.report.num_comparisons) == (6, 6)
    assert (test.report.num_groups, test.report.num_comparisons) == (4, 4)
    assert train.report.notes == {"groups held out for evaluation (4 prompts)": 4}


def test_fingerprints_of_the_parts_differ_from_each_other_and_the_whole():
    whole = preferences_of(list(range(10)))
    parts = hold_out(whole, num_groups=4)
    assert len({whole.fingerprint, *(part.fingerprint for part in parts)}) == 3


@pytest.mark.parametrize(
    "amount", [{"fraction": 0.0}, {"fraction": 1.0}, {"num_groups": 0}, {"num_groups": 4}]
)
def test_an_impossible_amount_is_refused(amount: dict[str, float]):
    with pytest.raises(PlauditError):
        hold_out(preferences_of([0, 1, 2, 3]), **amount)  # type: ignore[arg-type]


def test_one_prompt_cannot_be_on_both_sides():
    with pytest.raises(PlauditError, match="no prompt to train on"):
        hold_out(preferences_of([5, 5, 5, 5]), num_groups=1)


def test_the_first_groups_are_the_first_groups():
    whole = preferences_of(list(range(5)))
    assert prompts(first_groups(whole, 2)) == ["p0?", "p1?"]
    assert first_groups(whole, 9) is whole
    assert list(first_groups(whole, 2).report.notes.values()) == [3]
    with pytest.raises(PlauditError, match="--limit"):
        first_groups(whole, 0)
