"""The folder of an evaluation: names, what is read, what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from plaudit.errors import PlauditError
from plaudit.evaluation import evaluate
from plaudit.evaluation.folder import find_evaluations, read_evaluation
from plaudit.evaluation.margins import margin_histogram
from plaudit.evaluation.names import folder_names
from plaudit.evaluation.output_folder import prepare_folder
from plaudit.evaluation.rewards_file import FileSource
from plaudit.evaluation.run import evaluate_suites
from plaudit.evaluation.sets import EvaluationSet
from plaudit.preferences import Preferences, read_preferences

RECORDS = [
    {"prompt": "2+2?", "chosen": "4", "rejected": "5"},
    {"prompt": "3+3?", "chosen": "6", "rejected": "7"},
]


@pytest.fixture
def preferences() -> Preferences:
    return read_preferences(RECORDS, progress=False)


@pytest.fixture
def source(tmp_path: Path) -> FileSource:
    path = tmp_path / "rewards.jsonl"
    rows = [
        {"prompt": r["prompt"], "completion": r[s], "reward": float(r[s])}
        for r in RECORDS
        for s in ("chosen", "rejected")
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return FileSource(path)


def test_names_are_short_and_all_different():
    paths = [
        "data/test.jsonl.gz",
        "more/test.jsonl",
        "data/test.parquet",
        "org/name@split",
        "a b/c?.json",
        "./",
    ]
    assert folder_names(paths) == ["data-test", "more-test", "data-test-2", "name-split", "c", "data"]


def test_rows_texts_and_scores_are_read_from_the_folder(source, preferences, tmp_path: Path):
    run = evaluate_suites(
        source,
        [EvaluationSet(name="sums", preferences=preferences)],
        output_dir=tmp_path / "o",
        progress=False,
    )
    found = read_evaluation(tmp_path / "o")
    stored = found.suites["sums"]
    assert (found.model, stored.scores) == (run.model, None)
    np.testing.assert_array_equal(stored.rows.margin, [-1.0, -1.0])
    assert stored.table()["text_better"].to_pylist() == ["4", "6"]
    assert found.summary["headlines"]["sums"]["value"] == 0.0
    assert found.summary["schema_version"] == 2


def test_the_folder_of_the_python_function_is_an_evaluation_of_one_set(source, preferences, tmp_path: Path):
    evaluate(source, preferences, output_dir=tmp_path / "o", name="sums", model="M", progress=False)
    found = read_evaluation(tmp_path / "o")
    assert (found.model, list(found.suites)) == ("M", ["sums"])


def test_evaluations_are_found_below_a_folder_and_their_sets_are_not(source, preferences, tmp_path: Path):
    sets = [EvaluationSet(name="sums", preferences=preferences)]
    for name in ("b", "a/deep"):
        evaluate_suites(source, sets, output_dir=tmp_path / "o" / name, progress=False)
    assert find_evaluations(tmp_path / "o") == [tmp_path / "o" / "a" / "deep", tmp_path / "o" / "b"]
    with pytest.raises(PlauditError, match=r"Name one of its folders: deep, b"):
        read_evaluation(tmp_path / "o")


def test_while_a_run_goes_on_its_folder_is_no_whole_evaluation(source, preferences, tmp_path: Path):
    sets = [EvaluationSet(name="sums", preferences=preferences)]
    evaluate_suites(source, sets, output_dir=tmp_path / "o", progress=False)
    fingerprint = source.fingerprint()
    assert prepare_folder(tmp_path / "o", fingerprint, source.name, overwrite=False) == ["sums"]
    with pytest.raises(PlauditError, match="no whole evaluation"):
        read_evaluation(tmp_path / "o")


def test_a_later_schema_is_refused(source, preferences, tmp_path: Path):
    evaluate_suites(
        source, [EvaluationSet(name="sums", preferences=preferences)], output_dir=tmp_path, progress=False
    )
    path = tmp_path / "results.json"
    path.write_text(path.read_text().replace('"schema_version": 2', '"schema_version": 3'))
    with pytest.raises(PlauditError, match="schema version 3; this plaudit reads version 2"):
        read_evaluation(tmp_path)


@pytest.mark.parametrize("key", ["suites", "model"])
def test_a_summary_without_a_key_is_said(source, preferences, tmp_path: Path, key: str):
    evaluate_suites(
        source, [EvaluationSet(name="sums", preferences=preferences)], output_dir=tmp_path, progress=False
    )
    path = tmp_path / "results.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != key}))
    with pytest.raises(PlauditError, match=f"it has no {key}"):
        read_evaluation(tmp_path)


def sets_named(preferences: Preferences, *names: str) -> list[EvaluationSet]:
    return [EvaluationSet(name=name, preferences=preferences) for name in names]


def test_what_is_replaced_leaves_no_set_of_the_other_model(source, preferences, tmp_path: Path):
    out = tmp_path / "o"
    evaluate_suites(source, sets_named(preferences, "x", "y"), output_dir=out, progress=False)
    other = tmp_path / "other.jsonl"
    other.write_text(source.path.read_text().replace("4.0", "40.0"))
    evaluate_suites(
        FileSource(other), sets_named(preferences, "x"), output_dir=out, progress=False, overwrite=True
    )
    assert find_evaluations(out) == [out]
    assert not (out / "y" / "results.json").exists()
    assert list(read_evaluation(out).suites) == ["x"]


def test_a_run_that_has_not_come_to_its_end_is_left_out_with_a_warning_and_others_below_it_are_not(
    source, preferences, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    out = tmp_path / "o"
    evaluate_suites(source, sets_named(preferences, "x", "y"), output_dir=out, progress=False)
    evaluate_suites(source, sets_named(preferences, "x"), output_dir=out / "B", progress=False)
    prepare_folder(out, source.fingerprint(), source.name, overwrite=False)
    # A set that the run has written, and that the one before it did not have.
    shutil.copytree(out / "x", out / "z")
    assert find_evaluations(out) == [out / "B"]
    assert f"{out}: a run there has not come to its end" in caplog.text


@pytest.mark.parametrize("before", [(), ("w",)])
def test_two_runs_of_one_model_at_a_time_keep_each_others_sets(
    source, preferences, tmp_path: Path, before: tuple[str, ...]
):
    class WithAnotherRun(FileSource):
        """While it scores, another run on another set begins and ends."""

        def score(self, items, chunks):
            evaluate_suites(source, sets_named(preferences, "x"), output_dir=tmp_path / "o", progress=False)
            yield from super().score(items, chunks)

    if before:
        evaluate_suites(source, sets_named(preferences, *before), output_dir=tmp_path / "o", progress=False)
    evaluate_suites(
        WithAnotherRun(source.path),
        sets_named(preferences, "y"),
        output_dir=tmp_path / "o",
        progress=False,
    )
    found = read_evaluation(tmp_path / "o")
    assert list(found.suites) == list(found.summary["headlines"]) == [*before, "x", "y"]


@pytest.mark.parametrize("inner", ["", "deep/er"])
def test_an_output_folder_that_is_a_file_is_refused_before_anything_is_scored(
    source, preferences, tmp_path: Path, inner: str
):
    (tmp_path / "o").write_text("mine")
    with pytest.raises(PlauditError, match=r"is a file, not a folder") as caught:
        evaluate_suites(
            source, sets_named(preferences, "x"), output_dir=tmp_path / "o" / inner, progress=False
        )
    assert "--output-dir" in str(caught.value)


@pytest.mark.parametrize("seed", range(5))
def test_a_histogram_counts_every_margin_and_no_bin_has_both_signs(seed: int):
    generator = np.random.default_rng(seed)
    margin = np.round(generator.normal(0.3, 10.0 ** generator.integers(-3, 3), size=500), 3)
    found = margin_histogram(margin)
    assert sum(found.counts) == 500 and len(found.edges) == len(found.counts) + 1 <= 61
    below = [count for count, edge in zip(found.counts, found.edges, strict=False) if edge < -1e-12]
    assert sum(below) == np.count_nonzero(margin < 0)


def test_a_histogram_of_nothing_or_of_ties_is_fine():
    assert margin_histogram(np.empty(0)).counts == ()
    assert margin_histogram(np.zeros(3)).counts == (3,)


def test_an_interrupted_second_run_keeps_the_sets_of_the_first_and_the_guard(
    source, preferences, tmp_path: Path
):
    out = tmp_path / "o"
    evaluate_suites(
        source, [EvaluationSet(name="one", preferences=preferences)], output_dir=out, progress=False
    )
    fingerprint = source.fingerprint()
    for _ in range(2):  # started, and killed
        prepare_folder(out, fingerprint, source.name, overwrite=False)
    with pytest.raises(PlauditError, match="results of another model"):
        prepare_folder(out, "another", "another", overwrite=False)
    evaluate_suites(
        source, [EvaluationSet(name="two", preferences=preferences)], output_dir=out, progress=False
    )
    found = read_evaluation(out)
    assert list(found.suites) == list(found.summary["headlines"]) == ["one", "two"]
    assert not (out / "results.json.unfinished").exists()


def test_models_below_an_evaluation_are_found_too(source, preferences, tmp_path: Path):
    sets = [EvaluationSet(name="sums", preferences=preferences)]
    for folder in (tmp_path / "o", tmp_path / "o" / "A", tmp_path / "o" / "B"):
        evaluate_suites(source, sets, output_dir=folder, progress=False)
    out = tmp_path / "o"
    assert find_evaluations(out) == [out, out / "A", out / "B"]


def test_other_data_of_the_same_name_do_not_replace_a_set_unasked(source, tmp_path: Path):
    def sets_of(folder: str, records: list[dict[str, str]]) -> list[EvaluationSet]:
        path = tmp_path / folder / "test.jsonl"
        path.parent.mkdir(exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return [EvaluationSet(name="test", preferences=read_preferences(str(path), progress=False))]

    out = tmp_path / "o"
    evaluate_suites(source, sets_of("a", RECORDS), output_dir=out, progress=False)
    other = sets_of("b", RECORDS[:1])
    with pytest.raises(PlauditError, match="other data of the same name"):
        evaluate_suites(source, other, output_dir=out, progress=False)
    assert len(read_evaluation(out).suites["test"].rows) == 2
    evaluate_suites(source, other, output_dir=out, progress=False, overwrite=True)
    assert len(read_evaluation(out).suites["test"].rows) == 1
    evaluate_suites(source, sets_of("b", RECORDS), output_dir=out, progress=False)  # the same file has grown
    assert len(read_evaluation(out).suites["test"].rows) == 2
