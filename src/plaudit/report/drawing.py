"""One look for all charts, and charts as SVG that stands in a page without any script.

Drawn with vega-altair and rendered by vl-convert, without a browser or a display; both come with the extra `report`.
Colours are those of `COLOURS`: the page's style sheet changes each of them where the reader prefers dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plaudit.errors import missing_extra

if TYPE_CHECKING:
    import altair as alt

__all__ = ["COLOURS", "FAINT", "INK", "MODEL_COLOURS", "PAPER", "QUIET", "RIGHT", "WIDTH", "WRONG"]
__all__ += ["NamedChart", "colour_of", "inline_svg", "require_drawing", "styled", "write_chart"]

WIDTH = 290
"""Of the plotting area in pixels (assumed: with its axis it fills a phone's 360 pixels)."""

PIXEL_RATIO = 2
"""Pixels of a PNG per pixel of the drawing: sharp on screens of double density."""

INK, QUIET, LINE, FAINT, PAPER = "#24292f", "#57606a", "#8c959f", "#e4e7eb", "#ffffff"
RIGHT, WRONG = "#0b6fb8", "#c2410c"
MODEL_COLOURS = ("#0b6fb8", "#c2410c", "#0f7b5f", "#8250a8", "#8a6100", "#b03a76", "#4c6272", "#5c7a00")
"""At least 4.5:1 against white, and told apart by the common forms of colour blindness in this order."""

COLOURS = tuple(dict.fromkeys((INK, QUIET, LINE, FAINT, PAPER, RIGHT, WRONG, *MODEL_COLOURS)))
"""Every colour that a chart may have."""

FONT = "Helvetica, Arial, sans-serif"


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedChart:
    """A chart and how it is called."""

    name: str
    """Of its files, and of its ids in the page."""
    place: str
    """The suite that it belongs to, or ``best-of-n``."""
    title: str
    """Its heading."""
    caption: str
    """What it shows, how, and from how many."""
    chart: Any
    """The drawing."""


def require_drawing() -> None:
    """
    Raises:
        PlauditError: altair or vl-convert is not installed; with the command that brings them.
    """
    for package, module in (("altair", "altair"), ("vl-convert-python", "vl_convert")):
        try:
            import_module(module)
        except ImportError as error:
            raise missing_extra(package, "report", "drawing charts") from error


def styled(chart: Any) -> Any:
    """The chart with the look that all of them share, and without a label for each mark: the page names the chart."""
    return (
        chart.configure(background=PAPER, font=FONT, padding=4, aria=False)
        .configure_view(stroke=None)
        .configure_axis(
            labelColor=INK,
            titleColor=QUIET,
            titleFontWeight="normal",
            titleFontSize=12,
            labelFontSize=12,
            gridColor=FAINT,
            domainColor=LINE,
            tickColor=LINE,
            labelPadding=4,
            titlePadding=6,
            labelLimit=150,
        )
        .configure_legend(
            orient="top", title=None, labelFontSize=12, labelColor=INK, labelLimit=220, columns=1
        )
    )


def colour_of(colours: Mapping[str, str], field: str = "model") -> alt.Color:
    """Colour by the names in a field, and a legend of them."""
    import altair as alt

    return alt.Color(f"{field}:N", scale=alt.Scale(domain=list(colours), range=list(colours.values())))


def inline_svg(chart: alt.TopLevelMixin, *, name: str, description: str) -> str:
    """The chart as an ``<svg>`` element to stand in an HTML page.

    Args:
        chart: What to draw.
        name: Put before every id in it, so that the ids of two charts on a page differ.
        description: What a reader who does not see it is told.
    """
    buffer = io.StringIO()
    chart.save(buffer, format="svg")
    return _standing_in_html(buffer.getvalue(), name=name, description=description)


def write_chart(chart: alt.TopLevelMixin, folder: Path, name: str) -> list[Path]:
    """Write ``name.svg`` and ``name.png`` into a folder, which is made when absent."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{name}.svg", folder / f"{name}.png"]
    chart.save(str(files[0]))
    chart.save(str(files[1]), scale_factor=PIXEL_RATIO)
    return files


def _standing_in_html(svg: str, *, name: str, description: str) -> str:
    from markupsafe import escape

    opening = re.match(r"<svg\b[^>]*>", svg)
    assert opening is not None, "vl-convert writes one svg element"
    size = {key: re.search(rf'\b{key}="([\d.]+)"', opening[0]) for key in ("width", "height")}
    width, height = (match[1] if (match := size[key]) else "0" for key in ("width", "height"))
    body = svg[opening.end() :]
    prefix = re.sub(r"[^A-Za-z0-9]+", "-", name)
    body = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", body)
    body = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{prefix}-\1"', body)
    # Roles and labels inside would be read out beside the description.
    body = re.sub(r' (?:role|aria-[a-z]+)="[^"]*"', "", body)
    return (
        f'<svg role="img" aria-label="{escape(description)}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">{body}'
    )
