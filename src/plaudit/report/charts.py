"""The charts of a report, each from its part of the report's contents, and what each shows in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from plaudit.objective.intervals import wilson_interval
from plaudit.report.best_of_n_charts import best_of_n_charts
from plaudit.report.drawing import (
    INK,
    MODEL_COLOURS,
    QUIET,
    RIGHT,
    WIDTH,
    WRONG,
    NamedChart,
    colour_of,
    styled,
)

if TYPE_CHECKING:
    import altair as alt

__all__ = ["MAX_BARS", "report_charts"]

MAX_BARS = 40
"""Scores that one bar chart shows (assumed: the table has them all)."""


def report_charts(contents: Mapping[str, Any]) -> list[NamedChart]:
    """Every chart that the contents of a report allow, in the order of the page."""
    colours = {
        model["name"]: MODEL_COLOURS[i % len(MODEL_COLOURS)] for i, model in enumerate(contents["models"])
    }
    charts = [chart for suite in contents["suites"] for chart in _suite_charts(suite, colours)]
    return charts + [
        chart
        for index, curve in enumerate(contents["best_of_n"], start=1)
        for chart in best_of_n_charts(curve, index)
    ]


def _suite_charts(suite: Mapping[str, Any], colours: Mapping[str, str]) -> Iterator[NamedChart]:
    results = suite["results"]
    used = {name: colour for name, colour in colours.items() if any(r["model"] == name for r in results)}
    for chart in (_score_bars(suite["name"], results, used), _reliability(suite["name"], results, used)):
        if chart is not None:
            yield chart
    for result in results:
        which = f": {result['model']}" if len(results) > 1 else ""
        if result["margins"]["counts"]:
            yield _margin_bars(suite["name"], result, which)
        if result["length"]["points"]:
            yield _length_scatter(suite["name"], result, which)


def _score_bars(name: str, results: Sequence[Any], colours: Mapping[str, str]) -> NamedChart | None:
    kinds = [score["kind"] for result in results for score in result["scores"]]
    kind = next((k for k in ("section", "subset", "average") if k in kinds), None)
    if kind is None:
        return None
    shown = list(dict.fromkeys(s["name"] for r in results for s in r["scores"] if s["kind"] == kind))
    bars = [
        {**{key: score[key] for key in ("name", "value", "low", "high")}, "model": result["model"]}
        for result in results
        for score in result["scores"]
        if score["kind"] == kind and score["name"] in shown[:MAX_BARS] and score["value"] is not None
    ]
    rest = f" The first {MAX_BARS} of {len(shown)}." if len(shown) > MAX_BARS else ""
    return NamedChart(
        name=f"{name}-scores",
        place=name,
        title={"section": "Sections", "subset": "Subsets", "average": "Scores"}[kind],
        caption=f"Score of each {kind}, with its 95% interval where there is one.{rest} The table has the numbers.",
        chart=styled(_draw_bars(bars, colours)),
    )


def _draw_bars(bars: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> Any:
    import altair as alt

    top = max([1.0, *(bar["value"] for bar in bars)])
    several = len(colours) > 1
    base: Any = alt.Chart(alt.InlineData(values=list(bars))).encode(
        y=alt.Y("name:N", sort=None, title=None, axis=alt.Axis(ticks=False, domain=False))
    )
    if several:
        base = base.encode(yOffset=alt.YOffset("model:N", sort=list(colours)))
    x = alt.X("value:Q", title=None, scale=alt.Scale(domain=[0, top]), axis=_percent_axis())
    colour = colour_of(colours) if several else alt.value(next(iter(colours.values())))
    return alt.layer(
        base.mark_bar().encode(x=x, color=colour),
        base.transform_filter("datum.low !== null && datum.high !== null")
        .mark_rule(color=INK, strokeWidth=1.5)
        .encode(x=alt.X("low:Q"), x2=alt.X2("high:Q")),
    ).properties(width=WIDTH - 70, height=alt.Step(14 if several else 22))


def _reliability(name: str, results: Sequence[Any], colours: Mapping[str, str]) -> NamedChart | None:
    points = [
        {
            "model": result["model"],
            "confidence": part["mean_confidence"],
            "accuracy": part["accuracy"],
            "n": part["n"],
            "low": (interval := wilson_interval(part["accuracy"] * part["n"], part["n"])).low,
            "high": interval.high,
        }
        for result in results
        for part in result["metrics"]["calibration"]["bins"]
        if part["n"]
    ]
    if not points:
        return None
    errors = [(r["model"], r["metrics"]["calibration"]["expected_calibration_error"]) for r in results]
    said = "; ".join(f"{model + ': ' if len(results) > 1 else ''}{_number(error)}" for model, error in errors)
    return NamedChart(
        name=f"{name}-calibration",
        place=name,
        title="Calibration",
        caption="How often the favoured completion is the better one, against the probability "
        "sigmoid(|margin|) that the model claims, in 15 bins with 95% intervals. On the dashed line they agree. "
        f"Expected calibration error {said}.",
        chart=styled(_draw_reliability(points, colours)),
    )


def _draw_reliability(points: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> Any:
    import altair as alt

    diagonal = alt.Chart(alt.InlineData(values=[{"c": 0.5, "a": 0.5}, {"c": 1, "a": 1}]))
    base = alt.Chart(alt.InlineData(values=list(points)))
    x = alt.X(
        "confidence:Q", title="claimed probability", scale=alt.Scale(domain=[0.5, 1]), axis=_percent_axis()
    )
    y = alt.Y("accuracy:Q", title="share right", scale=alt.Scale(domain=[0, 1]), axis=_percent_axis())
    colour = colour_of(colours) if len(colours) > 1 else alt.value(next(iter(colours.values())))
    return alt.layer(
        diagonal.mark_line(color=QUIET, strokeDash=[4, 4], strokeWidth=1).encode(x="c:Q", y="a:Q"),
        base.mark_rule(strokeWidth=1.5, opacity=0.6).encode(x=x, y="low:Q", y2="high:Q", color=colour),
        base.mark_line(strokeWidth=1.5).encode(x=x, y=y, color=colour),
        base.mark_circle(opacity=1).encode(
            x=x, y=y, color=colour, size=alt.Size("n:Q", scale=alt.Scale(range=[20, 160]), legend=None)
        ),
    ).properties(width=WIDTH, height=200)


def _margin_bars(name: str, result: Mapping[str, Any], which: str) -> NamedChart:
    margins, metrics = result["margins"], result["metrics"]
    return NamedChart(
        name=f"{name}-margins{_suffix(result, which)}",
        place=name,
        title=f"Margins{which}",
        caption=f"Comparisons by margin, reward(better) - reward(worse): wrong ones left of 0, right ones right of "
        f"it. {sum(margins['counts']):,} comparisons; {margins['num_equal']:,} with equal rewards are not "
        f"drawn. Mean {_number(metrics['mean_margin']['value'])}, median {_number(metrics['median_margin'])}.",
        chart=styled(_draw_margins(margins)),
    )


def _draw_margins(margins: Mapping[str, Any]) -> Any:
    import altair as alt

    edges = margins["edges"]
    bars = [
        {"low": low, "high": high, "count": count, "right": low >= 0}
        for low, high, count in zip(edges, edges[1:], margins["counts"], strict=False)
    ]
    colour = alt.condition("datum.right", alt.value(RIGHT), alt.value(WRONG))
    x = alt.X(
        "low:Q", bin="binned", title="margin, in units of reward", axis=alt.Axis(format=".6~g", tickCount=6)
    )
    drawn = (
        alt.Chart(alt.InlineData(values=bars))
        .mark_bar(binSpacing=1)
        .encode(
            x=x,
            x2="high:Q",
            y=alt.Y("count:Q", title="comparisons", axis=_count_axis()),
            color=colour,
        )
    )
    zero = alt.Chart(alt.InlineData(values=[{"x": 0}])).mark_rule(color=INK).encode(x="x:Q")
    return alt.layer(drawn, zero).properties(width=WIDTH, height=170)


def _length_scatter(name: str, result: Mapping[str, Any], which: str) -> NamedChart:
    length, bias = result["length"], result["metrics"]["length"]
    drawn, total = len(length["points"]), length["num_sequences"]
    of_all = (
        f"{drawn:,} of {total:,} completions, drawn by chance" if drawn < total else f"{total:,} completions"
    )
    return NamedChart(
        name=f"{name}-length{_suffix(result, which)}",
        place=name,
        title=f"Reward and length{which}",
        caption=f"Reward against length: {of_all}; the line joins the means of ten equally filled parts of all. "
        f"Pearson {_number(bias['pearson']['value'])}, Spearman {_number(bias['spearman']['value'])}.",
        chart=styled(_draw_length(length)),
    )


def _draw_length(length: Mapping[str, Any]) -> Any:
    import altair as alt

    points = [{"tokens": tokens, "reward": reward} for tokens, reward in length["points"]]
    means = [{"tokens": tokens, "reward": reward} for tokens, reward, _ in length["means"]]
    x = alt.X("tokens:Q", title="tokens of the completion", scale=alt.Scale(zero=False), axis=_count_axis())
    y = alt.Y(
        "reward:Q", title="reward", scale=alt.Scale(zero=False), axis=alt.Axis(format=".6~g", tickCount=5)
    )
    return alt.layer(
        alt.Chart(alt.InlineData(values=points))
        .mark_circle(size=12, opacity=0.45, color=RIGHT)
        .encode(x=x, y=y),
        alt.Chart(alt.InlineData(values=means))
        .mark_line(color=WRONG, strokeWidth=2, point=alt.OverlayMarkDef(color=WRONG, size=30))
        .encode(x=x, y=y),
    ).properties(width=WIDTH, height=200)


def _percent_axis() -> alt.Axis:
    import altair as alt

    return alt.Axis(format=".0%", tickCount=5)


def _count_axis() -> alt.Axis:
    import altair as alt

    return alt.Axis(format="~s", tickCount=4, tickMinStep=1)


def _suffix(result: Mapping[str, Any], which: str) -> str:
    return f"-{result['model']}" if which else ""


def _number(value: float | None) -> str:
    return "not defined" if value is None or math.isnan(value) else f"{value:.3f}"
