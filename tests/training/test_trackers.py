"""What wandb, trackio and TensorBoard hold after a training: names of metrics, values, tables of samples."""

from __future__ import annotations

import json
import logging
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.training.trackers import log_sample_table, markdown_table
from stand_ins.folders import PAIRS, write_reward_model
from stand_ins.processes import script_environment
from training.trackers_run import ROWS

TESTS = Path(__file__).resolve().parents[1]
TRACKERS = ("tensorboard", "wandb", "trackio")

# What open-instruct's documentation names, below train/ and eval/.
METRICS = {"rm/accuracy", "rm/loss", "rm/chosen_rewards", "rm/rejected_rewards", "rm/reward_margin"}
TRAIN = {f"train/{name}" for name in METRICS | {"rm/lr", "episode", "epoch"}}
EVAL = {f"eval/{name}" for name in METRICS}

Points = list[dict[str, Any]]
"""What a tracker was told, in order: metrics by name, with the optimiser step as ``train/global_step``."""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of two trainings, ``one`` (evaluation set) and ``several``, with all trackers."""
    folder = tmp_path_factory.mktemp("runs")
    model = write_reward_model(tmp_path_factory.mktemp("model") / "base")
    ours = {"TRACKIO_DIR": str(folder / "trackio")}
    ours |= {"WANDB_MODE": "offline", "WANDB_DIR": str(folder), "WANDB_SILENT": "true"}
    done = subprocess.run(
        [sys.executable, str(TESTS / "training" / "trackers_run.py"), str(model), str(folder)],
        env=script_environment() | ours,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "did not reach" not in done.stderr, done.stderr
    return folder


def history(runs: Path, name: str) -> Points:
    """Trainer's own log."""
    return json.loads((runs / f"{name}.json").read_text())


# Reading back what a tracker holds ---------------------------------------------------------------------------


def tensorboard_events(runs: Path, name: str) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (folder,) = (runs / name / "runs").iterdir()
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    return events


def tensorboard_points(runs: Path, name: str) -> Points:
    events = tensorboard_events(runs, name)
    return [
        {tag: event.value, "train/global_step": event.step}
        for tag in events.Tags()["scalars"]
        for event in events.Scalars(tag)
    ]


def wandb_records(file: Path) -> Iterator[Any]:
    """The records of a run file: LevelDB's log format after 7 bytes of wandb's, protobuf inside."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, place, part, block = file.read_bytes(), 7, b"", 32_768
    while place + 7 <= len(data):
        if block - place % block < 7:  # no room for a header: the rest of the block is filled
            place += block - place % block
            continue
        size, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        part += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            yield Record.FromString(part)
            part = b""


def wandb_folder(runs: Path, name: str) -> Path:
    folders = sorted((runs / "wandb").glob("offline-run-*"), key=lambda path: path.stat().st_ctime)
    return folders[("one", "several").index(name)]


def wandb_points(runs: Path, name: str) -> Points:
    (file,) = wandb_folder(runs, name).glob("run-*.wandb")
    points: Points = []
    for record in wandb_records(file):
        if record.WhichOneof("record_type") == "history":
            points.append({})
            for item in record.history.item:  # a table's facts are below its name: samples, path
                name, *below = item.nested_key or [item.key]
                value = json.loads(item.value_json)
                points[-1][name] = points[-1].get(name, {}) | {below[0]: value} if below else value
    return points


def trackio_points(runs: Path, name: str) -> Points:
    with sqlite3.connect(runs / "trackio" / "rewards.db") as database:
        found = database.execute("select metrics from metrics where run_name = ? order by step", (name,))
        points = [json.loads(metrics) for (metrics,) in found]
    database.close()
    return points


POINTS = {"tensorboard": tensorboard_points, "wandb": wandb_points, "trackio": trackio_points}


def values(points: Points, name: str) -> list[tuple[int, float]]:
    return [(point["train/global_step"], point[name]) for point in points if name in point]


# Names and values --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tracker", TRACKERS)
def test_metrics_have_the_names_of_open_instruct_with_episode_and_epoch_below_train(
    runs: Path, tracker: str
) -> None:
    names = {name for point in POINTS[tracker](runs, "one") for name in point}
    assert names >= TRAIN | EVAL
    ours = {name for name in names if "/rm/" in name or name.endswith(("episode", "epoch"))}
    assert ours == TRAIN | EVAL


@pytest.mark.parametrize("tracker", TRACKERS)
def test_with_several_evaluation_sets_the_name_of_the_set_comes_after_eval(runs: Path, tracker: str) -> None:
    names = {name for point in POINTS[tracker](runs, "several") for name in point}
    expected = {f"eval/{data}_{name}" for data in ("helpful", "safe") for name in METRICS}
    assert {name for name in names if name.startswith("eval/") and "rm/" in name} == expected


@pytest.mark.parametrize("tracker", TRACKERS)
def test_values_are_those_of_the_log_at_the_step_at_which_they_were_logged(runs: Path, tracker: str) -> None:
    points, logged = POINTS[tracker](runs, "one"), history(runs, "one")
    for name, key in (
        ("train/rm/loss", "rm/loss"),
        ("eval/rm/accuracy", "eval_rm/accuracy"),
        ("train/episode", "episode"),
        ("train/rm/lr", "learning_rate"),
    ):
        expected = [(entry["step"], entry[key]) for entry in logged if key in entry]
        assert len(expected) >= 2
        found = values(points, name)
        assert [step for step, _ in found] == [step for step, _ in expected], name
        assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-6)
    # Four pairs a step, the first line after two steps.
    assert values(points, "train/episode") == [(2, 8), (4, 16)]


def test_an_evaluation_after_training_is_in_the_same_run_of_trackio_when_the_run_has_a_name(
    runs: Path,
) -> None:
    with sqlite3.connect(runs / "trackio" / "rewards.db") as database:
        found = database.execute("select distinct run_id, run_name from metrics order by run_name").fetchall()
    database.close()
    assert [name for _, name in found] == ["one", "several"]
    assert [step for step, _ in values(trackio_points(runs, "one"), "eval/rm/accuracy")] == [2, 4, 4]


# Tables ------------------------------------------------------------------------------------------------------


class Cells(HTMLParser):
    """The texts of a rendered table, row by row."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.rows: list[list[str]] = []
        self.inside = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True
        elif tag == "br":
            self.rows[-1][-1] += "\n"
        elif tag not in ("table", "thead", "tbody"):
            self.rows[-1][-1] += f"[tag {tag}]"

    def handle_endtag(self, tag: str) -> None:
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1][-1] += data


def rendered(markdown: str) -> list[list[str]]:
    """What TensorBoard's page shows of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of a library that tensorboard carries with it
        from tensorboard.plugin_util import markdown_to_safe_html

    return Cells(markdown_to_safe_html(markdown)).rows


def tables(runs: Path, tracker: str, run: str, name: str) -> list[tuple[int, list[list[Any]]]]:
    """The steps and cells (without the line of columns) of a table in a tracker."""
    if tracker == "tensorboard":
        found = tensorboard_events(runs, run).Tensors(f"{name}/text_summary")
        return [(e.step, rendered(e.tensor_proto.string_val[0].decode())[1:]) for e in found]
    points = [point for point in POINTS[tracker](runs, run) if name in point]
    if tracker == "trackio":
        return [
            (point["train/global_step"], [list(row.values()) for row in point[name]["_value"]])
            for point in points
        ]
    files = wandb_folder(runs, run) / "files"
    return [
        (point["train/global_step"], json.loads((files / point[name]["path"]).read_text())["data"])
        for point in points
    ]


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_table_arrives_as_it_was_given_at_every_evaluation(runs: Path, tracker: str) -> None:
    found = tables(runs, tracker, "one", "test/samples")
    assert [step for step, _ in found] == [2, 4, 4]
    cells = [list(row.values()) for row in ROWS]
    if tracker == "tensorboard":  # where everything is text
        cells = [[f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row] for row in cells]
    assert found[0][1] == cells


@pytest.mark.parametrize("tracker", TRACKERS)
def test_the_trainer_hands_its_samples_to_every_tracker_at_every_evaluation(runs: Path, tracker: str) -> None:
    found = tables(runs, tracker, "one", "eval/samples")
    assert [step for step, _ in found] == [2, 4, 4]
    rows = found[0][1]
    assert len(rows) == 3  # num_sample_rows
    for row, pair in zip(rows, PAIRS[48:], strict=False):
        shown = " ".join(str(row[0]).split())
        assert " ".join(pair["prompt"].split()) in shown
    for data in ("helpful", "safe"):
        steps = [step for step, _ in tables(runs, tracker, "several", f"eval/{data}_samples")]
        assert steps == [2, 4, 4]


@given(
    st.lists(
        st.lists(st.text("ab1 \n|\\`*_{}[]()#+-.!<>&;:~/'\"=^$é", max_size=12), min_size=2, max_size=2),
        min_size=1,
        max_size=3,
    )
)
@settings(max_examples=150)
def test_any_text_is_shown_in_markdown_as_it_stands(cells: list[list[str]]) -> None:
    shown = rendered(markdown_table(["one", "two"], cells))

    def plain(text: str) -> list[str]:  # the lines, without the space at their ends, which HTML does not show
        return [line.strip() for line in text.strip().splitlines()]

    assert shown[0] == ["one", "two"]
    assert [[plain(cell) for cell in row] for row in shown[1:]] == [
        [plain(cell) for cell in row] for row in cells
    ]


# What goes wrong in a tracker --------------------------------------------------------------------------------


def test_a_tracker_that_fails_is_a_warning_and_the_next_one_gets_its_table(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from torch.utils.tensorboard import SummaryWriter
    from transformers.integrations import TensorBoardCallback, TrackioCallback, WandbCallback

    writer = SummaryWriter(str(tmp_path / "one" / "runs" / "x"))
    callbacks = [
        WandbCallback(),
        TrackioCallback(),
        TensorBoardCallback(writer),
    ]  # no run is open in the first two
    with caplog.at_level(logging.WARNING):
        log_sample_table(ROWS, step=7, report_to=TRACKERS, callbacks=callbacks)
    writer.close()
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert "step 7" in said[0] and "wandb" in said[0] and "no run is open" in said[0]
    assert "trackio" in said[1]
    assert [step for step, _ in tables(tmp_path, "tensorboard", "one", "eval/samples")] == [7]


def test_a_tracker_without_tables_is_named_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        log_sample_table(ROWS, step=1, report_to=["mlflow"], callbacks=[])
    (record,) = caplog.records
    assert "mlflow" in record.getMessage()


def test_nothing_is_sent_without_rows(caplog: pytest.LogCaptureFixture) -> None:
    from transformers.integrations import WandbCallback

    log_sample_table([], step=1, report_to=["wandb"], callbacks=[WandbCallback()])
    assert not caplog.records
