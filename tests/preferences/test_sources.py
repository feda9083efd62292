"""Every kind of source gives the same groups; places, splits and order are as the person named them."""

import csv
import gzip
import json
import os
import pickle
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

import plaudit.preferences as preferences_package
from plaudit.errors import PlauditError
from plaudit.preferences import Preferences, read_preferences
from plaudit.preferences.sources.hub import load_hub
from plaudit.preferences.sources.item import Position
from plaudit.preferences.sources.json_array import read_json_array

RECORDS = [
    {
        "prompt": f"What is {n} + {n}?",
        "chosen": f"{2 * n}",
        "rejected": 'a "guess",\nor two é',
        "id": f"q{n}",
        "margin": 0.5,
    }
    for n in range(5)
]
COMPRESS = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}


def write(path: Path, records: list[dict[str, Any]] = RECORDS) -> Path:
    """The records in the format that the path's endings name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix if path.suffix in (".gz", ".zst") else ""
    plain = path.with_suffix("") if suffix else path
    kind = plain.suffix
    if kind == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), plain)
    elif kind in (".csv", ".tsv"):
        with plain.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(records[0]), delimiter="," if kind == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(records)
    elif kind == ".json":
        plain.write_text(json.dumps(records, indent=1, ensure_ascii=False), encoding="utf-8")
    else:
        plain.write_text("".join(json.dumps(record) + "\n" for record in records))
    if suffix:
        path.write_bytes(COMPRESS[suffix](plain.read_bytes()))
        plain.unlink()
    return path


def ids(preferences: Preferences) -> list[str | None]:
    return [group.id for group in preferences]


@pytest.mark.parametrize("kind", [".jsonl", ".json", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_every_file_format_gives_the_same_groups(tmp_path: Path, kind: str, suffix: str):
    preferences = read_preferences(write(tmp_path / f"pairs{kind}{suffix}"))
    expected = read_preferences(RECORDS)
    assert preferences.fingerprint == expected.fingerprint
    assert [(g.prompt, g.completions, g.comparisons, g.id) for g in preferences] == [
        (g.prompt, g.completions, g.comparisons, g.id) for g in expected
    ]


@pytest.mark.parametrize(
    ("name", "place"),
    [("p.jsonl", ":2"), ("p.json", "[1]"), ("p.parquet", "[1]"), ("p.csv", ":4"), ("p.csv.gz", ":4")],
)
def test_a_group_names_the_place_it_was_read_at(tmp_path: Path, name: str, place: str):
    # In CSV each record takes two lines, for its line break, and the header one.
    path = write(tmp_path / name)
    assert read_preferences(path)[1].source == f"{path}{place}"


def test_a_gzip_of_several_members_is_read_whole(tmp_path: Path):
    lines = [json.dumps(record).encode() + b"\n" for record in RECORDS]
    path = tmp_path / "members.jsonl.gz"
    path.write_bytes(b"".join(gzip.compress(line) for line in lines) + b"\0" * 512)
    assert len(read_preferences(path)) == 5


def test_json_lines_called_json_are_read(tmp_path: Path):
    write(tmp_path / "pairs.jsonl").rename(tmp_path / "pairs.json")
    assert read_preferences(tmp_path / "pairs.json")[1].source.endswith("pairs.json:2")


def test_one_json_object_over_several_lines_says_what_to_do(tmp_path: Path):
    path = tmp_path / "nested.json"
    path.write_text(json.dumps({"data": RECORDS}, indent=1))
    with pytest.raises(PlauditError, match=r"one JSON object over several lines.*jq"):
        read_preferences(path)


@pytest.mark.parametrize(
    ("text", "index", "what"),
    [
        ('[{"a": 1}, {"a": ]', 1, "expecting value"),
        ('[{"a": 1}, {"a": 2},]', 2, "trailing comma"),
        ('[{"a": 1} {"a": 2}]', 1, "comma"),
        ('[{"a": 1}, {"a": 2}', 2, "comma or ]"),
        ('[{"a": 1}] tail', 1, "behind the closing"),
    ],
)
def test_a_broken_array_is_cut_off_at_the_element(tmp_path: Path, text: str, index: int, what: str):
    path = tmp_path / "broken.json"
    path.write_text(text)
    items = list(read_json_array(path, Position()))
    number, bad = items[-1]
    assert (number, bad.reason) == (index, "cut-off")
    assert what in bad.what.lower()
    assert [value["a"] for _, value in items[:-1]] == list(range(1, index + 1))


def test_bad_utf8_in_an_array_costs_one_element(tmp_path: Path):
    path = tmp_path / "latin.json"
    path.write_bytes(b'[{"a": "\xe9"}, {"a": "fine"}, {"a": 1, "a": 2}, {"a": 3}]')
    values = [value for _, value in read_json_array(path, Position())]
    assert (values[0].reason, values[2].reason) == ("bad-utf8", "duplicate-key")
    assert (values[1], values[3]) == ({"a": "fine"}, {"a": 3})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(json_values), st.sampled_from([None, 1, 3]), st.integers(1, 9))
def test_an_array_read_in_pieces_of_any_size_is_the_array(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], indent: int | None, size: int
):
    path = tmp_path_factory.mktemp("array") / "a.json"
    path.write_text(
        json.dumps(values, indent=indent, ensure_ascii=size % 2 == 0), encoding="utf-8", errors="replace"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("plaudit.preferences.sources.json_array._CHUNK_BYTES", size)
        read = [value for _, value in read_json_array(path, Position())]
    assert read == json.loads(path.read_text(encoding="utf-8"))


def test_csv_decodes_messages_and_numbers_but_leaves_answers_as_text(tmp_path: Path):
    user = [{"role": "user", "content": "Hi"}]
    path = write(
        tmp_path / "m.csv", [{"prompt": json.dumps(user), "chosen": "[1, 2]", "rejected": "7", "margin": ""}]
    )
    group = read_preferences(path)[0]
    assert group.prompt == tuple(user)
    assert [answer[0]["content"] for answer in group.completions] == ["[1, 2]", "7"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("prompt,chosen,rejected\np,a,b\np,a\n", 3, "broken-csv"),
        ('prompt,chosen,rejected\np,a,b\np,"a"x,b\np,c,d\n', 3, "broken-csv"),
        ('prompt,chosen,rejected\np,a,b\np,"a,b\n', 3, "broken-csv"),
        ("prompt,chosen,rejected,margin\np,a,b,\np,a,b,much\n", 3, "bad-margin"),
        ("prompt,chosen,rejected\np,a,b\np,caf\udce9,b\n", 3, "bad-utf8"),
    ],
)
def test_a_bad_csv_row_is_named_with_its_line(tmp_path: Path, text: str, line: int, reason: str):
    path = tmp_path / "bad.csv"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(PlauditError, match=rf"bad\.csv:{line}: {reason}"):
        read_preferences(path)


def test_parquet_that_is_none_is_an_error(tmp_path: Path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"not parquet")
    with pytest.raises(PlauditError, match="cannot be read as Parquet"):
        read_preferences(path)


def test_a_data_set_and_its_splits(tmp_path: Path):
    dataset = datasets.Dataset.from_list(RECORDS)
    assert read_preferences(dataset)[2].source == "dataset:2"
    both = datasets.DatasetDict({"train": dataset, "test": dataset.select([3])})
    assert len(read_preferences(both)) == 5
    assert read_preferences(both, split="test")[0].source == "dataset[test]:0"
    both.save_to_disk(tmp_path / "saved")
    assert ids(read_preferences(f"{tmp_path / 'saved'}@test")) == ["q3"]
    dataset.save_to_disk(tmp_path / "single")
    assert len(read_preferences(tmp_path / "single")) == 5


def test_a_shuffled_data_set_is_read_in_its_order():
    dataset = datasets.Dataset.from_list(RECORDS).select([4, 0, 2])
    assert ids(read_preferences(dataset)) == ["q4", "q0", "q2"]


def test_an_iterable_data_set_stays_a_stream():
    stream = datasets.Dataset.from_list(
        [*RECORDS, {"prompt": "p", "chosen": "", "rejected": "b"}]
    ).to_iterable_dataset()
    preferences = read_preferences(stream, on_bad_record="skip")
    assert preferences.is_streaming and bool(preferences)
    assert preferences.report.num_records == 0, "nothing is read before it is asked for"
    for _ in range(2):
        assert ids(preferences) == [f"q{n}" for n in range(5)]
        assert (preferences.report.num_good, preferences.report.num_bad) == (5, 1)
    assert preferences.fingerprint == read_preferences(RECORDS).fingerprint
    with pytest.raises(TypeError, match="no length"):
        len(preferences)
    with pytest.raises(PlauditError, match="no table"):
        _ = preferences.dataset
    with pytest.raises(PlauditError, match="group_by_prompt"):
        read_preferences(stream, group_by_prompt=True)


def test_a_file_can_be_streamed_too(tmp_path: Path):
    preferences = read_preferences(write(tmp_path / "pairs.jsonl.gz"), streaming=True)
    assert preferences.is_streaming
    assert ids(preferences) == ids(preferences) == [f"q{n}" for n in range(5)]


def test_a_data_set_of_the_hub_is_streamed_with_its_split(tmp_path: Path):
    # The library reads a local folder as it reads one on the hub.
    write(tmp_path / "data" / "train.jsonl", RECORDS[:3])
    write(tmp_path / "data" / "test.jsonl", RECORDS[3:])
    dataset, where = load_hub(str(tmp_path / "data"), None, "test", streaming=True)
    assert where == f"{tmp_path / 'data'}[test]"
    assert ids(read_preferences(dataset)) == ["q3", "q4"]
    with pytest.raises(PlauditError, match=r"no split 'dev'\. Choose one of: train, test"):
        load_hub(str(tmp_path / "data"), None, "dev", streaming=True)


def test_preferences_travel_to_another_process(tmp_path: Path):
    copy = pickle.loads(pickle.dumps(read_preferences(RECORDS)))
    assert ids(copy) == [f"q{n}" for n in range(5)]
    assert copy.report.num_groups == 5


def test_progress_is_said_on_standard_error_and_can_be_turned_off(
    monkeypatch, capsys: pytest.CaptureFixture[str]
):
    for name, value in (("_FIRST_AFTER_S", 0.0), ("_LINE_EVERY_S", 0.0), ("_CHECK_EVERY", 2)):
        monkeypatch.setattr(f"plaudit.preferences.progress.{name}", value)
    read_preferences(RECORDS, progress=False)
    assert capsys.readouterr().err == ""
    read_preferences(RECORDS)
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines] == [
        "reading records: 2 records",
        "reading records: 4 records",
    ]


def test_a_folder_is_read_by_split(tmp_path: Path):
    write(tmp_path / "data" / "train-00000-of-00002.parquet", RECORDS[:2])
    write(tmp_path / "data" / "train-00001-of-00002.parquet", RECORDS[2:3])
    write(tmp_path / "data" / "test_prefs-00000-of-00001.parquet", RECORDS[3:])
    (tmp_path / "README.md").write_text("about")
    write(tmp_path / ".cache" / "train.jsonl")
    train = read_preferences(tmp_path)
    assert ids(train) == ["q0", "q1", "q2"]
    assert any("test_prefs-00000" in note for note in train.report.notes), "what is not read is named"
    assert ids(read_preferences(f"{tmp_path}@test_prefs")) == ["q3", "q4"]
    assert ids(read_preferences(tmp_path, split="test_prefs")) == ["q3", "q4"]
    with pytest.raises(PlauditError, match=r"no split 'dev'|no split 'validation'"):
        read_preferences(tmp_path, split="dev")


def test_a_config_is_a_folder_inside(tmp_path: Path):
    write(tmp_path / "helpful" / "train.jsonl.gz", RECORDS[:1])
    write(tmp_path / "helpful" / "test.jsonl.gz", RECORDS[1:2])
    write(tmp_path / "harmless" / "train.jsonl.gz", RECORDS[2:])
    assert ids(read_preferences(f"{tmp_path}:helpful")) == ["q0"]
    assert ids(read_preferences(f"{tmp_path}:helpful@test")) == ["q1"]


def test_a_folder_of_unsplit_files_is_read_whole_and_a_glob_takes_all_matches(tmp_path: Path):
    write(tmp_path / "b.jsonl", RECORDS[2:])
    write(tmp_path / "a.jsonl", RECORDS[:2])
    assert ids(read_preferences(tmp_path)) == [f"q{n}" for n in range(5)]
    write(tmp_path / "train.jsonl", RECORDS[:1])
    assert len(read_preferences(f"{tmp_path}/*.jsonl")) == 6
    assert len(read_preferences(f"{tmp_path}/*.jsonl@train")) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pairs.jsnl", "Did you mean pairs.jsonl"),
        ("missing/pairs.jsonl", "nor its folder"),
        ("*.csv", "no data files"),
        ("notes", r"no data files among the 1 entries. Looked for \.jsonl, \.json"),
        ("notes/readme.txt", "of no format that is read"),
    ],
)
def test_a_source_that_is_not_there_says_what_was_looked_for(tmp_path: Path, name: str, message: str):
    write(tmp_path / "pairs.jsonl")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "readme.txt").write_text("text")
    with pytest.raises(PlauditError, match=message):
        read_preferences(tmp_path / name)


def test_a_hub_id_without_network_says_both_ways():
    with pytest.raises(PlauditError, match=r"^org/no-such-data: neither a local path nor a data set"):
        read_preferences("org/no-such-data")


def test_a_list_of_names_points_to_mixtures():
    with pytest.raises(PlauditError, match="read_mixture"):
        read_preferences(["a.jsonl", "b.jsonl"])


def test_a_kept_table_is_found_again_until_the_file_changes(tmp_path: Path):
    path, cache = write(tmp_path / "pairs.jsonl"), tmp_path / "cache"
    first = read_preferences(path, cache_dir=cache)
    second = read_preferences(path, cache_dir=cache)
    assert ids(first) == ids(second)
    assert (first.report, first.fingerprint) == (second.report, second.fingerprint)
    assert len(list(cache.iterdir())) == 2, "one table and its report"
    path.write_text(path.read_text().replace("q4", "q9"))  # the same number of bytes
    os.utime(path, ns=(1, 1))
    assert ids(read_preferences(path, cache_dir=cache))[-1] == "q9"
    assert ids(read_preferences(path, cache_dir=cache, columns={"id": "margin"}))[-1] == "0.5"
    assert len(list(cache.iterdir())) == 6


def test_bad_records_are_named_again_although_the_table_is_kept(tmp_path: Path):
    path = write(tmp_path / "pairs.jsonl", [*RECORDS, {"prompt": "p"}])
    for _ in range(2):
        out = tmp_path / "bad.jsonl"
        read_preferences(path, on_bad_record="skip", bad_records_path=out, cache_dir=tmp_path / "cache")
        assert len(out.read_text().splitlines()) == 1
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_preferences_import_neither_torch_nor_transformers():
    folder = Path(preferences_package.__file__).parent
    lines = [line.split() for file in folder.rglob("*.py") for line in file.read_text().splitlines()]
    imported = {words[1].split(".")[0] for words in lines if words[:1] in (["import"], ["from"])}
    assert "plaudit" in imported
    assert imported.isdisjoint({"torch", "transformers"})
