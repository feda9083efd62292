"""The scripts of TRL's reward modelling guide, with the import changed: they run, and their numbers are right.

The guide is read where it lies beside the checkout. Scripts of our own with the same calls run everywhere.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from plaudit import RewardConfig, Scorer
from plaudit.preferences import read_preferences
from stand_ins.folders import PAIRS
from stand_ins.processes import script_environment
from stand_ins.tokenizers import build_tokenizer

MODEL, DATA, TRAINED = "Qwen/Qwen2.5-0.5B-Instruct", "trl-lib/ultrafeedback_binarized", "Qwen2.5-Reward"
"""The names in the scripts; here they are folders below the current one."""

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "from-trl.md"

SEED = 5
NUM_TRAIN, NUM_TEST = 40, 24  # 20 steps of the guide's batch size, so that every step is in a log line


@dataclass(frozen=True, slots=True)
class Scripts:
    """Code as a user writes it for TRL."""

    training: str
    inference: str
    evaluation: str


OWN = Scripts(
    training=f"""
import datasets, transformers
from trl import RewardTrainer, RewardConfig
name = "{MODEL}"
model = transformers.AutoModelForSequenceClassification.from_pretrained(name, num_labels=1)
tokenizer = transformers.AutoTokenizer.from_pretrained(name)
args = RewardConfig(output_dir="{TRAINED}", learning_rate=1e-5, num_train_epochs=1, per_device_train_batch_size=2)
pairs = datasets.load_dataset("{DATA}", split="train")
trainer = RewardTrainer(model=model, args=args, train_dataset=pairs, processing_class=tokenizer)
trainer.train()
""",
    inference=f"""
import transformers
reward_pipe = transformers.pipeline("text-classification", model="{TRAINED}")
print(reward_pipe(["Seven minutes.", "No idea!", "Boil the egg."]))
""",
    evaluation="""
wins = model(**chosen_inputs).logits > model(**rejected_inputs).logits
print(f"Accuracy: {wins.float().mean():.2%}")
""",
)

INPUTS = f"""
from datasets import load_dataset as load
rows = load("{DATA}", split="test")
chosen_inputs, rejected_inputs = (
    tokenizer(
        [tokenizer.apply_chat_template(row[key], tokenize=False) for row in rows],
        padding=True, add_special_tokens=False, return_tensors="pt",
    )
    for key in ("chosen", "rejected")
)
"""
"""What the guide's evaluation takes for granted: the test set as padded batches."""

RELOADED = f"""
from transformers import AutoModelForSequenceClassification, AutoTokenizer
model = AutoModelForSequenceClassification.from_pretrained("{TRAINED}")
tokenizer = AutoTokenizer.from_pretrained("{TRAINED}")
"""

QWEN_LIKE_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nBe of help.<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Has a system message of its own and ends with a line break, as Qwen's."""


# The guide --------------------------------------------------------------------------------------------------


def guide_blocks(shared_data: Path) -> list[tuple[str, str]]:
    """The guide's fenced blocks: language and code."""
    page = shared_data.parent / "references" / "trl-reward-modeling-guide.md"
    if not page.is_file():
        pytest.skip("no guide beside the checkout (../shared/references)")
    return re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


def guide_scripts(shared_data: Path) -> Scripts:
    """The blocks that train, infer and evaluate, each known by what it calls."""
    python = [code for language, code in guide_blocks(shared_data) if language == "python"]
    calls = {"training": "RewardTrainer(", "inference": "pipeline(", "evaluation": "accuracy = "}
    found = {name: [code for code in python if call in code] for name, call in calls.items()}
    assert all(len(blocks) == 1 for blocks in found.values()), found
    return Scripts(**{name: blocks[0] for name, blocks in found.items()})


# A folder in which the names exist ---------------------------------------------------------------------------


def question(pair: dict[str, str]) -> str:
    return pair["prompt"].removeprefix("\n\nHuman: ").removesuffix("\n\nAssistant:")


def as_conversation(pair: dict[str, str], key: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question(pair)}, {"role": "assistant", "content": pair[key]}]


def write_model(folder: Path) -> None:
    """A causal model of Qwen2's architecture and special tokens, without a reward head."""
    texts = [pair["prompt"] + pair["chosen"] + pair["rejected"] for pair in PAIRS]
    tokenizer = build_tokenizer(
        texts, chat_template=QWEN_LIKE_TEMPLATE, eos="<|im_end|>", pad="<|endoftext|>"
    )
    tokenizer.bos_token = None
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    tokens = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.pad_token_id}
    config = AutoConfig.for_model(
        "qwen2", vocab_size=len(tokenizer), num_key_value_heads=2, tie_word_embeddings=True, **sizes, **tokens
    )
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.15)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def write_data(folder: Path) -> None:
    """The columns and files of TRL's UltraFeedback."""
    rows = [
        {key: as_conversation(pair, key) for key in ("chosen", "rejected")}
        | {"score_chosen": 7.0 + i % 3, "score_rejected": 2.0 + i % 4}
        for i, pair in enumerate(PAIRS)
    ]
    (folder / "data").mkdir(parents=True)
    for split, part in (("train", rows[:NUM_TRAIN]), ("test", rows[NUM_TRAIN:])):
        Dataset.from_list(part).to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")


@dataclass(frozen=True, slots=True)
class Run:
    """A training script that was run."""

    folder: Path
    scripts: Scripts
    printed: str


@pytest.fixture(scope="module", params=["own words", "guide"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The training script, then the evaluation snippet on the model it has in its hands, in a process of its own."""
    scripts = OWN if request.param == "own words" else guide_scripts(request.getfixturevalue("shared_data"))
    assert scripts.training.count("from trl import") == 1
    folder = tmp_path_factory.mktemp("guide")
    write_model(folder / MODEL)
    write_data(folder / DATA)
    changed = scripts.training.replace("from trl import", "from plaudit import")
    (folder / "script.py").write_text(changed + INPUTS + scripts.evaluation, encoding="utf-8")
    # The script draws the head without a seed.
    start = (
        f"import runpy, torch; torch.manual_seed({SEED}); runpy.run_path('script.py', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", start],
        cwd=folder,
        env=script_environment() | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return Run(folder, scripts, done.stdout)


def run_here(run: Run, code: str, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], str]:
    """Code run in the folder of a run: the names it defines, and what it prints."""
    monkeypatch.chdir(run.folder)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", run.folder / "cache")
    names: dict[str, Any] = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "<snippet>", "exec"), names)
    return names, printed.getvalue()


# The truth: plain transformers, one sequence at a time -------------------------------------------------------


def plain_rewards(model: Any, folder: Path, texts: list[Any]) -> list[float]:
    """Rewards of texts, or of conversations under the folder's chat template."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rewards = []
    for text in texts:
        ids = (
            tokenizer(text)["input_ids"]
            if isinstance(text, str)
            else tokenizer.apply_chat_template(text)["input_ids"]
        )
        with torch.no_grad():
            rewards.append(model.eval()(input_ids=torch.tensor([ids])).logits[0, 0].item())
    return rewards


def pair_rewards(model: Any, folder: Path, pairs: list[dict[str, str]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards [pair] of the chosen and of the rejected conversations, float64."""
    rewards = (
        plain_rewards(model, folder, [as_conversation(p, key) for p in pairs])
        for key in ("chosen", "rejected")
    )
    chosen, rejected = (torch.tensor(row, dtype=torch.float64) for row in rewards)
    return chosen, rejected


def untrained_model(run: Run) -> Any:
    """What the training script started from, with the head that the seed draws."""
    torch.manual_seed(SEED)
    return AutoModelForSequenceClassification.from_pretrained(run.folder / MODEL, num_labels=1)


def trained_model(run: Run) -> Any:
    return AutoModelForSequenceClassification.from_pretrained(run.folder / TRAINED)


def test_the_training_script_leaves_a_whole_model_whose_every_weight_has_moved(run: Run) -> None:
    folder = run.folder / TRAINED
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForSequenceClassification"]
    before = untrained_model(run).state_dict()
    after = load_file(folder / "model.safetensors")
    assert after.keys() == before.keys() and "score.weight" in after
    assert [name for name in after if torch.equal(after[name], before[name])] == []


def test_the_logged_loss_is_bradley_terrys_on_the_data_and_falls(run: Run) -> None:
    def loss_of(model: Any) -> float:
        chosen, rejected = pair_rewards(model, run.folder / MODEL, PAIRS[:NUM_TRAIN])
        return -torch.nn.functional.logsigmoid(chosen - rejected).mean().item()

    before, after = loss_of(untrained_model(run)), loss_of(trained_model(run))
    lines = [json.loads(line) for line in (run.folder / TRAINED / "metrics.jsonl").read_text().splitlines()]
    logged = [line["loss"] for line in lines if "loss" in line]
    assert [line["step"] for line in lines if "loss" in line] == [10, 20]
    assert after < before - 1e-4
    # Each pair was read once, on the way from one to the other.
    assert after < sum(logged) / 2 < before


def test_the_evaluation_snippet_prints_the_true_accuracy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen, rejected = pair_rewards(trained_model(run), run.folder / TRAINED, PAIRS[NUM_TRAIN:])
    assert 0.1 < (chosen > rejected).float().mean() < 0.9 and (chosen - rejected).abs().min() > 1e-4
    expected = f"Accuracy: {(chosen > rejected).double().mean().item():.2%}"
    _, of_the_saved_folder = run_here(run, RELOADED + INPUTS + run.scripts.evaluation, monkeypatch)
    assert run.printed.splitlines()[-1] == expected == of_the_saved_folder.strip()


def test_the_inference_snippet_gives_raw_rewards(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    names, printed = run_here(run, run.scripts.inference, monkeypatch)
    texts = next(  # the list of strings that it scores
        ast.literal_eval(node)
        for node in ast.walk(ast.parse(run.scripts.inference))
        if isinstance(node, ast.List)
    )
    scores = [result["score"] for result in ast.literal_eval(printed)]
    model, folder = trained_model(run), run.folder / TRAINED
    assert scores == pytest.approx(plain_rewards(model, folder, texts), abs=1e-6)

    conversations = [as_conversation(pair, key) for pair in PAIRS[:4] for key in ("chosen", "rejected")]
    expected = plain_rewards(model, folder, conversations)
    assert min(expected) < 0 or max(expected) > 1, "a sigmoid would pass too"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    rendered = [tokenizer.apply_chat_template(turns, tokenize=False) for turns in conversations]
    assert [result["score"] for result in names["reward_pipe"](rendered)] == pytest.approx(expected, abs=1e-5)
    scorer = Scorer.from_pretrained(folder)
    for i, pair in enumerate(PAIRS[:4]):
        both = scorer.score(question(pair), [pair["chosen"], pair["rejected"]])
        assert both == pytest.approx(expected[2 * i : 2 * i + 2], abs=1e-5)


@pytest.mark.filterwarnings("ignore")  # TRL says that it is experimental
def test_trls_reward_function_for_policies_gives_the_same_rewards(run: Run) -> None:
    from trl.experimental.utils import get_reward

    model, folder = trained_model(run).eval(), run.folder / TRAINED
    tokenizer = AutoTokenizer.from_pretrained(folder)
    conversations = [as_conversation(pair, "chosen") for pair in PAIRS[:6]]
    texts = [tokenizer.apply_chat_template(turns, tokenize=False) for turns in conversations]
    rows = tokenizer(texts, padding=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        _, rewards, _ = get_reward(model, rows, tokenizer.pad_token_id, 0)
    assert rewards.tolist() == pytest.approx(plain_rewards(model, folder, conversations), abs=1e-5)


def test_no_script_of_the_guide_is_left_out(shared_data: Path) -> None:
    scripts = guide_scripts(shared_data)
    known = (scripts.training, scripts.inference, scripts.evaluation)
    rest = [
        code for language, code in guide_blocks(shared_data) if language == "python" and code not in known
    ]
    # A policy's training, by a class that TRL 1.16 does not have.
    assert len(rest) == 1 and "PPOTrainer" in rest[0] and not hasattr(trl, "PPOTrainer")


def test_the_guides_example_of_a_record_is_read(shared_data: Path) -> None:
    (record,) = [json.loads(code) for language, code in guide_blocks(shared_data) if language == "json"]
    group = read_preferences([record])[0]
    assert (group.prompt, group.completions) == (record["prompt"], (record["chosen"], record["rejected"]))
    assert [(c.better, c.worse) for c in group.comparisons] == [(0, 1)]


# The page for those who come from TRL ------------------------------------------------------------------------


def test_the_page_names_tests_and_settings_that_exist() -> None:
    page = PAGE.read_text("utf-8")
    named = set(re.findall(r"`(\w+/test_\w+\.py)`", page))
    assert len(named) > 10 and [name for name in named if not (TESTS / name).is_file()] == []
    settings = {field.name for field in fields(RewardConfig)}
    ours = page.split("## What is ours besides")[1].split("## ")[0]
    listed = set(re.findall(r"`(\w+)`", ours)) - {"train_dataset"}
    not_of_trl = settings - {field.name for field in fields(trl.RewardConfig)}
    prefixed = {name for name in not_of_trl if name.startswith("lora_")}  # listed as lora_*
    assert listed | prefixed == not_of_trl
    (example,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["args"].render == "text"
