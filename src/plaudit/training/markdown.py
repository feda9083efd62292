"""Text from data in Markdown: shown as it is, never read as Markdown or HTML.

A prompt may hold anything: a table's bar, a code fence, a script, a line of YAML, a character that turns the writing
direction. Tables with such texts are HTML without a blank line, in which Markdown is not read; everywhere else
special characters are escaped.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

__all__ = ["code_block", "code_span", "html_table", "inline", "pipe_table"]

_SPECIAL = re.compile(r"([\\`*_{}\[\]#|~$])")
_JOINERS = "\u200c\u200d"
"""Invisible, but part of emoji and of several scripts."""


def inline(text: str) -> str:
    """The text on one line of Markdown, with nothing in it read as markup.

    >>> inline("a_b | <script>")
    'a\\\\_b \\\\| &lt;script&gt;'
    """
    return _SPECIAL.sub(r"\\\1", html.escape(_visible(" ".join(text.split())), quote=False))


def code_span(text: str) -> str:
    """The text as code within a line, whatever backticks are in it; a bar is safe in a table.

    >>> print(code_span("a`b"), code_span("x|y"))
    ``a`b`` `x\\|y`
    """
    shown = _visible(" ".join(text.split())) or " "
    fence = "`" * (_longest_run(shown) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}".replace("|", "\\|")


def code_block(code: str, language: str) -> str:
    """A fenced block, its fence longer than any in the code."""
    fence = "`" * max(3, _longest_run(code) + 1)
    return f"{fence}{language}\n{code.strip()}\n{fence}"


def pipe_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """A Markdown table; cells are Markdown already.

    Args:
        header: Titles of the columns.
        rows: Cells.
        right: Indices of columns that are set flush right.
    """
    rule = ["---:" if index in right else "---" for index in range(len(header))]
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)]
    return "\n".join(lines)


def html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table of plain texts: escaped, line breaks kept, without a blank line that would end the block."""
    lines = ["<table>", "<tr>" + "".join(f"<th>{_cell(title)}</th>" for title in header) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{_cell(text)}</td>" for text in row) + "</tr>" for row in rows]
    return "\n".join([*lines, "</table>"])


def _cell(text: str) -> str:
    escaped = html.escape(_visible(text)).replace("$", "&#36;")  # some pages set mathematics between dollars
    return "<br>".join(line.strip() for line in escaped.strip().splitlines())


def _visible(text: str) -> str:
    """Control characters, half surrogates and marks of direction as their code points, as ``\\u202e``."""
    return "".join(
        c if c.isprintable() or c in "\n\r\t" or c in _JOINERS else f"\\u{ord(c):04x}" for c in text
    )


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
