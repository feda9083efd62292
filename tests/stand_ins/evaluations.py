"""Output folders of evaluations, made by `evaluate_suites` from records and a reward that is a function of the text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plaudit.evaluation.run import evaluate_suites
from plaudit.evaluation.sets import EvaluationSet
from plaudit.evaluation.suites import Suite
from plaudit.preferences import read_preferences
from plaudit.tokens import Renderer
from stand_ins.tokenizers import CHATML_TEMPLATE, build_tokenizer

__all__ = ["EVIL", "TextScorer", "exclamations", "make_records", "write_evaluation"]

EVIL = (
    '</script><script>document.title="run"</script><img src=x onerror="document.title=\'run\'"> & <b>bold</b>'
)
"""A completion that would change the page's title if any of it were read as markup."""

_WORDS = "the sea is calm and wide today so we sail past seven green islands with an old brass lamp".split()


class TextScorer:
    """Rewards by a function of the rendered text."""

    def __init__(self, name: str, reward: Callable[[str], float], *, chat: bool = False) -> None:
        self.renderer = Renderer(
            build_tokenizer(vocab_size=300, chat_template=CHATML_TEMPLATE if chat else None)
        )
        self.name = name
        self.reward = reward
        self.num_tokens_given = 0
        self.num_tokens_computed = 0

    def score_sequences(
        self, sequences: Sequence[np.ndarray], *, description: str = "", progress: bool = True
    ) -> np.ndarray:
        self.num_tokens_given += sum(map(len, sequences))
        self.num_tokens_computed += sum(map(len, sequences))
        texts = [self.renderer.tokenizer.decode(ids) for ids in sequences]
        return np.array([self.reward(text) for text in texts], dtype=np.float32)


def exclamations(text: str) -> float:
    """A quarter for each ``!``."""
    return 0.25 * text.count("!")


def make_records(n: int, *, subsets: Sequence[str] = ("easy", "hard"), seed: int = 0) -> list[dict[str, Any]]:
    """Pairs of text, all different, whose rewards by `exclamations` are mostly but not always right."""
    rng = np.random.default_rng(seed)

    def sentence(length: int) -> str:
        return " ".join(rng.choice(_WORDS, size=length))

    return [
        {
            "prompt": f"Question {i} of {seed}: {sentence(6)}? ",
            "chosen": sentence(int(rng.integers(3, 30))) + "!" * int(rng.integers(0, 6)),
            "rejected": sentence(int(rng.integers(3, 30))) + "!" * int(rng.integers(0, 4)),
            "subset": subsets[i % len(subsets)],
            "id": f"r{i}",
        }
        for i in range(n)
    ]


def write_evaluation(
    folder: Path,
    data: Mapping[str, Sequence[Mapping[str, Any]]],
    *,
    name: str = "exclaimer",
    reward: Callable[[str], float] = exclamations,
    chat: bool = False,
    store_texts: bool = True,
    suites: Mapping[str, Suite] | None = None,
) -> Path:
    """Evaluate a `TextScorer` on some records by name of the set, and return the output folder.

    A set that ``suites`` names is read and scored by the rule of its suite.
    """
    sets = []
    for set_name, records in data.items():
        path = folder.parent / f"{folder.name}-data" / f"{set_name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        suite = (suites or {}).get(set_name)
        preferences = read_preferences(str(path)) if suite is None else suite.read(str(path), progress=False)
        sets.append(EvaluationSet(name=set_name, preferences=preferences, suite=suite))
    scorer = TextScorer(name, reward, chat=chat)
    evaluate_suites(scorer, sets, output_dir=folder, progress=False, store_texts=store_texts)
    return folder
