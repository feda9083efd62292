"""What reward servers are asked and how they answer: one entry for each wire protocol.

The forms are those of vLLM 0.33, SGLang 0.5, OpenRLHF, LLaMA-Factory, Text Embeddings Inference and NVIDIA NIM. Every
request asks for the raw reward where a server would otherwise squash it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["PROTOCOLS", "BadAnswer", "WireProtocol"]

Body = dict[str, Any]


class BadAnswer(Exception):  # noqa: N818 - what is wrong is its text
    """A server's answer does not have the form of its protocol."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WireProtocol:
    """One way to ask for rewards."""

    path: str
    """Of the route, behind the server's address."""
    takes: str
    """``messages`` (conversations as they are), ``prompt`` (a prompt and its completions), ``text`` (rendered), ``ids``
    (token ids where there is a tokenizer, else messages) or ``pair`` (prompt and completion as two plain texts)."""
    items_per_request: int
    """Conversations in one request."""
    body: Callable[[str | None, Sequence[Any]], Body]
    """The request for some items, given the model's name on the server. An item has the form that ``takes`` says."""
    rewards: Callable[[Any], list[float]]
    """The rewards in an answer, in the order of the items."""
    num_truncated: Callable[[Any], int] = lambda answer: 0
    """How many items the server has cut to its length limit, where its answer says so."""


def _with_model(model: str | None, body: Body) -> Body:
    return body if model is None else {"model": model, **body}


def _native_body(model: str | None, items: Sequence[Any]) -> Body:
    """Items are (prompt, completion) of one prompt."""
    return _with_model(model, {"prompt": items[0][0], "completions": [completion for _, completion in items]})


def _native_rewards(answer: Any) -> list[float]:
    return [entry["reward"] for entry in _in_order(answer["data"])]


def _native_truncated(answer: Any) -> int:
    return sum(bool(entry.get("truncated")) for entry in answer["data"])


def _classify_body(model: str | None, items: Sequence[Any]) -> Body:
    """Items are all token ids, or one conversation as messages."""
    are_messages = _is_messages(items[0])
    what: Body = (
        {"messages": items[0], "add_generation_prompt": False} if are_messages else {"input": list(items)}
    )
    return _with_model(model, {**what, "use_activation": False})


def _classify_rewards(answer: Any) -> list[float]:
    return [_only(entry["probs"], "classes") for entry in _in_order(answer["data"])]


def _pooling_body(model: str | None, items: Sequence[Any]) -> Body:
    return {**_classify_body(model, items), "encoding_format": "float"}


def _pooling_rewards(answer: Any) -> list[float]:
    """One number, or one for each token, of which the last is the reward."""
    found = []
    for entry in _in_order(answer["data"]):
        data = entry["data"]
        found.append(_only(data[-1] if isinstance(data[-1], list) else data, "classes"))
    return found


def _score_body(model: str | None, items: Sequence[Any]) -> Body:
    """Items are (prompt, completion) of one prompt."""
    documents = [completion for _, completion in items]
    return _with_model(model, {"text_1": items[0][0], "text_2": documents, "use_activation": False})


def _score_rewards(answer: Any) -> list[float]:
    return [entry["score"] for entry in _in_order(answer["data"])]


def _sglang_rewards(answer: Any) -> list[float]:
    return [entry["embedding"][-1] for entry in _in_order(answer["data"])]


def _openrlhf_body(model: str | None, items: Sequence[Any]) -> Body:
    return {"query": list(items), "prompts": [""] * len(items), "labels": [""] * len(items)}


def _openrlhf_rewards(answer: Any) -> list[float]:
    return [_only(value, "values") if isinstance(value, list) else value for value in answer["rewards"]]


def _tei_rewards(answer: Any) -> list[float]:
    return [_only([label["score"] for label in labels], "classes") for labels in answer]


def _nim_rewards(answer: Any) -> list[float]:
    choice = answer["choices"][0]
    for token in (choice.get("logprobs") or {}).get("content") or []:
        if token["token"] == "reward":
            return [token["logprob"]]
    name, _, value = choice["message"]["content"].partition(":")
    if name.strip() != "reward":
        raise BadAnswer(f"the message is {choice['message']['content']!r}, not reward:<number>")
    return [float(value)]


def _in_order(data: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The entries by their ``index``: a server may answer in any order.

    Raises:
        BadAnswer: The indices are not 0, 1, ...: which reward is whose cannot be told.
    """
    entries = sorted(data, key=lambda entry: entry["index"])
    indices = [entry["index"] for entry in entries]
    if indices != list(range(len(entries))):
        raise BadAnswer(f"the indices of the {len(entries)} entries are {indices[:20]}")
    return entries


def _only(values: Sequence[float], what: str) -> float:
    if len(values) != 1:
        raise BadAnswer(f"{len(values)} {what} for one conversation, where a reward model has one")
    return values[0]


def _is_messages(item: Any) -> bool:
    return isinstance(item, list) and len(item) > 0 and isinstance(item[0], Mapping)


PROTOCOLS: dict[str, WireProtocol] = {
    "plaudit": WireProtocol(
        path="/v1/rewards",
        takes="prompt",
        items_per_request=32,
        body=_native_body,
        rewards=_native_rewards,
        num_truncated=_native_truncated,
    ),
    "vllm-classify": WireProtocol(
        path="/classify",
        takes="ids",
        items_per_request=16,
        body=_classify_body,
        rewards=_classify_rewards,
    ),
    "vllm-pooling": WireProtocol(
        path="/pooling",
        takes="ids",
        items_per_request=16,
        body=_pooling_body,
        rewards=_pooling_rewards,
    ),
    "vllm-score": WireProtocol(
        path="/score",
        takes="pair",
        items_per_request=16,
        body=_score_body,
        rewards=_score_rewards,
    ),
    "sglang": WireProtocol(
        path="/v1/embeddings",
        takes="text",
        items_per_request=16,
        body=lambda model, items: _with_model(model, {"input": list(items), "encoding_format": "float"}),
        rewards=_sglang_rewards,
    ),
    "openrlhf": WireProtocol(
        path="/get_reward",
        takes="text",
        items_per_request=16,
        body=_openrlhf_body,
        rewards=_openrlhf_rewards,
    ),
    "llama-factory": WireProtocol(
        path="/v1/score/evaluation",
        takes="text",
        items_per_request=16,
        body=lambda model, items: {"model": model or "reward", "messages": list(items), "max_length": None},
        rewards=lambda answer: list(answer["scores"]),
    ),
    "tei": WireProtocol(
        path="/predict",
        takes="text",
        items_per_request=16,
        body=lambda model, items: {
            "inputs": [[text] for text in items],
            "raw_scores": True,
            "truncate": False,
        },
        rewards=_tei_rewards,
    ),
    "nim": WireProtocol(
        path="/v1/chat/completions",
        takes="messages",
        items_per_request=1,
        body=lambda model, items: _with_model(model, {"messages": items[0]}),
        rewards=_nim_rewards,
    ),
}
"""By the name that ``--protocol`` takes."""
