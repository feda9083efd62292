"""Merging by prompt keeps every judgement; a mixture takes what was asked for, the same each time."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.errors import PlauditError
from plaudit.preferences import groups_from_samples, read_mixture, read_preferences


def pair(prompt: str, chosen: str, rejected: str, **more: object) -> dict[str, object]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected} | more


def test_pairs_of_one_prompt_become_one_group_in_order_of_first_appearance():
    records = [pair("q", "a", "b", id="1"), pair("p", "x", "y"), pair("q", "c", "a"), pair("q", "b", "a")]
    merged = read_preferences(records, group_by_prompt=True)
    first, second = merged
    assert (first.prompt, first.completions, first.id) == ("q", ("a", "b", "c"), "1")
    assert [(c.better, c.worse) for c in first.comparisons] == [(0, 1), (2, 0), (1, 0)]
    assert second.prompt == "p"
    report = merged.report
    assert (report.num_records, report.num_groups, report.num_comparisons) == (4, 2, 4)
    assert report.num_contradictions == 1


def test_tools_template_arguments_and_subset_keep_prompts_apart():
    records = [
        pair("p", "a", "b"),
        pair("p", "a", "b", tools=[{"name": "t"}]),
        pair("p", "a", "b", chat_template_kwargs={"thinking": True}),
        pair("p", "a", "b", subset="s"),
        pair("p", "b", "a", subset="s"),
    ]
    assert [len(group.comparisons) for group in read_preferences(records, group_by_prompt=True)] == [
        1,
        1,
        1,
        2,
    ]


def test_merging_keeps_margins_weights_ties_and_ratings():
    records = [
        pair("p", "a", "b", margin=2, weight=3, score_chosen=5, score_rejected=1),
        pair("p", "c", "b", label="tie"),
        pair("p", "d", "d", label="tie"),
    ]
    preferences = read_preferences(records, group_by_prompt=True)
    (group,) = preferences
    assert [(c.margin, c.weight, c.is_tie) for c in group.comparisons] == [(2, 3, False), (0, 1, True)]
    assert group.ratings == (5, 1, None, None)
    assert any("tie of a completion with itself" in note for note in preferences.report.notes)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("pq"), st.permutations("abcd")), min_size=1, max_size=12))
def test_merging_loses_and_invents_no_judgement(judgements: list[tuple[str, list[str]]]):
    records = [pair(prompt, texts[0], texts[1]) for prompt, texts in judgements]
    merged = read_preferences(records, group_by_prompt=True, progress=False)
    found = [
        (group.prompt, group.completions[c.better], group.completions[c.worse])
        for group in merged
        for c in group.comparisons
    ]
    assert sorted(found) == sorted((r["prompt"], r["chosen"], r["rejected"]) for r in records)
    assert len(merged) == len({prompt for prompt, _ in judgements})


def test_duplicates_are_counted_and_kept():
    report = read_preferences(
        [pair("p", "a", "b", id="1"), pair("p", "b", "a"), pair("p", "a", "b", id="2")]
    ).report
    assert (report.num_groups, report.num_duplicates) == (3, 1)


def test_the_fingerprint_tells_content_and_order_but_not_place_or_id(tmp_path: Path):
    records = [pair("p", "a", "b"), pair("q", "c", "d")]
    path = tmp_path / "x.jsonl"
    path.write_text("".join(json.dumps(record | {"id": "i"}) + "\n" for record in records))
    fingerprint = read_preferences(records).fingerprint
    assert read_preferences(path).fingerprint == fingerprint
    changed = [
        records[::-1],
        [records[0]],
        [records[0], pair("q", "d", "c")],
        [records[0] | {"margin": 1}, records[1]],
    ]
    assert fingerprint not in {read_preferences(other).fingerprint for other in changed}


@pytest.fixture
def sources(tmp_path: Path) -> tuple[str, str]:
    """Two files of 100 and 40 records."""
    names = []
    for name, number in (("a", 100), ("b", 40)):
        path = tmp_path / f"{name}.jsonl"
        lines = [json.dumps(pair(f"{name}{n}", "x", "y", id=f"{name}{n}")) for n in range(number)]
        path.write_text("\n".join(lines))
        names.append(str(path))
    return names[0], names[1]


def test_sources_are_joined_in_order(sources: tuple[str, str]):
    mixture = read_mixture(list(sources))
    assert [mixture[0].id, mixture[99].id, mixture[100].id, len(mixture)] == ["a0", "a99", "b0", 140]
    assert mixture.report.sources == sources
    assert mixture.report.num_records == 140


def test_fractions_and_counts_take_what_was_asked_for(sources: tuple[str, str]):
    first, second = sources
    mixture = read_mixture({first: 0.25, second: 7}, seed=3)
    names = [group.id for group in mixture]
    assert sum(name.startswith("a") for name in names if name) == 25
    assert len(set(names)) == len(names) == 32
    assert mixture.report.num_groups == 32 and mixture.report.num_records == 140
    again = read_mixture([first, "0.25", second, "7"], seed=3)
    assert [group.id for group in again] == names, "open-instruct's list means the same"
    assert [group.id for group in read_mixture({first: 0.25, second: 7}, seed=4)] != names
    alone = read_mixture({first: 0.25}, seed=3)
    assert [group.id for group in alone] == names[:25], "another source does not move the choice"
    whole = read_mixture({first: 1.0})
    assert len(whole) == 100


@pytest.mark.parametrize(
    ("amount", "message"),
    [
        (1.5, "neither a fraction"),
        (0, "neither"),
        (-3, "neither"),
        (True, "neither"),
        (101, "101 groups were asked"),
    ],
)
def test_an_impossible_amount_is_refused(sources: tuple[str, str], amount: float, message: str):
    with pytest.raises(PlauditError, match=message):
        read_mixture({sources[0]: amount})


def test_names_and_amounts_that_do_not_take_turns_are_refused(sources: tuple[str, str]):
    with pytest.raises(PlauditError, match="take turns"):
        read_mixture([sources[0], "0.5", sources[1]])


def test_a_mixture_merges_prompts_across_sources_and_counts_bad_records(
    sources: tuple[str, str], tmp_path: Path
):
    extra = [pair("a0", "z", "x"), pair("a0", "", "x")]
    out = tmp_path / "bad.jsonl"
    mixture = read_mixture(
        [sources[0], extra], group_by_prompt=True, on_bad_record="skip", bad_records_path=out
    )
    assert len(mixture) == 100
    assert mixture[0].completions == ("x", "y", "z")
    assert mixture.report.num_bad == 1
    assert json.loads(out.read_text())["source"] == "records"


def test_groups_from_samples_verifies_plain_answers():
    records = [{"prompt": "2+2?", "answer": "4", "samples": ["4", "5", "4", "22"]}]
    groups = groups_from_samples(records, verify=lambda record, text: text == record["answer"])
    (group,) = read_preferences(groups)
    assert (group.completions, group.ratings) == (("4", "5", "22"), (1.0, 0.0, 0.0))
    assert [(c.better, c.worse) for c in group.comparisons] == [(0, 1), (0, 2)]
    assert group.source == "samples[0]"


def test_groups_from_samples_limits_comparisons_and_leaves_out_small_gaps():
    ratings = [0.0, 0.1, 0.5, 1.0]
    random.Random(0).shuffle(ratings)
    record = {"prompt": "p", "samples": [{"text": f"t{r}", "rating": r} for r in ratings]}
    (wide,) = groups_from_samples([record], min_gap=0.45)
    gaps = [ratings[c.better] - ratings[c.worse] for c in wide.comparisons]
    # 1.0 against 0.0, 0.1 and 0.5; 0.5 against 0.0. (0.5 - 0.1 is 0.4.)
    assert sorted(round(gap, 6) for gap in gaps) == [0.5, 0.5, 0.9, 1.0]
    (few,) = groups_from_samples([record], max_comparisons=2)
    assert len(few.comparisons) == 2 and len(few.completions) == 4
    assert list(groups_from_samples([record], max_comparisons=2)) == [few]


def test_groups_from_samples_names_the_bad_record():
    good = {"prompt": "p", "samples": [{"text": text, "rating": 1} for text in "ab"]}
    with pytest.raises(PlauditError, match=r"samples\[1\]: single-completion"):
        list(groups_from_samples([good, {"prompt": "p", "samples": good["samples"][:1]}]))
