"""Only whole checkpoints are resumed from."""

from __future__ import annotations

from pathlib import Path

import pytest

from plaudit.training.checkpoints import last_whole_checkpoint


def write_checkpoint(run: Path, step: int, state: str | None) -> Path:
    folder = run / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    if state is not None:
        (folder / "trainer_state.json").write_text(state)
    (folder / "optimizer.pt").touch()
    return folder


@pytest.mark.parametrize(
    "state", [None, "", '{"global_step": 20, "epo', '{"global_step": 10}', "[]"],
    ids=["missing", "empty", "cut off", "another step's", "no object"],
)  # fmt: skip
def test_a_checkpoint_that_is_not_whole_is_passed_over(tmp_path: Path, state: str | None) -> None:
    whole = write_checkpoint(tmp_path, 10, '{"global_step": 10}')
    write_checkpoint(tmp_path, 20, state)
    assert last_whole_checkpoint(tmp_path) == whole


def test_the_highest_step_wins_by_number_not_by_name(tmp_path: Path) -> None:
    for step in (9, 100, 20):
        write_checkpoint(tmp_path, step, f'{{"global_step": {step}}}')
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-100"


def test_a_folder_without_checkpoints_has_none(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-best").mkdir()
    assert last_whole_checkpoint(tmp_path) is None
    assert last_whole_checkpoint(tmp_path / "nowhere") is None


def test_a_checkpoint_of_the_model_only_is_not_gone_on_from(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path, 10, '{"global_step": 10}')
    (write_checkpoint(tmp_path, 20, '{"global_step": 20}') / "optimizer.pt").unlink()
    assert last_whole_checkpoint(tmp_path) == whole
