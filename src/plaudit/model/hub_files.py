"""A model's folder: the path itself, or what was fetched from the hub, with every file that recognition reads."""

from __future__ import annotations

from pathlib import Path

from transformers.utils.hub import cached_file, cached_files

from plaudit.errors import PlauditError
from plaudit.model.tensor_files import ADAPTER, TRL_VALUE_HEAD, VALUE_HEAD, WHOLE, shard_names

__all__ = ["local_folder"]


def local_folder(path_or_id: str, *, revision: str | None = None) -> Path:
    """The local folder of a model, its config and weights in it.

    Of the hub's files only those are fetched that loading needs: config, adapter, value head, and the weights in one
    of their forms.

    Raises:
        PlauditError: Neither a folder nor a model that can be fetched, or its index of weight files is none.
    """
    if Path(path_or_id).is_dir():
        return Path(path_or_id)
    try:
        return _fetched(path_or_id, revision)
    except (OSError, ValueError) as error:
        raise PlauditError(
            f"neither a local folder nor a model that can be fetched ({str(error).splitlines()[0]})",
            where=path_or_id,
            fix="Check the path or id, the network, and that you are logged in for a gated model.",
        ) from error


def _fetched(model_id: str, revision: str | None) -> Path:
    adapter = _file(model_id, "adapter_config.json", revision)
    if adapter is None:
        config = cached_file(model_id, "config.json", revision=revision)
        assert config is not None
        _first(model_id, VALUE_HEAD, revision)
        _fetch_weights(model_id, revision)
        return Path(config).parent
    # What the model is with its adapter, where plaudit wrote it.
    _file(model_id, "config.json", revision)
    _first(model_id, ADAPTER, revision)
    if _first(model_id, VALUE_HEAD, revision) is None:
        _file(model_id, TRL_VALUE_HEAD, revision)
    return adapter.parent


def _fetch_weights(model_id: str, revision: str | None) -> None:
    found = _first(model_id, WHOLE, revision)
    if found is None or found.suffix != ".json":
        return
    shards = shard_names(found)
    # A missing shard is said by recognition, which names it.
    cached_files(model_id, shards, revision=revision, _raise_exceptions_for_missing_entries=False)


def _first(model_id: str, names: tuple[str, ...], revision: str | None) -> Path | None:
    return next((found for name in names if (found := _file(model_id, name, revision))), None)


def _file(model_id: str, name: str, revision: str | None) -> Path | None:
    found = cached_file(model_id, name, revision=revision, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)
