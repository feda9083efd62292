"""A save over an earlier one: what is read afterwards is the new model, and no number of the old one is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from plaudit.model import ModelRecord, load_reward_model, save_reward_model
from plaudit.model.checkpoint import inspect_checkpoint
from plaudit.model.inference import rewards_of_sequences
from plaudit.model.reward_model import RewardModel
from plaudit.tokens.rule import RenderingRule
from stand_ins.adapters import SEQUENCES
from stand_ins.formats import FORMATS, draw_head
from stand_ins.models import build_model

# peft reads a property that transformers 5.23 renames.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")

OF_OPENRLHF = ("mean", "std", "normalize_reward", "value_head_prefix")
EARLIER: dict[str, dict[str, Any]] = {"one file": {}, "shards": {"max_shard_size": "40KB"}}


def other_model(folder: Path) -> RewardModel:
    build_model("llama", seed=1).save_pretrained(folder)
    return load_reward_model(folder).model


def rewards(model: Any) -> list[float]:
    return rewards_of_sequences(model, SEQUENCES).rewards.tolist()


def config_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "config.json").read_text())


def save_in_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let transformers cut its files where a big model's would be cut."""
    whole = PreTrainedModel.save_pretrained
    monkeypatch.setattr(
        PreTrainedModel,
        "save_pretrained",
        lambda self, folder, **more: whole(self, folder, **({"max_shard_size": "70KB"} | more)),
    )


@pytest.mark.parametrize("now", ["one file", "shards"])
@pytest.mark.parametrize("earlier", EARLIER)
def test_of_an_earlier_whole_model_nothing_is_left(
    earlier: str, now: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    build_model("llama").save_pretrained(folder, **EARLIER[earlier])
    (folder / "checkpoint-1").mkdir()
    new = other_model(tmp_path / "new")
    if now == "shards":
        save_in_shards(monkeypatch)
    save_reward_model(new, folder)
    monkeypatch.undo()
    assert rewards(load_reward_model(folder).model) == rewards(new)
    files = {file.name for file in folder.glob("*.safetensors*")}
    if now == "one file":
        assert files == {"model.safetensors"}
    else:
        weight_map = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
        assert files == {*weight_map.values(), "model.safetensors.index.json"}
    assert (folder / "checkpoint-1").is_dir()


@pytest.mark.parametrize(
    "earlier", ["one file", "shards", "sharded pickles", "adapter", "value head, LoRA of TRL"]
)
@pytest.mark.parametrize("now", ["one file", "shards"])
def test_after_each_removal_the_folder_is_read_as_a_whole(
    earlier: str, now: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    if earlier in EARLIER:
        build_model("llama").save_pretrained(folder, **EARLIER[earlier])
    else:
        FORMATS[earlier](folder, "llama")
    new = other_model(tmp_path / "new")
    if now == "shards":
        save_in_shards(monkeypatch)
    states: list[str | None] = []
    unlink = Path.unlink

    def checked(path: Path, missing_ok: bool = False) -> None:
        if path.parent == folder:
            states.append(inspect_checkpoint(folder).head_weight_key)  # an error where files are missing
        unlink(path, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", checked)
    save_reward_model(new, folder)
    assert states or earlier == now == "one file"
    assert None not in states


def test_weights_pickled_earlier_are_removed_and_other_pickles_stay(tmp_path: Path) -> None:
    built = FORMATS["sharded pickles"](tmp_path / "model", "llama")
    torch.save({}, built.path / "pytorch_model_fsdp.bin")  # of accelerate, a state to go on from
    torch.save({}, built.path / "training_args.bin")
    new = other_model(tmp_path / "new")
    save_reward_model(new, built.path)
    assert sorted(file.name for file in built.path.glob("*.bin*")) == [
        "pytorch_model_fsdp.bin",
        "training_args.bin",
    ]
    assert rewards(load_reward_model(built.path).model) == rewards(new)


def test_a_whole_model_over_a_value_head_adapter_of_trl_leaves_no_second_head(tmp_path: Path) -> None:
    built = FORMATS["value head, LoRA of TRL"](tmp_path / "model", "llama")
    new = other_model(tmp_path / "new")
    save_reward_model(new, built.path)
    assert inspect_checkpoint(built.path).head_weight_key == "score.weight"
    assert rewards(load_reward_model(built.path).model) == rewards(new)


def test_an_adapter_over_a_whole_model_in_pickles_is_read_as_the_adapter(tmp_path: Path) -> None:
    built = FORMATS["adapter"](tmp_path / "adapter", "llama")
    over = FORMATS["value head, one file"](tmp_path / "model", "llama")
    loaded = load_reward_model(built.path)
    save_reward_model(loaded.peft_model, over.path)
    assert not list(over.path.glob("pytorch_model*"))
    assert rewards(load_reward_model(over.path).model) == pytest.approx(rewards(loaded.model), abs=1e-6)


def test_a_model_without_its_weights_leaves_those_beside_it(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    model = other_model(folder)
    before = load_file(folder / "model.safetensors")
    save_reward_model(model, folder, state_dict={})
    after = load_file(folder / "model.safetensors")
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


# OpenRLHF's numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["score", "value"])
def test_openrlhfs_mean_and_std_do_not_outlive_the_weights_they_were_measured_on(
    head: str, tmp_path: Path
) -> None:
    built = FORMATS["OpenRLHF, own prefix"](tmp_path / "model", "llama")
    model = load_reward_model(built.path).model
    with torch.no_grad():
        model.score.weight.mul_(2.0)
    save_reward_model(model, tmp_path / "again", head=head)
    assert not set(OF_OPENRLHF) & config_of(tmp_path / "again").keys()
    assert not (tmp_path / "again" / "plaudit.json").exists()
    again = load_reward_model(tmp_path / "again")
    assert again.normalization is None
    assert rewards(again.model) == pytest.approx([2 * built.reward(ids) for ids in SEQUENCES], abs=1e-5)
    assert model.config.mean == 0.25  # the model in memory is nobody's to change here


def test_numbers_measured_anew_take_their_place(tmp_path: Path) -> None:
    built = FORMATS["OpenRLHF"](tmp_path / "model", "llama")
    record = ModelRecord(
        rendering=RenderingRule(render="text", eos_token="</s>"), reward_mean=1.5, reward_std=3.0
    )
    save_reward_model(load_reward_model(built.path).model, tmp_path / "again", record=record)
    config = config_of(tmp_path / "again")
    assert [config[name] for name in OF_OPENRLHF] == [1.5, 3.0, True, "score"]


def test_mean_and_std_of_another_kind_of_config_stay(tmp_path: Path) -> None:
    model = other_model(tmp_path / "new")
    model.config.mean = 0.5
    save_reward_model(model, tmp_path / "again")
    assert config_of(tmp_path / "again")["mean"] == 0.5


def test_an_adapter_does_not_take_over_its_bases_mean_and_std(tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    built = FORMATS["OpenRLHF"](tmp_path / "base", "llama")
    plain = AutoModelForSequenceClassification.from_pretrained(built.path, num_labels=1)
    adapted = get_peft_model(plain, LoraConfig(r=4, target_modules=["q_proj"], task_type="SEQ_CLS"))
    with torch.no_grad():
        adapted.base_model.model.score.modules_to_save["default"].weight.copy_(draw_head(seed=9)[0])
    adapted.save_pretrained(tmp_path / "adapter")
    loaded = load_reward_model(tmp_path / "adapter")
    assert loaded.normalization is None
    assert not set(OF_OPENRLHF) & loaded.model.config.to_dict().keys()
