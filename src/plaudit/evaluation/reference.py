"""What a reference set says of a model's rewards: their mean, their spread, and how sure a margin is.

Mean and standard deviation are over the distinct rendered conversations that some comparison of the data names, data
ties included, each once however often it is compared. The temperature and the calibration are over the comparisons
that are not data ties, each once. Everything is measured on the set that the temperature is fitted to: with one
number to fit, the log loss over n comparisons looks better than it is by about 1 / n nats.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.table import Table

from plaudit.errors import PlauditError
from plaudit.evaluation.calibration import Calibration, measure_calibration
from plaudit.evaluation.display import estimate_cells, title_of
from plaudit.evaluation.result import EvaluationResult
from plaudit.evaluation.rows import ComparisonRows
from plaudit.evaluation.temperature import fit_temperature
from plaudit.model.record import ModelRecord, installed_versions
from plaudit.objective.intervals import Estimate, bootstrap_means, mean_estimate, percentile_interval
from plaudit.plain_json import as_plain

__all__ = ["ReferenceCalibration", "calibrate_rows", "calibrated_record"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceCalibration:
    """The numbers by which rewards are normalised, and how much the temperature changes."""

    reward_mean: Estimate
    """Mean raw reward over distinct sequences."""
    reward_std: Estimate
    """Standard deviation over the same (divisor n)."""
    temperature: Estimate
    """T of sigmoid(margin / T); NaN with its reason where there is none."""
    before: Calibration
    """Of sigmoid(margin)."""
    after: Calibration | None
    """Of sigmoid(margin / T)."""

    def table(self, *, title: str) -> Table:
        """The numbers for a terminal."""
        table = Table(title=title_of(title), title_justify="left")
        table.add_column("")
        for header in ("value", "95% interval", "n"):
            table.add_column(header, justify="right")
        table.add_row("mean of the reward", *estimate_cells(self.reward_mean))
        table.add_row("its standard deviation", *estimate_cells(self.reward_std))
        table.add_row("temperature T", *estimate_cells(self.temperature))
        named = [("sigmoid(margin)", self.before), ("sigmoid(margin / T)", self.after)]
        for name, calibration in named:
            if calibration is not None:
                table.add_section()
                table.add_row(f"log loss, {name}", *estimate_cells(calibration.log_loss))
                error, n = calibration.expected_calibration_error, calibration.log_loss.n
                table.add_row(f"calibration error, {name}", f"{error:.3f}", "", f"{n:,}")
        return table


def calibrate_rows(rows: ComparisonRows) -> ReferenceCalibration:
    """Measure rewards that were scored.

    Raises:
        PlauditError: There is no comparison, or all rewards are equal.
    """
    decided = rows.select(rows.is_decided)
    rewards = rows.sequence_reward.astype(np.float64)
    if len(rewards) == 0:
        raise PlauditError("there is no comparison in the data", where="--data", fix="Give comparisons.")
    if not np.ptp(rewards) > 0:
        raise PlauditError(
            f"all {len(rewards):,} rewards are {rewards[0]:g}, so there is nothing to normalise by",
            where="--data",
            fix="Give more data, or check the model: a head of zeros gives such rewards.",
        )
    temperature = fit_temperature(decided.margin, decided.prompt)
    has_temperature = temperature.reason is None
    return ReferenceCalibration(
        reward_mean=mean_estimate(rewards, _prompt_of_sequences(rows)),
        reward_std=_std_estimate(rewards, _prompt_of_sequences(rows)),
        temperature=temperature,
        before=measure_calibration(decided.margin, decided.prompt),
        after=measure_calibration(decided.margin / temperature.value, decided.prompt)
        if has_temperature
        else None,
    )


def calibrated_record(
    record: ModelRecord, calibration: ReferenceCalibration, result: EvaluationResult
) -> ModelRecord:
    """The model's record with what was measured, and on what."""
    after = calibration.after
    measured: dict[str, Any] = {
        "sources": list(result.data.sources),
        "fingerprint": result.data.fingerprint,
        "limits": result.settings["limits"],
        "reward_mean": calibration.reward_mean,
        "reward_std": calibration.reward_std,
        "temperature": calibration.temperature,
        "log_loss": calibration.before.log_loss,
        "log_loss_with_temperature": after.log_loss if after else None,
        "calibration_error": calibration.before.expected_calibration_error,
        "calibration_error_with_temperature": after.expected_calibration_error if after else None,
        "created": result.created,
        "versions": installed_versions(),
    }
    return replace(
        record,
        reward_mean=calibration.reward_mean.value,
        reward_std=calibration.reward_std.value,
        num_rewards=calibration.reward_mean.n,
        temperature=calibration.temperature.value if after else None,
        calibration=as_plain(measured),
    )


def _prompt_of_sequences(rows: ComparisonRows) -> np.ndarray:
    """int64 [sequence]: the prompt of each sequence, which is that of some comparison that names it."""
    prompt = np.full(len(rows.sequence_reward), -1, dtype=np.int64)
    prompt[rows.better] = rows.prompt
    prompt[rows.worse] = rows.prompt
    return prompt


def _std_estimate(values: np.ndarray, clusters: np.ndarray) -> Estimate:
    """The standard deviation (divisor n) with its bootstrap interval over clusters."""
    centred = values - values.mean()  # the same spread, and no digits lost to a large mean
    if len(np.unique(clusters)) < 2:
        return replace(mean_estimate(values, clusters), value=float(values.std()))
    # One seed draws the same prompts for both.
    means, squares = bootstrap_means(centred, clusters), bootstrap_means(centred**2, clusters)
    spreads = np.sqrt(np.maximum(squares - means**2, 0.0))
    return Estimate(value=float(values.std()), n=len(values), interval=percentile_interval(spreads))
