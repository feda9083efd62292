"""The progress bar of training: loss, accuracy, tokens per second, and the share of tokens that the tree saved."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm
from transformers import TrainerCallback

__all__ = ["RewardProgress"]


class RewardProgress(TrainerCallback):
    """One bar for the steps, one for an evaluation under way."""

    def __init__(self) -> None:
        self.training_bar: tqdm | None = None
        self.scoring_bar: tqdm | None = None

    @staticmethod
    def of(callbacks: list[TrainerCallback]) -> Callable[[int, int], None] | None:
        """The function that an evaluation reports to, if a bar is shown."""
        bars = [callback for callback in callbacks if isinstance(callback, RewardProgress)]
        return bars[0].show_scoring if bars else None

    def show_scoring(self, num_done: int, total: int) -> None:
        """Show how far an evaluation is, in sequences."""
        if self.scoring_bar is None:
            self.scoring_bar = tqdm(
                total=total, desc="evaluating", unit="seq", leave=False, dynamic_ncols=True, file=sys.stderr
            )
        self.scoring_bar.total = total
        self.scoring_bar.update(num_done - self.scoring_bar.n)
        if num_done >= total:
            self.scoring_bar.close()
            self.scoring_bar = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open the bar."""
        if state.is_world_process_zero:
            self.training_bar = tqdm(
                total=state.max_steps,
                initial=state.global_step,
                desc="training",
                unit="step",
                dynamic_ncols=True,
                file=sys.stderr,
            )

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance it."""
        if self.training_bar is not None:
            self.training_bar.update(state.global_step - self.training_bar.n)

    def on_log(
        self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any
    ) -> None:
        """Show the latest metrics behind it; evaluations get a line of their own."""
        if self.training_bar is None or not logs:
            return
        shown = {
            "loss": ("rm/loss", "{:.4f}"),
            "acc": ("rm/accuracy", "{:.3f}"),
            "tok/s": ("tokens_per_second", "{:,.0f}"),
            "saved": ("tokens_saved", "{:.0%}"),
        }
        values = {name: form.format(logs[key]) for name, (key, form) in shown.items() if key in logs}
        if values:
            self.training_bar.set_postfix(values)
        evaluation = [key.removesuffix("_rm/accuracy") for key in logs if key.endswith("_rm/accuracy")]
        for name in evaluation:
            accuracy, loss = logs[f"{name}_rm/accuracy"], logs[f"{name}_rm/loss"]
            num = logs.get(f"{name}_num_comparisons", 0)
            self.training_bar.write(
                f"step {state.global_step}: {name} accuracy {accuracy:.4f}, loss {loss:.4f} (n={num:,})",
                file=sys.stderr,
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the bar."""
        if self.training_bar is not None:
            self.training_bar.close()
            self.training_bar = None
