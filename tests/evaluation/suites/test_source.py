"""Each suite's data from hub layouts, folders and files of every kind; what is missing is named."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from plaudit.errors import PlauditError
from plaudit.evaluation.suites import SUITES, SuitePart, find_suite
from plaudit.evaluation.suites.judgebench import JudgeBench
from plaudit.evaluation.suites.rewardbench import RewardBench
from plaudit.preferences import PreferenceGroup
from stand_ins.suite_items import ROWS

EXPECTED: dict[str, list[tuple[tuple[str, ...], list[tuple[int, int]], str | None, str | None]]] = {
    "rewardbench": [(("4", "five"), [(0, 1)], "hep-go", "7"), (("6", ""), [(0, 1)], "math-prm", "8")],
    "prior-sets": [(("Hello!", "What?"), [(0, 1)], "shp", "a")],
    "rewardbench2": [
        (("2", "4", "6", "9"), [(0, 1), (0, 2), (0, 3)], "Math", "4"),
        (("red", "blue", "dog"), [(0, 2), (1, 2)], "Ties", "tied:0"),
    ],
    "rm-bench": [
        (
            ("4", "It is 4", "**4**", "5", "It is 5", "**5**"),
            [(i, 3 + j) for i in range(3) for j in range(3)],
            "math",
            "1",
        )
    ],
    "judgebench": [
        (("This.", "That."), [(1, 0)], "gpt/knowledge", "x"),
        (("So.", "No."), [(0, 1)], "claude/math", "y"),
    ],
    "rmb": [
        (("Hello!", "What?"), [(0, 1)], "Helpfulness, pairwise/Chat/Casual Conversation", "1"),
        (("No.", "Yes.", "Sure."), [(0, 1), (0, 2)], "Harmlessness, best-of-n/S1", "2"),
    ],
    "ppe": [(("4", "5", "four"), [(0, 1), (2, 1)], "MATH", "q1")],
    "ufb": [(("Hello!", "What?"), [(0, 1)], None, "p")],
    "llmbar": [(("hi", "bye"), [(0, 1)], "GPTOut", "l"), (("ho", "he"), [(0, 1)], "Natural", "m")],
}
"""Completions, comparisons, subset and id of the rows of `ROWS`."""


def seen(group: PreferenceGroup) -> Any:
    texts = tuple(c if isinstance(c, str) else str(c[-1]["content"]) for c in group.completions)
    assert not any(c.is_tie for c in group.comparisons)
    return texts, [(c.better, c.worse) for c in group.comparisons], group.subset, group.id


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        names = dict.fromkeys(name for row in rows for name in row)
        pq.write_table(pa.table({name: [row.get(name) for row in rows] for name in names}), path)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=1))
    elif path.suffix == ".csv":
        names = list(dict.fromkeys(name for row in rows for name in row))
        with path.open("w", newline="") as file:
            table = csv.DictWriter(file, names)
            table.writeheader()
            table.writerows(
                {k: v if isinstance(v, str) else json.dumps(v) for k, v in r.items()} for r in rows
            )
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(name: str, source: Path | str) -> list[PreferenceGroup]:
    return list(SUITES[name].read(str(source), progress=False))


def test_there_are_rows_of_every_suite():
    assert list(ROWS) == list(SUITES) == list(EXPECTED)


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet"])
@pytest.mark.parametrize("name", ROWS)
def test_rows_of_each_suite_become_the_same_groups_from_any_file(tmp_path: Path, name: str, suffix: str):
    path = write(tmp_path / f"data.{suffix}", ROWS[name])
    assert [seen(group) for group in read(name, path)] == EXPECTED[name]


@pytest.mark.parametrize("name", [name for name in ROWS if name != "rmb"])
def test_csv_gives_the_same_groups_with_json_in_its_cells(tmp_path: Path, name: str):
    path = write(tmp_path / "data.csv", ROWS[name])
    assert [seen(group) for group in read(name, path)] == EXPECTED[name]


@pytest.mark.parametrize("name", ROWS)
def test_a_missing_column_is_named_with_those_wanted_and_found(tmp_path: Path, name: str):
    rows = [dict(row) for row in ROWS[name]]
    columns = SUITES[name].columns  # pyright: ignore[reportAttributeAccessIssue]
    del rows[-1][columns[-1]]
    with pytest.raises(PlauditError) as caught:
        read(name, write(tmp_path / "data.jsonl", rows))
    text = str(caught.value)
    assert f"data.jsonl:{len(rows)}: missing-key: no {columns[-1]}" in text
    assert ", ".join(columns) in text and f"found: {', '.join(rows[-1])}" in text


def test_prompts_keep_the_roles_that_they_have_in_the_data(tmp_path: Path):
    (group,) = read("prior-sets", write(tmp_path / "shp.jsonl", ROWS["prior-sets"]))
    assert [turn["role"] for turn in group.prompt if not isinstance(turn, str)] == ["system", "user"]
    assert group.completions[0] == ({"role": "assistant", "content": "Hello!"},)


def test_a_bad_value_is_named_by_file_and_row(tmp_path: Path):
    path = write(tmp_path / "rb.parquet", [{**ROWS["rewardbench2"][0], "num_correct": 2}])
    with pytest.raises(PlauditError, match=r"rb\.parquet\[0\]: length-mismatch: num_correct is 2"):
        read("rewardbench2", path)
    judge = write(tmp_path / "judge.jsonl", [{**ROWS["judgebench"][0], "label": "A=B"}])
    with pytest.raises(PlauditError, match=r"judge\.jsonl:1: .*A=B"):
        read("judgebench", judge)


@pytest.mark.parametrize(
    ("name", "column", "value"),
    [
        ("rewardbench2", "num_correct", "three"),
        ("rewardbench2", "num_correct", math.nan),
        ("rewardbench2", "num_correct", 3.5),
        ("rewardbench2", "num_correct", 1.5),
        ("rewardbench2", "num_correct", [1]),
        ("rewardbench2", "num_correct", 10**400),
        ("judgebench", "label", ["A>B"]),
        ("judgebench", "label", {"A": "B"}),
    ],
)
def test_a_value_of_another_type_is_a_bad_row_with_its_place(
    tmp_path: Path, name: str, column: str, value: Any
):
    path = write(tmp_path / "data.jsonl", [ROWS[name][0], {**ROWS[name][0], column: value}])
    with pytest.raises(PlauditError, match=rf"data\.jsonl:2: wrong-type: {column} is "):
        read(name, path)


@pytest.mark.parametrize("count", [1, 1.0, "1"])
def test_num_correct_may_be_written_in_any_way(tmp_path: Path, count: Any):
    path = write(tmp_path / "data.jsonl", [{**ROWS["rewardbench2"][0], "num_correct": count}])
    assert len(read("rewardbench2", path)) == 1


def test_two_rows_of_ties_with_one_id_are_refused_with_both_places(tmp_path: Path):
    tied = ROWS["rewardbench2"][1]
    rows = [tied, {**tied, "id": "ref:0"}, ROWS["rewardbench2"][0], {**tied, "prompt": "A hue?"}]
    path = write(tmp_path / "rb2.jsonl", rows)
    with pytest.raises(PlauditError, match=r"rb2\.jsonl:4.*'tied:0'.*rb2\.jsonl:1"):
        read("rewardbench2", path)
    # The other subsets are scored row by row: an id there is a name and no more.
    assert len(read("rewardbench2", write(path, [ROWS["rewardbench2"][0]] * 2))) == 2


@pytest.mark.parametrize(
    ("suite", "column", "part"),
    [("ppe", "benchmark", "GPQA"), ("prior-sets", "subset", "mtbench_human")],
)
def test_a_row_says_its_part_in_a_column_or_by_its_file(tmp_path: Path, suite: str, column: str, part: str):
    row = {key: value for key, value in ROWS[suite][0].items() if key != column}
    for unknown in (row, {**row, column: None}, {**row, column: ""}):
        with pytest.raises(PlauditError, match=r"mine\.jsonl:1: missing-key: which .* is not said"):
            read(suite, write(tmp_path / "mine.jsonl", [unknown]))
    (group,) = read(suite, write(tmp_path / f"{part}.jsonl", [row]))
    assert group.subset == part


def test_bad_rows_are_skipped_and_counted_when_asked(tmp_path: Path):
    rows = [*ROWS["rewardbench"], {"prompt": "x"}, {**ROWS["rewardbench"][0], "chosen": 4}]
    path = write(tmp_path / "rb.jsonl", rows)
    report = RewardBench().read(str(path), progress=False, on_bad_record="skip").report
    assert (report.num_groups, report.num_bad) == (2, 2)
    assert dict(report.bad_by_reason) == {"missing-key": 1, "wrong-type": 1}
    assert dict(report.formats) == {"rewardbench": 2}


def test_a_folder_laid_out_as_on_the_hub_gives_the_suites_split_and_names_what_it_leaves(tmp_path: Path):
    write(tmp_path / "data" / "raw-00000-of-00001.parquet", ROWS["rewardbench"] * 3)
    write(tmp_path / "data" / "filtered-00000-of-00001.parquet", ROWS["rewardbench"])
    preferences = SUITES["rewardbench"].read(str(tmp_path), progress=False)
    assert len(preferences) == 2
    assert any("raw-00000" in note for note in preferences.report.notes)
    assert len(SUITES["rewardbench"].read(f"{tmp_path}@raw", progress=False)) == 6


def test_a_folder_with_another_split_only_is_refused(tmp_path: Path):
    write(tmp_path / "data" / "train-00000-of-00001.parquet", ROWS["rewardbench"])
    with pytest.raises(PlauditError, match=r"other splits: train.*filtered"):
        read("rewardbench", tmp_path)


def test_files_named_after_parts_tell_the_subset(tmp_path: Path):
    row = {name: value for name, value in ROWS["prior-sets"][0].items() if name != "subset"}
    for name in ("anthropic_hhh", "summarize"):
        write(tmp_path / f"{name}-00000-of-00001.parquet", [row])
    assert [group.subset for group in read("prior-sets", tmp_path)] == ["anthropic_hhh", "summarize"]
    write(tmp_path / "PPE-GPQA-Best-of-K" / "train.jsonl", [{**ROWS["ppe"][0], "benchmark": None}])
    assert [group.subset for group in read("ppe", tmp_path)] == ["GPQA"]


def test_the_files_of_rmb_are_read_from_both_of_its_sets(tmp_path: Path):
    pair_row, list_row = ROWS["rmb"]
    write(tmp_path / "Pairwise_set" / "Helpfulness" / "Chat" / "Casual Conversation.json", [pair_row])
    write(tmp_path / "BoN_set" / "Harmlessness" / "S1.json", [list_row])
    write(tmp_path / "eval" / "result" / "some_model.json", [{"accuracy": 0.5}])
    found = sorted(seen(group) for group in read("rmb", tmp_path))
    assert found == sorted(EXPECTED["rmb"])


def test_a_saved_data_set_with_splits_is_read_by_its_splits(tmp_path: Path):
    gpt, claude = ({k: v for k, v in row.items() if k != "response_model"} for row in ROWS["judgebench"])
    saved = DatasetDict({"gpt": Dataset.from_list([gpt]), "claude": Dataset.from_list([claude])})
    saved.save_to_disk(tmp_path / "saved")
    groups = read("judgebench", tmp_path / "saved")
    assert sorted(str(group.subset) for group in groups) == ["claude/math", "gpt/knowledge"]


def test_a_data_set_of_the_hub_is_loaded_split_by_split(tmp_path: Path):
    """`datasets.load_dataset` on a folder with a data set's card; there is no network in the tests."""
    repository = tmp_path / "JudgeBench"
    for split, row in zip(("gpt", "claude"), ROWS["judgebench"], strict=True):
        bare = {k: v for k, v in row.items() if k != "response_model"}
        write(repository / "data" / f"{split}.jsonl", [bare])
    files = [f"  - split: {split}\n    path: data/{split}.jsonl\n" for split in ("gpt", "claude")]
    (repository / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n" + "".join(files) + "---\n"
    )

    class LocalJudgeBench(JudgeBench):
        parts = tuple(SuitePart(name=s, hub_id=str(repository), split=s) for s in ("gpt", "claude"))

    groups = list(LocalJudgeBench().read(None, progress=False))
    assert [group.subset for group in groups] == ["gpt/knowledge", "claude/math"]


def test_a_suite_without_a_hub_id_asks_for_a_file():
    with pytest.raises(PlauditError, match=r"--suite llmbar=PATH"):
        SUITES["llmbar"].read(None, progress=False)


def test_an_unknown_suite_lists_the_known():
    with pytest.raises(PlauditError, match="rewardbench, prior-sets, rewardbench2"):
        find_suite("reward-bench")


def test_a_path_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(PlauditError, match=r"no such file or folder"):
        read("rewardbench", tmp_path / "absent.jsonl")


def test_the_name_that_all_parts_share_tells_no_part(tmp_path: Path):
    """A file of all rows is often called like the data set: its rows say what they are."""
    path = write(tmp_path / "judgebench.jsonl", ROWS["judgebench"])
    assert [group.subset for group in read("judgebench", path)] == ["gpt/knowledge", "claude/math"]
    rows = [{**ROWS["prior-sets"][0], "subset": name} for name in ("shp", "summarize")]
    path = write(tmp_path / "preference-test-sets.jsonl", rows)
    assert [group.subset for group in read("prior-sets", path)] == ["shp", "summarize"]
