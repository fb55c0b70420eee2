# SPDX-License-Identifier: ISC
"""The harness itself: a console whose bytes come slowly must read like one whose lines come at once."""

import re

import pytest

from machine import Machine


@pytest.fixture
def speak(tmp_path):
    """A machine that is a shell script, and writes to a pipe."""
    made = []

    def start(script):
        made.append(Machine(["sh", "-c", script], "pipe", "pipe", str(tmp_path)))
        return made[-1]

    yield start
    for m in made:
        m.stop()


def test_half_a_line_is_no_line(speak):
    m = speak("echo first; printf 'x: transport ans'; sleep 1; echo wers; sleep 60")
    m.expect("first")
    assert not m.find(r"^x: (.*)$")
    assert m.expect(r"^x: (.*)$").group(1) == "transport answers"
    assert [f.group(1) for f in m.find(r"^x: (.*)$")] == ["transport answers"]


def test_a_number_is_read_to_its_end(speak):
    m = speak("printf 'count 1'; sleep 0.1; printf 2; sleep 0.1; echo 3; sleep 60")
    assert m.expect(r"count (\d+)").group(1) == "123"


def test_a_prompt_has_no_end_of_line(speak):
    m = speak("printf 'd0> '; echo \"got $(head -c 5)\"; sleep 60")
    m.expect(r"^d0> ")
    assert m.command("hello", r"got \w+").group() == "got hello"


def test_absent_words_end_the_wait(speak):
    m = speak("echo PANIC; echo ready; sleep 60")
    with pytest.raises(AssertionError, match="found 'PANIC'"):
        m.expect("^ready$", absent="PANIC")


def test_the_last_words_of_a_machine_count(speak):
    m = speak("printf 'the end'")
    assert re.match("the", m.expect("^the end$").group())
