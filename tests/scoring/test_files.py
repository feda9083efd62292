"""Scoring a file: the same rewards as one by one, nothing lost, interrupted runs go on."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from plaudit.errors import PlauditError
from plaudit.scoring import Scorer
from plaudit.scoring.files import FileScores, score_file
from stand_ins.folders import write_reward_model
from stand_ins.tokenizers import CHATML_TEMPLATE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def scorer(folder: Path) -> Scorer:
    return Scorer.from_pretrained(folder, device="cpu")


@pytest.fixture(scope="module")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("chat"), chat_template=CHATML_TEMPLATE)


@pytest.fixture(scope="module")
def chat_scorer(chat_folder: Path) -> Scorer:
    return Scorer.from_pretrained(chat_folder, device="cpu")


RECORDS: list[dict[str, Any]] = [
    {"prompt": f"the cat sat {i % 3}?", "completion": f" on the mat {i}", "i": i} for i in range(10)
]


def write(path: Path, records: list[Any]) -> str:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(path)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def score(scorer: Scorer, tmp_path: Path, records: list[Any], **options: Any) -> list[dict[str, Any]]:
    source = write(tmp_path / "in.jsonl", records)
    score_file(scorer, source, str(tmp_path / "out.jsonl"), overwrite=True, **options)
    return read(tmp_path / "out.jsonl")


def test_rewards_are_those_of_plain_transformers(scorer: Scorer, folder: Path, tmp_path: Path):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    for record in score(scorer, tmp_path, RECORDS):
        text = record["prompt"] + record["completion"] + tokenizer.eos_token
        with torch.no_grad():
            expected = float(model(**tokenizer(text, return_tensors="pt")).logits[0, 0])
        assert record["reward"] == pytest.approx(expected, abs=1e-5)


def test_a_chat_record_is_rendered_by_the_template(chat_scorer: Scorer, chat_folder: Path, tmp_path: Path):
    turns = [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]
    records = [
        {"messages": turns},
        {"prompt": turns[:1], "completion": "4"},
        {"prompt": turns[:1], "completion": turns[1:]},
        {"prompt": "2+2?", "completions": ["4", "5"]},
    ]
    scored = score(chat_scorer, tmp_path, records)
    tokenizer = AutoTokenizer.from_pretrained(chat_folder)
    model = AutoModelForSequenceClassification.from_pretrained(chat_folder)
    ids = tokenizer.apply_chat_template(turns, return_tensors="pt", return_dict=True)["input_ids"]
    with torch.no_grad():
        expected = float(model(input_ids=ids).logits[0, 0])
    given = [scored[0]["reward"], scored[1]["reward"], scored[2]["reward"], scored[3]["rewards"][0]]
    assert given == pytest.approx([expected] * 4, abs=1e-5)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
RESERVED = {"prompt", "completion", "completions", "messages", "tools", "chat_template_kwargs"}
RESERVED |= {"reward", "rewards", "error", "num_tokens"}


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(extras=st.lists(st.dictionaries(st.text(max_size=6), JSON, max_size=3), min_size=1, max_size=5))
def test_other_fields_and_the_order_stay(scorer: Scorer, tmp_path: Path, extras: list[dict[str, Any]]):
    free = [{key: value for key, value in extra.items() if key not in RESERVED} for extra in extras]
    records = [{"prompt": "the cat?", "completion": f" {i}"} | extra for i, extra in enumerate(free)]
    scored = score(scorer, tmp_path, records)
    assert [{k: v for k, v in record.items() if k != "reward"} for record in scored] == records


@pytest.mark.parametrize("size", [1, 3, 100])
def test_windows_do_not_move_rewards(scorer: Scorer, tmp_path: Path, size: int):
    whole = [record["reward"] for record in score(scorer, tmp_path, RECORDS)]
    parts = [record["reward"] for record in score(scorer, tmp_path, RECORDS, records_per_window=size)]
    assert parts == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_compressed_files_are_read_and_written(scorer: Scorer, tmp_path: Path, ending: str):
    plain = Path(write(tmp_path / "in.jsonl", RECORDS)).read_bytes()
    source, target = tmp_path / f"in.jsonl{ending}", tmp_path / f"out.jsonl{ending}"
    source.write_bytes(gzip.compress(plain) if ending == ".gz" else zstandard.compress(plain))
    score_file(scorer, str(source), str(target))
    packed = target.read_bytes()
    if ending == ".gz":
        lines = gzip.decompress(packed)
    else:
        lines = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(packed)).read()
    assert [json.loads(line)["i"] for line in lines.splitlines()] == list(range(10))
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["in.jsonl", source.name, target.name])


class StoppedError(Exception):
    pass


def interrupt(scorer: Scorer, source: str, target: Path, **options: Any) -> None:
    """Stop after the second window of two records, as Ctrl-C would."""

    def on_window(counts: FileScores, num_bytes: int) -> None:
        if counts.num_sequences == 4:
            raise StoppedError

    with pytest.raises(StoppedError):
        score_file(scorer, source, str(target), records_per_window=2, on_window=on_window, **options)


def test_an_interrupted_run_goes_on_after_its_whole_lines(scorer: Scorer, tmp_path: Path):
    source, target = write(tmp_path / "in.jsonl", RECORDS), tmp_path / "out.jsonl"
    expected = score(scorer, tmp_path, RECORDS)
    target.unlink()
    interrupt(scorer, source, target)
    part = tmp_path / "out.jsonl.part"
    assert not target.exists() and len(read(part)) == 4
    part.write_bytes(part.read_bytes()[:-5])  # a line that was cut short is scored again
    counts = score_file(scorer, source, str(target))
    assert (counts.num_resumed, counts.num_sequences, counts.num_records) == (3, 7, 10)
    assert [r["i"] for r in read(target)] == list(range(10))
    assert [r["reward"] for r in read(target)] == pytest.approx([r["reward"] for r in expected], abs=1e-5)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl"]


def test_blank_lines_before_the_interruption_do_not_shift_the_rest(scorer: Scorer, tmp_path: Path):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text("\n".join(json.dumps(record) + "\n" for record in RECORDS))
    interrupt(scorer, str(source), target)
    counts = score_file(scorer, str(source), str(target))
    assert [r["i"] for r in read(target)] == list(range(10))
    assert (counts.num_resumed, counts.num_blank) == (4, 9)


@pytest.mark.parametrize("change", ["input", "model", "details"])
def test_lines_of_another_run_are_not_taken_over(scorer: Scorer, tmp_path: Path, change: str):
    source, target = write(tmp_path / "in.jsonl", RECORDS), tmp_path / "out.jsonl"
    interrupt(scorer, source, target)
    if change == "input":
        write(tmp_path / "in.jsonl", [*RECORDS[::-1], *RECORDS])
    other = Scorer.from_pretrained(write_reward_model(tmp_path / "rm", seed=1), device="cpu")
    other.name = scorer.name
    now = other if change == "model" else scorer
    assert score_file(now, source, str(target), details=change == "details").num_resumed == 0


def test_a_bad_record_is_named_with_its_line_and_keeps_what_is_scored(scorer: Scorer, tmp_path: Path):
    source = tmp_path / "in.jsonl"
    write(source, RECORDS[:3])
    source.write_text(source.read_text() + "{broken\n" + json.dumps(RECORDS[4]) + "\n")
    with pytest.raises(PlauditError, match=r"in\.jsonl:4: broken-json"):
        score_file(scorer, str(source), str(tmp_path / "out.jsonl"))
    assert [r["i"] for r in read(tmp_path / "out.jsonl.part")] == [0, 1, 2]
    counts = score_file(scorer, str(source), str(tmp_path / "out.jsonl"), on_bad_record="skip")
    assert (counts.num_resumed, counts.num_bad, counts.num_records) == (3, 1, 5)
    assert [r.get("i") for r in read(tmp_path / "out.jsonl")] == [0, 1, 2, None, 4]


BAD = {
    "[1]": "not-an-object",
    "null": "not-an-object",
    "{}": "missing-key",
    '{"prompt": "a"}': "missing-key",
    '{"prompt": "a", "completion": "b", "completions": ["c"]}': "missing-key",
    '{"prompt": null, "completion": "b"}': "missing-key",
    '{"prompt": 3, "completion": "b"}': "wrong-type",
    '{"prompt": "a", "completions": []}': "wrong-type",
    '{"prompt": "a", "completions": "b"}': "wrong-type",
    '{"prompt": "a", "completion": 3}': "wrong-type",
    '{"prompt": "a", "completion": [{"role": "assistant", "content": "b"}]}': "mixed-kinds",
    '{"messages": []}': "wrong-type",
    '{"messages": [{"role": "user", "content": "a"}]}': "bad-message",
    '{"prompt": "a", "completion": "b", "tools": 3}': "bad-tools",
    '{"prompt": "a", "completion": "b", "chat_template_kwargs": []}': "bad-chat-template-kwargs",
    '{"prompt": "a\\ud800", "completion": "b"}': "lone-surrogate",
    '{"prompt": "a", "prompt": "b", "completion": "c"}': "duplicate-key",
}


@pytest.mark.parametrize(("line", "reason"), BAD.items(), ids=range(len(BAD)))
def test_every_kind_of_bad_record_is_named_and_can_be_skipped(
    scorer: Scorer, tmp_path: Path, line: str, reason: str
):
    source, target = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(f"{line}\n{json.dumps(RECORDS[1])}\n")
    with pytest.raises(PlauditError, match=reason):
        score_file(scorer, str(source), str(target))
    score_file(scorer, str(source), str(target), on_bad_record="skip")
    bad, good = read(target)
    assert bad["reward"] is None and f"in.jsonl:1: {reason}" in bad["error"]
    assert good["reward"] is not None and "error" not in good


def test_the_fields_of_a_skipped_record_stay(scorer: Scorer, tmp_path: Path):
    (record,) = score(scorer, tmp_path, [{"prompt": "a", "id": 9}], on_bad_record="skip")
    assert (record["prompt"], record["id"], record["reward"]) == ("a", 9, None)


@pytest.mark.parametrize("name", ["reward", "rewards", "error", "num_tokens"])
def test_a_field_that_would_be_replaced_is_an_error_even_when_skipping(
    scorer: Scorer, tmp_path: Path, name: str
):
    with pytest.raises(PlauditError, match=name):
        score(scorer, tmp_path, [RECORDS[0] | {name: 1}], on_bad_record="skip")


def test_an_empty_answer_has_a_reward(scorer: Scorer, tmp_path: Path):
    (record,) = score(scorer, tmp_path, [{"prompt": "the cat?", "completion": ""}])
    assert isinstance(record["reward"], float)


def test_details_say_how_many_tokens_and_longer_ones_than_trained_on_are_counted(
    folder: Path, tmp_path: Path
):
    scorer = Scorer.from_pretrained(folder, device="cpu")
    scorer.max_length = 12
    tokenizer = AutoTokenizer.from_pretrained(folder)
    records = [{"prompt": "the", "completions": [" cat", " cat sat on the mat" * 5]}]
    source = write(tmp_path / "in.jsonl", records)
    counts = score_file(scorer, source, str(tmp_path / "out.jsonl"), details=True)
    (record,) = read(tmp_path / "out.jsonl")
    # One more token closes each text.
    lengths = [len(tokenizer("the" + text)["input_ids"]) + 1 for text in records[0]["completions"]]
    assert record["num_tokens"] == lengths
    assert lengths[0] <= 12 < lengths[1]
    assert (counts.num_over_length, counts.max_tokens) == (1, lengths[1])


def test_a_reward_that_is_no_number_is_an_error(folder: Path, tmp_path: Path):
    scorer = Scorer.from_pretrained(folder, device="cpu")
    with torch.no_grad():
        scorer.model.score.weight.fill_(float("nan"))
    with pytest.raises(PlauditError, match="not finite"):
        score(scorer, tmp_path, RECORDS)


def test_an_output_that_is_there_is_replaced_only_when_asked(scorer: Scorer, tmp_path: Path):
    source, target = write(tmp_path / "in.jsonl", RECORDS), tmp_path / "out.jsonl"
    target.write_text("mine")
    with pytest.raises(PlauditError, match="--overwrite"):
        score_file(scorer, source, str(target))
    assert target.read_text() == "mine"
    score_file(scorer, source, str(target), overwrite=True)
    assert len(read(target)) == 10


def test_input_and_output_are_not_the_same_file(scorer: Scorer, tmp_path: Path):
    source = write(tmp_path / "in.jsonl", RECORDS)
    with pytest.raises(PlauditError, match="same file"):
        score_file(scorer, source, source, overwrite=True)
    assert read(tmp_path / "in.jsonl") == RECORDS


def test_an_empty_file_gives_an_empty_file(scorer: Scorer, tmp_path: Path):
    assert score(scorer, tmp_path, []) == []


def test_a_missing_input_is_named_and_leaves_nothing(scorer: Scorer, tmp_path: Path):
    with pytest.raises(PlauditError, match=r"absent\.jsonl"):
        score_file(scorer, str(tmp_path / "absent.jsonl"), str(tmp_path / "out.jsonl"))
    assert list(tmp_path.iterdir()) == []
