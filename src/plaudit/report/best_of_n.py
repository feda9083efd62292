"""The best-of-n curves that `plaudit bestofn` wrote, read for a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plaudit.errors import PlauditError

__all__ = ["PICKS", "read_best_of_n"]

PICKS = ("picked", "oracle", "random", "majority")
"""The curves that are drawn where a point has them, best known first."""


def read_best_of_n(path: str | Path) -> dict[str, Any]:
    """A curve: ``name``, ``model``, ``points`` (each with ``n``, ``kl`` in nats and an estimate per pick), and where
    the file has them ``difficulty`` (curves by the mean quality of a prompt's samples) and ``over_optimisation``.

    Raises:
        PlauditError: The file cannot be read, or holds no points.
    """
    file = Path(path)
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        curve = values.get("curve") or values
        points = _points_of(curve)
        difficulty = [
            {"low": level["low"], "high": level["high"], "points": _points_of(level["curve"])}
            for level in values.get("difficulty") or []
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlauditError(
            f"no best-of-n curve can be read ({error})",
            where=str(file),
            fix="Give the JSON that `plaudit bestofn` writes.",
        ) from error
    return {
        "name": str(values.get("name") or file.stem),
        "model": str(values.get("model") or ""),
        "num_prompts": curve.get("num_prompts"),
        "points": points,
        "difficulty": difficulty,
        "over_optimisation": values.get("over_optimisation"),
    }


def _points_of(curve: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The points of a curve, with the picks that are known."""
    points = [
        {"n": int(point["n"]), "kl": float(point["kl"])}
        | {pick: _estimate(point[pick]) for pick in PICKS if point.get(pick) is not None}
        for point in curve["points"]
    ]
    if not points or any("picked" not in point for point in points):
        raise ValueError("no points with a picked quality")
    return points


def _estimate(value: Mapping[str, Any]) -> dict[str, Any]:
    interval = value.get("interval") or {}
    return {
        "value": value["value"],
        "n": value.get("n"),
        "low": interval.get("low", value.get("low")),
        "high": interval.get("high", value.get("high")),
    }
