"""Names of models, of sets and of their folders: short, all different, and without a password."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from urllib.parse import unquote, urlsplit

__all__ = ["all_different", "folder_names", "user_and_password", "without_password"]


def folder_names(paths: Sequence[str]) -> list[str]:
    """A short name for each of some paths or ids, all different: the last part, with more where two are alike.

    >>> folder_names(["a/test.jsonl", "b/test.jsonl", "org/model", "http://host:8000"])
    ['a-test', 'b-test', 'model', 'host-8000']
    """
    parts = [_parts(path) for path in paths]
    names: list[str] = []
    for own in parts:
        length = 1
        while length < len(own) and sum(other[-length:] == own[-length:] for other in parts) > 1:
            length += 1
        names.append("-".join(own[-length:]))
    return all_different(names)


def all_different(names: Sequence[str], *, taken: Collection[str] = ()) -> list[str]:
    """Names with a number behind those that were there before, or are taken.

    >>> all_different(["llmbar", "llmbar", "test"], taken=["test"])
    ['llmbar', 'llmbar-2', 'test-2']
    """
    found: list[str] = []
    for name in names:
        number, own = 2, name
        while own in found or own in taken:
            own, number = f"{name}-{number}", number + 1
        found.append(own)
    return found


def without_password(model: str) -> str:
    """A server's address without the user and password in it; any other name as it is.

    >>> without_password("https://me:secret@host:8000/v1"), without_password("org/model@main")
    ('https://host:8000/v1', 'org/model@main')
    """
    scheme, mark, rest = model.partition("://")
    if not mark:
        return model
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def user_and_password(address: str) -> tuple[str, str] | None:
    """Those in a server's address; None where it has none.

    >>> user_and_password("https://me:se%20cret@host"), user_and_password("https://host")
    (('me', 'se cret'), None)
    """
    try:
        parts = urlsplit(address)
    except ValueError:
        return None  # no address: asking it says so
    return (unquote(parts.username), unquote(parts.password or "")) if parts.username is not None else None


def _parts(path: str) -> list[str]:
    """The parts of a path or URL without what stands for its format, free of what no folder's name should hold."""
    path = without_password(path)
    path = path.partition("://")[2] or path
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    if parts:
        stem = parts[-1]
        for suffix in (".gz", ".zst", ".jsonl", ".json", ".parquet", ".csv", ".arrow"):
            stem = stem.removesuffix(suffix)
        parts[-1] = stem or parts[-1]
    clean = ["".join(c if c.isalnum() or c in "._-" else "-" for c in part).strip("-") for part in parts]
    return [part for part in clean if part] or ["data"]
