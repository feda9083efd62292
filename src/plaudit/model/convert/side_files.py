"""What stands beside the weights: tokenizer, chat template, generation config, and plaudit's own record."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

from transformers import PreTrainedTokenizerBase

from plaudit.model.normalization import RewardNormalization, find_normalization
from plaudit.model.record import RECORD_FILE, ModelRecord, read_record, replace_json
from plaudit.tokens import Renderer, load_tokenizer

__all__ = ["SideFiles", "has_tokenizer"]

PATTERNS = (
    *("tokenizer*", "special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "*.model"),
    *("*.tiktoken", "*.jinja", "additional_chat_templates", "generation_config.json", "*.py"),
    *("LICENSE*", "NOTICE*"),
)
"""What is copied, as patterns. Cards, curves and logs tell of the source and stay there."""

TOKENIZER_MARKS = ("tokenizer_config.json", "tokenizer.json", "tokenizer.model")


class SideFiles:
    """The files beside a model's weights, and the tokenizer that they make."""

    def __init__(self, folder: Path, *, record_folder: Path | None = None) -> None:
        """
        Args:
            folder: The one that has them.
            record_folder: The one that has ``plaudit.json``, where that is another.

        Raises:
            PlauditError: A tokenizer or ``plaudit.json`` is there and damaged.
        """
        self.folder = folder
        self.record_folder = record_folder or folder
        self.record: ModelRecord | None = read_record(self.record_folder)
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.notes: tuple[str, ...] = ()
        if has_tokenizer(folder):
            loaded = load_tokenizer(folder)
            self.tokenizer, self.notes = loaded.tokenizer, loaded.notes

    @property
    def pad_token_id(self) -> int | None:
        """The tokenizer's; None without one."""
        return None if self.tokenizer is None else cast("int | None", self.tokenizer.pad_token_id)

    def renderer(self) -> Renderer | None:
        """How conversations are rendered; None without a tokenizer."""
        if self.tokenizer is None:
            return None
        if self.record is not None:
            return Renderer.from_rule(self.tokenizer, self.record.rendering)
        return Renderer(self.tokenizer)

    def normalization(self, config: dict[str, Any], shift: float) -> RewardNormalization | None:
        """Mean and standard deviation of the rewards once every one has moved by ``shift``."""
        known = find_normalization(self.record, config)
        if known is None:
            return None
        return RewardNormalization(mean=known.mean + shift, std=known.std, temperature=known.temperature)

    def copy_to(
        self, folder: Path, *, config: dict[str, Any], shift: float, rewrites_tokenizer: bool = False
    ) -> None:
        """Copy them; the tokenizer is written anew where its pad token or its padding side had to change.

        Args:
            folder: The new model's.
            config: The source's config, which may know the rewards' mean and standard deviation.
            shift: By how much every reward moves.
            rewrites_tokenizer: Write the tokenizer anew in any case: transformers chooses its class by the
                config.json beside it, which may be another one there, or none.
        """
        self.copy_files(folder, rewrites_tokenizer=rewrites_tokenizer)
        self._write_record(folder, self.normalization(config, shift))

    def copy_files(self, folder: Path, *, rewrites_tokenizer: bool = False) -> None:
        """Copy them, ``plaudit.json`` left out; the tokenizer as `copy_to` says."""
        for pattern in PATTERNS:
            for entry in sorted(self.folder.glob(pattern)):
                if entry.is_dir():
                    shutil.copytree(entry, folder / entry.name, dirs_exist_ok=True)
                elif not entry.name.endswith((".safetensors", ".bin")):
                    shutil.copyfile(entry, folder / entry.name)
        if self.tokenizer is not None and (self.notes or rewrites_tokenizer):
            self.tokenizer.save_pretrained(folder)

    def _write_record(self, folder: Path, normalization: RewardNormalization | None) -> None:
        file = self.record_folder / RECORD_FILE
        if file.is_file():
            content = json.loads(file.read_text(encoding="utf-8"))
            if normalization is not None:  # of the record itself, or of OpenRLHF's config
                content |= {"reward_mean": normalization.mean, "reward_std": normalization.std}
            replace_json(folder / RECORD_FILE, content)
        elif normalization is not None and (renderer := self.renderer()) is not None:
            # OpenRLHF's mean and std live in its config, which no other format has.
            ModelRecord(
                rendering=renderer.rule,
                transcripts="messages" if renderer.render == "chat" else "text",
                reward_mean=normalization.mean,
                reward_std=normalization.std,
            ).write(folder)


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has a tokenizer's files."""
    return any((folder / name).is_file() for name in TOKENIZER_MARKS)
