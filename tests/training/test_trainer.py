"""The trainer's surface: what TRL's takes, this one takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset, IterableDataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, EvalPrediction

from plaudit import RewardConfig, RewardTrainer
from plaudit.errors import PlauditError
from stand_ins.folders import PAIRS, write_causal_model, write_reward_model
from stand_ins.runs import quick_config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("model") / "reward")


def settings(tmp_path: Path, **more: Any) -> RewardConfig:
    return quick_config(tmp_path / "run", **{"num_sample_rows": 4, **more})


def lines(trainer: RewardTrainer, key: str) -> list[float]:
    return [line[key] for line in trainer.state.log_history if key in line]


def test_a_model_object_and_its_tokenizer_train(folder: Path, tmp_path: Path) -> None:
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    trainer = RewardTrainer(
        model=model,
        args=settings(tmp_path, max_steps=20),
        processing_class=AutoTokenizer.from_pretrained(folder),
        train_dataset=Dataset.from_list(PAIRS),
    )
    trainer.train()
    losses = lines(trainer, "rm/loss")
    assert len(losses) == 20 and losses[-1] < losses[0]
    assert lines(trainer, "episode") == [min(8 * (i + 1), 64 * 3) for i in range(20)]


def test_logged_names_are_open_instructs(folder: Path, tmp_path: Path) -> None:
    dataset = Dataset.from_list(PAIRS)
    args = settings(tmp_path, eval_strategy="steps", eval_steps=2)
    trainer = RewardTrainer(str(folder), args, train_dataset=dataset, eval_dataset=dataset)
    trainer.train()
    names = ("accuracy", "loss", "chosen_rewards", "rejected_rewards", "reward_margin")
    training = next(line for line in trainer.state.log_history if "rm/loss" in line)
    evaluation = next(line for line in trainer.state.log_history if "eval_rm/loss" in line)
    for name in names:
        assert f"rm/{name}" in training and f"eval_rm/{name}" in evaluation
    assert {"rm/lr", "episode", "epoch", "tokens_per_second", "tokens_saved"} <= training.keys()
    # Each line says what happened since the one before: Trainer's own loss is of the same steps.
    assert len(lines(trainer, "rm/loss")) == 4
    assert lines(trainer, "rm/loss") == pytest.approx(lines(trainer, "loss"), abs=1e-6)


def test_a_stream_trains_for_max_steps(folder: Path, tmp_path: Path) -> None:
    stream = IterableDataset.from_generator(lambda: iter(PAIRS))
    trainer = RewardTrainer(str(folder), settings(tmp_path, max_steps=6), train_dataset=stream)
    trainer.train()
    assert trainer.state.global_step == 6 and np.isfinite(lines(trainer, "rm/loss")).all()


def test_pretokenised_ids_train_as_the_text_they_came_from(folder: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [
        {
            f"{key}_ids": tokenizer(pair["prompt"] + pair[key] + tokenizer.eos_token).input_ids
            for key in ("chosen", "rejected")
        }
        for pair in PAIRS
    ]
    curves = []
    for rows in (PAIRS, ids):
        trainer = RewardTrainer(str(folder), settings(tmp_path), train_dataset=Dataset.from_list(rows))
        trainer.train()
        curves.append(lines(trainer, "rm/loss"))
    assert curves[0] == curves[1]


def test_several_evaluation_sets_are_named(folder: Path, tmp_path: Path) -> None:
    sets = {"easy": Dataset.from_list(PAIRS[:20]), "hard": Dataset.from_list(PAIRS[20:50])}
    trainer = RewardTrainer(
        str(folder), settings(tmp_path), train_dataset=Dataset.from_list(PAIRS), eval_dataset=sets
    )
    metrics = trainer.evaluate()
    assert metrics["eval_easy_num_comparisons"] == 20 and metrics["eval_hard_num_comparisons"] == 30
    raw = trainer.evaluate(Dataset.from_list(PAIRS[:20]))
    assert raw["eval_rm/accuracy"] == metrics["eval_easy_rm/accuracy"]


def test_compute_metrics_gets_the_pairs_of_rewards(folder: Path, tmp_path: Path) -> None:
    def wins(prediction: EvalPrediction) -> dict[str, Any]:
        pairs = np.asarray(prediction.predictions)
        return {"wins": int((pairs[:, 0] > pairs[:, 1]).sum())}

    trainer = RewardTrainer(
        str(folder),
        settings(tmp_path),
        train_dataset=Dataset.from_list(PAIRS),
        eval_dataset=Dataset.from_list(PAIRS[:30]),
        compute_metrics=wins,
    )
    metrics = trainer.evaluate()
    assert metrics["eval_wins"] == round(metrics["eval_rm/accuracy"] * 30)


def test_the_best_checkpoint_is_loaded_at_the_end(folder: Path, tmp_path: Path) -> None:
    dataset = Dataset.from_list(PAIRS)
    args = settings(
        tmp_path,
        max_steps=6,
        eval_strategy="steps",
        eval_steps=2,
        save_strategy="steps",
        save_steps=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_rm/loss",
        greater_is_better=False,
    )
    trainer = RewardTrainer(str(folder), args, train_dataset=dataset, eval_dataset=dataset)
    trainer.train()
    assert trainer.evaluate()["eval_rm/loss"] == pytest.approx(min(lines(trainer, "eval_rm/loss")), abs=1e-6)


def test_bfloat16_and_float32_runs_stay_close(folder: Path, tmp_path: Path) -> None:
    curves = []
    for bf16 in (False, True):
        trainer = RewardTrainer(
            str(folder), settings(tmp_path, bf16=bf16), train_dataset=Dataset.from_list(PAIRS)
        )
        trainer.train()
        curves.append(np.array(lines(trainer, "rm/loss")))
    assert 0 < np.abs(curves[0] - curves[1]).max() < 0.05


def test_a_pad_token_that_is_the_end_of_sequence_token_is_replaced(folder: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.eos_token
    trainer = RewardTrainer(
        str(folder),
        settings(tmp_path),
        train_dataset=Dataset.from_list(PAIRS),
        processing_class=tokenizer,
    )
    config = trainer.model.config
    assert config.pad_token_id is not None and config.pad_token_id != tokenizer.eos_token_id
    embedding = trainer.model.get_input_embeddings()
    assert embedding.num_embeddings >= len(tokenizer)


def test_dropout_is_off_unless_asked_for(tmp_path: Path) -> None:
    folder = write_causal_model(tmp_path / "base")
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1)
    model.model.layers[0].mlp.add_module("drop", torch.nn.Dropout(0.3))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    dataset = Dataset.from_list(PAIRS)
    RewardTrainer(model, settings(tmp_path), train_dataset=dataset, processing_class=tokenizer)
    assert model.model.layers[0].mlp.drop.p == 0.0


def test_data_in_which_nothing_is_left_is_an_error_with_the_reason(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PlauditError, match=r"no preference group is left.*max_length 2"):
        RewardTrainer(str(folder), settings(tmp_path, max_length=2), train_dataset=Dataset.from_list(PAIRS))


def test_evaluating_without_a_set_is_an_error(folder: Path, tmp_path: Path) -> None:
    trainer = RewardTrainer(str(folder), settings(tmp_path), train_dataset=Dataset.from_list(PAIRS))
    with pytest.raises(PlauditError, match="no evaluation set"):
        trainer.evaluate()


def test_the_progress_bar_and_sample_table_show_what_they_promise(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset = Dataset.from_list(PAIRS)
    args = settings(tmp_path, disable_tqdm=False, eval_strategy="steps", eval_steps=4, num_sample_rows=2)
    RewardTrainer(str(folder), args, train_dataset=dataset, eval_dataset=dataset).train()
    shown = capsys.readouterr().err
    for part in (
        "loss=",
        "acc=",
        "tok/s=",
        "saved=",
        "eval accuracy",
        "(n=64)",
        "prompt (shared)",
        "number 0",
    ):
        assert part in shown


def test_what_was_before_training_is_in_no_line_of_it(folder: Path, tmp_path: Path) -> None:
    args = settings(tmp_path, max_steps=1)
    trainer = RewardTrainer(str(folder), args, train_dataset=Dataset.from_list(PAIRS[:8]))
    (batch,) = trainer.get_train_dataloader()
    trainer.meter.add_batch(batch)
    trainer.meter.on_train_begin()
    assert trainer.meter.drain(trainer.accelerator) == {}


def test_token_ids_in_a_list_train_as_those_in_a_table(folder: Path, tmp_path: Path) -> None:
    rows = [{"chosen_ids": [5, 6, 7, 8 + i], "rejected_ids": [5, 6, 9 + i]} for i in range(9)]
    curves = []
    for data in (rows, Dataset.from_list(rows)):
        trainer = RewardTrainer(str(folder), settings(tmp_path), train_dataset=data)
        trainer.train()
        curves.append(lines(trainer, "rm/loss"))
    assert len(curves[0]) == 4 and curves[0] == curves[1]


def test_an_objective_that_a_stream_never_served_is_said_at_the_end(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stream = IterableDataset.from_generator(lambda: iter(PAIRS))
    args = settings(tmp_path, max_steps=2, objective=["bradley-terry", "regression"])
    RewardTrainer(str(folder), args, train_dataset=stream).train()
    assert "regression learnt nothing: it needs ratings" in caplog.text
    assert "bradley-terry learnt nothing" not in caplog.text


def test_the_adapter_is_merged_wherever_the_final_model_is_saved(folder: Path, tmp_path: Path) -> None:
    saving = {"save_strategy": "steps", "save_steps": 1}
    args = settings(tmp_path, use_peft=True, merge_adapter=True, max_steps=1, **saving)
    trainer = RewardTrainer(str(folder), args, train_dataset=Dataset.from_list(PAIRS[:8]))
    trainer.train()
    trainer.save_model(str(tmp_path / "elsewhere"))
    for name, is_adapter in (("elsewhere", False), ("run/checkpoint-1", True)):
        assert (tmp_path / name / "adapter_config.json").exists() == is_adapter
        assert (tmp_path / name / "model.safetensors").exists() != is_adapter
