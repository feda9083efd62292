"""The one error for what a person can fix: what is wrong, where, the value with its unit, what to do."""

from __future__ import annotations

__all__ = ["PlauditError", "missing_extra", "unknown_choice"]


class PlauditError(Exception):
    """Something the person at the keyboard can fix.

    The command line shows its text without a traceback and exits with status 2.

    Args:
        what: What is wrong, with values and units.
        where: The place: a file and line, an option, a tensor's name.
        fix: What to do about it, as a sentence.

    >>> print(PlauditError("max_length is -5 tokens", where="--max-length", fix="Give a number above 0."))
    --max-length: max_length is -5 tokens. Give a number above 0.
    """

    def __init__(self, what: str, *, where: str | None = None, fix: str | None = None) -> None:
        self.what = what
        self.where = where
        self.fix = fix
        super().__init__(what)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        if not self.fix:
            return f"{place}{self.what}"
        return f"{place}{self.what.rstrip('.')}. {self.fix}"

    def __reduce__(self) -> tuple[object, ...]:
        """Survive a trip through multiprocessing, which would otherwise call ``__init__`` with ``args`` only."""
        return (_rebuild, (self.what, self.where, self.fix))


def _rebuild(what: str, where: str | None, fix: str | None) -> PlauditError:
    return PlauditError(what, where=where, fix=fix)


def unknown_choice(name: str, given: object, choices: list[str] | tuple[str, ...]) -> PlauditError:
    """The error for a misspelt choice: it lists the valid ones.

    >>> print(unknown_choice("--attention", "flash", ["auto", "sdpa"]))
    --attention: unknown value 'flash'. Choose one of: auto, sdpa.
    """
    return PlauditError(f"unknown value {given!r}", where=name, fix=f"Choose one of: {', '.join(choices)}.")


def missing_extra(package: str, extra: str, needed_for: str) -> PlauditError:
    """The error for an optional dependency that is not installed: it gives the command that brings it.

    >>> print(missing_extra("peft", "lora", "LoRA training"))
    LoRA training needs the package peft, which is not installed. Run: pip install 'plaudit[lora]'
    """
    return PlauditError(
        f"{needed_for} needs the package {package}, which is not installed",
        fix=f"Run: pip install 'plaudit[{extra}]'",
    )
