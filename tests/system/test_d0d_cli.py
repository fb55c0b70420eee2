# SPDX-License-Identifier: ISC
"""The stock docker CLI drives a hosted d0d (linux backend); at least one test for each
command."""

import io
import json
import os
import re
import signal
import subprocess
import tarfile
import time
import bz2
import gzip
import lzma

import pytest

from d0d_lib import (Docker, Host, busybox_layer, docker_archive, docker_cli, image_config,
                     oci_archive, sha, tar_of)

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not docker_cli(),
                                reason="needs root and a docker CLI")


def has_cgroup(name):
    return os.path.exists(f"/sys/fs/cgroup/{name}/cgroup.procs")


@pytest.fixture(scope="module")
def docker():
    host = Host()
    d = Docker(host)
    d.run("load", stdin=docker_archive("busybox:latest", [busybox_layer()], {"Cmd": ["sh"]}))
    yield d
    host.close()


@pytest.fixture
def web(docker):
    """A running container; removed afterwards."""
    docker.run("run", "-d", "--name", "web", "busybox", "sh", "-c",
               "trap 'exit 7' TERM; echo ready; echo oops >&2; while :; do sleep 0.1; done")
    wait_for(lambda: "ready" in docker.out("logs", "web"))
    yield "web"
    docker.run("rm", "-f", "web", code=None)


def wait_for(what, timeout=60, pause=0.05):
    deadline = time.time() + timeout
    while time.time() < deadline:
        if what():
            return
        time.sleep(pause)
    raise AssertionError("it never came true")


def field(docker, name, fmt, *kind):
    return docker.out(*kind, "inspect", "-f", fmt, name)


# ---- system ----

def test_version_and_info(docker):
    assert docker.out("version", "-f", "{{.Server.APIVersion}} {{.Server.MinAPIVersion}}") == "1.50 1.24"
    assert docker.out("info", "-f", "{{.Name}} {{.OSType}} {{.Images}}") == "testhost linux 1"


def test_versions_are_negotiated(docker):
    for version in ("1.41", "1.44", "1.50"):
        docker.env["DOCKER_API_VERSION"] = version
        assert docker.out("run", "--rm", "busybox", "echo", "hi") == "hi"
    del docker.env["DOCKER_API_VERSION"]
    status, body = docker.raw("GET", "/v1.99/version")
    assert status == 400 and b"too new" in body
    status, body = docker.raw("GET", "/v1.12/version")
    assert status == 400 and b"too old" in body


# ---- run ----

def test_run_prints_and_is_removed(docker):
    assert docker.out("run", "--rm", "busybox", "echo", "hi") == "hi"
    assert docker.out("ps", "-aq") == ""


def test_run_separates_streams(docker):
    out, err = docker.run("run", "--rm", "busybox", "sh", "-c", "echo out; echo err >&2")
    assert (out, err) == ("out\n", "err\n")


@pytest.mark.parametrize("args,code", [
    (["true"], 0), (["false"], 1), (["sh", "-c", "exit 42"], 42), (["sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137),
    (["nosuch"], 127), (["/etc/passwd"], 126), (["/nosuch"], 127)])
def test_exit_codes(docker, args, code):
    docker.run("run", "--rm", "busybox", *args, code=code)
    assert docker.out("ps", "-aq") == ""


def test_bad_option_is_125(docker):
    assert "privileged" in docker.err("run", "--rm", "--privileged", "busybox", "true", code=125)


def test_stdin_reaches_the_program(docker):
    assert docker.out("run", "--rm", "-i", "busybox", "cat", stdin=b"abc\n") == "abc"
    big = os.urandom(3 << 20).hex().encode()
    assert docker.run("run", "--rm", "-i", "busybox", "cat", stdin=big)[0].encode() == big


def test_terminal(docker):
    """-it, through a terminal of our own: size, echo, hijack both ways."""
    script = subprocess.run(["script", "-qec", f"{docker.cli} run --rm -it busybox sh -c 'tty; stty size; read x; echo got $x'",
                             "/dev/null"], env=docker.env, input=b"word\n", stdout=subprocess.PIPE,
                            timeout=30, check=False)
    assert b"/dev/pts/0" in script.stdout and b"got word" in script.stdout


def test_env_workdir_user_hostname(docker):
    out = docker.out("run", "--rm", "-e", "A=b c", "-w", "/some/where", "-u", "www", "--hostname", "box",
                     "busybox", "sh", "-c", 'echo "$A|$(pwd)|$(id -u):$(id -g)|$(hostname)|$HOME"')
    assert out == "b c|/some/where|33:33|box|/var/www"
    assert docker.out("run", "--rm", "-u", "www", "busybox", "id", "-G") == "33 44"
    assert docker.out("run", "--rm", "-u", "5:6", "busybox", "sh", "-c", "id -u; id -g").split() == ["5", "6"]
    assert "unable to find user" in docker.err("run", "--rm", "-u", "nobody9", "busybox", "true", code=125)


def test_entrypoint_label_readonly(docker):
    assert docker.out("run", "--rm", "--entrypoint", "echo", "busybox", "x", "y") == "x y"
    docker.run("run", "--rm", "--read-only", "busybox", "touch", "/x", code=1)
    docker.run("run", "--rm", "--read-only", "--tmpfs", "/t", "busybox", "touch", "/t/x")
    docker.run("create", "--name", "lab", "--label", "k=v", "busybox")
    assert docker.out("ps", "-aq", "--filter", "label=k=v") == field(docker, "lab", "{{.Id}}")[:12]
    assert docker.out("ps", "-aq", "--filter", "label=k=w") == ""
    docker.run("rm", "lab")


@pytest.mark.skipif(not has_cgroup("memory"), reason="no memory cgroup")
def test_limits(docker):
    docker.run("run", "-d", "--name", "lim", "-m", "32m", "--cpus", "0.5", "--pids-limit", "20", "busybox",
               "sleep", "60")
    assert field(docker, "lim", "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}") == \
        "33554432 500000000 20"
    assert "32MiB" in docker.out("stats", "--no-stream", "lim")
    docker.run("update", "-m", "64m", "--memory-swap", "64m", "lim")
    assert "64MiB" in docker.out("stats", "--no-stream", "lim")
    docker.run("exec", "lim", "sh", "-c", "for i in $(seq 40); do sleep 5 & done", code=2)
    docker.run("rm", "-f", "lim")
    assert "6MB" in docker.err("run", "-m", "1m", "busybox", "true", code=125)


@pytest.mark.skipif(not has_cgroup("memory"), reason="no memory cgroup")
def test_out_of_memory_is_told(docker):
    docker.run("run", "--name", "oom", "-m", "16m", "busybox", "sh", "-c",
               "dd if=/dev/zero of=/dev/shm/x bs=1M count=60", code=None)
    assert field(docker, "oom", "{{.State.OOMKilled}} {{.State.Status}}") == "true exited"
    docker.run("rm", "oom")


@pytest.mark.parametrize("args,text", [
    (["--network", "host"], "host"), (["-v", "/srv:/srv"], "bind mounts"), (["--pid", "host"], "PidMode"),
    (["--device", "/dev/null"], "device"), (["--volumes-from", "x"], "volumes-from"),
    (["--security-opt", "seccomp=/x"], ""), (["--runtime", "crun"], "runtime"), (["--gpus", "all"], "device"),
    (["--restart", "always", "--rm"], ""), (["--cap-add", "FLY"], "capability")])
def test_refusals_are_clear(docker, args, text):
    assert text in docker.err("run", *args, "busybox", "true", code=125)
    assert docker.out("ps", "-aq") == ""


def test_names_conflict(docker, web):
    assert "already in use" in docker.err("run", "--name", web, "busybox", code=125)
    assert "Invalid container name" in docker.err("run", "--name", "a/b", "busybox", code=125)


# ---- life cycle ----

def test_create_start_attach_wait(docker):
    cid = docker.out("create", "--name", "c1", "busybox", "sh", "-c", "echo one; exit 3")
    assert field(docker, "c1", "{{.State.Status}}") == "created"
    out, _ = docker.run("start", "-a", "c1", code=3)
    assert out == "one\n"
    assert docker.out("wait", "c1") == "3"
    assert docker.out("ps", "-a", "--no-trunc", "--format", "{{.ID}} {{.Status}}").startswith(f"{cid} Exited (3)")
    docker.run("rm", "c1")


def test_logs(docker, web):
    out, err = docker.run("logs", web)
    assert (out, err) == ("ready\n", "oops\n")
    assert docker.run("logs", "-n", "1", web)[0:2] in (("ready\n", ""), ("", "oops\n"))
    out, _ = docker.run("logs", "-t", web)
    assert out.endswith("ready\n") and out[10] == "T"
    assert docker.out("logs", "--since", "2030-01-01T00:00:00Z", web) == ""
    assert docker.out("logs", "--until", "2020-01-01T00:00:00Z", web) == ""


def test_logs_follow_to_the_end(docker):
    docker.run("run", "-d", "--name", "fo", "busybox", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.3; done")
    assert docker.out("logs", "-f", "fo").split() == ["1", "2", "3"]
    docker.run("rm", "-f", "fo")


def test_attach(docker):
    docker.run("run", "-di", "--name", "at", "busybox", "sh", "-c", "read x; echo you said $x; exit 5")
    out, _ = docker.run("attach", "at", stdin=b"hey\n", code=5)
    assert "you said hey" in out
    docker.run("rm", "at")


def test_exec(docker, web):
    assert docker.out("exec", web, "echo", "inside") == "inside"
    docker.run("exec", web, "sh", "-c", "exit 9", code=9)
    docker.run("exec", web, "nosuch", code=127)
    assert docker.out("exec", "-i", web, "cat", stdin=b"x") == "x"
    assert docker.out("exec", "-u", "www", "-w", "/tmp", "-e", "Q=1", web, "sh", "-c", "id -u; pwd; echo $Q").split() == \
        ["33", "/tmp", "1"]
    docker.run("exec", "-d", web, "touch", "/tmp/flag")
    wait_for(lambda: docker.out("exec", web, "ls", "/tmp") == "flag")
    tty = subprocess.run(["script", "-qec", f"{docker.cli} exec -it {web} tty", "/dev/null"], env=docker.env,
                         stdout=subprocess.PIPE, timeout=30, check=False)
    assert b"/dev/pts/" in tty.stdout


def test_stop_kill_restart(docker, web):
    docker.run("restart", "-t", "5", web)
    assert field(docker, web, "{{.State.Status}}") == "running"
    docker.run("stop", "-t", "5", web)
    assert field(docker, web, "{{.State.ExitCode}} {{.State.Status}}") == "7 exited"
    docker.run("stop", web)  # again: nothing to do
    docker.run("start", web)
    docker.run("kill", web)
    assert field(docker, web, "{{.State.ExitCode}}") == "137"
    assert "not running" in docker.err("kill", web)
    assert "invalid signal" in docker.err("kill", "-s", "FOO", web)


def test_pause(docker, web):
    docker.run("pause", web)
    assert field(docker, web, "{{.State.Status}}") == "paused"
    assert "(Paused)" in docker.out("ps", "--format", "{{.Status}}")
    assert "paused" in docker.err("exec", web, "true")
    docker.run("unpause", web)
    assert "is not paused" in docker.err("unpause", web)
    docker.run("pause", web)
    docker.run("rm", "-f", web)


def test_rename_and_prefixes(docker, web):
    cid = field(docker, web, "{{.Id}}")
    docker.run("rename", web, "w2")
    assert field(docker, cid[:6], "{{.Name}}") == "/w2"
    docker.run("rename", "w2", web)
    assert "No such container" in docker.err("rename", "zz", "yy")


def test_rm(docker, web):
    assert "stop the container before removing" in docker.err("rm", web)
    docker.run("rm", "-f", web)
    assert "No such container" in docker.err("rm", web)


def test_restart_policy(docker):
    docker.run("run", "-d", "--name", "again", "--restart", "on-failure:2", "busybox", "sh", "-c", "echo try; exit 1")
    wait_for(lambda: field(docker, "again", "{{.State.Status}}") == "exited")
    assert field(docker, "again", "{{.RestartCount}} {{.State.ExitCode}}") == "2 1"
    assert docker.out("logs", "again").split() == ["try"] * 3
    docker.run("rm", "again")
    docker.run("run", "-d", "--name", "ever", "--restart", "always", "busybox", "sleep", "0.2")
    wait_for(lambda: int(field(docker, "ever", "{{.RestartCount}}")) >= 2)
    docker.run("stop", "ever")
    assert field(docker, "ever", "{{.State.Status}}") == "exited"
    docker.run("rm", "ever")


def test_health(docker):
    docker.run("run", "-d", "--name", "he", "--health-cmd", "test -e /tmp/ok", "--health-interval", "200ms",
               "--health-retries", "2", "busybox", "sleep", "60")
    assert field(docker, "he", "{{.State.Health.Status}}") == "starting"
    wait_for(lambda: field(docker, "he", "{{.State.Health.Status}}") == "unhealthy")
    docker.run("exec", "he", "touch", "/tmp/ok")
    wait_for(lambda: field(docker, "he", "{{.State.Health.Status}}") == "healthy")
    assert "(healthy)" in docker.out("ps", "--format", "{{.Status}}")
    docker.run("rm", "-f", "he")


def test_top_stats_port(docker):
    docker.run("run", "-d", "--name", "pp", "-p", "127.0.0.1:8099:80", "busybox", "httpd", "-f", "-h", "/var/www")
    assert "httpd" in docker.out("top", "pp")
    assert "pp" in docker.out("stats", "--no-stream", "--format", "{{.Name}}")
    assert docker.out("port", "pp") == "80/tcp -> 127.0.0.1:8099"
    wait_for(lambda: b"hello from" in docker.host.sh("curl", "-s", "http://127.0.0.1:8099/").stdout)
    assert "already allocated" in docker.err("run", "--rm", "-p", "127.0.0.1:8099:80", "busybox", "true", code=125)
    assert "8099->80/tcp" in docker.out("ps", "--format", "{{.Ports}}")
    docker.run("rm", "-f", "pp")
    docker.run("run", "-d", "--name", "pp", "-P", "--expose", "80", "busybox", "httpd", "-f", "-h", "/var/www")
    port = docker.out("port", "pp", "80").split(":")[-1]
    wait_for(lambda: b"hello from" in docker.host.sh("curl", "-s", f"http://127.0.0.1:{port}/").stdout)
    docker.run("rm", "-f", "pp")


def test_events(docker):
    since = docker.out("run", "--rm", "busybox", "date", "+%s")
    docker.run("run", "--rm", "--name", "ev", "busybox", "false", code=1)
    out = docker.out("events", "--since", since, "--until", str(int(time.time()) + 1), "--filter", "container=ev",
                     "--format", "{{.Action}}")
    assert out.split("\n") == ["create", "attach", "start", "die", "destroy"]


def test_system_df_and_prune(docker):
    docker.run("image", "prune", "-f")  # what others left is not counted here
    docker.run("run", "--name", "dead", "busybox", "dd", "if=/dev/zero", "of=/x", "bs=1M", "count=3")
    assert "Images" in docker.out("system", "df")
    assert "3.15MB" in docker.out("ps", "-as", "--format", "{{.Size}}")
    out = docker.out("system", "prune", "-f")
    assert "3.146MB" in out and docker.out("ps", "-aq") == ""
    docker.run("create", "--name", "dead", "busybox")
    assert field(docker, "dead", "{{.Id}}") in docker.out("container", "prune", "-f") and docker.out("ps", "-aq") == ""
    docker.run("tag", "busybox", "spare:1")
    assert "Total reclaimed" in docker.out("image", "prune", "-f") and docker.out("images", "-q", "spare:1")
    docker.run("rmi", "spare:1")


# ---- files ----

def test_cp_both_ways(docker, web, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "f.txt").write_text("data")
    docker.run("cp", str(tmp_path / "d"), f"{web}:/tmp/")
    assert docker.out("exec", web, "cat", "/tmp/d/f.txt") == "data"
    docker.run("cp", f"{web}:/tmp/d/f.txt", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "data"
    out = subprocess.run([docker.cli, "cp", f"{web}:/etc/passwd", "-"], env=docker.env, stdout=subprocess.PIPE,
                         check=True).stdout
    assert tarfile.open(fileobj=io.BytesIO(out)).getnames() == ["passwd"]
    docker.run("cp", "-", f"{web}:/tmp", stdin=tar_of([("s.txt", "f", b"streamed", 0o600)]))
    assert docker.out("exec", web, "cat", "/tmp/s.txt") == "streamed"
    assert "Could not find the file" in docker.err("cp", f"{web}:/nosuch", str(tmp_path))
    docker.run("stop", "-t", "1", web)
    docker.run("cp", f"{web}:/tmp/s.txt", str(tmp_path / "stopped"))
    assert (tmp_path / "stopped").read_text() == "streamed"


def refuse_escapes(docker, name):
    """No archive leaves the folder that it is unpacked into; the container's ID."""
    cid = field(docker, name, "{{.Id}}")
    for evil in ([("../evil", "f", b"x", 0o644)], [("a/../../evil", "f", b"x", 0o644)],
                 [("l", "h", "../../../etc/passwd", 0o644)]):
        status, body = docker.raw("PUT", f"/containers/{cid}/archive?path=/tmp", tar_of(evil))
        assert status == 400 and b"leaves the tree" in body
    return cid


def test_archive_cannot_escape(docker, web):
    cid = refuse_escapes(docker, web)
    # A link made first does not lead outside: it is resolved inside the folder unpacked into.
    status, _ = docker.raw("PUT", f"/containers/{cid}/archive?path=/tmp",
                           tar_of([("up", "l", "/", 0o777), ("up/evil", "f", b"x", 0o644)]))
    assert status == 200 and not os.path.exists("/evil")
    assert docker.out("exec", web, "ls", "/tmp/evil") == "/tmp/evil"


def test_diff_export_commit(docker, tmp_path):
    docker.run("run", "--name", "ch", "busybox", "sh", "-c", "echo new > /new; rm /bin/vi; echo x >> /etc/group")
    assert set(docker.out("diff", "ch").split("\n")) == {"A /new", "C /bin", "D /bin/vi", "C /etc", "C /etc/group"}
    docker.run("export", "-o", str(tmp_path / "e.tar"), "ch")
    names = tarfile.open(tmp_path / "e.tar").getnames()
    assert "new" in names and "bin/sh" in names and "bin/vi" not in names
    docker.run("commit", "-m", "msg", "-a", "me", "-c", 'CMD ["cat", "/new"]', "-c", "ENV Z=1", "ch", "made:1")
    assert docker.out("run", "--rm", "made:1") == "new"
    assert docker.out("run", "--rm", "made:1", "sh", "-c", "echo $Z; ls /bin/vi 2>&1 | wc -l; tail -n1 /etc/group").split() == \
        ["1", "1", "x"]
    assert "msg" in docker.out("history", "made:1")
    docker.run("rm", "ch")
    with open(tmp_path / "e.tar", "rb") as f:
        docker.run("import", "-c", "CMD [\"sh\"]", "-", "flat:1", stdin=f.read())
    assert docker.out("run", "--rm", "flat:1", "cat", "/new") == "new"
    docker.run("rmi", "made:1", "flat:1")


# ---- images ----

def test_images_inspect_tag_rmi(docker):
    assert "busybox" in docker.out("images", "--format", "{{.Repository}}")
    iid = field(docker, "busybox", "{{.Id}}", "image")
    docker.run("tag", "busybox", "b2:x")
    assert docker.out("images", "-q", "--no-trunc", "b2") == iid
    assert json.loads(field(docker, "b2:x", "{{json .RepoTags}}", "image")) == ["busybox:latest", "b2:x"]
    assert docker.out("rmi", "b2:x") == "Untagged: b2:x"
    assert "No such image" in docker.err("rmi", "b2:x")
    assert "No such image" in docker.err("image", "inspect", "nosuch")
    assert "invalid reference" in docker.err("tag", "busybox", "Bad:x")
    assert "layer 0" in docker.out("history", "busybox")


def test_rmi_of_an_image_in_use(docker, web):
    assert "using its referenced image" in docker.err("rmi", "busybox")
    assert "cannot be forced" in docker.err("rmi", "-f", field(docker, "busybox", "{{.Id}}", "image"))


def test_save_and_load(docker, tmp_path):
    docker.run("tag", "busybox", "keep:1")
    docker.run("save", "-o", str(tmp_path / "s.tar"), "keep:1")
    iid = field(docker, "keep:1", "{{.Id}}", "image")
    t = tarfile.open(tmp_path / "s.tar")
    for m in t.getmembers():  # every blob is what its name says
        if m.name.startswith("blobs/sha256/"):
            assert sha(t.extractfile(m).read()) == m.name.split("/")[-1]
    docker.run("rmi", "keep:1")
    assert "Loaded image: keep:1" in docker.out("load", "-i", str(tmp_path / "s.tar"))
    assert field(docker, "keep:1", "{{.Id}}", "image") == iid
    docker.run("rmi", "keep:1")


def test_oci_archive_with_gzip_and_whiteouts(docker):
    low = busybox_layer()
    top = tar_of([("etc/.wh.group", "f", b"", 0o644), ("var/www/.wh..wh..opq", "f", b"", 0o644),
                  ("var/www/other", "f", b"o", 0o644), ("added", "f", b"yes", 0o644)])
    archive = gzip.compress(oci_archive("docker.io/library/two:1", [low, top], {"Cmd": ["cat", "/added"]},
                                        compress=gzip.compress), 1)
    assert "Loaded image: two:1" in docker.out("load", stdin=archive)
    assert docker.out("run", "--rm", "two:1") == "yes"
    assert docker.out("run", "--rm", "two:1", "sh", "-c", "ls /etc/group 2>/dev/null; ls /var/www") == "other"
    assert docker.out("run", "--rm", "busybox", "ls", "/etc/group") == "/etc/group"  # the base is untouched
    docker.run("rmi", "two:1")


def test_layers_with_xz_and_bzip2(docker):
    layers = [busybox_layer(), tar_of([("added", "f", b"yes", 0o644)])]
    for pack in (lzma.compress, bz2.compress):
        archive = oci_archive("docker.io/library/packed:1", layers, {"Cmd": ["cat", "/added"]}, compress=pack)
        assert "Loaded image: packed:1" in docker.out("load", stdin=archive)
        assert docker.out("run", "--rm", "packed:1") == "yes"
        docker.run("rmi", "packed:1")


def broken_archives():
    layer = tar_of([("x", "f", b"x", 0o644)])
    good = docker_archive("bad:1", [layer], {})
    cfg = image_config([layer], {})
    wrong = tar_of([("l.tar", "f", layer + b"\0" * 512, 0o644), ("c.json", "f", cfg, 0o644),
                    ("manifest.json", "f", json.dumps([{"Config": "c.json", "RepoTags": ["bad:1"],
                                                        "Layers": ["l.tar"]}]).encode(), 0o644)])
    escape = docker_archive("bad:1", [tar_of([("ok", "f", b"", 0o644), ("../../evil", "f", b"x", 0o644)])], {})
    return {"cut": good[:700], "garbage": b"\x1f\x8b" + b"junk" * 100, "empty": b"", "no manifest": layer,
            "wrong digest": wrong, "escape": escape,
            "missing layer": tar_of([("manifest.json", "f", b'[{"Config":"c.json","Layers":["a.tar"]}]', 0o644),
                                     ("c.json", "f", cfg, 0o644)])}


@pytest.mark.parametrize("name", list(broken_archives()))
def test_broken_archives_leave_nothing(docker, name):
    before = sorted(os.listdir(os.path.join(docker.host.dir, "state", "blobs")))
    images = docker.out("images", "-aq")
    status, body = docker.raw("POST", "/images/load", broken_archives()[name])
    assert status == 400 and json.loads(body)["message"]
    assert docker.out("images", "-aq") == images
    assert sorted(os.listdir(os.path.join(docker.host.dir, "state", "blobs"))) == before
    assert len(os.listdir(os.path.join(docker.host.dir, "state", "backend", "trees"))) == \
        len(os.listdir(os.path.join(docker.host.dir, "state", "layers")))


def build(docker, folder, *args, code=0):
    """docker build with the classic builder; its output."""
    docker.env["DOCKER_BUILDKIT"] = "0"
    out, err = docker.run("build", *args, str(folder), code=code, timeout=120)
    return out + err


def put_files(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


DOCKERFILE = """\
# escape=\\
ARG BASE=busybox
FROM ${BASE}:latest AS first
ARG WHO=nobody
ENV GREETING="hello there" \\
    # a comment between
    TWICE=$WHO-$WHO
WORKDIR /work
RUN echo "$GREETING from $WHO" > said && mkdir -p /made/deep && echo x > /made/deep/x
COPY one.txt dir /data/
COPY --chown=33:33 *.sh ./

FROM first
LABEL a=b "c d"=e
COPY --from=first /made /copied
COPY --from=0 /work/said /said
ADD packed.tar /unpacked
EXPOSE 80 53/udp
VOLUME ["/vol"]
USER www
STOPSIGNAL SIGINT
HEALTHCHECK --interval=5s --retries=2 CMD test -e /said
SHELL ["/bin/sh", "-ec"]
ENTRYPOINT ["sh", "-c"]
CMD ["cat /said; ls -l /data /work | grep -v total; echo $TWICE; cat /copied/deep/x /unpacked/in; id -u; pwd"]
"""


def test_build(docker, tmp_path):
    put_files(tmp_path, Dockerfile=DOCKERFILE, dir__sub__two="two")
    (tmp_path / "one.txt").write_text("one")
    (tmp_path / "go.sh").write_text("true")
    (tmp_path / "packed.tar").write_bytes(tar_of([("in", "f", b"packed\n", 0o644)]))
    before = docker.out("images", "-q")
    out = build(docker, tmp_path, "-t", "made:1", "-t", "also", "--build-arg", "WHO=me", "--build-arg", "NONE=x",
                "--label", "more=1")
    assert "Step 1/21 : ARG BASE=busybox" in out and "Successfully tagged made:1" in out and "[NONE] were not consumed" in out
    said = docker.out("run", "--rm", "made:1")
    assert said.startswith("hello there from me") and said.endswith("me-me\nx\npacked\n33\n/work")
    assert re.search(r"one.txt", said) and re.search(r"sub$", said, re.M) and re.search(r"www +www .*go.sh", said)
    cfg = json.loads(docker.out("image", "inspect", "-f", "{{json .Config}}", "also"))
    assert cfg["Labels"] == {"a": "b", "c d": "e", "more": "1"} and set(cfg["ExposedPorts"]) == {"80/tcp", "53/udp"}
    assert cfg["Volumes"] == {"/vol": {}} and cfg["StopSignal"] == "SIGINT" and cfg["User"] == "www"
    assert cfg["Healthcheck"] == {"Test": ["CMD-SHELL", "test -e /said"], "Interval": 5000000000, "Retries": 2}
    assert "RUN" not in docker.out("history", "made:1") and "echo" in docker.out("history", "--no-trunc", "made:1")
    assert set(docker.out("images", "-q").split()) - set(before.split()) == {docker.out("images", "-q", "also")}
    # Again: nothing is done, and the image is the same one; a changed file is seen.
    iid = docker.out("images", "-q", "--no-trunc", "also")
    again = build(docker, tmp_path, "-q", "--build-arg", "WHO=me", "--label", "more=1")
    assert again.split()[0] == iid
    (tmp_path / "one.txt").write_text("ONE")
    out = build(docker, tmp_path, "--target", "first", "-t", "half", "--build-arg", "WHO=me")
    assert out.count("Using cache") == 1 and "Step 8/8" in out, out
    assert docker.out("run", "--rm", "half", "cat", "/data/one.txt") == "ONE"
    assert "Using cache" not in build(docker, tmp_path, "--no-cache", "--target", "first", "-t", "half")
    docker.run("rmi", "made:1", "also", "half")
    docker.run("builder", "prune", "-f")
    docker.run("image", "prune", "-f")
    assert docker.out("images", "-aq") == before and docker.out("ps", "-aq") == ""


@pytest.mark.parametrize("text,why", [
    ("FROM busybox\nRUN exit 3", "returned a non-zero code: 3"), ("FROM busybox\nFLY x", "unknown instruction: FLY"),
    ("", "cannot be empty"), ("RUN true", "no build stage"), ("FROM nosuch.invalid/x", "nosuch.invalid"),
    ("FROM busybox\nCOPY missing /", "file not found in build context"), ("FROM busybox\nCOPY ../x /", "forbidden path"),
    ("FROM busybox\nRUN --mount=type=cache,target=/x true", "needs BuildKit"), ("FROM busybox\nRUN <<EOF\ntrue\nEOF", "BuildKit"),
    ("FROM busybox\nADD http://x/y /", "URL is not supported"), ("FROM busybox\nENV a${b=c", "missing brace"),
    ("FROM busybox\nONBUILD RUN true", "not supported"), ("FROM --platform=linux/arm64 busybox", "isn't supported")])
def test_build_errors(docker, tmp_path, text, why):
    put_files(tmp_path, Dockerfile=text)
    before = docker.out("images", "-aq")
    code = 3 if "exit 3" in text else 1
    assert why in build(docker, tmp_path, code=code)
    assert docker.out("images", "-aq") == before and docker.out("ps", "-aq") == ""


def test_build_from_scratch(docker, tmp_path):
    put_files(tmp_path, **{"Dockerfile": "FROM scratch\nADD root.tar /\nCMD [\"echo\", \"from nothing\"]"})
    (tmp_path / "root.tar").write_bytes(gzip.compress(busybox_layer()))
    build(docker, tmp_path, "-t", "nothing", "-f", str(tmp_path / "Dockerfile"))
    assert docker.out("run", "--rm", "nothing") == "from nothing"
    docker.run("rmi", "nothing")
    docker.run("builder", "prune", "-f")


def test_unsupported_commands_say_so(docker):
    (status, body) = docker.raw("POST", "/build?version=2", b"x")
    assert status == 400 and b"BuildKit is not supported" in body
    assert "swarm" in docker.err("swarm", "init")


# ---- networks and volumes ----

def test_network_commands(docker):
    assert {"bridge", "none"} <= set(docker.out("network", "ls", "--format", "{{.Name}}").split())
    docker.run("network", "create", "--subnet", "10.77.0.0/24", "--label", "a=b", "n1")
    assert "10.77.0.0/24" in docker.out("network", "inspect", "n1")
    assert "already exists" in docker.err("network", "create", "n1")
    assert "overlaps" in docker.err("network", "create", "--subnet", "10.77.0.0/16", "n2")
    docker.run("network", "create", "--ipv6", "--subnet", "fd00:77::/64", "n6")
    got = docker.out("run", "--rm", "--network", "n6", "--hostname", "six", "busybox", "sh", "-c",
                     "ip -6 addr show eth0; cat /etc/hosts")
    assert "inet6 fd00:77::2/64" in got and "fd00:77::2\tsix" in got
    assert "overlaps" in docker.err("network", "create", "--ipv6", "--subnet", "fd00::/16", "n7")
    docker.run("network", "rm", "n6")
    docker.run("run", "-d", "--name", "se", "--network", "n1", "--ip", "10.77.0.9", "busybox", "httpd", "-f", "-h",
               "/var/www")
    assert field(docker, "se", "{{.NetworkSettings.Networks.n1.IPAddress}}") == "10.77.0.9"
    assert "hello" in docker.out("run", "--rm", "--network", "n1", "busybox", "wget", "-qO-", "http://10.77.0.9/")
    docker.run("run", "-d", "--name", "cc", "busybox", "sleep", "60")
    docker.run("network", "connect", "n1", "cc")
    assert "hello" in docker.out("exec", "cc", "wget", "-qO-", "http://10.77.0.9/")
    docker.run("network", "disconnect", "n1", "cc")
    assert "10.77.0." not in docker.out("exec", "cc", "ip", "addr")
    assert "active endpoints" in docker.err("network", "rm", "n1")
    assert "10.77.0.9" in docker.out("run", "--rm", "--network", "container:se", "busybox", "ip", "addr")
    docker.run("create", "--name", "sh", "--network", "container:se", "busybox", "true")
    assert field(docker, "sh", "{{.HostConfig.NetworkMode}}") == "container:" + field(docker, "se", "{{.Id}}")
    assert "cannot be connected to any other network" in docker.err("network", "connect", "n1", "sh")
    docker.run("rm", "-f", "se", "cc", "sh")
    docker.run("network", "rm", "n1")
    assert "not found" in docker.err("network", "rm", "n1")
    assert docker.out("run", "--rm", "--network", "none", "busybox", "sh", "-c", "ip addr | grep -c 'inet '") == "1"
    assert "pre-defined" in docker.err("network", "rm", "bridge")


def test_volume_commands(docker):
    assert docker.out("volume", "create", "--label", "x=y", "v1") == "v1"
    assert docker.out("volume", "ls", "-q") == "v1"
    assert field(docker, "v1", "{{.Driver}} {{.Labels.x}}", "volume") == "local y"
    docker.run("run", "--rm", "-v", "v1:/data", "busybox", "sh", "-c", "echo kept > /data/f")
    assert docker.out("run", "--rm", "-v", "v1:/data:ro", "busybox", "cat", "/data/f") == "kept"
    docker.run("run", "--rm", "-v", "v1:/data:ro", "busybox", "touch", "/data/g", code=1)
    docker.run("create", "--name", "user", "-v", "v1:/data", "busybox")
    assert "in use" in docker.err("volume", "rm", "v1")
    docker.run("rm", "user")
    docker.run("volume", "rm", "v1")
    assert "no such volume" in docker.err("volume", "rm", "v1")
    # A new volume begins with what the image has there; an anonymous one goes with --rm.
    assert "hello" in docker.out("run", "--rm", "-v", "fresh:/var/www", "busybox", "cat", "/var/www/index.html")
    docker.run("run", "--rm", "-v", "/scratch", "busybox", "touch", "/scratch/x")
    assert docker.out("volume", "ls", "-q") == "fresh"
    docker.run("volume", "prune", "-af")
    assert docker.out("volume", "ls", "-q") == ""


# ---- robustness ----

@pytest.mark.parametrize("path,body,status", [
    ("/containers/create", b"{", 400), ("/containers/create", b"[]", 400), ("/containers/create", b"", 400),
    ("/containers/create", b'{"Image": 5}', 400), ("/containers/create", b'{"Image":"nosuch","Cmd":["x"]}', 404),
    ("/containers/create", b'{"Image":"busybox","Env":[1]}', 400), ("/networks/create", b'{"Name":""}', 400),
    ("/containers/nosuch/start", b"", 404), ("/exec/nosuch/start", b"{}", 404), ("/nosuch", b"", 404),
    ("/containers/create", "huge", 413)])
def test_bad_requests(docker, path, body, status):
    body = b'{"x":"' + b"y" * (5 << 20) + b'"}' if body == "huge" else body
    got, text = docker.raw("POST", path, body, ["Content-Type: application/json"])
    assert got == status and json.loads(text)["message"]


def raw_socket(host, data):
    """Sends bytes to the TCP endpoint from inside the host's network; returns the answer."""
    done = subprocess.run(host.enter("python3", "-c", "import socket,sys\n"
                                     "s=socket.create_connection(('127.0.0.1',2375)); s.settimeout(5)\n"
                                     "s.sendall(sys.stdin.buffer.read())\n"
                                     "out=b''\n"
                                     "try:\n"
                                     "  while True:\n"
                                     "    x=s.recv(65536)\n"
                                     "    if not x: break\n"
                                     "    out+=x\n"
                                     "except OSError: pass\n"
                                     "sys.stdout.buffer.write(out)"),
                          input=data, stdout=subprocess.PIPE, timeout=20, check=False)
    return done.stdout


@pytest.mark.parametrize("data,status", [
    (b"GARBAGE\r\n\r\n", b"400"), (b"GET / HTTP/2.0\r\n\r\n", b"505"), (b"GET /_ping HTTP/1.1\r\n\r\n", b"400"),
    (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431"),
    (b"GET /" + b"a" * 60000 + b" HTTP/1.1\r\n", b"431"),
    (b"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", b"400"),
    (b"POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", b"400")])
def test_malformed_http(docker, data, status):
    assert raw_socket(docker.host, data).split(b" ")[1] == status


def test_a_hundred_clients(docker):
    procs = [subprocess.Popen(["curl", "-s", "--unix-socket", docker.host.sock, "http://d/v1.41/containers/json"],
                              stdout=subprocess.PIPE) for _ in range(100)]
    assert all(p.communicate(timeout=30)[0].strip() == b"[]" for p in procs)


def test_killed_daemon_finds_its_containers(docker):
    docker.run("run", "-d", "--name", "survivor", "-p", "127.0.0.1:8077:80", "busybox", "sh", "-c",
               "httpd -h /var/www; i=0; while :; do echo line $i; i=$((i+1)); sleep 0.1; done")
    docker.run("run", "-d", "--name", "short", "busybox", "sh", "-c", "sleep 0.5; echo last words; exit 4")
    docker.run("run", "-d", "--name", "always", "--restart", "always", "busybox", "sleep", "1000")
    started = field(docker, "survivor", "{{.State.StartedAt}} {{.State.Pid}}")
    docker.host.kill(signal.SIGKILL)
    time.sleep(1)
    docker.host.start()
    assert field(docker, "survivor", "{{.State.Status}}") == "running"
    assert field(docker, "survivor", "{{.State.StartedAt}} {{.State.Pid}}") == started
    assert docker.out("exec", "survivor", "echo", "yes") == "yes"
    wait_for(lambda: field(docker, "short", "{{.State.Status}} {{.State.ExitCode}}") == "exited 4")
    assert "last words" in docker.out("logs", "short")
    wait_for(lambda: b"hello from" in docker.host.sh("curl", "-s", "http://127.0.0.1:8077/").stdout)
    lines = docker.out("logs", "survivor").split("\n")
    assert lines == [f"line {i}" for i in range(len(lines))] and len(lines) > 10
    assert field(docker, "always", "{{.State.Status}}") == "running"
    docker.run("rm", "-f", "survivor", "short", "always")


def test_container_names_resolve(docker):
    docker.run("network", "create", "app")
    docker.run("run", "-d", "--name", "db", "--network", "app", "--network-alias", "store", "busybox", "httpd", "-f",
               "-h", "/var/www")
    for name in ("db", "store"):
        assert "hello" in docker.out("run", "--rm", "--network", "app", "busybox", "wget", "-qO-", f"http://{name}/")
    out, _ = docker.run("run", "--rm", "--network", "app", "busybox", "nslookup", "nosuch.invalid", code=None)
    assert "Address: 10." not in out and "Address: 172." not in out.split("Name:")[-1]
    docker.run("rm", "-f", "db")
    docker.run("network", "rm", "app")
