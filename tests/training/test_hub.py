"""Models pushed to a stand-in of the hub over HTTP, and fetched from it, by the real client."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from stand_ins.folders import PAIRS, write_causal_model, write_reward_model
from stand_ins.hub import StandInHub
from stand_ins.processes import script_environment

TESTS = Path(__file__).resolve().parents[1]
SCRIPT = TESTS / "training" / "hub_run.py"
PROGRAM = Path(sys.executable).with_name("plaudit")

MODEL = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "plaudit.json"}


@pytest.fixture(scope="module")
def hub() -> Iterator[StandInHub]:
    with StandInHub() as running:
        yield running


def run(
    hub: StandInHub, home: Path, *words: object, token: str | None = None
) -> subprocess.CompletedProcess[str]:
    """A process with the stand-in for the hub and an empty cache."""
    environment = hub.environment(home, token=token)
    return subprocess.run(
        [*map(str, words)],
        env=environment | {name: script_environment()[name] for name in ("PYTHONPATH", "OMP_NUM_THREADS")},
        capture_output=True,
        text=True,
        timeout=240,
    )


@dataclass(frozen=True)
class Pushed:
    """What the trainings left on this machine."""

    folder: Path
    said: str

    def local(self, name: str) -> Path:
        return self.folder / name

    def pairs(self, name: str) -> list[list[float]]:
        return json.loads((self.folder / f"{name}.json").read_text())


@pytest.fixture(scope="module")
def pushed(hub: StandInHub, tmp_path_factory: pytest.TempPathFactory) -> Pushed:
    folder = tmp_path_factory.mktemp("pushed")
    base = write_reward_model(tmp_path_factory.mktemp("model") / "base")
    hub.put("someone/read-only", {"README.md": b"of others"}).read_only = True
    done = run(hub, folder / "home", sys.executable, SCRIPT, "push", base, folder)
    assert (folder / "read-only" / "checkpoint-3").is_dir(), done.stderr[-3000:]
    return Pushed(folder, done.stdout + done.stderr)


@pytest.mark.parametrize("run", ["tiny-reward", "every-save"])
def test_the_hub_holds_the_saved_folder_byte_by_byte(hub: StandInHub, pushed: Pushed, run: str) -> None:
    files = hub.repositories["model", f"someone/{run}"].files
    assert set(files) >= MODEL
    for name in MODEL:
        assert files[name] == (pushed.local(run) / name).read_bytes(), name
    assert not [name for name in files if name.startswith("checkpoint-")]


def test_pushed_at_the_end_there_is_one_commit_and_after_every_save_one_for_each(
    hub: StandInHub, pushed: Pushed
) -> None:
    once, often = (
        [commit.message for commit in hub.repositories["model", name].commits][1:]
        for name in ("someone/tiny-reward", "someone/every-save")
    )
    assert once == ["Model save"]
    assert often == [*(f"Training in progress, step {step}" for step in (1, 2, 3)), "Model save"]


def test_a_model_pushed_in_the_middle_of_training_says_how_it_was_rendered(
    hub: StandInHub, pushed: Pushed
) -> None:
    for commit in hub.repositories["model", "someone/every-save"].commits[1:]:
        assert set(commit.files) >= MODEL, commit.message


def test_weights_pushed_in_the_middle_of_training_are_those_of_their_step(
    hub: StandInHub, pushed: Pushed
) -> None:
    commits = hub.repositories["model", "someone/every-save"].commits
    last_saved = pushed.local("every-save") / "checkpoint-3" / "model.safetensors"
    assert commits[3].message.endswith("step 3")
    assert commits[3].files["model.safetensors"] == last_saved.read_bytes()
    assert len({commit.files["model.safetensors"] for commit in commits[1:4]}) == 3


def test_the_token_is_in_no_file_that_is_pushed(hub: StandInHub, pushed: Pushed) -> None:
    for repository in hub.repositories.values():
        for commit in repository.commits:
            assert not [name for name in commit.files if hub.token.encode() in commit.files[name]]


def test_refused_pushes_are_said_and_the_model_is_kept(hub: StandInHub, pushed: Pushed) -> None:
    assert hub.repositories["model", "someone/read-only"].files == {"README.md": b"of others"}
    (said,) = (line for line in pushed.said.splitlines() if line.startswith("--push-to-hub: "))
    assert "someone/read-only" in said and "403" in said and "Authorization error" in said
    assert str(pushed.local("read-only")) in said and "HF_TOKEN" in said
    assert {path.name for path in pushed.local("read-only").iterdir()} >= MODEL
    # Those after a save run in the background, where nobody sees them fail.
    in_background = [
        line for line in pushed.said.splitlines() if "a push to someone/read-only failed" in line
    ]
    assert len(in_background) == 3


@pytest.mark.parametrize("repository", ["someone/tiny-reward", "someone/every-save"])
def test_the_card_has_the_results_that_the_hub_shows(
    hub: StandInHub, pushed: Pushed, repository: str
) -> None:
    card = hub.repositories["model", repository].files["README.md"].decode()
    found = re.match(r"---\n(.*?)\n---\n", card, flags=re.DOTALL)
    assert found, card[:200]
    metadata: dict[str, Any] = yaml.safe_load(found[1])
    (model,) = metadata["model-index"]
    assert model["name"]
    metrics = [metric for result in model["results"] for metric in result["metrics"]]
    assert any("accuracy" in metric["type"] for metric in metrics)


def test_a_fetched_model_gives_the_rewards_of_the_trained_one_by_every_way(
    hub: StandInHub, pushed: Pushed, tmp_path: Path
) -> None:
    done = run(hub, tmp_path / "home", sys.executable, SCRIPT, "fetch", "someone/tiny-reward", tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    fetched = json.loads((tmp_path / "fetched.json").read_text())
    expected = [reward for pair in pushed.pairs("tiny-reward") for reward in pair]
    assert len({round(reward, 3) for reward in expected}) == 8  # eight texts, eight rewards
    for way in ("plain", "loaded", "scored"):
        assert fetched[way] == pytest.approx(expected, abs=1e-5), way
    assert fetched["has_fresh_head"] is False
    # Reading needs no token, and large files lie where a token must not go; the stand-in would have refused it.
    assert any(ask.path.startswith("/storage/") and ask.method == "GET" for ask in hub.asked)


# The command line --------------------------------------------------------------------------------------------

FAST = ["--bf16", "false", "--gradient-checkpointing", "false", "--per-device-train-batch-size", "4"]
FAST += ["--max-length", "none", "--num-sample-rows", "0", "--use-cpu", "--max-steps", "2"]


@pytest.fixture(scope="module")
def sources(hub: StandInHub, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A base model and comparisons on the hub."""
    hub.put_folder("someone/base", write_causal_model(tmp_path_factory.mktemp("base")))
    lines = "".join(json.dumps(pair) + "\n" for pair in PAIRS)
    hub.put("someone/pairs", {"train.jsonl": lines.encode()}, kind="dataset")


@pytest.mark.usefixtures("sources")
def test_the_command_trains_a_model_of_the_hub_on_data_of_the_hub_and_pushes_the_result(
    hub: StandInHub, tmp_path: Path
) -> None:
    given = ["--model", "someone/base", "--data", "someone/pairs", "--eval-groups", "8"]
    given += ["--push-to-hub", "--hub-model-id", "someone/from-command", "--output-dir", tmp_path / "rm"]
    done = run(hub, tmp_path / "home", PROGRAM, "train", *given, *FAST, token=hub.token)
    assert done.returncode == 0, done.stderr[-3000:]
    files = hub.repositories["model", "someone/from-command"].files
    assert set(files) >= {*MODEL, "README.md"}
    assert files["model.safetensors"] == (tmp_path / "rm" / "model.safetensors").read_bytes()
    assert json.loads(files["plaudit.json"])["base_model"] == "someone/base"


@pytest.mark.usefixtures("sources")
def test_a_token_that_may_not_write_is_said_before_training_with_what_to_do(
    hub: StandInHub, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS[:8]))
    base = write_causal_model(tmp_path / "base")
    given = ["--model", base, "--data", pairs, "--output-dir", tmp_path / "rm"]
    given += ["--push-to-hub", "--hub-model-id", "someone/never", "--hub-token", "hf_wrong"]
    done = run(hub, tmp_path / "home", PROGRAM, "train", *given, *FAST)
    said = " ".join(done.stderr.split())
    assert done.returncode == 2, done.stderr[-3000:]
    assert "Traceback" not in said
    assert "someone/never" in said and "Invalid username or password" in said and "token" in said
    assert "hf_wrong" not in said
    assert ("model", "someone/never") not in hub.repositories
    assert not list((tmp_path / "rm").glob("checkpoint-*"))
