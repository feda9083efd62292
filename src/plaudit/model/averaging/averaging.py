"""One reward model from several: the weighted mean of their weights (WARM, Rame et al., arXiv:2401.12187).

Fine-tunings of one pre-trained model lie in one basin, where the mean of their weights is about as good as the mean of
their rewards, costs one model to run, and keeps less of what each has memorised. Models of different pre-trainings do
not; nothing in their files says so, so it is the caller's to know.

Written as a stream, one block of a tensor at a time. Sums are in float32. A value on which all models agree is kept bit
for bit, whatever the weights, so the average of one model with itself is that model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from plaudit.errors import PlauditError
from plaudit.model.averaging.mean import averaged_tensor
from plaudit.model.averaging.members import Member, check_alike, read_members
from plaudit.model.averaging.new_folder import averaged_config, averaged_record, write_weights
from plaudit.model.averaging.report import AveragingReport
from plaudit.model.convert.staging import staged_folder
from plaudit.model.record import replace_json

__all__ = ["average_reward_models"]


def average_reward_models(
    models: Sequence[str | Path],
    output_dir: str | Path,
    *,
    weights: Sequence[float] | None = None,
    dtype: torch.dtype | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> AveragingReport:
    """Write the folder of a reward model whose weights are the weighted mean of others', head and bias included.

    Args:
        models: Folders or hub ids of M models of one architecture, format and tokenizer.
        output_dir: A new folder; it appears whole or not at all.
        weights: M shares that add up to 1; equal ones when absent.
        dtype: Precision of the result; None keeps each tensor's own, the widest where models differ.
        on_bytes: Called with the number of bytes written since the last call.

    Raises:
        PlauditError: The models cannot be averaged, naming what differs; or the output exists.
    """
    members = read_members([str(model) for model in models], _shares(weights, len(models)))
    first, *others = members
    for other in others:
        check_alike(first, other)
    report = AveragingReport(
        models=tuple(member.name for member in members), weights=tuple(member.weight for member in members)
    )
    tensors = [averaged_tensor(name, members, dtype, report) for name in first.tensors.names()]
    with staged_folder(Path(output_dir)) as folder:
        write_weights(folder, first, tensors, on_bytes)
        first.side.copy_files(folder)
        replace_json(folder / "config.json", averaged_config(members, dtype))
        if (record := averaged_record(members)) is not None:
            record.write(folder)
    report.num_tensors, report.num_bytes = len(tensors), sum(tensor.num_bytes for tensor in tensors)
    report.notes = _notes(members)
    return report


def _shares(weights: Sequence[float] | None, num_models: int) -> tuple[float, ...]:
    if num_models < 2:
        raise PlauditError(f"{num_models} model", where="merge", fix="Give two or more to average.")
    if weights is None:
        return (1 / num_models,) * num_models
    if len(weights) != num_models:
        raise PlauditError(
            f"{len(weights)} weights for {num_models} models",
            where="--weights",
            fix="Give one for each model.",
        )
    if not all(0 <= weight <= 1 for weight in weights) or abs(sum(weights) - 1) > 1e-6:
        raise PlauditError(
            f"{', '.join(f'{weight:g}' for weight in weights)} add up to {sum(weights):g}",
            where="--weights",
            fix="Give shares from 0 to 1 that add up to 1, such as 0.5,0.5.",
        )
    return tuple(weights)


def _notes(members: Sequence[Member]) -> tuple[str, ...]:
    notes = ["mean, standard deviation and temperature of its rewards are not known: plaudit calibrate"]
    bases = {m.side.record.base_model for m in members if m.side.record and m.side.record.base_model}
    if len(bases) > 1:
        notes.append(
            f"they were trained from different models ({', '.join(sorted(bases))}); averages of weights are good "
            "only within one pre-training"
        )
    return tuple(notes)
