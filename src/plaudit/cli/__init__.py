"""The command line: one file per command, each of which parses, calls and prints.

Importing it imports neither torch nor transformers, so that ``plaudit --help`` answers at once; a command
imports what it needs when it runs.
"""

from plaudit.cli.running import main

__all__ = ["main"]
