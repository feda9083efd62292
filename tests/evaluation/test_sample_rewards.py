"""Rewards of sampled answers: each distinct one once, and kept whatever interrupts the run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from plaudit.errors import PlauditError
from plaudit.evaluation.remote import ServerSource
from plaudit.evaluation.rewards_file import FileSource
from plaudit.evaluation.sample_rewards import reward_samples
from plaudit.evaluation.samples import PromptSamples, read_samples
from plaudit.scoring import Scorer
from stand_ins.folders import PAIRS, write_reward_model
from stand_ins.reward_server import reward_of, serve


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> list[PromptSamples]:
    """Twelve prompts with two or three answers each; the third says what the first does."""
    path = tmp_path_factory.mktemp("samples") / "samples.jsonl"
    records = [
        {
            "id": f"s{i}",
            "prompt": p["prompt"],
            "samples": [p["chosen"] + "!" * i, p["rejected"], p["chosen"] + "!" * i][: 2 + i % 2],
            "quality": [1, 0, 1][: 2 + i % 2],
        }
        for i, p in enumerate(PAIRS[:12])
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return read_samples(path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("model"))


def in_plain_transformers(folder: Path, s: PromptSamples) -> list[float]:
    """One sample at a time; the stand-in's rendering of plain text ends with the end of the sequence."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer(f"{s.prompt}{c}{tokenizer.eos_token}", return_tensors="pt") for c in s.completions]
    return [model(input_ids=i["input_ids"]).logits.item() for i in ids]


def test_rewards_stand_by_prompt_in_the_order_of_the_samples(folder: Path, samples: list[PromptSamples]):
    found = reward_samples(Scorer.from_pretrained(folder), samples, progress=False)
    assert [len(rewards) for rewards in found] == [2, 3] * 6
    for index in (0, 7):
        np.testing.assert_allclose(found[index], in_plain_transformers(folder, samples[index]), atol=1e-5)


def test_a_sample_said_twice_is_asked_for_once(samples: list[PromptSamples]):
    with serve("vllm-classify") as server, ServerSource(server.url, protocol="vllm-classify") as source:
        found = reward_samples(source, samples, progress=False)
        asked = [body["messages"] for path, body in server.asked if path == "/classify"]
    assert len(asked) == len({json.dumps(messages) for messages in asked}) == 24
    assert sum(map(len, found)) == 30
    for s, rewards in zip(samples, found, strict=True):
        assert rewards.tolist() == [reward_of(f"{s.prompt}{c}") for c in s.completions]


def test_an_interrupted_run_goes_on_and_a_second_one_computes_nothing(
    folder: Path, samples: list[PromptSamples], tmp_path: Path
):
    whole = reward_samples(Scorer.from_pretrained(folder), samples, progress=False)
    first = Scorer.from_pretrained(folder, max_tokens_per_pass=64)
    interrupt_after(first.model, 6)
    with pytest.raises(KeyboardInterrupt):
        reward_samples(first, samples, output_dir=tmp_path, progress=False)
    second, third = (Scorer.from_pretrained(folder, max_tokens_per_pass=64) for _ in range(2))
    resumed = reward_samples(second, samples, output_dir=tmp_path, progress=False)
    again = reward_samples(third, samples, output_dir=tmp_path, progress=False)
    np.testing.assert_allclose(np.concatenate(resumed), np.concatenate(whole), atol=1e-5)
    np.testing.assert_array_equal(np.concatenate(again), np.concatenate(resumed))
    num_distinct = sum(len(set(s.completions)) for s in samples)
    ids = sum(len(second.token_ids(s.prompt, c)) for s in samples for c in set(s.completions))
    assert num_distinct == 24 and 0 < second.num_tokens_given < ids and third.num_tokens_given == 0
    rescored = reward_samples(third, samples, output_dir=tmp_path, rescore=True, progress=False)
    assert third.num_tokens_given == ids and len(rescored) == 12


def interrupt_after(model: nn.Module, num_passes: int) -> None:
    """Ctrl-C in the pass after so many."""
    seen = 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen > num_passes:
            raise KeyboardInterrupt

    model.register_forward_pre_hook(count)


def test_records_with_the_same_text_have_their_own_rewards_in_a_file_by_id(tmp_path: Path):
    path, rewards = tmp_path / "samples.jsonl", tmp_path / "rewards.jsonl"
    record = {"prompt": "p", "samples": ["x", "y"], "quality": [1, 0]}
    path.write_text("".join(json.dumps(record | {"id": name}) + "\n" for name in "ab"))
    rows = [{"id": "a", "rewards": [1.0, 2.0]}, {"id": "b", "rewards": [3.0, 4.0]}]
    rewards.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = reward_samples(FileSource(rewards), read_samples(path), output_dir=tmp_path, progress=False)
    assert [r.tolist() for r in found] == [[1.0, 2.0], [3.0, 4.0]]
    assert not (tmp_path / "rewards").exists()


def test_a_reward_that_is_not_finite_names_its_sample(folder: Path, samples: list[PromptSamples]):
    scorer = Scorer.from_pretrained(folder)
    next(scorer.model.parameters()).data.fill_(float("nan"))
    with pytest.raises(PlauditError, match=r"samples.jsonl:\d+, sample \d: the reward of a sequence is nan"):
        reward_samples(scorer, samples, progress=False)
