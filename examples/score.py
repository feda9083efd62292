"""Rewards from Python, and the same ones from plain transformers. Run `plaudit demo` first.

python examples/score.py demo-output
"""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from plaudit.scoring import Scorer

model = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output") / "model"
prompt, answers = "Sort: 31 12 25 44 90 67.", [" 12 25 31 44 67 90.", " 12 31 25 44 67 90."]

scorer = Scorer.from_pretrained(model, device="cpu")
rewards = scorer.score(prompt, answers)  # the prompt is computed once
for answer, reward in zip(answers, rewards, strict=True):
    print(f"{reward:+.4f} {answer}")

# The folder is plain transformers: the same reward without plaudit.
tokenizer = AutoTokenizer.from_pretrained(model)
plain = AutoModelForSequenceClassification.from_pretrained(model)
ids = tokenizer(prompt + answers[0] + tokenizer.eos_token, return_tensors="pt")["input_ids"]
with torch.no_grad():
    print(f"{plain(input_ids=ids).logits[0, 0]:+.4f} by plain transformers")
