"""The language-model head of a value-head folder, which no reward depends on.

LLaMA-Factory and TRL load a causal model first, so there has to be one. A sequence-classification source has none.
Then it comes from the model that was named for it; else it is tied to the input embedding, which every loader can do
without values that nobody trained, and which takes no room on the disk.
"""

from __future__ import annotations

from dataclasses import replace

from plaudit.errors import PlauditError
from plaudit.model.checkpoint import inspect_checkpoint
from plaudit.model.convert.locations import model_folder
from plaudit.model.convert.output_tensor import OutputTensor, stored_tensor, with_new_rows
from plaudit.model.convert.source import SourceModel, embedding_name
from plaudit.model.convert.targets import ConversionOptions
from plaudit.model.tensor_names import LANGUAGE_HEADS

__all__ = ["language_head_for"]


def language_head_for(model: SourceModel, options: ConversionOptions) -> tuple[SourceModel, bool]:
    """The model with a language-model head where one can be had, and whether it is to be tied to the embedding.

    A head with fewer rows than the embedding gets rows of zeros: rows were added to the embedding alone.

    Raises:
        PlauditError: It has more rows, and no causal model could be loaded.
    """
    rows = _num_rows(model)
    if any(tensor.shape[0] > rows for tensor in model.language_head):
        raise PlauditError(
            f"the language-model head has {max(t.shape[0] for t in model.language_head)} rows, and the embedding "
            f"{rows}",
            where="--to value-head",
            fix="Convert to sequence-classification, which has none.",
        )
    if model.language_head:
        return replace(model, language_head=tuple(_as_tall(t, rows) for t in model.language_head)), False
    if model.config.get("tie_word_embeddings"):
        return model, True
    if options.language_head_from is not None:
        found, is_tied = _from(options.language_head_from, model, options)
        if found:
            return replace(model, language_head=tuple(found)), False
        if is_tied:
            return model, True
        model = model.with_notes(f"{options.language_head_from} has no language-model head that fits")
    return (
        model.with_notes(
            "the source has no language-model head: config.json ties it to the input embedding; rewards do not "
            "depend on it, but this model's own texts would be worthless"
        ),
        True,
    )


def _from(path_or_id: str, model: SourceModel, options: ConversionOptions) -> tuple[list[OutputTensor], bool]:
    """The head of a causal model as tall as the embedding, and whether that model ties it instead."""
    facts = inspect_checkpoint(model_folder(path_or_id))
    files = facts.open_tensors()
    name, rows = embedding_name(model.skeleton), _num_rows(model)
    dtype = options.dtype or next(tensor.dtype for tensor in model.backbone if tensor.name == name)
    found = []
    for key in files.names():
        if key.startswith(LANGUAGE_HEADS):
            tensor = stored_tensor(files, key, key, dtype=dtype)
            if tensor.shape[0] > rows:
                return [], False
            found.append(_as_tall(tensor, rows))
    return found, bool(facts.config.get("tie_word_embeddings"))


def _num_rows(model: SourceModel) -> int:
    name = embedding_name(model.skeleton)
    return next(tensor.shape[0] for tensor in model.backbone if tensor.name == name)


def _as_tall(tensor: OutputTensor, rows: int) -> OutputTensor:
    missing = rows - tensor.shape[0]
    return with_new_rows(tensor, missing) if missing else tensor
