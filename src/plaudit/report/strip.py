"""Rewards along a text as a strip of coloured tokens, and as a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plaudit.report.drawing import MODEL_COLOURS, QUIET, WIDTH, NamedChart, styled

__all__ = ["strip_chart", "strip_tokens"]

LEVELS = 3
"""Strengths of colour in each direction."""

SMALLEST = 0.05
"""Share of the largest change under which a token has no colour (assumed)."""


def strip_tokens(rewards: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """For ``better`` and ``worse``: each token's ``piece``, ``reward``, ``change`` and ``level``.

    Args:
        rewards: What `token_rewards` gives.

    Returns:
        ``level`` is ``up-1`` to ``up-3``, ``down-1`` to ``down-3``, or empty; the same scale on both sides.
    """
    changes = {side: _changes(rewards[side]) for side in ("better", "worse")}
    largest = max((abs(change) for of_side in changes.values() for change in of_side), default=0.0)
    return {
        side: [
            {"piece": piece, "reward": reward, "change": f"{change:+.3f}", "level": _level(change, largest)}
            for piece, reward, change in zip(
                rewards[side]["pieces"], rewards[side]["rewards"], changes[side], strict=True
            )
        ]
        for side in changes
    }


def strip_chart(rewards: Mapping[str, Any]) -> NamedChart:
    """The reward after each token of both completions."""
    return NamedChart(
        name="tokens",
        place="tokens",
        title="Reward along the completions",
        caption="The reward of the text up to each token. The last value of a line is the completion's reward.",
        chart=styled(_draw(rewards)),
    )


def _changes(side: Mapping[str, Any]) -> list[float]:
    """What each token adds to the reward; the first one's is 0 where nothing comes before it."""
    rewards = side["rewards"]
    first = side["start"] if side["start"] is not None else (rewards[0] if rewards else 0.0)
    return [now - before for before, now in zip([first, *rewards], rewards, strict=False)]


def _level(change: float, largest: float) -> str:
    share = abs(change) / largest if largest else 0.0
    if share < SMALLEST:
        return ""
    strength = min(LEVELS, 1 + int(share * LEVELS))
    return f"{'up' if change > 0 else 'down'}-{strength}"


def _draw(rewards: Mapping[str, Any]) -> Any:
    import altair as alt

    points = [
        {"token": index, "reward": reward, "side": side}
        for side in ("better", "worse")
        for index, reward in enumerate(rewards[side]["rewards"], start=1)
    ]
    colour = alt.Color("side:N", scale=alt.Scale(domain=["better", "worse"], range=list(MODEL_COLOURS[:2])))
    line = (
        alt.Chart(alt.InlineData(values=points))
        .mark_line(strokeWidth=1.5)
        .encode(
            x=alt.X("token:Q", title="token", axis=alt.Axis(format=",d", tickMinStep=1, grid=False)),
            y=alt.Y(
                "reward:Q",
                title="reward",
                scale=alt.Scale(zero=False),
                axis=alt.Axis(format="~g", tickCount=5),
            ),
            color=colour,
        )
    )
    start = rewards["better"]["start"]
    if start is None:
        return line.properties(width=2 * WIDTH, height=170)
    rule = alt.Chart(alt.InlineData(values=[{"y": start}])).mark_rule(color=QUIET, strokeDash=[4, 4])
    return alt.layer(rule.encode(y="y:Q"), line).properties(width=2 * WIDTH, height=170)
