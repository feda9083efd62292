"""Bulk scoring of a file: JSON lines in, the same lines with rewards out, in order, whatever their number.

Guarantees: memory holds one window of records; shared prompts meet within a window and are computed once; an
interrupted run goes on from the whole lines of its ``.part`` file when model and input are the same; the output
appears under its name only when it is complete; every input record is one output line, or the run stops at it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import zstandard

from plaudit.errors import PlauditError, unknown_choice
from plaudit.model.head import head_of
from plaudit.model.normalization import check_normalization
from plaudit.preferences.bad_record import BadRecord
from plaudit.preferences.sources.item import BLANK, Position
from plaudit.preferences.sources.lines import read_json_lines
from plaudit.scoring.columns import added_columns, columns_of, members_of
from plaudit.scoring.ensemble import EnsembleScorer
from plaudit.scoring.records import RecordToScore, bad_record_line, read_record_to_score, to_line
from plaudit.scoring.scorer import Scorer

__all__ = ["FileScores", "score_file"]

RECORDS_PER_WINDOW = 4096
TOKENS_PER_WINDOW = 2_000_000
"""A window ends at either (assumed: many passes of the model, and some MB of ids)."""

STANDARD = "-"

log = logging.getLogger(__name__)


@dataclass(kw_only=True, slots=True)
class FileScores:
    """What scoring a file did."""

    num_records: int = 0
    """Records met, bad ones and those of an interrupted run included."""
    num_resumed: int = 0
    """Records that an interrupted run had scored already."""
    num_bad: int = 0
    """Records that could not be scored, in this run."""
    num_blank: int = 0
    """Blank lines, which are no records and not in the output."""
    num_sequences: int = 0
    """Conversations scored, in this run."""
    num_over_length: int = 0
    """Those longer than the model was trained on; they are scored whole."""
    max_tokens: int = 0
    """Tokens of the longest conversation."""


def score_file(
    scorer: Scorer | EnsembleScorer,
    source: str,
    target: str,
    *,
    normalize: str = "none",
    details: bool = False,
    on_bad_record: str = "error",
    overwrite: bool = False,
    records_per_window: int = RECORDS_PER_WINDOW,
    on_window: Callable[[FileScores, int], None] | None = None,
    on_sequences: Callable[[int], None] | None = None,
) -> FileScores:
    """Score every record of a file.

    Args:
        scorer: The model, or several; each renders the conversations in its own way.
        source: JSON lines, plain or .gz or .zst; ``-`` is standard input.
        target: Where the scored lines go, compressed by its ending; ``-`` is standard output.
        normalize: Add ``normalized`` beside the raw reward: ``affine`` or ``sigmoid``.
        details: Whether ``num_tokens`` is added too (of an ensemble as its first member counts them).
        on_bad_record: ``error`` stops at it (what is scored is kept for the next run); ``skip`` writes it with
            ``"reward": null`` and its ``error``.
        overwrite: Whether an output that is there is replaced.
        records_per_window: Records in memory.
        on_window: Called after each window with the counts so far and the bytes of the input read.
        on_sequences: Called with the number of conversations scored since the last call.

    Raises:
        PlauditError: A bad record (with its line), an output that exists, a reward that is not finite, a model
            that lacks what the normalisation needs.
    """
    if on_bad_record not in ("error", "skip"):
        raise unknown_choice("--on-bad-record", on_bad_record, ("error", "skip"))
    for member in members_of(scorer):
        check_normalization(normalize, member.normalization, model=member.name)
    counts, position = FileScores(), Position()
    stops = on_bad_record == "error"
    run = json.dumps(_run_of(scorer, source, normalize, details))
    with _output(run, source, target, overwrite=overwrite) as (file, num_done):
        counts.num_resumed = num_done
        if num_done:
            log.info("%s: going on after %s scored records", target, f"{num_done:,}")
        records = _records(source, position, counts, num_done)
        asked_for = added_columns(scorer, normalize)
        for window in _windows(records, scorer, counts, stops, records_per_window, asked_for):
            _score_window(window, scorer, file, counts, normalize, details, on_sequences)
            if on_window is not None:
                on_window(counts, position.num_bytes())
            if isinstance(window[-1], PlauditError):
                raise window[-1]
    return counts


_Entry = tuple[RecordToScore, ...] | bytes | PlauditError
"""A record to score as each model reads it, a line that is ready, or the error to stop at once what precedes it is
written."""


def _records(source: str, position: Position, counts: FileScores, num_done: int) -> Iterator[tuple[str, Any]]:
    """The records not yet done, with their places."""
    path = Path("/dev/stdin") if source == STANDARD else Path(source)
    name = "standard input" if source == STANDARD else source
    for number, value in read_json_lines(path, position):
        if value is BLANK:
            counts.num_blank += 1
            continue
        counts.num_records += 1
        if counts.num_records > num_done:
            yield f"{name}:{number}", value


def _windows(
    records: Iterator[tuple[str, Any]],
    scorer: Scorer | EnsembleScorer,
    counts: FileScores,
    stops: bool,
    max_records: int,
    asked_for: Sequence[str],
) -> Iterator[list[_Entry]]:
    window: list[_Entry] = []
    num_tokens = 0
    for where, value in records:
        entry = _entry(where, value, scorer, counts, stops, asked_for)
        window.append(entry)
        if isinstance(entry, PlauditError):
            break
        if isinstance(entry, tuple):
            num_tokens += sum(len(ids) for reading in entry for ids in reading.sequences)
        if len(window) >= max_records or num_tokens >= TOKENS_PER_WINDOW:
            yield window
            window, num_tokens = [], 0
    if window:
        yield window


def _entry(
    where: str,
    value: Any,
    scorer: Scorer | EnsembleScorer,
    counts: FileScores,
    stops: bool,
    asked_for: Sequence[str],
) -> _Entry:
    try:
        if isinstance(value, BadRecord):
            raise value
        return tuple(
            read_record_to_score(value, member, where, asked_for=asked_for) for member in members_of(scorer)
        )
    except PlauditError as error:
        return error
    except BadRecord as bad:
        what = f"{bad.reason}: {bad.what}"
        if stops:
            fix = f"{bad.fix} Or write such records with their error and go on: --on-bad-record skip."
            return PlauditError(what, where=where, fix=fix.strip())
        counts.num_bad += 1
        return bad_record_line(None if isinstance(value, BadRecord) else value, f"{where}: {what}")


def _score_window(
    window: list[_Entry],
    scorer: Scorer | EnsembleScorer,
    file: IO[bytes],
    counts: FileScores,
    normalize: str,
    details: bool,
    on_sequences: Callable[[int], None] | None,
) -> None:
    """Score a window in one go and write its lines."""
    readings = [entry for entry in window if isinstance(entry, tuple)]
    # As each member reads them: [member][conversation].
    sequences = [
        [ids for reading in of_one for ids in reading.sequences] for of_one in zip(*readings, strict=True)
    ]
    sequences = sequences or [[] for _ in members_of(scorer)]
    columns = columns_of(scorer, sequences, normalize, on_sequences)
    _count(sequences[0], scorer, counts)
    start = 0
    for entry in window:
        if isinstance(entry, tuple):
            end = start + len(entry[0].sequences)
            own = {name: values[start:end].tolist() for name, values in columns.items()}
            file.write(to_line(entry[0].scored(own, details=details)))
            start = end
        elif isinstance(entry, bytes):
            file.write(entry)
    file.flush()


def _count(sequences: list[np.ndarray], scorer: Scorer | EnsembleScorer, counts: FileScores) -> None:
    lengths = [len(ids) for ids in sequences]
    counts.num_sequences += len(lengths)
    counts.max_tokens = max([counts.max_tokens, *lengths])
    if scorer.max_length is not None:
        counts.num_over_length += sum(length > scorer.max_length for length in lengths)


@contextmanager
def _output(run: str, source: str, target: str, *, overwrite: bool) -> Iterator[tuple[IO[bytes], int]]:
    """Where the lines go, and how many are there already; takes its name once the block ends without an error."""
    if target == STANDARD:
        yield sys.stdout.buffer, 0
        return
    path, part, note = Path(target), Path(target + ".part"), Path(target + ".part.run")
    _check_files(source, path, overwrite)
    num_done = _whole_lines(part) if note.is_file() and note.read_text() == run and source != STANDARD else 0
    if part.exists() and not num_done:
        log.info("%s is of another run, so it is written anew", part)
    path.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(run)
    with part.open("ab" if num_done else "wb") as file:
        yield file, num_done
        os.fsync(file.fileno())
    _compress(part, path)
    note.unlink()


def _check_files(source: str, path: Path, overwrite: bool) -> None:
    if source != STANDARD and not Path(source).is_file():
        raise PlauditError("there is no such file", where=source, fix="Check the path.")
    if source != STANDARD and path.exists() and Path(source).exists() and path.samefile(source):
        raise PlauditError("input and output are the same file", where=str(path), fix="Name another output.")
    if path.exists() and not overwrite:
        raise PlauditError(
            "the output exists already", where=str(path), fix="Name another, or replace it: --overwrite."
        )


def _run_of(scorer: Scorer | EnsembleScorer, source: str, normalize: str, details: bool) -> dict[str, Any]:
    """What an interrupted run must have in common with this one for its lines to be ours."""
    stat = os.stat(source) if source != STANDARD and Path(source).is_file() else None
    return {
        "models": [_facts_of(member, normalize) for member in members_of(scorer)],
        "combination": str(scorer.combination) if isinstance(scorer, EnsembleScorer) else None,
        "normalize": normalize,
        "input": [source, stat.st_size, stat.st_mtime_ns] if stat else [source],
        "details": details,
    }


def _facts_of(scorer: Scorer, normalize: str) -> dict[str, Any]:
    """What decides the numbers that one model gives."""
    weights = head_of(scorer.model).state_dict()
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(weights[name].detach().float().cpu().numpy().tobytes())
    known = scorer.normalization
    return {
        "model": scorer.name,
        "head": digest.hexdigest(),
        "dtype": str(scorer.model.dtype),
        "rendering": scorer.renderer.sha256(),
        "rule": asdict(scorer.renderer.rule),
        "normalization": None if normalize == "none" or known is None else asdict(known),
    }


def _whole_lines(part: Path) -> int:
    """Lines of an interrupted run; a last one that was cut short is removed."""
    if not part.is_file():
        return 0
    num_lines, end = 0, 0
    with part.open("rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                num_lines, end = num_lines + 1, end + len(line)
    os.truncate(part, end)
    return num_lines


def _compress(part: Path, path: Path) -> None:
    """Give the finished lines their name, compressed where its ending says so."""
    if path.suffix not in (".gz", ".zst"):
        part.replace(path)
        return
    packed = path.with_name(path.name + ".packing")
    with part.open("rb") as lines, packed.open("wb") as file:
        if path.suffix == ".gz":
            with gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0) as target:
                shutil.copyfileobj(lines, target)
        else:
            zstandard.ZstdCompressor().copy_stream(lines, file)
    packed.replace(path)
    part.unlink()
