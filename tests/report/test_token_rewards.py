"""The reward at each token against plain transformers, one beginning at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from plaudit.errors import PlauditError
from plaudit.evaluation.run import evaluate_suites
from plaudit.evaluation.sets import EvaluationSet
from plaudit.preferences import read_preferences
from plaudit.report import ModelOutput, read_outputs
from plaudit.report.strip import strip_tokens
from plaudit.report.token_rewards import token_pieces, token_rewards
from plaudit.scoring import Scorer
from stand_ins.evaluations import make_records
from stand_ins.folders import write_reward_model
from stand_ins.tokenizers import build_tokenizer

RECORDS = make_records(6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def outputs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[ModelOutput]:
    base = tmp_path_factory.mktemp("out")
    data = base / "pairs.jsonl"
    data.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
    sets = [EvaluationSet(name="pairs", preferences=read_preferences(str(data)))]
    evaluate_suites(Scorer.from_pretrained(folder), sets, output_dir=base / "o", progress=False)
    return read_outputs([base / "o"])


def test_each_reward_is_that_of_the_text_up_to_its_token(folder: Path, outputs: list[ModelOutput]):
    stored = outputs[0].suites["pairs"].table().slice(2, 1).to_pylist()[0]
    found = token_rewards(outputs, stored["key"][:10], Scorer.from_pretrained(folder))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    for side, text in (("better", "chosen"), ("worse", "rejected")):
        ids = tokenizer(RECORDS[2]["prompt"] + RECORDS[2][text] + tokenizer.eos_token)["input_ids"]
        shown = found[side]["rewards"]
        with torch.no_grad():
            plain = [
                float(model(input_ids=torch.tensor([ids[:end]])).logits[0, 0])
                for end in range(1, len(ids) + 1)
            ]
        assert shown == pytest.approx(plain[-len(shown) :], abs=1e-5)
        assert shown[-1] == pytest.approx(stored[f"reward_{side}"], abs=1e-5)
        assert found[side]["start"] == pytest.approx(plain[-len(shown) - 1], abs=1e-5)
        assert "".join(found[side]["pieces"]).endswith(RECORDS[2][text][-8:] + tokenizer.eos_token)


def test_another_model_is_refused(outputs: list[ModelOutput], tmp_path: Path):
    key = outputs[0].suites["pairs"].table()["key"].to_pylist()[0]
    other = Scorer.from_pretrained(write_reward_model(tmp_path / "other", seed=9))
    with pytest.raises(PlauditError, match=r"was .* in the evaluation"):
        token_rewards(outputs, key, other)


@pytest.mark.parametrize(
    ("key", "said"), [("zz", "no comparison has the key"), ("", "no comparison has the key")]
)
def test_an_unknown_key_is_named(folder: Path, outputs: list[ModelOutput], key: str, said: str):
    with pytest.raises(PlauditError, match=said):
        token_rewards(outputs, key, Scorer.from_pretrained(folder))


def test_pieces_join_to_the_text_whatever_its_characters():
    text = "naïve 🙂 日本 text"
    tokenizer = build_tokenizer(vocab_size=300)
    ids = tokenizer(text)["input_ids"]
    pieces = list(token_pieces(tokenizer, ids))
    assert len(pieces) == len(ids) and "".join(pieces) == text
    assert "🙂" in pieces, "a character of four tokens is shown with its last"


def test_the_strip_is_coloured_by_what_a_token_adds_on_one_scale():
    # Changes +3, -1 and +0.1, 0: of the largest, 1, 1/3, 1/30 and 0.
    rewards = {
        "better": {"start": 0.0, "pieces": ["a", "b"], "rewards": [3.0, 2.0]},
        "worse": {"start": 0.0, "pieces": ["c", "d"], "rewards": [0.1, 0.1]},
    }
    strip = strip_tokens(rewards)
    assert [token["level"] for token in strip["better"] + strip["worse"]] == ["up-3", "down-2", "", ""]
    assert strip["better"][1]["change"] == "-1.000"
