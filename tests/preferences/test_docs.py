"""The examples of the page on preference data are read as they stand there."""

import json
import re
from pathlib import Path

import pytest

from plaudit.preferences import read_preferences
from plaudit.preferences.formats.recognise import KEYS

PAGE = (Path(__file__).parents[2] / "docs" / "preference-data.md").read_text()
SECTIONS = [
    (title.strip(), block)
    for section in re.split(r"^##+ ", PAGE, flags=re.MULTILINE)
    for title, body in [section.split("\n", 1)]
    for block in re.findall(r"```jsonl\n(.*?)```", body, flags=re.DOTALL)
]


@pytest.mark.parametrize(("title", "block"), SECTIONS, ids=[title for title, _ in SECTIONS])
def test_every_example_on_the_page_is_read_without_a_bad_record(title: str, block: str):
    records = [json.loads(line) for line in block.splitlines()]
    preferences = read_preferences(records)
    assert len(preferences) == len(records)
    assert all(group.comparisons for group in preferences)


def test_the_page_has_examples_of_all_formats():
    names = set()
    for _, block in SECTIONS:
        names |= set(read_preferences([json.loads(line) for line in block.splitlines()]).report.formats)
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
        "verifiable-samples",
        "rated-samples",
        "chosen-rejected-lists",
    }


def test_the_page_names_every_optional_column():
    for key in ("margin", "weight", "tools", "chat_template_kwargs", "subset", "id"):
        assert key in KEYS and f"`{key}`" in PAGE
