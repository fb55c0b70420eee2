"""The stock docker CLI drives a hosted d0d (linux backend); at least one test for each
command."""

import os

import pytest

from d0d_lib import Docker, Host, busybox_layer, docker_archive, docker_cli

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not docker_cli(),
                                reason="needs root and a docker CLI")


@pytest.fixture(scope="module")
def docker():
    host = Host()
    d = Docker(host)
    d.run("load", stdin=docker_archive("busybox:latest", [busybox_layer()], {"Cmd": ["sh"]}))
    yield d
    host.close()


def test_run_prints_and_is_removed(docker):
    assert docker.out("run", "--rm", "busybox", "echo", "hi") == "hi"
    assert docker.out("ps", "-aq") == ""


def test_stdin_reaches_the_program(docker):
    assert docker.out("run", "--rm", "-i", "busybox", "cat", stdin=b"abc\n") == "abc"
