"""plaudit convert: what it says, its exit status, and what it leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from plaudit.cli.convert import parse_size
from plaudit.errors import PlauditError
from stand_ins.conversions import (
    BIAS,
    llama_factory_rewards,
    transformers_rewards,
    write_base,
    write_value_head,
)

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    return write_value_head(write_base("llama", folder / "base"), folder / "source")


def test_the_shift_and_the_proof_are_said(plaudit: Run, source: Path, tmp_path: Path) -> None:
    done = plaudit("convert", source, tmp_path / "rm", "--to", "sequence-classification")
    assert done.status == 0 and done.out == ""
    assert f"the head's bias {BIAS:+} was dropped: every reward is {-BIAS:+}" in done.err
    assert "proof: 8 conversations scored before and after in float32, largest difference" in done.err
    assert "(value-head) ->" in done.err
    expected = llama_factory_rewards(source) - BIAS
    torch.testing.assert_close(transformers_rewards(tmp_path / "rm"), expected, atol=1e-5, rtol=0)


def test_options_reach_the_conversion(plaudit: Run, source: Path, tmp_path: Path) -> None:
    words = [
        "--to",
        "value-head",
        "--dtype",
        "bfloat16",
        "--shard-size",
        "40KB",
        "--value-head-format",
        "bin",
    ]
    done = plaudit("convert", source, tmp_path / "rm", *words, "--bias", "drop", "--no-proof")
    assert done.status == 0 and "proof: none was asked for" in done.err
    shards = list((tmp_path / "rm").glob("model-*.safetensors"))
    assert len(shards) > 1 and all(t.dtype == torch.bfloat16 for t in load_file(shards[0]).values())
    head = torch.load(tmp_path / "rm" / "value_head.bin", weights_only=True)
    assert head["v_head.summary.bias"].tolist() == [0.0]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--to", "onnx"], "--to: unknown value 'onnx'"),
        (["--to", "openrlhf", "--dtype", "int8"], "--dtype: unknown value 'int8'"),
        (["--to", "openrlhf", "--shard-size", "big"], "'big' is no size"),
        (["--to", "adapter"], "has no adapter"),
    ],
)
def test_a_wrong_choice_is_one_line_and_leaves_nothing(
    plaudit: Run, source: Path, tmp_path: Path, words: list[str], said: str
) -> None:
    done = plaudit("convert", source, tmp_path / "rm", *words)
    assert done.status == 2 and said in done.err and done.err.startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_sizes_are_read_in_both_kinds_of_units() -> None:
    assert [parse_size(text) for text in ("7", "5GB", "500 mb", "2GiB")] == [7, 5 * 10**9, 5 * 10**8, 2**31]
    with pytest.raises(PlauditError, match="no size"):
        parse_size("5 furlongs")
