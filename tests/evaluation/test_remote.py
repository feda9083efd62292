"""Rewards from servers: each protocol as its own project writes it, busy servers, broken answers."""

from __future__ import annotations

import base64
import json
import math
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from plaudit.errors import PlauditError
from plaudit.evaluation.protocols import PROTOCOLS
from plaudit.evaluation.remote import ServerSource
from plaudit.evaluation.run import evaluate_suites
from plaudit.evaluation.server_requests import LONGEST_RETRY_AFTER_S, MAX_TRIES, Server, as_completed
from plaudit.evaluation.sets import EvaluationSet
from plaudit.preferences import Preferences, read_preferences
from plaudit.tokens import Renderer
from stand_ins.reward_server import RewardServer, reward_of, serve
from stand_ins.tokenizers import LLAMA3_LIKE_TEMPLATE, build_tokenizer

RECORDS = [
    {"prompt": f"{i}: why?", "chosen": "yes" + "!" * (i % 5), "rejected": "no" + "!" * (i % 3)}
    for i in range(12)
]
"""Twelve prompts with two answers each, and one pair more with the first prompt."""
RECORDS.append({"prompt": "0: why?", "chosen": "a third!!!!", "rejected": "yes"})


@pytest.fixture(scope="module")
def preferences() -> Preferences:
    return read_preferences(RECORDS, progress=False)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    tokenizer = build_tokenizer(chat_template=LLAMA3_LIKE_TEMPLATE, add_bos=True)
    return Renderer(tokenizer)


def margins(source: ServerSource, preferences: Preferences, **settings: Any) -> list[float]:
    sets = [EvaluationSet(name="data", preferences=preferences)]
    with source:
        run = evaluate_suites(source, sets, progress=False, **settings)
    return run.results["data"].rows.margin.tolist()


def expected_margins() -> list[float]:
    return [reward_of(r["chosen"]) - reward_of(r["rejected"]) for r in RECORDS]


@pytest.mark.parametrize("name", list(PROTOCOLS))
def test_every_protocol_gives_the_servers_rewards(name: str, preferences: Preferences, renderer: Renderer):
    takes = PROTOCOLS[name].takes
    with serve(name, decode=renderer.tokenizer.decode) as server:
        source = ServerSource(
            server.url, protocol=name, renderer=renderer if takes in ("text", "ids") else None
        )
        assert margins(source, preferences) == expected_margins()
        # 26 completions, of which "yes" to the first prompt is there twice; a greeting's number is in its own prompt.
        assert sum(_num_items(body) for _, body in server.asked) == 25


@pytest.mark.parametrize("name", [name for name in PROTOCOLS if name not in ("vllm-score", "nim")])
def test_what_a_server_says_of_itself_tells_the_protocol(name: str, renderer: Renderer):
    with serve(name) as server, ServerSource(server.url, renderer=renderer) as source:
        assert source.protocol_name == name


def test_a_server_of_all_protocols_is_asked_by_plaudits_own(renderer: Renderer):
    with serve(*PROTOCOLS) as server, ServerSource(server.url) as source:
        assert source.protocol_name == "plaudit"


def test_a_server_that_says_nothing_of_itself_is_an_error_with_the_choices():
    with serve(routes={"/x": lambda body, server: {}}) as server:
        with pytest.raises(PlauditError, match="--protocol plaudit, vllm-classify") as caught:
            ServerSource(server.url)
        assert "routes: /x" in str(caught.value)


def test_a_text_protocol_needs_a_tokenizer():
    with serve("openrlhf") as server, pytest.raises(PlauditError, match="--tokenizer"):
        ServerSource(server.url)


def test_rendered_text_comes_without_the_beginning_that_the_servers_tokenizer_adds(
    preferences: Preferences, renderer: Renderer
):
    with serve("openrlhf") as server:
        margins(ServerSource(server.url, renderer=renderer), preferences)
        texts = [text for _, body in server.asked for text in body["query"]]
    tokenizer = renderer.tokenizer
    expected = {
        tuple(renderer.token_ids(r["prompt"], r[side])) for r in RECORDS for side in ("chosen", "rejected")
    }
    assert {tuple(tokenizer(text)["input_ids"]) for text in texts} == expected  # as a server tokenises


def test_vllm_is_given_the_ids_of_our_rendering(preferences: Preferences, renderer: Renderer):
    with serve("vllm-classify", decode=renderer.tokenizer.decode) as server:
        margins(ServerSource(server.url, renderer=renderer), preferences)
        ids = {tuple(row) for _, body in server.asked for row in body["input"]}
    assert tuple(renderer.token_ids("0: why?", "yes").tolist()) in ids


def test_without_a_tokenizer_vllm_gets_one_conversation_a_request(preferences: Preferences):
    with serve("vllm-classify") as server:
        assert margins(ServerSource(server.url), preferences) == expected_margins()
        assert server.asked[0][1]["messages"][-1]["role"] == "assistant"
        assert server.asked[0][1]["model"] == "served-model"


def test_completions_of_one_prompt_come_in_one_request(preferences: Preferences):
    with serve("plaudit") as server:
        margins(ServerSource(server.url), preferences)
        assert len(server.asked) == 12
        of_first = next(body for _, body in server.asked if body["prompt"] == "0: why?")
        assert of_first["completions"] == ["yes", "no", "a third!!!!"]


def test_no_more_requests_are_under_way_than_asked_for_and_several_are(preferences: Preferences):
    both = threading.Barrier(2)

    def slowly(body: Any, server: RewardServer) -> Any:
        both.wait(30)  # answers only when two are there
        return {"data": [{"index": i, "reward": 0.0} for i, _ in enumerate(body["completions"])]}

    with serve(routes={"/v1/rewards": slowly}) as server:
        margins(ServerSource(server.url, concurrency=2), preferences)
        assert server.most_under_way == 2


def test_a_busy_server_is_asked_again_not_sooner_than_it_says():
    waits: list[float] = []
    answers = iter([(503, {"Retry-After": "7"}, {}), (429, {}, {}), (500, {}, {}), {"fine": True}])
    with serve(routes={"/x": lambda body, server: next(answers)}) as server:
        client = Server(server.url, timeout_s=30, concurrency=1, sleep=waits.append)
        assert client.post("/x", {}, about="") == {"fine": True}
        client.close()
    assert waits[0] >= 7 and 0.5 <= waits[1] <= 1.0 and 1.0 <= waits[2] <= 2.0


def test_a_server_that_stays_busy_is_given_up_with_its_own_words():
    with serve(routes={"/x": lambda body, server: (503, {}, {"detail": "queue is full"})}) as server:
        client = Server(server.url, timeout_s=30, concurrency=1, sleep=lambda seconds: None)
        with pytest.raises(PlauditError, match="queue is full"):
            client.post("/x", {}, about="data.jsonl:3")
        client.close()
        assert len(server.asked) == MAX_TRIES


def test_a_refused_request_is_not_repeated_and_names_the_record(tmp_path: Path):
    path = tmp_path / "data.jsonl"
    path.write_text(json.dumps(RECORDS[0]) + "\n")

    def refuse(body: Any, server: RewardServer) -> Any:
        return 422, {}, {"detail": "too many tokens"}

    with serve(routes={"/v1/rewards": refuse}) as server:
        with pytest.raises(PlauditError, match=r"422.*too many tokens") as caught:
            margins(ServerSource(server.url), read_preferences(str(path), progress=False))
        assert len(server.asked) == 1
    assert "data.jsonl:1" in str(caught.value)


def test_no_server_is_an_error_with_its_address():
    with serve("plaudit") as server:
        url = server.url
    client = Server(url, timeout_s=5, concurrency=1, sleep=lambda seconds: None)
    with pytest.raises(PlauditError, match="no answer") as caught:
        client.find("/openapi.json")
    client.close()
    assert url in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"data": []}, "0 rewards for 1"),
        ({"error": "no"}, "another form"),
        ({"data": [{"index": 0, "probs": [0.1, 0.9]}]}, "2 classes"),
        ({"data": [{"index": 0, "probs": [None]}]}, "another form"),
        ({"data": [{"index": 0, "probs": [10**400]}]}, "another form"),
        ({"data": [{"index": 1, "probs": [0.5]}]}, r"the indices of the 1 entries are \[1\]"),
    ],
)
def test_an_answer_of_another_form_is_an_error(preferences: Preferences, answer: Any, said: str):
    with (
        serve(routes={"/classify": lambda body, server: answer}) as server,
        pytest.raises(PlauditError, match=said),
    ):
        margins(ServerSource(server.url, concurrency=1), preferences)


def test_answers_whose_indices_repeat_are_an_error(preferences: Preferences):
    def same(body: Any, server: RewardServer) -> Any:
        return {"data": [{"index": 0, "reward": 1.0} for _ in body["completions"]]}

    with (
        serve(routes={"/v1/rewards": same}) as server,
        pytest.raises(PlauditError, match=r"the indices of the . entries are \[0, 0"),
    ):
        margins(ServerSource(server.url, concurrency=1), preferences)


def test_what_the_server_has_cut_is_counted_in_a_warning_and_in_the_results(
    preferences: Preferences, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    def cut(body: Any, server: RewardServer) -> Any:
        return {
            "data": [
                {"index": i, "reward": 1.0 * i, "truncated": c == "no"}
                for i, c in enumerate(body["completions"])
            ]
        }

    num_cut = len({(r["prompt"], r["rejected"]) for r in RECORDS if r["rejected"] == "no"})
    with serve(routes={"/v1/rewards": cut}) as server:
        for _ in range(2):  # the second time from the store
            caplog.clear()
            margins(ServerSource(server.url), preferences, output_dir=tmp_path)
            assert f"has cut {num_cut} of 25 conversations" in caplog.text
            results = json.loads((tmp_path / "data" / "results.json").read_text())
            assert results["settings"]["num_truncated"] == num_cut


def test_a_reward_that_is_no_number_sends_to_the_servers_log(preferences: Preferences):
    def nothing(body: Any, server: RewardServer) -> Any:
        return {"data": [{"index": i, "reward": math.nan} for i, _ in enumerate(body["completions"])]}

    with serve(routes={"/v1/rewards": nothing}) as server, pytest.raises(PlauditError, match="nan") as caught:
        margins(ServerSource(server.url), preferences)
    assert "server's log" in str(caught.value) and "--dtype" not in str(caught.value)


@pytest.mark.parametrize("timeout", [0.0, -1.0, math.nan, math.inf])
def test_a_timeout_that_is_no_time_is_refused(timeout: float):
    with pytest.raises(PlauditError, match="--timeout"):
        ServerSource("http://localhost:1", protocol="plaudit", timeout_s=timeout)


def test_a_password_in_the_address_is_sent_and_written_nowhere(preferences: Preferences, tmp_path: Path):
    with serve("plaudit") as server:
        address = server.url.replace("http://", "http://me:sesame%2D0815@")
        with ServerSource(address, protocol="plaudit") as source:
            assert (source.name, source.server.url) == ("served-model", server.url)
        margins(ServerSource(address), preferences, output_dir=tmp_path)
        sent = {headers["Authorization"] for headers in server.headers}
    assert sent == {"Basic " + base64.b64encode(b"me:sesame-0815").decode()}
    assert not any(b"sesame" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    with pytest.raises(PlauditError) as caught:
        ServerSource(address, protocol="openrlhf")
    assert "sesame" not in str(caught.value)


def test_a_server_that_asks_for_too_long_a_pause_is_not_waited_for():
    waits: list[float] = []

    def later(body: Any, server: RewardServer) -> Any:
        return 429, {"Retry-After": str(int(LONGEST_RETRY_AFTER_S) + 1)}, {"detail": "tomorrow"}

    with serve(routes={"/x": later}) as server:
        client = Server(server.url, timeout_s=30, concurrency=1, sleep=waits.append)
        with pytest.raises(PlauditError, match="tomorrow"):
            client.post("/x", {}, about="")
        client.close()
        assert (len(server.asked), waits) == (1, [])


def test_an_error_does_not_wait_for_work_that_hangs():
    answer, ended = threading.Event(), []

    def work(part: int) -> int:
        if part == 3:
            raise ValueError("part 3")
        answer.wait(60)
        ended.append(part)
        return part

    with pytest.raises(ValueError, match="part 3"):
        list(as_completed(work, range(20), 4))
    assert ended == []
    hanging = [t for t in threading.enumerate() if t.name.startswith("plaudit-request")]
    assert hanging and all(thread.daemon for thread in hanging), "Python does not wait for them at its end"
    answer.set()
    for thread in hanging:
        thread.join(60)
    assert sorted(ended) == [0, 1, 2], "what was not begun is given up"


def test_a_pause_ends_when_the_server_is_closed():
    asked = threading.Event()
    errors: list[PlauditError] = []

    def busy(body: Any, server: RewardServer) -> Any:
        asked.set()
        return 503, {"Retry-After": "500"}, {}

    def post(client: Server) -> None:
        try:
            client.post("/x", {}, about="")
        except PlauditError as error:
            errors.append(error)

    with serve(routes={"/x": busy}) as server:
        client = Server(server.url, timeout_s=30, concurrency=1)
        thread = threading.Thread(target=post, args=(client,), daemon=True)
        thread.start()
        assert asked.wait(60)
        client.close()
        thread.join(60)
        assert not thread.is_alive() and len(errors) == 1


def test_rewards_that_look_squashed_are_said_to_be(
    preferences: Preferences, caplog: pytest.LogCaptureFixture
):
    def squashed(body: Any, server: RewardServer) -> Any:
        return {"data": [{"index": i, "reward": 0.5} for i, _ in enumerate(body["completions"])]}

    with serve(routes={"/v1/rewards": squashed}) as server:
        margins(ServerSource(server.url), preferences)
    assert "all 25 rewards lie between 0 and 1" in caplog.text


def test_a_second_run_asks_for_nothing(preferences: Preferences, tmp_path: Path):
    with serve("plaudit") as server:
        first = margins(ServerSource(server.url), preferences, output_dir=tmp_path)
        num_asked = len(server.asked)
        assert margins(ServerSource(server.url), preferences, output_dir=tmp_path) == first
        assert len(server.asked) == num_asked


def test_the_key_is_sent_and_written_nowhere(
    preferences: Preferences, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PLAUDIT_API_KEY", "sesame-0815")
    with serve("plaudit") as server:
        margins(ServerSource(server.url), preferences, output_dir=tmp_path)
        assert {headers["Authorization"] for headers in server.headers} == {"Bearer sesame-0815"}
    assert not any(b"sesame" in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_lengths_are_characters_without_a_tokenizer_and_tokens_with_one(
    preferences: Preferences, renderer: Renderer
):
    for given, unit in ((None, "characters"), (renderer, "tokens")):
        with serve("plaudit") as server, ServerSource(server.url, renderer=given) as source:
            sets = [EvaluationSet(name="data", preferences=preferences)]
            result = evaluate_suites(source, sets, progress=False).results["data"]
        assert result.settings["length_unit"] == unit
        if given is None:
            np.testing.assert_array_equal(result.rows.num_tokens_better, result.rows.num_characters_better)


def _num_items(body: Any) -> int:
    for name in ("completions", "input", "text_2", "query", "inputs"):
        if name in body:
            return len(body[name])
    messages = body["messages"]
    return 1 if isinstance(messages[0], dict) else len(messages)


def test_a_slow_answer_is_given_up_after_the_timeout():
    def slowly(body: Any, server: RewardServer) -> Any:
        time.sleep(0.3)
        return {}

    with serve(routes={"/x": slowly}) as server:
        client = Server(server.url, timeout_s=0.02, concurrency=1, sleep=lambda seconds: None)
        with pytest.raises(PlauditError, match="no answer from /x"):
            client.post("/x", {}, about="")
        client.close()
        assert len(server.asked) <= MAX_TRIES
