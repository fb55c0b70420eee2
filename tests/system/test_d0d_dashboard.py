# SPDX-License-Identifier: ISC
"""The dashboard and /metrics; the page is drawn by a headless Chromium."""

import json
import os
import re
import select
import shutil
import subprocess
import time

import pytest

from d0d_lib import TOP, Docker, Host, busybox_layer, docker_archive, docker_cli

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not docker_cli(),
                                reason="needs root and a docker CLI")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-headless-shell")


@pytest.fixture(scope="module")
def docker():
    host = Host()
    d = Docker(host)
    d.run("load", stdin=docker_archive("busybox:latest", [busybox_layer()], {"Cmd": ["sh"]}))
    d.run("run", "-d", "--name", "web", "-p", "127.0.0.1:8099:80", "-m", "64m", "busybox", "httpd", "-f", "-h", "/var/www")
    d.run("run", "-d", "--name", "busy", "busybox", "sh", "-c", "while :; do :; done")
    d.run("run", "--name", "done", "busybox", "true")
    d.run("create", "--name", "quote", "--label", 'a="b', "busybox")
    yield d
    host.close()


def get(docker, path, *more):
    done = docker.host.sh("curl", "-si", *more, "http://127.0.0.1:8080" + path)
    head, _, body = done.stdout.decode().partition("\r\n\r\n")
    return head, body


def test_status_tells_the_truth(docker):
    head, body = get(docker, "/status.json")
    assert "200" in head
    s = json.loads(body)
    rows = {c["name"]: c for c in s["containers"]}
    assert rows["web"]["state"] == "running" and rows["done"]["state"] == "exited"
    assert rows["web"]["ports"] == ["8099→80/tcp"]
    assert s["totals"]["running"] == 2 and s["totals"]["images"] == 1
    assert s["events"][0]["action"] == "create"


def test_metrics_are_openmetrics(docker):
    head, body = get(docker, "/metrics")
    assert "application/openmetrics-text; version=1.0.0" in head
    lines = body.split("\n")
    assert lines[-2:] == ["# EOF", ""]
    family, kind, seen = None, None, set()
    for line in lines[:-2]:
        if line.startswith("# TYPE "):
            family, kind = line.split(" ")[2:]
            assert family not in seen
            seen.add(family)
        elif line.startswith("# "):
            assert line.split(" ")[2] == family
            if line.startswith("# UNIT"):
                assert family.endswith("_" + line.split(" ")[3])
        else:
            m = re.fullmatch(r'([a-z0-9_]+)(\{([a-z]+="([^"\\\n]|\\.)*",?)*\})? (\S+)', line)
            assert m, line
            assert m.group(1) == family + {"counter": "_total", "info": "_info"}.get(kind, "")
            float(m.group(5))
    assert re.search(r'd0_containers\{state="running"\} 2', body)
    assert 'd0_container_memory_limit_bytes{' in body


def test_metrics_are_read_by_another_parser(docker):
    parser = pytest.importorskip("prometheus_client.openmetrics.parser")
    found = {f.name: f for f in parser.text_string_to_metric_families(get(docker, "/metrics")[1])}
    assert {s.labels["name"] for s in found["d0_container_memory_bytes"].samples} == {"web", "busy"}


def test_reads_only_and_guarded(docker):
    assert "405" in get(docker, "/", "-X", "POST")[0]
    assert "404" in get(docker, "/containers/json")[0]
    assert "Content-Security-Policy: default-src 'none'" in get(docker, "/")[0]
    done = docker.host.sh("curl", "-s", "-H", "Origin: http://evil", "http://127.0.0.1:2375/containers/json")
    assert b"refused" in done.stdout


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
@pytest.mark.parametrize("name,size", [("desktop", "1280,1000"), ("phone", "390,1400")])
def test_the_page_draws(docker, name, size):
    shot = os.path.join(TOP, "build", f"dashboard-{name}.png")
    base = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--user-data-dir=" + os.path.join(docker.host.dir, "chromium-" + name), "--virtual-time-budget=6000",
            "--window-size=" + size]
    done = docker.host.sh(*base, "--dump-dom", "http://127.0.0.1:8080/")
    dom = done.stdout.decode(errors="replace")
    assert "hello" not in dom and ">web<" in dom and "8099→80/tcp" in dom and "live ·" in dom, dom[-2000:]
    docker.host.sh(*base, "--screenshot=" + shot, "http://127.0.0.1:8080/")
    assert os.path.getsize(shot) > 10000


class Browser:
    """A headless Chromium, asked over its debugging pipe: fd 3 takes commands, fd 4 gives answers, each ended by a NUL."""

    def __init__(self, docker, url):
        take, self.commands = os.pipe()
        self.answers, give = os.pipe()
        args = docker.host.enter(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                                 "--user-data-dir=" + os.path.join(docker.host.dir, "chromium-keys"),
                                 "--remote-debugging-pipe", "about:blank")
        shell = f'exec 3<&{take} 4>&{give} {take}<&- {give}>&-; exec "$@"'
        self.child = subprocess.Popen(["bash", "-c", shell, "-", *args], pass_fds=(take, give),  # pylint: disable=R1732
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(take)
        os.close(give)
        self.rest, self.count, self.session = b"", 0, None
        target = self.ask("Target.createTarget", url=url)["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def ask(self, method, **params):
        self.count += 1
        what = {"id": self.count, "method": method, "params": params}
        if self.session:
            what["sessionId"] = self.session
        os.write(self.commands, json.dumps(what).encode() + b"\0")
        while True:
            while b"\0" not in self.rest:
                assert select.select([self.answers], [], [], 120)[0], f"no answer to {method}"
                got = os.read(self.answers, 65536)
                assert got, "Chromium ended"
                self.rest += got
            one, _, self.rest = self.rest.partition(b"\0")
            one = json.loads(one)
            if one.get("id") == self.count:
                assert "result" in one, one
                return one["result"]

    def js(self, expression):
        return self.ask("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def until(self, expression, want):
        end = time.time() + 120
        while (got := self.js(expression)) != want:
            assert time.time() < end, (expression, got)
            time.sleep(0.1)

    def key(self, key, code, text=""):
        for kind in ("keyDown", "keyUp"):
            more = {"text": text} if text and kind == "keyDown" else {}
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more)

    def close(self):
        os.close(self.commands)
        os.close(self.answers)
        self.child.terminate()
        self.child.wait(60)


@pytest.mark.skipif(not CHROMIUM, reason="no Chromium")
def test_the_page_by_keyboard(docker):
    page = Browser(docker, "http://127.0.0.1:8080/")
    names = "[...document.querySelectorAll('#rows tr')].map(r => r.cells[0].firstChild.textContent).sort().join()"
    focus = "document.activeElement.id || document.activeElement.textContent.trim()"
    try:
        page.until(names, "busy,done,quote,web")
        page.key("Tab", 9)
        page.until(focus, "Skip to containers")
        page.key("Enter", 13, "\r")
        page.until("location.hash", "#containers")
        page.key("Tab", 9)
        page.until(focus, "filter")
        page.js("document.activeElement.blur()")
        page.key("/", 191, "/")
        page.until(focus, "filter")
        for letter in "web":
            page.key(letter, ord(letter.upper()), letter)
        page.until(names, "web")
        page.key("Escape", 27)
        page.until(names, "busy,done,quote,web")
        page.key("Tab", 9)
        page.until(focus, "all")
        page.key(" ", 32, " ")
        page.until(names, "busy,web")
    finally:
        page.close()


def test_without_tls_only_the_loopback(docker):
    done = subprocess.run([os.path.join(TOP, "build", "bin", "d0d"), "--host", "0.0.0.0:2399", "--dashboard", "none",
                           "--state", os.path.join(docker.host.dir, "other")], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=20, check=False)
    assert done.returncode == 1 and b"refusing to listen beyond the loopback" in done.stdout
