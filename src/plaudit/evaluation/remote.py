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

import numpy as np

from plaudit.errors import PlauditError, unknown_choice
from plaudit.evaluation.conversations import Conversation, plan_conversations
from plaudit.evaluation.protocols import PROTOCOLS, BadAnswer, WireProtocol
from plaudit.evaluation.reward_source import PlannedSet, ScoredChunk
from plaudit.evaluation.reward_store import Cost
from plaudit.evaluation.server_protocol import NAME_ONE, find_protocol, first_model
from plaudit.evaluation.server_requests import Server, as_completed
from plaudit.evaluation.wire_items import wire_item
from plaudit.preferences import Preferences
from plaudit.tokens import LengthLimits, Renderer

__all__ = ["ServerSource", "check_server_options"]

SECONDS_PER_CHUNK = 2.0
"""Answers are written to disk as often (assumed: what a killed run may have to ask for again)."""

SQUASHED_FROM = 20
"""Rewards from which on "all of them lie between 0 and 1" is worth a warning (assumed)."""

log = logging.getLogger(__name__)


class ServerSource:
    """A reward server; to be closed, or used in a ``with`` block."""

    fix_of_not_finite = (
        "Look into the server's log: its weights or its precision make rewards that are no numbers."
    )

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
            PlauditError: An argument is of no use (see `check_server_options`); the protocol cannot be told, or needs
                a renderer; the server cannot be reached.
        """
        check_server_options(protocol, concurrency, timeout_s)
        self.renderer = renderer
        self.server = Server(url, timeout_s=timeout_s, concurrency=concurrency)
        try:
            self.protocol_name = find_protocol(self.server) if protocol == "auto" else protocol
            self.protocol: WireProtocol = PROTOCOLS[self.protocol_name]
            self._check_renderer()
            self.model = model or first_model(self.server)
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
        for indices, (rewards, num_truncated) in answers:
            scored.add(indices, rewards, num_truncated)
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

    def _ask(self, conversations: Sequence[Conversation]) -> tuple[list[float], int]:
        """Rewards, and how many of the conversations the server has cut."""
        first = conversations[0]
        body = self.protocol.body(
            self.model, [wire_item(c, self.protocol_name, self.renderer) for c in conversations]
        )
        answer = self.server.post(self.protocol.path, body, about=first.source)
        try:
            rewards = [float(value) for value in self.protocol.rewards(answer)]
            num_truncated = self.protocol.num_truncated(answer)
        except (BadAnswer, LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            what = str(error) if isinstance(error, BadAnswer) else json.dumps(answer)[:300]
            raise PlauditError(
                f"{self.protocol.path} answers in another form than {self.protocol_name} has: {what}",
                where=self.server.url,
                fix=NAME_ONE,
            ) from error
        if len(rewards) != len(conversations):
            raise PlauditError(
                f"{self.protocol.path} answers {len(rewards)} rewards for {len(conversations)} conversations",
                where=self.server.url,
                fix=NAME_ONE,
            )
        return rewards, num_truncated


def check_server_options(protocol: str, concurrency: int, timeout_s: float) -> None:
    """Whether a server can be asked so.

    Raises:
        PlauditError: An unknown protocol, no request at a time, or a timeout that is no time above 0.
    """
    if protocol != "auto" and protocol not in PROTOCOLS:
        raise unknown_choice("--protocol", protocol, ["auto", *PROTOCOLS])
    if concurrency < 1:
        raise PlauditError(f"{concurrency} requests at a time", where="--concurrency", fix="Give 1 or more.")
    if not 0 < timeout_s < math.inf:
        raise PlauditError(
            f"{timeout_s:g} seconds for an answer", where="--timeout", fix="Give a number above 0."
        )


class _Gathered:
    """Answers that wait to be written."""

    def __init__(self) -> None:
        self.indices: list[int] = []
        self.rewards: list[float] = []
        self.num_truncated = 0

    def add(self, indices: np.ndarray, rewards: Sequence[float], num_truncated: int) -> None:
        self.indices += indices.tolist()
        self.rewards += rewards
        self.num_truncated += num_truncated

    def chunk(self, items: Sequence[Conversation], seconds: float) -> ScoredChunk:
        num_tokens = sum(items[i].num_tokens for i in self.indices)
        return ScoredChunk(
            indices=np.array(self.indices, dtype=np.int64),
            rewards=np.array(self.rewards, dtype=np.float64),
            cost=Cost(
                num_sequences=len(self.indices),
                num_tokens_given=num_tokens,
                num_tokens_computed=num_tokens,
                num_truncated=self.num_truncated,
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
