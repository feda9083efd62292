"""The rows of a file of rewards that were made elsewhere.

A row says of which conversation its reward is, in one of three ways:

    prompt, completion, reward          texts or messages; or completions with rewards (what ``plaudit score`` writes)
    id, completion, reward              the record's id and the completion's place in it, from 0; or id with rewards.
                                        An id that two different conversations of a run have is an error
    key, reward                         the hash of `conversation_key`, in hex

JSON lines (also .gz and .zst), Parquet and CSV are read. Two rows that disagree are an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow
import pyarrow.csv
import pyarrow.parquet

from plaudit.errors import PlauditError
from plaudit.evaluation.conversations import conversation_key
from plaudit.preferences.bad_record import BadRecord
from plaudit.preferences.sources.item import BLANK, Position
from plaudit.preferences.sources.lines import read_json_lines

__all__ = ["Name", "read_rewards"]

Name: TypeAlias = bytes | tuple[str, int]
"""Of a conversation: its key, or its record's id with its place."""

FORMS = (
    "Give prompt, completion and reward; or id, completion (its place, from 0) and reward; or key and reward."
)


LARGEST = 3.4e38
"""Of a reward: what float32 holds, so that margins and their squares are finite in float64."""


def read_rewards(path: Path) -> dict[Name, float]:
    """The reward of each conversation that the file names.

    Raises:
        PlauditError: There is none; a row without a reward, of none of the three forms, or against another row.
    """
    rewards: dict[Name, float] = {}
    for where, row in _rows(path):
        for name, reward in _read_row(row, where):
            if rewards.setdefault(name, reward) != reward:
                raise PlauditError(
                    f"the reward {reward} is another than that of an earlier row, {rewards[name]}",
                    where=where,
                    fix="Keep one row for each completion; where ids repeat, name conversations by their text.",
                )
    if not rewards:
        raise PlauditError("there is no reward in it", where=str(path), fix=FORMS)
    return rewards


def _read_row(row: Mapping[str, Any], where: str) -> Iterator[tuple[Name, float]]:
    rewards: Any = row.get("rewards") if row.get("rewards") is not None else [row.get("reward")]
    if not isinstance(rewards, list) or not all(_is_finite(value) for value in rewards):
        raise PlauditError(f"the reward is {str(rewards)[:100]}, not finite numbers", where=where, fix=FORMS)
    numbers = [float(value) for value in rewards]
    if row.get("key") is not None:
        names: list[Name] = [_key(row["key"], where)]
    elif row.get("prompt") is not None:
        names = [_key_of_texts(row, completion) for completion in _completions(row)]
    elif row.get("id") is not None and row.get("rewards") is not None:
        names = [(str(row["id"]), index) for index in range(len(numbers))]
    elif row.get("id") is not None:
        names = [(str(row["id"]), _place(row, where))]
    else:
        raise PlauditError(
            f"of which conversation it is, is not said ({', '.join(row)})", where=where, fix=FORMS
        )
    if len(names) != len(numbers):
        raise PlauditError(
            f"{len(numbers)} rewards for {len(names)} completions", where=where, fix="Give one for each."
        )
    yield from zip(names, numbers, strict=True)


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST


def _key(value: Any, where: str) -> bytes:
    try:
        key = bytes.fromhex(value)
    except (TypeError, ValueError):
        key = b""
    if len(key) != 16:
        raise PlauditError(f"the key is {value!r}, not 32 hex digits", where=where, fix=FORMS)
    return key


def _key_of_texts(row: Mapping[str, Any], completion: Any) -> bytes:
    prompt = row["prompt"]
    if not isinstance(prompt, str) and isinstance(completion, str):
        completion = [{"role": "assistant", "content": completion}]  # as plaudit score reads it
    return conversation_key(prompt, completion, row.get("tools"), row.get("chat_template_kwargs"))


def _completions(row: Mapping[str, Any]) -> list[Any]:
    return list(row["completions"]) if row.get("completions") is not None else [row.get("completion")]


def _place(row: Mapping[str, Any], where: str) -> int:
    for name in ("completion", "completion_index", "index"):
        value = row.get(name)
        if isinstance(value, str) and value.isdecimal():  # CSV
            return int(value)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
    raise PlauditError("which of the record's completions it is, is not said", where=where, fix=FORMS)


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Rows with their places."""
    if path.suffix in (".parquet", ".csv"):
        is_csv = path.suffix == ".csv"
        try:
            table = _read_csv(path) if is_csv else pyarrow.parquet.read_table(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise PlauditError(
                f"it is no whole table ({str(error)[:300]})", where=str(path), fix="Write the file again."
            ) from error
        for number, row in enumerate(table.to_pylist()):
            yield f"{path}:{number + 2 if is_csv else number}", {k: _from_text(k, v) for k, v in row.items()}
        return
    for number, value in read_json_lines(path, Position()):
        if value is BLANK:
            continue
        if isinstance(value, BadRecord) or not isinstance(value, dict):
            what = value.what if isinstance(value, BadRecord) else f"a JSON {type(value).__name__}"
            raise PlauditError(f"no row of rewards: {what}", where=f"{path}:{number}", fix=FORMS)
        yield f"{path}:{number}", value


def _read_csv(path: Path) -> pyarrow.Table:
    """Texts stay texts, also those that look like numbers, and may span lines."""
    texts = ("prompt", "completion", "completions", "rewards", "id", "key")
    return pyarrow.csv.read_csv(
        path,
        parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
        convert_options=pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(texts, pyarrow.string())),
    )


def _from_text(name: str, value: Any) -> Any:
    """A cell with JSON in it, where a table's column holds texts only: lists, and conversations as messages."""
    if name not in ("prompt", "completion", "completions", "rewards") or not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except ValueError:
        return value
    if name in ("completions", "rewards"):
        return found
    are_messages = (
        isinstance(found, list) and found and all(isinstance(t, dict) and "role" in t for t in found)
    )
    return found if are_messages else value
