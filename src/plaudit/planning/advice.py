"""What makes a run fit that does not: the options there are, from the cheapest to the dearest, each with its effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from plaudit.planning.engines import ENGINES
from plaudit.planning.memory import MemoryPlan
from plaudit.planning.optimizers import EIGHT_BIT_OPTIMIZER, optimizer_bytes
from plaudit.planning.setup import Planner, Setup
from plaudit.planning.tokens import TokenCounts
from plaudit.training.batch import TreeCollator

__all__ = ["Advice", "advise"]

MAX_GPUS = 1024
"""More are not looked at."""

SAFETY = 0.9
"""Share of the tokens that would just fit by proportion (assumed)."""

CHANGES_WHAT_IS_LEARNT = ("--use-peft", "--load-in-4bit")
"""Options beside which more GPUs are named, too."""

ROUND_TO = 64
"""Bounds are multiples of this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Advice:
    """One option."""

    option: str
    """What to give on the command line."""
    cost: str
    """What it costs, in words."""
    peak_bytes: float
    """Memory of a GPU with it and with all options before it that were needed."""
    fits: bool
    """Whether that fits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Option:
    name: str
    cost: str
    change: Callable[[Setup], Setup | None]
    """None where it does not apply, or is there already."""


def advise(planner: Planner, setup: Setup, tokens: TokenCounts, memory: MemoryPlan) -> list[Advice]:
    """Options added one after the other, the cheapest first, until the run fits; empty where it fits already.

    After each of them smaller passes are tried, which cost least of all. An option that saves less than a hundredth
    of the peak is left out.
    """
    if memory.fits:
        return []
    found = _until_it_fits(planner, setup, tokens, memory)
    if not found or not found[-1].fits or any(advice.option in CHANGES_WHAT_IS_LEARNT for advice in found):
        found += _more_gpus(planner, setup, tokens)
    return found


def _until_it_fits(planner: Planner, setup: Setup, tokens: TokenCounts, memory: MemoryPlan) -> list[Advice]:
    smaller = _smaller_pass(planner, setup, tokens)
    if smaller is not None:
        return [smaller]
    found: list[Advice] = []
    peak = memory.peak_bytes
    for option in _options(setup):
        changed = option.change(setup)
        if changed is None:
            continue
        now = planner.memory(changed, tokens.largest_pass, adds_to_gradients=tokens.splits_steps)
        if now.peak_bytes > 0.99 * peak:
            continue
        setup, peak = changed, now.peak_bytes
        found.append(Advice(option=option.name, cost=option.cost, peak_bytes=peak, fits=now.fits))
        if now.fits:
            return found
        smaller = _smaller_pass(planner, setup, tokens)
        if smaller is not None:
            return [*found, smaller]
    return found


def _smaller_pass(planner: Planner, setup: Setup, tokens: TokenCounts) -> Advice | None:
    """A bound on passes with which the run fits; None where a pass of one group would still be too much."""
    whole = planner.memory(setup, tokens.largest_pass, adds_to_gradients=True)
    moving = sum(part.num_bytes for part in whole.parts if part.name.startswith(("activations", "temporary")))
    room = whole.capacity_bytes - (whole.peak_bytes - moving)
    if moving <= 0 or room <= 0:
        return None
    bound = int(SAFETY * tokens.largest_pass.num_tokens * room / moving)
    bound -= bound % ROUND_TO if bound > ROUND_TO else 0
    if bound < tokens.largest_group or bound >= tokens.largest_pass.num_tokens:
        return None
    parts = TreeCollator(bound, setup.args.chosen_objective())(tokens.largest_pass_groups).passes
    largest = max((part.tree for part in parts), key=lambda tree: tree.num_tokens)
    now = planner.memory(setup, largest, adds_to_gradients=True)
    if not now.fits:
        return None
    cost = "none but smaller products; the step stays the same"
    return Advice(option=f"--max-tokens-per-pass {bound}", cost=cost, peak_bytes=now.peak_bytes, fits=True)


def _options(setup: Setup) -> Iterator[_Option]:
    several = setup.num_gpus > 1
    yield _Option(
        name="--parallel zero2",
        cost="none: the same bytes on the links",
        change=lambda s: _engine(s, "zero2") if several and not s.engine.shards_optimizer else None,
    )
    yield _Option(
        name="--parallel fsdp2",
        cost="weights are gathered twice in each pass",
        change=lambda s: _engine(s, "fsdp2") if several and not s.engine.shards_weights else None,
    )
    yield _Option(
        name=f"--optim {EIGHT_BIT_OPTIMIZER}",
        cost="the optimiser's state is rounded to 8 bits",
        change=lambda s: s.with_settings(optim=EIGHT_BIT_OPTIMIZER) if _state_bytes(s) > 3 else None,
    )
    yield _Option(
        name="--gradient-checkpointing",
        cost="a third more computing",
        change=lambda s: (
            None if s.args.gradient_checkpointing else s.with_settings(gradient_checkpointing=True)
        ),
    )
    yield _Option(
        name="--activation-offloading",
        cost="activations travel to the host and back",
        change=lambda s: (
            None if s.args.activation_offloading else s.with_settings(activation_offloading=True)
        ),
    )
    yield _Option(
        name="--use-peft",
        cost="an adapter is trained instead of all weights",
        change=lambda s: None if s.args.use_peft else s.with_settings(use_peft=True),
    )
    yield _Option(
        name="--load-in-4bit",
        cost="frozen weights are rounded to 4 bits, and unpacked in every product",
        change=lambda s: (
            s.with_settings(load_in_4bit=True)
            if s.args.use_peft and not (s.args.load_in_4bit or s.args.load_in_8bit or s.engine.shards_weights)
            else None
        ),
    )


def _more_gpus(planner: Planner, setup: Setup, tokens: TokenCounts) -> list[Advice]:
    """The fewest GPUs, by doubling, over which FSDP2 fits."""
    num_gpus = max(setup.num_gpus, 1)
    while num_gpus < MAX_GPUS:
        num_gpus *= 2
        wider = replace(_engine(setup, "fsdp2"), num_gpus=num_gpus)
        now = planner.memory(wider, tokens.largest_pass, adds_to_gradients=tokens.splits_steps)
        if now.fits:
            option = f"--num-processes {num_gpus} --parallel fsdp2"
            return [
                Advice(
                    option=option,
                    cost="instead of the others: more GPUs, and so many times the groups in a step",
                    peak_bytes=now.peak_bytes,
                    fits=True,
                )
            ]
    return []


def _engine(setup: Setup, name: str) -> Setup:
    return replace(setup, engine=ENGINES[name])


def _state_bytes(setup: Setup) -> float:
    return optimizer_bytes(str(getattr(setup.args.optim, "value", setup.args.optim)))[0]
