"""Options that save memory change no step; 8-bit optimisers keep 8 bits; only sequence ends meet the head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from torch.utils._python_dispatch import TorchDispatchMode

from plaudit import RewardConfig, RewardTrainer
from plaudit.model import prepare_reward_model
from plaudit.training.offloading import activations_on_host
from plaudit.tree import build_tree_batch
from stand_ins.folders import PAIRS, write_reward_model
from stand_ins.models import build_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Matrices of 16,384 numbers and more: bitsandbytes keeps smaller states in 32 bits."""
    folder = tmp_path_factory.mktemp("model") / "reward"
    return write_reward_model(folder, hidden_size=128, intermediate_size=256)


def train(folder: Path, output: Path, **settings: Any) -> RewardTrainer:
    args = RewardConfig(
        str(output),
        per_device_train_batch_size=4,
        max_steps=3,
        learning_rate=2e-4,
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_steps=1,
        disable_tqdm=True,
        **settings,
    )
    trainer = RewardTrainer(str(folder), args, train_dataset=Dataset.from_list(PAIRS))
    trainer.train()
    return trainer


def losses(trainer: RewardTrainer) -> list[float]:
    return [line["rm/loss"] for line in trainer.state.log_history if "rm/loss" in line]


@pytest.mark.parametrize(
    "option",
    [
        {"activation_offloading": True, "gradient_checkpointing": False},
        {"activation_offloading": True},
        {"max_tokens_per_pass": 50},
    ],
    ids=["offloading", "offloading and checkpointing", "passes"],
)
def test_saving_memory_changes_no_step(folder: Path, tmp_path: Path, option: dict[str, Any]) -> None:
    plain = train(folder, tmp_path / "plain", gradient_checkpointing=False)
    saving = train(folder, tmp_path / "saving", **option)
    assert losses(saving) == pytest.approx(losses(plain), rel=1e-5) and len(losses(plain)) == 3
    ours, theirs = saving._reward_model().state_dict(), plain._reward_model().state_dict()
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-5)


def test_an_8_bit_optimiser_trains_with_states_of_8_bits(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    plain = train(folder, tmp_path / "plain", optim="adamw_torch")
    trainer = train(folder, tmp_path / "8bit", optim="adamw_8bit")
    states = trainer.optimizer.optimizer.state  # type: ignore[union-attr]
    sizes = {state["state1"].dtype: parameter.numel() for parameter, state in states.items()}
    assert sizes.keys() == {torch.uint8, torch.float32} and sizes[torch.float32] < 4096 <= sizes[torch.uint8]
    assert losses(trainer) == pytest.approx(losses(plain), rel=0.05)
    assert losses(trainer)[-1] < losses(trainer)[0]


class _Products(TorchDispatchMode):
    """Shapes of all matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if func in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default):
            self.shapes.append(tuple(output.shape))
        return output


@pytest.mark.parametrize("backend", ["auto", "padded"])
def test_only_sequence_ends_meet_the_head(backend: str) -> None:
    model = prepare_reward_model(build_model("llama"), None, attention=backend)
    tree = build_tree_batch([[*range(3, 30), 40 + i, 50] for i in range(3)])
    with _Products() as products:
        model.rewards(tree)
    assert [shape for shape in products.shapes if shape[-1] == 1] == [(3, 1)]
    assert len(products.shapes) > 3 * 7, "the layers' own products are seen"


def test_weights_are_not_sent_to_the_host_with_the_activations() -> None:
    layer, inputs = torch.nn.Linear(64, 128), torch.randn(100, 64, requires_grad=True)
    moved: list[int] = []

    class Copies(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten.copy_.default:
                moved.append(args[0].numel())
            return func(*args, **(kwargs or {}))

    with Copies(), activations_on_host():
        hidden = layer(inputs).tanh()
    assert sorted(moved) == [100 * 64, 100 * 128], "the inputs of both operations, and no weight"
    hidden.square().sum().backward()
    plain = inputs.detach().clone().requires_grad_()
    layer(plain).tanh().square().sum().backward()
    torch.testing.assert_close(inputs.grad, plain.grad)
