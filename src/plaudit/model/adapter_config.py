"""A peft config made fit for reward models: which layers get an adapter, and a head that is trained and saved.

A config of peft says nothing about the head. Left as it is, a bare ``LoraConfig()`` trains an adapter under a random
head that is frozen and not saved, and ``all-linear`` puts an adapter on the head. Here the head is always trained in
full and saved, whatever the config says about it, and what was changed is said in one log line.
"""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Iterable
from typing import Any

from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from plaudit.errors import PlauditError

__all__ = ["config_for_rewards", "head_module_names", "linear_layer_names"]

LINEAR_BY_DEFAULT = {"LORA", "LOHA", "LOKR", "OFT", "HRA", "DELORA", "MISS", "RANDLORA", "VERA"}
"""Methods that get all linear layers where no targets are named; the others have defaults of their own in peft."""

log = logging.getLogger(__name__)


def config_for_rewards(model: PreTrainedModel, peft_config: Any) -> Any:
    """A copy of a peft config under which a reward model can be trained.

    Raises:
        PlauditError: The method cannot work on a tree or keep a head, or its targets match no layer.
    """
    _require_fitting_method(peft_config)
    config = copy.deepcopy(peft_config)
    task = _name(config.task_type)
    if task not in (None, "SEQ_CLS"):
        log.info("adapter: the task type is SEQ_CLS; the config says %s", task)
    config.task_type = "SEQ_CLS"
    if config.inference_mode:
        log.info("adapter: inference_mode is off; the config says on, and nothing would be trained")
        config.inference_mode = False
    config.base_model_name_or_path = None  # peft writes the model's own
    heads = head_module_names(model)
    config.modules_to_save = _modules_to_save(model, config.modules_to_save, heads)
    if hasattr(config, "target_modules"):
        _resolve_targets(model, config, heads)
    return config


def head_module_names(model: PreTrainedModel) -> list[str]:
    """Names of the modules between backbone and reward: ``score``, or ``classifier`` and its pooler."""
    names = [name for name, _ in model.named_modules() if name.split(".")[0] == model.base_model_prefix]
    return [
        name
        for name, child in model.named_children()
        if name != model.base_model_prefix
        and any(True for _ in child.parameters())
        # peft compares the ends of names.
        and not any(other.endswith(name) for other in names)
    ]


def linear_layer_names(model: PreTrainedModel) -> list[str]:
    """Full names of the backbone's linear layers, quantised ones too."""
    backbone = f"{model.base_model_prefix}."
    return [
        name for name, module in model.named_modules() if name.startswith(backbone) and _is_linear(module)
    ]


def _is_linear(module: nn.Module) -> bool:
    if isinstance(module, (nn.Linear, Conv1D)):
        return True
    # Quantised layers of other libraries: QuantLinear, HQQLinear, WQLinear_GEMM.
    return "Linear" in type(module).__name__ and not any(True for _ in module.children())


def _require_fitting_method(config: Any) -> None:
    method = _name(config.peft_type)
    if config.is_prompt_learning or getattr(config, "is_adaption_prompt", False):
        reason = "it puts virtual tokens before every row, which do not fit a tree of shared beginnings"
    elif method == "ADALORA":
        reason = "its ranks are reassigned by a schedule that the trainer does not run"
    elif not hasattr(config, "modules_to_save"):
        reason = "it has no place for a trained head (modules_to_save)"
    else:
        return
    raise PlauditError(
        f"{method} cannot train a reward model: {reason}",
        where="peft_config",
        fix="Use LoraConfig() (with use_dora or use_rslora where wanted).",
    )


def _modules_to_save(model: PreTrainedModel, given: Iterable[str] | None, heads: list[str]) -> list[str]:
    """The head, and those of the given names that the model has."""
    names = [name for name, _ in model.named_modules()]
    kept = list(heads)
    absent = []
    for wanted in given or ():
        if not any(name == wanted or name.endswith(f".{wanted}") for name in names):
            absent.append(wanted)
        elif wanted not in kept:
            kept.append(wanted)
    absent = [name for name in absent if name not in ("score", "classifier")]  # peft adds both by itself
    if absent:
        log.warning(
            "adapter: modules_to_save names %s, which the model does not have; left out", ", ".join(absent)
        )
    return kept


def _resolve_targets(model: PreTrainedModel, config: Any, heads: list[str]) -> None:
    """Set the config's targets to layers that are there, none of them the head's."""
    linear = linear_layer_names(model)
    targets = config.target_modules
    if targets is None:
        is_ours = _name(config.peft_type) in LINEAR_BY_DEFAULT and not getattr(
            config, "target_parameters", None
        )
        if not is_ours:
            return
        config.target_modules = _shortest_names(model, linear, heads)
        _log_targets(config.target_modules, linear, "none were named")
    elif isinstance(targets, str) and targets.lower() == "all-linear":
        config.target_modules = _shortest_names(model, linear, heads)
        _log_targets(config.target_modules, linear, "all-linear")
    elif isinstance(targets, str):
        _log_regex_head(model, targets, heads)
    else:
        config.target_modules = _without_head(model, targets, heads)
    _require_match(model, config, targets, linear)


def _without_head(model: PreTrainedModel, targets: Iterable[str], heads: list[str]) -> set[str]:
    """The targets less those that only the head has and those that nothing has."""
    names = [name for name, _ in model.named_modules() if name]
    kept, of_head, absent = set(), [], []
    for target in targets:
        hits = [name for name in names if name == target or name.endswith(f".{target}")]
        if not hits:
            absent.append(target)
        elif all(_is_in(name, heads) for name in hits):
            of_head.append(target)
        else:
            kept.add(target)
    if of_head:
        log.info("adapter: no adapter on %s; the head is trained in full", ", ".join(sorted(of_head)))
    if absent and kept:
        log.warning("adapter: the model has no layer named %s", ", ".join(sorted(absent)))
    return kept


def _log_regex_head(model: PreTrainedModel, pattern: str, heads: list[str]) -> None:
    # peft itself leaves out what modules_to_save names.
    hits = [name for name, _ in model.named_modules() if _is_in(name, heads) and re.fullmatch(pattern, name)]
    if hits:
        log.info("adapter: no adapter on %s; the head is trained in full", ", ".join(hits))


def _require_match(model: PreTrainedModel, config: Any, given: Any, linear: list[str]) -> None:
    from peft.tuners.tuners_utils import check_target_module_exists

    if config.target_modules and any(
        check_target_module_exists(config, name) for name, _ in model.named_modules() if name
    ):
        return
    there = sorted({name.rsplit(".", 1)[-1] for name in linear})
    shown = given if isinstance(given, str) else ", ".join(sorted(given or ()))
    raise PlauditError(
        f"target_modules ({shown}) match no layer of the backbone",
        where="peft_config",
        fix=f"Its linear layers: {', '.join(there)}. Leave target_modules out to take all of them.",
    )


def _shortest_names(model: PreTrainedModel, wanted: list[str], heads: list[str]) -> set[str]:
    """Last parts of the names where they mean the same layers, else the full names."""
    ends = {name.rsplit(".", 1)[-1] for name in wanted}
    meant = {
        name
        for name, _ in model.named_modules()
        if name.rsplit(".", 1)[-1] in ends and not _is_in(name, heads)
    }
    return ends if meant == set(wanted) else set(wanted)


def _is_in(name: str, heads: list[str]) -> bool:
    return name.split(".", 1)[0] in heads


def _log_targets(targets: set[str], linear: list[str], why: str) -> None:
    shown = sorted(targets) if len(targets) <= 12 else [*sorted(targets)[:12], "..."]
    log.info("adapter: %d linear layers of the backbone (%s): %s", len(linear), why, ", ".join(shown))


def _name(value: Any) -> str | None:
    return None if value is None else str(getattr(value, "value", value))
