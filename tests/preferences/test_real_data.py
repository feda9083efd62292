"""The real data beside the checkout is read as what it is, with its known counts."""

import gzip
import json
from pathlib import Path

import pytest

from plaudit.preferences import read_preferences

EXPECTED = {
    "humanevalpack/pairs.jsonl": ("trl-standard", 984, 0),
    "llmbar/pairs.jsonl": ("trl-standard", 419, 0),
    "ultrafeedback/train.jsonl": ("trl-standard", 994, 2),
    "ultrafeedback/test.jsonl": ("trl-standard", 199, 0),
    "hh-rlhf/harmless.jsonl": ("hh-transcript", 1856, 3),
    "hh-rlhf/helpful.jsonl": ("hh-transcript", 1886, 4),
    "hh-rlhf/original-format.jsonl.gz": ("hh-transcript", 399, 1),
    "gsm8k/samples.jsonl": ("verifiable-samples", 1319, 0),
    "best-of-16/samples.jsonl.gz": ("rated-samples", 379, 0),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_each_file_is_recognised_and_every_line_counted(shared_data: Path, name: str):
    form, num_good, num_empty = EXPECTED[name]
    columns = {"rating": "p_win_vs_ref"} if name.startswith("best") else None
    report = read_preferences(shared_data / name, columns=columns, on_bad_record="skip").report
    assert dict(report.formats) == {form: num_good}
    assert dict(report.bad_by_reason) == ({"empty-completion": num_empty} if num_empty else {})
    opened = gzip.open if name.endswith(".gz") else open
    with opened(shared_data / name) as file:
        assert report.num_records == sum(1 for _ in file)


def test_hh_transcripts_as_text_are_kept_byte_for_byte(shared_data: Path):
    path = shared_data / "hh-rlhf" / "original-format.jsonl.gz"
    preferences = read_preferences(path, transcripts="text", on_bad_record="skip")
    with gzip.open(path) as file:
        lines = [json.loads(line) for line in file]
    assert len(preferences) > 390
    for group in preferences:
        record = lines[int(group.source.rsplit(":", 1)[1]) - 1]
        joined = [f"{group.prompt}{completion}" for completion in group.completions]
        assert joined == [record["chosen"], record["rejected"]]
        assert str(group.prompt).endswith("\n\nAssistant:")


def test_both_forms_of_hh_give_the_same_groups(shared_data: Path):
    """Most of the 400 whole dialogues are in the harmless test set, in the other form."""
    whole = read_preferences(shared_data / "hh-rlhf" / "original-format.jsonl.gz", on_bad_record="skip")
    apart = read_preferences(shared_data / "hh-rlhf" / "harmless.jsonl", on_bad_record="skip")
    prompts = {str(group.prompt) for group in apart}
    known = {str((group.prompt, group.completions)) for group in apart}
    shared = [group for group in whole if str(group.prompt) in prompts]
    assert len(shared) > 300
    assert all(str((group.prompt, group.completions)) in known for group in shared)


def test_gsm8k_comparisons_are_correct_times_incorrect(shared_data: Path):
    path = shared_data / "gsm8k" / "samples.jsonl"
    expected = 0
    for line in path.read_text().splitlines():
        samples = json.loads(line)["samples"]
        right = {s["text"] for s in samples if s["is_correct"]}
        wrong = {s["text"] for s in samples if not s["is_correct"]}
        expected += len(right) * len(wrong)
    assert read_preferences(path).report.num_comparisons == expected


def test_pairs_of_many_models_merge_to_their_prompts(shared_data: Path):
    with gzip.open(shared_data / "alpaca-eval" / "pairs.jsonl.gz") as file:
        records = [json.loads(next(file)) for _ in range(2000)]
    merged = read_preferences(records, group_by_prompt=True, progress=False)
    assert len(merged) == len({record["prompt"] for record in records})
    assert merged.report.num_comparisons == 2000
