"""Values as plain JSON: no NaN, no secrets, and a file that is whole or as it was.

JSON knows no NaN and no infinity, and readers other than Python's refuse them; both become null. A run's files are
uploaded with its weights, so what gives access to anything is left out of them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence, Set
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from plaudit.whole_file import write_whole

__all__ = ["as_plain", "hide_tokens", "is_secret", "write_json"]

_SECRET = re.compile(r"(?i)(^|[_-])(token|(api[_-]?key|password|secret|credential)s?)$")
_VOCABULARY = re.compile(r"(?i)(^|[_-])(eos|bos|pad|unk|sep|cls|mask)[_-]token$")
_HUB_TOKEN = re.compile(r"\bhf_[A-Za-z0-9]{16,}\b")


def is_secret(name: str) -> bool:
    """Whether a setting of this name gives access to something; tokens of the vocabulary do not.

    >>> is_secret("hub_token"), is_secret("--hub-token"), is_secret("eos_token"), is_secret("num_tokens")
    (True, True, False, False)
    """
    return bool(_SECRET.search(name)) and not _VOCABULARY.search(name)


def hide_tokens(text: str) -> str:
    """The text with access tokens of the hub replaced.

    >>> hide_tokens("login hf_abcdefghijklmnopqrst now")
    'login hf_*** now'
    """
    return _HUB_TOKEN.sub("hf_***", text)


def as_plain(value: Any) -> Any:
    """The value as JSON has it: dicts, lists, texts, finite numbers, booleans and null; secrets left out.

    Dataclasses become objects of their fields, sets sorted lists, arrays lists or numbers, whatever has a
    ``to_dict`` what that gives, and anything else its ``str``.
    """
    if isinstance(value, Enum):
        return as_plain(value.value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return hide_tokens(value)
    if isinstance(value, Mapping):
        return {str(name): as_plain(item) for name, item in value.items() if not is_secret(str(name))}
    if isinstance(value, Set):
        return sorted((as_plain(item) for item in value), key=str)
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [as_plain(item) for item in value]
    return _plain_object(value)


def write_json(path: Path, value: Any) -> None:
    """Write a value by `as_plain`, indented; an interrupted write leaves the file that was there."""
    text = json.dumps(as_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(path, text + "\n")


def _plain_object(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return as_plain({field.name: getattr(value, field.name) for field in fields(value)})
    for name in ("to_dict", "tolist"):  # configurations; NumPy's and torch's numbers and arrays
        convert = getattr(value, name, None)
        if callable(convert) and not isinstance(value, type):
            return as_plain(convert())
    return hide_tokens(str(value))
