"""What makes a record bad, and what happens to it then: named with its place, counted, never lost in silence.

A parser raises `BadRecord` with one of the reasons below. The reader adds the place and either stops with a
`PlauditError` or counts the record and writes it to a file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any, Literal

from plaudit.errors import PlauditError, unknown_choice

__all__ = ["REASONS", "BadRecord", "BadRecordPolicy", "OnBadRecord"]

OnBadRecord = Literal["error", "skip"]

REASONS: dict[str, str] = {
    "bad-utf8": "the bytes are not UTF-8",
    "lone-surrogate": "a text holds half a surrogate pair (such as \\ud800), which no tokenizer can read",
    "broken-json": "the line or element is not JSON",
    "broken-csv": "the row is not CSV: quotes do not match, or it has more or fewer cells than the header",
    "duplicate-key": "a JSON object names a key twice, so that one value would be lost",
    "not-an-object": "the record is JSON, but a list, text, number or null",
    "line-too-long": "the line is longer than 256 MiB",
    "cut-off": "the file breaks off here (truncated archive, broken JSON array): the rest was not read",
    "unknown-format": "no key of the record belongs to a known format",
    "missing-key": "a key that the format needs is absent or null",
    "wrong-type": "a value has another type than its key asks for",
    "empty-prompt": "the prompt is blank where one is needed",
    "empty-completion": "a completion is empty or only white space",
    "mixed-kinds": "one completion is text, the other is messages",
    "bad-message": "a message has no role, no content, or is no object; or a list of messages is empty",
    "unknown-role": "a message has a role that chat templates do not know",
    "role-order": "a system message is not first, or a completion does not end with the assistant",
    "different-prompts": "the conversations compared do not answer the same prompt",
    "identical-completions": "the completions compared are the same text",
    "single-completion": "there are fewer than two completions to compare",
    "length-mismatch": "there are more or fewer ratings or ranks than completions, or attributes than names",
    "bad-margin": "the margin is not a finite number",
    "bad-weight": "the weight is not a finite number above 0",
    "bad-rating": "a rating, score or attribute is not a finite number",
    "bad-rank": "a rank is not a finite number",
    "bad-tools": "tools are not a list of objects, nor JSON text of one",
    "bad-chat-template-kwargs": "chat_template_kwargs is not an object, nor JSON text of one",
    "bad-transcript": "a Human/Assistant transcript has no Assistant turn to compare",
}
"""Every reason with its meaning; the reports, the file of bad records and the docs use these names."""

MAX_EXCERPT = 500
"""Characters of a bad record that are written down (assumed: enough to find it, short enough for a log)."""

_SKIP_HINT = 'Or skip such records and count them: on_bad_record="skip" (--on-bad-record skip).'


class BadRecord(Exception):  # noqa: N818 - the record is bad; the error is what the reader makes of it
    """One record that cannot be used.

    Args:
        reason: A key of `REASONS`.
        what: What is wrong, with the value.
        fix: What to do about it, as a sentence.
        excerpt: The raw text, where the record could not even be parsed.
    """

    def __init__(self, reason: str, what: str, fix: str = "", *, excerpt: str | None = None) -> None:
        assert reason in REASONS, reason
        super().__init__(what)
        self.reason = reason
        self.what = what
        self.fix = fix
        self.excerpt = excerpt


class BadRecordPolicy:
    """Stops at a bad record, or writes it down and goes on.

    Args:
        on_bad_record: ``error`` or ``skip``.
        path: JSON lines of the skipped records; made anew, so that an empty file says that none was bad.

    Raises:
        PlauditError: ``on_bad_record`` is neither; or the path cannot be written.
    """

    def __init__(self, on_bad_record: str = "error", path: str | Path | None = None) -> None:
        if on_bad_record not in ("error", "skip"):
            raise unknown_choice("on_bad_record", on_bad_record, ("error", "skip"))
        self._stops = on_bad_record == "error"
        self._path = None if path is None else Path(path)
        self._file: IO[str] | None = None
        self.restart()

    def restart(self) -> None:
        """Empty the file of bad records, for another pass."""
        if self._path is not None:
            _open(self._path, "w").close()

    def __enter__(self) -> BadRecordPolicy:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file of bad records; a stream that goes on later opens it again."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def handle(self, bad: BadRecord, *, source: str, line: int, where: str, record: Any) -> None:
        """Raise the error that names the place, or write the record down.

        Raises:
            PlauditError: The policy is ``error``.
        """
        if self._stops:
            fix = f"{bad.fix} {_SKIP_HINT}".strip()
            raise PlauditError(f"{bad.reason}: {bad.what}", where=where, fix=fix) from bad
        if self._path is None:
            return
        if self._file is None:
            self._file = _open(self._path, "a")
        entry = {"source": source, "line": line, "reason": bad.reason, "what": bad.what}
        self._file.write(json.dumps(entry | {"record": excerpt(bad, record)}) + "\n")
        self._file.flush()


def excerpt(bad: BadRecord, record: Any) -> str:
    """At most 500 characters of the record: its raw text, or its JSON."""
    if bad.excerpt is not None:
        return shorten(bad.excerpt, MAX_EXCERPT)
    try:
        return shorten(json.dumps(record, ensure_ascii=False, default=repr), MAX_EXCERPT)
    except (ValueError, RecursionError, TypeError):  # circular or too deep: its repr copes with both
        return shorten(repr(record), MAX_EXCERPT)


def shorten(text: str, max_characters: int = 60) -> str:
    """The text, cut in the middle where it is longer than ``max_characters``."""
    if len(text) <= max_characters:
        return text
    half = (max_characters - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"


def _open(path: Path, mode: str) -> IO[str]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open(mode, encoding="utf-8")
    except OSError as error:
        raise PlauditError(
            f"the file for bad records cannot be written ({error.strerror})",
            where=str(path),
            fix="Give a path in a folder that can be written to.",
        ) from error
