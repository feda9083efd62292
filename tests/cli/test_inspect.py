"""``plaudit inspect``: what a folder is, from its headers and its head alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from plaudit.model.tensor_files import TensorFiles
from plaudit.tokens.loading import load_tokenizer
from stand_ins.folders import write_causal_model, write_reward_model
from stand_ins.formats import FORMATS, edit_config, edit_tensors
from stand_ins.tokenizers import CHATML_TEMPLATE, build_tokenizer

# peft reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


@pytest.fixture
def inspected(plaudit: Callable) -> Callable[..., dict]:
    def run(path: Path, *words: str) -> dict:
        outcome = plaudit("inspect", path, "--json", *words)
        assert outcome.status == 0, outcome.err
        return json.loads(outcome.out)

    return run


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_is_named_with_its_head(name: str, inspected: Callable, tmp_path: Path) -> None:
    built = FORMATS[name](tmp_path / "model", "llama")
    found = inspected(built.path)
    assert found["format"] == built.format
    assert found["head"]["shape"] == [1, 48]
    assert found["head"]["dtype"] == "float32"
    assert found["head"]["norm"] == pytest.approx(float((built.head**2).sum().sqrt()), rel=1e-6)
    wanted = None if built.bias is None else [pytest.approx(float(built.bias), rel=1e-6)]
    assert found["head"]["bias_value"] == wanted
    assert found["problems"] == [problem for problem in found["problems"] if "no tokenizer" in problem]


def test_sizes_and_dtypes_are_those_of_the_tensors(inspected: Callable, tmp_path: Path) -> None:
    folder = write_reward_model(tmp_path / "model")
    file = folder / "model.safetensors"
    edit_tensors(file, lambda t: t | {"model.norm.weight": t["model.norm.weight"].bfloat16()})
    tensors = load_file(file)
    weights = inspected(folder)["weights"]
    assert weights["num_tensors"] == len(tensors)
    assert weights["num_parameters"] == sum(t.numel() for t in tensors.values())
    assert weights["num_bytes"] == sum(t.nbytes for t in tensors.values())
    assert weights["dtypes"]["bfloat16"] == 32


def test_only_the_head_is_read(inspected: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    tensor = TensorFiles.tensor

    def noted(self: TensorFiles, name: str) -> torch.Tensor:
        read.append(name)
        return tensor(self, name)

    monkeypatch.setattr(TensorFiles, "tensor", noted)
    built = FORMATS["score with bias"](tmp_path / "model", "llama")
    inspected(built.path)
    assert sorted(read) == ["score.bias", "score.weight"]


def test_tokens_template_and_scored_token_are_told(inspected: Callable, tmp_path: Path) -> None:
    folder = write_reward_model(tmp_path / "model", chat_template=CHATML_TEMPLATE)
    tokenizer = load_tokenizer(folder).tokenizer
    found = inspected(folder)
    assert found["tokens"]["pad_token_id"] == tokenizer.pad_token_id
    assert found["tokens"]["eos_token_ids"] == [tokenizer.eos_token_id]
    assert found["tokens"]["pad_is_eos"] is False
    assert found["template"]["rendering"] == "chat"
    assert found["template"]["ends_with"] == "\n"  # after <|im_end|>, as LLaMA-Factory scores qwen and chatml
    newline = tokenizer("\n")["input_ids"][0]
    assert found["scored_token"] == f"the last token, {chr(10)!r} (id {newline})"


def test_text_is_scored_at_the_end_of_sequence_token(inspected: Callable, tmp_path: Path) -> None:
    found = inspected(write_reward_model(tmp_path / "model"))
    assert found["template"] == {"rendering": "text", "sha256": None, "ends_with": "</s>"}
    assert any("no chat template" in warning for warning in found["warnings"])


def test_pad_that_is_eos_is_a_warning(inspected: Callable, tmp_path: Path) -> None:
    folder = write_reward_model(tmp_path / "model")
    eos = json.loads((folder / "config.json").read_text())["eos_token_id"]
    edit_config(folder, pad_token_id=eos)
    build_tokenizer(pad="</s>").save_pretrained(folder)
    found = inspected(folder)
    assert found["tokens"]["pad_is_eos"] is True
    assert any("reads the reward one token early" in warning for warning in found["warnings"])
    assert any("it was '</s>', the end-of-sequence token" in warning for warning in found["warnings"])


def test_a_tokenizer_with_more_tokens_than_rows_is_a_warning(inspected: Callable, tmp_path: Path) -> None:
    folder = write_reward_model(tmp_path / "model")
    edit_config(folder, vocab_size=100)
    assert any("the embedding 100 rows" in warning for warning in inspected(folder)["warnings"])


def test_openrlhfs_normalisation_is_told(inspected: Callable, tmp_path: Path) -> None:
    found = inspected(FORMATS["OpenRLHF"](tmp_path / "model", "llama").path)
    assert found["normalization"] == {"mean": 0.25, "std": 2.5, "source": "config.json (OpenRLHF)"}
    assert found["architecture"] == "RewardModel"


def test_what_keeps_a_folder_from_loading_is_a_problem(inspected: Callable, tmp_path: Path) -> None:
    nan = FORMATS["value head"](tmp_path / "nan", "llama")
    edit_tensors(nan.path / "value_head.safetensors", lambda t: {name: t[name] * float("nan") for name in t})
    narrow = FORMATS["sequence classification"](tmp_path / "narrow", "llama")
    edit_tensors(narrow.path / "model.safetensors", lambda t: t | {"score.weight": torch.ones(1, 32)})
    lost = FORMATS["adapter"](tmp_path / "lost", "llama")
    config = lost.path / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "/nowhere"}))
    for path, problem in (
        (write_causal_model(tmp_path / "base"), "no reward head"),
        (nan.path, "not finite"),
        (narrow.path, "the head reads 32 numbers, and the model's hidden size is 48"),
        (lost.path, "the base model '/nowhere' is not there"),
    ):
        assert any(problem in found for found in inspected(path)["problems"]), problem


def test_an_unusual_head_is_told_by_its_name(inspected: Callable, tmp_path: Path) -> None:
    built = FORMATS["sequence classification"](tmp_path / "model", "llama")
    edit_tensors(built.path / "model.safetensors", lambda t: {n.replace("score", "prefers"): t[n] for n in t})
    assert inspected(built.path)["head"] is None
    assert inspected(built.path, "--head-key", "prefers")["head"]["weight"] == "prefers.weight"


def test_the_page_is_for_people(plaudit: Callable, tmp_path: Path) -> None:
    built = FORMATS["value head, pickled"](tmp_path / "model", "llama")
    build_tokenizer(vocab_size=280).save_pretrained(built.path)
    outcome = plaudit("inspect", built.path)
    assert outcome.status == 0
    page = " ".join(outcome.out.split())
    assert "value-head: a causal model with a value head" in page
    assert "v_head.summary.weight in value_head.bin: 1 x 48, float32, norm" in page
    assert f"bias {float(built.bias):.6g}" in page  # type: ignore[arg-type]
    assert "note: plain transformers knows no value head" in page


def test_no_model_folder_is_an_error(plaudit: Callable, tmp_path: Path) -> None:
    outcome = plaudit("inspect", tmp_path)
    assert outcome.status == 2
    assert "no config.json" in outcome.err


def test_standard_output_holds_the_object_and_nothing_else(program: Callable, tmp_path: Path) -> None:
    # In a process of its own: libraries that are installed beside it must not write there.
    done = program("inspect", write_reward_model(tmp_path / "model"), "--json")
    assert json.loads(done.out)["format"] == "sequence-classification"
