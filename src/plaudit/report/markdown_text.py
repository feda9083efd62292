"""A report and a leaderboard as Markdown, for a model card; texts from data are shown, never read as markup."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plaudit.report.best_of_n import PICKS
from plaudit.report.computing import INTERVALS
from plaudit.report.scores import missing_data
from plaudit.report.tables import Cell, Table, report_tables
from plaudit.training.markdown import inline, pipe_table

__all__ = ["leaderboard_markdown", "report_markdown"]


def report_markdown(contents: Mapping[str, Any]) -> str:
    """The tables of a report, and how its scores are computed."""
    tables = report_tables(contents)
    parts = [f"## {inline(contents['title'])}", _pipes(tables["headline"], "suite"), INTERVALS]
    for suite in contents["suites"]:
        name = suite["name"]
        parts += [
            f"### {inline(name)}",
            _pipes(tables["scores"][name], "score"),
            _missing(suite),
            _rules(suite),
        ]
        parts += [_pipes(tables["beside"][name], "beside the accuracy"), _data(suite)]
    for curve in contents["best_of_n"]:
        parts += [f"### Best of n: {inline(curve['name'])}", _best_of_n(curve)]
    parts.append(f"Written by plaudit {contents['plaudit']} on {contents['created'][:10]}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def leaderboard_markdown(contents: Mapping[str, Any]) -> str:
    """One row a model, one column a suite; the best is bold, ``≈`` marks what cannot be told from it, ``†`` what
    lacks data or differs from the others in its data or rules."""
    header = ["model", *map(inline, contents["suites"]), "mean rank"]
    rows = [
        [
            inline(row["model"]),
            *(_standing(row["scores"].get(suite)) for suite in contents["suites"]),
            "-" if row["mean_rank"] is None else f"{row['mean_rank']:.1f}",
        ]
        for row in contents["rows"]
    ]
    table = pipe_table(header, rows, right=range(1, len(header)))
    missing = "\n".join(
        f"- † {inline(lack['model'])} on {inline(lack['suite'])}, {inline(lack['score'])}: {inline(lack['note'])}"
        for lack in contents["missing"]
    )
    repeats = "\n".join(
        f"- {inline(repeat['folder'])} holds results of {inline(repeat['model'])} that are in the table already."
        for repeat in contents["repeats"]
    )
    parts = [f"## {inline(contents['title'])}", table, missing, repeats, inline(contents["rule"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _pipes(table: Table, first: str) -> str:
    rows = [
        [inline(name) + (f" ({kind})" if kind else ""), *map(_cell_text, cells)]
        for name, kind, cells in table.rows
    ]
    return pipe_table([first, *map(inline, table.models)], rows, right=range(1, len(table.models) + 1))


def _cell_text(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    value = f"**{cell.value}**" if cell.is_best else cell.value
    value += " †" if cell.note else ""
    return value + (f" ({cell.interval})" if cell.interval else "") + (f", n = {cell.n}" if cell.n else "")


def _rules(suite: Mapping[str, Any]) -> str:
    scores = [score for result in suite["results"] for score in result["scores"] if score["kind"] != "subset"]
    rules = dict.fromkeys((score["name"], score["rule"]) for score in scores)
    return "\n".join(f"- {inline(name)}: {inline(rule)}" for name, rule in rules)


def _missing(suite: Mapping[str, Any]) -> str:
    return "\n".join(
        f"- † {inline(result['model'])}, {inline(names)}: {inline(note)}"
        for result in suite["results"]
        for names, note in missing_data(result["scores"])
    )


def _data(suite: Mapping[str, Any]) -> str:
    lines = []
    for result in suite["results"]:
        data, metrics = result["data"], result["metrics"]
        sources = ", ".join(map(str, data.get("sources") or [])) or "data not named"
        versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
        lines.append(
            f"- {inline(result['model'])}: {inline(sources)}, fingerprint {inline(str(data.get('fingerprint')))}, "
            f"{metrics['num_comparisons']:,} comparisons, {metrics['num_data_ties']:,} of them ties, equal rewards "
            f"count {inline(metrics['ties'])}; {inline(versions)}"
        )
    return "\n".join(lines)


def _best_of_n(curve: Mapping[str, Any]) -> str:
    picks = [pick for pick in PICKS if pick in curve["points"][0]]
    rows = [
        [str(point["n"]), f"{point['kl']:.2f}", *(_estimate(point.get(pick)) for pick in picks)]
        for point in curve["points"]
    ]
    header = ["n", "KL, nats", *picks]
    return pipe_table(header, rows, right=range(len(header)))


def _estimate(value: Mapping[str, Any] | None) -> str:
    if value is None or value["value"] is None:
        return "-"
    ends = "" if value["low"] is None else f" ({value['low']:.3f} to {value['high']:.3f})"
    return f"{value['value']:.3f}{ends}"


def _standing(score: Mapping[str, Any] | None) -> str:
    if score is None:
        return "-"
    text = "-" if score["value"] is None else f"{score['value']:.3f}"
    text = f"**{text}**" if score["standing"] == "best" else text
    ends = "" if score["low"] is None else f" ({score['low']:.3f} to {score['high']:.3f})"
    mark = " ≈" if score["standing"] == "not told apart" else ""
    return text + ends + mark + (" †" if score["note"] else "")
