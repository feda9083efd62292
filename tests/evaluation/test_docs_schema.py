"""docs/evaluation.md names every key of both results.json and every column of rows.parquet, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from plaudit.evaluation.conversations import conversation_key
from plaudit.evaluation.folder import RUN_SCHEMA, RUN_SCHEMA_VERSION
from plaudit.evaluation.protocols import PROTOCOLS
from plaudit.evaluation.remote import ServerSource
from plaudit.evaluation.result import RESULTS_SCHEMA, RESULTS_SCHEMA_VERSION
from plaudit.evaluation.rewards_file import FileSource
from plaudit.evaluation.run import evaluate_suites
from plaudit.evaluation.sets import EvaluationSet
from plaudit.evaluation.suites import find_suite
from plaudit.preferences import read_preferences
from plaudit.tokens import LengthLimits
from stand_ins.evaluations import TextScorer, exclamations, make_records
from stand_ins.reward_server import serve

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
OPEN = ("versions", "data.reading.bad_by_reason", "data.reading.formats", "data.reading.notes")
"""Objects whose keys are names of libraries, reasons, formats and notes."""
ESTIMATE = {"value", "n", "interval", "reason"}
INTERVAL = {"low", "high", "method", "confidence", "reason"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The same data and suite, rewarded by a scorer, a file and a server."""
    base = tmp_path_factory.mktemp("evaluations")
    records = make_records(20, subsets=("alpacaeval-easy", "hep-go"))
    pairs, rewards = base / "pairs.jsonl", base / "rewards.jsonl"
    # The last is over the length limit of the scorer.
    long = {"prompt": "long ", "chosen": "yes " * 300, "rejected": "no", "subset": "hep-go", "id": "long"}
    pairs.write_text("".join(json.dumps(record) + "\n" for record in [*records, long]))
    answers = [(r["prompt"], r[side]) for r in [*records, long] for side in ("chosen", "rejected")]
    lines = [{"prompt": p, "completion": c, "reward": exclamations(c)} for p, c in answers]
    rewards.write_text("".join(json.dumps(line) + "\n" for line in lines))
    suite = find_suite("rewardbench")
    sets = [
        EvaluationSet(name="pairs", preferences=read_preferences(str(pairs), progress=False)),
        EvaluationSet(name="rewardbench", preferences=suite.read(str(pairs), progress=False), suite=suite),
    ]
    scorer, limits = TextScorer("exclaimer", exclamations), LengthLimits(max_length=400)
    evaluate_suites(scorer, sets, output_dir=base / "scorer", limits=limits, progress=False)
    with serve("plaudit") as server, ServerSource(server.url, protocol="plaudit") as asked:
        for name, source in {"file": FileSource(rewards), "server": asked}.items():
            evaluate_suites(source, sets, output_dir=base / name, progress=False)
    return [base / name for name in ("scorer", "file", "server")]


def keys_of(value: Any, path: str = "") -> Iterator[str]:
    """The paths of all keys; an estimate or correlation is a leaf once its own keys are as documented."""
    if isinstance(value, dict) and path not in OPEN and set(value) not in (ESTIMATE, ESTIMATE - {"interval"}):
        for key, inner in value.items():
            yield from keys_of(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for inner in value:
            yield from keys_of(inner, f"{path}[]")
    else:
        assert not isinstance(value, dict) or "interval" not in value or set(value["interval"]) == INTERVAL
        yield path


def documented(heading: str) -> dict[str, set[str]]:
    """The keys in the first column of the table under a heading, and the words in code type beside each."""
    section = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    found: dict[str, set[str]] = {}
    for line in section.splitlines():
        if line.startswith("| `"):
            names, _, beside = line[1:].partition(" | ")
            words = {word.removesuffix("[]") for word in re.findall(r"`([^`]+)`", beside)}
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", names), words)
    return found


def is_said(path: str, page: dict[str, set[str]]) -> bool:
    """Whether a key is in the first column, or stands beside the one that holds it, as its own keys do."""
    holders = [key for key in page if path.startswith((f"{key}.", f"{key}[]"))]
    if path in page or not holders:
        return path in page
    holder = max(holders, key=len)
    return set(re.findall(r"\w+", path.removeprefix(holder))) <= page[holder]


def test_every_key_of_a_sets_results_is_on_the_page(folders: list[Path]):
    written = [
        path
        for folder in folders
        for name in ("pairs", "rewardbench")
        for path in keys_of(json.loads((folder / name / "results.json").read_text()))
    ]
    page = documented("results.json of a set")
    assert {path for path in written if path not in OPEN and not is_said(path, page)} == set()
    assert {key for key in page if not any(path.startswith(key) for path in written)} == set()


def test_every_key_of_a_runs_results_is_on_the_page(folders: list[Path]):
    values = json.loads((folders[0] / "results.json").read_text())
    page = documented("results.json of the run")
    assert set(page) == set(values)
    assert page["headlines"] >= set(values["headlines"]["pairs"])


def test_every_column_of_the_rows_is_on_the_page_with_its_type(folders: list[Path]):
    schema = pq.read_schema(folders[0] / "pairs" / "rows.parquet")
    section = PAGE.split("## rows.parquet")[1].split("\n## ")[0]
    cells = [line.split("|")[1:-1] for line in section.splitlines() if line.startswith("| `")]
    said = {name: kind.strip() for names, kind, _ in cells for name in re.findall(r"`(\w+)`", names)}
    plain = {"double": "float64", "float": "float32", "large_string": "string"}
    assert said == {field.name: plain.get(str(field.type), str(field.type)) for field in schema}
    assert f'"{schema.metadata[b"plaudit.rows.schema_version"].decode()}"' in section


def test_the_versions_on_the_page_are_those_in_force():
    assert f"Schema `{RESULTS_SCHEMA}`, version {RESULTS_SCHEMA_VERSION}." in PAGE
    assert f"Schema `{RUN_SCHEMA}`, version {RUN_SCHEMA_VERSION}." in PAGE


def test_every_protocol_is_on_the_page_with_its_route_and_whether_it_needs_a_tokenizer():
    rows = [line.split("|") for line in PAGE.split("## Servers")[1].splitlines() if line.startswith("| `")]
    said = {row[1].strip(" `"): (row[2].strip(" `"), row[4].strip()) for row in rows if "/" in row[2]}
    assert said == {
        name: (protocol.path, "yes" if protocol.takes == "text" else "no")
        for name, protocol in PROTOCOLS.items()
    }


def test_the_key_in_the_example_is_that_of_its_texts():
    example = re.search(r'"prompt": "(.*)", "completion": "(.*)", "reward"', PAGE)
    assert example is not None
    assert f'"key": "{conversation_key(*example.groups()).hex()}"' in PAGE
