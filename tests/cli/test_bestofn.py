"""plaudit bestofn with a model and with rewards made earlier."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stand_ins.folders import PAIRS
from stand_ins.reward_server import serve

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten prompts with four answers each, of which some are right."""
    path = tmp_path_factory.mktemp("samples") / "samples.jsonl"
    records = [
        {
            "id": f"s{i}",
            "prompt": PAIRS[i]["prompt"],
            "samples": [
                {"text": f"{PAIRS[4 * i + k]['chosen']}\nA: {(i + k) % 3}", "is_correct": (i + k) % 3 == 0}
                for k in range(4)
            ],
        }
        for i in range(10)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def brute_force(rewards: list[float], quality: list[float], n: int) -> float:
    picks = [
        quality[max(subset, key=rewards.__getitem__)]
        for subset in itertools.combinations(range(len(rewards)), n)
    ]
    return sum(picks) / len(picks)


def test_curve_equals_brute_force_over_the_stored_rewards(
    plaudit: Run, reward_model: Path, samples: Path, tmp_path: Path
):
    done = plaudit("bestofn", reward_model, "--samples", samples, "--output-dir", tmp_path / "out", "--quiet")
    assert done.status == 0, done.err
    assert "majority" in done.out and "oracle" in done.out and "KL" in done.out
    lines = [json.loads(line) for line in (tmp_path / "out" / "rewards.jsonl").read_text().splitlines()]
    result = json.loads((tmp_path / "out" / "bestofn.json").read_text())
    assert [point["n"] for point in result["curve"]["points"]] == [1, 2, 4]
    for point in result["curve"]["points"]:
        expected = sum(brute_force(line["rewards"], line["quality"], point["n"]) for line in lines) / 10
        assert point["picked"]["value"] == pytest.approx(expected)
    assert sum(level["curve"]["num_prompts"] for level in result["difficulty"]) == 10
    assert result["over_optimisation"]["largest_n"] == 4

    again = plaudit("bestofn", tmp_path / "out", "--samples", samples, "--json")
    assert again.status == 0, again.err
    assert json.loads(again.out)["curve"] == result["curve"]


def test_a_scored_file_gives_the_same_curve_as_the_model(
    plaudit: Run, reward_model: Path, samples: Path, tmp_path: Path
):
    records = [json.loads(line) for line in samples.read_text().splitlines()]
    answers = tmp_path / "answers.jsonl"
    answers.write_text(
        "".join(
            json.dumps({"prompt": r["prompt"], "completions": [s["text"] for s in r["samples"]]}) + "\n"
            for r in records
        )
    )
    scored = tmp_path / "scored.jsonl"
    assert plaudit("score", reward_model, "--input", answers, "--output", scored, "--quiet").status == 0
    by_model = plaudit("bestofn", reward_model, "--samples", samples, "--json", "--quiet", "--n", "1,3")
    by_file = plaudit("bestofn", scored, "--samples", samples, "--json", "--quiet", "--n", "1,3")
    assert by_file.status == 0, by_file.err
    values = [
        [point["picked"]["value"] for point in json.loads(done.out)["curve"]["points"]]
        for done in (by_model, by_file)
    ]
    assert values[0] == values[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--n", "1,five"], "--n"),
        (["--n", "9"], "from 1 to 4"),
        (["--quality", "stars"], "no stars"),
        (["--dtype", "int8"], "--dtype"),
    ],
)
def test_a_wrong_choice_is_named_without_a_traceback(
    plaudit: Run, reward_model: Path, samples: Path, words: list[str], said: str
):
    done = plaudit("bestofn", reward_model, "--samples", samples, *words)
    assert done.status == 2 and said in done.err and "Traceback" not in done.err


def test_rewards_of_other_samples_are_refused(plaudit: Run, samples: Path, tmp_path: Path):
    other = tmp_path / "other.jsonl"
    other.write_text(json.dumps({"prompt": "else", "completions": ["x"], "rewards": [1.0]}) + "\n")
    done = plaudit("bestofn", other, "--samples", samples)
    assert done.status == 2 and "no reward for 40" in done.err


def test_a_server_is_asked_as_the_options_say(plaudit: Run, reward_model: Path, samples: Path):
    words = ("--samples", samples, "--json", "--quiet", "--server-model", "mine", "--concurrency", "2")
    with serve("vllm-classify") as server:
        done = plaudit("bestofn", server.url, "--protocol", "vllm-classify", *words)
        assert done.status == 0, done.err
        assert server.most_under_way <= 2
        assert {body.get("model") for path, body in server.asked if path == "/classify"} == {"mine"}
    with serve("openrlhf") as server:
        done = plaudit("bestofn", server.url, "--protocol", "openrlhf", *words, "--tokenizer", reward_model)
        assert done.status == 0, done.err


def test_the_same_command_again_asks_for_nothing(plaudit: Run, samples: Path, tmp_path: Path):
    words = ("--samples", samples, "--output-dir", tmp_path, "--quiet")
    with serve("plaudit") as server:
        num_asked = []
        for more in ((), (), ("--rescore",)):
            done = plaudit("bestofn", server.url, "--protocol", "plaudit", *words, *more)
            assert done.status == 0, done.err
            num_asked.append([path for path, _ in server.asked].count("/v1/rewards"))
    assert num_asked == [10, 10, 20]


def write_pairs(folder: Path, num: int, *, num_different: int = 1_000) -> tuple[Path, Path]:
    """Prompts with a wrong and a right sample, and rewards that are higher for the wrong one."""
    samples, rewards = folder / "pairs.jsonl", folder / "pair-rewards.jsonl"
    records = [
        {
            "id": f"s{i}",
            "prompt": f"p{i % num_different}",
            "samples": [f"{i} no", f"{i} yes"],
            "quality": [0, 1],
        }
        for i in range(num)
    ]
    samples.write_text("".join(json.dumps(record) + "\n" for record in records))
    rewards.write_text("".join(json.dumps({"id": f"s{i}", "rewards": [1.0, 0.0]}) + "\n" for i in range(num)))
    return samples, rewards


def test_a_certain_fall_is_not_put_down_to_chance(plaudit: Run, tmp_path: Path):
    samples, rewards = write_pairs(tmp_path, 20)
    done = plaudit("bestofn", rewards, "--samples", samples, "--quiet")
    assert "Over-optimised: from n = 1 to n = 2 the pick changes by -0.5000" in done.out
    assert "nan" not in done.out


def test_one_prompt_has_no_interval_and_that_is_said(plaudit: Run, tmp_path: Path):
    # Twice the same prompt.
    samples, rewards = write_pairs(tmp_path, 2, num_different=1)
    done = plaudit("bestofn", rewards, "--samples", samples, "--quiet")
    assert done.status == 0, done.err
    assert "there is no interval from 1 prompt." in done.out
    assert "2 prompts (1 different ones)" in done.out
    assert "nan" not in done.out


def test_a_flat_curve_is_called_flat(plaudit: Run, tmp_path: Path):
    samples, rewards = write_pairs(tmp_path, 20)
    rewards.write_text(rewards.read_text().replace("[1.0, 0.0]", "[1.0, 1.0]"))
    done = plaudit("bestofn", rewards, "--samples", samples, "--quiet")
    assert "as good at the largest n, 2, as at n = 1: no over-optimisation is seen" in done.out
    assert "nan" not in done.out


def test_an_n_beyond_all_samples_is_refused_before_anything_is_scored(plaudit: Run, samples: Path):
    with serve("plaudit") as server:
        done = plaudit("bestofn", server.url, "--samples", samples, "--n", "1,99")
        assert done.status == 2 and "--n: best of 99" in done.err
        assert not [path for path, _ in server.asked if path == "/v1/rewards"]


def test_copies_are_asked_for_once_and_the_stored_rewards_can_be_read(plaudit: Run, tmp_path: Path):
    samples, out = tmp_path / "samples.jsonl", tmp_path / "out"
    record = {"prompt": "p", "samples": ["same", "same", "other"], "quality": [1, 1, 0]}
    samples.write_text("".join(json.dumps({**record, "id": f"s{i}"}) + "\n" for i in range(2)))
    calls = itertools.count()

    def never_twice_the_same(body: Any, _: Any) -> Any:
        rewards = [float(next(calls)) for _ in body["completions"]]
        return {"data": [{"index": i, "reward": reward} for i, reward in enumerate(rewards)]}

    with serve("plaudit", routes={"/v1/rewards": never_twice_the_same}) as server:
        first = plaudit("bestofn", server.url, "--samples", samples, "--output-dir", out, "--json")
        assert first.status == 0, first.err
        assert sum(len(body["completions"]) for path, body in server.asked if path == "/v1/rewards") == 2
    again = plaudit("bestofn", out, "--samples", samples, "--json")
    assert again.status == 0, again.err
    assert json.loads(again.out)["curve"] == json.loads(first.out)["curve"]
