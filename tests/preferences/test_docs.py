"""The examples of the page on preference data are read as they stand there."""

import json
import re
from pathlib import Path

import pytest

from plaudit.preferences import Preferences, read_preferences
from plaudit.preferences.formats.recognise import KEYS

PAGE = (Path(__file__).parents[2] / "docs" / "preference-data.md").read_text()
SECTIONS = [
    (title.strip(), block)
    for section in re.split(r"^##+ ", PAGE, flags=re.MULTILINE)
    for title, body in [section.split("\n", 1)]
    for block in re.findall(r"```jsonl\n(.*?)```", body, flags=re.DOTALL)
]


# One rated response compares nothing, and rated attributes have to be asked for by name.
WITHOUT_COMPARISONS = ("One rated response (HelpSteer, HelpSteer2)", "Rated attributes")


def read_section(title: str, block: str) -> Preferences:
    attributes = ["helpfulness", "honesty"] if title == "Rated attributes" else None
    return read_preferences([json.loads(line) for line in block.splitlines()], attributes=attributes)


@pytest.mark.parametrize(("title", "block"), SECTIONS, ids=[title for title, _ in SECTIONS])
def test_every_example_on_the_page_is_read_without_a_bad_record(title: str, block: str):
    preferences = read_section(title, block)
    assert len(preferences) == len(block.splitlines())
    assert all(group.comparisons for group in preferences) or title in WITHOUT_COMPARISONS


def test_every_example_of_rated_attributes_rates_the_right_answer_4():
    (block,) = [block for title, block in SECTIONS if title == "Rated attributes"]
    for group in read_section("Rated attributes", block):
        assert group.attributes is not None
        assert [(text[-1], of[0]) for text, of in zip(group.completions, group.attributes, strict=True)] == (
            [("4", 4.0), ("5", 1.0)][: len(group.completions)]
        )


def test_the_page_has_examples_of_all_formats():
    names = set()
    for title, block in SECTIONS:
        names |= set(read_section(title, block).report.formats)
    assert names == {
        "trl-standard",
        "trl-standard-implicit",
        "trl-conversational",
        "trl-conversational-implicit",
        "hh-transcript",
        "ultrafeedback",
        "llama-factory-alpaca",
        "llama-factory-sharegpt",
        "nemo-rl",
        "k-wise-ratings",
        "k-wise-ranks",
        "k-wise-attributes",
        "rated-response",
        "verifiable-samples",
        "rated-samples",
        "chosen-rejected-lists",
    }


def test_the_page_names_every_optional_column():
    for key in ("margin", "weight", "tools", "chat_template_kwargs", "subset", "id"):
        assert key in KEYS and f"`{key}`" in PAGE
