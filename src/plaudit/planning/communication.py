"""Bytes that an engine sends in a step and how long that takes, next to the computing that it can hide behind.

Collectives move (N-1)/N of their bytes once (all-gather, reduce-scatter) or twice (all-reduce) through each GPU
(Thakur et al. 2005; Rajbhandari et al., arXiv:1910.02054, section 7). Inside a machine the GPU's own links count,
beyond it all network cards of a machine together, for rings use them side by side. Everything here is derived from
counts and data sheets or assumed; nothing is measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from plaudit.planning.engines import Engine
from plaudit.planning.gpus import Gpu
from plaudit.planning.parameters import ParameterCounts

__all__ = ["Communication", "plan_communication"]

LINK_EFFICIENCY = 0.7
"""Share of a link's data-sheet rate that collectives reach (assumed)."""

LATENCY_S = 3e-6
"""Time of one hop of a ring, or of one level of a tree (assumed)."""

BUCKET_BYTES = 25 * 2**20
"""DDP's bucket (torch's default, ``bucket_cap_mb``)."""

HIDDEN_SHARE = {"ddp": 2 / 3, "zero1": 2 / 3, "zero2": 2 / 3, "zero3": 1.0, "fsdp2": 1.0}
"""Share of the computing that communication can hide behind (assumed): the backward pass, two thirds of a step; or
all of it, where the next layer's weights are fetched while one computes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Communication:
    """One optimiser step's."""

    all_reduce_bytes: float
    """Bytes of what is all-reduced."""
    all_gather_bytes: float
    """Bytes of what is gathered, all gathers of the step together."""
    reduce_scatter_bytes: float
    """Bytes of what is reduce-scattered, likewise."""
    link_bytes_per_s: float
    """Rate of the slowest link of a GPU, data sheet times `LINK_EFFICIENCY`."""
    transfer_s: float
    """Time of the bytes."""
    latency_s: float
    """Time of the hops."""
    exposed_s: float
    """What of both is not hidden behind computing."""

    @property
    def seconds(self) -> float:
        """All of it, hidden or not."""
        return self.transfer_s + self.latency_s


def plan_communication(
    counts: ParameterCounts,
    *,
    engine: Engine,
    gpu: Gpu,
    num_gpus: int,
    compute_bytes: int,
    passes_per_step: float,
    compute_s: float,
) -> Communication:
    """What a step sends.

    Args:
        counts: Of the model.
        engine: Which collectives there are.
        gpu: Links.
        num_gpus: N.
        compute_bytes: Of a weight while it computes.
        passes_per_step: Forward and backward passes of one GPU in a step: weights that are sharded are gathered for
            each of them, twice.
        compute_s: Computing of a step.
    """
    if num_gpus == 1:
        return _nothing()
    trained, weights = counts.num_trainable, counts.num_total
    reduced = gathered = scattered = 0.0
    layers = max(counts.num_layers, 1)
    if engine.shards_weights:
        gathered = 2.0 * passes_per_step * weights * compute_bytes
        # FSDP2 sums gradients in float32, DeepSpeed in the precision of the pass.
        scattered = passes_per_step * trained * (compute_bytes if engine.is_deepspeed else 4)
        num_hops = 3 * passes_per_step * layers * (num_gpus - 1)
    elif engine.shards_optimizer:
        num_times = passes_per_step if engine.shards_gradients else 1.0  # divided gradients cannot wait whole
        scattered, gathered = num_times * trained * compute_bytes, float(trained * compute_bytes)
        num_buckets = math.ceil(scattered / BUCKET_BYTES) + math.ceil(gathered / BUCKET_BYTES)
        num_hops = float(num_buckets * (num_gpus - 1))
    else:
        reduced = 4.0 * trained
        num_hops = 2.0 * math.ceil(reduced / BUCKET_BYTES) * math.log2(num_gpus)
    rate = LINK_EFFICIENCY * _link(gpu, num_gpus)
    transfer = (num_gpus - 1) / num_gpus * (2 * reduced + gathered + scattered) / rate
    latency = num_hops * LATENCY_S
    return Communication(
        all_reduce_bytes=reduced,
        all_gather_bytes=gathered,
        reduce_scatter_bytes=scattered,
        link_bytes_per_s=rate,
        transfer_s=transfer,
        latency_s=latency,
        exposed_s=max(0.0, transfer + latency - HIDDEN_SHARE[engine.name] * compute_s),
    )


def _link(gpu: Gpu, num_gpus: int) -> float:
    """Bytes per second of the narrowest place: a GPU's links, or a machine's network cards."""
    if num_gpus <= gpu.gpus_per_node:
        return gpu.node_bandwidth
    return min(gpu.node_bandwidth, gpu.network_bandwidth * gpu.gpus_per_node)


def _nothing() -> Communication:
    return Communication(
        all_reduce_bytes=0.0,
        all_gather_bytes=0.0,
        reduce_scatter_bytes=0.0,
        link_bytes_per_s=math.inf,
        transfer_s=0.0,
        latency_s=0.0,
        exposed_s=0.0,
    )
