"""The charts of best of n: quality against KL, and the pick's curve by difficulty."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from plaudit.report.best_of_n import PICKS
from plaudit.report.drawing import INK, LINE, MODEL_COLOURS, RIGHT, WIDTH, NamedChart, colour_of, styled

__all__ = ["best_of_n_charts"]

NAMES = dict(zip(PICKS, ("picked by reward", "best there is", "any", "majority vote"), strict=True))
COLOURS: dict[str, str] = dict(
    zip(NAMES.values(), (RIGHT, MODEL_COLOURS[2], LINE, MODEL_COLOURS[4]), strict=True)
)


def best_of_n_charts(curve: Mapping[str, Any], index: int) -> Iterator[NamedChart]:
    """The charts of one file.

    Args:
        curve: What `read_best_of_n` gives.
        index: Its number, from 1.
    """
    points = curve["points"]
    who = f" with {curve['model'].rstrip('/').rsplit('/', 1)[-1]}" if curve["model"] else ""
    prompts = f" over {curve['num_prompts']:,} prompts" if curve["num_prompts"] else ""
    rows = [
        {**point[pick], "n": point["n"], "kl": point["kl"], "which": NAMES[pick]}
        for point in points
        for pick in PICKS
        if pick in point
    ]
    shown = [name for name in COLOURS if any(row["which"] == name for row in rows)]
    yield NamedChart(
        name=f"best-of-n-{index}",
        place="best-of-n",
        title=f"{curve['name']}{who}",
        caption=f"Mean quality of the sample picked from n{prompts}, against KL = log n - (n - 1) / n in nats, with "
        f"95% intervals. The numbers at the line are n. {_fall(curve.get('over_optimisation'))}".rstrip(),
        chart=styled(_draw(rows, {name: COLOURS[name] for name in shown})),
    )
    if curve["difficulty"]:
        yield _by_difficulty(curve, index, who)


def _by_difficulty(curve: Mapping[str, Any], index: int, who: str) -> NamedChart:
    # Numbered, since two levels may look alike in two digits.
    names = [
        f"{number}: {level['low']:.2f} to {level['high']:.2f}"
        for number, level in enumerate(curve["difficulty"], start=1)
    ]
    rows = [
        {**point["picked"], "n": point["n"], "kl": point["kl"], "which": name}
        for name, level in zip(names, curve["difficulty"], strict=True)
        for point in level["points"]
    ]
    colours = {name: MODEL_COLOURS[i % len(MODEL_COLOURS)] for i, name in enumerate(names)}
    return NamedChart(
        name=f"best-of-n-{index}-difficulty",
        place="best-of-n",
        title=f"{curve['name']} by difficulty{who}",
        caption="The same for the sample picked by reward, over prompts whose samples have a mean quality in these "
        "ranges, hardest first.",
        chart=styled(_draw(rows, colours)),
    )


def _fall(found: Mapping[str, Any] | None) -> str:
    """What the file says of over-optimisation."""
    if not found or found.get("change") is None:
        return "Where the picked quality falls as n grows, the reward is being over-optimised."
    if found["best_n"] == found["largest_n"]:
        return f"The picked quality is highest at the largest n, {found['largest_n']}: no over-optimisation is seen."
    if found["change"] == 0:
        return (
            f"The picked quality is the same at the largest n, {found['largest_n']}, as at n = {found['best_n']}: "
            "no over-optimisation is seen."
        )
    fall = (
        f"From its best n, {found['best_n']}, to {found['largest_n']} the picked quality changes by "
        f"{found['change']:.3f}"
    )
    if found["low"] is None:
        return f"{fall}; so few prompts give no interval."
    said = "more" if found.get("is_shown") else "no more"
    return f"{fall} ({found['low']:.3f} to {found['high']:.3f}): {said} than chance explains."


def _draw(rows: Sequence[Mapping[str, Any]], colours: Mapping[str, str]) -> Any:
    import altair as alt

    base = alt.Chart(alt.InlineData(values=list(rows)))
    colour = colour_of(colours, field="which")
    x = alt.X("kl:Q", title="KL, nats", axis=alt.Axis(format=".6~g", tickCount=6, grid=False))
    y = alt.Y("value:Q", title="mean quality", scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5))
    ends = base.transform_filter("datum.low !== null && datum.high !== null").mark_rule(opacity=0.6)
    first = alt.InlineData(values=[row for row in rows if row["which"] == next(iter(colours))])
    return alt.layer(
        ends.encode(x=x, y=alt.Y("low:Q"), y2=alt.Y2("high:Q"), color=colour),
        base.mark_line(strokeWidth=2).encode(x=x, y=y, color=colour),
        base.mark_circle(size=28, opacity=1).encode(x=x, y=y, color=colour),
        alt.Chart(first).mark_text(dy=-9, color=INK, fontSize=11).encode(x=x, y=y, text="n:N"),
    ).properties(width=WIDTH, height=220)
