"""The report as one HTML file: styles, script, drawings and data inside, nothing fetched from anywhere.

Texts from data are never markup: the template escapes them, the script shows them as text, and the page's own
Content-Security-Policy allows the one script and the one style sheet that it was written with, by hash, and no request.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from plaudit.report.comparison_data import ComparisonData
from plaudit.report.computing import Explanation, explanations
from plaudit.report.drawing import NamedChart, inline_svg
from plaudit.report.strip import strip_tokens
from plaudit.report.tables import format_score, report_tables

__all__ = ["json_in_html", "page_environment", "render_page", "report_page"]


def report_page(
    contents: Mapping[str, Any],
    *,
    charts: Sequence[NamedChart],
    comparisons: ComparisonData,
) -> str:
    """The page.

    Args:
        contents: What `report_contents` gives.
        charts: Drawings, each with its place in the page.
        comparisons: What the browser of comparisons shows.
    """
    how: Explanation = explanations(contents, comparisons.summary)
    return render_page(
        "report",
        contents=contents,
        tables=report_tables(contents),
        charts_of=_charts_by_place(charts),
        comparisons=comparisons,
        how=how,
        strip=strip_tokens(contents["token_rewards"]) if contents["token_rewards"] else None,
    )


def render_page(name: str, **values: Any) -> str:
    """``templates/<name>.html.j2`` with its style sheet and ``<name>.js`` inside."""
    css, js = _asset("report.css"), _asset(f"{name}.js")
    policy = (
        f"default-src 'none'; script-src {_hash_source(js)}; style-src {_hash_source(css)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    template = page_environment().get_template(f"{name}.html.j2")
    return template.render(css=Markup(css), js=Markup(js), policy=policy, **values)


@lru_cache(maxsize=1)
def page_environment() -> Environment:
    """Templates of this package; everything is escaped, and a name that is not there is an error."""
    environment = Environment(
        loader=PackageLoader("plaudit.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["json_in_html"] = json_in_html
    environment.filters["drawn"] = lambda chart: Markup(
        inline_svg(chart.chart, name=chart.name, description=f"{chart.title}. {chart.caption}")
    )
    environment.filters["score"] = format_score
    return environment


def json_in_html(value: Any) -> Markup:
    """JSON that may stand in a ``<script>`` element: no ``<``, so nothing in it can end or open an element.

    >>> print(json_in_html({"a": "</script>"}))
    {"a": "\\u003c/script>"}
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    for character in "<\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _asset(name: str) -> str:
    return files("plaudit.report").joinpath("templates", name).read_text(encoding="utf-8")


def _hash_source(text: str) -> str:
    """The text's hash as a source of a Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _charts_by_place(charts: Sequence[NamedChart]) -> dict[str, list[NamedChart]]:
    places: dict[str, list[NamedChart]] = {}
    for chart in charts:
        places.setdefault(chart.place, []).append(chart)
    return places
