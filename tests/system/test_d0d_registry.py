# SPDX-License-Identifier: ISC
"""pull, push and login: against Debian's docker-registry, and against a small registry here
that demands tokens, speaks TLS and can be told to misbehave."""

import gzip
import hashlib
import http.server
import json
import os
import shutil
import ssl
import subprocess
import threading
import time

import pytest

from d0d_registry import Answers, MemoryRegistry, check_push
from d0d_lib import Docker, Host, busybox_layer, docker_archive, docker_cli, image_config, sha

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not docker_cli(),
                                reason="needs root and a docker CLI")
TOKEN = "t0ken"


class Registry(Answers):
    """/v2/priv/box with tag `1` (an index) and misbehaving tags; /token wants ann:secret."""
    blobs, manifests, base = {}, {}, ""

    def do_GET(self):
        path = self.path
        if path.startswith("/token"):
            ok = self.headers.get("Authorization") == "Basic YW5uOnNlY3JldA=="  # ann:secret
            return self.answer(200 if ok else 401, json.dumps({"token": TOKEN}).encode())
        if self.headers.get("Authorization") != "Bearer " + TOKEN:
            return self.answer(401, b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}',
                               Www_Authenticate=f'Bearer realm="{self.base}/token",service="tests"')
        if path == "/v2/":
            return self.answer(200, b"{}")
        name = path.split("/")[-1]
        if "/manifests/" in path and name in self.manifests:
            ctype, body = self.manifests[name]
            return self.answer(200, body, ctype)
        if "/blobs/" in path and name in self.blobs:
            body = self.blobs[name]
            if body is None:  # promises more than it sends
                self.send_response(200)
                self.send_header("Content-Length", "1000")
                self.end_headers()
                self.wfile.write(b"short")
                self.close_connection = True
                return None
            return self.answer(200, body, "application/octet-stream")
        return self.answer(404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def fill(cls):
    layer = busybox_layer()
    zipped = gzip.compress(layer, 1)
    cfg = image_config([layer], {"Cmd": ["echo", "pulled"]})
    cls.blobs = {digest(zipped): zipped, digest(cfg): cfg}

    def manifest(layer_digest, size):
        return json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                           "config": {"digest": digest(cfg), "size": len(cfg), "mediaType": "x"},
                           "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                                       "digest": layer_digest, "size": size}]}).encode()
    kind = "application/vnd.oci.image.manifest.v1+json"
    good = manifest(digest(zipped), len(zipped))
    index = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        {"digest": "sha256:" + "0" * 64, "platform": {"os": "linux", "architecture": "arm64"}},
        {"digest": digest(good), "platform": {"os": "linux", "architecture": "amd64"}}]}).encode()
    cls.manifests = {"1": ("application/vnd.oci.image.index.v1+json", index), digest(good): (kind, good)}
    cls.manifests[digest(index)] = cls.manifests["1"]
    lie = "sha256:" + "1" * 64
    cls.blobs[lie] = b"not what the digest says"
    cls.manifests["lie"] = (kind, manifest(lie, 24))
    cut = "sha256:" + "2" * 64
    cls.blobs[cut] = None
    cls.manifests["cut"] = (kind, manifest(cut, 1000))
    cls.manifests["arm"] = ("x", json.dumps({"manifests": [
        {"digest": lie, "platform": {"os": "linux", "architecture": "arm64"}}]}).encode())
    cls.manifests["junk"] = (kind, b"{")


def in_namespace(pid, fn):
    """Runs fn on a thread whose network namespace is the host's, so that its sockets are there."""
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    out = {}

    def body():
        with open(f"/proc/{pid}/ns/net", encoding="ascii") as f:
            assert libc.setns(f.fileno(), 0x40000000) == 0
        out["x"] = fn()
    t = threading.Thread(target=body)
    t.start()
    t.join()
    return out["x"]


@pytest.fixture(scope="module")
def docker(tmp_path_factory):
    d = tmp_path_factory.mktemp("tls")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", d / "key", "-out", d / "cert", "-days", "2", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1"], check=True, stderr=subprocess.DEVNULL)
    host = Host("--registry-ca", str(d / "cert"))
    fill(Registry)
    server = in_namespace(host.init, lambda: http.server.ThreadingHTTPServer(("127.0.0.1", 5443), Registry))
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ctx.load_cert_chain(d / "cert", d / "key")
    server.socket = ctx.wrap_socket(server.socket, server_side=True)
    Registry.base = "https://127.0.0.1:5443"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield Docker(host)
    server.shutdown()
    host.close()


def test_pull_with_token_and_tls(docker):
    assert "pull access denied" in docker.err("pull", "127.0.0.1:5443/priv/box:1")
    assert "unauthorized" in docker.err("login", "-u", "ann", "-p", "wrong", "127.0.0.1:5443")
    docker.run("login", "-u", "ann", "-p", "secret", "127.0.0.1:5443")
    out = docker.out("pull", "127.0.0.1:5443/priv/box:1")
    assert "Downloaded newer image" in out and "Pull complete" in out
    assert docker.out("run", "--rm", "127.0.0.1:5443/priv/box:1") == "pulled"
    assert "up to date" in docker.out("pull", "127.0.0.1:5443/priv/box:1")
    dig = docker.out("image", "inspect", "-f", "{{index .RepoDigests 0}}", "127.0.0.1:5443/priv/box:1")
    assert dig == "127.0.0.1:5443/priv/box@" + digest(Registry.manifests["1"][1])
    docker.run("pull", dig)
    # run pulls what is missing
    docker.run("rmi", "-f", docker.out("images", "-q").split()[0])
    assert docker.run("run", "--rm", "127.0.0.1:5443/priv/box:1")[0] == "pulled\n"
    docker.run("rmi", "-f", docker.out("images", "-q").split()[0])


@pytest.mark.parametrize("tag,why", [("lie", "digest mismatch"), ("cut", "unexpected EOF"), ("arm", "no matching manifest"),
                                     ("junk", "isn't JSON"), ("none", "manifest unknown")])
def test_a_bad_registry_leaves_nothing(docker, tag, why):
    docker.run("login", "-u", "ann", "-p", "secret", "127.0.0.1:5443")
    assert why in docker.err("pull", "127.0.0.1:5443/priv/box:" + tag)
    assert docker.out("images", "-aq") == ""
    assert os.listdir(os.path.join(docker.host.dir, "state", "blobs")) == []


def test_unreachable_and_untrusted(docker):
    assert "dial tcp" in docker.err("pull", "127.0.0.1:1/x/y:1")
    assert "invalid reference" in docker.err("pull", "x//y")


@pytest.mark.skipif(not shutil.which("docker-registry"), reason="docker-registry isn't installed")
def test_push_and_pull_with_debians_registry(docker, tmp_path):
    config = tmp_path / "config.yml"
    config.write_text("version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: " + str(tmp_path / "data") +
                      "\nhttp:\n  addr: 127.0.0.1:5000\n")
    registry = subprocess.Popen(docker.host.enter("docker-registry", "serve", str(config)), stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            if docker.host.sh("curl", "-s", "http://127.0.0.1:5000/v2/").stdout == b"{}":
                break
            time.sleep(0.1)
        docker.run("load", stdin=docker_archive("127.0.0.1:5000/team/box:2", [busybox_layer()], {"Cmd": ["echo", "back"]}))
        iid = docker.out("images", "-q", "--no-trunc")
        assert "digest: sha256:" in docker.out("push", "127.0.0.1:5000/team/box:2")
        docker.run("rmi", "127.0.0.1:5000/team/box:2")
        assert docker.out("images", "-q") == ""
        docker.run("pull", "127.0.0.1:5000/team/box:2")
        assert docker.out("images", "-q", "--no-trunc") == iid
        assert docker.out("run", "--rm", "127.0.0.1:5000/team/box:2") == "back"
        assert "does not exist" in docker.err("push", "127.0.0.1:5000/team/nosuch:1")
        assert "unknown" in docker.err("pull", "127.0.0.1:5000/team/nosuch:1")
    finally:
        registry.kill()
        registry.wait()


def test_a_push_gives_back_what_was_pulled(docker):
    reg = in_namespace(docker.host.init, MemoryRegistry)
    try:
        check_push(docker, f"127.0.0.1:{reg.port}", reg, True)
    finally:
        reg.stop()


def test_sha_helper_agrees():
    assert digest(b"x") == "sha256:" + sha(b"x")
