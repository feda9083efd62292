"""Whatever a trainer is given for data, as token groups."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import datasets
import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset

from plaudit.errors import PlauditError
from plaudit.objective import Mixture
from plaudit.preferences import Preferences, read_preferences
from plaudit.processes import one_process_first
from plaudit.tokens import (
    LengthLimits,
    Renderer,
    TokenGroup,
    TokenStream,
    TokenTable,
    is_pretokenized,
    table_of_token_ids,
    tokenize_preferences,
)
from plaudit.training.batch import judgements_of
from plaudit.training.data_record import DataRecord, data_record, source_of_dataset
from plaudit.training.sampling import STAND_IN

if TYPE_CHECKING:
    from plaudit.training.config import RewardConfig

__all__ = [
    "GroupDataset",
    "PreparedData",
    "prepare_data",
    "require_attributes",
    "require_terms",
    "stand_in_group",
    "transcripts_as",
]

log = logging.getLogger(__name__)

GROUPS_AT_ONCE = 256
"""Groups in which an objective's terms are looked for, until all were found (assumed: usually the first ones)."""


@dataclass(frozen=True, slots=True)
class PreparedData:
    """A data set ready for training, and what is known of how it came about."""

    groups: TokenTable | TokenStream
    """What is trained or evaluated on."""
    preferences: Preferences | None
    """What the groups were made from, unless they came as tokens."""
    sources: tuple[str, ...]
    """Where they came from, when there are no preferences."""

    @property
    def record(self) -> DataRecord:
        """Sources, counts, and what was dropped; of a stream, what this process has read so far."""
        tokens = self.groups.report
        is_unread = isinstance(self.groups, TokenStream) and tokens.num_groups_in == 0
        return data_record(
            reading=None if self.preferences is None else self.preferences.report,
            tokens=None if is_unread else tokens,
            fingerprint=getattr(self.groups, "fingerprint", None),
            sources=self.sources,
        )


def prepare_data(dataset: Any, renderer: Renderer, args: RewardConfig) -> PreparedData:
    """Read, render and limit a data set; what was dropped or cut is logged.

    Raises:
        PlauditError: When nothing is left to train on, or the data cannot be read.
    """
    sources = tuple(source_of_dataset(dataset))
    if isinstance(dataset, GroupDataset):
        dataset = dataset.groups
    if isinstance(dataset, TokenTable | TokenStream):
        return PreparedData(dataset, None, sources)
    # Several processes: the first one tokenises into a folder of the run, the others find it there.
    cache_dir = Path(str(args.output_dir)) / "_data" if args.world_size > 1 else None
    if _is_token_ids(dataset):
        preferences = None
        groups = _in_turn(args, _token_ids, dataset, args)
    else:
        is_read = isinstance(dataset, Preferences)
        preferences = dataset if is_read else _in_turn(args, _read, dataset, renderer, args)
        groups = _in_turn(args, _tokenize, preferences, renderer, args, cache_dir)
    if isinstance(groups, TokenTable):
        for line in groups.report.summary():
            log.info(line)
        if len(groups) == 0:
            raise PlauditError(
                "no preference group is left: " + " ".join(groups.report.summary()),
                where="data",
                fix="Check the data and --max-length.",
            )
    return PreparedData(groups, preferences, sources)


def _token_ids(dataset: Iterable[Mapping[str, Any]], args: RewardConfig) -> TokenTable:
    return table_of_token_ids(dataset, limits=_limits(args))


def _tokenize(
    preferences: Preferences, renderer: Renderer, args: RewardConfig, cache_dir: Path | None
) -> TokenTable | TokenStream:
    return tokenize_preferences(
        preferences,
        renderer,
        _limits(args),
        num_proc=args.dataset_num_proc,
        cache_dir=cache_dir,
        keep_rows_without_comparisons="rated" if args.chosen_objective().reads_ratings else False,
    )


def _limits(args: RewardConfig) -> LengthLimits:
    return LengthLimits(
        max_length=args.max_length,
        max_prompt_length=args.max_prompt_length,
        on_overlength=args.on_overlength,  # type: ignore[arg-type]
    )


def _in_turn(args: RewardConfig, work: Callable[..., Any], *given: Any) -> Any:
    """The first process works before the others, which find in the cache what it made."""
    first_here = args.process_index - args.local_process_index
    with one_process_first(args.local_process_index == 0, of=first_here):
        return work(*given)


def _is_token_ids(dataset: Any) -> bool:
    if isinstance(dataset, datasets.Dataset):
        return is_pretokenized(dataset.column_names)
    return isinstance(dataset, list) and bool(dataset) and is_pretokenized(list(dataset[0]))


def require_terms(groups: TokenTable, objective: Mixture) -> None:
    """Check that the data hold what each objective learns from.

    Raises:
        PlauditError: No group has a term of one of them.
    """
    weights = torch.zeros(len(objective.names), dtype=torch.float64)
    for first in range(0, len(groups), GROUPS_AT_ONCE):
        some = [groups[index] for index in range(first, min(first + GROUPS_AT_ONCE, len(groups)))]
        weights += objective.total_weights(judgements_of(some))
        if (weights > 0).all():
            return
    for name, part, weight in zip(objective.names, objective.objectives, weights.tolist(), strict=True):
        if weight == 0:
            raise PlauditError(
                f"{name} needs {part.needs}, and none of {len(groups):,} groups has any",
                where="--objective",
                fix="Choose another objective, or data that hold them.",
            )


def require_attributes(groups: TokenTable | TokenStream, names: Sequence[str]) -> None:
    """Check that data rate the attributes that the model has outputs for, in their order.

    Raises:
        PlauditError: They rate others, or in another order: each output would learn what another one is called.
    """
    if names and groups.attribute_names and groups.attribute_names != tuple(names):
        raise PlauditError(
            f"the data rate {', '.join(groups.attribute_names)}, and the model has outputs for {', '.join(names)}",
            where="--attributes",
            fix="Prepare the data with the same attributes in the same order.",
        )


def transcripts_as(renderer: Renderer, choice: str) -> str:
    """``messages`` or ``text``: what transcripts become under a choice of ``--transcripts``."""
    if choice != "auto":
        return choice
    return "messages" if renderer.render == "chat" else "text"


def _read(dataset: Any, renderer: Renderer, args: RewardConfig) -> Preferences:
    source = dataset if not isinstance(dataset, Path) else str(dataset)
    names = list(args.attribute_weights() or ()) or None
    return read_preferences(source, transcripts=transcripts_as(renderer, args.transcripts), attributes=names)


class GroupDataset(Dataset[TokenGroup]):
    """A token table as torch sees data sets."""

    def __init__(self, groups: TokenTable) -> None:
        self.groups = groups

    @staticmethod
    def of(groups: TokenTable | TokenStream) -> GroupDataset | GroupStream:
        """The data set for a table, or the iterable one for a stream."""
        return GroupStream(groups) if isinstance(groups, TokenStream) else GroupDataset(groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> TokenGroup:
        return stand_in_group() if index == STAND_IN else self.groups[index]


def stand_in_group() -> TokenGroup:
    """A group without a comparison: one token goes through the model, and the loss does not see it."""
    none = np.empty(0, dtype=np.int32)
    return TokenGroup(
        sequences=(np.zeros(1, dtype=np.int32),),
        num_prompt_tokens=0,
        better=none,
        worse=none,
        margin=none.astype(np.float32),
        weight=none.astype(np.float32),
        is_tie=none.astype(np.bool_),
    )


class GroupStream(IterableDataset[TokenGroup]):
    """A token stream as torch sees data sets."""

    def __init__(self, groups: TokenStream) -> None:
        self.groups = groups

    def __iter__(self) -> Iterator[TokenGroup]:
        return iter(self.groups)

    def set_epoch(self, epoch: int) -> None:
        """Tell the source which epoch it is."""
        self.groups.set_epoch(epoch)
