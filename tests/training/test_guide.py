"""The guide's table, and what is said of values far off it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, PreTrainedModel

from plaudit.training import RewardConfig
from plaudit.training.guide import GUIDE, advice, guide_rows, guideline_for, warn_of_settings

DOCS = Path(__file__).parents[2] / "docs" / "recipes.md"

SMALL, MIDDLE, LARGE = 494_000_000, 1_710_000_000, 8_030_000_000
TRL_LEARNING_RATE = 1e-4


def of_rate(num_parameters: int, learning_rate: float, *, uses_adapter: bool = False) -> list[str]:
    return advice(num_parameters, learning_rate, 2, 1, uses_adapter=uses_adapter)


def test_the_table_is_the_guides():
    # TRL's reward modelling guide: <1B 2e-5 4-8 1-2; 1-7B 1e-5 2-4 1; 7-13B 5e-6 1-2 1.
    rows = [(row.size, row.learning_rate, row.batch_size, row.epochs) for row in GUIDE]
    assert rows == [
        ("<1B", 2e-5, (4, 8), (1, 2)),
        ("1-7B", 1e-5, (2, 4), (1, 1)),
        ("7-13B", 5e-6, (1, 2), (1, 1)),
    ]


@pytest.mark.parametrize(
    ("num_parameters", "size"),
    [
        (999_999_999, "<1B"),
        (1_000_000_000, "1-7B"),
        (6_999_999_999, "1-7B"),
        (7_000_000_000, "7-13B"),
        (13_000_000_000, "7-13B"),
        (70_000_000_000, "7-13B"),
    ],
)
def test_a_row_begins_at_its_smaller_number(num_parameters: int, size: str):
    assert guideline_for(num_parameters).size == size


@pytest.mark.parametrize("num_parameters", [SMALL, MIDDLE, LARGE])
def test_the_tables_own_values_are_no_cause_for_a_warning(num_parameters: int):
    row = guideline_for(num_parameters)
    for batch in row.batch_size:
        for epochs in row.epochs:
            assert advice(num_parameters, row.learning_rate, batch, epochs, uses_adapter=False) == []


@pytest.mark.parametrize(("num_parameters", "times"), [(MIDDLE, "10 times"), (LARGE, "20 times")])
def test_trls_default_learning_rate_is_far_off_when_all_weights_are_trained(num_parameters: int, times: str):
    (said,) = of_rate(num_parameters, TRL_LEARNING_RATE)
    assert said.startswith(f"learning_rate 1e-4 is {times} the ") and "all weights" in said


@pytest.mark.parametrize("num_parameters", [SMALL, MIDDLE, LARGE])
def test_trls_default_learning_rate_suits_adapters(num_parameters: int):
    # Ten times the table: 2e-4, 1e-4, 5e-5.
    assert of_rate(num_parameters, TRL_LEARNING_RATE, uses_adapter=True) == []


def test_the_learning_rate_of_full_training_is_too_small_for_an_adapter():
    (said,) = of_rate(LARGE, 5e-6, uses_adapter=True)
    assert "learning_rate 5e-6 is 1/10 of the 5e-5" in said and "adapters" in said


@pytest.mark.parametrize(
    ("learning_rate", "is_far"),
    [(5e-5, False), (5.1e-5, True), (2e-6, False), (1.9e-6, True), (0.0, True), (-1e-5, True)],
)
def test_far_is_more_than_five_times_either_way(learning_rate: float, is_far: bool):
    # 1e-5 is usual between 1B and 7B: 2e-6 to 5e-5 are within five times of it.
    assert bool(of_rate(MIDDLE, learning_rate)) is is_far


@pytest.mark.parametrize(("batch_size", "is_far"), [(1, False), (8, False), (9, True)])
def test_a_batch_is_far_off_above_four_times_the_largest(batch_size: int, is_far: bool):
    said = advice(LARGE, 5e-6, batch_size, 1, uses_adapter=False)
    assert ["per_device_train_batch_size 9 is 4.5 times the 1-2" in line for line in said] == [True] * is_far


@pytest.mark.parametrize(("epochs", "is_far"), [(0.1, False), (2, False), (2.5, True), (None, False)])
def test_epochs_are_far_off_above_twice_the_most(epochs: float | None, is_far: bool):
    said = advice(LARGE, 5e-6, 2, epochs, uses_adapter=False)
    assert ["num_train_epochs 2.5 is more than the 1 that" in line for line in said] == [True] * is_far


def test_everything_that_is_far_off_is_said():
    assert [line.split()[0] for line in advice(LARGE, 1e-3, 64, 10, uses_adapter=False)] == [
        "learning_rate",
        "per_device_train_batch_size",
        "num_train_epochs",
    ]


def test_nothing_is_said_of_toys():
    assert advice(9_999_999, 3e-3, 512, 100, uses_adapter=False) == []


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    """Ten million parameters and a few."""
    sizes = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = AutoConfig.for_model("llama", vocab_size=4096, num_labels=1, **sizes)
    with torch.device("meta"):
        return AutoModelForSequenceClassification.from_config(config)


def settings(tmp_path: Path, **values: object) -> RewardConfig:
    return RewardConfig(output_dir=str(tmp_path), use_cpu=True, **values)


def test_a_run_is_warned_once_in_the_log(
    model: PreTrainedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    # 4096 x 512 embeddings, two layers of 4 x 512 x 512 + 3 x 512 x 2048 and norms, a head: about 10.5 million.
    assert model.num_parameters() == 4096 * 512 + 2 * (4 * 512**2 + 3 * 512 * 2048 + 2 * 512) + 512 + 512
    with caplog.at_level(logging.WARNING, logger="plaudit"):
        said = warn_of_settings(
            model, settings(tmp_path, learning_rate=1e-2, num_train_epochs=1), uses_adapter=False
        )
    assert [record.getMessage() for record in caplog.records] == said
    assert len(said) == 1 and "500 times the 2e-5 that is usual for 10M parameters" in said[0]


def test_epochs_say_nothing_where_steps_are_counted(model: PreTrainedModel, tmp_path: Path):
    counted = settings(tmp_path, learning_rate=2e-5, num_train_epochs=50, max_steps=10)
    assert warn_of_settings(model, counted, uses_adapter=False) == []
    assert (
        len(
            warn_of_settings(
                model, settings(tmp_path, learning_rate=2e-5, num_train_epochs=50), uses_adapter=False
            )
        )
        == 1
    )


def test_weights_divided_over_processes_are_counted_whole(tmp_path: Path):
    # ZeRO-3 leaves empty tensors, with the number of elements they stand for beside them.
    empty = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model(
            "llama",
            vocab_size=32,
            hidden_size=8,
            intermediate_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_labels=1,
        )
    )
    for parameter in empty.parameters():
        parameter.data = torch.empty(0)
        parameter.ds_numel = 1_000_000_000
    (said,) = warn_of_settings(empty, settings(tmp_path, learning_rate=1e-4, max_steps=1), uses_adapter=False)
    num_tensors = len(list(empty.parameters()))
    assert f"usual for {num_tensors}.0B parameters" in said


def test_the_table_in_the_docs_is_the_guides():
    header, *rows = ["| " + " | ".join(row) + " |" for row in guide_rows()]
    table = "\n".join([header, "|---" * len(guide_rows()[0]) + "|", *rows])
    assert table in DOCS.read_text(), f"write it anew:\n{table}"
