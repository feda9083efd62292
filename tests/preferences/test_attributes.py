"""Rated attributes: where each form keeps them, what is unknown, what is refused. Values are written by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, IterableDataset
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.errors import PlauditError
from plaudit.preferences import PreferenceGroup, Preferences, merge_by_prompt, read_mixture, read_preferences
from plaudit.preferences.holdout import first_groups, hold_out

NAMES = ["helpfulness", "verbosity"]
HELPSTEER: dict[str, Any] = {
    "prompt": "Name a prime.",
    "response": "7",
    "helpfulness": 4,
    "correctness": 3,
    "coherence": 4,
    "complexity": 1,
    "verbosity": 0,
}
PAIR = {"prompt": "p", "chosen": "a", "rejected": "b"}


def helpsteer(response: str, helpfulness: Any, verbosity: Any, prompt: str = "p") -> dict[str, Any]:
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness, "verbosity": verbosity}


def read(*records: dict[str, Any], **options: Any) -> Preferences:
    return read_preferences(records, progress=False, **{"attributes": NAMES, **options})


def k_wise(*completions: Any, **more: Any) -> dict[str, Any]:
    return {"prompt": "p", "completions": list(completions)} | more


def test_a_helpsteer_row_is_a_group_of_one_with_the_attributes_in_the_order_asked_for():
    preferences = read(HELPSTEER, attributes=["verbosity", "helpfulness", "correctness"])
    (group,) = preferences
    assert (group.completions, group.comparisons, group.ratings) == (("7",), (), None)
    assert group.attributes == ((0.0, 4.0, 3.0),)
    assert preferences.attribute_names == ("verbosity", "helpfulness", "correctness")
    assert dict(preferences.report.formats) == {"rated-response": 1}
    assert preferences.report.num_without_comparison == 1


def test_without_attributes_helpfulness_is_the_rating_and_the_report_says_so():
    preferences = read(HELPSTEER, attributes=None)
    assert (preferences[0].ratings, preferences[0].attributes, preferences.attribute_names) == (
        (4.0,),
        None,
        (),
    )
    ((note, number),) = preferences.report.notes.items()
    assert "helpfulness became the rating" in note and number == 1


def test_a_response_of_messages_is_divided_from_its_prompt():
    user, answer = {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}
    expected = ((user,), ((answer,),))
    for prompt, response in [([user], "Yes"), ("Hi", [answer]), ("Hi", [user, answer]), ([user], [answer])]:
        (group,) = read(HELPSTEER | {"prompt": prompt, "response": response})
        assert (group.prompt, group.completions) == expected


def test_an_unknown_attribute_is_none_and_its_records_are_counted():
    preferences = read(
        helpsteer("a", 1, None), helpsteer("b", "N/A", 2), {"prompt": "p", "response": "c", "helpfulness": 3}
    )
    assert [group.attributes for group in preferences] == [((1.0, None),), ((None, 2.0),), ((3.0, None),)]
    unknown = {note.split(",")[0]: number for note, number in preferences.report.notes.items()}
    assert unknown == {
        "records in which the attribute verbosity is unknown": 2,
        "records in which the attribute helpfulness is unknown": 1,
    }


def test_a_record_of_which_nothing_is_known_has_no_attributes():
    assert read(HELPSTEER, helpsteer("a", None, "n/a"))[1].attributes is None


def test_attributes_of_a_pair_stand_in_columns_of_their_own():
    record = PAIR | {"chosen_helpfulness": 4, "rejected_helpfulness": 1, "rejected_verbosity": 2}
    (group,) = read(record)
    assert group.attributes == ((4.0, None), (1.0, 2.0))
    assert [(c.better, c.worse, c.is_tie) for c in group.comparisons] == [(0, 1, False)]
    assert group.ratings is None
    assert read(record, attributes=None)[0].attributes is None


def test_llama_factory_pairs_have_attributes_too():
    rated = {"chosen": "a", "rejected": "b", "chosen_helpfulness": 2, "rejected_verbosity": 3}
    sharegpt = {"conversations": [{"from": "human", "value": "Hi"}]}
    sharegpt |= {"chosen": {"from": "gpt", "value": "a"}, "rejected": {"from": "gpt", "value": "b"}}
    first, second = read({"instruction": "Add."} | rated, rated | sharegpt)
    assert first.attributes == second.attributes == ((2.0, None), (None, 3.0))


@pytest.mark.parametrize(
    "record",
    [
        k_wise({"text": "a", "ratings": {"helpfulness": 1, "verbosity": 2}}, {"text": "b", "ratings": None}),
        k_wise({"text": "a", "scores": {"helpfulness": 1, "verbosity": 2.0}}, {"text": "b"}),
        k_wise({"text": "a", "helpfulness": 1, "verbosity": "2"}, {"text": "b", "helpfulness": None}),
        k_wise("a", "b", ratings=[{"helpfulness": 1, "verbosity": 2}, None]),
        k_wise("a", "b", scores=[{"helpfulness": 1, "verbosity": 2}, {"other": 3}]),
    ],
    ids=["ratings", "scores", "own-keys", "ratings-beside", "scores-beside"],
)
def test_attributes_of_several_completions(record: dict[str, Any]):
    preferences = read(record)
    (group,) = preferences
    assert group.attributes == ((1.0, 2.0), (None, None))
    assert (group.completions, group.comparisons, group.ratings) == (("a", "b"), (), None)
    assert dict(preferences.report.formats) == {"k-wise-attributes": 1}


def test_completions_with_ratings_and_attributes_are_compared_by_their_ratings():
    record = k_wise({"text": "a", "scores": {"helpfulness": 1}}, {"text": "b", "scores": {"verbosity": 2}})
    (group,) = read(record | {"ratings": [1, 3]})
    assert (group.ratings, group.attributes) == ((1.0, 3.0), ((1.0, None), (None, 2.0)))
    assert [(c.better, c.worse) for c in group.comparisons] == [(1, 0)]
    (ranked,) = read(
        k_wise({"text": "a", "rank": 1, "helpfulness": 1}, {"text": "b", "rank": 0, "verbosity": 2})
    )
    assert (ranked.ratings, ranked.attributes) == (None, ((1.0, None), (None, 2.0)))
    assert [(c.better, c.worse) for c in ranked.comparisons] == [(1, 0)]


def test_one_completion_is_enough_where_it_has_attributes():
    (group,) = read(k_wise({"text": "a", "ratings": {"helpfulness": 1, "verbosity": 0}}))
    assert (group.completions, group.attributes) == (("a",), ((1.0, 0.0),))
    with pytest.raises(PlauditError, match="single-completion"):
        read(k_wise({"text": "a", "rating": 1}))


def test_completions_of_one_text_take_the_mean_of_each_attribute():
    rated = [("a", 1, 5), ("b", 2, None), ("a", 4, None)]
    (group,) = read(k_wise(*[{"text": t, "helpfulness": h, "verbosity": v} for t, h, v in rated]))
    # a: helpfulness (1 + 4) / 2, verbosity 5 from the one that says so.
    assert (group.completions, group.attributes) == (("a", "b"), ((2.5, 5.0), (2.0, None)))


def test_verifiable_samples_may_carry_attributes():
    rated = [("a", True, 1), ("b", False, 3), ("a", True, 2)]
    samples = [{"text": t, "is_correct": c, "ratings": {"helpfulness": h}} for t, c, h in rated]
    (group,) = read({"prompt": "p", "samples": samples}, attributes=["helpfulness"])
    assert (group.ratings, group.attributes) == ((1.0, 0.0), ((1.5,), (3.0,)))


def aspects(**ratings: Any) -> dict[str, Any]:
    return {name: {"Rating": rating, "Rationale": "Because."} for name, rating in ratings.items()}


ULTRAFEEDBACK = {
    "source": "evol_instruct",
    "instruction": "Name a prime.",
    "models": ["x", "y"],
    "completions": [
        {
            "model": "x",
            "response": "7",
            "overall_score": 8.5,
            "annotations": aspects(helpfulness="5", honesty="N/A"),
        },
        {
            "model": "y",
            "response": "8",
            "overall_score": 2.0,
            "annotations": aspects(helpfulness="1", honesty="3"),
        },
    ],
}


def test_ultrafeedback_in_full_has_an_attribute_for_each_aspect():
    preferences = read(ULTRAFEEDBACK, attributes=["helpfulness", "honesty", "overall_score"])
    (group,) = preferences
    assert (group.prompt, group.completions) == ("Name a prime.", ("7", "8"))
    assert group.attributes == ((5.0, None, 8.5), (1.0, 3.0, 2.0))


def test_ultrafeedback_from_parquet_with_null_aspects_is_the_same(tmp_path: Path):
    other = json.loads(json.dumps(ULTRAFEEDBACK))
    other["completions"][0]["annotations"] = aspects(truthfulness="2")
    path = tmp_path / "u.parquet"
    pq.write_table(pa.Table.from_pylist([ULTRAFEEDBACK, other]), path)
    preferences = read_preferences(path, attributes=["helpfulness", "truthfulness"], progress=False)
    assert [group.attributes for group in preferences] == [
        ((5.0, None), (1.0, None)),
        ((None, 2.0), (1.0, None)),
    ]


def test_ultrafeedback_whose_aspects_are_all_unknown_is_no_bad_record():
    unknown = json.loads(json.dumps(ULTRAFEEDBACK).replace('"5"', '"N/A"').replace('"1"', '"N/A"'))
    first, second = read(ULTRAFEEDBACK, unknown, attributes=["helpfulness"])
    assert (first.attributes, second.attributes) == (((5.0,), (1.0,)), None)
    assert second.comparisons == ()


def test_ultrafeedback_without_attributes_says_how_to_ask_for_them():
    with pytest.raises(PlauditError, match=r"missing-key: completions without ratings.*attributes=\["):
        read(ULTRAFEEDBACK, attributes=None)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "dataset"])
def test_helpsteer_rows_are_the_same_from_every_source(tmp_path: Path, kind: str):
    rows = [helpsteer("7", 4, 1), helpsteer("8", 0, None)]
    source: Any = tmp_path / f"h.{kind}"
    if kind == "csv":
        with source.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif kind == "jsonl":
        source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), source)
    else:
        source = Dataset.from_list(rows)
    preferences = read_preferences(source, attributes=NAMES, progress=False)
    assert [(g.completions, g.attributes) for g in preferences] == [
        (("7",), ((4.0, 1.0),)),
        (("8",), ((0.0, None),)),
    ]


@pytest.mark.parametrize("value", ["high", True, [1], {"Rating": 1}, 10**400, "", "inf"])
def test_a_value_that_is_no_number_is_a_bad_record_with_file_line_and_reason(tmp_path: Path, value: Any):
    path = tmp_path / "h.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [HELPSTEER, HELPSTEER | {"verbosity": value}]))
    with pytest.raises(PlauditError, match=r"h\.jsonl:2: bad-rating: verbosity is .*Give a finite number"):
        read_preferences(path, attributes=NAMES, progress=False)
    report = read_preferences(path, attributes=NAMES, on_bad_record="skip", progress=False).report
    assert (report.num_groups, dict(report.bad_by_reason)) == (1, {"bad-rating": 1})
    assert len(read_preferences(path, attributes=["helpfulness"], progress=False)) == 2, "nobody asked for it"


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (PAIR | {"rejected_helpfulness": "much"}, "rejected_helpfulness"),
        (
            k_wise({"text": "a"}, {"text": "b", "ratings": {"helpfulness": "much"}}),
            r"completions\[1\].helpfulness",
        ),
        (k_wise("a", "b", ratings=[{"helpfulness": "much"}, None]), r"completions\[0\].helpfulness"),
    ],
    ids=["pair", "k-wise", "beside"],
)
def test_a_bad_value_is_named_where_it_stands(record: dict[str, Any], name: str):
    with pytest.raises(PlauditError, match=f"bad-rating: {name} is 'much'"):
        read(record)


def test_objects_beside_the_completions_are_one_for_each():
    with pytest.raises(PlauditError, match="length-mismatch: 1 ratings for 2 completions"):
        read(k_wise("a", "b", ratings=[{"helpfulness": 1}]))


@pytest.mark.parametrize(
    ("record", "seen"),
    [
        (HELPSTEER, "coherence, complexity, correctness, helpfulness, verbosity"),
        (
            HELPSTEER | {"prompt": "4", "id": 3, "helpfulness": "4"},
            "coherence, complexity, correctness, helpfulness",
        ),
        (PAIR | {"chosen_taste": 1, "rejected_size": "2.5", "turn": 3}, "size, taste"),
        (k_wise("a", "b", ratings=[1, 2]), "none"),
        (
            k_wise({"text": "4", "rating": 1, "ratings": {"taste": 3}}, {"text": "5", "score": 1}),
            "score, taste",
        ),
        (ULTRAFEEDBACK | {"ratings": [1, 2]}, "helpfulness, honesty, overall_score"),
    ],
    ids=["flat", "reserved", "pair", "numbers-beside", "k-wise", "ultrafeedback"],
)
def test_a_name_that_no_record_has_is_an_error_that_lists_the_numeric_names(
    record: dict[str, Any], seen: str
):
    with pytest.raises(PlauditError) as caught:
        read(record, attributes=["helpfull"])
    text = str(caught.value)
    assert text.startswith("records: no record has a number for the attribute helpfull; numeric names seen: ")
    assert f"numeric names seen: {seen}" in text


def test_columns_rename_before_the_numeric_names_are_listed():
    record = {"question": "4", "answer": "5", "helpfulness": 1}
    columns = {"prompt": "question", "response": "answer"}
    assert read(record, attributes=["helpfulness"], columns=columns)[0].attributes == ((1.0,),)
    with pytest.raises(PlauditError, match=r"numeric names seen: helpfulness\."):
        read(record, attributes=["taste"], columns=columns)


def test_a_name_that_one_record_has_is_enough():
    assert len(read(HELPSTEER, helpsteer("a", None, None), PAIR)) == 3


@pytest.mark.parametrize("attributes", ["helpfulness", ["a", "a"], [""]])
def test_names_that_are_no_list_of_distinct_names_are_refused(attributes: Any):
    with pytest.raises(PlauditError, match=r"attributes: .*Give a list of names"):
        read(HELPSTEER, attributes=attributes)


def test_a_stream_keeps_attributes_and_names_and_says_at_its_end_what_no_record_has():
    source = IterableDataset.from_generator(lambda: iter([helpsteer("a", 1, 2), helpsteer("b", 3, None)]))
    stream = read_preferences(source, attributes=NAMES, progress=False)
    assert (stream.is_streaming, stream.attribute_names) == (True, tuple(NAMES))
    assert [group.attributes for group in stream] == [((1.0, 2.0),), ((3.0, None),)]
    table = read(helpsteer("a", 1, 2), helpsteer("b", 3, None))
    assert stream.fingerprint == table.fingerprint
    with pytest.raises(PlauditError, match="no record has a number for the attribute taste"):
        list(read_preferences(source, attributes=["taste"], progress=False))


def test_a_kept_table_is_found_again_with_its_names_and_only_for_them(tmp_path: Path):
    path = tmp_path / "h.jsonl"
    path.write_text(json.dumps(HELPSTEER) + "\n")
    options: dict[str, Any] = {"cache_dir": tmp_path / "kept", "progress": False}
    first = read_preferences(path, attributes=NAMES, **options)
    (file,) = (tmp_path / "kept").glob("*.arrow")
    written = file.stat().st_mtime_ns
    again = read_preferences(path, attributes=NAMES, **options)
    assert file.stat().st_mtime_ns == written
    assert (again.attribute_names, again[0]) == (first.attribute_names, first[0])
    swapped = read_preferences(path, attributes=NAMES[::-1], **options)
    assert (swapped.attribute_names, swapped[0].attributes) == (("verbosity", "helpfulness"), ((0.0, 4.0),))
    assert read_preferences(path, **options)[0].ratings == (4.0,)


def test_the_fingerprint_tells_attributes_and_their_names():
    both = helpsteer("a", 1, 2) | {"size": 1, "taste": 2}
    found = [
        read(both, HELPSTEER).fingerprint,
        read(both, HELPSTEER, attributes=NAMES[::-1]).fingerprint,
        read(both, attributes=["size", "taste"]).fingerprint,
        read(both).fingerprint,
        read(helpsteer("a", 1, 3), HELPSTEER).fingerprint,
        read(helpsteer("a", 1, None), HELPSTEER).fingerprint,
    ]
    assert len(set(found)) == len(found)


def test_groups_given_as_such_keep_their_attributes():
    group = PreferenceGroup(prompt="p", completions=("a", "b"), attributes=((1.0, None), (None, 2.0)))
    assert read_preferences([group], attributes=NAMES, progress=False)[0] == group
    with pytest.raises(
        PlauditError, match="length-mismatch: 2 rows of 2 attributes for 2 completions and 0 names"
    ):
        read_preferences([group], progress=False)
    with pytest.raises(PlauditError, match="for 2 completions and 1 names"):
        read_preferences([group], attributes=["a"], progress=False)


def test_preferences_read_again_keep_their_names():
    preferences = read(helpsteer("a", 1, 2))
    assert read_preferences(preferences, progress=False).attribute_names == tuple(NAMES)
    assert read_mixture([preferences, preferences], progress=False).attribute_names == tuple(NAMES)
    with pytest.raises(PlauditError, match="have the attributes helpfulness, verbosity, not verbosity"):
        read_preferences(preferences, attributes=["verbosity"], progress=False)


def test_merging_brings_responses_together_each_with_its_attributes():
    merged = read(
        helpsteer("a", 1, 2), helpsteer("z", 5, 5, "q"), helpsteer("b", 3, None), group_by_prompt=True
    )
    first, second = merged
    assert (first.completions, first.attributes) == (("a", "b"), ((1.0, 2.0), (3.0, None)))
    assert (second.completions, second.attributes) == (("z",), ((5.0, 5.0),))
    assert merged.attribute_names == tuple(NAMES)
    assert not any("differently" in note for note in merged.report.notes)


def test_a_response_rated_differently_twice_has_the_means_and_is_counted():
    records = [helpsteer("a", 1, None), helpsteer("b", 0, 0), helpsteer("a", 4, 2), helpsteer("a", 4, 2)]
    merged = read(*records, group_by_prompt=True)
    # helpfulness (1 + 4 + 4) / 3, verbosity (2 + 2) / 2.
    assert merged[0].attributes == ((3.0, 2.0), (0.0, 0.0))
    assert [number for note, number in merged.report.notes.items() if "differently" in note] == [1]


def test_ratings_that_differ_between_records_become_their_mean():
    records = [
        helpsteer("a", 1, None),
        helpsteer("a", 2, None),
        {"prompt": "p", "chosen": "a", "rejected": "b"},
    ]
    merged = read(*records, attributes=None, group_by_prompt=True)
    assert (merged[0].completions, merged[0].ratings) == (("a", "b"), (1.5, None))
    assert [number for note, number in merged.report.notes.items() if "differently" in note] == [1]


def test_records_without_attributes_merge_with_those_that_have_them():
    (group,) = read(PAIR, helpsteer("b", 3, 1), group_by_prompt=True)
    assert (group.completions, group.attributes) == (("a", "b"), ((None, None), (3.0, 1.0)))
    assert len(group.comparisons) == 1


def test_a_mixture_keeps_the_attributes_of_each_source():
    rated, compared = [helpsteer(str(i), i, i + 10, f"p{i}") for i in range(20)], [PAIR]
    whole = read_mixture([compared, rated], attributes=NAMES, progress=False)
    assert whole[0].attributes is None
    assert [group.attributes for group in whole][1:] == [((float(i), i + 10.0),) for i in range(20)]
    assert whole.attribute_names == tuple(NAMES)


def test_a_part_of_a_source_in_a_mixture_keeps_its_attributes(tmp_path: Path):
    path = tmp_path / "h.jsonl"
    rows = [helpsteer(str(i), i, i + 10, f"p{i}") for i in range(20)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    mixture = read_mixture({str(path): 7}, attributes=NAMES, progress=False)
    assert (len(mixture), mixture.attribute_names) == (7, tuple(NAMES))
    for group in mixture:
        number = float(group.completions[0])  # type: ignore[arg-type]
        assert group.attributes == ((number, number + 10.0),)


def test_a_name_that_no_source_of_a_mixture_has_is_an_error():
    with pytest.raises(PlauditError, match="no record has a number for the attribute taste"):
        read_mixture([[PAIR], [HELPSTEER]], attributes=["helpfulness", "taste"], progress=False)


def test_parts_of_preferences_keep_attributes_and_names():
    whole = read(*[helpsteer(str(i), i, 2 * i, f"p{i}") for i in range(10)])
    for part in (*hold_out(whole, num_groups=3), first_groups(whole, 4), merge_by_prompt(whole)):
        assert part.attribute_names == tuple(NAMES)
        for group in part:
            number = float(group.completions[0])  # type: ignore[arg-type]
            assert group.attributes == ((number, 2 * number),)


VALUES = st.none() | st.integers(0, 4)
RATED = st.lists(
    st.tuples(st.sampled_from("pq"), st.sampled_from("abc"), VALUES, VALUES), min_size=1, max_size=9
)


@settings(max_examples=20)
@given(RATED)
def test_merging_averages_what_is_known_and_invents_nothing(rows: list[tuple[str, str, Any, Any]]):
    records = [helpsteer(text, first, second, prompt) for prompt, text, first, second in rows]
    merged = read(HELPSTEER, *records, group_by_prompt=True)
    found = {(g.prompt, text): index for g in merged for index, text in enumerate(g.completions)}
    by_prompt = {group.prompt: group for group in merged}
    for prompt, text in {(prompt, text) for prompt, text, _, _ in rows}:
        said = [row[2:] for row in rows if row[:2] == (prompt, text)]
        known = [[value for value in column if value is not None] for column in zip(*said, strict=True)]
        expected = tuple(sum(values) / len(values) if values else None for values in known)
        attributes = by_prompt[prompt].attributes
        got = (None, None) if attributes is None else attributes[found[prompt, text]]
        assert got == expected
