"""A kept table found again: files unchanged since, and read with the same options, are not read twice.

Only a reading without bad records is found again, so that bad records are named each time.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from plaudit.preferences.collection import Preferences
from plaudit.preferences.report import ReadReport
from plaudit.preferences.sources.locate import Located
from plaudit.preferences.store import open_table

__all__ = ["find_kept", "keep", "reading_key"]

_VERSION = 2
"""Raised whenever the same records are read to other groups."""


def reading_key(located: Located, options: Mapping[str, object]) -> str | None:
    """What names a reading: its files' paths, sizes and times, and the options; None without files."""
    stats = []
    for part in located.parts:
        path = Path(part.name)
        if not path.is_file():
            return None
        stat = path.stat()
        stats.append([str(path.resolve()), part.name, stat.st_size, stat.st_mtime_ns])
    text = json.dumps([_VERSION, stats, located.not_read, dict(options)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def find_kept(cache_dir: Path, key: str) -> Preferences | None:
    """The preferences kept under the key, None where there are none."""
    table, report = _paths(cache_dir, key)
    if not (table.exists() and report.exists()):
        return None
    kept = json.loads(report.read_text(encoding="utf-8"))
    return Preferences(
        open_table(table), report=ReadReport.from_json(kept["report"]), fingerprint=kept["fingerprint"]
    )


def keep(preferences: Preferences, path: Path, cache_dir: Path, key: str | None) -> Preferences:
    """Move a written table to its lasting name, the fingerprint where there is no key, and open it there."""
    findable = key is not None and preferences.report.num_bad == 0
    name = key if key is not None and findable else preferences.fingerprint[:32]
    table, report = _paths(cache_dir, name)
    os.replace(path, table)
    if findable:
        kept = {"fingerprint": preferences.fingerprint, "report": preferences.report.to_json()}
        partial = report.with_suffix(f".{os.getpid()}.partial")
        partial.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        os.replace(partial, report)
    return Preferences(open_table(table), report=preferences.report, fingerprint=preferences.fingerprint)


def _paths(cache_dir: Path, name: str) -> tuple[Path, Path]:
    return cache_dir / f"preferences-{name}.arrow", cache_dir / f"preferences-{name}.json"
