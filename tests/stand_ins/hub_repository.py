"""What the stand-in hub keeps and exchanges: repositories of commits, requests, answers, errors."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Answer", "Ask", "Commit", "HubError", "Repository"]

LARGE = (".safetensors", ".bin", ".pt", ".pth", ".parquet", ".arrow", ".png", ".gz", ".zst")
"""Endings that the ``.gitattributes`` of a new repository of the hub gives to large-file storage (a part of them)."""


@dataclass(kw_only=True)
class Ask:
    """A request."""

    method: str
    path: str
    query: dict[str, str]
    host: str
    token: str | None
    range: str | None
    body: bytes
    status: int = 0

    def json(self) -> Any:
        """The body, read as JSON."""
        return json.loads(self.body)


@dataclass(kw_only=True)
class Answer:
    """A response."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)

    def content(self) -> bytes:
        """The body as bytes; anything but bytes becomes JSON."""
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


class HubError(Exception):
    """An error with the hub's code and message."""

    def __init__(self, status: int, code: str | None, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers

    def answer(self) -> Answer:
        """As the hub sends it."""
        headers = {"X-Error-Message": self.message, **({"X-Error-Code": self.code} if self.code else {})}
        headers |= {name.replace("_", "-"): value for name, value in self.headers.items()}
        return Answer(status=self.status, body={"error": self.message}, headers=headers)


@dataclass(frozen=True)
class Commit:
    """A state of all files."""

    id: str
    message: str
    files: Mapping[str, bytes]


@dataclass
class Repository:
    """A line of commits; the first one is empty."""

    kind: str
    id: str
    private: bool = False
    read_only: bool = False
    """Whether the hub refuses commits, as for a repository of others."""
    commits: list[Commit] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.commits:
            self.commit("initial commit", {})

    @property
    def files(self) -> Mapping[str, bytes]:
        """The files of the last commit."""
        return self.commits[-1].files

    def commit(self, message: str, added: Mapping[str, bytes], deleted: tuple[str, ...] = ()) -> Commit:
        """Add and replace files, and delete files and folders (whose names end in ``/``)."""
        before = self.commits[-1].files if self.commits else {}
        kept = {
            name: before[name]
            for name in before
            if not any(name == gone or (gone.endswith("/") and name.startswith(gone)) for gone in deleted)
        }
        id = hashlib.sha1(f"{self.kind} {self.id} {len(self.commits)} {message}".encode()).hexdigest()
        self.commits.append(Commit(id, message, kept | dict(added)))
        return self.commits[-1]

    def at(self, revision: str) -> Commit:
        """A commit by its id, or the last one as ``main``."""
        for commit in reversed(self.commits):
            if revision in ("main", commit.id):
                return commit
        raise HubError(404, "RevisionNotFound", f"Invalid rev id: {revision}")

    def entry(self, path: str, content: bytes) -> dict[str, Any]:
        """A file in a listing."""
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git_id(content)}
        if self.is_large(path):
            entry["lfs"] = {"oid": self.sha256(content), "size": len(content), "pointerSize": 134}
        return entry

    @staticmethod
    def is_large(path: str) -> bool:
        """Whether a file goes to large-file storage."""
        return path.endswith(LARGE)

    @staticmethod
    def sha256(content: bytes) -> str:
        """The name of a large file in the storage."""
        return hashlib.sha256(content).hexdigest()

    def known_id(self, path: str) -> str | None:
        """The id of a file's last version, by which the client sees that it has not changed."""
        content = self.files.get(path)
        if content is None:
            return None
        return self.sha256(content) if self.is_large(path) else git_id(content)


def git_id(content: bytes) -> str:
    """The id of a blob in git."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
