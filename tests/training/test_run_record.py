"""run.json says what ran, on what, and what was left out; and nothing that gives access."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, DatasetInfo, NamedSplit
from peft import LoraConfig

from plaudit import RewardConfig
from plaudit.errors import PlauditError
from plaudit.preferences import read_preferences
from plaudit.tokens import LengthLimits, Renderer, tokenize_preferences
from plaudit.training.data_record import DataRecord, data_record, hub_dataset, is_hub_id, source_of_dataset
from plaudit.training.model_facts import ModelFacts, adapter_facts
from plaudit.training.run_record import (
    RunRecord,
    command_line,
    describe_machine,
    finish_run,
    read_run_record,
    run_settings,
    start_run,
)
from stand_ins.folders import PAIRS
from stand_ins.tokenizers import build_tokenizer

SECRET = "hf_" + "s3cretS3cret" * 3


def config(tmp_path: Path, **more: Any) -> RewardConfig:
    return RewardConfig(str(tmp_path / "run"), use_cpu=True, bf16=False, report_to=[], **more)


def record(tmp_path: Path) -> RunRecord:
    adapter = adapter_facts(LoraConfig(r=8, lora_alpha=16, target_modules=["v_proj", "q_proj"]).to_dict())
    model = ModelFacts(base_model="org/base", base_is_on_hub=True, adapter=adapter, attributes={"a": 0.5})
    return start_run(
        settings=run_settings(config(tmp_path, hub_token=SECRET)),
        model=model,
        machine=describe_machine("cpu", 2),
        train_data=DataRecord(sources=("pairs.jsonl",), num_groups=3),
        eval_data={"eval": DataRecord()},
    )


def test_a_written_record_is_read_back_the_same(tmp_path: Path) -> None:
    started = record(tmp_path)
    started.write(tmp_path)
    assert read_run_record(tmp_path) == started
    ended = finish_run(
        started, num_steps=9, num_epochs=0.5, num_tokens=60, num_given_tokens=100, metrics={"eval_loss": 0.5}
    )
    ended.write(tmp_path)
    assert read_run_record(tmp_path) == ended
    written = json.loads((tmp_path / "run.json").read_text())
    assert written["tokens_saved"] == pytest.approx(0.4) and written["ended"] >= written["started"]
    assert started.ended is None and started.model.adapter is not None
    assert started.model.adapter.target_modules == ("q_proj", "v_proj")


def test_settings_are_all_fields_but_secrets(tmp_path: Path) -> None:
    args = config(
        tmp_path, hub_token=SECRET, eos_token="</s>", model_init_kwargs={"token": SECRET, "revision": "main"}
    )
    plain = run_settings(args)
    left_out = {f.name for f in fields(args)} - plain.keys()
    assert left_out <= {"hub_token", "push_to_hub_token"} and "hub_token" in left_out
    assert plain["eos_token"] == "</s>" and plain["model_init_kwargs"] == {"revision": "main"}
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_no_secret_is_written(tmp_path: Path) -> None:
    started = record(tmp_path)
    command = command_line(
        ["plaudit", "train", "--hub-token", SECRET, f"--hub_token={SECRET}", f"x={SECRET}"]
    )
    replace(started, settings={**started.settings, "run_name": f"run {SECRET}"}).write(tmp_path)
    written = (tmp_path / "run.json").read_text()
    assert "s3cret" not in written and "s3cret" not in command
    assert command == "plaudit train --hub-token '***' '--hub_token=***' 'x=hf_***'"


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["train.py", "--lr", "1e-5"], "python train.py --lr 1e-5"),
        (["-c"], "python"),
        (["/x/ipykernel_launcher.py", "-f", "kernel.json"], "python"),
        (["/usr/bin/plaudit", "train", "--eos-token", "</s>"], "plaudit train --eos-token '</s>'"),
    ],
)
def test_the_command_line_is_as_one_types_it(words: list[str], shown: str) -> None:
    assert command_line(words) == shown


def test_numbers_that_json_does_not_know_are_null(tmp_path: Path) -> None:
    finish_run(record(tmp_path), metrics={"eval_loss": math.nan}).write(tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["metrics"] == {"eval_loss": None}


def test_a_write_that_fails_leaves_the_record_that_was_there(tmp_path: Path) -> None:
    class Broken:
        def to_dict(self) -> dict[str, Any]:
            raise RuntimeError("the disk is full")

    started = record(tmp_path)
    started.write(tmp_path)
    with pytest.raises(RuntimeError):
        replace(started, settings={"broken": Broken()}).write(tmp_path)
    assert read_run_record(tmp_path) == started
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["run.json"]


def test_a_missing_or_damaged_record_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(PlauditError, match="no run record"):
        read_run_record(tmp_path)
    (tmp_path / "run.json").write_text('{"format": 1}')
    with pytest.raises(PlauditError, match=r"run\.json: damaged"):
        read_run_record(tmp_path)


def test_what_was_left_out_is_counted_by_reason() -> None:
    # Four records: one is no pair, one of the others has a completion of 90 words, one repeats an earlier one.
    long = {"prompt": "a?", "chosen": " cat" * 90, "rejected": " dog"}
    rows = [PAIRS[0], PAIRS[0], long, {"prompt": "a?", "chosen": "", "rejected": "b"}]
    preferences = read_preferences(rows, on_bad_record="skip", transcripts="text")
    tokens = tokenize_preferences(preferences, Renderer(build_tokenizer()), LengthLimits(max_length=64))
    made = data_record(reading=preferences.report, tokens=tokens.report, fingerprint=tokens.fingerprint)
    assert (made.num_groups, made.num_comparisons, made.num_ties) == (2, 2, 0)
    lost = {count.what: (count.number, count.out_of) for count in made.lost}
    assert lost["bad records skipped: a completion is empty or only white space"] == (1, 4)
    assert lost["groups dropped: longer than max_length"] == (1, 3)
    assert lost["comparisons dropped with a completion that is too long"] == (1, 3)
    noted = {count.what: count.number for count in made.noted}
    assert noted["duplicates of an earlier group (kept)"] == 1


def test_hub_data_sets_and_local_files_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = hub_dataset("Anthropic/hh-rlhf:helpful-base[train]")
    assert found is not None
    assert (found.id, found.config, found.split) == ("Anthropic/hh-rlhf", "helpful-base", "train")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "pairs").mkdir(parents=True)
    for source in ("data/pairs", "data/pairs[train]", "data/pairs.jsonl", "/data/pairs", "records", ""):
        assert hub_dataset(source) is None
    assert is_hub_id("gpt2") and not is_hub_id(str(tmp_path)) and not is_hub_id("")


def test_a_data_set_from_the_hub_names_itself() -> None:
    files = {"hf://datasets/trl-lib/ultrafeedback_binarized@abc/data/train.parquet": {"num_bytes": 1}}
    info = DatasetInfo(download_checksums=files, config_name="default")
    loaded = Dataset.from_list(PAIRS[:2], info=info, split=NamedSplit("train"))
    assert source_of_dataset(loaded) == ("trl-lib/ultrafeedback_binarized[train]",)
    assert source_of_dataset(Dataset.from_list(PAIRS[:2])) == source_of_dataset(PAIRS) == ()
