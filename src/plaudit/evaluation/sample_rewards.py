"""The rewards of sampled answers, from a model, a server or a file: each distinct one is asked for once.

With an output folder rewards are stored as they come (`plaudit.evaluation.reward_store`): an interrupted run goes on,
and one that is given again costs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from plaudit.evaluation.conversations import Conversation, item_key
from plaudit.evaluation.plan import key_of_ids
from plaudit.evaluation.reward_source import RewardSource, as_source
from plaudit.evaluation.samples import PromptSamples
from plaudit.evaluation.scoring_pass import open_store, score_distinct
from plaudit.scoring import Scorer

__all__ = ["reward_samples"]


def reward_samples(
    model: Scorer | RewardSource,
    samples: Sequence[PromptSamples],
    *,
    output_dir: Path | None = None,
    rescore: bool = False,
    progress: bool = True,
) -> list[np.ndarray]:
    """For each prompt the float64 rewards of its samples.

    Args:
        model: A scorer, a server, or a file of rewards.
        samples: The prompts.
        output_dir: Where rewards are kept, under ``rewards/``; None keeps none.
        rescore: Score again what was scored before.
        progress: Whether to show progress.

    Raises:
        PlauditError: A conversation cannot be rendered, a reward is not a finite number, or what the source raises: a
            server that fails, a sample without a reward in the file.
    """
    source = as_source(model)
    items: list[Any] = []
    places: list[str] = []
    index_of: dict[bytes, int] = {}
    index = []
    for key, item, place in _items(model, samples):
        index.append(index_of.setdefault(key, len(items)))
        if index[-1] == len(items):
            items.append(item)
            places.append(place)
    fingerprint = source.fingerprint() if output_dir is not None else None
    with open_store(source, fingerprint, output_dir, forget=rescore) as store:
        rewards, _, _ = score_distinct(
            source,
            items,
            list(index_of),
            store=store,
            place_of=places.__getitem__,
            description="scoring samples",
            progress=progress,
        )
    ends = np.cumsum([len(s.completions) for s in samples])
    return np.split(rewards[index].astype(np.float64), ends[:-1])


def _items(
    model: Scorer | RewardSource, samples: Sequence[PromptSamples]
) -> Iterator[tuple[bytes, Any, str]]:
    """Key, item and place of every sample, in their order."""
    for s in samples:
        for k, completion in enumerate(s.completions):
            place = f"{s.source}, sample {k}"
            if isinstance(model, Scorer):
                ids = model.token_ids(s.prompt, completion)
                yield key_of_ids(ids), ids, place
                continue
            conversation = Conversation(
                prompt=s.prompt,
                completion=completion,
                tools=None,
                chat_template_kwargs={},
                id=s.id,
                index=k,
                source=s.source,
            )
            yield item_key(conversation, by_id=getattr(model, "is_by_id", False)), conversation, place
