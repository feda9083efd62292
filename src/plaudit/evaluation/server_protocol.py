"""What a server says of itself: which protocol it speaks, and what its model is called."""

from __future__ import annotations

from typing import Any

from plaudit.errors import PlauditError
from plaudit.evaluation.protocols import PROTOCOLS
from plaudit.evaluation.server_requests import Server

__all__ = ["NAME_ONE", "find_protocol", "first_model"]

NAME_ONE = "Name one: --protocol " + ", ".join(PROTOCOLS) + "."


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
        fix=NAME_ONE,
    )


def first_model(server: Server) -> str | None:
    """The name of the first model of ``GET /v1/models``; None where there is no such list."""
    entries = _entries(server.find("/v1/models"))
    return str(entries[0]["id"]) if entries and "id" in entries[0] else None


def _entries(models: Any) -> list[dict[str, Any]]:
    data = models.get("data") if isinstance(models, dict) else None
    return [entry for entry in data if isinstance(entry, dict)] if isinstance(data, list) else []
