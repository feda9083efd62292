"""Every format is recognised without being told, and gives the reward that plain code computes by its own rule."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from plaudit.errors import PlauditError
from plaudit.model import load_reward_model, save_reward_model
from plaudit.model.checkpoint import inspect_checkpoint
from plaudit.model.hub_files import local_folder
from plaudit.model.inference import rewards_of_sequences
from plaudit.model.inspection import inspect_model
from plaudit.model.tensor_files import TensorFiles
from stand_ins.adapters import SEQUENCES
from stand_ins.folders import write_causal_model
from stand_ins.formats import (
    ENCODER_FORMATS,
    FORMATS,
    Built,
    draw_head,
    edit_config,
    edit_tensors,
    sequence_classification,
)
from stand_ins.tokenizers import CHATML_TEMPLATE, build_tokenizer

# peft reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

ENDS = [*SEQUENCES, [5, 6, 2], list(range(3, 43))]
"""One ends with the end-of-sequence token, one is longer than the sliding windows."""


def rewards(path: Path, **kwargs: object) -> list[float]:
    model = load_reward_model(path, **kwargs).model  # type: ignore[arg-type]
    return rewards_of_sequences(model, ENDS).rewards.tolist()


def expected(built: Built) -> list[float]:
    return [built.reward(sequence) for sequence in ENDS]


def without(*names: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if name not in names}


@pytest.mark.parametrize("family", ["llama", "qwen2", "mistral", "gpt_neox"])
@pytest.mark.parametrize("name", FORMATS)
def test_a_folder_gives_the_reward_of_its_formats_own_rule(name: str, family: str, tmp_path: Path) -> None:
    built = FORMATS[name](tmp_path / "model", family)
    facts = inspect_checkpoint(built.path)
    assert facts.format == built.format
    assert facts.num_labels == 1
    stored = facts.open_tensors()
    assert torch.equal(stored.tensor(facts.head_weight_key), built.head)  # type: ignore[arg-type]
    assert (facts.head_bias_key is None) == (built.bias is None)
    loaded = load_reward_model(built.path)
    assert not loaded.has_fresh_head
    given = rewards_of_sequences(loaded.model, ENDS).rewards
    wanted = expected(built)
    assert given.tolist() == pytest.approx(wanted, abs=1e-5)
    assert max(wanted) - min(wanted) > 0.1


@pytest.mark.parametrize("family", ENCODER_FORMATS)
def test_an_encoder_keeps_its_pooler_and_head(family: str, tmp_path: Path) -> None:
    built = sequence_classification(tmp_path / "model", family)
    assert inspect_checkpoint(built.path).head_weight_key == "classifier.weight"
    assert rewards(built.path) == pytest.approx(expected(built), abs=1e-5)


@pytest.mark.parametrize("allow_fresh_head", [False, True])
@pytest.mark.parametrize("family", ["bert", "deberta-v2"])
def test_an_encoders_head_without_its_bias_is_kept_with_a_bias_of_zero(
    family: str, allow_fresh_head: bool, tmp_path: Path
) -> None:
    built = sequence_classification(tmp_path / "model", family)
    bias = float(load_file(built.path / "model.safetensors")["classifier.bias"])
    edit_tensors(built.path / "model.safetensors", without("classifier.bias"))
    loaded = load_reward_model(built.path, allow_fresh_head=allow_fresh_head)
    assert not loaded.has_fresh_head
    assert "classifier.bias is not in the files and counts as 0" in loaded.origin
    given = rewards_of_sequences(loaded.model, ENDS).rewards
    assert given.tolist() == pytest.approx([reward - bias for reward in expected(built)], abs=1e-5)


def test_an_encoders_head_under_an_unusual_name_is_placed(tmp_path: Path) -> None:
    built = sequence_classification(tmp_path / "model", "deberta-v2")
    edit_tensors(
        built.path / "model.safetensors",
        lambda tensors: {name.replace("classifier.", "reward.out."): t for name, t in tensors.items()},
    )
    assert rewards(built.path, head_key="reward.out") == pytest.approx(expected(built), abs=1e-5)


def test_an_encoder_without_head_and_pooler_gets_both_where_a_fresh_head_is_allowed(tmp_path: Path) -> None:
    built = sequence_classification(tmp_path / "model", "deberta-v2")
    edit_tensors(
        built.path / "model.safetensors",
        without("classifier.weight", "classifier.bias", "pooler.dense.weight", "pooler.dense.bias"),
    )
    assert load_reward_model(built.path, allow_fresh_head=True).has_fresh_head


@pytest.mark.parametrize("name", ["value head", "OpenRLHF, own prefix", "token classification", "adapter"])
def test_an_existing_head_is_not_drawn_anew_where_a_fresh_one_is_allowed(name: str, tmp_path: Path) -> None:
    built = FORMATS[name](tmp_path / "model", "llama")
    given = rewards(built.path, allow_fresh_head=True, seed=3)
    assert given == pytest.approx(expected(built), abs=1e-5)


@pytest.mark.parametrize(
    "name", ["score with bias", "value head", "token classification", "value head, LoRA"]
)
def test_a_bias_is_saved_and_read_again(name: str, tmp_path: Path) -> None:
    built = FORMATS[name](tmp_path / "model", "llama")
    loaded = load_reward_model(built.path)
    save_reward_model(loaded.peft_model or loaded.model, tmp_path / "again")
    files = sorted((tmp_path / "again").glob("*.safetensors"))
    assert [key for key in load_file(files[0]) if key.endswith("score.bias")]
    assert rewards(tmp_path / "again") == pytest.approx(expected(built), abs=1e-5)


@pytest.mark.parametrize("name", ["value head", "value head, one file", "older OpenRLHF"])
def test_a_model_of_another_format_is_saved_under_transformers_own_names(name: str, tmp_path: Path) -> None:
    built = FORMATS[name](tmp_path / "model", "llama")
    save_reward_model(load_reward_model(built.path).model, tmp_path / "again")
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "again")
    saved = load_file(tmp_path / "again" / "model.safetensors")
    assert set(saved) - {"score.bias"} == set(plain.state_dict())


def test_an_unusual_head_is_read_by_its_name(tmp_path: Path) -> None:
    built = FORMATS["sequence classification"](tmp_path / "model", "llama")
    file = built.path / "model.safetensors"
    tensors = load_file(file)
    tensors["reward.out.weight"] = tensors.pop("score.weight")
    tensors["reward.out.bias"] = torch.tensor([0.5])
    save_file(tensors, file, metadata={"format": "pt"})
    shifted = [reward + 0.5 for reward in expected(built)]
    assert rewards(built.path, head_key="reward.out") == pytest.approx(shifted, abs=1e-5)
    assert rewards(built.path, head_key="reward.out.weight") == pytest.approx(shifted, abs=1e-5)


def hide_head(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The head under a name that nobody knows."""
    return {name.replace("score.", "reward.out."): tensor for name, tensor in tensors.items()}


def adapter_on_an_unusual_head(tmp_path: Path) -> tuple[Path, Built]:
    """An adapter of peft without a head, on a base whose head has an unusual name."""
    from peft import LoraConfig, get_peft_model

    built = FORMATS["sequence classification"](tmp_path / "base", "llama")
    plain = AutoModelForSequenceClassification.from_pretrained(built.path)
    edit_tensors(built.path / "model.safetensors", hide_head)
    config = LoraConfig(r=4, target_modules=["q_proj"], base_model_name_or_path=str(built.path))
    get_peft_model(plain, config).save_pretrained(tmp_path / "adapter")  # untrained, it changes nothing
    return tmp_path / "adapter", built


def test_a_name_that_an_adapter_lacks_is_that_of_its_bases_head(tmp_path: Path) -> None:
    adapter, built = adapter_on_an_unusual_head(tmp_path)
    assert inspect_checkpoint(adapter, head_key="reward.out").base_head_key == "reward.out"
    assert rewards(adapter, head_key="reward.out") == pytest.approx(expected(built), abs=1e-5)
    assert inspect_model(adapter, head_key="reward.out").problems == tuple(
        problem
        for problem in inspect_model(adapter, head_key="reward.out").problems
        if "tokenizer" in problem
    )
    with pytest.raises(PlauditError, match=r"no tensor is named 'other' .*base"):
        load_reward_model(adapter, head_key="other")


def test_a_name_that_an_adapter_with_a_head_lacks_is_an_error(tmp_path: Path) -> None:
    built = FORMATS["adapter"](tmp_path / "model", "llama")
    with pytest.raises(PlauditError, match="no tensor is named 'other'"):
        load_reward_model(built.path, head_key="other")


def test_a_stray_whole_model_in_an_adapters_folder_is_not_read(tmp_path: Path) -> None:
    built = FORMATS["adapter"](tmp_path / "model", "llama")
    shutil.copy(tmp_path / "model-base" / "model.safetensors", built.path)
    stray = built.path / "model.safetensors"
    edit_tensors(stray, lambda tensors: tensors | {"score.weight": torch.ones(1, 48)})
    torch.save(load_file(stray), built.path / "pytorch_model.bin")
    assert rewards(built.path) == pytest.approx(expected(built), abs=1e-5)


def test_of_two_heads_the_named_one_counts(tmp_path: Path) -> None:
    built = FORMATS["value head"](tmp_path / "model", "llama")
    file = built.path / "model.safetensors"
    save_file(load_file(file) | {"score.weight": torch.zeros(1, 48)}, file, metadata={"format": "pt"})
    assert rewards(built.path, head_key="v_head.summary.weight") == pytest.approx(expected(built), abs=1e-5)


def test_a_float32_value_head_stays_so_on_a_backbone_of_16_bits(tmp_path: Path) -> None:
    # TRL's ValueHead casts the hidden state to the head's dtype, not the head to the model's.
    built = FORMATS["value head"](tmp_path / "model", "llama")
    causal = AutoModelForCausalLM.from_pretrained(built.path, dtype=torch.bfloat16)
    causal.save_pretrained(built.path)
    model = load_reward_model(built.path).model
    assert model.dtype == torch.bfloat16
    assert torch.equal(model.state_dict()["score.weight"], built.head)


def test_openrlhfs_normalisation_is_kept_and_the_reward_stays_raw(tmp_path: Path) -> None:
    built = FORMATS["OpenRLHF"](tmp_path / "model", "llama")
    loaded = load_reward_model(built.path)
    assert loaded.normalization == (0.25, 2.5)
    assert "OpenRLHF's server returns (reward - mean) / std" in loaded.summary
    config = json.loads((built.path / "config.json").read_text())
    assert "num_labels" not in config
    assert loaded.model.config.num_labels == 1


def test_a_saved_openrlhf_model_is_plain_transformers_sequence_classification(tmp_path: Path) -> None:
    built = FORMATS["OpenRLHF, own prefix"](tmp_path / "model", "llama")
    save_reward_model(load_reward_model(built.path).model, tmp_path / "again")
    assert inspect_checkpoint(tmp_path / "again").format == "sequence-classification"
    assert rewards(tmp_path / "again") == pytest.approx(expected(built), abs=1e-5)


def test_tensors_are_read_one_at_a_time_from_every_kind_of_file(tmp_path: Path) -> None:
    built = FORMATS["sharded pickles"](tmp_path / "model", "llama")
    files = TensorFiles(built.path)
    assert files.shape("score.weight") == (1, 48)
    assert files.dtype("score.weight") == torch.float32
    assert files.num_bytes("score.weight") == 4 * 48
    assert torch.equal(files.tensor("score.weight"), built.head)
    assert files.file_of("score.weight").name.startswith("pytorch_model-")


def test_an_old_pickle_is_read_once_for_all_its_tensors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = FORMATS["sequence classification"](tmp_path / "model", "llama")
    tensors = load_file(built.path / "model.safetensors")
    (built.path / "model.safetensors").unlink()
    torch.save(tensors, built.path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    load, reads = torch.load, []
    monkeypatch.setattr(torch, "load", lambda file, **more: reads.append(file) or load(file, **more))
    files = TensorFiles(built.path)
    for name, tensor in tensors.items():
        given = files.tensor(name)
        assert torch.equal(given, tensor)
        given.zero_()  # memory of its own: the file's next reader sees none of it
    assert torch.equal(files.tensor("score.weight"), built.head)
    assert len(reads) <= 2


# The log line ------------------------------------------------------------------------------------------------


def test_one_line_says_what_it_is_where_its_head_is_and_what_differs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    built = FORMATS["value head"](tmp_path / "model", "llama")
    tokenizer = build_tokenizer(vocab_size=280, chat_template=CHATML_TEMPLATE)
    with caplog.at_level("INFO", logger="plaudit"):
        load_reward_model(built.path, tokenizer=tokenizer)
    line = next(record.getMessage() for record in caplog.records if "value head" in record.getMessage())
    assert "value head (LlamaForCausalLM)" in line
    assert "head from v_head.summary.weight and v_head.summary.bias in value_head.safetensors" in line
    newline = tokenizer("\n")["input_ids"][0]
    assert f"scored at the last token, '\\n' (id {newline})" in line
    assert "would draw a random head" in line
    assert "\n" not in line


def test_a_folder_that_plain_transformers_reads_alike_has_no_differences(tmp_path: Path) -> None:
    model = load_reward_model(FORMATS["sequence classification"](tmp_path / "model", "llama").path).model
    save_reward_model(model, tmp_path / "again")
    assert load_reward_model(tmp_path / "again").differences == ()


DIFFERENCES: dict[str, tuple[dict[str, Any], str]] = {
    "pad is eos": ({"pad_token_id": 2}, "reads the reward one token early .* token 2"),
    "pad among several eos": ({"pad_token_id": 7, "eos_token_id": [2, 7]}, "one token early .* token 7"),
    "no pad": ({"pad_token_id": None}, "one row at a time only"),
    "no num_labels": ({"id2label": None, "label2id": None}, "would build 2 outputs"),
    "no problem_type": ({"problem_type": None}, r"sigmoid\(reward\)"),
    "wrong class": ({"architectures": ["LlamaForCausalLM"]}, "names LlamaForCausalLM"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_what_plain_transformers_does_differently_is_said(name: str, tmp_path: Path) -> None:
    built = FORMATS["sequence classification"](tmp_path / "model", "llama")
    edit_config(built.path, problem_type="regression")
    changes, message = DIFFERENCES[name]
    edit_config(built.path, remove=[key for key, value in changes.items() if value is None])
    edit_config(built.path, **{key: value for key, value in changes.items() if value is not None})
    (difference,) = load_reward_model(built.path).differences
    assert re.search(message, difference)


def test_a_bias_that_plain_transformers_drops_is_said_with_its_size(tmp_path: Path) -> None:
    built = FORMATS["score with bias"](tmp_path / "model", "llama")
    assert built.bias is not None
    shift = f"{abs(float(built.bias)):.6g} {'lower' if float(built.bias) > 0 else 'higher'}"
    assert any(shift in difference for difference in load_reward_model(built.path).differences)


def test_the_bias_that_plain_peft_drops_is_said_with_its_size(tmp_path: Path) -> None:
    from peft import AutoPeftModelForSequenceClassification

    built = FORMATS["value head, LoRA"](tmp_path / "model", "llama")
    save_reward_model(load_reward_model(built.path).peft_model, tmp_path / "again")
    assert built.bias is not None
    shift = f"{abs(float(built.bias)):.6g} {'lower' if float(built.bias) > 0 else 'higher'}"
    differences = load_reward_model(tmp_path / "again").differences
    assert any("peft drops the head's bias" in one and shift in one for one in differences)
    plain = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "again", num_labels=1).eval()
    with torch.no_grad():
        given = float(plain(input_ids=torch.tensor([SEQUENCES[0]])).logits)
    assert given == pytest.approx(built.reward(SEQUENCES[0]) - float(built.bias), abs=1e-5)


# The value-head card's example -------------------------------------------------------------------------------


def test_the_reward_of_a_text_from_value_head_bin_is_the_cards(tmp_path: Path) -> None:
    # "values[:, -1]" of TRL's AutoModelForCausalLMWithValueHead: v_head over hidden_states[-1], at the last token.
    folder = write_causal_model(tmp_path / "model")
    generator = torch.Generator().manual_seed(3)
    summary = nn.Linear(32, 1)
    with torch.no_grad():
        summary.weight.normal_(generator=generator)
    torch.save(
        {"v_head.summary.weight": summary.weight.detach(), "v_head.summary.bias": summary.bias.detach()},
        folder / "value_head.bin",
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    inputs = tokenizer("Evaluate this text.", return_tensors="pt")
    with torch.no_grad():
        values = summary(model(**inputs, output_hidden_states=True).hidden_states[-1]).squeeze(-1)
    reward_score = values[:, -1].item()

    loaded = load_reward_model(folder, tokenizer=tokenizer)
    ids = tokenizer("Evaluate this text.")["input_ids"]
    assert rewards_of_sequences(loaded.model, [ids]).rewards[0] == pytest.approx(reward_score, abs=1e-5)


# The hub -----------------------------------------------------------------------------------------------------


def _into_hub_cache(cache: Path, name: str, folder: Path) -> None:
    """The layout in which the hub's client keeps downloads: files as links to blobs."""
    repository = cache / f"models--{name.replace('/', '--')}"
    snapshot = repository / "snapshots" / ("a" * 40)
    snapshot.mkdir(parents=True)
    (repository / "blobs").mkdir()
    for number, file in enumerate(sorted(folder.iterdir())):
        shutil.copy(file, repository / "blobs" / str(number))
        (snapshot / file.name).symlink_to(Path("../../blobs") / str(number))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)


@pytest.mark.parametrize("index", ["[]", '{"weight_map": {"a": "../x.safetensors"}}'])
def test_a_broken_index_of_the_hub_is_an_error_with_a_remedy(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = FORMATS["sharded pickles"](tmp_path / "model", "llama")
    (built.path / "pytorch_model.bin.index.json").write_text(index)
    _into_hub_cache(tmp_path / "hub", "acme/broken", built.path)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    with pytest.raises(PlauditError, match="not an index of weight files"):
        local_folder("acme/broken")


def test_hub_ids_of_every_shape_load_from_the_hubs_cache(tmp_path: Path) -> None:
    built = {
        "acme/value-head": FORMATS["value head, pickled"](tmp_path / "one", "llama"),
        "acme/lora": FORMATS["value head, LoRA of TRL"](tmp_path / "two", "llama"),
        "acme/shards": FORMATS["sharded pickles"](tmp_path / "three", "llama"),
    }
    _into_hub_cache(tmp_path / "hub", "acme/base", tmp_path / "two-base")
    config = tmp_path / "two" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"base_model_name_or_path": "acme/base"}))
    for name, one in built.items():
        _into_hub_cache(tmp_path / "hub", name, one.path)
    script = (
        "import sys, json; from plaudit.model import load_reward_model\n"
        "from plaudit.model.inference import rewards_of_sequences\n"
        "given = {name: rewards_of_sequences(load_reward_model(name).model, json.loads(sys.argv[1])).rewards.tolist()\n"
        "         for name in sys.argv[2:]}\n"
        "print(json.dumps(given))\n"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script, json.dumps(ENDS), *built],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    given = json.loads(done.stdout.splitlines()[-1])
    for name, one in built.items():
        assert given[name] == pytest.approx(expected(one), abs=1e-5), name


def test_a_value_head_without_a_bias_counts_as_zero(tmp_path: Path) -> None:
    built = FORMATS["value head"](tmp_path / "model", "llama")
    weight, bias = draw_head()
    save_file({"v_head.summary.weight": weight}, built.path / "value_head.safetensors")
    assert rewards(built.path) == pytest.approx([r - float(bias) for r in expected(built)], abs=1e-5)
