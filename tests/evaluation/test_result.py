"""What an evaluation says of its cost."""

from __future__ import annotations

from plaudit.evaluation.result import Throughput, throughput_line
from plaudit.evaluation.reward_store import Cost


def test_rewards_of_a_file_are_read_and_have_no_rate():
    line = throughput_line(Throughput.of(Cost(num_sequences=1200)))
    assert line == "rewards read: 1,200 conversations"


def test_a_server_has_a_rate():
    line = throughput_line(Throughput.of(Cost(num_sequences=10, seconds=4.0)))
    assert line == "10 conversations scored, 2.5 a second"
