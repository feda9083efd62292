"""Adapters: the head is trained and saved under any config, and no reward moves by saving, loading or merging."""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import (
    AutoPeftModelForSequenceClassification,
    IA3Config,
    LoraConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    get_peft_model,
)
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from plaudit.errors import PlauditError
from plaudit.model import (
    RewardModel,
    add_adapter,
    load_reward_model,
    merge_adapter,
    prepare_reward_model,
    reward_model_of,
    save_reward_model,
)
from plaudit.model.adapter_config import linear_layer_names
from plaudit.model.head import head_of
from plaudit.model.inference import rewards_of_sequences
from plaudit.tokens.loading import ensure_pad_token
from plaudit.training import RewardConfig
from plaudit.training.starting_point import lora_config
from plaudit.tree.batch import build_tree_batch
from stand_ins.adapters import SEQUENCES, rewards_of, train, trainable
from stand_ins.folders import write_causal_model, write_reward_model
from stand_ins.models import build_model
from stand_ins.tokenizers import build_tokenizer

# peft reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

LLAMA_LAYERS = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}

# What TRL 1.16 does with each: a frozen, unsaved head; a crash; an adapter in place of a trained head; nothing saved.
CONFIGS: dict[str, LoraConfig] = {
    "bare": LoraConfig(r=4),
    "causal": LoraConfig(r=4, task_type="CAUSAL_LM"),
    "sequence to sequence": LoraConfig(r=4, task_type="SEQ_2_SEQ_LM"),
    "tokens": LoraConfig(r=4, task_type="TOKEN_CLS"),
    "feature extraction": LoraConfig(r=4, task_type="FEATURE_EXTRACTION"),
    "all-linear": LoraConfig(r=4, target_modules="all-linear"),
    "lm_head saved": LoraConfig(r=4, modules_to_save=["lm_head"]),
    "score targeted": LoraConfig(r=4, target_modules=["q_proj", "v_proj", "score"]),
    "score by regex": LoraConfig(r=4, target_modules=r".*(_proj|score)"),
    "inference mode": LoraConfig(r=4, task_type="SEQ_CLS", inference_mode=True),
    "dora": LoraConfig(r=4, use_dora=True),
    "rslora": LoraConfig(r=4, use_rslora=True),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_causal_model(tmp_path_factory.mktemp("models") / "base")


def fresh(base: Path, **kwargs: Any) -> RewardModel:
    return load_reward_model(base, allow_fresh_head=True, seed=3, **kwargs).model


@pytest.mark.parametrize("name", CONFIGS)
def test_the_head_is_trained_and_no_reward_moves(name: str, base: Path, tmp_path: Path) -> None:
    config = CONFIGS[name]
    as_given = config.to_dict()
    model = add_adapter(fresh(base), config)
    assert config.to_dict() == as_given
    before = trainable(model)
    untrained = rewards_of(model)
    train(model)
    after = dict(model.named_parameters())
    assert [key for key in before if "score" in key] == [
        "base_model.model.score.modules_to_save.default.weight"
    ]
    assert any("lora_A" in key for key in before)
    assert all(not torch.equal(before[key], after[key]) for key in before)

    rewards = rewards_of(model)
    assert (rewards - untrained).abs().max() > 1e-3
    save_reward_model(model, tmp_path / "adapter")
    loaded = load_reward_model(tmp_path / "adapter")
    assert not loaded.has_fresh_head and "base_model.model.score.weight" in loaded.origin
    torch.testing.assert_close(rewards_of(loaded.model), rewards, atol=1e-5, rtol=0)

    save_reward_model(model, tmp_path / "merged", merge=True)
    assert not (tmp_path / "merged" / "adapter_config.json").exists()
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path / "merged")
    by_row = torch.stack([plain(input_ids=torch.tensor([row])).logits[0, 0] for row in SEQUENCES])
    torch.testing.assert_close(by_row.detach(), rewards, atol=1e-5, rtol=0)
    torch.testing.assert_close(rewards_of(model), rewards, atol=0, rtol=0)  # merging changed the copy alone


def test_plain_peft_loads_the_folder_with_the_same_rewards(base: Path, tmp_path: Path) -> None:
    model = add_adapter(fresh(base), LoraConfig(r=4, lora_dropout=0.2))
    train(model)
    save_reward_model(model, tmp_path / "adapter", tokenizer=AutoTokenizer.from_pretrained(base))
    plain = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapter", num_labels=1)
    plain.eval()
    by_row = torch.stack([plain(input_ids=torch.tensor([row])).logits[0, 0] for row in SEQUENCES])
    torch.testing.assert_close(by_row.detach(), rewards_of(model), atol=1e-5, rtol=0)
    keys = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert not any("default" in key or "original_module" in key for key in keys)
    assert "base_model.model.score.weight" in keys
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert config["task_type"] == "SEQ_CLS" and config["base_model_name_or_path"] == str(base)
    assert config["modules_to_save"] == ["score"] and set(config["target_modules"]) == LLAMA_LAYERS


def test_a_checkpoint_loads_into_the_model_it_came_from(base: Path, tmp_path: Path) -> None:
    # What Trainer does to resume.
    model = add_adapter(fresh(base), LoraConfig(r=4))
    train(model)
    rewards = rewards_of(model)
    save_reward_model(model, tmp_path / "checkpoint-2")
    train(model)
    assert not torch.allclose(rewards_of(model), rewards, atol=1e-3)
    model.load_adapter(str(tmp_path / "checkpoint-2"), "default", is_trainable=True)
    torch.testing.assert_close(rewards_of(model.eval()), rewards, atol=1e-6, rtol=0)


@pytest.mark.parametrize("config", [LoraConfig(r=4, lora_dropout=0.3), LoraConfig(r=4, use_dora=True)])
def test_training_goes_on_from_a_folder(config: LoraConfig, base: Path, tmp_path: Path) -> None:
    model = add_adapter(fresh(base), config)
    train(model)
    save_reward_model(model, tmp_path / "adapter")
    loaded = load_reward_model(tmp_path / "adapter", for_training=True)
    again = loaded.peft_model
    assert trainable(again).keys() == trainable(model).keys()
    assert reward_model_of(again) is loaded.model
    frozen = load_reward_model(tmp_path / "adapter").peft_model
    assert not trainable(frozen)
    train(again)
    rewards = rewards_of(again)
    save_reward_model(again, tmp_path / "adapter")
    torch.testing.assert_close(
        rewards_of(load_reward_model(tmp_path / "adapter").model), rewards, atol=1e-5, rtol=0
    )
    save_reward_model(
        load_reward_model(tmp_path / "adapter").model, tmp_path / "copy"
    )  # without the PeftModel
    torch.testing.assert_close(
        rewards_of(load_reward_model(tmp_path / "copy").model), rewards, atol=1e-5, rtol=0
    )


def test_an_untrained_adapter_changes_nothing_and_keeps_the_head_as_drawn(base: Path) -> None:
    model = fresh(base)
    head, rewards = model.score.weight.detach().clone(), rewards_of(model)
    peft_model = add_adapter(model, LoraConfig(r=4))
    assert torch.equal(head_of(model).weight, head)
    assert float(head.std()) == pytest.approx(1 / math.sqrt(33), rel=0.5)
    assert torch.equal(rewards_of(peft_model), rewards)
    tree = build_tree_batch(SEQUENCES)
    assert torch.equal(peft_model(tree=tree).logits, model(tree=tree).logits)


def test_dropout_of_the_adapter_is_on_in_training_and_off_in_evaluation(base: Path, tmp_path: Path) -> None:
    def rates(model: torch.nn.Module) -> set[float]:
        return {m.p for name, m in model.named_modules() if "lora_dropout" in name and hasattr(m, "p")}

    model = add_adapter(fresh(base), LoraConfig(r=4, lora_dropout=0.5))
    assert rates(model) == {0.5}
    train(model)
    tree = build_tree_batch(SEQUENCES)
    assert torch.equal(model(tree=tree).logits, model(tree=tree).logits)
    model.train()
    assert not torch.equal(model(tree=tree).logits, model(tree=tree).logits)
    save_reward_model(model, tmp_path / "adapter")
    assert rates(load_reward_model(tmp_path / "adapter", for_training=True).peft_model) == {0.5}
    # An object that the user wrapped is made ready too.
    own = get_peft_model(
        build_model("llama", attention_dropout=0.1), LoraConfig(task_type="SEQ_CLS", lora_dropout=0.5)
    )
    inner = prepare_reward_model(own, None)
    assert rates(own) == {0.5} and reward_model_of(own) is inner
    assert inner.model.layers[0].self_attn.attention_dropout == 0.0


@pytest.mark.parametrize("attention", ["sdpa", "padded"])
def test_gradients_are_those_of_one_row_at_a_time(attention: str, base: Path) -> None:
    model = add_adapter(fresh(base, attention=attention), LoraConfig(r=4))
    assert reward_model_of(model).attention_backend == attention
    train(model)  # lora_B starts at 0
    model(tree=build_tree_batch(SEQUENCES)).logits.sum().backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    for row in SEQUENCES:
        model(input_ids=torch.tensor([row])).logits.sum().backward()
    for name, gradient in ours.items():
        expected = dict(model.named_parameters())[name].grad
        torch.testing.assert_close(gradient, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("is_reentrant", [None, True, False])
def test_gradients_reach_the_adapter_under_gradient_checkpointing(
    is_reentrant: bool | None, base: Path
) -> None:
    gradients = []
    for is_checkpointing in (False, True):
        torch.manual_seed(0)
        model = add_adapter(fresh(base), LoraConfig(r=4))
        if is_checkpointing:
            kwargs = None if is_reentrant is None else {"use_reentrant": is_reentrant}
            model.activation_checkpointing_enable(activation_checkpointing_kwargs=kwargs)
        model.train()
        model(tree=build_tree_batch(SEQUENCES)).logits.sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-5)
        assert "lora_A" in name or gradient.abs().max() > 0


def test_training_under_autocast_keeps_adapter_and_head_in_float32(base: Path) -> None:
    model = add_adapter(fresh(base), LoraConfig(r=4))
    before = trainable(model)
    train(model, autocast=True)
    after = trainable(model)
    assert all(after[name].dtype == torch.float32 for name in after)
    assert all(not torch.equal(before[name], after[name]) for name in after)


def test_on_a_bfloat16_base_the_head_is_float32_and_comes_back_so(base: Path, tmp_path: Path) -> None:
    model = add_adapter(fresh(base, dtype=torch.bfloat16), LoraConfig(r=4))
    train(model)
    head = head_of(reward_model_of(model)).weight
    assert head.dtype == torch.float32 and not torch.equal(head, head.bfloat16().float())
    many = [[5 + i % 7, 6 + i, 7, 8 + i % 5] for i in range(40)]
    rewards = torch.from_numpy(rewards_of_sequences(reward_model_of(model), many).rewards)
    assert (rewards != rewards.bfloat16().float()).float().mean() > 0.9
    assert model(input_ids=torch.tensor([SEQUENCES[0]])).logits.dtype == torch.float32  # the class's own call
    save_reward_model(model, tmp_path / "adapter")
    loaded = load_reward_model(tmp_path / "adapter").model
    assert loaded.dtype == torch.bfloat16 and torch.equal(head_of(loaded).weight, head)
    torch.testing.assert_close(rewards_of(loaded), rewards_of(model), atol=1e-5, rtol=0)


def test_a_bfloat16_head_inside_pefts_wrapper_computes_in_float32() -> None:
    model = prepare_reward_model(build_model("llama").bfloat16(), None)
    drawn = model.score.weight
    own = get_peft_model(model, LoraConfig(task_type="SEQ_CLS"))
    own.base_model.model.score.modules_to_save["default"].weight.data.mul_(2)
    many = [[5 + i % 7, 6 + i, 7, 8 + i % 5] for i in range(40)]
    rewards = torch.from_numpy(rewards_of_sequences(model, many).rewards)
    assert (rewards != rewards.bfloat16().float()).float().mean() > 0.9
    with own.disable_adapter():
        assert head_of(model).weight is drawn
        base_rewards = rewards_of_sequences(model, many).rewards
    torch.testing.assert_close(rewards, 2 * torch.from_numpy(base_rewards))


def test_a_base_trained_in_float32_is_loaded_in_float32(base: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    fresh(base, dtype=torch.bfloat16).save_pretrained(half)
    model = add_adapter(load_reward_model(half, dtype="float32").model, LoraConfig(r=4))
    train(model)
    save_reward_model(model, tmp_path / "adapter")
    loaded = load_reward_model(tmp_path / "adapter").model
    assert loaded.dtype == torch.float32
    torch.testing.assert_close(rewards_of(loaded), rewards_of(model), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("family", "expected"),
    [
        ("llama", LLAMA_LAYERS),
        ("qwen2", LLAMA_LAYERS),
        ("gemma2", LLAMA_LAYERS),
        ("gpt_neox", {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}),
        ("phi3", {"qkv_proj", "o_proj", "gate_up_proj", "down_proj"}),
        ("bloom", {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"}),
        ("bert", {"query", "key", "value", "dense"}),
        ("modernbert", None),
        ("deberta-v2", None),
    ],
)
def test_default_targets_are_the_backbones_linear_layers(family: str, expected: set[str] | None) -> None:
    model = prepare_reward_model(build_model(family), None)
    linear = set(linear_layer_names(model))
    peft_model = add_adapter(model, LoraConfig(r=2, target_modules="all-linear"))
    wrapped = {name for name, module in model.named_modules() if hasattr(module, "lora_A")}
    assert wrapped == linear and all(name.startswith(model.base_model_prefix) for name in wrapped)
    if expected is not None:
        assert peft_model.peft_config["default"].target_modules == expected
    train(peft_model, num_steps=1)
    torch.testing.assert_close(
        rewards_of(merge_adapter(peft_model)), rewards_of(peft_model), atol=1e-5, rtol=0
    )


def test_what_was_changed_is_said(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="plaudit")
    add_adapter(
        fresh(base),
        LoraConfig(
            task_type="CAUSAL_LM",
            target_modules=["q_proj", "score", "query"],
            modules_to_save=["lm_head", "embed_tokens"],
        ),
    )
    said = [(r.levelname, r.getMessage()) for r in caplog.records if r.getMessage().startswith("adapter:")]
    assert said == [
        ("INFO", "adapter: the task type is SEQ_CLS; the config says CAUSAL_LM"),
        ("WARNING", "adapter: modules_to_save names lm_head, which the model does not have; left out"),
        ("INFO", "adapter: no adapter on score; the head is trained in full"),
        ("WARNING", "adapter: the model has no layer named query"),
    ]


@pytest.mark.parametrize("targets", [["query_key_value"], ["score"], r".*\.query"])
def test_targets_that_match_nothing_name_the_layers_there_are(targets: Any, base: Path) -> None:
    with pytest.raises(PlauditError, match=r"down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"):
        add_adapter(fresh(base), LoraConfig(target_modules=targets))


@pytest.mark.parametrize(
    "config",
    [
        PromptTuningConfig(num_virtual_tokens=4),
        PrefixTuningConfig(num_virtual_tokens=4),
        PromptEncoderConfig(num_virtual_tokens=4),
    ],
)
def test_virtual_tokens_are_refused_with_the_reason(config: Any, base: Path) -> None:
    with pytest.raises(PlauditError, match="virtual tokens"):
        add_adapter(fresh(base), config)


def test_an_adapter_on_an_adapter_is_refused(base: Path) -> None:
    model = add_adapter(fresh(base), LoraConfig())
    for wrapped in (model, reward_model_of(model)):
        with pytest.raises(PlauditError, match="adapter already"):
            add_adapter(wrapped, LoraConfig())


def test_ia3_trains_the_head_too(base: Path, tmp_path: Path) -> None:
    model = add_adapter(fresh(base), IA3Config())
    train(model)
    rewards = rewards_of(model)
    save_reward_model(model, tmp_path / "adapter")
    torch.testing.assert_close(
        rewards_of(load_reward_model(tmp_path / "adapter").model), rewards, atol=1e-5, rtol=0
    )
    torch.testing.assert_close(rewards_of(merge_adapter(model)), rewards, atol=1e-5, rtol=0)


def test_after_merging_a_new_adapter_can_be_trained(base: Path, tmp_path: Path) -> None:
    model = add_adapter(fresh(base), LoraConfig(r=4))
    train(model)
    merged = merge_adapter(model)
    assert type(merged.score) is torch.nn.Linear and not hasattr(merged, "peft_config")
    assert all(parameter.requires_grad for parameter in merged.parameters())
    train(add_adapter(merged, LoraConfig(r=2)))
    with pytest.raises(PlauditError, match="no adapter"):
        merge_adapter(fresh(base))


def test_a_merged_model_takes_the_place_of_an_adapter(base: Path, tmp_path: Path) -> None:
    model = add_adapter(fresh(base), LoraConfig(r=4))
    train(model)
    save_reward_model(model, tmp_path / "out")
    save_reward_model(model, tmp_path / "out", merge=True)
    assert load_reward_model(tmp_path / "out").origin.startswith("sequence classification")
    gathered = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_reward_model(model, tmp_path / "gathered", merge=True, state_dict=gathered)
    for folder in ("out", "gathered"):
        rewards = rewards_of(load_reward_model(tmp_path / folder).model)
        torch.testing.assert_close(rewards, rewards_of(model), atol=1e-5, rtol=0)


def test_a_user_adapter_of_another_name_is_saved_without_it(base: Path, tmp_path: Path) -> None:
    model = get_peft_model(fresh(base), LoraConfig(task_type="SEQ_CLS", r=4), adapter_name="mine")
    train(model)
    save_reward_model(model, tmp_path / "adapter")
    assert not any("mine" in key for key in load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    loaded = rewards_of(load_reward_model(tmp_path / "adapter").model)
    torch.testing.assert_close(loaded, rewards_of(model), atol=1e-5, rtol=0)
    torch.testing.assert_close(rewards_of(merge_adapter(model)), rewards_of(model), atol=1e-5, rtol=0)


# Folders that are not whole ----------------------------------------------------------------------------------


def bare_adapter(base: Path, folder: Path, **settings: Any) -> Path:
    """What TRL 1.16 writes for a config without a task type."""
    model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    get_peft_model(model, LoraConfig(r=4, **settings)).save_pretrained(folder)
    return folder


@pytest.fixture
def quiet_base(tmp_path: Path) -> Path:
    """A base that has a head, which plain transformers loads without a word."""
    return write_reward_model(tmp_path / "reward")


def test_an_adapter_without_a_head_is_refused(base: Path, quiet_base: Path, tmp_path: Path) -> None:
    folder = bare_adapter(quiet_base, tmp_path / "adapter", target_modules="all-linear")
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base_model_name_or_path": str(base)}))
    for allowed in (False, True):  # its adapter of a head that is lost cannot be used at all
        with pytest.raises(
            PlauditError, match=r"looked for .*\.score\.weight.* found: .*score\.lora_A\.weight"
        ):
            load_reward_model(folder, allow_fresh_head=allowed)
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({k: v for k, v in weights.items() if ".score." not in k}, folder / "adapter_model.safetensors")
    with pytest.raises(PlauditError, match=r"no reward head: looked for base_model\.model\.score\.weight"):
        load_reward_model(folder)
    assert load_reward_model(folder, allow_fresh_head=True).has_fresh_head


@pytest.mark.parametrize("targets", [None, "all-linear"])
def test_an_adapter_on_a_reward_model_uses_that_models_head(
    targets: str | None, quiet_base: Path, tmp_path: Path
) -> None:
    folder = bare_adapter(quiet_base, tmp_path / "adapter", target_modules=targets, init_lora_weights=False)
    loaded = load_reward_model(folder)
    assert not loaded.has_fresh_head and loaded.origin.endswith("head from the base")
    plain = PeftModel.from_pretrained(
        AutoModelForSequenceClassification.from_pretrained(quiet_base), folder
    ).eval()
    by_row = torch.stack([plain(input_ids=torch.tensor([row])).logits[0, 0] for row in SEQUENCES])
    torch.testing.assert_close(rewards_of(loaded.model), by_row.detach(), atol=1e-5, rtol=0)


def test_heads_under_the_name_of_older_versions_are_found(base: Path, tmp_path: Path) -> None:
    model = add_adapter(fresh(base), LoraConfig(r=4))
    train(model)
    save_reward_model(model, tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    weights = load_file(file)
    head = weights.pop("base_model.model.score.weight")
    weights["base_model.model.score.modules_to_save.default.weight"] = head
    weights["base_model.model.score.original_module.weight"] = torch.zeros_like(head)
    save_file(weights, file)
    (tmp_path / "adapter" / "config.json").unlink()
    loaded = load_reward_model(tmp_path / "adapter").model
    torch.testing.assert_close(rewards_of(loaded), rewards_of(model), atol=1e-5, rtol=0)


def test_the_base_may_stand_beside_the_adapter_and_is_named_when_it_is_gone(tmp_path: Path) -> None:
    base = write_causal_model(tmp_path / "base")
    model = add_adapter(fresh(base), LoraConfig(r=4))
    train(model)
    folder = tmp_path / "runs" / "adapter"
    save_reward_model(model, folder)
    file = folder / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps(config | {"base_model_name_or_path": "../../base"}))
    loaded = load_reward_model(folder).model
    torch.testing.assert_close(rewards_of(loaded), rewards_of(model), atol=1e-5, rtol=0)
    base.rename(tmp_path / "moved")
    with pytest.raises(PlauditError, match=r"base model '../../base' .* Write its new place"):
        load_reward_model(folder)
    file.write_text(json.dumps(config | {"base_model_name_or_path": None}))
    with pytest.raises(PlauditError, match="does not say what it was trained on"):
        load_reward_model(folder)
    file.write_text("{,")
    with pytest.raises(PlauditError, match="not a config of peft"):
        load_reward_model(folder)


@pytest.mark.parametrize("damage", ["tensor gone", "tensor of elsewhere", "other sizes", "no weights"])
def test_an_adapter_that_does_not_fit_says_why(damage: str, base: Path, tmp_path: Path) -> None:
    save_reward_model(add_adapter(fresh(base), LoraConfig(r=4)), tmp_path / "adapter")
    file = tmp_path / "adapter" / "adapter_model.safetensors"
    weights = load_file(file)
    key = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
    message = "q_proj.lora_A.weight"
    if damage == "tensor gone":
        del weights[key]
    elif damage == "tensor of elsewhere":
        weights[key.replace("layers.0", "layers.7")] = weights[key].clone()
    elif damage == "other sizes":
        weights[key] = torch.zeros(4, 7)
        message = r"q_proj.*\[4, 7\]"
    else:
        message = "no weights of the adapter"
    save_file(weights, file)
    if damage == "no weights":
        file.unlink()
    with pytest.raises(PlauditError, match=message):
        load_reward_model(tmp_path / "adapter")


def test_an_adapter_with_two_heads_is_refused(base: Path, tmp_path: Path) -> None:
    save_reward_model(add_adapter(fresh(base), LoraConfig(r=4)), tmp_path / "adapter")
    save_file({"v_head.summary.weight": torch.zeros(1, 32)}, tmp_path / "adapter" / "value_head.safetensors")
    with pytest.raises(PlauditError, match="has 2 heads"):
        load_reward_model(tmp_path / "adapter", allow_fresh_head=True)


# The vocabulary ----------------------------------------------------------------------------------------------


@pytest.fixture
def padless(tmp_path: Path) -> Path:
    """A base whose tokenizer has no pad token, as Llama's."""
    folder = tmp_path / "padless"
    tokenizer = build_tokenizer(vocab_size=300, pad=None)
    model = build_model("llama", vocab_size=len(tokenizer), pad_token_id=None)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_an_added_pad_token_costs_nothing_in_the_file(padless: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(padless)
    num_rows = len(tokenizer)
    assert ensure_pad_token(tokenizer)[0] == 1
    model = add_adapter(load_reward_model(padless, tokenizer=tokenizer).model, LoraConfig(r=4))
    train(model)
    save_reward_model(model, tmp_path / "adapter", tokenizer=tokenizer)
    assert not any("embed" in key for key in load_file(tmp_path / "adapter" / "adapter_model.safetensors"))
    loaded = load_reward_model(tmp_path / "adapter").model  # without its tokenizer
    assert loaded.get_input_embeddings().num_embeddings == num_rows + 1
    assert loaded.config.pad_token_id == num_rows == model.config.pad_token_id
    torch.testing.assert_close(rewards_of(loaded), rewards_of(model), atol=1e-5, rtol=0)
    plain = AutoPeftModelForSequenceClassification.from_pretrained(tmp_path / "adapter", num_labels=1).eval()
    row = plain(input_ids=torch.tensor([SEQUENCES[0]])).logits[0, 0]
    torch.testing.assert_close(row.detach(), rewards_of(model)[0], atol=1e-5, rtol=0)
    save_reward_model(model, tmp_path / "merged", tokenizer=tokenizer, merge=True)
    torch.testing.assert_close(
        rewards_of(load_reward_model(tmp_path / "merged").model), rewards_of(model), atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("how", ["frozen", "trained", "by LoRA", "row by row"])
def test_rows_of_other_added_tokens_are_saved(how: str, padless: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(padless)
    ensure_pad_token(tokenizer)
    tokenizer.add_tokens(["<turn>"])
    turn = tokenizer.convert_tokens_to_ids("<turn>")
    settings = {
        "frozen": {},
        "trained": {"modules_to_save": ["embed_tokens"]},
        "by LoRA": {"target_modules": ["q_proj", "embed_tokens"]},
        "row by row": {"trainable_token_indices": {"embed_tokens": [turn]}},
    }[how]
    model = add_adapter(load_reward_model(padless, tokenizer=tokenizer).model, LoraConfig(r=4, **settings))
    train(model)
    save_reward_model(model, tmp_path / "adapter", tokenizer=tokenizer)
    loaded = load_reward_model(tmp_path / "adapter").model
    rows = [[5, turn, 7], [turn]]
    given, expected = (rewards_of_sequences(m, rows).rewards for m in (loaded, reward_model_of(model)))
    assert given == pytest.approx(expected, abs=1e-5)
    merged = rewards_of_sequences(merge_adapter(model), rows).rewards
    assert merged == pytest.approx(expected, abs=1e-5)


def test_attributes_and_their_weights_come_back(base: Path, tmp_path: Path) -> None:
    model = add_adapter(fresh(base, attributes={"helpful": 0.7, "verbose": -0.2}), LoraConfig(r=4))
    train(model)
    save_reward_model(model, tmp_path / "adapter")
    loaded = load_reward_model(tmp_path / "adapter").model
    assert loaded.config.reward_weights == [0.7, -0.2] and loaded.config.id2label == {
        0: "helpful",
        1: "verbose",
    }
    torch.testing.assert_close(rewards_of(loaded), rewards_of(model), atol=1e-5, rtol=0)


def test_one_layer_name_is_a_name_and_not_a_rule() -> None:
    def targets(*words: str) -> Any:
        args = RewardConfig("out", use_peft=True, lora_target_modules=list(words), use_cpu=True, bf16=False)
        return lora_config(args).target_modules

    assert targets("q_proj") == {"q_proj"} and targets("self_attn.q_proj") == {"self_attn.q_proj"}
    assert targets("q_proj", "v_proj") == {"q_proj", "v_proj"}
    assert targets("all-linear") == "all-linear" and targets(r".*_proj") == r".*_proj"


def test_an_adapter_saved_where_a_whole_model_was_leaves_no_weights_of_that(
    base: Path, tmp_path: Path
) -> None:
    whole = fresh(base)
    save_reward_model(whole, tmp_path / "rm")
    assert (tmp_path / "rm" / "model.safetensors").exists()
    model = add_adapter(fresh(base), LoraConfig(r=4))
    train(model)
    save_reward_model(model, tmp_path / "rm")
    assert not list((tmp_path / "rm").glob("model*.safetensors*"))
    again = load_reward_model(tmp_path / "rm").model
    torch.testing.assert_close(rewards_of(again), rewards_of(model), atol=1e-5, rtol=0)
