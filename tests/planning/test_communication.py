"""Bytes on the links, worked by hand."""

from __future__ import annotations

import dataclasses

import pytest

from plaudit.planning.communication import LATENCY_S, LINK_EFFICIENCY, plan_communication
from plaudit.planning.engines import find_engine
from plaudit.planning.gpus import GPUS
from plaudit.planning.parameters import ParameterCounts

COUNTS = ParameterCounts(
    num_total=1_000_000_000,
    num_trainable=1_000_000_000,
    num_embedding=0,
    num_per_token=1_000_000_000,
    num_trainable_per_token=1_000_000_000,
    num_in_largest_layer=100_000_000,
    num_layers=10,
    hidden_size=2048,
    num_quantizable=0,
)


def planned(engine: str, num_gpus: int, *, passes: float = 1, compute_s: float = 0.0, gpu: str = "h100"):
    return plan_communication(
        COUNTS,
        engine=find_engine(engine),
        gpu=GPUS[gpu],
        num_gpus=num_gpus,
        compute_bytes=2,
        passes_per_step=passes,
        compute_s=compute_s,
    )


def test_one_gpu_sends_nothing():
    assert planned("fsdp2", 1).seconds == 0


def test_ddp_reduces_float32_gradients_once_a_step():
    done = planned("ddp", 8, passes=5)
    assert (done.all_reduce_bytes, done.all_gather_bytes) == (4e9, 0)
    # 7/8 of 4 GB there and back, over 450 GB/s.
    assert done.transfer_s == pytest.approx(2 * 7 / 8 * 4e9 / (LINK_EFFICIENCY * 450e9))


def test_fsdp2_gathers_weights_twice_and_scatters_gradients_in_every_pass():
    done = planned("fsdp2", 8, passes=3)
    # Weights in 16 bits, gradients in 32.
    assert (done.all_gather_bytes, done.reduce_scatter_bytes) == (3 * 2 * 2e9, 3 * 4e9)
    assert done.all_reduce_bytes == 0


@pytest.mark.parametrize(("engine", "num_times"), [("zero1", 1), ("zero2", 3)])
def test_zero_1_and_2_gather_weights_once_a_step_and_divided_gradients_cannot_wait(
    engine: str, num_times: int
):
    done = planned(engine, 8, passes=3)
    assert (done.all_gather_bytes, done.reduce_scatter_bytes) == (2e9, num_times * 2e9)


def test_beyond_a_machine_its_network_cards_count():
    # 8 cards of 50 GB/s are 400 GB/s, less than the 450 GB/s inside.
    assert planned("ddp", 16).link_bytes_per_s == pytest.approx(LINK_EFFICIENCY * 400e9)
    assert planned("ddp", 8).link_bytes_per_s == pytest.approx(LINK_EFFICIENCY * 450e9)


def test_hops_grow_with_the_ring():
    # Two gathers and a scatter for each of 10 layers, once around a ring of 1,000.
    assert planned("fsdp2", 1000).latency_s == pytest.approx(30 * 999 * LATENCY_S)


def test_what_computing_hides_is_not_waited_for():
    alone = planned("ddp", 8)
    assert alone.exposed_s == alone.seconds > 0
    half = planned("ddp", 8, compute_s=alone.seconds * 0.75)  # of which two thirds hide
    assert half.exposed_s == pytest.approx(alone.seconds / 2)
    assert planned("ddp", 8, compute_s=100.0).exposed_s == 0


def test_every_gpu_says_where_its_figures_are_from():
    for gpu in GPUS.values():
        assert gpu.source and all(
            value > 0 for value in dataclasses.astuple(gpu) if isinstance(value, float | int)
        )
