"""Where the utilisation is from: a row, or an assumption that says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from plaudit.planning.gpus import GPUS
from plaudit.planning.utilisation import ASSUMED_UTILISATION, find_utilisation

ROWS = """date,hardware,benchmark,data,model,variant,mfu_distinct
2026-12-01,NVIDIA H200,gpu,hh-rlhf,1b,plaudit flex,0.31
2026-12-01,NVIDIA H200,gpu,hh-rlhf,8b,plaudit flex,0.47
2026-12-01,NVIDIA H200,gpu,hh-rlhf,8b,plaudit flex +ckpt,0.44
2026-12-01,NVIDIA H200,gpu,hh-rlhf,8b,TRL,0.12
2026-12-01,AMD EPYC,train_vs_trl,hh-rlhf,s,plaudit,
"""


def found(gpu: str, results: Path | None, **given):
    plain = {"num_parameters": 7_000_000_000, "checkpointing": False, "given": None}
    return find_utilisation(GPUS[gpu], results=results, **{**plain, **given})


def test_the_row_of_the_nearest_size_is_taken_and_named(tmp_path: Path):
    table = tmp_path / "results.csv"
    table.write_text(ROWS)
    row = found("h200", table)
    assert row.share == 0.47
    assert row.source == "measured: results.csv line 3 (2026-12-01, 8b on hh-rlhf, plaudit flex)"
    assert found("h200", table, num_parameters=900_000_000).share == 0.31


def test_of_a_row_with_checkpointing_what_is_computed_again_counts(tmp_path: Path):
    # The row counts 6 operations per parameter and token, the plan divides 8 by the share.
    table = tmp_path / "results.csv"
    table.write_text(ROWS)
    assert found("h200", table, checkpointing=True).share == pytest.approx(0.44 * 8 / 6)


def test_without_a_row_of_the_gpu_it_is_assumed_and_says_so(tmp_path: Path):
    table = tmp_path / "results.csv"
    table.write_text(ROWS)
    for results in (table, tmp_path / "none.csv", None):
        assert found("h100", results).share == ASSUMED_UTILISATION
        assert found("h100", results).source == "assumed"


def test_what_is_given_counts():
    assert found("h100", None, given=0.5).source == "given"
