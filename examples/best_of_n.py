"""How much better the best of n answers is than one, exactly, from answers that were checked. After `plaudit demo`.

python examples/best_of_n.py demo-output
"""

import json
import sys
from pathlib import Path

from plaudit.evaluation import expected_best_of_n
from plaudit.scoring import Scorer

demo = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output")
scorer = Scorer.from_pretrained(demo / "model", device="cpu")

rewards, quality = [], []
for line in (demo / "test.jsonl").read_text().splitlines():
    question = json.loads(line)
    rewards.append(scorer.score(question["prompt"], [answer["text"] for answer in question["samples"]]))
    quality.append([float(answer["is_correct"]) for answer in question["samples"]])

for point in expected_best_of_n(rewards, quality, [1, 2, 4, 8]).points:
    print(f"best of {point.n}: {point.picked.value:.3f} right, a perfect reward: {point.oracle.value:.3f}")
