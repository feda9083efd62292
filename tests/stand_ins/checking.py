"""How annotations are checked in the tests: beartype, with an int where a float is wanted (PEP 484)."""

from __future__ import annotations

from beartype import BeartypeConf, beartype

__all__ = ["checked"]

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
