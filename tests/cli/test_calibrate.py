"""plaudit calibrate: the numbers are those of plain transformers, SciPy and scikit-learn, and are found again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from stand_ins.folders import PAIRS

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def rewards(reward_model: Path) -> dict[str, float]:
    """The reward of each text by plain transformers, closed by the end-of-sequence token."""
    tokenizer = AutoTokenizer.from_pretrained(reward_model)
    model = AutoModelForSequenceClassification.from_pretrained(reward_model)
    texts = {pair["prompt"] + pair[key] for pair in PAIRS for key in ("chosen", "rejected")}
    found = {}
    for text in texts:
        ids = tokenizer(text + tokenizer.eos_token, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            found[text] = float(model(input_ids=ids).logits[0, 0])
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, rewards: dict[str, float]) -> Path:
    """Pairs whose better one has the higher reward in two of three, and one pair that is there three times."""
    pairs = []
    for index, pair in enumerate([*PAIRS, PAIRS[1], PAIRS[1]]):
        low, high = sorted(
            (pair[key] for key in ("chosen", "rejected")), key=lambda text: rewards[pair["prompt"] + text]
        )
        chosen, rejected = (low, high) if index % 3 == 0 else (high, low)
        pairs.append({"prompt": pair["prompt"], "chosen": chosen, "rejected": rejected})
    path = tmp_path_factory.mktemp("calibration") / "pairs.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return path


def margins_of(data: Path, rewards: dict[str, float]) -> np.ndarray:
    pairs = [json.loads(line) for line in data.read_text().splitlines()]
    return np.array(
        [rewards[p["prompt"] + p["chosen"]] - rewards[p["prompt"] + p["rejected"]] for p in pairs]
    )


def copy_of(folder: Path, target: Path) -> Path:
    return Path(shutil.copytree(folder, target))


def test_mean_spread_and_temperature_are_stored_and_score_uses_them(
    plaudit: Run, reward_model: Path, data: Path, rewards: dict[str, float], tmp_path: Path
):
    model = copy_of(reward_model, tmp_path / "model")
    weights = (model / "model.safetensors").read_bytes()
    done = plaudit("calibrate", model, "--data", data)
    assert done.status == 0, done.err
    record = json.loads((model / "plaudit.json").read_text())
    values = np.array(list(rewards.values()))
    assert record["num_rewards"] == len(values) == 128  # each distinct text once
    assert record["reward_mean"] == pytest.approx(values.mean(), abs=1e-5)
    assert record["reward_std"] == pytest.approx(values.std(), abs=1e-5)

    margins = margins_of(data, rewards)
    best = minimize_scalar(
        lambda t: np.logaddexp(0, -margins / np.exp(t)).mean(), bounds=(-8, 8), method="bounded"
    )
    assert record["temperature"] == pytest.approx(np.exp(best.x), rel=1e-3)
    kept = record["calibration"]
    won = np.ones(len(margins))
    for name, temperature in (("log_loss", 1.0), ("log_loss_with_temperature", record["temperature"])):
        probability = 1 / (1 + np.exp(-margins / temperature))
        assert kept[name]["value"] == pytest.approx(log_loss(won, probability, labels=[0, 1]), abs=1e-4)
    assert kept["log_loss_with_temperature"]["value"] < kept["log_loss"]["value"]
    assert kept["temperature"]["n"] == len(margins) and kept["fingerprint"]
    assert kept["reward_mean"]["interval"]["low"] < values.mean() < kept["reward_mean"]["interval"]["high"]
    assert kept["reward_std"]["interval"]["low"] < values.std() < kept["reward_std"]["interval"]["high"]
    assert f"{record['temperature']:.3f}" in done.out and "log loss, sigmoid(margin / T)" in done.out
    assert (model / "model.safetensors").read_bytes() == weights

    (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": "the cat?", "completions": [" a dog", " ran"]}))
    scored: list[dict[str, Any]] = []
    for how in ("none", "affine", "sigmoid"):
        files = ["--input", tmp_path / "in.jsonl", "--output", tmp_path / f"{how}.jsonl"]
        assert plaudit("score", model, *files, "--normalize", how).status == 0
        scored.append(json.loads((tmp_path / f"{how}.jsonl").read_text()))
    plain, affine, sigmoid = scored
    raw = np.array(plain["rewards"])
    assert "normalized" not in plain and affine["rewards"] == sigmoid["rewards"] == plain["rewards"]
    assert affine["normalized"] == pytest.approx((raw - values.mean()) / values.std(), abs=1e-4)
    logits = (raw - values.mean()) / record["temperature"]
    assert sigmoid["normalized"] == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-4)


def test_a_calibrated_copy_leaves_the_model_as_it_was(
    plaudit: Run, reward_model: Path, data: Path, tmp_path: Path
):
    model = copy_of(reward_model, tmp_path / "model")
    (model / "checkpoint-1").mkdir()
    done = plaudit("calibrate", model, "--data", data, "--output-dir", tmp_path / "out", "--quiet")
    assert done.status == 0, done.err
    assert not (model / "plaudit.json").exists()
    kept = {file.name for file in (tmp_path / "out").iterdir()}
    assert kept == {file.name for file in model.iterdir()} - {"checkpoint-1"} | {"plaudit.json"}
    assert "temperature T" in done.out
    assert plaudit("eval", tmp_path / "out", "--data", data, "--quiet").status == 0
    again = plaudit("calibrate", model, "--data", data, "--output-dir", tmp_path / "out")
    assert again.status == 2 and "is there already" in again.err


def test_an_earlier_record_keeps_what_it_says_of_training(
    plaudit: Run, reward_model: Path, data: Path, tmp_path: Path
):
    model = copy_of(reward_model, tmp_path / "model")
    assert plaudit("calibrate", model, "--data", data, "--quiet").status == 0
    record = json.loads((model / "plaudit.json").read_text())
    record |= {"max_length": 77, "base_model": "a-base", "reward_mean": 99.0}
    (model / "plaudit.json").write_text(json.dumps(record))
    assert plaudit("calibrate", model, "--data", data, "--quiet", "--limit", "20").status == 0
    again = json.loads((model / "plaudit.json").read_text())
    assert (again["max_length"], again["base_model"]) == (77, "a-base")
    assert again["reward_mean"] != 99.0 and again["num_rewards"] == 40


def test_data_on_which_the_model_is_always_right_give_no_temperature_and_say_so(
    plaudit: Run, reward_model: Path, data: Path, rewards: dict[str, float], tmp_path: Path
):
    model, easy = copy_of(reward_model, tmp_path / "model"), tmp_path / "easy.jsonl"
    lines, margins = data.read_text().splitlines(), margins_of(data, rewards)
    easy.write_text("\n".join(line for line, margin in zip(lines, margins, strict=True) if margin > 0))
    done = plaudit("calibrate", model, "--data", easy)
    assert done.status == 0
    assert "no temperature" in done.err and "T would go to 0" in done.err
    record = json.loads((model / "plaudit.json").read_text())
    assert record["temperature"] is None and record["reward_std"] > 0
    assert "T would go to 0" in record["calibration"]["temperature"]["reason"]


def test_an_openrlhf_folder_gets_its_fields(plaudit: Run, reward_model: Path, data: Path, tmp_path: Path):
    model = copy_of(reward_model, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    for name in ("id2label", "label2id", "num_labels", "problem_type"):
        config.pop(name, None)
    config |= {"architectures": ["RewardModel"], "value_head_prefix": "score", "mean": 0.0, "std": 1.0}
    (model / "config.json").write_text(json.dumps(config | {"normalize_reward": True}))
    assert plaudit("calibrate", model, "--data", data, "--quiet").status == 0
    record = json.loads((model / "plaudit.json").read_text())
    changed = json.loads((model / "config.json").read_text())
    assert (changed["mean"], changed["std"]) == (record["reward_mean"], record["reward_std"])
    assert changed["normalize_reward"] is True and changed["hidden_size"] == config["hidden_size"]


def test_rewards_that_are_all_equal_are_an_error_and_nothing_is_written(
    plaudit: Run, reward_model: Path, data: Path, tmp_path: Path
):
    model = copy_of(reward_model, tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    weights["score.weight"].zero_()
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    done = plaudit("calibrate", model, "--data", data)
    assert done.status == 2 and "nothing to normalise by" in done.err
    assert not (model / "plaudit.json").exists()


def test_a_model_that_is_no_folder_needs_a_place_for_the_copy(plaudit: Run, data: Path):
    done = plaudit("calibrate", "org/model", "--data", data)
    assert done.status == 2 and "--output-dir" in done.err


def test_several_models_are_scored_and_evaluated_as_one(
    plaudit: Run, reward_model: Path, data: Path, rewards: dict[str, float], tmp_path: Path
):
    words = ["--data", data, "--output-dir", tmp_path / "out", "--quiet", "--combine", "uwo"]
    done = plaudit("eval", reward_model, reward_model, *words, "--uwo-coefficient", "0.1")
    assert done.status == 0, done.err
    results = json.loads((tmp_path / "out" / data.stem / "results.json").read_text())
    assert results["model"] == f"uwo(0.1) of {reward_model}, {reward_model}"
    assert results["metrics"]["mean_margin"]["value"] == pytest.approx(
        margins_of(data, rewards).mean(), abs=1e-5
    )
    done = plaudit("eval", reward_model, "--data", data, "--quiet", "--combine", "min")
    assert done.status == 0 and "nothing to combine" in done.err
    done = plaudit("eval", reward_model, "--data", data, "--combine", "median")
    assert done.status == 2 and "mean, min, uwo" in done.err


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
def test_a_calibrated_copy_of_an_adapter_finds_its_base(
    plaudit: Run, reward_model: Path, data: Path, tmp_path: Path
):
    base = copy_of(reward_model, tmp_path / "models" / "base")
    model = AutoModelForSequenceClassification.from_pretrained(base)
    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="SEQ_CLS")
    folder = tmp_path / "models" / "adapter"
    get_peft_model(model, config).save_pretrained(str(folder))
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    described = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(
        json.dumps(described | {"base_model_name_or_path": "../base"})
    )
    out = tmp_path / "elsewhere" / "deep" / "out"
    done = plaudit("calibrate", folder, "--data", data, "--limit", "8", "--output-dir", out, "--quiet")
    assert done.status == 0, done.err
    written = json.loads((out / "adapter_config.json").read_text())
    assert Path(written["base_model_name_or_path"]) == base
    (out / "in.jsonl").write_text(json.dumps({"prompt": "the cat?", "completions": [" ran"]}))
    done = plaudit("score", out, "--input", out / "in.jsonl", "--output", out / "out.jsonl")
    assert done.status == 0, done.err
