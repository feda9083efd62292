"""Reward servers in this process that speak other projects' protocols, with a reward that is worked out on paper.

The forms of requests and answers are written from the servers' own schemas: vLLM 0.33 (``/classify``, ``/pooling``,
``/score``), SGLang (``/v1/embeddings``), OpenRLHF's ``serve_rm`` (``/get_reward``), LLaMA-Factory, Text Embeddings
Inference and NIM. A body that the real server would refuse is refused here.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["RewardServer", "reward_of", "serve"]


def reward_of(text: str) -> float:
    """0.25 for every ``!``, less 0.125 for every ``?``, less 0.5: exact in float32, below 0 and above 1 as well."""
    return 0.25 * text.count("!") - 0.125 * text.count("?") - 0.5


@dataclass
class RewardServer:
    """A server that runs, and what it was asked."""

    routes: dict[str, Callable[[Any, RewardServer], Any]]
    """By path: from a body to an answer, or to a (status, headers, answer)."""
    decode: Callable[[Sequence[int]], str] = lambda ids: bytes(ids).decode()
    """From token ids to text, for routes that take ids."""
    url: str = ""
    asked: list[tuple[str, Any]] = field(default_factory=list)
    """Paths and bodies, in the order of arrival."""
    headers: list[dict[str, str]] = field(default_factory=list)
    num_under_way: int = 0
    most_under_way: int = 0
    """Requests that were answered at the same time, at most."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def text_of(self, item: Any) -> str:
        """Of text, token ids, or messages (their contents in a row)."""
        if isinstance(item, str):
            return item
        if item and isinstance(item[0], int):
            return self.decode(item)
        return "".join(message["content"] for message in item)


@contextmanager
def serve(*names: str, **settings: Any) -> Iterator[RewardServer]:
    """A server with the routes of some projects (keys of `ROUTES`), and with ``/openapi.json`` and ``/v1/models``."""
    extra = settings.pop("routes", {})
    routes = {path: route for name in names for path, route in ROUTES[name].items()} | extra
    state = RewardServer(routes=routes, **settings)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Refused(Exception):  # noqa: N818
    """A body that the real server would not take."""


def _need(is_so: bool, what: str) -> None:
    if not is_so:
        raise Refused(what)


def _classify(body: Any, server: RewardServer) -> Any:
    known = {"model", "input", "messages", "use_activation", "add_generation_prompt", "encoding_format"}
    _need(set(body) <= known, f"unknown fields {set(body) - known}")
    _need(("input" in body) != ("messages" in body), "either input or messages")
    items = body["input"] if "input" in body else [body["messages"]]
    if isinstance(items, str) or isinstance(items[0], int):
        items = [items]
    # A one-logit model is squashed unless it is asked not to be.
    squashed = body.get("use_activation", True)
    rewards = [1.0 if squashed else reward_of(server.text_of(item)) for item in items]
    return {
        "id": "classify-1",
        "object": "list",
        "created": 1,
        "model": body.get("model", "m"),
        "data": [
            {"index": i, "label": "LABEL_0", "probs": [reward], "num_classes": 1}
            for i, reward in reversed(list(enumerate(rewards)))
        ],
        "usage": {"prompt_tokens": 1, "total_tokens": 1},
    }


def _pooling(body: Any, server: RewardServer) -> Any:
    answer = _classify(body, server)
    _need(body.get("encoding_format") == "float", "base64 is not asked for here")
    data = [{"index": e["index"], "object": "pooling", "data": e["probs"]} for e in answer["data"]]
    return {**answer, "data": data}


def _score(body: Any, server: RewardServer) -> Any:
    _need(isinstance(body["text_1"], str) and isinstance(body["text_2"], list), "text_1 and text_2")
    _need(body.get("use_activation") is False, "squashed")
    texts = [body["text_1"] + text for text in body["text_2"]]
    data = [{"index": i, "object": "score", "score": reward_of(text)} for i, text in enumerate(texts)]
    return {"id": "score-1", "object": "list", "model": "m", "data": data}


def _embeddings(body: Any, server: RewardServer) -> Any:
    texts = [body["input"]] if isinstance(body["input"], str) else body["input"]
    _need(all(isinstance(text, str) for text in texts), "texts")
    data = [
        {"object": "embedding", "index": i, "embedding": [reward_of(text)]} for i, text in enumerate(texts)
    ]
    return {"object": "list", "model": "m", "data": data, "usage": {"prompt_tokens": 1}}


def _get_reward(body: Any, server: RewardServer) -> Any:
    _need(set(body) == {"query", "prompts", "labels"}, "query, prompts and labels")
    _need(len(body["query"]) == len(body["prompts"]) == len(body["labels"]), "lists of one length")
    rewards = [reward_of(text) for text in body["query"]]
    return {"rewards": rewards, "scores": rewards, "extra_logs": {}}


def _score_evaluation(body: Any, server: RewardServer) -> Any:
    _need(isinstance(body["model"], str), "model is required")
    if not body["messages"]:
        return 400, {}, {"detail": "Invalid request"}
    return {
        "id": "scoreval-1",
        "object": "score.evaluation",
        "model": body["model"],
        "scores": [reward_of(text) for text in body["messages"]],
    }


def _predict(body: Any, server: RewardServer) -> Any:
    inputs = body["inputs"]
    _need(body["raw_scores"] is True and body["truncate"] is False, "raw scores of whole texts")
    _need(all(isinstance(text, list) and len(text) == 1 for text in inputs), "a batch is a list of lists")
    return [[{"score": reward_of(text[0]), "label": "LABEL_0"}] for text in inputs]


def _chat(body: Any, server: RewardServer) -> Any:
    _need(body["messages"][-1]["role"] == "assistant", "the assistant's turn is last")
    reward = reward_of(server.text_of(body["messages"]))
    token = {"token": "reward", "logprob": reward}
    message = {"role": "assistant", "content": f"reward:{reward}"}
    return {"choices": [{"index": 0, "message": message, "logprobs": {"content": [token]}}]}


def _rewards(body: Any, server: RewardServer) -> Any:
    _need(set(body) <= {"model", "prompt", "completions"}, "prompt and completions")
    prompt = server.text_of(body["prompt"])
    texts = [c if isinstance(c, str) else c["content"] for c in body["completions"]]
    data = [
        {"index": i, "reward": reward_of(prompt + text), "num_tokens": 1, "truncated": False}
        for i, text in enumerate(texts)
    ]
    return {"id": "1", "object": "reward.list", "model": "m", "data": data, "ranking": [], "usage": {}}


ROUTES: dict[str, dict[str, Callable[[Any, RewardServer], Any]]] = {
    "plaudit": {"/v1/rewards": _rewards},
    "vllm-classify": {"/classify": _classify},
    "vllm-pooling": {"/pooling": _pooling},
    "vllm-score": {"/score": _score},
    "sglang": {"/v1/embeddings": _embeddings, "/get_model_info": lambda body, server: {}},
    "openrlhf": {"/get_reward": _get_reward},
    "llama-factory": {"/v1/score/evaluation": _score_evaluation},
    "tei": {"/predict": _predict},
    "nim": {"/v1/chat/completions": _chat},
}


def _handler(state: RewardServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/openapi.json":
                return self._answer(200, {}, {"paths": {path: {} for path in state.routes}})
            if self.path == "/v1/models":
                return self._answer(200, {}, {"object": "list", "data": [{"id": "served-model"}]})
            return self._answer(404, {}, {"detail": "Not Found"})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                state.asked.append((self.path, body))
                state.headers.append(dict(self.headers))
                state.num_under_way += 1
                state.most_under_way = max(state.most_under_way, state.num_under_way)
            try:
                if self.path not in state.routes:
                    return self._answer(404, {}, {"detail": "Not Found"})
                answer = state.routes[self.path](body, state)
            except (Refused, KeyError, TypeError) as error:
                return self._answer(400, {}, {"detail": str(error)})
            finally:
                with state.lock:
                    state.num_under_way -= 1
            return self._answer(*answer) if isinstance(answer, tuple) else self._answer(200, {}, answer)

        def _answer(self, status: int, headers: dict[str, str], answer: Any) -> None:
            content = json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            """Silence."""

    return Handler
