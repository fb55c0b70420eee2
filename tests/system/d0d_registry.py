# SPDX-License-Identifier: ISC
"""A registry in memory: pull and push over the OCI distribution API, in clear and without
accounts, with a log of what was asked."""

import hashlib
import http.server
import json
import re
import threading

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
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
