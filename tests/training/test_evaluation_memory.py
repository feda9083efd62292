"""Memory that runs out in an evaluation: a pass in which other processes take part is not repeated by one of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from torch import nn

from plaudit import RewardTrainer
from plaudit.errors import PlauditError
from plaudit.training.evaluation import GroupRewards, rewards_of_groups
from plaudit.training.lockstep import Lockstep
from stand_ins.folders import PAIRS, write_reward_model
from stand_ins.runs import quick_config


class Alone(Lockstep):
    """Processes that have to stay in step, of which there is one."""

    def most(self, numbers: Sequence[int]) -> list[int]:
        return list(numbers)


class ShortOfMemory(nn.Module):
    """A model that runs out of memory above 60 tokens."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.sizes = model, []

    def forward(self, tree: Any) -> Any:
        self.sizes.append(tree.num_tokens)
        if tree.num_tokens > 60:
            raise torch.OutOfMemoryError("no memory")
        return self.model(tree=tree)


@pytest.mark.parametrize("is_divided", [False, True])
def test_only_whole_weights_let_a_process_halve_its_pass(tmp_path: Path, is_divided: bool) -> None:
    folder = write_reward_model(tmp_path / "model")
    trainer = RewardTrainer(
        str(folder), quick_config(tmp_path / "run"), train_dataset=Dataset.from_list(PAIRS[:8])
    )
    model = trainer._reward_model()
    call = ShortOfMemory(model)

    def score() -> GroupRewards:
        lockstep = Alone() if is_divided else None
        accelerator = Accelerator(cpu=True)
        return rewards_of_groups(
            call, model, trainer.train_groups, accelerator, max_tokens=None, lockstep=lockstep
        )

    if not is_divided:
        assert score().num_groups == 8 and max(call.sizes) > 60 >= min(call.sizes)
        return
    with pytest.raises(
        PlauditError, match=r"cannot be halved.*Give the same command with --max-tokens-per-pass \d+"
    ):
        score()
    assert len(call.sizes) == 1, "it was tried again"
