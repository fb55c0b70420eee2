# SPDX-License-Identifier: ISC
"""The docker commands once more, on D0 itself: the tests of test_d0d_cli.py that need nothing of
Linux, all in one boot, against a d0d whose images and containers are in the store."""

import json
import os
import subprocess
import time

import pytest
from d0d_lib import Docker, busybox_layer, docker_archive, docker_cli
from machine import BUILD, PATIENCE, Qemu
from test_d0d_access import test_the_cli_of_debian_12  # noqa: F401  pylint: disable=unused-import
from test_d0d_cli import (  # noqa: F401  pylint: disable=unused-import
    broken_archives, field, refuse_escapes, tar_of, test_attach, test_bad_option_is_125,
    test_bad_requests, test_build, test_build_errors, test_build_from_scratch, test_cp_both_ways, test_create_start_attach_wait, test_diff_export_commit,
    test_entrypoint_label_readonly, test_env_workdir_user_hostname, test_events, test_exec,
    test_exit_codes, test_health, test_images_inspect_tag_rmi,
    test_layers_with_xz_and_bzip2, test_logs,
    test_logs_follow_to_the_end, test_names_conflict, test_oci_archive_with_gzip_and_whiteouts,
    test_pause, test_refusals_are_clear, test_rename_and_prefixes, test_restart_policy, test_rm,
    test_rmi_of_an_image_in_use, test_run_prints_and_is_removed, test_run_separates_streams,
    test_save_and_load, test_stdin_reaches_the_program,
    test_system_df_and_prune, test_terminal, test_unsupported_commands_say_so,
    test_versions_are_negotiated, test_volume_commands, wait_for, web)
from test_d0d_on_d0 import blank_disk
from test_demo import free_port

pytestmark = pytest.mark.skipif(not docker_cli(), reason="no docker CLI")


class D0:
    """What Docker wants to know of its host."""

    def __init__(self, folder):
        self.boot(folder, os.path.join(BUILD, "docker.d0a"), blank_disk(folder))

    def boot(self, folder, archive, disk):
        self.dir, self.port, self.sock = str(folder), free_port(), "unused"
        self.url = f"http://127.0.0.1:{self.port}"
        self.machine = Qemu(self.dir, archive, smp=2, mem="512M", extra=[
            "-drive", f"if=none,id=disk0,format=raw,file={disk}",
            "-device", "virtio-blk-pci,drive=disk0",
            "-netdev", f"user,id=net0,hostfwd=tcp:127.0.0.1:{self.port}-10.0.2.16:2375",
            "-device", "virtio-net-pci,netdev=net0"])
        self.machine.expect(r"^d0d: .* ready$", timeout=60)

    def read_log(self):
        return self.machine.tail()


class OnD0(Docker):
    def __init__(self, host, **how):
        super().__init__(host, **how)
        self.env["DOCKER_HOST"] = f"tcp://127.0.0.1:{host.port}"

    def run(self, *args, timeout=60, **kw):  # pylint: disable=arguments-differ
        return super().run(*args, timeout=timeout * PATIENCE, **kw)

    def raw(self, method, path, body=None, headers=()):
        cmd = ["curl", "-s", "-X", method, "-w", "\n%{http_code}", self.host.url + path]
        for h in headers:
            cmd += ["-H", h]
        if body is not None:
            cmd += ["--data-binary", "@-"]
        done = subprocess.run(cmd, input=body, stdout=subprocess.PIPE, timeout=60 * PATIENCE, check=False)
        text, _, status = done.stdout.rpartition(b"\n")
        return int(status), text


@pytest.fixture(scope="module")
def docker(tmp_path_factory):
    host = D0(tmp_path_factory.mktemp("d0"))
    d = OnD0(host)
    d.run("load", stdin=docker_archive("busybox:latest", [busybox_layer()], {"Cmd": ["sh"]}))
    yield d
    host.machine.stop()


@pytest.mark.parametrize("name", list(broken_archives()))
def test_broken_archives_leave_nothing(docker, name):
    images = docker.out("images", "-aq")
    status, body = docker.raw("POST", "/images/load", broken_archives()[name])
    assert status == 400 and json.loads(body)["message"]
    assert docker.out("images", "-aq") == images


def test_archive_cannot_escape(docker, web):
    cid = refuse_escapes(docker, web)
    # A link made first leads where it would in the container.
    status, _ = docker.raw("PUT", f"/containers/{cid}/archive?path=/tmp",
                           tar_of([("up", "l", "../..", 0o777), ("up/evil", "f", b"x", 0o644)]))
    assert status == 200 and docker.out("exec", web, "ls", "/evil") == "/evil"


def test_version_and_info(docker):
    assert docker.out("version", "-f", "{{.Server.APIVersion}} {{.Server.MinAPIVersion}}") == "1.50 1.24"
    info = json.loads(docker.out("info", "-f", "{{json .}}"))
    assert (info["OSType"], info["Images"], info["Driver"]) == ("linux", 1, "hammer2")
    assert info["MemoryLimit"] and info["PidsLimit"] and not info["SwapLimit"]


def test_limits(docker):
    docker.run("run", "-d", "--name", "lim", "-m", "32m", "--cpus", "0.5", "--pids-limit", "20", "busybox",
               "sleep", "60")
    assert field(docker, "lim", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}") == \
        "33554432 500000000 20"
    assert "32MiB" in docker.out("stats", "--no-stream", "lim")
    docker.run("exec", "lim", "sh", "-c", "for i in $(seq 40); do sleep 5 & done", code=2)
    docker.run("rm", "-f", "lim")
    assert "6MB" in docker.err("run", "-m", "1m", "busybox", "true", code=125)


def test_top_and_stats(docker, web):
    assert "sh -c trap" in docker.out("top", web)
    assert web in docker.out("stats", "--no-stream", "--format", "{{.Name}}")
    docker.run("network", "create", "second")
    docker.run("network", "connect", "second", web)
    docker.run("exec", web, "sh", "-c", "dd if=/dev/urandom of=/x bs=64k count=16 2>/dev/null; sync; "
               "ping -c 2 $(ip -4 addr show eth1 | sed -n 's/.*inet \\(.*\\)\\.[0-9]*\\/.*/\\1.1/p')", code=None)

    def figures():
        s = json.loads(docker.raw("GET", f"/containers/{web}/stats?stream=0&one-shot=1")[1])
        moved = {x["op"]: x["value"] for x in s["blkio_stats"]["io_service_bytes_recursive"]}
        return (moved.get("write", 0) >= 1 << 20 and moved.get("read", 0) > 0 and s["pids_stats"]["current"] >= 1 and
                set(s["networks"]) == {"eth0", "eth1"} and s["networks"]["eth1"]["tx_bytes"] > 0)
    wait_for(figures)
    docker.run("network", "disconnect", "second", web)
    docker.run("network", "rm", "second")


def test_stop_kill_restart(docker, web):
    docker.run("restart", "-t", "5", web)
    wait_for(lambda: docker.out("logs", web).count("ready") == 2)  # its trap is set
    docker.run("stop", "-t", "20", web)
    assert field(docker, web, "{{.State.ExitCode}} {{.State.Status}}") == "7 exited"
    docker.run("stop", web)  # again: nothing to do
    docker.run("start", web)
    docker.run("kill", web)
    assert field(docker, web, "{{.State.ExitCode}}") == "137"
    assert "not running" in docker.err("kill", web)


def test_stop_waits_no_longer_than_asked(docker):
    """A program that ignores the signal, with a child that holds its output."""
    docker.run("run", "-d", "--name", "deaf", "busybox", "sh", "-c",
               "trap '' TERM; sleep 1000 & while :; do sleep 1; done")
    begin = time.monotonic()
    docker.run("stop", "-t", "1", "deaf")
    assert 1 <= time.monotonic() - begin < 60  # and not until its child ends
    assert field(docker, "deaf", "{{.State.ExitCode}}") == "137"
    docker.run("rm", "deaf")


def test_update(docker, web):
    docker.run("update", "--restart", "unless-stopped", web)
    assert field(docker, web, "{{.HostConfig.RestartPolicy.Name}}") == "unless-stopped"
    docker.run("update", "-m", "32m", "--memory-swap", "32m", "--pids-limit", "77", web)
    assert field(docker, web, "{{.HostConfig.Memory}}") == str(32 << 20)
    limits = docker.out("exec", web, "cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max").split()
    assert 24 << 20 < int(limits[0]) <= 32 << 20 and limits[1] == "77"
    docker.run("exec", web, "dd", "if=/dev/zero", "of=/dev/null", "bs=1M", "count=64")
    said = docker.err("update", "-m", "512m", "--memory-swap", "512m", web)
    assert "can't grow beyond" in said and field(docker, web, "{{.HostConfig.Memory}}") == str(32 << 20)
    docker.run("update", "--cpus", "0.5", "--cpu-shares", "512", web)
    assert field(docker, web, "{{.HostConfig.NanoCpus}} {{.HostConfig.CpuShares}}") == "500000000 512"
    docker.run("update", "--restart", "no", web)


def test_a_hundred_clients(docker):
    procs = [subprocess.Popen(["curl", "-s", docker.host.url + "/v1.41/containers/json"],
                              stdout=subprocess.PIPE) for _ in range(100)]
    assert all(p.communicate(timeout=60 * PATIENCE)[0].strip() == b"[]" for p in procs)
