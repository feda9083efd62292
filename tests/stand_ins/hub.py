"""A local stand-in of the Hugging Face hub: the routes of its HTTP API that its client calls to push and to fetch.

What it keeps of the real one: reading is open and writing needs the token; large files go to a storage of another
address, by signed links that take no token; a commit lists its files as lines of JSON and may only name large files
that were uploaded; errors carry the hub's codes; a card's metadata are checked when it is pushed. What it leaves
out: Xet storage, pull requests, branches, uploads in parts.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, unquote, urlsplit

from stand_ins.hub_api import ROUTES
from stand_ins.hub_repository import Answer, Ask, HubError, Repository

__all__ = ["StandInHub"]


@dataclass(kw_only=True)
class StandInHub:
    """A server on this machine, for the time of a ``with`` block."""

    token: str = "hf_right"
    """The one token that may write."""
    user: str = "someone"
    """Its owner, who may write below ``someone/``."""
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    """By kind (``model``, ``dataset``) and id."""
    objects: dict[str, bytes] = field(default_factory=dict)
    """Large files by the SHA-256 of their content."""
    asked: list[Ask] = field(default_factory=list)
    """Every request, in the order in which they came."""

    def __enter__(self) -> StandInHub:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        self._server.daemon_threads = True
        self._server.hub = self  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def endpoint(self) -> str:
        """What ``HF_ENDPOINT`` has to be."""
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def storage(self) -> str:
        """Where large files lie: another host to a client, which must not send its token there."""
        return f"http://localhost:{self._server.server_port}/storage"

    def environment(self, home: Path, *, token: str | None = None) -> dict[str, str]:
        """The environment of a process that takes this for the hub; nothing of it reaches another one.

        Args:
            home: An empty folder for its cache and its settings.
            token: What it is logged in with; None: not logged in.
        """
        unset = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "HF_TOKEN")
        kept = {
            name: value
            for name, value in os.environ.items()
            if name not in unset and not name.lower().endswith("_proxy")
        }
        ours = {"HF_ENDPOINT": self.endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
        ours |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        return kept | ours | ({"HF_TOKEN": token} if token else {})

    def put(self, repository_id: str, files: dict[str, bytes], *, kind: str = "model") -> Repository:
        """Commit files without the way over HTTP, into a new repository where there is none."""
        repository = self.repositories.setdefault((kind, repository_id), Repository(kind, repository_id))
        for name in files:
            if repository.is_large(name):
                self.objects[Repository.sha256(files[name])] = files[name]
        repository.commit("put", files)
        return repository

    def put_folder(self, repository_id: str, folder: Path, *, kind: str = "model") -> Repository:
        """Commit the files of a folder."""
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        return self.put(repository_id, files, kind=kind)


class _Handler(BaseHTTPRequestHandler):
    """Reads a request, finds its route, writes the answer."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        hub: StandInHub = self.server.hub  # type: ignore[attr-defined]
        url = urlsplit(self.path)
        ask = Ask(
            method=self.command,
            path=unquote(url.path),
            query={name: values[-1] for name, values in parse_qs(url.query).items()},
            host=self.headers["Host"],
            token=(self.headers["Authorization"] or "").removeprefix("Bearer ") or None,
            range=self.headers["Range"],
            body=self._body(),
        )
        hub.asked.append(ask)
        try:
            answer = _answer(hub, ask)
        except HubError as error:
            answer = error.answer()
        except Exception as error:  # a mistake in the stand-in: not to be taken for a missing file
            answer = HubError(500, None, f"the stand-in failed: {error!r}").answer()
        ask.status = answer.status
        self._send(answer)

    do_HEAD = do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error: `StandInHub.asked` has it."""

    def _body(self) -> bytes:
        if self.headers["Transfer-Encoding"] != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"] or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _send(self, answer: Answer) -> None:
        body = answer.content()
        self.send_response(answer.status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))} | answer.headers
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _answer(hub: StandInHub, ask: Ask) -> Answer:
    for method, pattern, respond in ROUTES:
        found = pattern.fullmatch(ask.path)
        if found and (ask.method == method or (ask.method == "HEAD" and method == "GET")):
            return respond(hub, ask, **found.groupdict())
    raise HubError(404, None, f"the stand-in has no route for {ask.method} {ask.path}")
