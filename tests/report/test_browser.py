"""The page in headless Chromium, from disk and offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from plaudit.report import ModelOutput, leaderboard_text
from stand_ins.browser import Visit, open_page
from stand_ins.evaluations import EVIL

READY = "document.documentElement.dataset.ready"


@pytest.fixture
def visit(browser: Any, page_file: Path):
    with open_page(browser, page_file) as opened:
        opened.wait_until(READY)
        yield opened


def found(visit: Visit) -> str:
    return visit.page.inner_text("#found")


def listed(visit: Visit) -> list[str]:
    return visit.page.locator("#list tbody tr").all_inner_texts()


def test_it_opens_offline_with_no_request_and_nothing_in_the_console(visit: Visit, page_file: Path):
    assert visit.requests == [page_file.as_uri()]
    assert visit.said == []
    assert found(visit).startswith("131 of 131 comparisons")
    assert len(listed(visit)) == 50


def test_a_completion_with_a_script_in_it_is_shown_as_text(visit: Visit):
    title = visit.page.title()
    visit.page.fill("#filter-q", "onerror")
    visit.wait_until("document.getElementById('found').textContent.startsWith('1 of')")
    visit.page.click("#list tbody a")
    visit.page.wait_for_selector("#comparison .side.better")
    assert EVIL in visit.page.inner_text("#comparison .side.better")
    assert EVIL in visit.page.inner_text("#comparison h3"), "the id too"
    assert visit.page.locator("#comparison img, #comparison script, #comparison b").count() == 0
    assert visit.page.title() == title
    assert visit.said == []


def test_search_looks_into_completions_and_prompts(visit: Visit):
    visit.page.fill("#filter-q", "WELCOME number 3")
    visit.wait_until("document.getElementById('found').textContent.startsWith('1 of')")
    assert "talk" in listed(visit)[0]
    visit.page.fill("#filter-q", "question 77 of")
    visit.wait_until("document.querySelector('#list tbody').textContent.includes('Question 77')")
    assert len(listed(visit)) == 1
    visit.page.fill("#filter-q", "no such words")
    visit.wait_until("document.getElementById('found').textContent.startsWith('0 of')")


def test_filters_and_order_are_those_of_the_stored_rows(visit: Visit, models: list[ModelOutput]):
    rows = models[0].suites["pairs"].rows
    hard = rows.subset == rows.subset_names.index("hard")
    is_wrong = rows.is_decided & (rows.margin < 0)
    visit.page.select_option("#filter-show", "wrong")
    visit.page.select_option("#filter-subset", label="hard")
    visit.page.select_option("#filter-sort", "margin")
    number = int((is_wrong & hard).sum())
    visit.wait_until(f"document.getElementById('found').textContent.startsWith('{number} of')")
    margins = [float(row.split("\t")[-2].replace("\u2212", "-")) for row in listed(visit)]
    assert margins == sorted(rows.margin[is_wrong & hard].round(3).tolist())[: len(margins)]
    visit.page.select_option("#filter-suite", label="talk")
    visit.page.select_option("#filter-show", "right")
    visit.wait_until("document.getElementById('found').textContent.startsWith('5 of')")


def test_another_model_has_its_own_verdicts(visit: Visit, models: list[ModelOutput]):
    rows = models[1].suites["pairs"].rows
    visit.page.select_option("#filter-model", label="lengthy")
    visit.page.select_option("#filter-suite", label="pairs")
    visit.page.select_option("#filter-show", "wrong")
    number = int((rows.is_decided & (rows.margin < 0)).sum())
    visit.wait_until(f"document.getElementById('found').textContent.startsWith('{number} of')")


def test_a_link_opens_the_same_comparison_with_what_differs_marked(
    browser: Any, page_file: Path, models: list[ModelOutput]
):
    key = models[0].suites["talk"].table()["key"].to_pylist()[2][:12]
    with open_page(browser, page_file, fragment=f"#row={key}") as visit:
        visit.page.wait_for_selector("#comparison .side.better")
        assert visit.page.locator("#comparison details.prompt").get_attribute("open") is None, (
            "the prompt is folded"
        )
        visit.page.click("#comparison summary")
        assert "Hello 2?" in visit.page.inner_text("#comparison details")
        assert "system" in visit.page.locator("#comparison .role").all_inner_texts()
        # "hello and welcome number 2!" against "hello number 2"
        better = "".join(visit.page.locator(".side.better mark").all_text_contents())
        assert better.split() == ["and", "welcome", "!"]
        assert visit.page.locator(".side.worse mark").count() == 0
        visit.page.click("#comparison button:text('Next')")
        visit.wait_until(f"!location.hash.includes('{key}')")
        visit.page.go_back()
        visit.wait_until(f"document.getElementById('comparison').textContent.includes('{key}')")


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_it_fits_the_width_without_scrolling_sideways(browser: Any, page_file: Path, width: int):
    with open_page(browser, page_file, size=(width, 800)) as visit:
        visit.wait_until(READY)
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_background(browser: Any, page_file: Path, scheme: str):
    """WCAG 2.2: a contrast of 4.5 at least. What it misses: text in charts, whose colours the page test lists."""
    measure = """() => {
      const light = (rgb) => rgb.map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
      const numbers = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
      const behind = (e) => { for (; e; e = e.parentElement) { const c = numbers(getComputedStyle(e).backgroundColor);
        if (c.length === 3 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
      const low = [];
      for (const e of document.querySelectorAll("h1,h2,h3,p,a,td,th,span,caption,figcaption,label,button,dt,dd")) {
        if (e.closest("svg") || !e.textContent.trim() || !e.getClientRects().length) continue;
        const [a, b] = [numbers(getComputedStyle(e).color).slice(0, 3), behind(e)].map(light);
        const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        if (contrast < 4.5 && !e.disabled) low.push(e.tagName + " " + e.className + " " + contrast.toFixed(2));
      }
      return [...new Set(low)];
    }"""
    with open_page(browser, page_file, color_scheme=scheme) as visit:
        visit.wait_until(READY)
        assert visit.page.evaluate(measure) == []


def test_print_shows_what_was_folded_and_hides_the_controls(visit: Visit):
    visit.page.emulate_media(media="print")
    assert not visit.page.is_visible("#filters") and not visit.page.is_visible("#list")
    assert visit.page.is_visible("#computing dl")


def test_the_leaderboard_sorts_by_a_press_on_a_heading(
    browser: Any, models: list[ModelOutput], tmp_path: Path
):
    file = tmp_path / "leaderboard.html"
    file.write_text(leaderboard_text(models, "html"), encoding="utf-8")
    with open_page(browser, file) as visit:
        assert visit.requests == [file.as_uri()] and visit.said == []
        visit.page.click("th button:text('pairs')")
        values = [
            float(v)
            for v in visit.page.eval_on_selector_all(
                "tbody tr td:nth-child(2)", "all => all.map((c) => c.dataset.value)"
            )
        ]
        assert values == sorted(values, reverse=True)
        visit.page.click("th button:text('talk')")
        assert visit.page.get_attribute("th:nth-child(4)", "aria-sort") == "descending"
        visit.page.click("th button:text('talk')")
        last = visit.page.eval_on_selector_all(
            "tbody tr td:nth-child(4)", "all => all.map((c) => c.dataset.value)"
        )
        assert last[-1] == "", "a model without the suite is last either way"


def test_a_link_to_a_model_that_is_not_there_shows_the_first(browser: Any, page_file: Path):
    for model in ("9", "-1", "x", "length"):
        with open_page(browser, page_file, fragment=f"#model={model}") as visit:
            visit.wait_until(READY)
            assert visit.said == []
            assert len(listed(visit)) == 50
            assert visit.page.input_value("#filter-model") == "0"


def test_a_search_that_is_given_up_in_its_last_pause_changes_nothing(visit: Visit):
    given_up = """() => new Promise((done) => {
        const real = window.setTimeout;
        window.setTimeout = (then, wait) => {
            window.setTimeout = real;
            history.replaceState(null, "", "#row=");
            window.dispatchEvent(new Event("hashchange"));
            real(() => real(() => real(done, 50), 50), 50);
            return real(then, wait);
        };
        location.hash = "#q=welcome";
    })"""
    visit.page.evaluate(given_up)
    assert found(visit).startswith("131 of 131")
