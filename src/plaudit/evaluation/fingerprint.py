"""A name for what a model computes: the same weights in the same precision have the same one, any change another.

Every bit of every weight counts, by sums of integers that run where the weights are: seconds for a model of some
billion weights, where hashing would first copy them to the host. Which attention kernel, batch size or device does the
work does not count, since rewards do not depend on it (float32: within 1e-5).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from plaudit.plain_json import as_plain

__all__ = ["model_fingerprint"]

ELEMENTS_AT_ONCE = 1 << 22
"""Elements of a weight that are summed at a time: bounds the memory to some 100 MB (derived: 24 bytes each)."""

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
"""By the bytes of an element: how its bits are read as a number."""

_NOT_OF_THE_MODEL = (
    "_name_or_path",
    "transformers_version",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_attn_implementation_internal",
    "_experts_implementation",
    "_experts_implementation_internal",
    "use_cache",
    "torch_dtype",
    "dtype",
)
"""Entries of a config that say nothing about what is computed: the weights themselves have their precision."""


def model_fingerprint(model: nn.Module) -> str:
    """SHA-256 of a model's configuration, adapters and weights, as hex.

    Args:
        model: A model of transformers, on any device; what it holds is what is named, whatever file it came from.
    """
    digest = hashlib.sha256()
    described = {
        "config": _without(as_plain(getattr(model, "config", None))),
        "adapters": as_plain(getattr(model, "peft_config", None)),
    }
    digest.update(json.dumps(described, sort_keys=True).encode())
    for name, value in sorted(model.state_dict().items()):
        if isinstance(value, Tensor):
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            for checksum in _checksums(value):
                digest.update(checksum.to_bytes(8, "little", signed=True))
    return digest.hexdigest()


def _without(config: Any) -> Any:
    if isinstance(config, dict):
        return {name: _without(value) for name, value in config.items() if name not in _NOT_OF_THE_MODEL}
    return config


@torch.no_grad()
def _checksums(weight: Tensor) -> Iterator[int]:
    """One sum for each stretch of elements; each element has an odd factor, so that no single change is lost."""
    bits = weight.detach().reshape(-1).contiguous()
    bits = bits.view(torch.uint8) if bits.is_complex() else bits.view(_INTEGERS[bits.element_size()])
    factors = _factors(min(len(bits), ELEMENTS_AT_ONCE), bits.device)
    for first in range(0, len(bits), ELEMENTS_AT_ONCE):
        part = bits[first : first + ELEMENTS_AT_ONCE].to(torch.int64)
        yield int((part * factors[: len(part)]).sum())


def _factors(num: int, device: torch.device) -> Tensor:
    """Odd numbers without a pattern, the same on every device: integers overflow alike everywhere."""
    # The mixing step of SplitMix64 (Steele, Lea and Flood, 2014), with its constants as signed numbers.
    mixed = torch.arange(1, num + 1, dtype=torch.int64, device=device) * -7046029254386353131
    mixed = (mixed ^ (mixed >> 30)) * -4658895280553007687
    mixed = (mixed ^ (mixed >> 27)) * -7723592293110705685
    return mixed | 1
