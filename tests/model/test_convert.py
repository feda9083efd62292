"""Conversions of whole models: the same rewards for every format's own reader, and the backbone's bytes untouched."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from plaudit.errors import PlauditError
from plaudit.model.convert import convert_checkpoint
from stand_ins.conversions import (
    BIAS,
    FAMILIES,
    READERS,
    WRITERS,
    all_tensors,
    llama_factory_rewards,
    openrlhf_rewards,
    transformers_rewards,
    write_base,
)
from stand_ins.models import build_model

TARGETS = tuple(READERS)
HEADS = ("score.", "v_head.", "lm_head.", "embed_out.")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Each family's model in each format."""
    folder = tmp_path_factory.mktemp("sources")
    found = {}
    for family in FAMILIES:
        base = write_base(family, folder / family)
        for name, write in WRITERS.items():
            found[family, name] = write(base, folder / f"{family}-{name}")
    return found


def backbone(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in all_tensors(folder).items() if not name.startswith(HEADS)}


def same_bytes(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype
        and torch.equal(first[name].view(torch.uint8), second[name].view(torch.uint8))
        for name in first
    )


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("source", WRITERS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_reader_finds_the_rewards_of_the_source(
    family: str, source: str, target: str, sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    given = sources[family, source]
    done = convert_checkpoint(given, tmp_path / "new", to=target, prove=False)
    has_bias = source.startswith("value-head")
    if source == "value-head-one-file":
        before = READERS["value-head"](sources[family, "value-head"])  # the same weights
    else:
        before = READERS[source](given)
    after = READERS[target](tmp_path / "new")
    assert done.shift == (-BIAS if has_bias and target != "value-head" else 0.0)
    torch.testing.assert_close(after, before + done.shift, atol=1e-5, rtol=0)
    assert before.max() - before.min() > 0.1
    assert same_bytes(backbone(tmp_path / "new"), backbone(given))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("there", "back"), [(a, b) for a in TARGETS for b in TARGETS if a != b])
def test_a_round_trip_ends_with_the_same_rewards_and_bytes(
    family: str, there: str, back: str, sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    given = sources[family, back]
    first = convert_checkpoint(given, tmp_path / "there", to=there, prove=False)
    second = convert_checkpoint(tmp_path / "there", tmp_path / "back", to=back, prove=False)
    assert second.shift == 0.0
    before, after = READERS[back](given), READERS[back](tmp_path / "back")
    torch.testing.assert_close(after, before + first.shift, atol=1e-5, rtol=0)
    assert same_bytes(backbone(tmp_path / "back"), backbone(given))


def test_the_proof_is_made_by_default_and_finds_no_difference(
    sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    done = convert_checkpoint(sources["llama", "value-head"], tmp_path / "new", to="sequence-classification")
    assert done.proof is not None and done.proof.holds
    assert done.proof.num_conversations == 8 and done.proof.rounding == 0.0
    assert done.proof.largest_difference < 1e-5
    assert done.shift == -BIAS
    assert any("+0.375 was dropped" in note and "-0.375" in note for note in done.notes)


def test_vllm_finds_every_field_that_it_needs(sources: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    convert_checkpoint(
        sources["qwen2", "value-head"], tmp_path / "new", to="sequence-classification", prove=False
    )
    config = config_of(tmp_path / "new")
    assert config["architectures"] == ["Qwen2ForSequenceClassification"]
    assert config["num_labels"] == 1 and config["id2label"] == {"0": "LABEL_0"}
    assert config["problem_type"] == "regression"
    assert config["pad_token_id"] is not None and config["pad_token_id"] != config["eos_token_id"]
    tensors = all_tensors(tmp_path / "new")
    assert tuple(tensors["score.weight"].shape) == (1, 32)
    assert "score.bias" not in tensors and "lm_head.weight" not in tensors


def test_openrlhf_finds_every_field_that_it_reads(
    sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    convert_checkpoint(sources["llama", "value-head"], tmp_path / "new", to="openrlhf", prove=False)
    config = config_of(tmp_path / "new")
    assert {"mean", "std", "normalize_reward", "value_head_prefix"} <= config.keys()
    assert (config["mean"], config["std"], config["normalize_reward"]) == (0.0, 1.0, False)
    assert not {"num_labels", "id2label", "label2id", "problem_type"} & config.keys()
    plain = READERS["openrlhf"](tmp_path / "new")
    assert torch.equal(plain, openrlhf_rewards(tmp_path / "new", normalize=True))


def test_a_kept_bias_is_in_the_score_layer_and_a_note_says_who_drops_it(
    sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    given = sources["llama", "value-head"]
    done = convert_checkpoint(given, tmp_path / "new", to="sequence-classification", bias="keep")
    assert done.shift == 0.0
    assert all_tensors(tmp_path / "new")["score.bias"].tolist() == [BIAS]
    assert any("plain transformers leaves it out" in note for note in done.notes)
    again = convert_checkpoint(tmp_path / "new", tmp_path / "back", to="value-head")
    assert again.shift == 0.0
    torch.testing.assert_close(
        llama_factory_rewards(tmp_path / "back"), llama_factory_rewards(given), atol=1e-5, rtol=0
    )


def test_a_dropped_bias_is_zero_in_a_value_head(sources: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    given = sources["llama", "value-head"]
    done = convert_checkpoint(given, tmp_path / "new", to="value-head", bias="drop", prove=False)
    moved = llama_factory_rewards(given) - llama_factory_rewards(tmp_path / "new")
    torch.testing.assert_close(moved, torch.full_like(moved, BIAS), atol=1e-5, rtol=0)
    assert done.shift == -BIAS


def test_the_value_heads_file_is_pickled_where_that_is_asked_for(
    sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    given = sources["llama", "sequence-classification"]
    convert_checkpoint(given, tmp_path / "new", to="value-head", value_head_format="bin", prove=False)
    assert not (tmp_path / "new" / "value_head.safetensors").exists()
    stored = torch.load(tmp_path / "new" / "value_head.bin", weights_only=True)
    assert {name: tuple(tensor.shape) for name, tensor in stored.items()} == {
        "v_head.summary.weight": (1, 32),
        "v_head.summary.bias": (1,),
    }


def test_a_value_head_without_a_language_model_head_ties_it_and_says_so(
    sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    given = sources["mistral", "sequence-classification"]
    done = convert_checkpoint(given, tmp_path / "tied", to="value-head", prove=False)
    assert config_of(tmp_path / "tied")["tie_word_embeddings"] is True
    assert any("ties it to the input embedding" in note for note in done.notes)
    base = sources["mistral", "value-head"]
    done = convert_checkpoint(
        given, tmp_path / "whole", to="value-head", language_head_from=str(base), prove=False
    )
    assert config_of(tmp_path / "whole")["tie_word_embeddings"] is False and not done.notes
    assert torch.equal(all_tensors(tmp_path / "whole")["lm_head.weight"], all_tensors(base)["lm_head.weight"])


def test_shards_hold_all_tensors_and_their_index_says_where(
    sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    given = sources["llama", "sequence-classification"]
    convert_checkpoint(given, tmp_path / "new", to="sequence-classification", max_shard_bytes=30_000)
    index = json.loads((tmp_path / "new" / "model.safetensors.index.json").read_text())
    shards = sorted((tmp_path / "new").glob("model-*.safetensors"))
    assert len(shards) > 2 and not (tmp_path / "new" / "model.safetensors").exists()
    for shard in shards:
        tensors = load_file(shard)
        assert all(index["weight_map"][name] == shard.name for name in tensors)
        assert len(tensors) == 1 or sum(t.numel() * t.itemsize for t in tensors.values()) <= 30_000
    assert index["metadata"]["total_size"] == sum(t.numel() * 4 for t in all_tensors(given).values())
    assert same_bytes(all_tensors(tmp_path / "new"), all_tensors(given))
    torch.testing.assert_close(transformers_rewards(tmp_path / "new"), transformers_rewards(given))


def test_a_cast_is_proven_up_to_the_rounding_that_it_is(
    sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    given = sources["llama", "sequence-classification"]
    done = convert_checkpoint(given, tmp_path / "new", to="sequence-classification", dtype=torch.bfloat16)
    assert done.proof is not None
    assert done.proof.largest_difference < 1e-5 < done.proof.rounding
    assert config_of(tmp_path / "new")["dtype"] == "bfloat16"
    expected = {name: tensor.to(torch.bfloat16) for name, tensor in all_tensors(given).items()}
    assert same_bytes(all_tensors(tmp_path / "new"), expected)


def test_sixteen_bits_are_proven_in_float32(sources: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    given = sources["gpt_neox", "sequence-classification"]
    convert_checkpoint(given, tmp_path / "half", to="openrlhf", dtype=torch.bfloat16)
    done = convert_checkpoint(tmp_path / "half", tmp_path / "new", to="value-head")
    assert done.proof is not None and done.proof.rounding == 0.0 and done.proof.largest_difference < 1e-5
    assert same_bytes(backbone(tmp_path / "new"), backbone(tmp_path / "half"))
    torch.testing.assert_close(
        llama_factory_rewards(tmp_path / "new"), openrlhf_rewards(tmp_path / "half"), atol=1e-5, rtol=0
    )


def test_mean_and_deviation_of_openrlhf_come_along_and_back(
    sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    convert_checkpoint(
        sources["llama", "openrlhf"], tmp_path / "new", to="sequence-classification", prove=False
    )
    record = json.loads((tmp_path / "new" / "plaudit.json").read_text())
    assert (record["reward_mean"], record["reward_std"]) == (0.25, 2.0)
    convert_checkpoint(tmp_path / "new", tmp_path / "back", to="openrlhf", prove=False)
    config = config_of(tmp_path / "back")
    assert (config["mean"], config["std"]) == (0.25, 2.0)


def test_weights_of_attributes_become_one_head(sources: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    given = tmp_path / "rated"
    shutil.copytree(sources["llama", "sequence-classification"], given)
    tensors = all_tensors(given)
    head = torch.randn((3, 32), generator=torch.Generator().manual_seed(3))
    save_file(tensors | {"score.weight": head}, given / "model.safetensors", metadata={"format": "pt"})
    config = config_of(given)
    names = ("helpful", "correct", "verbose")
    config |= {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    config["reward_weights"] = [0.5, 1.0, -0.25]
    (given / "config.json").write_text(json.dumps(config))
    done = convert_checkpoint(given, tmp_path / "new", to="openrlhf")
    assert done.proof is not None and done.proof.holds
    expected = 0.5 * head[0] + 1.0 * head[1] - 0.25 * head[2]
    torch.testing.assert_close(all_tensors(tmp_path / "new")["score.weight"][0], expected)


# What cannot be ----------------------------------------------------------------------------------------------


def test_wrong_rewards_fail_the_proof_and_leave_nothing(
    sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    # A source that changes while it is converted: what is written is no longer what it is.
    given = tmp_path / "source"
    shutil.copytree(sources["llama", "sequence-classification"], given)
    tensors = all_tensors(given)
    changed = tensors | {"score.weight": tensors["score.weight"] + 0.5}

    def while_writing(_num_bytes: int) -> None:
        save_file(changed, given / "new.safetensors", metadata={"format": "pt"})
        (given / "new.safetensors").replace(given / "model.safetensors")

    with pytest.raises(PlauditError, match="gives other rewards: they differ by up to"):
        convert_checkpoint(given, tmp_path / "new", to="openrlhf", on_bytes=while_writing)
    assert [entry.name for entry in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ({"to": "gguf"}, "--to: unknown value 'gguf'"),
        ({"to": "openrlhf", "bias": "keep"}, "the head of OpenRLHF's format has no bias"),
        ({"to": "openrlhf", "bias": "maybe"}, "--bias: unknown value"),
        ({"to": "value-head", "value_head_format": "pt"}, "--value-head-format: unknown value"),
        ({"to": "adapter"}, "has no adapter that could be taken out of it"),
        ({"to": "adapter", "merge_adapter": True}, "cannot be merged and stay an adapter"),
        ({"to": "openrlhf", "merge_adapter": True}, "there is no adapter to merge"),
    ],
)
def test_choices_that_cannot_be_are_errors(
    choice: dict[str, Any], said: str, sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    with pytest.raises(PlauditError, match=re.escape(said)):
        convert_checkpoint(sources["llama", "value-head"], tmp_path / "new", **choice)
    assert not list(tmp_path.iterdir())


def test_a_model_without_a_head_is_an_error(tmp_path: Path) -> None:
    base = write_base("llama", tmp_path / "base")
    with pytest.raises(PlauditError, match="no reward head"):
        convert_checkpoint(base, tmp_path / "new", to="openrlhf")


def test_a_folder_with_something_in_it_is_left_alone(
    sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "note.txt").write_text("mine")
    with pytest.raises(PlauditError, match="is there already"):
        convert_checkpoint(sources["llama", "value-head"], tmp_path / "new", to="openrlhf")
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["note.txt"]


# What was wrong once ------------------------------------------------------------------------------------------


def with_tensors(given: Path, folder: Path, tensors: dict[str, torch.Tensor], **config: Any) -> Path:
    """A copy with other tensors and settings."""
    shutil.copytree(given, folder)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config_of(given) | config))
    return folder


def test_code_of_the_folder_never_runs_whatever_is_answered(
    sources: dict[tuple[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tmp_path / "given"
    shutil.copytree(sources["llama", "sequence-classification"], given)
    mark = tmp_path / "ran"
    (given / "evil.py").write_text(
        f"open({str(mark)!r}, 'w').close()\nfrom transformers import LlamaConfig\n"
        "class EvilConfig(LlamaConfig):\n    model_type = 'evil'\n"
    )
    auto_map = {"AutoConfig": "evil.EvilConfig"}
    (given / "config.json").write_text(
        json.dumps(config_of(given) | {"model_type": "evil", "auto_map": auto_map})
    )
    for name in ("tokenizer_config.json",):  # a tokenizer needs no code of the folder
        assert "auto_map" not in json.loads((given / name).read_text())
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(PlauditError, match="evil"):
        convert_checkpoint(given, tmp_path / "new", to="openrlhf", prove=False)
    assert not mark.exists() and not (tmp_path / "new").exists()


@pytest.mark.parametrize("prove", [True, False])
def test_the_shift_of_a_cast_is_the_bias_before_the_cast(
    prove: bool, sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    given = tmp_path / "given"
    shutil.copytree(sources["llama", "value-head"], given)
    head = load_file(given / "value_head.safetensors")
    head["v_head.summary.bias"] = torch.tensor([100.3])  # 100.5 in bfloat16
    save_file(head, given / "value_head.safetensors", metadata={"format": "pt"})
    done = convert_checkpoint(
        given, tmp_path / "new", to="sequence-classification", dtype=torch.bfloat16, prove=prove
    )
    assert done.shift == pytest.approx(-100.3, abs=1e-5)
    assert any("+100.3" in note for note in done.notes)
    moved = transformers_rewards(tmp_path / "new") - llama_factory_rewards(given)
    assert float((moved + 100.3).abs().max()) < 0.15  # the cast of the backbone
    if done.proof is not None:
        assert done.proof.rounding < 0.15  # not the bias's own 0.2
        assert done.proof.tolerance < 1e-4  # of rewards near 1, not near 100


def test_a_kept_bias_is_cast_with_the_weights(sources: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    given = tmp_path / "given"
    shutil.copytree(sources["llama", "value-head"], given)
    head = load_file(given / "value_head.safetensors")
    head["v_head.summary.bias"] = torch.tensor([100.3])
    save_file(head, given / "value_head.safetensors", metadata={"format": "pt"})
    done = convert_checkpoint(given, tmp_path / "new", to="value-head", dtype=torch.bfloat16)
    assert done.shift == 0.0 and done.proof is not None and done.proof.holds
    written = load_file(tmp_path / "new" / "value_head.safetensors")["v_head.summary.bias"]
    assert written.dtype == torch.bfloat16 and written.tolist() == [100.5]


@pytest.mark.parametrize("case", ["layer", "narrow embedding", "wide head"])
def test_an_incomplete_or_misfit_source_is_an_error_without_a_proof_too(
    case: str, sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    source = sources["llama", "sequence-classification"]
    tensors = all_tensors(source)
    if case == "layer":
        tensors = {name: t for name, t in tensors.items() if not name.startswith("model.layers.1.mlp.")}
        said = "3 tensors of the model are not in its files: model.layers.1.mlp"
    elif case == "narrow embedding":
        tensors["model.norm.weight"] = torch.ones(24)
        said = "model.norm.weight has the shape [24], by the config [32]"
    else:
        tensors["score.weight"] = torch.ones(1, 40)
        said = "the head reads 40 numbers, and the model's hidden size is 32"
    given = with_tensors(source, tmp_path / "given", tensors)
    with pytest.raises(PlauditError, match=re.escape(said)):
        convert_checkpoint(given, tmp_path / "new", to="value-head", prove=False)
    assert not (tmp_path / "new").exists()


def test_a_named_head_of_an_encoder_that_its_class_lacks_is_an_error(tmp_path: Path) -> None:
    build_model("bert").save_pretrained(tmp_path / "bert")
    tensors = all_tensors(tmp_path / "bert") | {"rm.weight": torch.ones(1, 48)}
    given = with_tensors(tmp_path / "bert", tmp_path / "given", tensors)
    with pytest.raises(PlauditError, match=re.escape("has no place for rm.weight")):
        convert_checkpoint(given, tmp_path / "new", to="sequence-classification", head_key="rm", prove=False)
    done = convert_checkpoint(tmp_path / "bert", tmp_path / "new", to="sequence-classification")
    assert done.proof is not None and done.proof.holds


@pytest.mark.parametrize("family", ["qwen3_moe", "deberta-v2", "modernbert"])
def test_classes_whose_tensors_transformers_renames_or_fuses_are_complete(
    family: str, tmp_path: Path
) -> None:
    build_model(family).save_pretrained(tmp_path / "given")
    done = convert_checkpoint(tmp_path / "given", tmp_path / "new", to="sequence-classification")
    assert done.proof is not None and done.proof.holds
    lost = {name: t for name, t in all_tensors(tmp_path / "given").items() if ".1." not in name}
    given = with_tensors(tmp_path / "given", tmp_path / "half", lost)
    with pytest.raises(PlauditError, match="are not in its files"):
        convert_checkpoint(given, tmp_path / "other", to="sequence-classification", prove=False)


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_attributes_of_a_model_in_sixteen_bits_are_added_up_in_float32(
    dtype: torch.dtype | None, sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    source = sources["llama", "sequence-classification"]
    stored = torch.float32 if dtype is not None else torch.bfloat16
    tensors = {name: tensor.to(stored) for name, tensor in all_tensors(source).items()}
    head = torch.randn((3, 32), generator=torch.Generator().manual_seed(3)).to(stored)
    given = with_tensors(
        source,
        tmp_path / "given",
        tensors | {"score.weight": head},
        id2label={"0": "a", "1": "b", "2": "c"},
        label2id={"a": 0, "b": 1, "c": 2},
        reward_weights=[0.3, 0.7, -0.21],
        dtype=str(stored).removeprefix("torch."),
    )
    done = convert_checkpoint(given, tmp_path / "new", to="openrlhf", dtype=dtype)
    assert done.proof is not None and done.proof.holds
    written = all_tensors(tmp_path / "new")["score.weight"]
    expected = (torch.tensor([0.3, 0.7, -0.21], dtype=torch.float64) @ head.double()).float()
    assert written.dtype == torch.float32 and torch.equal(written[0], expected)


def test_mean_and_deviation_of_openrlhf_fill_a_record_that_lacks_them(
    sources: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    given = tmp_path / "given"
    shutil.copytree(sources["llama", "openrlhf"], given)
    convert_checkpoint(given, tmp_path / "first", to="sequence-classification", prove=False)
    record = json.loads((tmp_path / "first" / "plaudit.json").read_text())
    record |= {"reward_mean": None, "reward_std": None, "max_length": 77}
    (given / "plaudit.json").write_text(json.dumps(record))
    convert_checkpoint(given, tmp_path / "new", to="sequence-classification", prove=False)
    written = json.loads((tmp_path / "new" / "plaudit.json").read_text())
    assert (written["reward_mean"], written["reward_std"], written["max_length"]) == (0.25, 2.0, 77)
