"""How to use a saved reward model, as code that runs: transformers, vLLM, TRL, plaudit.

The code says what decides a reward and differs between models: how a conversation is rendered, whether the folder is
an adapter, whether the reward is a sum over attributes. The tests execute it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from plaudit.training.markdown import code_block
from plaudit.training.model_facts import ModelFacts

__all__ = ["usage_section"]

PROMPT = "What is the capital of France?"
ANSWERS = ["The capital of France is Paris.", "I like turtles."]
"""What every example scores."""


def usage_section(model: ModelFacts, model_id: str, *, trust_remote_code: bool = False) -> str:
    """The section as Markdown.

    Args:
        model: How the model is built and renders.
        model_id: What the code loads: a hub id or a folder.
        trust_remote_code: Whether its modelling code comes with it.
    """
    parts = [
        "## How to use it",
        *_form_of_prompts(model),
        *(
            _with_score_head(model, model_id, trust_remote_code)
            if model.head == "score"
            else _with_value_head(model, model_id)
        ),
    ]
    return "\n\n".join(parts)


def _with_score_head(model: ModelFacts, model_id: str, trust_remote_code: bool) -> list[str]:
    return [
        "### transformers",
        code_block(_transformers(model, model_id, trust_remote_code), "python"),
        *_pipeline(model),
        *_merging(model),
        "### plaudit",
        "The same numbers, with what the answers have in common computed once:",
        code_block(_plaudit(model_id), "python"),
        "### vLLM",
        *_vllm(model, model_id),
        "### TRL",
        *_trl(model, model_id),
    ]


def _with_value_head(model: ModelFacts, model_id: str) -> list[str]:
    """For what LLaMA-Factory reads: everyone else takes the folder that it is converted into."""
    merge = " --merge-adapter" if model.needs_peft else ""
    convert = f"plaudit convert {model_id} with-score-head --to sequence-classification --bias drop{merge}"
    return [
        "The folder holds a language model, or an adapter of one, and a value head beside it, as LLaMA-Factory reads "
        "it.",
        "### plaudit",
        code_block(_plaudit(model_id), "python"),
        "### Others",
        "transformers' pipeline, vLLM and TRL take a model with a score head. The conversion proves itself, and says "
        "by how much every reward shifts without the bias:",
        code_block(convert, "bash"),
    ]


def _form_of_prompts(model: ModelFacts) -> list[str]:
    """What a reader of the code cannot see where no chat template brings a prompt into the form of the data."""
    if model.render == "chat":
        return []
    return [
        "There is no chat template: the answer stands right behind the prompt, and prompts should have the form of "
        "those it was trained on."
    ]


def _transformers(model: ModelFacts, model_id: str, trust_remote_code: bool) -> str:
    auto = (
        "AutoPeftModelForSequenceClassification" if model.needs_peft else "AutoModelForSequenceClassification"
    )
    num_outputs = f", num_labels={len(model.attributes) or 1}" if model.needs_peft else ""
    trust = ", trust_remote_code=True" if trust_remote_code else ""
    imports = (
        [f"from peft import {auto}", "from transformers import AutoTokenizer"]
        if model.needs_peft
        else [f"from transformers import {auto}, AutoTokenizer"]
    )
    lines = [
        "import torch",
        *imports,
        "",
        f"model_id = {_quoted(model_id)}",
        f"tokenizer = AutoTokenizer.from_pretrained(model_id{trust})",
        f"model = {auto}.from_pretrained(model_id{num_outputs}{trust}).eval()",
        *(["model.config.pad_token_id = tokenizer.pad_token_id"] if model.needs_peft else []),
        "",
        f"prompt = {_quoted(PROMPT)}",
        f"answers = {_quoted(ANSWERS)}",
        *_rendering(model),
        "with torch.no_grad():",
        "    outputs = model(**inputs).logits.float()",
        *_reward_lines(model),
        "print(rewards)",
    ]
    return "\n".join(lines)


def _quoted(value: str | list[str]) -> str:
    """A text, or a list of texts, as Python writes them between double quotes."""
    return json.dumps(value, ensure_ascii=False)


def _rendering(model: ModelFacts) -> list[str]:
    padding = 'padding=True, padding_side="right", return_tensors="pt"'
    if model.render != "chat":
        closing = f" + {_quoted(model.eos_token)}" if model.eos_token else ""
        return [
            f"texts = [prompt + answer{closing} for answer in answers]",
            f"inputs = tokenizer(texts, {padding})",
        ]
    arguments = "".join(f", {name}={value!r}" for name, value in model.chat_template_kwargs.items())
    return [
        "texts = [",
        "    tokenizer.apply_chat_template(",
        '        [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}],',
        f"        tokenize=False{arguments},",
        "    )",
        "    for answer in answers",
        "]",
        "# The template writes the special tokens itself.",
        f"inputs = tokenizer(texts, add_special_tokens=False, {padding})",
    ]


def _reward_lines(model: ModelFacts) -> list[str]:
    if not model.attributes:
        return ["rewards = outputs[:, 0].tolist()"]
    weights = list(model.attributes.values()) if model.needs_peft else "model.config.reward_weights"
    return [
        f"# One output per attribute: {', '.join(model.attributes)}. The reward is their weighted sum.",
        f"rewards = (outputs @ torch.tensor({weights})).tolist()",
    ]


def _pipeline(model: ModelFacts) -> list[str]:
    """The text-classification pipeline, which takes no adapter."""
    if model.needs_peft:
        return []
    options = ", add_special_tokens=False" if model.render == "chat" else ""
    head = ["from transformers import pipeline", "", 'pipe = pipeline("text-classification", model=model_id)']
    if not model.attributes:
        code = [*head, f'rewards = [result["score"] for result in pipe(texts{options})]', "print(rewards)"]
        return [
            "Or with the pipeline, which gives the same raw number:",
            code_block("\n".join(code), "python"),
        ]
    code = [
        *head,
        "weights = dict(zip(model.config.id2label.values(), model.config.reward_weights))",
        "rewards = [",
        '    sum(weights[output["label"]] * output["score"] for output in outputs)',
        f"    for outputs in pipe(texts, top_k=None{options})",
        "]",
        "print(rewards)",
    ]
    return [
        "Or with the pipeline, which gives the attributes by name:",
        code_block("\n".join(code), "python"),
    ]


def _merging(model: ModelFacts) -> list[str]:
    if not model.needs_peft:
        return []
    code = [
        "merged = model.merge_and_unload()",
        'merged.config.problem_type = "regression"  # the raw reward, not its sigmoid',
        'merged.save_pretrained("merged")',
        'tokenizer.save_pretrained("merged")',
    ]
    if model.attributes:
        code[1:1] = [
            f"merged.config.reward_weights = {list(model.attributes.values())}",
            f"merged.config.id2label = {dict(enumerate(model.attributes))!r}",
        ]
    return [
        "The folder holds an adapter. For consumers that take whole models (the pipeline, vLLM), merge it:",
        code_block("\n".join(code), "python"),
    ]


def _plaudit(model_id: str) -> str:
    return "\n".join(
        [
            "from plaudit import Scorer",
            "",
            f"scorer = Scorer.from_pretrained({_quoted(model_id)})",
            f"rewards = scorer.score({_quoted(PROMPT)}, {_quoted(ANSWERS)})",
            "print(rewards)",
        ]
    )


def _vllm(model: ModelFacts, model_id: str) -> list[str]:
    served = "merged" if model.needs_peft else model_id
    body: dict[str, Any] = {"model": served, "use_activation": False}
    if model.render == "chat":
        turns = [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": ANSWERS[0]}]
        body |= {"messages": turns} | _template_arguments(model.chat_template_kwargs)
    else:
        body["input"] = PROMPT + ANSWERS[0] + (model.eos_token or "")
    request = json.dumps(body, ensure_ascii=True).replace("'", "\\u0027")  # within the shell's single quotes
    code = [
        f"vllm serve {served} --runner pooling",
        "",
        "curl -s http://localhost:8000/classify -H 'Content-Type: application/json' \\",
        f"  -d '{request}'",
    ]
    where = "`data[0].probs[0]`"
    if model.attributes:
        weighted = " + ".join(f"{weight:g} {name}" for name, weight in model.attributes.items())
        where = f"the sum of `data[0].probs` by their weights ({weighted})"
    return [
        code_block("\n".join(code), "bash"),
        f'The reward is {where}; `"use_activation": false` keeps it raw.',
    ]


def _template_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"chat_template_kwargs": dict(arguments)} if arguments else {}


def _trl(model: ModelFacts, model_id: str) -> list[str]:
    """By name where TRL computes this model's reward by itself, else through a function."""
    is_plain = model.render == "chat" and not (
        model.needs_peft or model.attributes or model.chat_template_kwargs
    )
    trainer = [
        "trainer = GRPOTrainer(",
        '    model="your-policy",',
        f"    reward_funcs={_quoted(model_id) if is_plain else 'reward'},",
        '    args=GRPOConfig(output_dir="policy"),',
        "    train_dataset=prompts,  # a column `prompt`"
        + (" of messages" if model.render == "chat" else ""),
        ")",
    ]
    if is_plain:
        return [
            "As the reward of GRPO or RLOO. Prompts have to be messages, so that TRL applies the chat template:",
            code_block("\n".join(["from trl import GRPOConfig, GRPOTrainer", "", *trainer]), "python"),
        ]
    answer = "tuple(completion)" if model.render == "chat" else "completion"
    code = [
        "from plaudit import Scorer",
        "from trl import GRPOConfig, GRPOTrainer",
        "",
        f"scorer = Scorer.from_pretrained({_quoted(model_id)})",
        "",
        "",
        "def reward(prompts, completions, **kwargs):",
        "    pairs = zip(prompts, completions)",
        f"    return [scorer.score(prompt, [{answer}])[0] for prompt, completion in pairs]",
        "",
        "",
        *trainer,
    ]
    return [
        "As the reward of GRPO or RLOO, through a function: by name alone TRL would not render or load it "
        "as it was trained.",
        code_block("\n".join(code), "python"),
    ]
