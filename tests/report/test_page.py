"""The page without a browser: nothing is fetched, nothing is markup that came from data, all is there."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from plaudit.report import ModelOutput, ReportOptions, report_text
from plaudit.report.drawing import COLOURS
from plaudit.report.page import json_in_html
from plaudit.report.text_blocks import unpack
from stand_ins.evaluations import EVIL


class Tags(HTMLParser):
    """The elements of a page with their attributes and own text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None], str]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self.found.append(("/" + tag, {}, ""))  # what follows is not its text

    def handle_data(self, data: str) -> None:
        if self.found:
            tag, attrs, text = self.found[-1]
            self.found[-1] = (tag, attrs, text + data)

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        return [(attrs, text) for name, attrs, text in self.found if name == tag]


@pytest.fixture(scope="module")
def tags(page: str) -> Tags:
    return Tags(page)


def test_nothing_in_the_page_names_an_address_outside(tags: Tags, page: str):
    addresses = [
        attrs[name]
        for _, attrs, _ in tags.found
        for name in ("src", "href", "xlink:href", "action", "data", "srcset", "poster")
        if name in attrs
    ]
    assert addresses and all(a is not None and a.startswith(("#", "data:,")) for a in addresses)
    assert re.findall(r"\w+://\S+", page) == []
    style = tags.of("style")[0][1]
    assert "url(" not in style and "@import" not in style


def test_the_policy_allows_the_one_script_and_style_sheet_and_no_request(tags: Tags):
    policy = next(
        a["content"] for a, _ in tags.of("meta") if a.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    script = next(text for attrs, text in tags.of("script") if not attrs)

    def hashed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == hashed(script)
    assert rules["style-src"] == hashed(tags.of("style")[0][1])


def test_markup_in_a_completion_or_name_is_never_markup_in_the_page(page: str, tags: Tags):
    assert "onerror" not in page, "completions stand packed in the page"
    assert len([attrs for attrs, _ in tags.of("script") if not attrs]) == 1
    assert not tags.of("img")


def test_markup_in_a_title_is_shown_as_text(models: list[ModelOutput]):
    page = report_text(models[1:], "html", ReportOptions(title=EVIL, with_texts=False))
    assert "<img" not in page and "&lt;img src=x" in page
    assert not Tags(page).of("img")


def test_json_in_a_script_element_cannot_end_it():
    value = {"a": EVIL, "b": "<!--", "c": "\u2028"}
    text = str(json_in_html(value))
    assert "<" not in text and "\u2028" not in text
    assert json.loads(text) == value


def test_every_comparison_is_in_the_page_with_its_texts_and_rewards(tags: Tags, models: list[ModelOutput]):
    by_id = {attrs.get("id") or attrs.get("class"): text for attrs, text in tags.of("script") if attrs}
    index = unpack(by_id["rows-index"])
    blocks = [unpack(text) for attrs, text in tags.of("script") if attrs.get("class") == "rows-block"]
    assert len(index["key"]) == sum(len(block["rows"]) for block in blocks) == 131
    # Row 3 is the one with markup; its texts come back as they were.
    prompt, better, _ = (blocks[0]["texts"][i][0] for i in blocks[0]["rows"][3])
    assert better == EVIL and prompt.startswith("Question 3 of 0")
    for number, model in enumerate(models):
        for side in ("better", "worse"):
            stored = model.suites["pairs"].table()[f"reward_{side}"].to_pylist()
            assert index["rewards"][number][side][:120] == pytest.approx(stored, rel=1e-6)
    # The second model has no "talk": the last five rows have no reward of it.
    assert index["rewards"][1]["better"][-5:] == [None] * 5
    # Conversations keep their roles.
    talk = blocks[-1]["texts"][blocks[-1]["rows"][-1][0]][0]
    assert talk == [["system", "Be kind."], ["user", "Hello 4?"]]


def test_every_number_of_the_headline_is_the_stored_one(tags: Tags, models: list[ModelOutput], page: str):
    for model in models:
        for suite in model.suites.values():
            accuracy = suite.result["metrics"]["accuracy"]
            interval = accuracy["interval"]
            assert f'<span class="value">{accuracy["value"]:.3f}</span>' in page
            assert f"{interval['low']:.3f} to {interval['high']:.3f}, n = {accuracy['n']}" in page


def test_each_chart_is_drawn_in_the_page_and_described(tags: Tags):
    drawn = [attrs for attrs, _ in tags.of("svg")]
    # Three bars, three reliability diagrams, and margins and length of five evaluations.
    assert len(drawn) == 3 + 3 + 5 + 5
    assert all(attrs["role"] == "img" and len(attrs["aria-label"] or "") > 40 for attrs in drawn)
    ids = [attrs["id"] for _, attrs, _ in tags.found if "id" in attrs]
    assert len(ids) == len(set(ids)), "two charts must not share the ids of their clip paths"


def test_every_colour_of_a_chart_has_one_for_the_dark(tags: Tags, page: str):
    style = tags.of("style")[0][1]
    used = {attrs[name] for _, attrs, _ in tags.found for name in ("fill", "stroke") if attrs.get(name)}
    colours = {colour for colour in used if colour and colour.startswith("#")} | set(COLOURS)
    assert {c for c in colours if f'[fill="{c}"]' not in style} == set()


def test_tables_have_captions_and_headings(tags: Tags):
    tables = tags.of("table")
    assert len(tags.of("caption")) == len(tables)
    scopes = [attrs.get("scope") for attrs, _ in tags.of("th")]
    assert scopes and set(scopes) == {"row", "col"}


def test_how_it_was_computed_names_rule_data_and_versions(page: str, models: list[ModelOutput]):
    how = page[page.index('id="computing"') :]
    fingerprint = models[0].suites["pairs"].result["data"]["fingerprint"]
    for said in ("equal rewards are wrong", "bootstrap", "Wilson", fingerprint, "plaudit 0", "transformers"):
        assert said in how


def test_texts_left_out_and_cut_are_said(models: list[ModelOutput]):
    without = report_text(models, "html", ReportOptions(with_texts=False))
    assert "left out (--no-texts)" in without and 'class="rows-block"' not in without
    cut = report_text(models, "html", ReportOptions(max_characters=20, max_rows=50))
    assert re.search(r"48 of 131 comparisons are in this page, spread evenly", cut)
    assert re.search(r"[\d,]+ texts are cut to 20 characters", cut)


def test_charts_are_written_as_png_and_svg(models: list[ModelOutput], tmp_path: Path):
    report_text(models[1:], "json", ReportOptions(charts=tmp_path / "charts"))
    names = sorted(path.name for path in (tmp_path / "charts").iterdir())
    assert names == sorted(
        f"{suite}-{what}.{kind}"
        for suite in ("pairs", "rewardbench")
        for what in ("scores", "calibration", "margins", "length")
        for kind in ("png", "svg")
    )
    assert (tmp_path / "charts" / "pairs-scores.png").read_bytes()[:4] == b"\x89PNG"
