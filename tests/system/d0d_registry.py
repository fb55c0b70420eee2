# SPDX-License-Identifier: ISC
"""A registry in memory: pull and push over the OCI distribution API, in clear and without
accounts, with a log of what was asked."""

import gzip
import hashlib
import http.server
import json
import re
import threading
import zlib

from d0d_lib import busybox_layer, image_config, tar_of

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"", ctype="application/json", **headers):
        self.send_response(status)
        self.send_header("Content-Type", ctype)
        self.send_header("Content-Length", str(len(body)))
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), v)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Handler(Answers):
    def missing(self, code):
        self.answer(404, json.dumps({"errors": [{"code": code, "message": code.lower().replace("_", " ")}]}).encode())

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def do_GET(self):
        reg, path = self.server.registry, self.path
        reg.log.append((self.command, path))
        m = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", path)
        if path == "/v2/":
            return self.answer(200, b"{}")
        if not m:
            return self.missing("NAME_UNKNOWN")
        repo, kind, name = m.groups()
        if kind == "manifests":
            found = reg.manifests.get((repo, name))
            return self.answer(200, found[1], found[0]) if found else self.missing("MANIFEST_UNKNOWN")
        found = reg.blobs.get(name) if name in reg.repos.get(repo, ()) else None
        return self.answer(200, found, "application/octet-stream") if found is not None else self.missing("BLOB_UNKNOWN")

    do_HEAD = do_GET

    def do_POST(self):
        """Begins an upload, or mounts a blob of another repository."""
        reg = self.server.registry
        reg.log.append(("POST", self.path))
        self.body()
        m = re.fullmatch(r"/v2/(.+)/blobs/uploads/(?:\?mount=([^&]+)&from=(.+))?", self.path)
        if not m:
            return self.missing("NAME_UNKNOWN")
        repo, blob, source = m.groups()
        if blob and blob in reg.repos.get(source.replace("%2F", "/"), ()):
            reg.repos.setdefault(repo, set()).add(blob)
            return self.answer(201)
        return self.answer(202, Location=f"/v2/{repo}/blobs/uploads/1?x=y")

    def do_PUT(self):
        reg, body = self.server.registry, self.body()
        reg.log.append(("PUT", self.path))
        m = re.fullmatch(r"/v2/(.+)/blobs/uploads/1\?x=y&digest=(.+)", self.path)
        if m:
            if digest(body) != m[2]:
                return self.answer(400, b'{"errors":[{"code":"DIGEST_INVALID","message":"digest invalid"}]}')
            reg.add_blob(m[1], body)
            return self.answer(201)
        m = re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", self.path)
        if not m:
            return self.missing("NAME_UNKNOWN")
        man = json.loads(body)
        for d in [man["config"], *man["layers"]]:
            if d["digest"] not in reg.repos.get(m[1], ()) or len(reg.blobs[d["digest"]]) != d["size"]:
                return self.missing("MANIFEST_BLOB_UNKNOWN")
        reg.add_manifest(m[1], m[2], body, self.headers["Content-Type"])
        return self.answer(201, Docker_Content_Digest=digest(body))


class MemoryRegistry:
    """Listens on a free port of 127.0.0.1 until stop()."""

    def __init__(self):
        self.blobs, self.repos, self.manifests, self.log = {}, {}, {}, []
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.registry = self
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def add_blob(self, repo, data):
        self.blobs[digest(data)] = data
        self.repos.setdefault(repo, set()).add(digest(data))
        return digest(data)

    def add_manifest(self, repo, tag, text, kind=OCI_MANIFEST):
        self.manifests[(repo, tag)] = self.manifests[(repo, digest(text))] = (kind, text)
        return digest(text)

    def add_image(self, repo, tag, config, layers, media):
        """LAYERS are the bytes as they are to be sent. The manifest's digest; written as tools do it."""
        man = {"schemaVersion": 2, "mediaType": OCI_MANIFEST,
               "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                          "digest": self.add_blob(repo, config), "size": len(config)},
               "layers": [{"mediaType": media, "digest": self.add_blob(repo, x), "size": len(x)} for x in layers]}
        return self.add_manifest(repo, tag, json.dumps(man, indent=3).encode())

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


def squeezed(data):
    """Gzip as d0d makes it."""
    z = zlib.compressobj(6, zlib.DEFLATED, 31)
    return z.compress(data) + z.flush()


def check_push(docker, hub, reg, keeps_bytes):
    """A push gives back what was pulled; KEEPS_BYTES: d0d has the compressed layers themselves."""
    def repo_digests(name):
        return json.loads(docker.out("image", "inspect", "-f", "{{json .RepoDigests}}", name))

    def forget(repo):
        docker.run("rmi", "-f", docker.out("images", "-q", repo).split()[0])

    def push(name):
        reg.log.clear()
        docker.run("tag", f"{hub}/team/box:1", f"{hub}/{name}")
        out = docker.out("push", f"{hub}/{name}")
        sent = [x for x in reg.log if x[0] == "PUT" and "/blobs/" in x[1]]
        return out.split("digest: ")[1].split()[0], sent, out

    assert "Login Succeeded" in docker.out("login", "-u", "ann", "-p", "any", hub)
    layers = [tar_of([("added", "f", b"yes" * 1000, 0o644)]), busybox_layer()]
    config = image_config(layers, {"Cmd": ["cat", "/added"]})
    was = reg.add_image("team/box", "1", config, [gzip.compress(x, 1) for x in layers], OCI_GZIP)
    docker.run("pull", f"{hub}/team/box:1")
    assert repo_digests(f"{hub}/team/box:1") == [f"{hub}/team/box@{was}"]
    got, sent, out = push("team/box:2")
    assert got == was and not sent and "Layer already exists" in out
    assert f"size: {len(reg.manifests[('team/box', '1')][1])}" in out
    got, sent, out = push("other/box:1")  # taken over from the sister, but for the config
    assert got == was and len(sent) == 1 and "Mounted from team/box" in out
    assert repo_digests(f"{hub}/team/box:1") == [f"{hub}/team/box@{was}", f"{hub}/other/box@{was}"]
    assert f"{hub}/other/box" in docker.out("images", "--digests") and was in docker.out("images", "--digests")
    reg.repos.clear()  # another registry
    got, sent, _ = push("third/box:1")
    assert (len(sent), got == was) == (3, keeps_bytes)
    man = json.loads(reg.manifests[("third/box", "1")][1])
    assert all(x["mediaType"] == OCI_GZIP and gzip.decompress(reg.blobs[x["digest"]]) == layers[i]
               for i, x in enumerate(man["layers"]))
    again, sent, _ = push("third/box:2")
    assert again == got and not sent
    forget(f"{hub}/team/box")
    docker.run("pull", f"{hub}/third/box:1")
    assert docker.out("run", "--rm", f"{hub}/third/box:1") == "yes" * 1000
    forget(f"{hub}/third/box")
    # Where the bytes come out as they were, so does the digest.
    was = reg.add_image("team/box", "1", config, [squeezed(x) for x in layers], OCI_GZIP)
    docker.run("pull", f"{hub}/team/box:1")
    reg.repos.clear()
    got, sent, _ = push("fourth/box:1")
    assert got == was and len(sent) == 3
    forget(f"{hub}/team/box")
