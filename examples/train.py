"""Train a reward model from Python, as `plaudit train` does. Run `plaudit demo` first: it writes the data.

python examples/train.py demo-output
"""

import sys
from pathlib import Path

from plaudit.preferences import read_preferences
from plaudit.preferences.holdout import hold_out
from plaudit.training import RewardConfig, RewardTrainer

demo = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output")

# Any common form of preference data is recognised; here each question has answers that were checked.
preferences = read_preferences(demo / "train.jsonl")
train, evaluation = hold_out(preferences, fraction=0.1)  # by prompt, never by row

trainer = RewardTrainer(
    str(demo / "base"),  # a causal model: it gets a fresh head
    args=RewardConfig(
        output_dir=str(demo / "trained-from-python"),
        max_steps=int(sys.argv[2]) if len(sys.argv) > 2 else 100,
        per_device_train_batch_size=16,
        learning_rate=3e-3,
        gradient_checkpointing=False,
        save_strategy="no",
    ),
    train_dataset=train,
    eval_dataset=evaluation,
)
trainer.train()
metrics = trainer.evaluate()
trainer.save_model()  # a folder that plain transformers loads
print(f"accuracy {metrics['eval_rm/accuracy']:.3f} on {metrics['eval_num_comparisons']:,} comparisons")
