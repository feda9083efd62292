"""The scorer that ``plaudit eval`` and ``plaudit score`` load, with the options that both have."""

from __future__ import annotations

import torch

from plaudit.errors import PlauditError, unknown_choice
from plaudit.scoring import Scorer

__all__ = ["load_scorer"]

DTYPES = ("auto", "float32", "bfloat16", "float16")


def load_scorer(
    model: str, attention: str, dtype: str, device: str | None, max_tokens_per_pass: int | None
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
