"""Mixtures: several sources read as one, whole or in part (open-instruct's `dataset_mixer`).

Which groups of a source are taken depends on the seed and the source alone, so that adding a source leaves
the others' choice as it was. The groups stay in the order of their source.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from plaudit.errors import PlauditError
from plaudit.preferences.attributes import AskedAttributes, check_attributes
from plaudit.preferences.bad_record import BadRecordPolicy
from plaudit.preferences.collection import Preferences
from plaudit.preferences.pipeline import Reading
from plaudit.preferences.reading import Source, check_options, finish_table
from plaudit.preferences.report import Tally
from plaudit.preferences.sealing import Sealed, seal_row
from plaudit.preferences.sources.resolve import resolve
from plaudit.preferences.store import TableWriter, new_table_path

__all__ = ["Amount", "parse_mixture", "read_mixture"]

Amount: TypeAlias = float | int | None
"""A fraction in (0, 1], a number of groups, or None for all."""

_ROWS_PER_BATCH = 256


def read_mixture(
    sources: Mapping[str, Amount] | Sequence[Any],
    *,
    seed: int = 0,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    transcripts: str = "messages",
    attributes: Sequence[str] | None = None,
    on_bad_record: str = "error",
    bad_records_path: str | Path | None = None,
    group_by_prompt: bool = False,
    streaming: bool = False,
    cache_dir: str | Path | None = None,
    progress: bool = True,
) -> Preferences:
    """Read several sources as one, with one report.

    Args:
        sources: A mapping of name to fraction (a float up to 1.0) or count (an integer); or a list of sources
            to join whole; or open-instruct's list of names and amounts in turn, ``["a", "0.5", "b",
            "1000"]``, where an amount with a point is a fraction and one without is a count.
        seed: Chooses the groups where a part of a source is taken.
        split: As in `read_preferences`, for every source; so are the options that follow. An attribute that
            only some sources have is unknown in the others.

    Raises:
        PlauditError: An amount is no fraction or count, or more than the source has; or what
            `read_preferences` raises.

    >>> pair = {"prompt": "2+2?", "chosen": "4", "rejected": "5"}
    >>> len(read_mixture([[pair], [pair, pair]]))
    3
    """
    check_options(columns, transcripts)
    mixture = parse_mixture(sources)
    renames, tally = dict(columns or {}), Tally()
    asked = AskedAttributes(_common_attributes(attributes, mixture), renames)
    with (
        BadRecordPolicy(on_bad_record, bad_records_path) as policy,
        TableWriter(new_table_path(cache_dir), asked.names) as writer,
    ):
        for source, amount in mixture:
            # A stream is read to its end here: a mixture is a table.
            located, _ = resolve(source, split, renames, streaming)
            reading = Reading(located, renames, transcripts, policy, progress, asked)
            writer.extend(_taken(reading, amount, seed, tally))
        asked.check_met(tally.sources)
    return finish_table(writer, tally, group_by_prompt=group_by_prompt, cache_dir=cache_dir)


def parse_mixture(sources: Mapping[str, Amount] | Sequence[Any]) -> list[tuple[Source, Amount]]:
    """The sources with their amounts.

    Raises:
        PlauditError: An amount is wrong, or names and amounts do not take turns.

    >>> parse_mixture(["a", "0.5", "b", "1000"]), parse_mixture(["a", "b"])
    ([('a', 0.5), ('b', 1000)], [('a', None), ('b', None)])
    """
    if isinstance(sources, Mapping):
        pairs = list(sources.items())
    elif isinstance(sources, str | bytes):
        raise PlauditError(
            f"a mixture is a list or mapping of sources, not the text {sources!r}",
            where="sources",
            fix="Give a list of one name, or use read_preferences.",
        )
    elif any(_as_amount(item) is not None for item in sources):
        pairs = _in_turns(list(sources))
    else:
        pairs = [(source, None) for source in sources]
    if not pairs:
        raise PlauditError("a mixture of no sources", where="sources", fix="Name at least one source.")
    return [(source, _check_amount(source, amount)) for source, amount in pairs]


def _common_attributes(
    attributes: Sequence[str] | None, mixture: Sequence[tuple[Source, Amount]]
) -> tuple[str, ...]:
    """The names asked for, or those that sources which are preferences have already, which must be the same."""
    names = check_attributes(attributes)
    for source, _ in mixture:
        names = check_attributes(names, source)
    return names


def _taken(reading: Reading, amount: Amount, seed: int, tally: Tally) -> Iterator[Sealed]:
    """The sealed groups of a source that the mixture takes."""
    own = Tally()
    if amount is None or (amount == 1.0 and isinstance(amount, float)):
        yield from (sealed for _, sealed in reading.sealed(own))
        reading.check_any(own)
        tally.add_report(own.report())
        return
    with TableWriter(new_table_path(None), reading.attributes.names) as writer:
        writer.extend(sealed for _, sealed in reading.sealed(own))
        reading.check_any(own)
    preferences = writer.opened(own)
    name = ", ".join(own.sources)
    rows = _choose(len(preferences), amount, seed, name)
    own.notes[f"groups taken, of {len(preferences):,} in {name}"] += len(rows)
    tally.add_report(own.report())
    yield from _rows(preferences, rows)
    writer.path.unlink()


def _choose(num_groups: int, amount: float | int, seed: int, name: str) -> np.ndarray:
    """int64 [num_taken]: the rows taken, in order."""
    num_taken = amount if isinstance(amount, int) else max(round(num_groups * amount), 1)
    if num_taken > num_groups:
        raise PlauditError(
            f"{num_taken:,} groups were asked for, but there are {num_groups:,}",
            where=name,
            fix=f"Ask for at most {num_groups}, or for 1.0 to take all.",
        )
    random = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return np.sort(random.permutation(num_groups)[:num_taken])


def _rows(preferences: Preferences, rows: np.ndarray) -> Iterator[Sealed]:
    for start in range(0, len(rows), _ROWS_PER_BATCH):
        batch: dict[str, list[Any]] = preferences.dataset[rows[start : start + _ROWS_PER_BATCH].tolist()]
        for values in zip(*batch.values(), strict=True):
            yield seal_row(dict(zip(batch, values, strict=True)))


def _in_turns(items: list[Any]) -> list[tuple[Any, Amount]]:
    amounts = [_as_amount(item) for item in items]
    takes_turns = len(items) % 2 == 0 and all((a is not None) == bool(i % 2) for i, a in enumerate(amounts))
    if not takes_turns:
        raise PlauditError(
            f"names and amounts do not take turns: {' '.join(map(str, items))}",
            where="sources",
            fix='Write name amount name amount, such as "a 0.5 b 1000"; or names only.',
        )
    return list(zip(items[::2], amounts[1::2], strict=True))


def _as_amount(item: Any) -> float | int | None:
    if isinstance(item, int | float) and not isinstance(item, bool):
        return item
    if not isinstance(item, str):
        return None
    try:
        return float(item) if "." in item else int(item)
    except ValueError:
        return None


def _check_amount(source: Any, amount: Any) -> Amount:
    is_fraction = isinstance(amount, float) and 0.0 < amount <= 1.0
    is_count = isinstance(amount, int) and not isinstance(amount, bool) and amount > 0
    if amount is None or is_fraction or is_count:
        return amount
    raise PlauditError(
        f"the amount {amount!r} is neither a fraction in (0, 1] nor a count above 0",
        where=str(source)[:80],
        fix="Write 0.5 for half, 1.0 for all, 1000 for a thousand groups.",
    )
