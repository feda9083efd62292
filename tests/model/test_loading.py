"""Loading: a head is never random in silence, and a damaged folder says what is wrong with it."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from plaudit.errors import PlauditError
from plaudit.model import load_reward_model, prepare_reward_model, save_reward_model
from plaudit.model.backend import why_padded
from plaudit.model.inference import rewards_of_sequences
from plaudit.model.saving import whole_folder
from stand_ins.folders import write_causal_model, write_reward_model
from stand_ins.models import build_model


@pytest.fixture
def reward_folder(tmp_path: Path) -> Path:
    return write_reward_model(tmp_path / "reward")


def test_a_reward_model_keeps_its_head(reward_folder: Path) -> None:
    loaded = load_reward_model(reward_folder)
    assert not loaded.has_fresh_head and "score.weight" in loaded.origin
    assert torch.equal(
        loaded.model.score.weight, load_file(reward_folder / "model.safetensors")["score.weight"]
    )


def test_an_existing_head_is_not_drawn_anew_for_training(reward_folder: Path) -> None:
    loaded = load_reward_model(reward_folder, allow_fresh_head=True, seed=7)
    assert torch.equal(
        loaded.model.score.weight, load_file(reward_folder / "model.safetensors")["score.weight"]
    )


def test_a_causal_model_is_refused_unless_a_fresh_head_is_wanted(tmp_path: Path) -> None:
    folder = write_causal_model(tmp_path / "base")
    with pytest.raises(PlauditError, match=r"no reward head: looked for score\.weight"):
        load_reward_model(folder)
    assert load_reward_model(folder, allow_fresh_head=True).has_fresh_head


def test_a_fresh_head_has_the_papers_standard_deviation_and_its_seed(tmp_path: Path) -> None:
    folder = write_causal_model(tmp_path / "base")
    heads = [load_reward_model(folder, allow_fresh_head=True, seed=s).model.score.weight for s in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1]) and not torch.equal(heads[0], heads[2])
    many = torch.cat(
        [
            load_reward_model(folder, allow_fresh_head=True, seed=s).model.score.weight.detach()
            for s in range(60)
        ]
    )
    expected = 1 / math.sqrt(32 + 1)  # hidden size 32; arXiv:2009.01325
    assert float(many.std()) == pytest.approx(expected, rel=0.05)


def test_a_checkpoint_that_names_the_class_but_has_no_head_is_refused(reward_folder: Path) -> None:
    # reward-bench#210: the config says sequence classification, the weights are a causal model's.
    weights = load_file(reward_folder / "model.safetensors")
    del weights["score.weight"]
    save_file(weights, reward_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PlauditError, match="no reward head"):
        load_reward_model(reward_folder)


def test_two_outputs_are_refused(tmp_path: Path) -> None:
    model = build_model("llama", num_labels=2)
    model.save_pretrained(tmp_path / "classifier")
    with pytest.raises(PlauditError, match="2 outputs"):
        load_reward_model(tmp_path / "classifier")


def test_missing_weights_of_the_backbone_are_named(reward_folder: Path) -> None:
    weights = load_file(reward_folder / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, reward_folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PlauditError, match=r"1 weights .* model\.layers\.1\.mlp\.up_proj\.weight"):
        load_reward_model(reward_folder)


@pytest.mark.parametrize("damage", ["truncated", "no config", "config is no JSON", "no such path"])
def test_a_damaged_folder_says_what_is_wrong(reward_folder: Path, damage: str) -> None:
    path, message = reward_folder, ""
    if damage == "truncated":
        file = reward_folder / "model.safetensors"
        file.write_bytes(file.read_bytes()[:1000])
        message = "unreadable weights"
    elif damage == "no config":
        (reward_folder / "config.json").unlink()
        message = "no config.json"
    elif damage == "config is no JSON":
        (reward_folder / "config.json").write_text("{,")
        message = "not JSON"
    else:
        path, message = reward_folder / "elsewhere" / "far", "neither a local folder"
    with pytest.raises(PlauditError, match=message):
        load_reward_model(path)


def test_a_missing_shard_is_named(reward_folder: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(reward_folder)
    shards = reward_folder.parent / "shards"
    model.save_pretrained(shards, max_shard_size="20KB")
    shutil.rmtree(reward_folder)
    victim = sorted(shards.glob("model-*.safetensors"))[1]
    victim.unlink()
    with pytest.raises(PlauditError, match=victim.name):
        load_reward_model(shards)


def test_saved_and_loaded_the_rewards_are_the_same(reward_folder: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(reward_folder)
    sequences = [tokenizer(text).input_ids for text in ("the cat sat", "the cat ran", "a dog")]
    model = load_reward_model(reward_folder, tokenizer=tokenizer).model
    before = rewards_of_sequences(model, sequences).rewards
    save_reward_model(model, tmp_path / "again", tokenizer=tokenizer)
    after = rewards_of_sequences(load_reward_model(tmp_path / "again").model, sequences).rewards
    assert (before == after).all()
    assert json.loads((tmp_path / "again" / "config.json").read_text())["problem_type"] == "regression"


def test_bfloat16_weights_give_rewards_finer_than_bfloat16(reward_folder: Path) -> None:
    model = load_reward_model(reward_folder, dtype=torch.bfloat16).model
    sequences = [[5 + i, 6, 7, 8 + i % 3] for i in range(40)]
    rewards = torch.from_numpy(rewards_of_sequences(model, sequences).rewards)
    assert (rewards != rewards.bfloat16().float()).float().mean() > 0.9


def test_an_interrupted_save_leaves_what_was_there(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("old")
    with pytest.raises(RuntimeError):  # noqa: PT012, SIM117
        with whole_folder(folder) as part:
            (part / "config.json").write_text("new")
            raise RuntimeError("the disk is full")
    assert (folder / "config.json").read_text() == "old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["model"]


def test_a_save_killed_half_way_leaves_no_half_folder(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from plaudit.model.saving import whole_folder\n"
        "with whole_folder(Path(sys.argv[1])) as part:\n"
        "    (part / 'config.json').write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "model")], env=os.environ, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "model").exists()


def test_attention_dropout_in_training_runs_padded_and_says_so() -> None:
    model = build_model("llama", attention_dropout=0.1)
    model.train()
    kept = prepare_reward_model(model, None, keep_dropout=True)
    assert kept.attention_backend == "padded" and "dropout" in kept.attention_reason
    off = prepare_reward_model(build_model("llama", attention_dropout=0.1).train(), None)
    assert off.attention_backend == "sdpa"


def test_an_unknown_backend_lists_the_valid_ones() -> None:
    with pytest.raises(PlauditError, match="auto, sdpa, flex, varlen, padded"):
        prepare_reward_model(build_model("llama"), None, attention="flash")


def test_a_backend_that_the_model_cannot_use_is_an_error_when_forced() -> None:
    with pytest.raises(PlauditError, match="encoder"):
        prepare_reward_model(build_model("bert"), None, attention="sdpa")
    with pytest.raises(PlauditError, match="varlen"):
        prepare_reward_model(build_model("llama"), None, attention="varlen")  # needs CUDA


def test_a_leak_between_branches_sends_the_model_to_padded(monkeypatch: pytest.MonkeyPatch) -> None:
    # Plant the bug that the trial is there for: the mask forgets where a branch ends.
    from plaudit.tree import tiled_attention

    def forgetful(tree, tile, window):
        rows = torch.arange(tile.start, tile.stop)
        return rows[None] <= rows[:, None]

    monkeypatch.setattr(tiled_attention, "_visible_keys", forgetful)
    model = prepare_reward_model(build_model("llama"), None)
    assert model.attention_backend == "padded" and "failed its trial" in model.attention_reason


def test_nothing_speaks_against_a_plain_decoder() -> None:
    assert why_padded(build_model("llama")) is None


def test_a_hub_id_loads_from_the_hubs_cache(reward_folder: Path, tmp_path: Path) -> None:
    # The layout in which the hub's client keeps downloads; no network is needed to read it.
    repository = tmp_path / "hub" / "models--acme--reward"
    snapshot = repository / "snapshots" / ("a" * 40)
    shutil.copytree(reward_folder, snapshot)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("a" * 40)
    script = (
        "import plaudit; print(plaudit.Scorer.from_pretrained('acme/reward').score('the cat', ['sat'])[0])"
    )
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    from plaudit import Scorer

    expected = Scorer.from_pretrained(reward_folder).score("the cat", ["sat"])[0]
    assert float(done.stdout) == pytest.approx(expected, abs=1e-5)
