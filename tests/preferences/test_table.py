"""A group goes to disk and comes back the same, and a million of them sit in no Python object."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.preferences import Comparison, PreferenceGroup, read_preferences
from plaudit.preferences.table import group_to_row, row_to_group

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
plain = st.none() | st.booleans() | st.integers(-(2**40), 2**40) | numbers | texts
objects = st.dictionaries(texts, plain | st.lists(plain, max_size=2), max_size=3)
messages = st.lists(
    st.fixed_dictionaries({"role": texts, "content": texts}, optional={"tool_calls": st.lists(objects)}),
    min_size=1,
    max_size=3,
).map(tuple)


@st.composite
def group_values(draw: st.DrawFn) -> dict[str, Any]:
    """The values of a group. The group is built in the test, since type checks draw random numbers."""
    form = draw(st.sampled_from([texts, messages]))
    completions = draw(st.lists(form, min_size=2, max_size=4))
    size = len(completions)
    index = st.integers(0, size - 1)
    comparison = st.fixed_dictionaries(
        {"better": index, "worse": index, "margin": numbers, "weight": numbers, "is_tie": st.booleans()}
    )
    return {
        "prompt": draw(form),
        "completions": tuple(completions),
        "comparisons": draw(st.lists(comparison, max_size=4)),
        "attributes": draw(
            st.none()
            | st.lists(st.tuples(st.none() | numbers, st.none() | numbers), min_size=size, max_size=size).map(
                tuple
            )
        ),
        "ratings": draw(st.none() | st.lists(st.none() | numbers, min_size=size, max_size=size).map(tuple)),
        "tools": draw(st.none() | st.lists(objects, max_size=2).map(tuple)),
        "chat_template_kwargs": draw(objects),
        "subset": draw(st.none() | texts),
        "id": draw(st.none() | texts),
        "source": draw(texts),
    }


def build(values: dict[str, Any]) -> PreferenceGroup:
    comparisons = tuple([Comparison(**comparison) for comparison in values["comparisons"]])
    return PreferenceGroup(**{**values, "comparisons": comparisons})


@given(group_values())
def test_row_to_group_is_the_inverse_of_group_to_row(values: dict[str, Any]):
    group = build(values)
    assert row_to_group(group_to_row(group)) == group


@settings(max_examples=25, deadline=None)
@given(st.lists(group_values(), min_size=1, max_size=5))
def test_groups_come_back_the_same_from_the_arrow_file(several: list[dict[str, Any]]):
    # An attribute that no group has would be an error.
    known = PreferenceGroup(prompt="p", completions=("a",), attributes=((1.0, 2.0),))
    groups = [build(values) for values in several] + [known]
    preferences = read_preferences(groups, attributes=["a", "b"], progress=False)
    assert list(preferences) == groups
    assert [preferences[index] for index in range(len(groups))] == groups
