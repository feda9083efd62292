"""The store of rewards: what was written is read, what is torn or of another model is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plaudit.evaluation.fingerprint import model_fingerprint
from plaudit.evaluation.reward_store import Cost, RewardStore
from stand_ins.models import build_model


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def write(folder: Path, chunks: list[list[int]], fingerprint: str = "model") -> Path:
    """Chunks whose rewards are a tenth of their keys, in one file."""
    with RewardStore(folder, fingerprint) as store:
        for chunk in chunks:
            rewards = np.array(chunk, dtype=np.float32) / 10
            cost = Cost(num_sequences=len(chunk), num_tokens_given=10 * len(chunk), seconds=1.0)
            store.append([key(number) for number in chunk], rewards, cost)
    return max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)


def known(folder: Path, numbers: range, fingerprint: str = "model") -> list[int]:
    """Which of the keys have a reward; each is checked."""
    found = RewardStore(folder, fingerprint).rewards_of([key(number) for number in numbers]).rewards
    is_known = ~np.isnan(found)
    np.testing.assert_array_equal(found[is_known], np.array(numbers, dtype=np.float32)[is_known] / 10)
    return [number for number, is_there in zip(numbers, is_known, strict=True) if is_there]


def test_a_file_cut_at_any_byte_gives_its_whole_chunks_and_no_other(tmp_path: Path):
    path = write(tmp_path, [[0, 1, 2], [3, 4], [5]])
    content = path.read_bytes()
    seen = set()
    for length in range(0, len(content) + 1, 3):
        path.write_bytes(content[:length])
        seen.add(tuple(known(tmp_path, range(6))))
    assert seen == {(), (0, 1, 2), (0, 1, 2, 3, 4), (0, 1, 2, 3, 4, 5)}


def test_a_chunk_whose_bytes_changed_is_not_read(tmp_path: Path):
    path = write(tmp_path, [[0, 1, 2], [3, 4]])
    content = bytearray(path.read_bytes())
    place = content.rindex(np.float64(np.float32(3) / 10).tobytes())
    content[place] ^= 1
    path.write_bytes(bytes(content))
    assert known(tmp_path, range(5)) == [0, 1, 2]


def test_rewards_of_another_model_are_not_read(tmp_path: Path):
    write(tmp_path, [[0, 1]], "model")
    write(tmp_path, [[2]], "other")
    assert known(tmp_path, range(3), "model") == [0, 1]
    assert known(tmp_path, range(3), "other") == [2]


@settings(max_examples=20)
@given(st.lists(st.lists(st.integers(0, 40), unique=True, min_size=1, max_size=6), max_size=5))
def test_what_was_appended_is_known_whatever_the_chunks(tmp_path_factory: pytest.TempPathFactory, chunks):
    folder = tmp_path_factory.mktemp("store")
    for chunk in chunks:
        write(folder, [chunk])
    assert known(folder, range(41)) == sorted({number for chunk in chunks for number in chunk})


def test_the_latest_reward_of_a_sequence_counts(tmp_path: Path):
    for reward in (1.0, 2.0):
        with RewardStore(tmp_path, "model", forget=True) as store:
            assert np.isnan(store.rewards_of([key(1)]).rewards).all()
            store.append([key(1)], np.array([reward], dtype=np.float32), Cost(num_sequences=1))
    assert RewardStore(tmp_path, "model").rewards_of([key(1)]).rewards.tolist() == [2.0]


def test_the_cost_is_that_of_the_sequences_asked_for(tmp_path: Path):
    write(tmp_path, [[0, 1, 2, 3], [4, 5]])
    cost = RewardStore(tmp_path, "model").rewards_of([key(0), key(1), key(2), key(4), key(5), key(9)]).cost
    # Three of the four sequences of the first chunk, which took a second, and all of the second chunk.
    assert (cost.num_sequences, cost.num_tokens_given, cost.seconds) == (5, 50, 1.75)


def test_rewards_that_differ_beyond_float32_are_stored_as_they_are(tmp_path: Path):
    rewards = np.array([0.99999999, 0.99999998])
    with RewardStore(tmp_path, "server") as store:
        store.append([key(0), key(1)], rewards, Cost(num_sequences=2))
    found = RewardStore(tmp_path, "server").rewards_of([key(0), key(1)]).rewards
    assert found.tolist() == rewards.tolist()


def test_what_a_server_has_cut_is_counted_in_later_runs_too(tmp_path: Path):
    with RewardStore(tmp_path, "server") as store:
        cost = Cost(num_sequences=3, num_truncated=2)
        store.append([key(0), key(1), key(2)], np.zeros(3), cost)
    store = RewardStore(tmp_path, "server")
    assert store.rewards_of([key(0), key(1), key(2)]).cost.num_truncated == 2
    assert store.rewards_of([key(1)]).cost.num_truncated == 1


def test_the_fingerprint_changes_with_any_weight_the_precision_and_the_config_alone():
    model = build_model("llama")
    first = model_fingerprint(model)
    assert model_fingerprint(build_model("llama")) == first
    model.config._name_or_path = "elsewhere"
    model.config._attn_implementation = "eager"
    assert model_fingerprint(model) == first
    weight = model.model.layers[1].mlp.up_proj.weight
    kept = weight.data[3, 5].clone()
    weight.data[3, 5] += 1e-6
    assert model_fingerprint(model) != first
    weight.data[3, 5] = kept
    weight.data[[0, 1]] = weight.data[[1, 0]]  # the same numbers at other places
    assert model_fingerprint(model) != first
    weight.data[[0, 1]] = weight.data[[1, 0]]
    assert model_fingerprint(model) == first
    model.config.rms_norm_eps *= 2
    assert model_fingerprint(model) != first
    model.config.rms_norm_eps /= 2
    assert model_fingerprint(model.bfloat16()) != first


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_no_changed_byte_stops_the_reading_or_is_taken_for_a_reward(tmp_path: Path, flip: int):
    path = write(tmp_path, [[0, 1, 2], [3]])
    content = path.read_bytes()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= flip
        path.write_bytes(bytes(damaged))
        known(tmp_path, range(4))
