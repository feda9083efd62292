"""What ``plaudit plan`` was asked for: a training run's options and settings, with GPUs that need not be here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plaudit.cli.reading import read_sources
from plaudit.cli.run_file import read_run_file
from plaudit.cli.settings import build_config, parse_settings, split_flags
from plaudit.cli.train_options import TrainOptions, parse_options
from plaudit.errors import PlauditError
from plaudit.planning.engines import find_engine
from plaudit.planning.gpus import find_gpu
from plaudit.planning.made_up import made_up_pairs
from plaudit.planning.plan import TrainingPlan, make_plan
from plaudit.planning.setup import Planner, Setup
from plaudit.preferences import Preferences
from plaudit.preferences.holdout import hold_out
from plaudit.tokens import Renderer, TokenTable
from plaudit.training.data import prepare_data, require_terms
from plaudit.training.starting_point import tokenizer_for_training

__all__ = ["PlanRequest", "plan_run", "resolve_plan"]

NOT_HERE = (
    "parallel",
    "num_processes",
    "deepspeed",
    "fsdp",
    "fsdp_config",
    "accelerator_config",
    "tf32",
    "use_cpu",
)
"""Settings that would ask this machine for devices or engines that only the planned ones have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanRequest:
    """What is planned, and how it is looked at; see the command's options."""

    gpu: str = "h100"
    num_gpus: int | None = None
    parallel: str | None = None
    num_comparisons: int | None = None
    mean_tokens: float | None = None
    mean_prompt_tokens: float | None = None
    sample_steps: int | None = None
    utilisation: float | None = None
    measured: Path | None = None
    with_memory: bool = True

    def problems(self) -> list[PlauditError]:
        """Numbers that cannot be."""
        given = {
            "--num-gpus": self.num_gpus,
            "--num-comparisons": self.num_comparisons,
            "--mean-tokens": self.mean_tokens,
            "--mean-prompt-tokens": self.mean_prompt_tokens,
            "--sample-steps": self.sample_steps,
            "--utilisation": self.utilisation,
        }
        found = [
            PlauditError(f"{value}", where=flag, fix="Give a number above 0.")
            for flag, value in given.items()
            if value is not None and value <= 0
        ]
        if self.utilisation is not None and self.utilisation > 1:
            found.append(
                PlauditError(f"{self.utilisation}", where="--utilisation", fix="Give a share, such as 0.4.")
            )
        if self.mean_tokens is not None and self.num_comparisons is None:
            found.append(
                PlauditError("--mean-tokens stands for data", fix="Say how many: --num-comparisons 350000.")
            )
        return found


def resolve_plan(
    given: Mapping[str, Any], leftover: Sequence[str], config_path: Path | None, request: PlanRequest
) -> tuple[TrainOptions, Setup]:
    """The run that flags and file describe, and the GPUs it is planned on.

    Raises:
        PlauditError: Everything that is wrong, at once.
    """
    from_file = read_run_file(config_path) if config_path is not None else {}
    made_up = {} if request.mean_tokens is None or from_file.get("data") else {"data": ["made up"]}
    options, problems = parse_options(made_up | {k: v for k, v in given.items() if v is not None}, from_file)
    flags, more = split_flags(leftover)
    own = TrainOptions.__dataclass_fields__
    settings = {name: value for name, value in from_file.items() if name not in own}
    elsewhere = {name: settings.pop(name) for name in NOT_HERE if name in settings}
    elsewhere |= {name: (flags.pop(name) or [True])[0] for name in NOT_HERE if name in flags}
    chosen, misread = parse_settings(flags, settings, other_names=tuple(own))
    problems += more + misread + request.problems()
    if problems:
        raise _all_of(problems)
    gpu = find_gpu(request.gpu)
    num_gpus = request.num_gpus or int(elsewhere.get("num_processes") or 1)
    setup = Setup(
        args=_config(chosen, on_gpu=gpu.name != "cpu", use_cpu=bool(elsewhere.get("use_cpu"))),
        gpu=gpu,
        num_gpus=num_gpus,
        engine=find_engine(request.parallel or elsewhere.get("parallel")),
    )
    return options, setup


def plan_run(options: TrainOptions, setup: Setup, request: PlanRequest, *, quiet: bool) -> TrainingPlan:
    """Read and tokenise the data as training would, and plan.

    Raises:
        PlauditError: What reading, tokenising or planning raises.
    """
    args = setup.args
    notes: tuple[str, ...] = ()
    if request.mean_tokens is None:
        tokenizer = tokenizer_for_training(options.model, args, None)
        renderer = Renderer(tokenizer, render=args.render, eos_token=args.eos_token)
        preferences = _read(options, setup, renderer.render, progress=not quiet)
        groups = prepare_data(preferences, renderer, args).groups
        assert isinstance(groups, TokenTable), "the command line reads tables"
        require_terms(groups, args.chosen_objective())
    else:
        tokenizer = None
        groups = made_up_pairs(
            mean_tokens=request.mean_tokens,
            mean_prompt_tokens=request.mean_prompt_tokens,
            max_length=args.max_length,
            seed=args.seed,
        )
        notes = ("lengths are assumed: log-normal around the given means; pairs share their prompt",)
        if request.mean_prompt_tokens is None:
            notes += ("half of a sequence is assumed to be prompt (--mean-prompt-tokens)",)
    return make_plan(
        Planner(options.model, tokenizer),
        setup,
        groups,
        num_comparisons=request.num_comparisons,
        max_steps_counted=request.sample_steps,
        utilisation=request.utilisation,
        results=request.measured,
        with_memory=request.with_memory,
        notes=notes,
    )


def _read(options: TrainOptions, setup: Setup, render: str, *, progress: bool) -> Preferences:
    """What would be trained on: the data without what is held out. Bad records are counted and not written down."""
    args = setup.args
    read_options = options.read_options(
        transcripts=args.transcripts,
        attributes=tuple(args.attribute_weights() or ()),
        seed=args.seed_of_data,
    )
    preferences = read_sources(options.data, read_options, render=render, progress=progress)
    if options.eval_fraction is None and options.eval_groups is None:
        return preferences
    return hold_out(
        preferences,
        fraction=options.eval_fraction,
        num_groups=options.eval_groups,
        seed=read_options.seed,
    )[0]


def _config(chosen: dict[str, Any], *, on_gpu: bool, use_cpu: bool) -> Any:
    """The settings as they would be on the planned GPUs, made on a machine that may have none."""
    in_halves = bool(chosen.get("fp16"))
    bf16 = chosen.get("bf16")
    if bf16 is None:
        bf16 = (on_gpu or use_cpu) and not in_halves
    args = build_config({"output_dir": "plan"} | chosen | {"use_cpu": True, "bf16": bf16, "fp16": False})
    args.fp16 = in_halves
    return args


def _all_of(problems: list[PlauditError]) -> PlauditError:
    if len(problems) == 1:
        return problems[0]
    lines = "".join(f"\n  {problem}" for problem in problems)
    return PlauditError(f"{len(problems)} problems with the plan:{lines}")
