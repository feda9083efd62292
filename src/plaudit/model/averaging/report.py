"""What averaging did, for a terminal and for programs."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["AveragingReport"]


@dataclass(kw_only=True, slots=True)
class AveragingReport:
    """What averaging did."""

    models: tuple[str, ...]
    """As they were given."""
    weights: tuple[float, ...]
    """The share of each; they add up to 1."""
    num_tensors: int = 0
    """Tensors written."""
    num_identical: int = 0
    """Those that are the same in all models; they are kept byte for byte unless a cast was asked for."""
    num_bytes: int = 0
    """Size of all tensors written."""
    is_cast: bool = False
    """Whether ``dtype`` changed the bytes of a tensor on which all models agree."""
    notes: tuple[str, ...] = ()
    """What has to be said of it."""

    def summary(self) -> list[str]:
        """Lines for a terminal."""
        shares = ", ".join(
            f"{weight:g} of {model}" for model, weight in zip(self.models, self.weights, strict=True)
        )
        same = f"{self.num_identical:,} of {self.num_tensors:,} tensors are the same in all models"
        kept = ""
        if self.num_identical:
            kept = "; they were cast" if self.is_cast else "; they were kept byte for byte"
        return [shares, f"{same}{kept} ({self.num_bytes / 1e9:,.2f} GB written)", *self.notes]
