"""Preference groups to token groups: one rendering, one length rule, everything counted.

The only caller of the tokenizer in the project.
"""

from plaudit.tokens.group import TokenGroup
from plaudit.tokens.limits import LengthLimits
from plaudit.tokens.loading import LoadedTokenizer, ensure_pad_token, load_tokenizer
from plaudit.tokens.pretokenized import is_pretokenized, table_of_token_ids
from plaudit.tokens.rendered import num_shared_tokens, render_groups
from plaudit.tokens.rendering import Renderer
from plaudit.tokens.report import DroppedGroups, TokenReport
from plaudit.tokens.rule import RenderingRule
from plaudit.tokens.stream import TokenStream
from plaudit.tokens.table import TokenTable
from plaudit.tokens.tokenize import tokenize_preferences

__all__ = [
    "DroppedGroups",
    "LengthLimits",
    "LoadedTokenizer",
    "Renderer",
    "RenderingRule",
    "TokenGroup",
    "TokenReport",
    "TokenStream",
    "TokenTable",
    "ensure_pad_token",
    "is_pretokenized",
    "load_tokenizer",
    "num_shared_tokens",
    "render_groups",
    "table_of_token_ids",
    "tokenize_preferences",
]
