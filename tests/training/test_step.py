"""One step is the same step however its comparisons are split over micro-batches and processes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from plaudit import RewardConfig, RewardTrainer
from stand_ins.folders import PAIRS, write_reward_model
from stand_ins.processes import run_script

SCRIPT = Path(__file__).with_name("step_run.py")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="module")
def truth(model: Path) -> dict[str, torch.Tensor]:
    """Plain transformers and plain torch: the mean loss of nine pairs, one sequence at a time, one step of SGD."""
    plain = AutoModelForSequenceClassification.from_pretrained(model).train()
    tokenizer = AutoTokenizer.from_pretrained(model)

    def reward(text: str) -> torch.Tensor:
        ids = tokenizer(text + tokenizer.eos_token, return_tensors="pt").input_ids
        return plain(input_ids=ids).logits[0, 0]

    losses = [
        -torch.nn.functional.logsigmoid(
            reward(pair["prompt"] + pair["chosen"]) - reward(pair["prompt"] + pair["rejected"])
        )
        for pair in PAIRS[:9]
    ]
    torch.stack(losses).mean().backward()
    with torch.no_grad():
        for parameter in plain.parameters():
            if parameter.grad is not None:
                parameter -= 0.5 * parameter.grad
    return plain.state_dict()


@pytest.mark.parametrize(
    ("num_processes", "per_device", "accumulation"),
    [(1, 9, 1), (1, 8, 2), (1, 4, 3), (2, 4, 2)],
    ids=["one batch", "8 and 1", "4, 4 and 1", "two processes"],
)
def test_a_step_over_nine_pairs_is_that_of_the_plain_mean(
    model: Path,
    truth: dict[str, torch.Tensor],
    tmp_path: Path,
    num_processes: int,
    per_device: int,
    accumulation: int,
) -> None:
    output = tmp_path / "weights.pt"
    arguments = [str(model), "9", str(per_device), str(accumulation), str(output)]
    run_script(SCRIPT, arguments, num_processes=num_processes)
    weights = torch.load(output)
    start = AutoModelForSequenceClassification.from_pretrained(model).state_dict()
    assert max(float((truth[name] - start[name]).abs().max()) for name in truth) > 1e-2, (
        "the step moves nothing"
    )
    for name in truth:
        torch.testing.assert_close(weights[name], truth[name], rtol=1e-4, atol=2e-6)


def test_a_run_that_goes_on_counts_on(model: Path, tmp_path: Path) -> None:
    def trainer(max_steps: int) -> RewardTrainer:
        args = RewardConfig(
            str(tmp_path / "run"),
            per_device_train_batch_size=8,
            max_steps=max_steps,
            save_steps=2,
            logging_steps=1,
            bf16=False,
            use_cpu=True,
            report_to=[],
            disable_tqdm=True,
        )
        return RewardTrainer(str(model), args, train_dataset=Dataset.from_list(PAIRS))

    first = trainer(2)
    first.train()
    again = trainer(4)
    again.train(resume_from_checkpoint=True)
    lines = [line for line in again.state.log_history if "episode" in line]
    assert [line["episode"] for line in lines] == [8, 16, 24, 32]
    assert again.recorder.run is not None and first.recorder.run is not None
    assert again.recorder.run.num_episodes == 32
    assert (again.recorder.run.num_tokens or 0) > (first.recorder.run.num_tokens or 0) > 0
