"""The scorer: conversations in, rewards out, the same number on every path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from plaudit.model.inference import rewards_of_sequences
from plaudit.model.loading import load_reward_model
from plaudit.model.normalization import (
    RewardNormalization,
    find_normalization,
    normalize_group,
    normalize_rewards,
)
from plaudit.model.record import read_record
from plaudit.model.reward_model import RewardModel
from plaudit.preferences.formats.transcripts import is_transcript, read_turns
from plaudit.preferences.group import Completion, Message, Prompt
from plaudit.scoring.progress import sequence_progress
from plaudit.tokens import Renderer, load_tokenizer

__all__ = ["Scorer"]


class Scorer:
    """A reward model with its rendering.

    >>> scorer = Scorer.from_pretrained("my-reward-model")  # doctest: +SKIP
    >>> scorer.score("What is 2 + 2?", ["4", "5"])  # doctest: +SKIP
    [1.73, -0.42]
    """

    def __init__(
        self,
        model: RewardModel,
        renderer: Renderer,
        *,
        max_tokens_per_pass: int | None = None,
        max_length: int | None = None,
        transcripts: str | None = None,
        normalization: RewardNormalization | None = None,
        name: str = "",
    ) -> None:
        """
        Args:
            model: The reward model, on its device.
            renderer: How its conversations are rendered.
            max_tokens_per_pass: Computed tokens in one forward pass; None takes the device's default.
            max_length: Longest sequence it was trained on, in tokens; what is longer is scored all the same.
            transcripts: What a prompt "\\n\\nHuman: ...\\n\\nAssistant:" is taken for, ``messages`` or ``text``;
                None: messages where the rendering is a chat template, as in training.
            normalization: Mean and standard deviation of its rewards, and its temperature, where they are known.
            name: What to call it in results.
        """
        self.model = model
        self.renderer = renderer
        self.max_tokens_per_pass = max_tokens_per_pass
        self.max_length = max_length
        self.transcripts = transcripts or ("messages" if renderer.render == "chat" else "text")
        self.normalization = normalization
        self.name = name
        self.num_tokens_given = 0
        self.num_tokens_computed = 0

    @classmethod
    def from_pretrained(
        cls,
        path_or_id: str | Path,
        *,
        attention: str = "auto",
        dtype: torch.dtype | str = "auto",
        device: torch.device | str | None = None,
        render: str = "auto",
        chat_template_path: str | None = None,
        max_tokens_per_pass: int | None = None,
        head_key: str | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
    ) -> Scorer:
        """Load a reward model with its tokenizer; what ``plaudit.json`` says of the rendering is restored.

        The options are those of `load_reward_model` and `load_tokenizer`.

        Raises:
            PlauditError: When the folder is no reward model, or its chat template is not the trained one.
        """
        loaded_tokenizer = load_tokenizer(
            str(path_or_id),
            chat_template_path=chat_template_path,
            revision=revision,
            trust_remote_code=trust_remote_code,
        )
        tokenizer = loaded_tokenizer.tokenizer
        model = load_reward_model(
            path_or_id,
            tokenizer=tokenizer,
            attention=attention,
            dtype=dtype,
            head_key=head_key,
            device=device or ("cuda" if torch.cuda.is_available() else "cpu"),
            revision=revision,
            trust_remote_code=trust_remote_code,
        ).model
        record = read_record(path_or_id, revision=revision)
        if record is not None and render == "auto" and chat_template_path is None:
            renderer = Renderer.from_rule(tokenizer, record.rendering)
        else:
            renderer = Renderer(tokenizer, render=render)
        return cls(
            model,
            renderer,
            max_tokens_per_pass=max_tokens_per_pass,
            max_length=record.max_length if record else None,
            transcripts=record.transcripts if record else None,
            normalization=find_normalization(record, model.config.to_dict()),
            name=str(path_or_id),
        )

    def score(
        self,
        prompt: Prompt | Sequence[Message],
        completions: Sequence[Completion],
        *,
        normalize: str = "none",
    ) -> list[float]:
        """The raw reward of each completion of a prompt.

        Args:
            prompt: Text, or the messages so far.
            completions: Texts, or (for messages) assistant turns.
            normalize: Give normalised values in place of rewards: ``affine`` or ``sigmoid`` by what the model's
                folder holds (`plaudit.model.normalization`), ``group_zscore`` among these completions.

        Raises:
            PlauditError: When the conversation cannot be rendered, or the model was not calibrated.
        """
        sequences = [self.token_ids(prompt, completion) for completion in completions]
        rewards = self.score_sequences(sequences, progress=False)
        if normalize == "group_zscore":
            return normalize_group(rewards).tolist()
        return self.normalized(rewards, normalize).tolist()

    def normalized(self, rewards: Float[np.ndarray, " sequence"], how: str) -> Float[np.ndarray, " sequence"]:
        """Raw rewards of this model normalised, ``affine`` or ``sigmoid``; ``none`` leaves them.

        Raises:
            PlauditError: An unknown choice, or the model's folder does not hold what it needs.
        """
        return normalize_rewards(rewards, how, self.normalization, model=self.name)

    def token_ids(self, prompt: Prompt | Sequence[Message], completion: Completion) -> np.ndarray:
        """The rendered conversation, int32, as the model was trained to read it."""
        if not isinstance(prompt, str):
            return self.renderer.token_ids(tuple(prompt), completion)
        if self.transcripts == "messages" and is_transcript(prompt) and isinstance(completion, str):
            turns = read_turns(prompt, opens_with="user")
            return self.renderer.token_ids(turns, read_turns(completion, opens_with="assistant"))
        return self.renderer.token_ids(prompt, completion)

    def score_messages(self, conversations: Sequence[Sequence[Message]]) -> list[float]:
        """The raw reward of each whole conversation."""
        sequences = [self.renderer.token_ids_of_messages(messages) for messages in conversations]
        return self.score_sequences(sequences, progress=False).tolist()

    def score_sequences(
        self,
        sequences: Sequence[np.ndarray],
        *,
        description: str = "scoring",
        progress: bool = True,
        on_progress: Callable[[int], None] | None = None,
    ) -> Float[np.ndarray, " sequence"]:
        """The raw reward of each rendered token sequence, float32, in the order given.

        Args:
            sequences: Token ids as the renderer gives them.
            description: What the progress bar says.
            progress: Whether there is one.
            on_progress: Called instead, with the number of sequences scored since the last call.
        """
        if not len(sequences):
            return np.empty(0, dtype=np.float32)
        shows_bar = progress and on_progress is None
        with sequence_progress(len(sequences), description, enabled=shows_bar) as advance:
            result = rewards_of_sequences(
                self.model, sequences, max_tokens=self.max_tokens_per_pass, on_progress=on_progress or advance
            )
        self.max_tokens_per_pass = result.max_tokens
        self.num_tokens_given += result.num_given_tokens
        self.num_tokens_computed += result.num_computed_tokens
        return result.rewards
