"""What a run starts from: tokenizer and model as a trainer is given them, made ready."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from torch import nn
from transformers import PreTrainedTokenizerBase, set_seed

from plaudit.errors import PlauditError
from plaudit.model import add_adapter, load_reward_model, prepare_reward_model, reward_model_of
from plaudit.model import quantization_config as make_quantization_config
from plaudit.model.adapter import require_peft
from plaudit.model.head import head_of
from plaudit.model.padded import is_decoder
from plaudit.model.quantization import is_quantized
from plaudit.model.reward_model import RewardModel
from plaudit.model.stored_head import add_bias
from plaudit.tokens import load_tokenizer
from plaudit.tokens.loading import ensure_pad_token, read_template
from plaudit.training.parallel import load_for_engine

if TYPE_CHECKING:
    from plaudit.training.config import RewardConfig

__all__ = ["base_name", "lora_config", "model_for_training", "tokenizer_for_training"]


log = logging.getLogger(__name__)


def base_name(model: str | nn.Module) -> str:
    """The last part of a model's name, for the default output folder."""
    name = _name_of(model)
    return (name or "model").rstrip("/").split("/")[-1]


def _name_of(model: str | nn.Module) -> str:
    return model if isinstance(model, str) else str(cast(Any, model).config.name_or_path)


def tokenizer_for_training(
    model: str | nn.Module, args: RewardConfig, processing_class: PreTrainedTokenizerBase | None
) -> PreTrainedTokenizerBase:
    """The tokenizer that was given, or the model's, with a pad token that is not the end-of-sequence token.

    Raises:
        PlauditError: ``pad_token`` or ``eos_token`` is not in its vocabulary, or there is no chat template to read.
    """
    if processing_class is None:
        processing_class = load_tokenizer(
            _name_of(model),
            chat_template_path=args.chat_template_path,
            trust_remote_code=args.trust_remote_code,
            revision=cast("dict[str, Any]", args.model_init_kwargs or {}).get("revision"),
        ).tokenizer
    elif args.chat_template_path is not None:
        processing_class.chat_template = read_template(args.chat_template_path)
    if args.eos_token is not None:
        if args.eos_token not in processing_class.get_vocab():
            raise PlauditError(
                f"{args.eos_token!r} is not in the vocabulary", where="--eos-token", fix="Name one that is."
            )
        processing_class.eos_token = args.eos_token  # before the pad token, which must not be the same
    if args.pad_token is not None:
        if args.pad_token not in processing_class.get_vocab():
            raise PlauditError(
                f"{args.pad_token!r} is not in the vocabulary", where="--pad-token", fix="Name one that is."
            )
        processing_class.pad_token = args.pad_token
    ensure_pad_token(processing_class)
    return processing_class


def model_for_training(
    model: str | nn.Module,
    args: RewardConfig,
    tokenizer: PreTrainedTokenizerBase,
    *,
    peft_config: Any = None,
    quantization_config: Any = None,
) -> nn.Module:
    """A model by name, with a fresh head where it has none; or the object that was given, made ready.

    Args:
        model: A name, a sequence-classification model, or a PeftModel around one.
        args: The run's settings; ``use_peft`` and ``load_in_*`` make configs where none are given.
        tokenizer: Gives the pad token.
        peft_config, quantization_config: Of peft and transformers.

    Returns:
        The model, or a PeftModel around it where an adapter is trained.

    Raises:
        PlauditError: The model cannot be one that gives rewards; it says what to do.
    """
    load_for_engine(args)
    if isinstance(model, str):
        ready = _by_name(model, args, tokenizer, quantization_config or _quantization(args))
    else:
        _warn_of_ignored(args, quantization_config)
        base = cast(Any, model).get_base_model() if hasattr(model, "get_base_model") else model
        _warn_of_frozen_head(model, base)
        prepare_reward_model(base, tokenizer, attention=args.attention, keep_dropout=not args.disable_dropout)
        ready = model
    inner = reward_model_of(ready)
    inner.pad_to_multiple_of = args.row_multiple
    if args.row_multiple and inner.attention_backend != "padded":
        log.warning("--pad-to-multiple-of has no effect: a tree has no padding")
    _fit_head(inner, args)
    if peft_config is not None or (args.use_peft and ready is inner):
        # What was drawn until here depends on how the weights were loaded; an adapter depends on the seed alone.
        set_seed(args.seed)
        ready = add_adapter(ready, peft_config or lora_config(args))
    if is_quantized(inner) and ready is inner:
        raise PlauditError(
            "quantised weights cannot be trained",
            where="--load-in-4bit" if args.load_in_4bit else "--load-in-8bit",
            fix="Train an adapter on them: --use-peft, or peft_config.",
        )
    return ready


def _fit_head(model: RewardModel, args: RewardConfig) -> None:
    """A bias for a value head, in place; a word about one that ``score`` will be saved with.

    Raises:
        PlauditError: The model's class pools in a way of its own.
    """
    head = head_of(model)
    if args.head == "value":
        if not is_decoder(model) or not isinstance(head, nn.Linear):
            raise PlauditError(
                f"{type(model).__name__} has no causal model that a value head could stand beside",
                where="--head value",
                fix="Train it with --head score.",
            )
        add_bias(head)
    elif is_decoder(model) and getattr(head, "bias", None) is not None:
        log.warning(
            "the head has a bias, which is saved as score.bias: plain transformers will leave it out, and every reward "
            "shifts by it there; train with --head value, or drop it first (plaudit convert --bias drop)"
        )


def _warn_of_frozen_head(model: nn.Module, base: nn.Module) -> None:
    """Say that a PeftModel of the caller's own making leaves the head as it is."""
    if model is not base and not any(p.requires_grad for p in head_of(base).parameters()):
        log.warning(
            "the head of this PeftModel is frozen and will not be saved with the adapter; give the model itself and "
            "peft_config, and the head is trained and saved"
        )


def lora_config(args: RewardConfig) -> Any:
    """peft's LoraConfig of the ``lora_`` settings.

    Raises:
        PlauditError: peft is not installed.
    """
    require_peft("--use-peft")
    from peft import LoraConfig

    targets = args.lora_target_modules
    if isinstance(targets, list) and len(targets) == 1 and _is_rule(targets[0]):
        targets = targets[0]
    return LoraConfig(
        task_type="SEQ_CLS",
        r=args.lora_r,
        lora_alpha=args.lora_alpha,
        lora_dropout=args.lora_dropout,
        target_modules=targets,
        use_rslora=args.use_rslora,
        use_dora=args.use_dora,
    )


def _is_rule(target: str) -> bool:
    """Whether peft has to read a word as a rule and not as a layer's name."""
    return target == "all-linear" or re.escape(target).replace(r"\.", ".") != target


def _by_name(
    name: str, args: RewardConfig, tokenizer: PreTrainedTokenizerBase, quantization_config: Any
) -> nn.Module:
    loaded = load_reward_model(
        name,
        tokenizer=tokenizer,
        allow_fresh_head=True,
        attention=args.attention,
        attributes=args.attribute_weights(),
        head_key=args.head_key,
        quantization_config=quantization_config,
        for_training=True,
        dtype="float32",
        keep_dropout=not args.disable_dropout,
        seed=args.seed,
        trust_remote_code=args.trust_remote_code,
        model_init_kwargs=cast("Mapping[str, Any] | None", args.model_init_kwargs),
    )
    return loaded.model if loaded.peft_model is None else loaded.peft_model


def _quantization(args: RewardConfig) -> Any:
    if not (args.load_in_4bit or args.load_in_8bit):
        return None
    return make_quantization_config(load_in_8bit=args.load_in_8bit, load_in_4bit=args.load_in_4bit)


def _warn_of_ignored(args: RewardConfig, quantization_config: Any) -> None:
    """Settings that only a model given by name can take."""
    given = {
        "model_init_kwargs": args.model_init_kwargs,
        "attributes": args.attributes,
        "load_in_4bit": args.load_in_4bit,
        "load_in_8bit": args.load_in_8bit,
        "quantization_config": quantization_config,
    }
    names = [name for name, value in given.items() if value]
    if names:
        log.warning("%s has no effect: the model is an object already, not a name", ", ".join(names))
