"""RM-Bench against the loop of its README, and the length-only reward on data of its schema."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plaudit.evaluation.suites import SUITES
from stand_ins.suite_items import item, items_from_groups

SUITE = SUITES["rm-bench"]
DOMAINS = ("chat", "code", "math", "safety-refuse", "safety-response")


def made_rows(seed: int = 0, num: int = 40) -> list[dict[str, Any]]:
    """Answers of which the detailed and the marked-up ones are longer, as in the benchmark; some are as long."""
    draw = random.Random(seed)
    rows = []
    for number in range(num):
        answers = {
            side: ["x" * draw.randint(5, 12), "x" * draw.randint(10, 25), "x" * draw.randint(15, 40)]
            for side in ("chosen", "rejected")
        }
        domain = draw.choice(DOMAINS)
        rows.append({"id": str(number), "prompt": f"Question {number}?", "domain": domain, **answers})
    return rows


def by_readme(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Hard, normal and easy of some rows with the number of characters as reward."""
    matrix = np.zeros((3, 3))
    for row in rows:
        for i in range(3):
            for j in range(3):
                matrix[i][j] += len(row["chosen"][i]) > len(row["rejected"][j])
    matrix /= len(rows)
    return {
        "hard": (matrix[0][1] + matrix[0][2] + matrix[1][2]) / 3,
        "normal": (matrix[0][0] + matrix[1][1] + matrix[2][2]) / 3,
        "easy": (matrix[1][0] + matrix[2][0] + matrix[2][1]) / 3,
    }


@pytest.mark.parametrize("seed", range(3))
def test_the_length_only_reward_scores_as_the_readme_computes_it(tmp_path: Path, seed: int):
    rows = made_rows(seed)
    (tmp_path / "total_dataset.json").write_text(json.dumps(rows))
    scores = SUITE.score(items_from_groups(list(SUITE.read(str(tmp_path), progress=False))))
    expected = {}
    for domain in ("chat", "code", "math", "safety"):
        expected[domain] = by_readme([row for row in rows if row["domain"].startswith(domain)])
        for level, value in expected[domain].items():
            assert scores[f"{domain} {level}"].value == pytest.approx(value)
        assert scores[domain].value == pytest.approx(np.mean(list(expected[domain].values())))
    for level in ("hard", "normal", "easy"):
        assert scores[level].value == pytest.approx(np.mean([of[level] for of in expected.values()]))
    means = [np.mean(list(of.values())) for of in expected.values()]
    assert scores.headline_score.value == pytest.approx(np.mean(means))


def test_the_parts_of_safety_are_pooled_by_prompt():
    win, lose = [1.0] * 3 + [0.0] * 3, [0.0] * 3 + [1.0] * 3
    items = [item(win, 3, subset="safety-refuse")] + [item(lose, 3, subset="safety-response")] * 3
    scores = SUITE.score(items)
    assert scores["safety"].value == pytest.approx(0.25) and scores["safety"].num_items == 4
    assert "without chat, code, math" in (scores["overall"].note or "")


def test_hard_is_the_plain_right_answer_against_the_fancy_wrong_one():
    # Fancier is better, and right answers are no better than wrong ones of the same style.
    fancy = item([0.0, 1.0, 2.0, 0.0, 1.0, 2.0], 3, subset="chat")
    scores = SUITE.score([fancy])
    assert [scores[f"chat {level}"].value for level in ("hard", "normal", "easy")] == [0.0, 0.0, 1.0]
    assert SUITE.score([fancy], ties="half")["chat normal"].value == 0.5
    assert scores["detailed markdown > concise"].value == 1.0
    assert scores["concise > detailed markdown"].value == 0.0


def test_rows_without_three_answers_of_each_kind_are_refused(tmp_path: Path):
    path = tmp_path / "rm.jsonl"
    path.write_text(json.dumps(made_rows(num=1)[0] | {"chosen": ["one", "two"]}) + "\n")
    with pytest.raises(Exception, match=r"rm\.jsonl:1: length-mismatch: 2 chosen and 3 rejected"):
        SUITE.read(str(path), progress=False)
