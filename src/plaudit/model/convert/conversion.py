"""Converting a reward model's folder: read in parts, written tensor by tensor, proven, and then put into place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from plaudit.errors import PlauditError
from plaudit.model.checkpoint import CheckpointFacts, inspect_checkpoint
from plaudit.model.convert.locations import model_folder
from plaudit.model.convert.proof import Proof, compare, score_converted, score_source
from plaudit.model.convert.shards import DEFAULT_SHARD_BYTES
from plaudit.model.convert.side_files import SideFiles
from plaudit.model.convert.staging import staged_folder
from plaudit.model.convert.targets import ConversionOptions, check_options, check_source
from plaudit.model.convert.writing import Conversion, side_files_of, write_converted

__all__ = ["Conversion", "convert_checkpoint"]


def convert_checkpoint(
    source: str | Path,
    folder: str | Path,
    *,
    to: str,
    dtype: torch.dtype | None = None,
    bias: str | None = None,
    merge_adapter: bool = False,
    prove: bool = True,
    max_shard_bytes: int = DEFAULT_SHARD_BYTES,
    value_head_format: str = "safetensors",
    language_head_from: str | None = None,
    head_key: str | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Conversion:
    """Convert a reward model to another format, into a new folder that appears whole or not at all.

    The backbone's bytes stay as they are but for ``dtype`` and ``merge_adapter``. Memory: a block of a tensor at a
    time (safetensors; a whole tensor of a pickled file), or one layer of a merge; the proof holds one model at a time,
    in the dtype that it is stored in (float32 under an adapter).

    Args:
        source: A folder or hub id, of any format that `load_reward_model` reads.
        folder: Where to; it is new or empty.
        to: ``sequence-classification``, ``value-head``, ``openrlhf`` or ``adapter``.
        dtype: Cast all weights to this.
        bias: ``keep`` or ``drop`` a head's bias; None keeps it in a value head and drops it elsewhere.
        merge_adapter: Merge an adapter into its base.
        prove: Score a fixed set of conversations before and after, and fail where they differ.
        max_shard_bytes: The largest weight file.
        value_head_format: ``safetensors`` or ``bin``.
        language_head_from: A causal model whose language-model head goes beside a value head.
        head_key: The name of the head's weight in the source, where it is an unusual one.
        on_bytes: Called with the number of bytes written since the last call.

    Raises:
        PlauditError: The source is damaged or has no head, the target cannot hold it, or the proof failed.
    """
    options = ConversionOptions(
        to=to,
        dtype=dtype,
        bias=bias,
        merge_adapter=merge_adapter,
        max_shard_bytes=max_shard_bytes,
        value_head_format=value_head_format,
        language_head_from=language_head_from,
    )
    check_options(options)
    facts = inspect_checkpoint(model_folder(source), head_key=head_key)
    check_source(facts, options)
    with staged_folder(Path(folder)) as part:
        done = write_converted(facts, part, options, on_bytes=on_bytes)
        if not prove:
            return done
        done = replace(done, proof=_prove(facts, part, done, options, head_key))
    return done


def _prove(
    facts: CheckpointFacts, folder: Path, done: Conversion, options: ConversionOptions, head_key: str | None
) -> Proof:
    origin = side_files_of(facts)
    scored = score_source(facts, origin, done.written, merges=options.merge_adapter, head_key=head_key)
    after = score_converted(folder, scored, SideFiles(folder), origin)
    proof = compare(scored, after, shift=done.shift)
    if not proof.holds:
        raise PlauditError(
            f"the converted model gives other rewards: they differ by up to {proof.largest_difference:.3g}, and "
            f"{proof.tolerance:.1g} is allowed. Nothing was written",
            where=str(facts.path),
            fix="Please report it with the model's name; --no-proof converts without the check.",
        )
    return proof
