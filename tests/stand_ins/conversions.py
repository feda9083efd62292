"""Reward models of every whole format written by hand, and readers of them in the words of the formats' own rules.

Nothing here is plaudit's: folders are made with torch, safetensors and transformers, and rewards are read as
transformers, LLaMA-Factory, TRL and OpenRLHF read them.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
)

from stand_ins.tokenizers import CHATML_TEMPLATE, build_tokenizer

__all__ = [
    "FAMILIES",
    "READERS",
    "ROWS",
    "WRITERS",
    "all_tensors",
    "llama_factory_rewards",
    "openrlhf_rewards",
    "transformers_rewards",
    "write_base",
]

FAMILIES = ("llama", "qwen2", "mistral", "gpt_neox")
ROWS = [[5, 6, 7, 8, 9, 10], [5, 6, 7, 8, 4, 3], [20, 21, 22], [40, 41, 42, 43, 44, 45, 46, 47]]
"""Token ids of sequences, none of them padding."""

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}

BIAS = 0.375
"""Of a value head: no rounding in any dtype."""


def write_base(family: str, folder: Path, *, dtype: torch.dtype = torch.float32, seed: int = 0) -> Path:
    """A causal model with its tokenizer; weights large enough that rewards differ."""
    tokenizer = build_tokenizer(chat_template=CHATML_TEMPLATE)
    config = AutoConfig.for_model(
        family,
        **SIZES,
        vocab_size=len(tokenizer),
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.15)
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def head_of_base(base: Path) -> tuple[Tensor, Tensor]:
    """A head [1, hidden] and a bias [1] that go with a base."""
    generator = torch.Generator().manual_seed(7)
    hidden = json.loads((base / "config.json").read_text())["hidden_size"]
    return torch.randn((1, hidden), generator=generator) * 0.3, torch.tensor([BIAS])


def write_value_head(base: Path, folder: Path, *, suffix: str = "safetensors") -> Path:
    """LLaMA-Factory: the causal model, and the head in a file beside it."""
    shutil.copytree(base, folder)
    weight, bias = head_of_base(base)
    head = {"v_head.summary.weight": weight, "v_head.summary.bias": bias}
    if suffix == "bin":
        torch.save(head, folder / "value_head.bin")
    else:
        save_file(head, folder / "value_head.safetensors", metadata={"format": "pt"})
    return folder


def write_one_file(base: Path, folder: Path) -> Path:
    """Older TRL: everything in one state dict."""
    shutil.copytree(base, folder)
    (folder / "model.safetensors").unlink()
    weight, bias = head_of_base(base)
    tensors = {
        f"pretrained_model.{name}": tensor for name, tensor in load_file(base / "model.safetensors").items()
    }
    torch.save(
        tensors | {"v_head.summary.weight": weight, "v_head.summary.bias": bias}, folder / "pytorch_model.bin"
    )
    return folder


def write_sequence_classification(base: Path, folder: Path) -> Path:
    """transformers' own class, saved by itself."""
    config = AutoConfig.from_pretrained(base)
    config.num_labels, config.problem_type = 1, "regression"
    tokenizer = json.loads((base / "tokenizer_config.json").read_text())
    assert tokenizer["pad_token"] == "<pad>"
    config.pad_token_id = build_tokenizer().pad_token_id
    model = AutoModelForSequenceClassification.from_pretrained(base, config=config)
    with torch.no_grad():
        model.score.weight.copy_(head_of_base(base)[0])
    model.save_pretrained(folder)
    _copy_tokenizer(base, folder)
    return folder


def write_openrlhf(base: Path, folder: Path) -> Path:
    """OpenRLHF: backbone and a head without bias; no number of labels in the config."""
    folder.mkdir()
    tensors = {
        name: tensor
        for name, tensor in load_file(base / "model.safetensors").items()
        if not name.startswith(("lm_head", "embed_out"))
    }
    save_file(
        tensors | {"score.weight": head_of_base(base)[0]},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    config = json.loads((base / "config.json").read_text())
    config |= {"architectures": ["RewardModel"], "value_head_prefix": "score"}
    config |= {"mean": 0.25, "std": 2.0, "normalize_reward": True}
    (folder / "config.json").write_text(json.dumps(config))
    _copy_tokenizer(base, folder)
    return folder


def _copy_tokenizer(base: Path, folder: Path) -> None:
    for file in (*base.glob("tokenizer*"), *base.glob("*.jinja")):
        shutil.copyfile(file, folder / file.name)


# Readers ------------------------------------------------------------------------------------------------------


def transformers_rewards(folder: Path) -> Tensor:
    """The one logit of the sequence-classification class, a row at a time."""
    model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["mismatched_keys"], info
    assert model.config.num_labels == 1
    with torch.no_grad():
        return torch.stack([model.float().eval()(torch.tensor([row])).logits[0, 0] for row in ROWS])


def llama_factory_rewards(folder: Path) -> Tensor:
    """A causal model, then TRL's ValueHead on its last hidden state, filled from the file that is found first.

    A value head that the file leaves out keeps what it was built with, so here it is built with NaN.
    """
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    head = nn.Linear(model.config.hidden_size, 1)
    for parameter in head.parameters():
        nn.init.constant_(parameter, float("nan"))
    safe = folder / "value_head.safetensors"
    stored = load_file(safe) if safe.is_file() else torch.load(folder / "value_head.bin", weights_only=True)
    head.load_state_dict({name.removeprefix("v_head.summary."): tensor for name, tensor in stored.items()})
    rewards = []
    with torch.no_grad():
        for row in ROWS:
            hidden = model.float().eval()(torch.tensor([row]), output_hidden_states=True).hidden_states[-1]
            rewards.append(head.float()(hidden)[0, -1, 0])
    return torch.stack(rewards)


def openrlhf_rewards(folder: Path, *, normalize: bool = False) -> Tensor:
    """The bare model under its usual prefix, and a head without bias whose name the config holds; left padding."""
    config = AutoConfig.from_pretrained(folder)
    config.normalize_reward = normalize
    bare_class = AutoModel._model_mapping[type(config)]
    name_of_head = getattr(config, "value_head_prefix", "score")

    class Reward(bare_class.__base__):  # type: ignore[name-defined,misc]
        def __init__(self, config):
            super().__init__(config)
            setattr(self, self.base_model_prefix, bare_class(config))
            setattr(self, name_of_head, nn.Linear(config.hidden_size, 1, bias=False))
            self.post_init()

    model, info = Reward.from_pretrained(folder, config=config, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"], info
    model = model.float().eval()
    width = max(map(len, ROWS)) + 2
    ids = torch.tensor([[0] * (width - len(row)) + row for row in ROWS])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in ROWS])
    positions = (mask.cumsum(-1) - 1).masked_fill(mask == 0, 1)
    with torch.no_grad():
        hidden = getattr(model, model.base_model_prefix)(
            ids, attention_mask=mask, position_ids=positions
        ).last_hidden_state
        rewards = getattr(model, name_of_head)(hidden)[:, -1, 0]  # the last token that the mask shows
    return (rewards - config.mean) / config.std if normalize else rewards


def all_tensors(folder: Path) -> dict[str, Tensor]:
    """Every tensor of a folder's model files, by name."""
    tensors: dict[str, Tensor] = {}
    for file in sorted(folder.glob("model*.safetensors")):
        tensors |= load_file(file)
    if not tensors and (pickled := folder / "pytorch_model.bin").is_file():
        tensors = torch.load(pickled, weights_only=True)
    return {name.removeprefix("pretrained_model."): tensor for name, tensor in tensors.items()}


WRITERS: dict[str, Callable[[Path, Path], Path]] = {
    "sequence-classification": write_sequence_classification,
    "value-head": write_value_head,
    "openrlhf": write_openrlhf,
    "value-head-one-file": write_one_file,
}
READERS: dict[str, Callable[[Path], Tensor]] = {
    "sequence-classification": transformers_rewards,
    "value-head": llama_factory_rewards,
    "openrlhf": openrlhf_rewards,
}
