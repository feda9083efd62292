"""The scorer that ``plaudit eval`` and ``plaudit score`` load, with the options that both have."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from plaudit.errors import PlauditError, unknown_choice
from plaudit.scoring import EnsembleScorer, Scorer
from plaudit.scoring.ensemble import COMBINATIONS, DEFAULT_UWO_COEFFICIENT

__all__ = ["load_scorer", "load_scorers"]

DTYPES = ("auto", "float32", "bfloat16", "float16")

log = logging.getLogger(__name__)


def load_scorers(
    models: Sequence[str],
    attention: str,
    dtype: str,
    device: str | None,
    max_tokens_per_pass: int | None,
    *,
    head_key: str | None = None,
    combine: str | None = None,
    uwo_coefficient: float | None = None,
) -> Scorer | EnsembleScorer:
    """The reward model of a folder or hub id; of several an ensemble.

    Raises:
        PlauditError: An option's value is unknown, or a model cannot be loaded.
    """
    if combine is not None and combine not in COMBINATIONS:
        raise unknown_choice("--combine", combine, COMBINATIONS)
    if len(models) == 1 and combine is not None:
        log.warning("--combine %s: of one model there is nothing to combine", combine)
    if uwo_coefficient is not None and combine != "uwo":
        log.warning("--uwo-coefficient %g: only --combine uwo uses it", uwo_coefficient)
    members = [
        load_scorer(model, attention, dtype, device, max_tokens_per_pass, head_key=head_key)
        for model in models
    ]
    if len(members) == 1:
        return members[0]
    coefficient = DEFAULT_UWO_COEFFICIENT if uwo_coefficient is None else uwo_coefficient
    return EnsembleScorer(members, combine=combine or "mean", uwo_coefficient=coefficient)


def load_scorer(
    model: str,
    attention: str,
    dtype: str,
    device: str | None,
    max_tokens_per_pass: int | None,
    *,
    head_key: str | None = None,
) -> Scorer:
    """The reward model of a folder or hub id.

    Raises:
        PlauditError: An option's value is unknown, or the model cannot be loaded.
    """
    if dtype not in DTYPES:
        raise unknown_choice("--dtype", dtype, DTYPES)
    if max_tokens_per_pass is not None and max_tokens_per_pass < 1:
        raise PlauditError(
            f"{max_tokens_per_pass} tokens", where="--max-tokens-per-pass", fix="Give a number above 0."
        )
    return Scorer.from_pretrained(
        model,
        attention=attention,
        dtype=dtype if dtype == "auto" else getattr(torch, dtype),
        device=_device(device),
        max_tokens_per_pass=max_tokens_per_pass,
        head_key=head_key,
    )


def _device(name: str | None) -> torch.device | None:
    if name is None:
        return None
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise PlauditError(
            f"the device {name!r} cannot be used ({reason})",
            where="--device",
            fix="Give cpu, cuda or cuda:<n>.",
        ) from error
    return device
