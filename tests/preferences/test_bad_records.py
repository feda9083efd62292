"""Must show: every kind of bad record is named with its line, and nothing is lost in silence."""

import gzip
import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest
import zstandard

from plaudit.errors import PlauditError
from plaudit.preferences import read_preferences
from plaudit.preferences.bad_record import REASONS

GOOD = b'{"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}'
USER = {"role": "user", "content": "Hi"}
YES = {"role": "assistant", "content": "Yes"}
NO = {"role": "assistant", "content": "No"}


def pair(**changes: object) -> bytes:
    record = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"} | changes
    return json.dumps({key: value for key, value in record.items() if value is not ...}).encode()


def talk(chosen: object, rejected: object, prompt: object = ...) -> bytes:
    return pair(prompt=prompt, chosen=chosen, rejected=rejected)


def k_wise(**changes: object) -> bytes:
    return pair(chosen=..., rejected=..., **changes)


BAD_LINES: list[tuple[str, bytes]] = [
    ("bad-utf8", b'{"prompt": "caf\xe9", "chosen": "4", "rejected": "5"}'),
    ("bad-utf8", "ÿþ".encode("latin-1") + GOOD),
    ("lone-surrogate", pair(chosen="half \ud800 a pair")),
    ("lone-surrogate", pair(id="\udc00")),
    ("lone-surrogate", pair(tools=[{"name": "\ud800"}])),
    ("broken-json", b'{"prompt": "2 + 2?", "chosen": '),
    ("broken-json", b'{"prompt": "2 + 2?", "chosen": "4", "rejected": "5",}'),
    ("broken-json", b"\x00" * 40),
    ("broken-json", b"[" * 100_000),
    ("broken-json", b'{"prompt": ' + b"1" * 5_000 + b"}"),
    ("broken-json", b'{"prompt": "' + b"x" * 10_000_000),
    ("duplicate-key", b'{"prompt": "p", "chosen": "4", "chosen": "6", "rejected": "5"}'),
    ("not-an-object", b"[1, 2]"),
    ("not-an-object", b'"text"'),
    ("not-an-object", b"null"),
    ("unknown-format", b"{}"),
    ("unknown-format", b'{"question": "2 + 2?", "good": "4", "bad": "5"}'),
    ("missing-key", pair(rejected=...)),
    ("missing-key", pair(chosen=None)),
    ("missing-key", k_wise(completions=["4", "5"])),
    ("missing-key", k_wise(prompt=..., completions=["4", "5"], ratings=[1, 0])),
    ("missing-key", k_wise(samples=[{"text": "4"}, {"text": "5"}])),
    ("missing-key", k_wise(samples=[{"is_correct": True}, {"is_correct": False}])),
    ("missing-key", pair(score_chosen=1.0)),
    ("wrong-type", pair(chosen=4)),
    ("wrong-type", pair(prompt={"text": "2 + 2?"})),
    ("wrong-type", pair(rejected=True)),
    ("wrong-type", pair(subset=["a"])),
    ("wrong-type", k_wise(completions="4 or 5")),
    ("wrong-type", k_wise(samples=[{"text": "4", "is_correct": "yes"}, {"text": "5", "is_correct": "no"}])),
    ("wrong-type", b'{"instruction": 5, "chosen": "4", "rejected": "5"}'),
    ("empty-prompt", pair(prompt=" \n")),
    ("empty-prompt", k_wise(prompt="", completions=["4", "5"], ratings=[1, 0])),
    ("empty-prompt", talk([YES], [NO])),
    ("empty-prompt", talk([YES], [NO], prompt=[{"role": "user", "content": " "}])),
    ("empty-completion", pair(chosen="")),
    ("empty-completion", pair(rejected=" \t\n")),
    ("empty-completion", talk([USER, YES], [USER, {"role": "assistant", "content": ""}])),
    ("mixed-kinds", pair(chosen=[YES])),
    ("mixed-kinds", pair(chosen=["4", "6"])),
    ("bad-message", talk([USER, {"role": "assistant"}], [USER, NO])),
    ("bad-message", talk([USER, {"content": "Yes"}], [USER, NO])),
    ("bad-message", talk([USER, {"role": "assistant", "content": None}], [USER, NO])),
    ("bad-message", talk([USER, {"role": "assistant", "content": 7}], [USER, NO])),
    ("bad-message", talk([USER, "Yes"], [USER, NO])),
    ("bad-message", pair(chosen=[["4"]], rejected=[["5"]])),
    ("unknown-role", talk([USER, {"role": "bot", "content": "Yes"}], [USER, NO])),
    ("role-order", talk([USER, {"role": "system", "content": "S"}, YES], [USER, NO])),
    ("role-order", talk([USER, YES, USER], [USER, NO])),
    ("different-prompts", talk([USER, YES], [{"role": "user", "content": "Ho"}, NO], prompt="Hi")),
    ("different-prompts", talk("\n\nHuman: a\n\nAssistant: x", "\n\nHuman: b\n\nAssistant: y")),
    ("identical-completions", pair(rejected="4")),
    ("identical-completions", talk([USER, YES], [USER, YES])),
    ("identical-completions", k_wise(completions=["4", "4"], ratings=[1, 0])),
    ("single-completion", k_wise(completions=["4"], ratings=[1])),
    ("single-completion", pair(chosen=[], rejected=["5"])),
    ("length-mismatch", k_wise(completions=["4", "5"], ratings=[1, 0, 0])),
    ("bad-margin", b'{"prompt": "p", "chosen": "4", "rejected": "5", "margin": NaN}'),
    ("bad-margin", pair(margin="much")),
    ("bad-margin", pair(margin=True)),
    ("bad-margin", pair(margin=10**400)),
    ("bad-weight", pair(weight=0)),
    ("bad-weight", b'{"prompt": "p", "chosen": "4", "rejected": "5", "weight": Infinity}'),
    ("bad-rating", b'{"prompt": "p", "completions": ["4", "5"], "ratings": [1, NaN]}'),
    ("bad-rating", pair(score_chosen="high", score_rejected=1)),
    ("bad-rank", k_wise(completions=["4", "5"], ranks=[0, None])),
    ("bad-tools", pair(tools="not JSON")),
    ("bad-tools", pair(tools=[1])),
    ("bad-chat-template-kwargs", pair(chat_template_kwargs=[1])),
    ("bad-transcript", talk("\n\nHuman: Hi", "\n\nHuman: Ho")),
    ("bad-transcript", pair(prompt="\n\nHuman: Hi")),
]

# What cannot stand in a file of JSON lines has tests of its own.
ELSEWHERE = {"broken-csv", "cut-off", "line-too-long"}


@pytest.fixture
def bad_file(tmp_path: Path) -> Path:
    """Every bad line between two good ones, with two blank lines and a good line of 10 MB at the end."""
    lines = [line for _, bad in BAD_LINES for line in (GOOD, bad)]
    long = pair(chosen="y" * 10_000_000)
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + b"\n".join([*lines, b"", b"  \t", long]) + b"\r\n")
    return path


def test_the_file_has_twenty_kinds_and_every_reason():
    assert len({reason for reason, _ in BAD_LINES}) >= 20
    assert {reason for reason, _ in BAD_LINES} | ELSEWHERE == set(REASONS)


def test_each_bad_record_is_named_with_its_line_and_the_good_ones_come_through(
    bad_file: Path, tmp_path: Path
):
    out = tmp_path / "new" / "bad-records.jsonl"
    preferences = read_preferences(bad_file, on_bad_record="skip", bad_records_path=out)
    written = [json.loads(line) for line in out.read_text().splitlines()]
    # A good line comes before each bad one, so that the n-th bad one is on line 2n.
    expected = [(2 * n, reason) for n, (reason, _) in enumerate(BAD_LINES, start=1)]
    assert [(entry["line"], entry["reason"]) for entry in written] == expected
    assert all(entry["source"] == str(bad_file) and len(entry["record"]) <= 500 for entry in written)
    assert len(preferences) == len(BAD_LINES) + 1
    assert len(preferences[-1].completions[0]) == 10_000_000


def test_the_counts_add_up_to_the_lines_of_the_file(bad_file: Path):
    report = read_preferences(bad_file, on_bad_record="skip").report
    num_lines = len(bad_file.read_bytes().splitlines())
    assert report.num_good + report.num_bad + report.num_blank == num_lines
    assert report.bad_by_reason == Counter(reason for reason, _ in BAD_LINES)
    assert report.num_blank == 2
    assert f"{len(BAD_LINES):,} bad records skipped: " in report.summary()


@pytest.mark.parametrize(
    ("reason", "line"), BAD_LINES, ids=[f"{i}-{r}" for i, (r, _) in enumerate(BAD_LINES)]
)
def test_error_names_file_line_reason_and_what_to_do(tmp_path: Path, reason: str, line: bytes):
    path = tmp_path / "one.jsonl"
    path.write_bytes(GOOD + b"\n" + line + b"\n")
    with pytest.raises(PlauditError) as caught:
        read_preferences(path)
    text = str(caught.value)
    assert text.startswith(f"{path}:2: {reason}: ")
    assert 'on_bad_record="skip"' in text
    assert len(text) < 1500, "an error is to be read, not scrolled"


def test_identical_completions_say_their_length(tmp_path: Path):
    path = tmp_path / "same.jsonl"
    path.write_bytes(pair(chosen="x" * 1204, rejected="x" * 1204))
    with pytest.raises(
        PlauditError, match=r"same\.jsonl:1: .*chosen and rejected are the same \(1,204 characters"
    ):
        read_preferences(path)


def test_bad_utf8_names_the_byte(tmp_path: Path):
    path = tmp_path / "latin.jsonl"
    path.write_bytes(b'{"prompt": "caf\xe9"}')
    with pytest.raises(PlauditError, match="byte 16 of the line is 0xe9"):
        read_preferences(path)


def test_trailing_comma_is_called_by_its_name(tmp_path: Path):
    path = tmp_path / "comma.jsonl"
    path.write_bytes(b'{"prompt": "p",}')
    with pytest.raises(PlauditError, match="comma"):
        read_preferences(path)


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_a_truncated_archive_gives_its_whole_lines_and_says_where_it_breaks_off(
    tmp_path: Path, suffix, compress
):
    noise = random.Random(0)
    lines = [pair(id=str(n), chosen=noise.randbytes(1000).hex()) for n in range(1000)]
    path = tmp_path / f"cut.jsonl{suffix}"
    data = compress(b"\n".join(lines) + b"\n")
    path.write_bytes(data[: len(data) // 2])
    preferences = read_preferences(path, on_bad_record="skip", progress=False)
    assert dict(preferences.report.bad_by_reason) == {"cut-off": 1}
    # Random hexadecimal digits shrink evenly: half of the bytes hold about half of the lines.
    assert 400 < len(preferences) < 600
    assert preferences[-1].id == str(len(preferences) - 1)
    with pytest.raises(PlauditError, match=rf":{len(preferences) + 1}: cut-off: .*[Tt]runcated"):
        read_preferences(path, progress=False)


def test_a_file_that_is_no_archive_is_cut_off_at_its_first_line(tmp_path: Path):
    path = tmp_path / "plain.jsonl.gz"
    path.write_bytes(GOOD)
    with pytest.raises(PlauditError, match=r"plain\.jsonl\.gz:1: cut-off"):
        read_preferences(path)


def test_a_line_beyond_the_limit_is_named_and_the_next_line_is_read(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("plaudit.preferences.sources.lines.MAX_BYTES_PER_RECORD", 1000)
    path = tmp_path / "long.jsonl"
    path.write_bytes(GOOD + b"\n" + pair(chosen="x" * 5000) + b"\n" + GOOD + b"\n")
    report = read_preferences(path, on_bad_record="skip").report
    assert dict(report.bad_by_reason) == {"line-too-long": 1}
    assert report.num_good == 2
    assert "long.jsonl:2" in report.bad_examples[0]


def test_an_unknown_format_lists_the_keys_found_and_the_formats():
    with pytest.raises(PlauditError, match=r"keys found: question, good.*Formats read: prompt \+ chosen"):
        read_preferences([{"question": "2 + 2?", "good": "4"}])


def test_a_file_of_bad_records_only_is_an_error_even_when_skipping(tmp_path: Path):
    path = tmp_path / "all.jsonl"
    path.write_bytes(b"1\n2\n")
    with pytest.raises(PlauditError, match=r"all 2 records are bad \(not-an-object 2\).*all\.jsonl:1"):
        read_preferences(path, on_bad_record="skip")


@pytest.mark.parametrize("content", [b"", b"\n\n  \n"])
def test_a_file_without_records_is_an_error(tmp_path: Path, content: bytes):
    path = tmp_path / "empty.jsonl"
    path.write_bytes(content)
    with pytest.raises(PlauditError, match=r"empty\.jsonl: there are no records"):
        read_preferences(path)


def test_the_file_of_bad_records_is_empty_when_none_was_bad(tmp_path: Path):
    out = tmp_path / "bad-records.jsonl"
    out.write_text("from an earlier run\n")
    read_preferences([json.loads(GOOD)], on_bad_record="skip", bad_records_path=out)
    assert out.read_text() == ""


def test_misspelt_policy_lists_the_choices():
    with pytest.raises(PlauditError, match="error, skip"):
        read_preferences([json.loads(GOOD)], on_bad_record="ignore")


def test_the_page_on_preference_data_lists_every_reason_with_its_meaning():
    page = Path(__file__).parents[2] / "docs" / "preference-data.md"
    table = dict(re.findall(r"^\| `([a-z0-9-]+)` \| (.*) \|$", page.read_text(), flags=re.MULTILINE))
    assert {name: table.get(name) for name in REASONS} == REASONS
