"""Token ids are those of the peer: TRL's own preparation of a data set, run beside ours."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import Dataset

from plaudit.preferences.group import PreferenceGroup
from plaudit.tokens import Renderer, render_groups
from stand_ins.tokenizers import CHATML_TEMPLATE, LLAMA3_LIKE_TEMPLATE, build_tokenizer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    trl = pytest.importorskip("trl")
    from trl import RewardTrainer

USER = {"role": "user", "content": "  What is the capital of France? "}
PARIS = {"role": "assistant", "content": "Paris.\n"}
LYON = {"role": "assistant", "content": "Lyon"}
WEATHER = [{"type": "function", "function": {"name": "weather", "description": "", "parameters": {}}}]


def trl_ids(records: list[dict], tokenizer) -> list[tuple[list[int], list[int]]]:
    """What TRL would train on: (chosen, rejected) ids per record."""
    # The method reads nothing of the trainer, only these two of its arguments.
    arguments = SimpleNamespace(dataset_num_proc=None, max_length=None)
    prepared = RewardTrainer._prepare_dataset(None, Dataset.from_list(records), tokenizer, arguments, "train")
    return [(row["chosen_ids"], row["rejected_ids"]) for row in prepared]


def our_ids(records: list[dict], renderer: Renderer) -> list[tuple[list[int], list[int]]]:
    groups = [
        PreferenceGroup(
            prompt=_value(record.get("prompt", "" if isinstance(record["chosen"], str) else [])),
            completions=(_value(record["chosen"]), _value(record["rejected"])),
            tools=None if "tools" not in record else tuple(json.loads(record["tools"])),
        )
        for record in records
    ]
    rendered = render_groups(renderer, groups)
    return [(group.sequences[0].tolist(), group.sequences[1].tolist()) for group in rendered]


def _value(value):
    return value if isinstance(value, str) else tuple(value)


@pytest.mark.parametrize("add_bos", [False, True], ids=["no bos", "bos"])
@pytest.mark.parametrize("chat_template", [None, CHATML_TEMPLATE], ids=["no template", "template"])
def test_ids_of_standard_data_equal_trls(add_bos, chat_template):
    tokenizer = build_tokenizer(add_bos=add_bos, chat_template=chat_template)
    records = [
        {"prompt": "2 + 2 = ", "chosen": "4", "rejected": "5</s>"},
        {"prompt": "Écris: ", "chosen": "été 🦤", "rejected": " "},
    ]
    assert our_ids(records, Renderer(tokenizer, render="text")) == trl_ids(records, tokenizer)


def test_ids_of_standard_data_with_implicit_prompt_equal_trls():
    tokenizer = build_tokenizer(add_bos=True)
    records = [{"chosen": "Human: Hi\n\nAssistant: Hello", "rejected": "Human: Hi\n\nAssistant: Go away"}]
    assert our_ids(records, Renderer(tokenizer)) == trl_ids(records, tokenizer)


@pytest.mark.parametrize("template", [CHATML_TEMPLATE, LLAMA3_LIKE_TEMPLATE], ids=["chatml", "llama3-like"])
@pytest.mark.parametrize("add_bos", [False, True], ids=["no bos", "bos"])
def test_ids_of_conversational_data_equal_trls(template, add_bos):
    tokenizer = build_tokenizer(chat_template=template, add_bos=add_bos)
    records = [
        {"prompt": [USER], "chosen": [PARIS], "rejected": [LYON]},
        {"prompt": [USER, LYON, USER], "chosen": [PARIS], "rejected": [LYON]},
    ]
    assert our_ids(records, Renderer(tokenizer)) == trl_ids(records, tokenizer)


def test_ids_of_conversational_data_with_tools_equal_trls():
    tokenizer = build_tokenizer(chat_template=LLAMA3_LIKE_TEMPLATE)
    records = [{"prompt": [USER], "chosen": [PARIS], "rejected": [LYON], "tools": json.dumps(WEATHER)}]
    assert our_ids(records, Renderer(tokenizer)) == trl_ids(records, tokenizer)


def test_ids_of_conversational_data_with_implicit_prompt_equal_trls():
    tokenizer = build_tokenizer(chat_template=CHATML_TEMPLATE)
    records = [{"chosen": [USER, PARIS], "rejected": [USER, LYON]}]
    assert our_ids(records, Renderer(tokenizer)) == trl_ids(records, tokenizer)


def test_ids_of_real_pairs_equal_trls(shared_data: Path):
    with (shared_data / "ultrafeedback" / "train.jsonl").open(encoding="utf-8") as file:
        records = [json.loads(line) for _, line in zip(range(60), file, strict=False)]
    records = [{name: record[name] for name in ("prompt", "chosen", "rejected")} for record in records]
    tokenizer = build_tokenizer(add_bos=True, vocab_size=1000)
    assert our_ids(records, Renderer(tokenizer)) == trl_ids(records, tokenizer)
