"""What training leaves behind is a plain transformers folder with the same rewards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from plaudit import RewardConfig, RewardTrainer, Scorer
from stand_ins.folders import PAIRS as TRANSCRIPTS
from stand_ins.folders import write_causal_model
from stand_ins.tokenizers import CHATML_TEMPLATE

PAIRS = [
    {**p, "prompt": p["prompt"].removeprefix("\n\nHuman: ").removesuffix("\n\nAssistant:")}
    for p in TRANSCRIPTS
]


@pytest.fixture(scope="module", params=[None, CHATML_TEMPLATE], ids=["text", "chat"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> RewardTrainer:
    folder = tmp_path_factory.mktemp("run")
    base = write_causal_model(folder / "base", chat_template=request.param)
    args = RewardConfig(
        output_dir=str(folder / "trained"),
        per_device_train_batch_size=8,
        max_steps=12,
        learning_rate=1e-2,
        bf16=False,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    dataset = Dataset.from_list(PAIRS)
    trainer = RewardTrainer(model=str(base), args=args, train_dataset=dataset, eval_dataset=dataset)
    trainer.train()
    trainer.evaluate()
    trainer.save_model()
    return trainer


def test_plain_transformers_gives_the_same_rewards(trained: RewardTrainer) -> None:
    folder = trained.args.output_dir
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    expected = trained.predict(Dataset.from_list(PAIRS[:8])).predictions
    assert abs(expected[:, 0] - expected[:, 1]).max() > 0.1
    for pair, (chosen, rejected) in zip(PAIRS, expected, strict=False):
        for key, reward in (("chosen", chosen), ("rejected", rejected)):
            if tokenizer.chat_template:
                messages = [
                    {"role": "user", "content": pair["prompt"]},
                    {"role": "assistant", "content": pair[key]},
                ]
                ids = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)[
                    "input_ids"
                ]
            else:
                ids = tokenizer(
                    pair["prompt"] + pair[key] + tokenizer.eos_token, return_tensors="pt"
                ).input_ids
            with torch.no_grad():
                assert model(input_ids=ids).logits[0, 0].item() == pytest.approx(float(reward), abs=1e-5)


def test_batched_and_padded_by_plain_transformers_the_rewards_are_the_same(trained: RewardTrainer) -> None:
    # pad == eos would make the class read the reward one token early.
    folder = trained.args.output_dir
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id
    texts = [trained.renderer.render_text(p["prompt"], p["chosen"]) for p in PAIRS[:6]]
    batch = tokenizer(texts, padding=True, return_tensors="pt", add_special_tokens=False)
    with torch.no_grad():
        logits = model(**batch).logits[:, 0]
    expected = trained.predict(Dataset.from_list(PAIRS[:6])).predictions[:, 0]
    assert logits.numpy() == pytest.approx(expected, abs=1e-5)


def test_the_text_classification_pipeline_returns_the_raw_reward(trained: RewardTrainer) -> None:
    reward_pipe = pipeline("text-classification", model=trained.args.output_dir)
    texts = [trained.renderer.render_text(p["prompt"], p["chosen"]) for p in PAIRS[:6]]
    expected = trained.predict(Dataset.from_list(PAIRS[:6])).predictions[:, 0]
    scores = [result["score"] for result in reward_pipe(texts, add_special_tokens=False)]
    assert scores == pytest.approx(expected.tolist(), abs=1e-5)
    assert min(scores) < 0 or max(scores) > 1, "a sigmoid would pass too"


def test_the_evaluation_snippet_of_the_trl_guide_runs(trained: RewardTrainer) -> None:
    tokenizer = AutoTokenizer.from_pretrained(trained.args.output_dir)
    texts = {
        key: [trained.renderer.render_text(p["prompt"], p[key]) for p in PAIRS]
        for key in ("chosen", "rejected")
    }
    chosen_inputs, rejected_inputs = (
        tokenizer(texts[key], padding=True, return_tensors="pt", add_special_tokens=False) for key in texts
    )
    # The guide's lines, on the saved folder and on the model in the trainer's hands.
    saved = AutoModelForSequenceClassification.from_pretrained(trained.args.output_dir)
    in_memory = trained.model
    for model in (saved, in_memory):
        model.eval()
        with torch.no_grad():
            chosen_rewards = model(**chosen_inputs).logits
            rejected_rewards = model(**rejected_inputs).logits
        accuracy = (chosen_rewards > rejected_rewards).float().mean()
        assert accuracy.item() == pytest.approx(
            trained.predict(Dataset.from_list(PAIRS)).metrics["test_rm/accuracy"]
        )


def test_the_scorer_restores_the_rendering_and_the_rewards(trained: RewardTrainer) -> None:
    scorer = Scorer.from_pretrained(trained.args.output_dir)
    expected = trained.predict(Dataset.from_list(PAIRS[:1])).predictions[0]
    pair = PAIRS[0]
    rewards = scorer.score(pair["prompt"], [pair["chosen"], pair["rejected"]])
    assert rewards == pytest.approx(expected.tolist(), abs=1e-5)


def test_a_transcript_scores_as_it_trained(trained: RewardTrainer) -> None:
    # With a chat template a transcript is read as messages, in a file and in a call alike.
    scorer = Scorer.from_pretrained(trained.args.output_dir)
    expected = trained.predict(Dataset.from_list(TRANSCRIPTS[:1])).predictions[0]
    pair = TRANSCRIPTS[0]
    rewards = scorer.score(pair["prompt"], [pair["chosen"], pair["rejected"]])
    assert rewards == pytest.approx(expected.tolist(), abs=1e-5)


def test_config_and_record_say_what_consumers_need(trained: RewardTrainer) -> None:
    folder = Path(trained.args.output_dir)
    config = json.loads((folder / "config.json").read_text())
    record = json.loads((folder / "plaudit.json").read_text())
    assert config["architectures"] == ["LlamaForSequenceClassification"]
    assert config["problem_type"] == "regression" and list(config["id2label"]) == ["0"]
    assert config["pad_token_id"] != config["eos_token_id"]
    assert record["num_rewards"] == 2 * len(PAIRS) and record["reward_std"] > 0
    assert record["rendering"]["render"] == trained.renderer.render
    assert len(record["data_fingerprint"]) >= 32
