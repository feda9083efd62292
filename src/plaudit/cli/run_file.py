"""``run.yaml``: everything that a training run was told, beside its weights; re-runnable with ``--config``.

It also answers whether an output folder belongs to the run that is about to start: the same settings continue
from the last whole checkpoint, others are an error that says what to do.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from plaudit.errors import PlauditError
from plaudit.plain_json import as_plain
from plaudit.training.checkpoints import STAGING, last_whole_checkpoint, remove_leftovers
from plaudit.whole_file import write_whole

__all__ = ["RUN_FILE", "find_start", "read_run_file", "run_file_text", "write_run_file"]

RUN_FILE = "run.yaml"

NOT_THE_RUN = {
    *("output_dir", "versions", "report_to", "run_name", "project", "disable_tqdm", "resume_from_checkpoint"),
    *("logging_steps", "logging_strategy", "logging_first_step", "log_level", "log_level_replica"),
    *("save_total_limit", "num_sample_rows", "dataset_num_proc", "dataloader_num_workers", "hub_token"),
    *("push_to_hub", "hub_model_id", "hub_strategy", "hub_private_repo"),
    *("dataloader_prefetch_factor", "dataloader_pin_memory", "dataloader_persistent_workers", "ddp_timeout"),
    *("num_processes", "max_tokens_per_pass", "activation_offloading", "gradient_checkpointing"),
    *("activation_checkpointing", "profile"),
}
"""Settings that change neither the weights nor the steps at which they are saved: another value is the same run."""

GROUPS_PER_STEP = ("per_device_train_batch_size", "gradient_accumulation_steps")
"""Settings whose product with the number of processes decides a step: another division of it is the same run."""

FACTS = ("versions", "world_size")
"""Written down, and not read by ``--config``."""

LEFT_ALONE = (RUN_FILE, "run.json", "metrics.jsonl", "bad-records.jsonl", "bad-records-eval.jsonl", "runs")
"""What a run that never reached a checkpoint leaves behind, beside names that begin with _: nothing is lost with it."""

log = logging.getLogger(__name__)


class _Loader(yaml.SafeLoader):
    """Refuses a key that is there twice, of which YAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping with distinct keys."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[no-untyped-call]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", node.start_mark
                )
        return super().construct_mapping(node, deep)


def read_run_file(path: Path) -> dict[str, Any]:
    """Names (in snake_case) and values of a configuration file; `FACTS` are left out.

    Raises:
        PlauditError: The file is not there, or no YAML mapping.
    """
    return {name: value for name, value in _read(path).items() if name not in FACTS}


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise PlauditError(
            f"the configuration cannot be read ({error.strerror})", where=str(path), fix="Check the path."
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        text = " ".join(str(error).split())
        raise PlauditError(f"not YAML: {text}", where=str(path), fix="Mend the file.") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise PlauditError(
            "not a mapping of names to values", where=str(path), fix="Write name: value lines."
        )
    return {str(key).replace("-", "_"): value for key, value in content.items()}


def run_file_text(
    chosen: Mapping[str, Any],
    defaults: Mapping[str, Any],
    versions: Mapping[str, str],
    *,
    world_size: int = 1,
) -> str:
    """The file's text: what was chosen first, then every default as it was, then versions and processes."""
    parts = [
        f"# Written by plaudit {versions.get('plaudit', '')}. Run it again with:\n"
        f"#   plaudit train --config {RUN_FILE} --output-dir another-folder\n",
        _dump(chosen),
        "\n# At their defaults:\n",
        _dump(defaults),
        "\n# What it ran with (not read by --config):\n",
        _dump({"versions": dict(versions), "world_size": world_size}),
    ]
    return "".join(parts)


def write_run_file(folder: Path, text: str) -> None:
    """Write ``run.yaml``, whole or not at all."""
    write_whole(folder / RUN_FILE, text)


def find_start(
    folder: Path, run: Mapping[str, Any], *, resume: str, overwrite: bool, world_size: int = 1
) -> Path | None:
    """The checkpoint to start from; None for the beginning. With ``overwrite``, what an earlier run left goes.

    Args:
        folder: The output folder.
        run: All settings of the run about to start.
        resume: ``auto``, ``never``, or the path of a checkpoint.
        overwrite: Whether another run's folder may be overwritten.
        world_size: Processes that the run is about to start in.

    Raises:
        PlauditError: The folder holds another run, or something else; or there is no such checkpoint.
    """
    if resume not in ("auto", "never"):
        return _given_checkpoint(Path(resume))
    if overwrite:
        _remove_earlier_run(folder)
        return None
    remove_leftovers(folder)
    if not _has_content(folder):
        return None
    differences = _differences(folder, run, world_size)
    if differences or resume == "never":
        raise PlauditError(
            differences or "there is a run already, and --resume never starts from the beginning",
            where=str(folder),
            fix="Give another --output-dir; or --overwrite to replace it; or the settings it was started with.",
        )
    checkpoint = last_whole_checkpoint(folder)
    log.info(
        "%s: %s", folder, f"going on from {checkpoint.name}" if checkpoint else "no whole checkpoint yet"
    )
    return checkpoint


def _given_checkpoint(path: Path) -> Path:
    if (path / "trainer_state.json").is_file():
        return path
    inside = last_whole_checkpoint(path)
    if inside is None:
        raise PlauditError(
            "there is no whole checkpoint", where=f"--resume {path}", fix="Give a checkpoint-<step> folder."
        )
    return inside


def _has_content(folder: Path) -> bool:
    """Whether anything would be lost or mixed up by starting in the folder."""
    entries = folder.iterdir() if folder.is_dir() else ()
    return any(entry.name not in LEFT_ALONE and not entry.name.startswith((".", "_")) for entry in entries)


def _differences(folder: Path, run: Mapping[str, Any], world_size: int) -> str:
    """How the folder's run differs from this one, in words; empty when it does not."""
    if not (folder / RUN_FILE).is_file():
        return f"the folder is not empty, and not a run of plaudit train (it has no {RUN_FILE})"
    earlier = _read(folder / RUN_FILE)
    now = {**run, "world_size": world_size}
    changed = [
        f"{name} {earlier[name]!r} there, {run[name]!r} here"
        for name in run
        if name in earlier and name not in (*NOT_THE_RUN, *GROUPS_PER_STEP) and earlier[name] != run[name]
    ]
    there, here = _groups_per_step(earlier), _groups_per_step(now)
    # Where the last, short batch is dropped, it matters how a step is divided into batches.
    drops = run.get("dataloader_drop_last") and [earlier.get(name) for name in GROUPS_PER_STEP] != [
        run.get(name) for name in GROUPS_PER_STEP
    ]
    if there is not None and here is not None and (there != here or drops):
        names = (*GROUPS_PER_STEP, "world_size")
        first, second = (", ".join(f"{name} {of.get(name, 1)}" for name in names) for of in (earlier, now))
        changed.append(f"{there} groups in a step there ({first}), {here} here ({second})")
    return f"the folder belongs to another run: {'; '.join(changed)}" if changed else ""


def _groups_per_step(run: Mapping[str, Any]) -> int | None:
    """Groups that all processes take in a step; None where the file does not say."""
    factors = [run.get(name) for name in GROUPS_PER_STEP]
    if not all(isinstance(factor, int) for factor in factors):
        return None
    return math.prod(cast("list[int]", factors)) * run.get("world_size", 1)


def _remove_earlier_run(folder: Path) -> None:
    """Checkpoints and settings of the earlier run; the model is replaced when this one ends."""
    for gone in (*folder.glob("checkpoint-*"), folder / STAGING):
        shutil.rmtree(gone, ignore_errors=not gone.exists())
    for name in (
        RUN_FILE,
        "trainer_state.json",
        "train_results.json",
        "eval_results.json",
        "all_results.json",
        "run.json",
        "metrics.jsonl",
        "curves.png",
        "curves.svg",
        "README.md",
    ):
        (folder / name).unlink(missing_ok=True)


def _dump(values: Mapping[str, Any]) -> str:
    """As YAML; `as_plain` leaves secrets out."""
    plain = as_plain(values)
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100) if plain else ""
