"""Broken folders: each gives an error of its own, or a warning, with what to do; and no code in a pickle is run."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForTokenClassification

from plaudit import Scorer
from plaudit.errors import PlauditError
from plaudit.model import ModelRecord, load_reward_model, read_record
from plaudit.tokens.rule import RenderingRule
from stand_ins.folders import write_causal_model, write_reward_model
from stand_ins.formats import FORMATS, edit_config, edit_tensors
from stand_ins.models import build_model
from stand_ins.tokenizers import CHATML_TEMPLATE

# peft reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


class Code:
    """Unpickled, it leaves a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.mark}",)


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A folder, how it is broken, and what has to be said."""

    format: str = "sequence classification"
    family: str = "llama"
    damage: Callable[[Path], object]
    says: str
    kwargs: dict[str, Any] = field(default_factory=dict)


def weights(change: Callable[[dict[str, Tensor]], dict[str, Tensor]], file: str = "model.safetensors") -> Any:
    return lambda path: edit_tensors(path / file, change)


def head(weight: Tensor) -> Any:
    return weights(lambda tensors: tensors | {"score.weight": weight})


def without(*names: str) -> Any:
    return weights(lambda tensors: {name: t for name, t in tensors.items() if name not in names})


def renamed(old: str, new: str) -> Any:
    return weights(lambda tensors: {new if name == old else name: t for name, t in tensors.items()})


def truncated(pattern: str) -> Any:
    def damage(path: Path) -> None:
        file = sorted(path.glob(pattern))[0]
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return damage


def with_code(name: str, *removed: str) -> Any:
    def damage(path: Path) -> None:
        for file in removed:
            (path / file).unlink()
        torch.save({"score.weight": torch.zeros(1, 48), "more": Code(path / "was-run")}, path / name)

    return damage


def index(content: str) -> Any:
    return lambda path: (path / "pytorch_model.bin.index.json").write_text(content)


def wrong(file: str, **values: Any) -> Any:
    def damage(path: Path) -> None:
        content = json.loads((path / file).read_text())
        (path / file).write_text(json.dumps(content | values))

    return damage


def two_outputs(path: Path) -> None:
    build_model("llama", num_labels=2).save_pretrained(path)


def token_classifier(family: str) -> Any:
    """A whole model of another class in its place."""

    def damage(path: Path) -> None:
        config = build_model(family).config
        AutoModelForTokenClassification.from_config(config).save_pretrained(path)

    return damage


def value_head_file(weight: Tensor, bias: Tensor) -> Any:
    return lambda path: save_file(
        {"v_head.summary.weight": weight, "v_head.summary.bias": bias}, path / "value_head.safetensors"
    )


def nothing_left(path: Path) -> None:
    for file in path.iterdir():
        file.unlink()


def sharded_without_one(path: Path) -> None:
    build_model("llama").save_pretrained(path, max_shard_size="60KB")
    (path / "model.safetensors").unlink(missing_ok=True)
    sorted(path.glob("model-*.safetensors"))[1].unlink()


BROKEN: dict[str, Broken] = {
    "nothing in it": Broken(damage=nothing_left, says=r"no config\.json, .*found: nothing"),
    "no config": Broken(damage=lambda p: (p / "config.json").unlink(), says=r"no config\.json"),
    "config is no JSON": Broken(damage=lambda p: (p / "config.json").write_text("{,"), says="not JSON"),
    "config is a list": Broken(
        damage=lambda p: (p / "config.json").write_text("[]"), says="not a JSON object"
    ),
    "unknown architecture": Broken(
        damage=lambda p: edit_config(p, model_type="nobodys"), says="transformers cannot load it.*nobodys"
    ),
    "no weights": Broken(damage=lambda p: (p / "model.safetensors").unlink(), says="no weights"),
    "truncated": Broken(damage=truncated("*.safetensors"), says="unreadable weights"),
    "truncated pickle": Broken(
        format="sharded pickles", damage=truncated("*.bin"), says=r"\.bin: unreadable weights"
    ),
    "missing shard": Broken(damage=sharded_without_one, says="1 of [0-9]+ weight files are missing: model-0"),
    "missing pickled shard": Broken(
        format="sharded pickles",
        damage=lambda p: sorted(p.glob("*.bin"))[0].unlink(),
        says="1 of 2 weight files are missing",
    ),
    "index is no index": Broken(
        format="sharded pickles",
        damage=lambda p: (p / "pytorch_model.bin.index.json").write_text("{}"),
        says="not an index of weight files",
    ),
    "index of numbers": Broken(
        format="sharded pickles",
        damage=index('{"weight_map": {"a": 1}}'),
        says="not an index of weight files",
    ),
    "index of nothing": Broken(
        format="sharded pickles", damage=index('{"weight_map": null}'), says="not an index of weight files"
    ),
    "index is a list": Broken(
        format="sharded pickles", damage=index("[]"), says="not an index of weight files"
    ),
    "index that leaves its folder": Broken(
        format="sharded pickles",
        damage=index('{"weight_map": {"score.weight": "../model/pytorch_model-00001-of-00002.bin"}}'),
        says=r"not an index of weight files .*\.\./model/pytorch_model-00001",
    ),
    "a pickle with numbers for names": Broken(
        format="value head, pickled",
        damage=lambda p: torch.save({0: torch.zeros(1, 48)}, p / "value_head.bin"),
        says=r"value_head\.bin: .*not tensors by name",
    ),
    "an encoder without its pooler": Broken(
        family="deberta-v2",
        damage=without("pooler.dense.weight"),
        says=r"1 weights of the model are not in its files: pooler\.dense\.weight",
    ),
    "an encoder without its pooler, a fresh head allowed": Broken(
        family="deberta-v2",
        damage=without("pooler.dense.weight"),
        kwargs={"allow_fresh_head": True},
        says=r"1 weights of the model are not in its files: pooler\.dense\.weight",
    ),
    "a token classifier that is an encoder": Broken(
        damage=token_classifier("deberta-v2"),
        says="DebertaV2ForSequenceClassification pools in its own way",
    ),
    "a token classifier with a pooler inside": Broken(
        damage=token_classifier("bert"),
        kwargs={"allow_fresh_head": True},
        says="BertForSequenceClassification pools in its own way",
    ),
    "code in the weights": Broken(
        damage=with_code("pytorch_model.bin", "model.safetensors"), says=r"holds code \(posix\.system\)"
    ),
    "code in the value head": Broken(
        format="value head, pickled",
        damage=with_code("value_head.bin"),
        says=r"value_head\.bin: holds code \(posix\.system\)",
    ),
    "code in the adapter": Broken(
        format="adapter",
        damage=with_code("adapter_model.bin", "adapter_model.safetensors"),
        says=r"adapter_model\.bin: holds code",
    ),
    "a pickled list": Broken(
        format="value head, pickled",
        damage=lambda p: torch.save([1, 2], p / "value_head.bin"),
        says="holds list, not tensors by name",
    ),
    "no head": Broken(damage=without("score.weight"), says=r"no reward head: looked for score\.weight"),
    "head under an unknown name": Broken(
        damage=renamed("score.weight", "prefers.weight"),
        says=r"head-like tensors found: prefers\.weight .*--head-key prefers\.weight",
    ),
    "no such head": Broken(
        damage=lambda p: None,
        kwargs={"head_key": "scores"},
        says=r"--head-key: no tensor is named 'scores'.*score\.weight",
    ),
    "two heads": Broken(
        damage=weights(lambda t: t | {"v_head.summary.weight": torch.ones(1, 48)}),
        says=r"has 2 heads: .*--head-key NAME",
    ),
    "two outputs": Broken(damage=two_outputs, says="has 2 outputs, and a reward model has one"),
    "nine labels": Broken(
        format="token classification", damage=head(torch.ones(9, 48)), says=r"no head has the shape \[9, 48\]"
    ),
    "head of three dimensions": Broken(damage=head(torch.ones(1, 1, 48)), says="no head has the shape"),
    "head of NaN": Broken(damage=head(torch.full((1, 48), math.nan)), says="48 values that are not finite"),
    "infinite bias": Broken(
        format="value head",
        damage=value_head_file(torch.ones(1, 48), torch.tensor([math.inf])),
        says="the head's bias holds 1 values that are not finite",
    ),
    "head of another hidden size": Broken(
        damage=head(torch.ones(1, 32)), says=r"score\.weight is \[1, 32\], by the config \[1, 48\]"
    ),
    "value head of another hidden size": Broken(
        format="value head",
        damage=value_head_file(torch.ones(1, 32), torch.zeros(1)),
        says="the head reads 32 numbers, and the model's hidden size is 48",
    ),
    "config of another size": Broken(
        damage=lambda p: edit_config(p, intermediate_size=96),
        says=r"weights have other shapes than config\.json asks for",
    ),
    "a tensor is missing": Broken(
        damage=without("model.layers.1.mlp.up_proj.weight"),
        says=r"1 weights .* model\.layers\.1\.mlp\.up_proj",
    ),
    "OpenRLHF without its head": Broken(
        format="OpenRLHF, own prefix",
        damage=without("rm_value.weight"),
        says=r"no reward head: looked for rm_value\.weight",
    ),
    "adapter without its base": Broken(
        format="adapter",
        damage=wrong("adapter_config.json", base_model_name_or_path="/nowhere/base"),
        says="base model '/nowhere/base' is neither a local folder",
    ),
    "adapter that names no base": Broken(
        format="adapter",
        damage=wrong("adapter_config.json", base_model_name_or_path=None),
        says="does not say what it was trained on",
    ),
    "adapter of no method": Broken(
        format="adapter",
        damage=wrong("adapter_config.json", peft_type="NOBODYS"),
        says="not a config of peft",
    ),
    "adapter without weights": Broken(
        format="adapter",
        damage=lambda p: (p / "adapter_model.safetensors").unlink(),
        says="no weights of the adapter",
    ),
    "adapter without a head": Broken(
        format="value head, LoRA",
        damage=lambda p: (p / "value_head.safetensors").unlink(),
        says=r"no reward head: looked for base_model\.model\.score\.weight",
    ),
    "half an adapter": Broken(
        format="adapter",
        damage=weights(
            lambda tensors: {name: t for name, t in tensors.items() if "layers.0" not in name},
            file="adapter_model.safetensors",
        ),
        says="the adapter does not fit its base",
    ),
    "value head of another size than its adapter": Broken(
        format="value head, LoRA",
        damage=value_head_file(torch.ones(1, 32), torch.zeros(1)),
        says="the head reads 32 numbers",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_folder_is_an_error_of_its_own_with_a_remedy(name: str, tmp_path: Path) -> None:
    broken = BROKEN[name]
    built = FORMATS[broken.format](tmp_path / "model", broken.family)
    broken.damage(built.path)
    with pytest.raises(PlauditError, match=broken.says) as caught:
        load_reward_model(built.path, **broken.kwargs)
    assert caught.value.fix
    assert not (built.path / "was-run").exists()


def test_no_folder_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(PlauditError, match="neither a local folder nor a model that can be fetched"):
        load_reward_model(tmp_path / "far")


def test_code_beside_the_weights_is_not_read(tmp_path: Path) -> None:
    # Trainers leave pickles of their own (training_args.bin, optimizer.pt); nobody asked for them.
    built = FORMATS["sequence classification"](tmp_path / "model", "llama")
    with_code("training_args.bin")(built.path)
    load_reward_model(built.path)
    assert not (built.path / "was-run").exists()


# With a tokenizer --------------------------------------------------------------------------------------------


def test_a_missing_tokenizer_is_an_error(tmp_path: Path) -> None:
    built = FORMATS["value head"](tmp_path / "model", "llama")
    with pytest.raises(PlauditError, match="no tokenizer could be loaded") as caught:
        Scorer.from_pretrained(built.path)
    assert caught.value.fix


def test_messages_without_a_template_are_an_error(tmp_path: Path) -> None:
    scorer = Scorer.from_pretrained(write_reward_model(tmp_path / "model"))
    with pytest.raises(PlauditError, match=r"has no chat template.*--chat-template-path"):
        scorer.score([{"role": "user", "content": "Hello."}], ["Hello!"])


def test_another_template_than_the_trained_one_is_an_error(tmp_path: Path) -> None:
    folder = write_reward_model(tmp_path / "model", chat_template=CHATML_TEMPLATE)
    rule = RenderingRule(render="chat", eos_token="</s>", template_sha256="0" * 64)
    ModelRecord(rendering=rule).write(folder)
    with pytest.raises(PlauditError, match="is not the one the model was trained with"):
        Scorer.from_pretrained(folder)


def test_a_damaged_record_is_an_error(tmp_path: Path) -> None:
    folder = write_reward_model(tmp_path / "model")
    (folder / "plaudit.json").write_text("{,")
    with pytest.raises(PlauditError, match=r"plaudit\.json: damaged"):
        read_record(folder)


def test_a_base_model_is_refused_by_the_scorer(tmp_path: Path) -> None:
    with pytest.raises(PlauditError, match="no reward head"):
        Scorer.from_pretrained(write_causal_model(tmp_path / "base"))


def test_a_pad_token_that_is_eos_is_warned_of_and_the_true_last_token_is_scored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = write_reward_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    before = Scorer.from_pretrained(folder).score("the cat", ["sat"])
    edit_config(folder, pad_token_id=config["eos_token_id"])
    with caplog.at_level("INFO", logger="plaudit"):
        after = Scorer.from_pretrained(folder).score("the cat", ["sat"])
    assert after == pytest.approx(before, abs=1e-6)
    assert "reads the reward one token early" in caplog.text


def test_a_head_that_is_fine_is_not_an_error(tmp_path: Path) -> None:
    # The builder that most cases above damage.
    built = FORMATS["sequence classification"](tmp_path / "model", "llama")
    assert load_file(built.path / "model.safetensors")["score.weight"].shape == (1, 48)
    assert not load_reward_model(built.path).has_fresh_head
