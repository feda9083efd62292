"""What ``plaudit eval`` evaluates on: ``--suite`` and ``--data`` as named sets, each read once."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from plaudit.cli.reading import ReadOptions, parse_source, read_sources
from plaudit.errors import PlauditError
from plaudit.evaluation.names import all_different, folder_names
from plaudit.evaluation.sets import EvaluationSet
from plaudit.evaluation.suites import Benchmark, find_suite
from plaudit.preferences.holdout import first_groups
from plaudit.preferences.sources.locate import parse_name

__all__ = ["SetReader", "split_name"]


class SetReader:
    """Reads suites and data; once for all models that read transcripts alike."""

    def __init__(
        self,
        suites: Sequence[str],
        data: Sequence[str],
        options: ReadOptions,
        *,
        limit: int | None,
        bad_records_folder: Path | None,
        progress: bool,
        on_read: Callable[[str, str], None],
    ) -> None:
        """
        Args:
            suites: As ``--suite`` gives them: ``name`` or ``name=path``.
            data: As ``--data`` gives them, ``source`` or ``name=source``; each is a set of its own.
            options: How data are read.
            limit: Only the first so many groups of each set.
            bad_records_folder: Where skipped records are written.
            progress: Whether progress is shown.
            on_read: Called with the name of a set that was read and what was found.

        Raises:
            PlauditError: An unknown suite or choice, a name given twice, or neither suites nor data.
        """
        for problem in options.problems():
            raise problem
        if limit is not None and limit < 1:
            raise PlauditError(f"{limit} groups", where="--limit", fix="Give a number above 0.")
        if not suites and not data:
            raise PlauditError("there is nothing to evaluate on", fix="Give --suite or --data.")
        self.suites = [
            (find_suite(name), source or None) for name, _, source in (s.partition("=") for s in suites)
        ]
        named = [split_name(entry) for entry in data]
        self.data = [source for _, source in named]
        self.options = options
        self.limit = limit
        self.bad_records_folder = bad_records_folder
        self.progress = progress
        self.on_read = on_read
        self.names = _names([suite.name for suite, _ in self.suites], named)
        self._read: dict[str, list[EvaluationSet]] = {}

    def sets(self, *, render: str, transcripts: str) -> list[EvaluationSet]:
        """All sets, for a model that renders so and takes transcripts so."""
        if self.options.transcripts != "auto":
            transcripts = self.options.transcripts
        if transcripts not in self._read:
            self._read[transcripts] = list(self._sets(render, transcripts))
        return self._read[transcripts]

    def _sets(self, render: str, transcripts: str) -> Iterator[EvaluationSet]:
        of_suites, of_data = self.names[: len(self.suites)], self.names[len(self.suites) :]
        for name, (suite, source) in zip(of_suites, self.suites, strict=True):
            # A suite of someone else's may know no other way than to stop at a bad row.
            skips = {"on_bad_record": self.options.on_bad_record} if isinstance(suite, Benchmark) else {}
            preferences = suite.read(source, progress=self.progress, **skips)
            yield self._set(EvaluationSet(name=name, preferences=preferences, suite=suite))
        options = replace(self.options, transcripts=transcripts)
        for name, source in zip(of_data, self.data, strict=True):
            file = "bad-records.jsonl" if len(self.data) == 1 else f"bad-records-{name}.jsonl"
            preferences = read_sources(
                [source],
                options,
                render=render,
                bad_records_path=None if self.bad_records_folder is None else self.bad_records_folder / file,
                progress=self.progress,
            )
            yield self._set(EvaluationSet(name=name, preferences=preferences))

    def _set(self, found: EvaluationSet) -> EvaluationSet:
        self.on_read(found.name, found.preferences.report.summary())
        if self.limit is None:
            return found
        return replace(found, preferences=first_groups(found.preferences, self.limit))


def split_name(entry: str) -> tuple[str | None, str]:
    """The name of ``name=source``, and the source; None where the entry is a source without a name.

    What is there is no name: an existing path, or a wildcard that matches. A name has no slash.

    Raises:
        PlauditError: Nothing stands behind the equals sign.

    >>> split_name("mine=org/data@train=1000"), split_name("a.jsonl=0.5")
    (('mine', 'org/data@train=1000'), (None, 'a.jsonl=0.5'))
    """
    whole, _ = parse_source(entry)
    name, _, source = entry.partition("=")
    path = Path(parse_name(whole)[0]).expanduser()
    if "=" not in whole or "/" in name or path.exists() or glob.glob(str(path), recursive=True):
        return None, entry
    if not name or not source:
        raise PlauditError(
            f"{entry!r} does not say which data have which name",
            where="--data",
            fix="Write a name, an equals sign and a source: --data mine=pairs.jsonl.",
        )
    return name, source


def _names(suites: Sequence[str], data: Sequence[tuple[str | None, str]]) -> list[str]:
    """What each set is called: as its user says, or by its suite or path, all different.

    Raises:
        PlauditError: A name is given twice, or is that of a suite.
    """
    given = [name for name, _ in data if name is not None]
    for name in given:
        if [*suites, *given].count(name) > 1:
            raise PlauditError(
                f"two sets are called {name!r}", where="--data", fix="Give each a name of its own."
            )
    paths = folder_names([parse_source(source)[0] for name, source in data if name is None])
    others = iter(all_different([*suites, *paths], taken=given))
    return [next(others) for _ in suites] + [next(others) if name is None else name for name, _ in data]
