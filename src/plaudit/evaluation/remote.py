"""Rewards from a server: any that speaks one of `plaudit.evaluation.protocols`.

Guarantees: a conversation is asked for once; requests are bounded in number; a text is never rendered twice (a server
that puts a beginning of sequence in front gets the text without it); rewards that look squashed are said to be so.

What stands behind an address cannot be seen from here: rewards are stored under the address, the protocol, the model's
name and the rendering, and a server that changes its weights under the same name is not noticed (``--rescore``).
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from plaudit.errors import PlauditError, unknown_choice
from plaudit.evaluation.conversations import Conversation, plan_conversations
from plaudit.evaluation.protocols import PROTOCOLS, BadAnswer, WireProtocol
from plaudit.evaluation.reward_source import PlannedSet, ScoredChunk
from plaudit.evaluation.reward_store import Cost
from plaudit.evaluation.server_requests import Server, as_completed
from plaudit.preferences import Preferences
from plaudit.tokens import LengthLimits, Renderer
from plaudit.tokens.conversation import conversation as as_turns

__all__ = ["ServerSource", "find_protocol"]

SECONDS_PER_CHUNK = 2.0
"""Answers are written to disk as often (assumed: what a killed run may have to ask for again)."""

SQUASHED_FROM = 20
"""Rewards from which on "all of them lie between 0 and 1" is worth a warning (assumed)."""

NEEDS_A_LIST = "Name one: --protocol " + ", ".join(PROTOCOLS) + "."

log = logging.getLogger(__name__)


class ServerSource:
    """A reward server; to be closed, or used in a ``with`` block."""

    def __init__(
        self,
        url: str,
        *,
        protocol: str = "auto",
        model: str | None = None,
        renderer: Renderer | None = None,
        concurrency: int = 16,
        timeout_s: float = 180.0,
    ) -> None:
        """
        Args:
            url: Of the server, without a route.
            protocol: A name in `PROTOCOLS`, or ``auto``: what the server says that it speaks.
            model: The model's name on the server; what ``GET /v1/models`` names first when absent.
            renderer: Renders conversations for servers that take text, and counts tokens.
            concurrency: Requests at a time.
            timeout_s: How long an answer may take.

        Raises:
            PlauditError: The protocol is unknown, cannot be told, or needs a renderer; the server cannot be reached.
        """
        if protocol != "auto" and protocol not in PROTOCOLS:
            raise unknown_choice("--protocol", protocol, ["auto", *PROTOCOLS])
        if concurrency < 1:
            raise PlauditError(
                f"{concurrency} requests at a time", where="--concurrency", fix="Give 1 or more."
            )
        self.renderer = renderer
        self.server = Server(url, timeout_s=timeout_s, concurrency=concurrency)
        try:
            self.protocol_name = find_protocol(self.server) if protocol == "auto" else protocol
            self.protocol: WireProtocol = PROTOCOLS[self.protocol_name]
            self._check_renderer()
            self.model = model or _first_model(self.server)
        except PlauditError:
            self.close()
            raise
        self.name = self.model or self.server.url
        log.info("%s: protocol %s, model %s", self.server.url, self.protocol_name, self.model or "unnamed")

    def __enter__(self) -> ServerSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections."""
        self.server.close()

    def fingerprint(self) -> str | None:
        """Of the address, the protocol, the model's name and the rendering."""
        rendering = None if self.renderer is None else self.renderer.sha256()
        parts = [self.server.url, self.protocol_name, self.model, rendering]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def plan(self, preferences: Preferences, limits: LengthLimits, *, progress: bool) -> PlannedSet:
        """Every conversation; see `plan_conversations`."""
        planned = plan_conversations(preferences, limits, self.renderer, by_id=False, progress=progress)
        planned.settings.update(server=self.server.url, protocol=self.protocol_name)
        return planned

    def chunks(self, items: Sequence[Conversation]) -> list[np.ndarray]:
        """What goes into one request: conversations of one prompt where the protocol has a place for one prompt."""
        shares_prompt = self.protocol.takes in ("prompt", "pair")
        takes_one = self.protocol.takes == "messages" or (
            self.protocol.takes == "ids" and self.renderer is None
        )
        size = 1 if takes_one else self.protocol.items_per_request
        requests: dict[str, list[list[int]]] = {}
        for index, item in enumerate(items):
            group = json.dumps(item.prompt) if shares_prompt else ""
            of_group = requests.setdefault(group, [[]])
            if len(of_group[-1]) >= size:
                of_group.append([])
            of_group[-1].append(index)
        return [np.array(part, dtype=np.int64) for parts in requests.values() for part in parts]

    def score(self, items: Sequence[Conversation], chunks: Sequence[np.ndarray]) -> Iterator[ScoredChunk]:
        """Answers as they come, some seconds of them at a time."""
        scored, start, seen = _Gathered(), time.perf_counter(), _Range()
        answers = as_completed(
            lambda indices: self._ask([items[i] for i in indices]), chunks, self.server.concurrency
        )
        for indices, rewards in answers:
            scored.add(indices, rewards)
            seen.add(rewards)
            now = time.perf_counter()
            if now - start >= SECONDS_PER_CHUNK:
                yield scored.chunk(items, now - start)
                scored, start = _Gathered(), now
        if scored.indices:
            yield scored.chunk(items, time.perf_counter() - start)
        if seen.is_squashed():
            log.warning(
                "%s: all %d rewards lie between 0 and 1; if the server applies a sigmoid, margins and calibration "
                "are not those of the raw rewards",
                self.server.url,
                seen.num,
            )

    def _check_renderer(self) -> None:
        if self.protocol.takes == "text" and self.renderer is None:
            raise PlauditError(
                f"the protocol {self.protocol_name} takes conversations as rendered text",
                where=self.server.url,
                fix="Name the folder of the model's tokenizer, which has its chat template: --tokenizer.",
            )

    def _ask(self, conversations: Sequence[Conversation]) -> list[float]:
        first = conversations[0]
        body = self.protocol.body(self.model, [self._item(c) for c in conversations])
        answer = self.server.post(self.protocol.path, body, about=first.source)
        try:
            rewards = [float(value) for value in self.protocol.rewards(answer)]
        except (BadAnswer, KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            what = str(error) if isinstance(error, BadAnswer) else json.dumps(answer)[:300]
            raise PlauditError(
                f"{self.protocol.path} answers in another form than {self.protocol_name} has: {what}",
                where=self.server.url,
                fix=NEEDS_A_LIST,
            ) from error
        if len(rewards) != len(conversations):
            raise PlauditError(
                f"{self.protocol.path} answers {len(rewards)} rewards for {len(conversations)} conversations",
                where=self.server.url,
                fix=NEEDS_A_LIST,
            )
        return rewards

    def _item(self, c: Conversation) -> Any:
        """The conversation in the form that the protocol takes."""
        takes = self.protocol.takes
        if takes == "text":
            return self._text(c)
        if takes == "ids" and self.renderer is not None:
            ids = self.renderer.token_ids(
                c.prompt, c.completion, c.tools, c.chat_template_kwargs, source=c.source
            )
            return ids.tolist()
        if c.tools or c.chat_template_kwargs:
            raise PlauditError(
                f"the protocol {self.protocol_name} has no place for tools and template arguments",
                where=c.source,
                fix="Give --tokenizer with a protocol that takes rendered text or ids, such as vllm-classify.",
            )
        if takes in ("messages", "ids"):
            return as_turns(c.prompt, c.completion, source=c.source)
        if takes == "pair":
            return _plain_text(c, c.prompt, self.protocol_name), _plain_text(
                c, c.completion, self.protocol_name
            )
        return (c.prompt, c.completion) if isinstance(c.prompt, str) else (list(c.prompt), _last_turn(c))

    def _text(self, c: Conversation) -> str:
        """Rendered, without what the server's tokenizer puts in front by itself."""
        assert self.renderer is not None, "checked when the source was made"
        text = self.renderer.render_text(
            c.prompt, c.completion, c.tools, c.chat_template_kwargs, source=c.source
        )
        encoder = self.renderer.encoder
        own = self.renderer.decode(encoder.prefix) if len(encoder.prefix) else ""
        return text.removeprefix(own) if own else text


def find_protocol(server: Server) -> str:
    """The protocol that a server speaks, by its own description.

    Raises:
        PlauditError: It does not say, or speaks none that is known.
    """
    schema = server.find("/openapi.json") or server.find("/api-doc/openapi.json") or {}
    paths = schema.get("paths", {}) if isinstance(schema, dict) else {}
    models = server.find("/v1/models") or {}
    owners = {str(entry.get("owned_by", "")) for entry in _entries(models)}
    is_sglang = "sglang" in owners or "/get_model_info" in paths
    signs = {
        "plaudit": "/v1/rewards" in paths,
        "openrlhf": "/get_reward" in paths,
        "llama-factory": "/v1/score/evaluation" in paths,
        "sglang": is_sglang,
        "vllm-classify": "/classify" in paths or "vllm" in owners,
        "vllm-pooling": "/pooling" in paths,
        "tei": "/predict" in paths,
    }
    for name, is_there in signs.items():
        if is_there:
            return name
    raise PlauditError(
        f"the server does not say which protocol it speaks (routes: {', '.join(paths) or 'none named'})",
        where=server.url,
        fix=NEEDS_A_LIST,
    )


def _first_model(server: Server) -> str | None:
    entries = _entries(server.find("/v1/models"))
    return str(entries[0]["id"]) if entries and "id" in entries[0] else None


def _entries(models: Any) -> list[dict[str, Any]]:
    data = models.get("data") if isinstance(models, dict) else None
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []


def _last_turn(c: Conversation) -> Any:
    """What answers, as text where it is one assistant turn of text."""
    turns = c.completion
    if not isinstance(turns, str) and len(turns) == 1 and turns[0].get("role") == "assistant":
        content = turns[0].get("content")
        if isinstance(content, str) and set(turns[0]) == {"role", "content"}:
            return content
        return dict(turns[0])
    if isinstance(turns, str):
        return turns
    raise PlauditError(
        f"a completion of {len(turns)} messages cannot be sent: the protocol plaudit takes one",
        where=c.source,
        fix="Give --tokenizer with a protocol that takes rendered text or ids.",
    )


def _plain_text(c: Conversation, part: Any, protocol: str) -> str:
    if isinstance(part, str):
        return part
    if len(part) == 1 and isinstance(part[0].get("content"), str):
        return part[0]["content"]
    raise PlauditError(
        f"the protocol {protocol} takes a prompt and an answer of one text each, not {len(part)} messages",
        where=c.source,
        fix="Choose another protocol of the server, such as vllm-classify.",
    )


class _Gathered:
    """Answers that wait to be written."""

    def __init__(self) -> None:
        self.indices: list[int] = []
        self.rewards: list[float] = []

    def add(self, indices: np.ndarray, rewards: Sequence[float]) -> None:
        self.indices += indices.tolist()
        self.rewards += rewards

    def chunk(self, items: Sequence[Conversation], seconds: float) -> ScoredChunk:
        num_tokens = sum(items[i].num_tokens for i in self.indices)
        return ScoredChunk(
            indices=np.array(self.indices, dtype=np.int64),
            rewards=np.array(self.rewards, dtype=np.float32),
            cost=Cost(
                num_sequences=len(self.indices),
                num_tokens_given=num_tokens,
                num_tokens_computed=num_tokens,
                seconds=seconds,
            ),
        )


class _Range:
    """How many rewards there were, and between which ends."""

    def __init__(self) -> None:
        self.num, self.low, self.high = 0, math.inf, -math.inf

    def add(self, rewards: Sequence[float]) -> None:
        self.num += len(rewards)
        self.low, self.high = min(self.low, *rewards), max(self.high, *rewards)

    def is_squashed(self) -> bool:
        return self.num >= SQUASHED_FROM and self.low >= 0.0 and self.high <= 1.0
