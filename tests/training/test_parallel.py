"""One run, whatever engine trains it and on however many processes.

The truth is the same training in one process without an engine. The scripts' jobs share a start of the interpreter,
which takes longer than they do: one start in two processes, one in four, one in one.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from plaudit import RewardConfig
from plaudit.errors import PlauditError
from plaudit.training.parallel import PARALLEL, engine_settings
from plaudit.training.sharded_checkpoints import require_best_can_be_loaded
from stand_ins.folders import PAIRS, write_causal_model
from stand_ins.processes import run_script

pytestmark = [
    # peft asks transformers by the old name.
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.timeout(1800),  # on a busy machine; a minute or two on an idle one
]

SCRIPT = Path(__file__).with_name("parallel_run.py")
ENGINES = ("ddp", "fsdp2", "zero2", "zero3")
SHARDED = ("fsdp2", "zero2", "zero3")
KINDS = ("full", "lora")
RESUMED = [(engine, kind, n) for engine in SHARDED for kind, n in (("full", 1), ("lora", 4))]
"""Checkpoints of two processes, and the number that goes on from them."""
NUM_STEPS = 20
SEED = 42

each_engine = pytest.mark.parametrize("engine", ENGINES)
each_kind = pytest.mark.parametrize("kind", KINDS)
each_number = pytest.mark.parametrize("num_processes", [2, 4])

Seen = list[dict[str, Any]]


def job(
    folder: Path, name: str, *, parallel: str | None, kind: str, checkpoint: Path | None = None
) -> dict[str, Any]:
    described = {"parallel": parallel, "use_peft": kind == "lora", "model": str(folder / "base")}
    return {**described, "output": str(folder / name), "checkpoint": checkpoint and str(checkpoint)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of all runs; each is NAME, and what its process r saw is NAME.r.json."""
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed: pip install 'plaudit[deepspeed]'")
    pytest.importorskip("peft", reason="peft is not installed: pip install 'plaudit[lora]'")
    folder = tmp_path_factory.mktemp("runs")
    write_causal_model(folder / "base")
    for num_processes in (2, 4, 1):
        engines = [None] if num_processes == 1 else ENGINES
        jobs = [
            job(folder, f"{engine}-{kind}-{num_processes}", parallel=engine, kind=kind)
            for engine in engines
            for kind in KINDS
        ]
        jobs += [
            job(
                folder,
                f"{engine}-{kind}-2-to-{num_processes}",
                parallel=engine,
                kind=kind,
                checkpoint=folder / f"{engine}-{kind}-2" / f"checkpoint-{NUM_STEPS // 2}",
            )
            for engine, kind, goes_on in RESUMED
            if goes_on == num_processes
        ]
        listed = folder / f"jobs-{num_processes}.json"
        listed.write_text(json.dumps(jobs))
        run_script(SCRIPT, [str(listed)], num_processes=num_processes, timeout=600)
    return folder


def seen(runs: Path, name: str) -> Seen:
    """What each process of a run saw."""
    return [json.loads(file.read_text()) for file in sorted(runs.glob(f"{name}.[0-9].json"))]


def by_step(history: Seen, name: str) -> dict[int, float]:
    return {line["step"]: line[name] for line in history if name in line}


def expect_same_run(run: dict[str, Any], truth: dict[str, Any], first_step: int = 1) -> None:
    """Losses within 1e-4 at each step; what is counted exactly; rewards at the end within 1e-5."""
    losses, true_losses = by_step(run["history"], "loss"), by_step(truth["history"], "loss")
    assert list(true_losses) == list(range(1, NUM_STEPS + 1))
    assert set(range(first_step, NUM_STEPS + 1)) <= set(losses)
    assert losses == pytest.approx(true_losses, abs=1e-4)
    for name in ("rm/accuracy", "episode", "epoch", "eval_rm/accuracy", "eval_num_comparisons"):
        assert by_step(run["history"], name) == by_step(truth["history"], name), name
    for name in ("rm/loss", "rm/chosen_rewards", "rm/rejected_rewards", "grad_norm", "eval_rm/loss"):
        assert by_step(run["history"], name) == pytest.approx(by_step(truth["history"], name), abs=1e-4), name
    np.testing.assert_allclose(run["rewards"], truth["rewards"], atol=1e-4)


def plain_rewards(folder: Path, kind: str, base: Path) -> np.ndarray:
    """Rewards of the evaluation pairs by plain transformers, or peft, one sequence at a time."""
    if kind == "lora":
        from peft import PeftModel

        inner = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
        model = PeftModel.from_pretrained(inner, folder)
    else:
        model, info = AutoModelForSequenceClassification.from_pretrained(folder, output_loading_info=True)
        assert not info["missing_keys"] and not info["unexpected_keys"]
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def reward(text: str) -> float:
        ids = tokenizer(text + tokenizer.eos_token, return_tensors="pt").input_ids
        with torch.no_grad():
            return model.eval()(input_ids=ids).logits[0, 0].item()

    pairs = PAIRS[48:61]
    return np.array([[reward(p["prompt"] + p[name]) for name in ("chosen", "rejected")] for p in pairs])


@each_number
@each_kind
@each_engine
def test_every_engine_makes_the_steps_of_one_process(
    runs: Path, engine: str, kind: str, num_processes: int
) -> None:
    (truth,) = seen(runs, f"None-{kind}-1")
    first, *others = seen(runs, f"{engine}-{kind}-{num_processes}")
    assert len(others) == num_processes - 1
    expect_same_run(first, truth)
    losses = by_step(truth["history"], "loss")
    assert losses[1] > 2 * losses[NUM_STEPS], "nothing was learnt"
    for other in others:
        assert other["rewards"] == first["rewards"]


@each_number
@each_kind
@each_engine
def test_the_folder_at_the_end_gives_the_same_rewards_in_plain_libraries(
    runs: Path, engine: str, kind: str, num_processes: int
) -> None:
    name = f"{engine}-{kind}-{num_processes}"
    for folder in (runs / name, runs / f"{name}-again"):  # the run's, and one that a script named
        rewards = plain_rewards(folder, kind, runs / "base")
        np.testing.assert_allclose(rewards, seen(runs, name)[0]["rewards"], atol=1e-5)


@each_number
@each_kind
def test_what_an_engine_divides_is_divided(runs: Path, kind: str, num_processes: int) -> None:
    for run in seen(runs, f"ddp-{kind}-{num_processes}"):
        assert run["engine"] == "DistributedDataParallel"
        assert run["num_held"] == run["num_total"]
    for run in seen(runs, f"fsdp2-{kind}-{num_processes}"):
        assert run["all_are_dtensors"]
        assert run["num_whole_gradients"] == 0, "divided between the micro-batches of a step, too"
        assert run["num_held"] == pytest.approx(run["num_total"] / num_processes, rel=0.02)
    for run in seen(runs, f"zero2-{kind}-{num_processes}"):
        assert run["engine"] == "DeepSpeedEngine"
        assert run["num_held"] == run["num_total"]
        assert run["num_masters"] == pytest.approx(run["num_trained"] / num_processes, rel=0.02)
    for run in seen(runs, f"zero3-{kind}-{num_processes}"):
        assert run["num_held"] == pytest.approx(run["num_total"] / num_processes, rel=0.02)
        assert run["num_masters"] == pytest.approx(run["num_trained"] / num_processes, rel=0.02)


@each_number
@each_engine
def test_a_fresh_head_is_the_one_of_the_seed_on_every_process(
    runs: Path, engine: str, num_processes: int
) -> None:
    # N(0, 1/(hidden + 1)) by torch's own generator; hidden is 32.
    drawn = torch.randn(32, generator=torch.Generator().manual_seed(SEED)) / math.sqrt(33)
    for kind in KINDS:
        for run in seen(runs, f"{engine}-{kind}-{num_processes}"):
            np.testing.assert_allclose(run["head"], drawn.numpy(), atol=1e-6)


@pytest.mark.parametrize(("engine", "kind", "num_processes"), RESUMED)
def test_a_checkpoint_of_two_processes_goes_on_in_one_and_in_four(
    runs: Path, engine: str, kind: str, num_processes: int
) -> None:
    (truth,) = seen(runs, f"None-{kind}-1")
    name = f"{engine}-{kind}-2-to-{num_processes}"
    resumed = seen(runs, name)
    assert len(resumed) == num_processes
    expect_same_run(resumed[0], truth, first_step=NUM_STEPS // 2 + 1)
    rewards = plain_rewards(runs / name, kind, runs / "base")
    np.testing.assert_allclose(rewards, truth["rewards"], atol=1e-4)


@pytest.mark.parametrize("engine", ["fsdp2", "zero3"])
def test_checkpoints_of_divided_weights_hold_shards_and_no_second_copy(runs: Path, engine: str) -> None:
    checkpoint = runs / f"{engine}-full-2" / f"checkpoint-{NUM_STEPS // 2}"
    assert not list(checkpoint.glob("*.safetensors"))
    shards = list(checkpoint.rglob("*_optim_states.pt")) + list(checkpoint.rglob("*.distcp"))
    assert len(shards) >= 2
    assert (checkpoint / "plaudit.json").is_file() and (checkpoint / "config.json").is_file()


def settings(folder: Path, **given: Any) -> RewardConfig:
    return RewardConfig(str(folder), bf16=False, use_cpu=True, report_to=[], **given)


def test_a_misspelt_engine_names_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(PlauditError, match=f"Choose one of: {', '.join(PARALLEL)}"):
        settings(tmp_path, parallel="zero4")


@pytest.mark.parametrize(
    ("parallel", "other"),
    [
        ("ddp", {"deepspeed": "zero3.json"}),
        ("zero2", {"fsdp": "full_shard"}),
        ("zero2", {"deepspeed": "zero3.json"}),
    ],
)
def test_two_engines_are_an_error(tmp_path: Path, parallel: str, other: dict[str, Any]) -> None:
    with pytest.raises(PlauditError, match="both name an engine"):
        settings(tmp_path, parallel=parallel, **other)


@pytest.mark.parametrize("parallel", ["fsdp2", "zero3"])
def test_quantised_weights_are_not_divided(tmp_path: Path, parallel: str) -> None:
    with pytest.raises(PlauditError, match="quantised ones cannot be divided"):
        settings(tmp_path, parallel=parallel, load_in_4bit=True, use_peft=True)


def test_a_configuration_of_fsdp_in_a_file_overrides_the_presets(tmp_path: Path) -> None:
    (tmp_path / "fsdp.json").write_text('{"reshard_after_forward": false}')
    config = engine_settings("fsdp2", fsdp_config=str(tmp_path / "fsdp.json"))["fsdp_config"]
    assert config["reshard_after_forward"] is False and config["version"] == 2


@pytest.mark.parametrize("parallel", ["fsdp2", "zero3"])
def test_checkpoints_without_the_optimizer_would_be_without_weights_too(
    tmp_path: Path, parallel: str
) -> None:
    with pytest.raises(PlauditError, match="--save-only-model: under"):
        settings(tmp_path, parallel=parallel, save_only_model=True)


def test_one_process_takes_one_gpu(tmp_path: Path) -> None:
    config = settings(tmp_path, per_device_train_batch_size=4)
    config._n_gpu = 8  # a machine of eight, and no launcher: Trainer would divide each tree over all
    assert config.n_gpu == 1 and config.train_batch_size == 4


def test_the_best_checkpoint_of_deepspeed_is_asked_for_before_training(tmp_path: Path) -> None:
    shards = tmp_path / "global_step4"
    shards.mkdir()
    (tmp_path / "latest").write_text("global_step4")
    for rank in range(2):
        (shards / f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt").touch()
    best = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 1, "save_steps": 1}
    with pytest.raises(PlauditError, match="2 processes wrote the checkpoints so far"):
        require_best_can_be_loaded(settings(tmp_path / "run", **best), tmp_path)
    require_best_can_be_loaded(settings(tmp_path / "run", **best), None)
    require_best_can_be_loaded(settings(tmp_path / "run"), tmp_path)


def test_others_wait_for_the_first_process_longer_than_a_barrier_would(tmp_path: Path) -> None:
    said = run_script(Path(__file__).with_name("turn_run.py"), [str(tmp_path / "made")], num_processes=2)
    assert sorted(said.split()) == ["0:made", "1:found"]
