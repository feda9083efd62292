"""The routes of the stand-in hub, each a function from a request to an answer."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import yaml

from stand_ins.hub_repository import Answer, Ask, HubError, Repository

if TYPE_CHECKING:
    from stand_ins.hub import StandInHub

__all__ = ["ROUTES"]

ROUTES: list[tuple[str, re.Pattern[str], Callable[..., Answer]]] = []
"""Method, path, function; a GET answers HEAD too."""

REPOSITORY = r"(?P<id>[^/]+/[^/]+)"


def route(method: str, pattern: str) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Register a function; the named parts of the path are its arguments."""

    def register(respond: Callable[..., Answer]) -> Callable[..., Answer]:
        ROUTES.append((method, re.compile(pattern), respond))
        return respond

    return register


def check_token(hub: StandInHub, ask: Ask) -> None:
    """Refuse a request without the right token, in the hub's words."""
    if ask.token != hub.token:
        raise HubError(401, None, "Invalid username or password.")


def find(hub: StandInHub, ask: Ask, kind: str, id: str) -> Repository:
    """A repository; to those who are not logged in a missing one looks like a private one."""
    repository = hub.repositories.get((kind, id))
    if repository is None or (repository.private and ask.token != hub.token):
        status, message = (404, "Repository not found") if ask.token == hub.token else (401, "Unauthorized")
        raise HubError(status, "RepoNotFound", message)
    return repository


def find_to_write(hub: StandInHub, ask: Ask, kind: str, id: str) -> Repository:
    """A repository for one who may write to it."""
    check_token(hub, ask)
    repository = find(hub, ask, kind, id)
    if repository.read_only:
        raise HubError(403, None, "Authorization error.")
    return repository


# Who is there, and what there is ---------------------------------------------------------------------------------


@route("GET", "/api/whoami-v2")
def who_am_i(hub: StandInHub, ask: Ask) -> Answer:
    check_token(hub, ask)
    token = {"type": "access_token", "accessToken": {"displayName": "test", "role": "write"}}
    return Answer(body={"type": "user", "id": "0", "name": hub.user, "orgs": [], "auth": token})


@route("POST", "/api/repos/create")
def create_repository(hub: StandInHub, ask: Ask) -> Answer:
    check_token(hub, ask)
    asked = ask.json()
    kind, owner = asked.get("type") or "model", asked.get("organization") or hub.user
    if owner != hub.user:
        message = f'You don\'t have the rights to create a {kind} under the namespace "{owner}"'
        raise HubError(403, None, message)
    id = f"{owner}/{asked['name']}"
    is_new = (kind, id) not in hub.repositories
    private = asked.get("visibility") == "private"
    hub.repositories.setdefault((kind, id), Repository(kind, id, private))
    url = f"{hub.endpoint}/{'' if kind == 'model' else kind + 's/'}{id}"
    body = {"url": url, "name": id, "id": id}
    return Answer(body=body if is_new else body | {"error": f"You already created this {kind} repo"},
                  status=200 if is_new else 409)  # fmt: skip


@route("GET", rf"/api/(?P<kind>model|dataset)s/{REPOSITORY}(/revision/(?P<revision>[^/]+))?")
def repository_info(hub: StandInHub, ask: Ask, kind: str, id: str, revision: str | None) -> Answer:
    repository = find(hub, ask, kind, id)
    commit = repository.at(revision or "main")
    names = [{"rfilename": name} for name in sorted(commit.files)]
    when = "2025-01-01T00:00:00.000Z"
    body = {"_id": "0", "id": id, "author": id.split("/")[0], "sha": commit.id, "private": repository.private}
    body |= {"siblings": names, "tags": [], "downloads": 0, "likes": 0, "gated": False, "disabled": False}
    return Answer(body=body | {"createdAt": when, "lastModified": when})


@route("GET", rf"/api/(?P<kind>model|dataset)s/{REPOSITORY}/tree/(?P<revision>[^/]+)(/(?P<folder>.+))?")
def list_tree(
    hub: StandInHub, ask: Ask, kind: str, id: str, revision: str, folder: str | None
) -> Answer:  # fmt: skip
    repository = find(hub, ask, kind, id)
    commit = repository.at(revision)
    start = f"{folder.rstrip('/')}/" if folder else ""
    below = {name: commit.files[name] for name in sorted(commit.files) if name.startswith(start)}
    if folder and not below:
        raise HubError(
            404, "EntryNotFound", f"{folder} does not exist on {revision}", X_Repo_Commit=commit.id
        )
    parents = {start + name[len(start) :].rsplit("/", 1)[0] for name in below if "/" in name[len(start) :]}
    entries = [{"type": "directory", "path": path, "size": 0, "oid": "0" * 40} for path in sorted(parents)]
    entries += [repository.entry(name, below[name]) for name in below]
    if ask.query.get("recursive", "false").lower() != "true":
        entries = [entry for entry in entries if "/" not in entry["path"][len(start) :]]
    return Answer(body=entries)


@route("POST", rf"/api/(?P<kind>model|dataset)s/{REPOSITORY}/paths-info/(?P<revision>[^/]+)")
def paths_info(hub: StandInHub, ask: Ask, kind: str, id: str, revision: str) -> Answer:
    repository = find(hub, ask, kind, id)
    commit = repository.at(revision)
    is_json = ask.body[:1] == b"{"
    paths = ask.json()["paths"] if is_json else parse_qs(ask.body.decode())["paths"]
    found: list[dict[str, Any]] = []
    for path in paths:
        if path in commit.files:
            found.append(repository.entry(path, commit.files[path]))
        elif any(name.startswith(f"{path}/") for name in commit.files):
            found.append({"type": "directory", "path": path, "size": 0, "oid": "0" * 40})
    return Answer(body=found)


# Writing ---------------------------------------------------------------------------------------------------------


@route("POST", "/api/validate-yaml")
def validate_card(hub: StandInHub, ask: Ask) -> Answer:
    asked = ask.json()
    found = re.match(r"\s*---\r?\n(.*?)\n---", asked["content"], flags=re.DOTALL)
    problems = [] if found else ["empty or missing yaml metadata in repo card"]
    errors = _card_errors(found[1]) if found else []
    body = {"errors": [{"message": text} for text in errors], "warnings": [{"message": t} for t in problems]}
    return Answer(body=body, status=400 if errors else 200)


def _card_errors(text: str) -> list[str]:
    """The rules of the hub for a card's metadata that concern ``model-index``."""
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        return [f"YAML: {error}"]
    if not isinstance(data, dict):
        return ["metadata must be an object"]
    errors = []
    for i, model in enumerate(data.get("model-index") or []):
        errors += [] if model.get("name") else [f'"model-index[{i}].name" is required']
        for j, result in enumerate(model.get("results", [])):
            place = f"model-index[{i}].results[{j}]"
            wanted = {"task": ("type",), "dataset": ("type", "name")}
            for part, fields in wanted.items():
                given = result.get(part) or {}
                errors += [f'"{place}.{part}.{key}" is required' for key in fields if not given.get(key)]
            for k, metric in enumerate(result.get("metrics") or [{}]):
                missing = [key for key in ("type", "value") if metric.get(key) is None]
                errors += [f'"{place}.metrics[{k}].{key}" is required' for key in missing]
    return errors


@route("POST", rf"/api/(?P<kind>model|dataset)s/{REPOSITORY}/preupload/(?P<revision>[^/]+)")
def say_how_to_upload(hub: StandInHub, ask: Ask, kind: str, id: str, revision: str) -> Answer:
    repository = find_to_write(hub, ask, kind, id)
    files = [
        {
            "path": file["path"],
            "uploadMode": "lfs" if repository.is_large(file["path"]) else "regular",
            "shouldIgnore": False,
            "oid": repository.known_id(file["path"]),
        }
        for file in ask.json()["files"]
    ]
    return Answer(body={"files": files})


def _signature(hub: StandInHub, oid: str) -> str:
    return hashlib.sha256(f"{hub.token} {oid}".encode()).hexdigest()[:16]


def _link(hub: StandInHub, oid: str) -> str:
    return f"{hub.storage}/{oid}?signature={_signature(hub, oid)}"


@route("POST", rf"/(datasets/)?{REPOSITORY}\.git/info/lfs/objects/batch")
def say_where_to_upload(hub: StandInHub, ask: Ask, id: str) -> Answer:
    check_token(hub, ask)
    objects = []
    for asked in ask.json()["objects"]:
        entry: dict[str, Any] = {"oid": asked["oid"], "size": asked["size"]}
        if asked["oid"] not in hub.objects:
            verify = {"href": f"{hub.endpoint}/api/lfs/verify"}
            entry["actions"] = {"upload": {"href": _link(hub, asked["oid"])}, "verify": verify}
        objects.append(entry)
    return Answer(body={"transfer": "basic", "objects": objects})


@route("PUT", "/storage/(?P<oid>[0-9a-f]{64})")
def store(hub: StandInHub, ask: Ask, oid: str) -> Answer:
    _check_link(hub, ask, oid)
    if Repository.sha256(ask.body) != oid:
        raise HubError(400, None, "the content is not what its name says")
    hub.objects[oid] = ask.body
    return Answer()


def _check_link(hub: StandInHub, ask: Ask, oid: str) -> None:
    """A signed link is all that the storage takes: a token that comes with it has left the hub."""
    if ask.token is not None:
        raise HubError(
            400, None, "only one way of authentication is allowed: the token was sent to the storage"
        )
    if ask.query.get("signature") != _signature(hub, oid):
        raise HubError(403, None, "the link is not signed")


@route("POST", "/api/lfs/verify")
def verify_upload(hub: StandInHub, ask: Ask) -> Answer:
    check_token(hub, ask)
    asked = ask.json()
    if len(hub.objects.get(asked["oid"], b"")) != asked["size"]:
        raise HubError(404, None, "the object was not uploaded whole")
    return Answer(body={})


@route("POST", rf"/api/(?P<kind>model|dataset)s/{REPOSITORY}/commit/(?P<revision>[^/]+)")
def commit(hub: StandInHub, ask: Ask, kind: str, id: str, revision: str) -> Answer:
    repository = find_to_write(hub, ask, kind, id)
    repository.at(revision)
    added: dict[str, bytes] = {}
    deleted: list[str] = []
    message = ""
    for line in ask.body.splitlines():
        item = json.loads(line)
        key, value = item["key"], item["value"]
        if key == "header":
            message = value["summary"]
        elif key == "file":
            added[value["path"]] = base64.b64decode(value["content"])
        elif key == "lfsFile":
            if value["oid"] not in hub.objects:
                raise HubError(400, None, f"{value['path']} points to a large file that was not uploaded")
            added[value["path"]] = hub.objects[value["oid"]]
        else:
            deleted.append(value["path"].rstrip("/") + ("/" if key == "deletedFolder" else ""))
    made = repository.commit(message, added, tuple(deleted))
    url = f"{hub.endpoint}/{id}/commit/{made.id}"
    return Answer(body={"success": True, "commitUrl": url, "commitOid": made.id})


# Reading ---------------------------------------------------------------------------------------------------------


@route("GET", rf"/(?P<datasets>datasets/)?{REPOSITORY}/resolve/(?P<revision>[^/]+)/(?P<path>.+)")
def fetch(hub: StandInHub, ask: Ask, datasets: str | None, id: str, revision: str, path: str) -> Answer:
    if ask.token not in (None, hub.token):
        raise HubError(401, None, "Invalid credentials in Authorization header")
    repository = find(hub, ask, "dataset" if datasets else "model", id)
    commit = repository.at(revision)
    headers = {"X-Repo-Commit": commit.id}
    if path not in commit.files:
        raise HubError(404, "EntryNotFound", "Entry not found", X_Repo_Commit=commit.id)
    content = commit.files[path]
    if repository.is_large(path):
        oid = repository.sha256(content)
        headers |= {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(content))}
        return Answer(status=302, headers=headers | {"Location": _link(hub, oid)})
    return _part(ask, content, headers | {"ETag": f'"{repository.entry(path, content)["oid"]}"'})


@route("GET", "/storage/(?P<oid>[0-9a-f]{64})")
def fetch_large(hub: StandInHub, ask: Ask, oid: str) -> Answer:
    _check_link(hub, ask, oid)
    return _part(ask, hub.objects[oid], {"ETag": f'"{oid}"'})


def _part(ask: Ask, content: bytes, headers: dict[str, str]) -> Answer:
    """The content, or the range of bytes that was asked for."""
    headers = headers | {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
    if not ask.range:
        return Answer(body=content, headers=headers)
    first, last = ask.range.removeprefix("bytes=").split("-")
    start, end = int(first), min(int(last or len(content) - 1), len(content) - 1)
    headers["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
    return Answer(body=content[start : end + 1], status=206, headers=headers)
