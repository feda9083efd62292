"""run.yaml, and which output folders a run may start in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from transformers.debug_utils import DebugOption

from plaudit.cli.run_file import find_start, read_run_file, run_file_text, write_run_file
from plaudit.errors import PlauditError

RUN = {"model": "base", "data": ["a.jsonl"], "learning_rate": 1e-4, "max_length": None}


def start_run(folder: Path, *steps: int, settings: dict[str, object] = RUN) -> None:
    folder.mkdir(exist_ok=True)
    write_run_file(folder, run_file_text(settings, {}, {}))
    for step in steps:
        checkpoint = folder / f"checkpoint-{step}"
        checkpoint.mkdir()
        (checkpoint / "optimizer.pt").touch()
        (checkpoint / "trainer_state.json").write_text(json.dumps({"global_step": step}))


def test_what_is_written_is_read_back_without_the_versions(tmp_path: Path):
    write_run_file(tmp_path, run_file_text(RUN, {"seed": 42}, {"plaudit": "1.2.3"}))
    assert read_run_file(tmp_path / "run.yaml") == RUN | {"seed": 42}
    assert "plaudit: 1.2.3" in (tmp_path / "run.yaml").read_text()


def test_a_token_is_never_written_down(tmp_path: Path):
    text = run_file_text({"hub_token": "hf_secret", "seed": 1}, {"hub_token": "hf_secret"}, {})
    assert "hf_secret" not in text


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"seed: 1\nseed: 2\n", "twice"),
        (b"- seed\n", "not a mapping"),
        (b"seed: [1\n", "not YAML"),
        (b"seed: \xff\n", "not YAML"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused_by_name(tmp_path: Path, content: bytes, reason: str):
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    with pytest.raises(PlauditError, match=reason) as caught:
        read_run_file(path)
    assert "mine.yaml" in str(caught.value)


def test_a_missing_configuration_is_refused_by_name(tmp_path: Path):
    with pytest.raises(PlauditError, match="cannot be read"):
        read_run_file(tmp_path / "absent.yaml")


def test_kebab_case_keys_are_read(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("max-length: 3\n")
    assert read_run_file(path) == {"max_length": 3}


def test_a_new_or_empty_folder_starts_at_the_beginning(tmp_path: Path):
    assert find_start(tmp_path / "new", RUN, resume="auto", overwrite=False) is None
    assert find_start(tmp_path, RUN, resume="auto", overwrite=False) is None


def test_the_same_run_goes_on_from_its_last_whole_checkpoint(tmp_path: Path):
    start_run(tmp_path, 5, 10)
    (tmp_path / "checkpoint-15").mkdir()
    assert find_start(tmp_path, RUN, resume="auto", overwrite=False) == tmp_path / "checkpoint-10"


def test_settings_that_change_no_weight_are_the_same_run(tmp_path: Path):
    start_run(tmp_path, 5, settings=RUN | {"output_dir": "old", "logging_steps": 10})
    now = RUN | {"output_dir": str(tmp_path), "logging_steps": 1}
    assert find_start(tmp_path, now, resume="auto", overwrite=False) == tmp_path / "checkpoint-5"


def test_another_run_is_refused_with_what_differs_and_what_to_do(tmp_path: Path):
    start_run(tmp_path, 5)
    with pytest.raises(PlauditError) as caught:
        find_start(tmp_path, RUN | {"learning_rate": 2e-4}, resume="auto", overwrite=False)
    text = str(caught.value)
    assert "learning_rate 0.0001 there, 0.0002 here" in text and "--overwrite" in text
    assert (tmp_path / "checkpoint-5").is_dir()


def test_a_folder_of_something_else_is_refused(tmp_path: Path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(PlauditError, match="not a run of plaudit train"):
        find_start(tmp_path, RUN, resume="auto", overwrite=False)


def test_another_run_that_never_reached_a_checkpoint_is_started_over(tmp_path: Path):
    start_run(tmp_path)
    (tmp_path / "bad-records.jsonl").write_text("")
    assert find_start(tmp_path, RUN | {"learning_rate": 2e-4}, resume="auto", overwrite=False) is None


def test_overwrite_removes_the_checkpoints_of_the_other_run_and_nothing_else(tmp_path: Path):
    start_run(tmp_path, 5)
    (tmp_path / "notes.txt").write_text("mine")
    assert find_start(tmp_path, RUN | {"seed": 1}, resume="auto", overwrite=True) is None
    assert [entry.name for entry in tmp_path.iterdir()] == ["notes.txt"]


def test_never_does_not_touch_a_run_that_is_there(tmp_path: Path):
    start_run(tmp_path, 5)
    with pytest.raises(PlauditError, match="--overwrite"):
        find_start(tmp_path, RUN, resume="never", overwrite=False)


def test_a_checkpoint_is_taken_by_its_path(tmp_path: Path):
    start_run(tmp_path, 5, 10)
    given = tmp_path / "checkpoint-5"
    assert find_start(tmp_path / "new", RUN, resume=str(given), overwrite=False) == given
    with pytest.raises(PlauditError, match="no whole checkpoint"):
        find_start(tmp_path / "new", RUN, resume=str(tmp_path / "checkpoint-7"), overwrite=False)


def test_a_setting_of_transformers_own_type_is_written_as_its_word():
    text = run_file_text({"debug": [DebugOption.UNDERFLOW_OVERFLOW]}, {}, {})
    assert yaml.safe_load(text)["debug"] == ["underflow_overflow"]


def test_tokens_of_a_run_that_was_killed_before_it_began_are_no_run(tmp_path: Path):
    (tmp_path / "_data").mkdir()
    assert find_start(tmp_path, RUN, resume="auto", overwrite=False) is None


def test_a_checkpoint_that_was_about_to_be_replaced_is_found(tmp_path: Path):
    start_run(tmp_path, 5)
    (tmp_path / "_saving").mkdir()
    (tmp_path / "checkpoint-5").rename(tmp_path / "_saving" / "replaced-checkpoint-5")
    assert find_start(tmp_path, RUN, resume="auto", overwrite=False) == tmp_path / "checkpoint-5"


def test_overwrite_leaves_no_checkpoint_that_was_about_to_be_replaced(tmp_path: Path):
    start_run(tmp_path, 5)
    (tmp_path / "_saving").mkdir()
    (tmp_path / "checkpoint-5").rename(tmp_path / "_saving" / "replaced-checkpoint-5")
    assert find_start(tmp_path, RUN | {"seed": 1}, resume="auto", overwrite=True) is None
    assert not list(tmp_path.iterdir())


def test_where_short_batches_are_dropped_another_division_of_a_step_is_another_run(tmp_path: Path):
    run = RUN | {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1}
    other = RUN | {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    start_run(tmp_path / "keeps", 5, settings=run)
    assert find_start(tmp_path / "keeps", other, resume="auto", overwrite=False) is not None
    drops = {"dataloader_drop_last": True}
    start_run(tmp_path / "drops", 5, settings=run | drops)
    with pytest.raises(PlauditError, match="8 groups in a step there"):
        find_start(tmp_path / "drops", other | drops, resume="auto", overwrite=False)
