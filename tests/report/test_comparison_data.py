"""The browser's comparisons are read by their keys: texts of the chosen rows alone, whatever the file holds."""

from __future__ import annotations

import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from plaudit.report import ModelOutput, read_outputs
from plaudit.report.comparison_data import comparison_data
from plaudit.report.text_blocks import unpack
from stand_ins.evaluations import make_records, write_evaluation

TEXT_LENGTH = 50_000


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[ModelOutput]:
    """Two models on 240 pairs in row groups of 50; the first lacks 40 of them and all texts."""
    base = tmp_path_factory.mktemp("outputs")
    records = make_records(240)
    write_evaluation(base / "a", {"pairs": records[40:]}, name="a", store_texts=False)
    write_evaluation(base / "b", {"pairs": records}, name="b", reward=lambda text: len(text) / 8)
    file = base / "b" / "pairs" / "rows.parquet"
    table = pq.read_table(file)
    texts = pa.array([f"answer to {r['id']} ".ljust(TEXT_LENGTH, ".") for r in records], pa.large_string())
    table = table.set_column(table.schema.get_field_index("text_better"), "text_better", texts)
    pq.write_table(table, file, row_group_size=50)
    return read_outputs([base / "a", base / "b"])


@pytest.mark.parametrize("max_rows", [7, 1000])
def test_each_row_has_the_texts_and_rewards_of_its_key(models: list[ModelOutput], max_rows: int):
    data = comparison_data(models, max_rows=max_rows, max_characters=40)
    index = unpack(data.index)
    blocks = [unpack(block.data) for block in data.blocks]
    shown = [block["texts"][row[1]][0] for block in blocks for row in block["rows"]]
    assert shown == [f"answer to {name} ".ljust(40, ".") for name in index["name"]]
    assert len(set(index["name"])) == min(max_rows, 240)
    for number, model in enumerate(models):
        rows = model.suites["pairs"].table().select(["id", "reward_better"]).to_pylist()
        stored = {row["id"]: row["reward_better"] for row in rows}
        rewards = dict(zip(index["name"], index["rewards"][number]["better"], strict=True))
        assert rewards == {name: pytest.approx(stored[name]) if name in stored else None for name in rewards}


def test_memory_is_of_the_rows_in_the_page_and_not_of_all(models: list[ModelOutput]):
    tracemalloc.start()
    try:
        comparison_data(models, max_rows=4)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 240 * TEXT_LENGTH / 4, f"{peak / 1e6:.1f} MB"


def test_no_word_of_a_prompt_is_in_a_page_without_texts(models: list[ModelOutput]):
    data = comparison_data(models, with_texts=False)
    assert set(unpack(data.index)["snippet"]) == {""} and data.blocks == ()
