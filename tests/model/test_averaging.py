"""Averaged weights: equal to float64 arithmetic, byte-identical where models agree, refused where they do not fit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from plaudit import Scorer
from plaudit.errors import PlauditError
from plaudit.model.averaging import average_reward_models
from plaudit.model.record import ModelRecord, read_record
from stand_ins.folders import write_causal_model, write_reward_model
from stand_ins.tokenizers import CHATML_TEMPLATE


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("models")
    return [write_reward_model(folder / str(seed), seed=seed) for seed in (0, 1, 2)]


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def cast(folder: Path, target: Path, dtype: torch.dtype) -> Path:
    """A copy in another precision, by plain transformers."""
    AutoModelForSequenceClassification.from_pretrained(folder, dtype=dtype).save_pretrained(target)
    AutoTokenizer.from_pretrained(folder).save_pretrained(target)
    return target


@pytest.mark.parametrize("shares", [None, [0.5, 0.25, 0.25], [0.0, 0.1, 0.9]])
def test_weights_are_the_mean_in_float64(models: list[Path], tmp_path: Path, shares: list[float] | None):
    average_reward_models(models, tmp_path / "out", weights=shares)
    members, averaged = [weights_of(folder) for folder in models], weights_of(tmp_path / "out")
    assert averaged.keys() == members[0].keys() and "score.weight" in averaged
    for name, value in averaged.items():
        parts = zip(shares or [1 / 3] * 3, members, strict=True)
        expected = sum(share * member[name].double() for share, member in parts)
        assert value.dtype == torch.float32
        torch.testing.assert_close(value.double(), expected, rtol=0, atol=2e-7)


def test_of_two_models_plain_transformers_loads_the_mean(models: list[Path], tmp_path: Path):
    average_reward_models(models[:2], tmp_path / "out")
    a, b, mean = (
        AutoModelForSequenceClassification.from_pretrained(folder)
        for folder in (*models[:2], tmp_path / "out")
    )
    assert torch.equal(mean.score.weight, (a.score.weight + b.score.weight) / 2)
    with torch.no_grad():
        for mine, theirs in zip(a.parameters(), b.parameters(), strict=True):
            mine.copy_((mine.double() + theirs.double()) / 2)
        ids = torch.tensor([[5, 9, 11, 30]])
        assert mean(input_ids=ids).logits.item() == pytest.approx(a(input_ids=ids).logits.item(), abs=1e-5)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert (
        tokenizer("the cat")["input_ids"] == AutoTokenizer.from_pretrained(models[0])("the cat")["input_ids"]
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shares", [[0.5, 0.5], [1 / 3] * 3, [0.7, 0.1, 0.2]])
def test_the_average_of_a_model_with_itself_is_byte_identical(
    models: list[Path], tmp_path: Path, dtype: torch.dtype, shares: list[float]
):
    model = cast(models[0], tmp_path / "model", dtype)
    weights = weights_of(model)
    awkward = torch.tensor([0.0, -0.0, 1e-45, -1e-40, 3e38, 1 / 3], dtype=torch.float32).to(dtype)
    weights["score.weight"][0, :6] = awkward
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
    report = average_reward_models([model] * len(shares), tmp_path / "out", weights=shares)
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    assert report.num_identical == report.num_tensors == len(weights)
    assert "kept byte for byte" in report.summary()[1]


def test_single_values_that_agree_are_kept_too(models: list[Path], tmp_path: Path):
    other = shutil.copytree(models[0], tmp_path / "other")
    weights = weights_of(other)
    weights["score.weight"][0, 3] += 1.0
    weights["score.weight"][0, 4] = weights["score.weight"][0, 4].abs() * 0 - 0.0
    save_file(weights, other / "model.safetensors", metadata={"format": "pt"})
    report = average_reward_models([models[0], other, models[0]], tmp_path / "out", weights=[0.3, 0.3, 0.4])
    before, after = weights_of(models[0])["score.weight"][0], weights_of(tmp_path / "out")["score.weight"][0]
    is_kept = before.view(torch.int32) == after.view(torch.int32)
    assert is_kept.nonzero().flatten().tolist() == [i for i in range(len(before)) if i not in (3, 4)]
    assert float(after[3]) == pytest.approx(float(before[3]) + 0.3, abs=1e-6)
    assert report.num_identical == report.num_tensors - 1


def test_sixteen_bits_are_summed_in_float32_and_rounded_once(models: list[Path], tmp_path: Path):
    halves = [cast(folder, tmp_path / folder.name, torch.bfloat16) for folder in models]
    average_reward_models(halves, tmp_path / "out")
    members, averaged = [weights_of(folder) for folder in halves], weights_of(tmp_path / "out")
    for name, value in averaged.items():
        expected = (sum(member[name].double() for member in members) / 3).float()
        # Half a unit in the last of eight places, and float32's own error.
        torch.testing.assert_close(value.float(), expected, rtol=2**-8 * 1.001, atol=1e-7)
    summed_in_bfloat16 = sum(member["score.weight"] / 3 for member in members)
    assert not torch.equal(summed_in_bfloat16, averaged["score.weight"])


def test_the_precision_is_the_widest_or_the_one_that_is_asked_for(models: list[Path], tmp_path: Path):
    half = cast(models[1], tmp_path / "half", torch.bfloat16)
    average_reward_models([half, models[0]], tmp_path / "mixed")
    assert {value.dtype for value in weights_of(tmp_path / "mixed").values()} == {torch.float32}
    assert json.loads((tmp_path / "mixed" / "config.json").read_text())["dtype"] == "float32"
    expected = (weights_of(models[0])["score.weight"] + weights_of(half)["score.weight"].float()) / 2
    torch.testing.assert_close(weights_of(tmp_path / "mixed")["score.weight"], expected, rtol=0, atol=1e-7)
    average_reward_models(models, tmp_path / "small", dtype=torch.float16)
    assert {value.dtype for value in weights_of(tmp_path / "small").values()} == {torch.float16}
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "small", dtype="auto")
    assert loaded.dtype == torch.float16


def write_value_head(folder: Path, seed: int) -> Path:
    """LLaMA-Factory's layout, by hand."""
    write_causal_model(folder, seed=seed)
    torch.manual_seed(seed)
    head = {"v_head.summary.weight": torch.randn(1, 32), "v_head.summary.bias": torch.randn(1)}
    save_file(head, folder / "value_head.safetensors")
    return folder


def test_value_heads_are_averaged_with_their_bias_into_their_own_layout(tmp_path: Path):
    a, b = write_value_head(tmp_path / "a", 0), write_value_head(tmp_path / "b", 1)
    average_reward_models([a, b], tmp_path / "out", weights=[0.25, 0.75])
    heads = [load_file(folder / "value_head.safetensors") for folder in (a, b, tmp_path / "out")]
    assert heads[2].keys() == {"v_head.summary.weight", "v_head.summary.bias"}
    for name, value in heads[2].items():
        torch.testing.assert_close(value, 0.25 * heads[0][name] + 0.75 * heads[1][name])
    with safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as file:
        assert not [name for name in file.keys() if "v_head" in name]  # noqa: SIM118
    AutoModelForCausalLM.from_pretrained(tmp_path / "out")


def test_the_record_says_what_it_was_made_of_and_forgets_what_no_longer_holds(
    models: list[Path], tmp_path: Path
):
    rule = Scorer.from_pretrained(models[0]).renderer.rule
    record = ModelRecord(rendering=rule, transcripts="text", max_length=512, base_model="base", num_rewards=9)
    record = replace(record, reward_mean=3.0, reward_std=2.0, temperature=1.5, data_fingerprint="x")
    folders = [shutil.copytree(model, tmp_path / model.name) for model in models[:2]]
    record.write(folders[0])
    replace(record, max_length=256, data_fingerprint="y").write(folders[1])
    report = average_reward_models(folders, tmp_path / "out", weights=[0.4, 0.6])
    made = read_record(tmp_path / "out")
    assert made is not None
    assert made.averaged_from == [
        {"model": str(folders[0]), "weight": 0.4},
        {"model": str(folders[1]), "weight": 0.6},
    ]
    assert (made.max_length, made.base_model, made.transcripts, made.rendering) == (256, "base", "text", rule)
    assert (made.reward_mean, made.reward_std, made.temperature, made.num_rewards) == (None, None, None, 0)
    assert made.data_fingerprint is None
    assert any("plaudit calibrate" in note for note in report.notes)
    replace(record, base_model="another").write(folders[1])
    assert any("different models" in n for n in average_reward_models(folders, tmp_path / "other").notes)


def change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "rope": (
        lambda folder: change_config(folder, rms_norm_eps=1e-3),
        "rms_norm_eps in config.json: .* 0.001",
    ),
    "class": (
        lambda folder: change_config(folder, architectures=["XForSequenceClassification"]),
        "architectures",
    ),
    "one more tensor": (
        lambda folder: change_weights(folder, lambda w: w.update(extra=torch.zeros(3))),
        "only the second has extra",
    ),
    "a bias": (
        lambda folder: change_weights(folder, lambda w: w.update({"score.bias": torch.zeros(1)})),
        "biases of the head: None and score.bias",
    ),
    "a shape": (
        lambda folder: change_weights(
            folder, lambda w: w.update({"model.embed_tokens.weight": torch.zeros(3, 32)})
        ),
        r"model.embed_tokens.weight has the shapes \[\d+, 32\] and \[3, 32\]",
    ),
    "template": (lambda folder: (folder / "chat_template.jinja").write_text(CHATML_TEMPLATE), "text.* chat"),
    "quantised": (lambda folder: change_config(folder, quantization_config={"a": 1}), "quantised"),
    "no tokenizer": (
        lambda folder: [file.unlink() for file in folder.glob("tokenizer*")],
        "has no tokenizer",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_models_that_do_not_fit_are_refused_by_what_differs(models: list[Path], tmp_path: Path, name: str):
    change, said = BROKEN[name]
    other = shutil.copytree(models[1], tmp_path / "other")
    change(other)
    with pytest.raises(PlauditError, match=said):
        average_reward_models([models[0], other], tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["other"]


def test_integers_that_differ_have_no_mean_and_nothing_is_left(models: list[Path], tmp_path: Path):
    folders = [shutil.copytree(model, tmp_path / model.name) for model in models[:2]]
    for number, folder in enumerate(folders):
        change_weights(folder, lambda w, n=number: w.update(counts=torch.tensor([n])))
    with pytest.raises(PlauditError, match=r"counts: its values are torch\.int64"):
        average_reward_models(folders, tmp_path / "out")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["0", "1"]
    average_reward_models([folders[0], folders[0]], tmp_path / "out")
    assert weights_of(tmp_path / "out")["counts"].tolist() == [0]


def test_what_does_not_change_rewards_may_differ(models: list[Path], tmp_path: Path):
    other = shutil.copytree(models[1], tmp_path / "other")
    change_config(other, attention_dropout=0.1, transformers_version="4.0", use_cache=True)
    average_reward_models([models[0], other], tmp_path / "out")


def test_an_adapter_and_a_model_without_a_head_are_refused_with_what_to_do(
    models: list[Path], tmp_path: Path
):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    settings = {"peft_type": "LORA", "task_type": "SEQ_CLS", "base_model_name_or_path": str(models[0])}
    (adapter / "adapter_config.json").write_text(json.dumps(settings))
    save_file({"base_model.model.score.weight": torch.zeros(1, 32)}, adapter / "adapter_model.safetensors")
    with pytest.raises(PlauditError, match="--merge-adapter"):
        average_reward_models([models[0], tmp_path / "adapter"], tmp_path / "out")
    with pytest.raises(PlauditError, match="no reward head"):
        average_reward_models([models[0], write_causal_model(tmp_path / "base")], tmp_path / "out")


@pytest.mark.parametrize(
    ("num", "shares", "said"),
    [
        (1, None, "two or more"),
        (2, [1.0], "1 weights for 2 models"),
        (2, [0.5, 0.6], "add up to 1.1"),
        (2, [1.5, -0.5], "shares from 0 to 1"),
    ],
)
def test_wrong_shares_are_named(
    models: list[Path], tmp_path: Path, num: int, shares: list[float] | None, said: str
):
    with pytest.raises(PlauditError, match=said):
        average_reward_models(models[:num], tmp_path / "out", weights=shares)


def test_a_folder_that_is_there_is_not_written_into(models: list[Path], tmp_path: Path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    with pytest.raises(PlauditError, match="is there already"):
        average_reward_models(models, tmp_path / "out")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["mine"]


def test_large_tensors_are_averaged_block_by_block(
    models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    average_reward_models(models, tmp_path / "whole")
    monkeypatch.setattr("plaudit.model.convert.output_tensor.BLOCK_BYTES", 1000)
    average_reward_models(models, tmp_path / "blocks")
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == (
        tmp_path / "blocks" / "model.safetensors"
    ).read_bytes()


def test_the_merged_config_has_what_plain_readers_need(models: list[Path], tmp_path: Path):
    copies = []
    for index, model in enumerate(models[:2]):
        copies.append(Path(shutil.copytree(model, tmp_path / str(index))))
        config = json.loads((copies[-1] / "config.json").read_text())
        for name in ("problem_type", "num_labels", "id2label", "label2id"):
            config.pop(name, None)
        config["id2label"], config["label2id"] = {"0": "LABEL_0"}, {"LABEL_0": 0}
        config["pad_token_id"] = config["eos_token_id"]
        (copies[-1] / "config.json").write_text(json.dumps(config))
    average_reward_models(copies, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["num_labels"] == 1 and config["problem_type"] == "regression"
    assert config["pad_token_id"] == AutoTokenizer.from_pretrained(models[0]).pad_token_id
    assert config["pad_token_id"] != config["eos_token_id"]


def test_tensors_that_agree_are_not_called_kept_where_they_were_cast(models: list[Path], tmp_path: Path):
    report = average_reward_models([models[0]] * 2, tmp_path / "out", dtype=torch.bfloat16)
    assert "byte for byte" not in report.summary()[1] and "they were cast" in report.summary()[1]
