"""Conversions of adapters: re-keyed between a value head beside them and a score head in them, and merged by layer."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification, LoHaConfig, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from plaudit.errors import PlauditError
from plaudit.model.convert import convert_checkpoint
from stand_ins.conversions import (
    BIAS,
    FAMILIES,
    ROWS,
    all_tensors,
    head_of_base,
    llama_factory_rewards,
    openrlhf_rewards,
    transformers_rewards,
    write_base,
    write_one_file,
)
from stand_ins.models import build_model
from stand_ins.tokenizers import CHATML_TEMPLATE, build_tokenizer

# peft reads a property that transformers 5.23 renames.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers` to `True`:UserWarning"),
]

CONFIGS: dict[str, Any] = {
    "plain": lambda targets: LoraConfig(r=4, lora_alpha=8, target_modules=targets),
    "dora": lambda targets: LoraConfig(r=4, target_modules=targets, use_dora=True),
    "rslora with patterns": lambda targets: LoraConfig(
        r=4,
        target_modules=targets,
        use_rslora=True,
        rank_pattern={targets[0]: 2},
        alpha_pattern={targets[1]: 3},
    ),
    "one layer": lambda targets: LoraConfig(r=4, target_modules=targets, layers_to_transform=[1]),
    "loha": lambda targets: LoHaConfig(r=4, target_modules=targets),
    "pissa": lambda targets: LoraConfig(r=4, target_modules=targets, init_lora_weights="pissa"),
}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bases")
    return {family: write_base(family, folder / family) for family in FAMILIES}


def targets_of(family: str) -> list[str]:
    if family == "gpt_neox":
        return ["query_key_value", "dense_4h_to_h"]
    return ["q_proj", "down_proj"]


def write_value_head_adapter(base: Path, folder: Path, config: Any) -> Path:
    """LLaMA-Factory with LoRA: peft's folder over a causal model, the value head in a file beside it."""
    config.task_type = "CAUSAL_LM"
    torch.manual_seed(5)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and "magnitude" not in name:
                parameter.normal_(0.0, 0.2)
    model.save_pretrained(str(folder))
    weight, bias = head_of_base(base)
    save_file(
        {"v_head.summary.weight": weight, "v_head.summary.bias": bias}, folder / "value_head.safetensors"
    )
    return folder


def adapter_rewards(folder: Path, base: Path) -> Tensor:
    """By plain peft over a causal model, and TRL's value head."""
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder)).eval()
    head = load_file(folder / "value_head.safetensors")
    with torch.no_grad():
        hidden = [
            model(torch.tensor([row]), output_hidden_states=True).hidden_states[-1][0, -1] for row in ROWS
        ]
    rewards = nn.functional.linear(
        torch.stack(hidden), head["v_head.summary.weight"], head["v_head.summary.bias"]
    )
    return rewards[:, 0]


def peft_rewards(folder: Path) -> Tensor:
    """By plain peft, sequence classification."""
    model = AutoPeftModelForSequenceClassification.from_pretrained(str(folder), num_labels=1).eval()
    model.base_model.model.config.pad_token_id = 7
    with torch.no_grad():
        return torch.stack([model(torch.tensor([row])).logits[0, 0] for row in ROWS])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_value_head_adapter_becomes_one_of_peft_and_comes_back(
    family: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    base = bases[family]
    given = write_value_head_adapter(base, tmp_path / "given", CONFIGS["plain"](targets_of(family)))
    before = adapter_rewards(given, base)
    done = convert_checkpoint(given, tmp_path / "score", to="adapter")
    assert done.shift == -BIAS and done.proof is not None and done.proof.holds
    after = peft_rewards(tmp_path / "score")
    torch.testing.assert_close(after, before - BIAS, atol=1e-5, rtol=0)
    back = convert_checkpoint(tmp_path / "score", tmp_path / "back", to="value-head")
    assert back.shift == 0.0
    torch.testing.assert_close(adapter_rewards(tmp_path / "back", base), before - BIAS, atol=1e-5, rtol=0)
    first, last = (load_file(folder / "adapter_model.safetensors") for folder in (given, tmp_path / "back"))
    assert first.keys() == last.keys() and all(torch.equal(first[name], last[name]) for name in first)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_merged_adapter_gives_the_rewards_of_the_unmerged(
    name: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    base = bases["llama"]
    given = write_value_head_adapter(base, tmp_path / "given", CONFIGS[name](targets_of("llama")))
    if name == "pissa":  # its base changes when it is set up, so it is saved as peft reads it back
        config = json.loads((given / "adapter_config.json").read_text())
        assert config["init_lora_weights"] == "pissa"
    before = adapter_rewards(given, base)
    done = convert_checkpoint(given, tmp_path / "new", to="sequence-classification", merge_adapter=True)
    assert done.proof is not None and done.proof.holds
    torch.testing.assert_close(transformers_rewards(tmp_path / "new"), before - BIAS, atol=1e-5, rtol=0)
    assert not (tmp_path / "new" / ".merged").exists()


@pytest.mark.parametrize("family", FAMILIES)
def test_tensors_without_an_adapter_keep_their_bytes(
    family: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    given = write_value_head_adapter(bases[family], tmp_path / "given", CONFIGS["plain"](targets_of(family)))
    before = adapter_rewards(given, bases[family])
    convert_checkpoint(given, tmp_path / "new", to="value-head", merge_adapter=True, prove=False)
    torch.testing.assert_close(llama_factory_rewards(tmp_path / "new"), before, atol=1e-5, rtol=0)
    old, new = all_tensors(bases[family]), all_tensors(tmp_path / "new")
    assert old.keys() == new.keys()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    assert changed == {
        name for name in old if name.endswith(tuple(f"{t}.weight" for t in targets_of(family)))
    }


def test_a_merge_into_sixteen_bits_is_proven_up_to_its_rounding(tmp_path: Path) -> None:
    base = write_base("llama", tmp_path / "base", dtype=torch.bfloat16)
    given = write_value_head_adapter(base, tmp_path / "given", CONFIGS["plain"](targets_of("llama")))
    done = convert_checkpoint(given, tmp_path / "new", to="openrlhf", merge_adapter=True)
    assert done.proof is not None
    assert done.proof.largest_difference < 1e-5 < done.proof.rounding
    name = "model.layers.0.self_attn.q_proj.weight"
    adapter = load_file(given / "adapter_model.safetensors")
    a, b = (adapter[f"base_model.model.{name.replace('weight', f'lora_{x}.weight')}"] for x in "AB")
    expected = (load_file(base / "model.safetensors")[name].float() + 2.0 * b @ a).to(torch.bfloat16)
    assert torch.equal(all_tensors(tmp_path / "new")[name], expected)  # r = 4, alpha = 8: scaled by 2
    assert openrlhf_rewards(tmp_path / "new").isfinite().all()


def test_a_module_that_was_trained_whole_takes_the_bases_place(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    config = LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=["embed_tokens"])
    given = write_value_head_adapter(bases["llama"], tmp_path / "given", config)
    before = adapter_rewards(given, bases["llama"])
    convert_checkpoint(given, tmp_path / "new", to="sequence-classification", merge_adapter=True)
    torch.testing.assert_close(transformers_rewards(tmp_path / "new"), before - BIAS, atol=1e-5, rtol=0)


def test_an_adapter_on_the_language_model_head_is_left_out_with_a_note(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    config = LoraConfig(r=4, target_modules=["q_proj", "lm_head"])
    given = write_value_head_adapter(bases["llama"], tmp_path / "given", config)
    before = adapter_rewards(given, bases["llama"])
    done = convert_checkpoint(given, tmp_path / "new", to="adapter")
    assert any("language-model head were left out" in note for note in done.notes)
    assert json.loads((tmp_path / "new" / "adapter_config.json").read_text())["target_modules"] == ["q_proj"]
    torch.testing.assert_close(peft_rewards(tmp_path / "new"), before - BIAS, atol=1e-5, rtol=0)


def test_an_adapter_has_to_be_merged_for_a_whole_model(bases: dict[str, Path], tmp_path: Path) -> None:
    given = write_value_head_adapter(
        bases["llama"], tmp_path / "given", CONFIGS["plain"](["q_proj", "k_proj"])
    )
    for to in ("sequence-classification", "openrlhf"):
        with pytest.raises(PlauditError, match=re.escape("--merge-adapter")):
            convert_checkpoint(given, tmp_path / "new", to=to)
    base = tmp_path / "moved"
    shutil.copytree(bases["llama"], base)
    config = json.loads((given / "adapter_config.json").read_text())
    (given / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": "../gone"}))
    with pytest.raises(PlauditError, match="neither a local folder"):
        convert_checkpoint(given, tmp_path / "new", to="openrlhf", merge_adapter=True)
    assert not (tmp_path / "new").exists()


def write_resized_adapter(base: Path, folder: Path, *, num_rows: int, config: Any) -> Path:
    """peft over a causal model whose vocabulary was resized first: embedding and language-model head saved whole."""
    config.task_type = "CAUSAL_LM"
    model = AutoModelForCausalLM.from_pretrained(base)
    torch.manual_seed(6)
    model.resize_token_embeddings(num_rows, mean_resizing=False)
    model = get_peft_model(model, config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(0.0, 0.2)
    model.save_pretrained(str(folder))
    weight, bias = head_of_base(base)
    save_file(
        {"v_head.summary.weight": weight, "v_head.summary.bias": bias}, folder / "value_head.safetensors"
    )
    return folder


@pytest.mark.parametrize("saved", [["embed_tokens", "lm_head"], ["embed_tokens"]])
@pytest.mark.parametrize("way", ["by layer", "in memory"])
def test_a_merged_model_of_a_resized_vocabulary_has_a_language_head_as_tall_as_its_embedding(
    saved: list[str], way: str, bases: dict[str, Path], tmp_path: Path
) -> None:
    rows = len(all_tensors(bases["llama"])["lm_head.weight"]) + 3
    patterns = {} if way == "by layer" else {"init_lora_weights": "pissa"}
    config = LoraConfig(r=4, target_modules=["q_proj"], modules_to_save=saved, **patterns)
    given = write_resized_adapter(bases["llama"], tmp_path / "given", num_rows=rows, config=config)
    if "lm_head" not in saved:  # peft saves it beside a resized embedding in any case, other tools do not
        tensors = load_file(given / "adapter_model.safetensors")
        del tensors["base_model.model.lm_head.weight"]
        save_file(tensors, given / "adapter_model.safetensors", metadata={"format": "pt"})
    convert_checkpoint(given, tmp_path / "new", to="value-head", merge_adapter=True, prove=False)
    assert llama_factory_rewards(tmp_path / "new").isfinite().all()  # loads without a missing key
    head = all_tensors(tmp_path / "new")["lm_head.weight"]
    if "lm_head" in saved:
        trained = load_file(given / "adapter_model.safetensors")["base_model.model.lm_head.weight"]
        assert torch.equal(head, trained)
    else:
        assert torch.equal(head[:-3], all_tensors(bases["llama"])["lm_head.weight"]) and not head[-3:].any()


def test_a_merge_in_memory_says_the_dtype_that_was_written(tmp_path: Path) -> None:
    base = write_base("llama", tmp_path / "base", dtype=torch.bfloat16)
    given = write_value_head_adapter(base, tmp_path / "given", CONFIGS["pissa"](targets_of("llama")))
    convert_checkpoint(given, tmp_path / "new", to="sequence-classification", merge_adapter=True, prove=False)
    tensors = all_tensors(tmp_path / "new")
    assert {tensor.dtype for name, tensor in tensors.items() if name != "score.weight"} == {torch.bfloat16}
    assert json.loads((tmp_path / "new" / "config.json").read_text())["dtype"] == "bfloat16"
    assert torch.equal(tensors["score.weight"], head_of_base(base)[0])  # float32, as the adapter has it


def test_a_merge_in_memory_finds_the_language_head_of_one_state_dict(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    given = write_value_head_adapter(
        bases["llama"], tmp_path / "given", CONFIGS["pissa"](targets_of("llama"))
    )
    one_file = write_one_file(bases["llama"], tmp_path / "one")
    config = json.loads((given / "adapter_config.json").read_text())
    (given / "adapter_config.json").write_text(
        json.dumps(config | {"base_model_name_or_path": str(one_file)})
    )
    convert_checkpoint(given, tmp_path / "new", to="value-head", merge_adapter=True, prove=False)
    assert torch.equal(
        all_tensors(tmp_path / "new")["lm_head.weight"], all_tensors(bases["llama"])["lm_head.weight"]
    )


@pytest.mark.parametrize("to", ["adapter", "value-head"])
@pytest.mark.parametrize("merge", [False, True])
def test_an_adapter_of_an_encoder_is_refused_where_the_format_cannot_say_its_head(
    to: str, merge: bool, tmp_path: Path
) -> None:
    build_model("bert").save_pretrained(tmp_path / "base")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "base")
    adapted = get_peft_model(base, LoraConfig(r=2, target_modules=["query"], task_type="SEQ_CLS"))
    adapted.save_pretrained(str(tmp_path / "given"))
    with pytest.raises(PlauditError, match=r"pools in a way of its own|cannot be merged and stay"):
        convert_checkpoint(tmp_path / "given", tmp_path / "new", to=to, merge_adapter=merge, prove=False)
    assert not (tmp_path / "new").exists()


def test_a_pad_token_that_was_added_is_within_the_vocabulary_of_an_adapters_config(
    bases: dict[str, Path], tmp_path: Path
) -> None:
    tokenizer = build_tokenizer(chat_template=CHATML_TEMPLATE, pad="</s>")
    rows = len(tokenizer)
    model = AutoModelForCausalLM.from_pretrained(bases["llama"])
    model.resize_token_embeddings(rows, mean_resizing=False)
    model.save_pretrained(tmp_path / "base")
    given = write_value_head_adapter(
        tmp_path / "base", tmp_path / "given", CONFIGS["plain"](targets_of("llama"))
    )
    tokenizer.save_pretrained(given)
    done = convert_checkpoint(given, tmp_path / "new", to="adapter")
    config = json.loads((tmp_path / "new" / "config.json").read_text())
    assert config["pad_token_id"] == rows and config["vocab_size"] == rows + 1
    assert any("no row in the base" in note for note in done.notes)
