"""One reward: whatever the budget, order, neighbours and backend; equal to plain transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from plaudit import Scorer
from plaudit.errors import PlauditError
from plaudit.model.inference import rewards_of_sequences
from plaudit.tree import num_distinct_tokens
from stand_ins.folders import PAIRS, write_reward_model
from stand_ins.tokenizers import CHATML_TEMPLATE


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reward_model(tmp_path_factory.mktemp("model") / "reward")


@pytest.fixture(scope="module")
def scorer(folder: Path) -> Scorer:
    return Scorer.from_pretrained(folder)


@pytest.fixture(scope="module")
def sequences(scorer: Scorer) -> list[np.ndarray]:
    groups = [[scorer.token_ids(p["prompt"], p[key]) for key in ("chosen", "rejected")] for p in PAIRS]
    return [ids for group in groups for ids in group]


@pytest.fixture(scope="module")
def plain(folder: Path, sequences: list[np.ndarray]) -> np.ndarray:
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        rewards = [model(input_ids=torch.tensor(ids)[None]).logits[0, 0].item() for ids in sequences]
    return np.array(rewards)


@pytest.mark.parametrize("backend", ["sdpa", "padded"])
@pytest.mark.parametrize("budget", [1, 50, 300, 100_000])
def test_rewards_equal_plain_ones_at_any_budget(
    folder: Path, sequences: list[np.ndarray], plain: np.ndarray, backend: str, budget: int
) -> None:
    scorer = Scorer.from_pretrained(folder, attention=backend, max_tokens_per_pass=budget)
    assert plain.std() > 0.1
    assert scorer.score_sequences(sequences) == pytest.approx(plain, abs=1e-5)


def test_rewards_do_not_move_with_order_and_neighbours(
    scorer: Scorer, sequences: list[np.ndarray], plain: np.ndarray
) -> None:
    order = np.random.default_rng(0).permutation(len(sequences))
    shuffled = scorer.score_sequences([sequences[i] for i in order])
    assert shuffled == pytest.approx(plain[order], abs=1e-5)
    alone = scorer.score_sequences([sequences[5]])
    assert alone == pytest.approx(plain[5:6], abs=1e-5)


def test_each_distinct_prefix_is_computed_once(scorer: Scorer, sequences: list[np.ndarray]) -> None:
    result = rewards_of_sequences(scorer.model, [*sequences, *sequences], max_tokens=10**6)
    assert result.num_given_tokens == 2 * sum(map(len, sequences))
    full = num_distinct_tokens(sequences)
    # A split under the threshold of 8 tokens is repeated; 128 sequences have at most 127 splits.
    assert full <= result.num_computed_tokens <= full + 7 * 127
    assert (result.rewards[: len(sequences)] == result.rewards[len(sequences) :]).all()


def test_no_completion_and_no_sequence_give_no_reward(scorer: Scorer) -> None:
    assert scorer.score("a prompt", []) == []
    assert scorer.score_sequences([]).shape == (0,)


def test_a_prompt_may_be_text_or_messages_where_the_model_has_a_template(tmp_path: Path) -> None:
    chat = Scorer.from_pretrained(write_reward_model(tmp_path / "chat", chat_template=CHATML_TEMPLATE))
    text = chat.score("the cat?", ["a dog", "the mat"])
    user = [{"role": "user", "content": "the cat?"}]
    answers = [({"role": "assistant", "content": answer},) for answer in ("a dog", "the mat")]
    assert chat.score(user, answers) == text
    assert chat.score_messages([[*user, *answer] for answer in answers]) == pytest.approx(text, abs=1e-6)


class Crowded(torch.nn.Module):
    """A device with room for so many tokens, in front of the model."""

    def __init__(self, model: torch.nn.Module, room: int) -> None:
        super().__init__()
        self.inner, self.room, self.sizes = [model], room, []

    def forward(self, tree):
        if tree.num_tokens > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.sizes.append(tree.num_tokens)
        return self.inner[0](tree=tree)


def test_out_of_memory_halves_the_pass_and_goes_on(
    scorer: Scorer, sequences: list[np.ndarray], plain: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    crowded = Crowded(scorer.model, room=200)
    result = rewards_of_sequences(scorer.model, sequences, max_tokens=3000, call=crowded)
    assert result.rewards == pytest.approx(plain, abs=1e-5)
    assert len(crowded.sizes) > 5 and max(crowded.sizes) <= 200
    assert result.max_tokens < 3000
    assert "going on with 1500" in caplog.text


def test_a_sequence_that_does_not_fit_alone_is_an_error_with_a_remedy(
    scorer: Scorer, sequences: list[np.ndarray]
) -> None:
    with pytest.raises(PlauditError, match=r"single sequence of .* tokens.*--max-length"):
        rewards_of_sequences(scorer.model, sequences, max_tokens=3000, call=Crowded(scorer.model, room=3))


def test_scoring_leaves_the_models_mode_as_it_was(scorer: Scorer, sequences: list[np.ndarray]) -> None:
    scorer.model.train()
    scorer.score_sequences(sequences[:2])
    assert scorer.model.training
    scorer.model.eval()
