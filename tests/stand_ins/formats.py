"""Reward-model folders in every format in use, by plain torch, safetensors and peft, each with its format's own rule.

Nothing of plaudit is used: neither to write a folder nor to say what its rewards are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    PreTrainedModel,
)

from stand_ins.models import build_model

__all__ = ["ENCODER_FORMATS", "FORMATS", "Built", "edit_config", "edit_tensors", "write_causal"]

HIDDEN = 48
LORA_TARGETS = {"gpt_neox": ["query_key_value", "dense"]}


@dataclass(frozen=True, kw_only=True)
class Built:
    """A folder, and what its rewards are."""

    path: Path
    format: str
    """What plaudit calls it."""
    reward: Callable[[Sequence[int]], float]
    """The reward of one token sequence by the format's own rule, computed by plain code."""
    head: Tensor
    """The head's weight [1, hidden]."""
    bias: Tensor | None = None


# Parts -------------------------------------------------------------------------------------------------------


def write_causal(folder: Path, family: str, **save: Any) -> PreTrainedModel:
    """A causal model with the backbone of `build_model`, saved; it is in evaluation mode."""
    small = build_model(family)
    settings = {k: v for k, v in small.config.to_dict().items() if "label" not in k and k != "model_type"}
    config = AutoConfig.for_model(family, **settings)
    config.problem_type = None
    torch.manual_seed(1)
    causal = AutoModelForCausalLM.from_config(config).eval()
    getattr(causal, causal.base_model_prefix).load_state_dict(
        getattr(small, small.base_model_prefix).state_dict()
    )
    causal.save_pretrained(folder, **save)
    return causal


def draw_head(seed: int = 5) -> tuple[Tensor, Tensor]:
    """A value head's weight and bias."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(1, HIDDEN, generator=generator) * 0.3, torch.randn(1, generator=generator)


def edit_config(folder: Path, *, remove: Sequence[str] = (), **values: Any) -> None:
    """Change a folder's config.json as text."""
    file = folder / "config.json"
    config = json.loads(file.read_text()) | values
    file.write_text(json.dumps({name: value for name, value in config.items() if name not in remove}))


def edit_tensors(file: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    """Write a safetensors file anew."""
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    save_file(change(tensors), file, metadata={"format": "pt"})


def of_causal(model: Any, weight: Tensor, bias: Tensor | None) -> Callable[[Sequence[int]], float]:
    """head(hidden_states[-1]) at the last token: the rule of value heads."""

    def reward(sequence: Sequence[int]) -> float:
        with torch.no_grad():
            states = model(input_ids=torch.tensor([list(sequence)]), output_hidden_states=True).hidden_states
            return float(states[-1][0, -1] @ weight[0] + (0.0 if bias is None else bias[0]))

    return reward


def of_logits(model: Any) -> Callable[[Sequence[int]], float]:
    """The model's own output, the last one where there is one for every token."""

    def reward(sequence: Sequence[int]) -> float:
        with torch.no_grad():
            return float(model(input_ids=torch.tensor([list(sequence)])).logits.flatten()[-1])

    return reward


# Formats -----------------------------------------------------------------------------------------------------


def sequence_classification(path: Path, family: str) -> Built:
    """As TRL saves it."""
    model = build_model(family)
    model.save_pretrained(path)
    head: Any = getattr(model, "score", None) or model.classifier
    weight = next(
        p for name, p in reversed(list(head.named_parameters())) if p.shape[0] == 1 and p.dim() == 2
    )
    return Built(path=path, format="sequence-classification", reward=of_logits(model), head=weight.detach())


def sharded_pickles(path: Path, family: str) -> Built:
    """Sequence classification in ``pytorch_model-*.bin`` with an index, as before safetensors."""
    built = sequence_classification(path, family)
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    names = sorted(tensors)
    parts = [names[: len(names) // 2], names[len(names) // 2 :]]
    files = [f"pytorch_model-{i + 1:05d}-of-00002.bin" for i in range(2)]
    for part, file in zip(parts, files, strict=True):
        torch.save({name: tensors[name].clone() for name in part}, path / file)
    weight_map = {name: file for part, file in zip(parts, files, strict=True) for name in part}
    (path / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return built


def score_with_bias(path: Path, family: str) -> Built:
    """Sequence classification with ``score.bias``, as a converted value head has it."""
    causal = write_causal(path.with_name(f"{path.name}-causal"), family)
    model = build_model(family)
    model.save_pretrained(path)
    weight, bias = draw_head()
    edit_tensors(path / "model.safetensors", lambda t: t | {"score.weight": weight, "score.bias": bias})
    reward = of_causal(causal, weight, bias)
    return Built(path=path, format="sequence-classification", reward=reward, head=weight, bias=bias)


def wrong_class(path: Path, family: str) -> Built:
    """A head among the tensors of a folder whose config names the causal class and no outputs (reward-bench#210)."""
    built = sequence_classification(path, family)
    edit_config(path, architectures=["LlamaForCausalLM"], remove=["num_labels", "id2label", "label2id"])
    return built


def value_head(path: Path, family: str, *, suffix: str = "safetensors") -> Built:
    """As LLaMA-Factory's ``stage: rm`` leaves it."""
    causal = write_causal(path, family)
    weight, bias = draw_head()
    tensors = {"v_head.summary.weight": weight, "v_head.summary.bias": bias}
    if suffix == "bin":
        torch.save(tensors, path / "value_head.bin")
    else:
        save_file(tensors, path / "value_head.safetensors")
    return Built(
        path=path, format="value-head", reward=of_causal(causal, weight, bias), head=weight, bias=bias
    )


def value_head_pickled(path: Path, family: str) -> Built:
    """The same in ``value_head.bin``."""
    return value_head(path, family, suffix="bin")


def value_head_inside(path: Path, family: str) -> Built:
    """As TRL's AutoModelForCausalLMWithValueHead saved it: the head among the causal model's tensors."""
    causal = write_causal(path, family)
    weight, bias = draw_head()
    head = {"v_head.summary.weight": weight, "v_head.summary.bias": bias}
    edit_tensors(path / "model.safetensors", lambda tensors: tensors | head)
    return Built(
        path=path, format="value-head", reward=of_causal(causal, weight, bias), head=weight, bias=bias
    )


def value_head_one_file(path: Path, family: str) -> Built:
    """The state dict of TRL's wrapper, pickled."""
    causal = write_causal(path, family)
    weight, bias = draw_head()
    (path / "model.safetensors").unlink()
    tensors = {f"pretrained_model.{name}": tensor.clone() for name, tensor in causal.state_dict().items()}
    torch.save(
        tensors | {"v_head.summary.weight": weight, "v_head.summary.bias": bias}, path / "pytorch_model.bin"
    )
    reward = of_causal(causal, weight, bias)
    return Built(path=path, format="value-head-one-file", reward=reward, head=weight, bias=bias)


def _lora(family: str, **settings: Any) -> Any:
    from peft import LoraConfig

    return LoraConfig(r=4, target_modules=LORA_TARGETS.get(family, ["q_proj", "up_proj"]), **settings)


def _stir_adapter(model: Any) -> None:
    """An untrained adapter changes nothing; this one does."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0.0, 0.2, generator=generator)


def value_head_adapter(path: Path, family: str, *, file: str = "value_head.safetensors") -> Built:
    """As LLaMA-Factory leaves it with LoRA."""
    from peft import get_peft_model

    base = path.with_name(f"{path.name}-base")
    causal = write_causal(base, family)
    causal.name_or_path = str(base)
    model = get_peft_model(causal, _lora(family, task_type="CAUSAL_LM")).eval()
    _stir_adapter(model)
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(path)
    weight, bias = draw_head()
    tensors = {"v_head.summary.weight": weight, "v_head.summary.bias": bias}
    torch.save(tensors, path / file) if file.endswith(".bin") else save_file(tensors, path / file)
    reward = of_causal(model, weight, bias)
    return Built(path=path, format="value-head-adapter", reward=reward, head=weight, bias=bias)


def value_head_adapter_of_trl(path: Path, family: str) -> Built:
    """As TRL's wrapper saved it with LoRA: the value head alone in ``pytorch_model.bin``."""
    return value_head_adapter(path, family, file="pytorch_model.bin")


def adapter(path: Path, family: str) -> Built:
    """peft's own sequence classification: the head under ``modules_to_save``."""
    from peft import get_peft_model

    base = path.with_name(f"{path.name}-base")
    write_causal(base, family)
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    model = get_peft_model(plain, _lora(family, task_type="SEQ_CLS")).eval()
    _stir_adapter(model)
    weight = draw_head()[0]
    with torch.no_grad():
        model.base_model.model.score.modules_to_save["default"].weight.copy_(weight)
    model.save_pretrained(path)
    return Built(path=path, format="adapter", reward=of_logits(model), head=weight)


def older_adapter(path: Path, family: str) -> Built:
    """The head's name in older versions of peft, beside the untrained copy."""
    built = adapter(path, family)
    old = "base_model.model.score.modules_to_save.default.weight"

    def rename(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        head = tensors.pop("base_model.model.score.weight")
        return tensors | {old: head, "base_model.model.score.original_module.weight": torch.zeros_like(head)}

    edit_tensors(path / "adapter_model.safetensors", rename)
    return built


def openrlhf(path: Path, family: str, *, prefix: str = "score", names_prefix: bool = True) -> Built:
    """As OpenRLHF's ``save_model`` leaves it: a class of its own, no ``num_labels``, mean and std in the config."""
    causal = write_causal(path, family)
    weight = draw_head()[0]

    def without_language_head(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        kept = {n: t for n, t in tensors.items() if not n.startswith(("lm_head", "embed_out"))}
        return kept | {f"{prefix}.weight": weight}

    edit_tensors(path / "model.safetensors", without_language_head)
    named = {"value_head_prefix": prefix} if names_prefix else {}
    edit_config(path, architectures=["RewardModel"], mean=0.25, std=2.5, normalize_reward=True, **named)
    return Built(path=path, format="openrlhf", reward=of_causal(causal, weight, None), head=weight)


def openrlhf_own_prefix(path: Path, family: str) -> Built:
    """A head under another name, which the config gives."""
    return openrlhf(path, family, prefix="rm_value")


def older_openrlhf(path: Path, family: str) -> Built:
    """Before the config named the head."""
    return openrlhf(path, family, prefix="value_head", names_prefix=False)


def token_classification(path: Path, family: str) -> Built:
    """LLaMA-Factory v1."""
    causal = write_causal(path.with_name(f"{path.name}-causal"), family)
    config = causal.config
    config.num_labels = 1
    model = AutoModelForTokenClassification.from_config(config).eval()
    prefix = causal.base_model_prefix
    getattr(model, prefix).load_state_dict(getattr(causal, prefix).state_dict())
    head = getattr(model, "score", None) or model.classifier
    weight, bias = draw_head()
    with torch.no_grad():
        head.weight.copy_(weight)
        head.bias.copy_(bias)
    model.save_pretrained(path)
    return Built(path=path, format="token-classification", reward=of_logits(model), head=weight, bias=bias)


FORMATS: dict[str, Callable[[Path, str], Built]] = {
    "sequence classification": sequence_classification,
    "sharded pickles": sharded_pickles,
    "score with bias": score_with_bias,
    "wrong class": wrong_class,
    "value head": value_head,
    "value head, pickled": value_head_pickled,
    "value head inside": value_head_inside,
    "value head, one file": value_head_one_file,
    "value head, LoRA": value_head_adapter,
    "value head, LoRA of TRL": value_head_adapter_of_trl,
    "adapter": adapter,
    "older adapter": older_adapter,
    "OpenRLHF": openrlhf,
    "OpenRLHF, own prefix": openrlhf_own_prefix,
    "older OpenRLHF": older_openrlhf,
    "token classification": token_classification,
}
"""Builders of decoders' formats."""

ENCODER_FORMATS = ("bert", "modernbert", "deberta-v2")
"""Families of encoders, which `sequence_classification` builds."""
