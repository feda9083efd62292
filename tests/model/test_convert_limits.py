"""What a conversion leaves when it is killed, and how much memory it takes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from plaudit.model.convert import convert_checkpoint
from stand_ins.conversions import all_tensors, write_base, write_sequence_classification, write_value_head

MIB = 1 << 20


def in_child(work: Callable[[], None], *, kill_after_s: float | None = None) -> int:
    """The wait status of a forked process that does some work, and is killed after so many seconds."""
    process = os.fork()
    if process == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(process, signal.SIGKILL)
    return os.waitpid(process, 0)[1]


class KillAt:
    """Kills its own process when so many blocks were written."""

    def __init__(self, num_blocks: int) -> None:
        self.left = num_blocks

    def __call__(self, _num_bytes: int) -> None:
        self.left -= 1
        if self.left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    return write_value_head(write_base("llama", folder / "base"), folder / "source")


@pytest.mark.parametrize("num_blocks", [1, 9, 20])
def test_a_conversion_that_is_killed_leaves_no_folder_and_the_next_one_tidies_up(
    num_blocks: int, source: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"

    def convert() -> None:
        convert_checkpoint(
            source, new, to="openrlhf", prove=False, max_shard_bytes=30_000, on_bytes=KillAt(num_blocks)
        )

    assert in_child(convert) == signal.SIGKILL
    assert not new.exists()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".new.part-")  # hidden, and never the name that was asked for
    convert_checkpoint(source, new, to="openrlhf", prove=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["new"]
    assert "score.weight" in all_tensors(new)


@pytest.mark.parametrize("seconds", [0.01, 0.06, 0.15, 0.4])
def test_killed_at_any_moment_the_folder_is_whole_or_not_there(
    seconds: float, source: Path, tmp_path: Path
) -> None:
    new = tmp_path / "new"
    in_child(lambda: _converted(source, new), kill_after_s=seconds)
    if new.exists():
        assert {file.name for file in new.iterdir()} >= {"config.json", "model.safetensors", "tokenizer.json"}
        assert load_file(new / "model.safetensors").keys() >= {"score.weight", "model.norm.weight"}


def test_the_folder_of_a_conversion_that_still_runs_is_not_removed(source: Path, tmp_path: Path) -> None:
    seen: list[int] = []

    def meanwhile(_num_bytes: int) -> None:
        if not seen:
            seen.append(len(list(tmp_path.glob(".new.part-*"))))
            convert_checkpoint(source, tmp_path / "new", to="openrlhf", prove=False)
            shutil.rmtree(tmp_path / "new")
            seen.append(len(list(tmp_path.glob(".new.part-*"))))

    convert_checkpoint(source, tmp_path / "new", to="openrlhf", prove=False, on_bytes=meanwhile)
    assert seen == [1, 1]
    assert "score.weight" in all_tensors(tmp_path / "new")


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel's high-water mark is read")
def test_memory_does_not_grow_with_the_checkpoint(tmp_path: Path) -> None:
    base = write_base("llama", tmp_path / "base")
    source = write_sequence_classification(base, tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    config |= {"vocab_size": 200_000, "hidden_size": 256, "intermediate_size": 64 * MIB // 1024}
    config |= {"num_hidden_layers": 1, "head_dim": 64, "layer_types": None}
    (source / "config.json").write_text(json.dumps(config))
    with torch.device("meta"):
        model = AutoModelForSequenceClassification.from_config(AutoConfig.from_pretrained(source))
    tensors = {name: torch.ones(value.shape) for name, value in model.named_parameters()}
    save_file(tensors, source / "model.safetensors", metadata={"format": "pt"})
    size = sum(tensor.nbytes for tensor in tensors.values())
    del tensors
    report = tmp_path / "peak"

    def convert() -> None:
        Path("/proc/self/clear_refs").write_text("5")
        before = _memory("VmRSS")
        convert_checkpoint(source, tmp_path / "new", to="openrlhf", prove=False, max_shard_bytes=100 * MIB)
        report.write_text(str(_memory("VmHWM") - before))

    assert in_child(convert) == 0
    assert size > 300 * MIB
    assert int(report.read_text()) < 110 * MIB  # three blocks of 32 MiB and change


def _converted(source: Path, new: Path) -> None:
    convert_checkpoint(source, new, to="openrlhf", prove=False)


def _memory(name: str) -> int:
    lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == f"{name}:")
