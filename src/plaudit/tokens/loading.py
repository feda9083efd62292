"""A tokenizer from a folder or hub id, with a pad token that is never the end-of-sequence token.

transformers finds the end of a padded row by looking for the last token that is not the pad token. With
pad == eos it would read the reward one token early, and another reward with it. Rows are padded on the right.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from plaudit.errors import PlauditError

__all__ = ["LoadedTokenizer", "ensure_pad_token", "load_tokenizer", "read_template"]

PAD_CANDIDATES = (
    "<|finetune_right_pad_id|>",  # Llama 3.1 and later
    "<pad>",
    "[PAD]",
    "<|pad|>",
    "<|PAD_TOKEN|>",
    "<|padding|>",  # GPT-NeoX
    "<|vision_pad|>",  # Qwen 2.5: text models never emit it
    "<|reserved_special_token_0|>",  # Llama 3.0
    "<|endoftext|>",  # chat models that end with another token
    "<|dummy_0|>",
)
"""Tokens that some vocabulary reserves and no text holds, in order of preference (from the published
tokenizers)."""

NEW_PAD_TOKEN = "[PAD]"

TEMPLATE_SUFFIXES = (".jinja", ".j2", ".jinja2", ".txt", ".json")
"""Ends of the names of template files: what is not there and ends otherwise is looked for on the hub."""

RARE_TEXT = "\U0001f9a4\u0b95\ue000\ufdd0\x07\u16a0"
"""Characters that no small vocabulary has as tokens: a tokenizer that encodes them without its unknown token
falls back to bytes and never emits it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadedTokenizer:
    """A tokenizer, and what was done to it."""

    tokenizer: PreTrainedTokenizerBase
    """Pads on the right with a token that is not the end-of-sequence token."""
    num_added_tokens: int
    """Tokens added to the vocabulary: where above 0, embeddings with fewer rows than `len(tokenizer)` must be
    resized."""
    notes: tuple[str, ...]
    """What was changed, as sentences for the log."""


def load_tokenizer(
    path_or_id: str | Path,
    chat_template_path: str | Path | None = None,
    *,
    trust_remote_code: bool = False,
    revision: str | None = None,
) -> LoadedTokenizer:
    """A tokenizer ready for reward models.

    Args:
        path_or_id: A folder or a hub id.
        chat_template_path: A file that holds a Jinja template, or a tokenizer's folder or hub id to take it from.
        trust_remote_code: Whether code that comes with the tokenizer may run.
        revision: Branch, tag or commit on the hub.

    Raises:
        PlauditError: No tokenizer or no template there.
    """
    tokenizer = _load(path_or_id, trust_remote_code=trust_remote_code, revision=revision)
    notes: list[str] = []
    if chat_template_path is not None:
        tokenizer.chat_template = read_template(chat_template_path)
        notes.append(f"The chat template is the one of {chat_template_path}.")
    if tokenizer.padding_side != "right":
        tokenizer.padding_side = "right"
        notes.append("The tokenizer pads on the right; its folder says left.")
    num_added_tokens, note = ensure_pad_token(tokenizer)
    if note:
        notes.append(note)
    return LoadedTokenizer(tokenizer=tokenizer, num_added_tokens=num_added_tokens, notes=tuple(notes))


def ensure_pad_token(tokenizer: PreTrainedTokenizerBase) -> tuple[int, str]:
    """Give a tokenizer, in place, a pad token that is not its end-of-sequence token.

    Its own is kept if it differs; else a token that its vocabulary reserves is taken; else one is added.

    Returns:
        The number of tokens added to the vocabulary, 0 or 1, and a sentence on what was done, empty for
        nothing.
    """
    old = tokenizer.pad_token
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id != tokenizer.eos_token_id:
        return 0, ""
    reason = "there was none" if old is None else f"it was {old!r}, the end-of-sequence token"
    token = _reserved_token(tokenizer)
    if token is not None:
        tokenizer.pad_token = token
        return 0, f"The pad token is {token!r} of the vocabulary ({reason})."
    num_added = tokenizer.add_special_tokens({"pad_token": NEW_PAD_TOKEN})
    return num_added, (
        f"The pad token is {NEW_PAD_TOKEN!r}, added to the vocabulary as id {tokenizer.pad_token_id} "
        f"({reason})."
    )


def _reserved_token(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """A token of the vocabulary that no conversation holds, if there is one."""
    vocabulary = tokenizer.get_vocab()
    template = tokenizer.chat_template
    written = template if isinstance(template, str) else json.dumps(template)
    taken = {str(tokenizer.eos_token), str(tokenizer.bos_token)}
    for token in PAD_CANDIDATES:
        if token in vocabulary and token not in taken and token not in written:
            return token
    unknown = str(tokenizer.unk_token)
    if tokenizer.unk_token is not None and unknown not in taken and _never_unknown(tokenizer):
        return unknown
    return None


def _never_unknown(tokenizer: PreTrainedTokenizerBase) -> bool:
    ids = tokenizer(RARE_TEXT, add_special_tokens=False)["input_ids"]
    return tokenizer.unk_token_id not in ids


def _load(
    path_or_id: str | Path, *, trust_remote_code: bool, revision: str | None
) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(
            str(path_or_id), trust_remote_code=trust_remote_code, revision=revision
        )
    except (OSError, ValueError, KeyError) as error:
        needs_code = "trust_remote_code" in str(error)
        raise PlauditError(
            f"no tokenizer could be loaded ({str(error).splitlines()[0]})",
            where=str(path_or_id),
            fix="Allow the code that comes with it: --trust-remote-code."
            if needs_code
            else "Give a folder with tokenizer files, or the id of a model on the hub.",
        ) from error


def read_template(chat_template_path: str | Path) -> str:
    """The chat template of a file, or of a tokenizer given by folder or hub id.

    Raises:
        PlauditError: There is none.
    """
    path = Path(chat_template_path)
    is_on_hub = not path.exists() and path.suffix not in TEMPLATE_SUFFIXES
    if path.is_dir() or is_on_hub:
        template = _load(chat_template_path, trust_remote_code=False, revision=None).chat_template
        if isinstance(template, str):
            return template
        raise PlauditError(
            "the tokenizer there has no chat template",
            where=str(path),
            fix="Give a file that holds a Jinja template.",
        )
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlauditError(
            f"the chat template cannot be read ({error})",
            where="--chat-template-path",
            fix="Give a UTF-8 file that holds a Jinja template, or a tokenizer's folder.",
        ) from error
