# SPDX-License-Identifier: ISC
"""What the tests of d0d share: images made from Debian's packages, and a d0d with the linux
backend inside namespaces of its own, so that nothing of it outlives the test."""

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
D0D = os.path.join(TOP, "build", "bin", "d0d")
APPLETS = ("sh ls cat echo sleep true false id env hostname head tail wc cp mv rm mkdir touch "
           "ps kill wget nc httpd dd df mount ip ping nslookup grep sed awk tar vi stty tty "
           "pwd date stat test printf seq yes od sync chmod chown ln uname").split()


def sha(data):
    return hashlib.sha256(data).hexdigest()


def tar_of(entries):
    """entries: (name, kind, data or target, mode). Returns a tar's bytes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as t:
        for name, kind, data, mode in entries:
            info = tarfile.TarInfo(name)
            info.mode, info.mtime = mode, 1700000000
            info.type = {"d": tarfile.DIRTYPE, "f": tarfile.REGTYPE, "l": tarfile.SYMTYPE,
                         "h": tarfile.LNKTYPE}[kind]
            if kind == "f":
                info.size = len(data)
                t.addfile(info, io.BytesIO(data))
            else:
                info.linkname = data if kind in "lh" else ""
                t.addfile(info)
    return out.getvalue()


def busybox_layer():
    with open("/bin/busybox", "rb") as f:
        busybox = f.read()
    entries = [(d, "d", None, 0o755) for d in
               ("bin", "etc", "root", "home", "usr", "usr/bin", "var", "var/www", "dev", "proc", "sys")]
    entries += [("tmp", "d", None, 0o1777), ("bin/busybox", "f", busybox, 0o755)]
    entries += [("bin/" + a, "l", "busybox", 0o777) for a in APPLETS]
    entries += [("etc/passwd", "f", b"root:x:0:0:root:/root:/bin/sh\nwww:x:33:33:www:/var/www:/bin/sh\n", 0o644),
                ("etc/group", "f", b"root:x:0:\nwww:x:33:\nextra:x:44:www\n", 0o644),
                ("var/www/index.html", "f", b"hello from the container\n", 0o644)]
    return tar_of(entries)


def debian_layer(*programs, more=()):
    """Programs of this Debian with the libraries they want, and files or folders besides."""
    wanted, seen, entries = list(programs) + list(more), set(), []
    for program in programs:
        out = subprocess.run(["ldd", program], stdout=subprocess.PIPE, text=True, check=False).stdout
        wanted += [w for line in out.splitlines() for w in line.split() if w.startswith("/")]

    def add(path, kind, data, mode):
        for i in range(1, path.count("/")):
            parent = path.rsplit("/", path.count("/") - i)[0]
            if parent not in seen:
                seen.add(parent)
                entries.append((parent.lstrip("/"), "d", None, 0o755))
        if path not in seen:
            seen.add(path)
            entries.append((path.lstrip("/"), kind, data, mode))
    for path in wanted:
        for at in [os.path.join(base, f) for base, _, fs in os.walk(path) for f in fs] or [path]:
            with open(at, "rb") as f:
                add(at, "f", f.read(), 0o755)
    return tar_of(entries + [("tmp", "d", None, 0o1777)])


def image_config(layers, config):
    return json.dumps({
        "architecture": "amd64", "os": "linux", "created": "2024-01-02T03:04:05Z",
        "config": dict({"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}, **config),
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha(x) for x in layers]},
        "history": [{"created": "2024-01-02T03:04:05Z", "created_by": f"layer {i}"}
                    for i, _ in enumerate(layers)]}).encode()


def docker_archive(name, layers, config):
    """What `docker save` of older engines and skopeo write."""
    cfg = image_config(layers, config)
    entries = [(sha(x) + ".tar", "f", x, 0o644) for x in layers]
    manifest = [{"Config": sha(cfg) + ".json", "RepoTags": [name] if name else None,
                 "Layers": [sha(x) + ".tar" for x in layers]}]
    entries += [(sha(cfg) + ".json", "f", cfg, 0o644),
                ("manifest.json", "f", json.dumps(manifest).encode(), 0o644)]
    return tar_of(entries)


def oci_archive(name, layers, config, compress=None):
    """An OCI layout as a tar; layers compressed with COMPRESS (bytes -> bytes) if given."""
    cfg = image_config(layers, config)
    blobs, descs = {sha(cfg): cfg}, []
    kind = "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if compress else "")
    for x in layers:
        data = compress(x) if compress else x
        blobs[sha(data)] = data
        descs.append({"mediaType": kind, "digest": "sha256:" + sha(data), "size": len(data)})
    man = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                      "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                                 "digest": "sha256:" + sha(cfg), "size": len(cfg)},
                      "layers": descs}).encode()
    blobs[sha(man)] = man
    index = json.dumps({"schemaVersion": 2, "manifests": [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:" + sha(man),
         "size": len(man), "annotations": {"org.opencontainers.image.ref.name": name}}]}).encode()
    entries = [("oci-layout", "f", b'{"imageLayoutVersion":"1.0.0"}', 0o644),
               ("index.json", "f", index, 0o644)]
    entries += [("blobs/sha256/" + k, "f", v, 0o644) for k, v in blobs.items()]
    return tar_of(entries)


def debian_cli():
    """Debian 12's own CLI (API 1.41), downloaded and unpacked, not installed; None where that can't be."""
    where = os.path.join(TOP, "build", "docker-cli")
    exe = os.path.join(where, "usr", "bin", "docker")
    if not os.path.exists(exe):
        os.makedirs(where, exist_ok=True)
        try:
            subprocess.run(["apt-get", "download", "-q", "docker.io"], cwd=where, check=True,
                           timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            deb = [x for x in os.listdir(where) if x.endswith(".deb")][0]
            subprocess.run(["dpkg-deb", "-x", deb, "."], cwd=where, check=True)
        except (OSError, subprocess.SubprocessError, IndexError):
            return None
    return exe if os.path.exists(exe) else None


def docker_cli():
    """The stock CLI: from PATH, or Debian's."""
    return shutil.which("docker") or debian_cli()


class Host:
    """A d0d inside its own mount, network and pid namespaces, driven through a Unix socket
    (and, inside the namespace, through TCP)."""

    def __init__(self, *options, program=D0D):
        self.program = program
        self.dir = tempfile.mkdtemp(prefix="d0d-")
        self.sock = os.path.join(self.dir, "sock")
        self.options = list(options)
        self.log = open(os.path.join(self.dir, "log"), "ab")  # pylint: disable=R1732
        self.holder = subprocess.Popen(  # pylint: disable=R1732
            ["unshare", "-mnpf", "--kill-child", "--mount-proc", "sh", "-c",
             "ip link set lo up; echo ready; while :; do sleep 1; done"],
            stdout=subprocess.PIPE, text=True)
        assert self.holder.stdout.readline().strip() == "ready"
        with open(f"/proc/{self.holder.pid}/task/{self.holder.pid}/children", encoding="ascii") as f:
            self.init = f.read().split()[0]
        self.daemon = None
        self.start()

    def enter(self, *args):
        return ["nsenter", "-t", self.init, "-m", "-n", "-p", *args]

    def start(self):
        self.daemon = subprocess.Popen(  # pylint: disable=R1732
            self.enter(self.program, "--host", "unix:" + self.sock, "--host", "127.0.0.1:2375", "--state",
                       os.path.join(self.dir, "state"), "--name", "testhost", *self.options),
            stdout=self.log, stderr=self.log)
        deadline = time.time() + 60
        while time.time() < deadline:
            assert self.daemon.poll() is None, self.read_log()
            done = subprocess.run(["curl", "-s", "--unix-socket", self.sock, "http://d/_ping"],
                                  stdout=subprocess.PIPE, check=False)
            if done.stdout == b"OK":
                return
            time.sleep(0.02)
        raise AssertionError("d0d doesn't answer:\n" + self.read_log())

    def daemon_pid(self):
        """d0d itself: the child of nsenter."""
        with open(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children", encoding="ascii") as f:
            return int(f.read().split()[0])

    def kill(self, sig=signal.SIGKILL):
        os.kill(self.daemon_pid(), sig)
        self.daemon.wait(timeout=60)

    def read_log(self):
        with open(os.path.join(self.dir, "log"), encoding="utf-8", errors="replace") as f:
            return f.read()[-5000:]

    def sh(self, *args, **kw):
        """A command inside the host's network."""
        return subprocess.run(self.enter(*args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=60, check=False, **kw)

    def close(self):
        tag = None
        try:
            with open(os.path.join(self.dir, "state", "backend", "tag"), encoding="ascii") as f:
                tag = f.read().strip()
        except OSError:
            pass
        self.holder.kill()
        self.holder.wait()
        self.daemon.wait(timeout=60)
        self.log.close()
        for base, dirs, _ in os.walk("/sys/fs/cgroup"):
            for d in [x for x in dirs if tag and x == "d0d-" + tag]:
                for sub in sorted((x[0] for x in os.walk(os.path.join(base, d))), reverse=True):
                    try:
                        os.rmdir(sub)
                    except OSError:
                        pass
            if base.count("/") > 4:
                dirs[:] = []
        shutil.rmtree(self.dir, ignore_errors=True)


class Docker:
    """The stock CLI against a Host."""

    def __init__(self, host, cli=None):
        self.host, self.cli = host, cli or docker_cli()
        self.env = dict(os.environ, DOCKER_HOST="unix://" + host.sock, HOME=host.dir,
                        DOCKER_CONFIG=os.path.join(host.dir, "cfg"))

    def run(self, *args, stdin=None, code=0, timeout=60):
        """Runs and checks the exit code (None: any); returns stdout and stderr as text."""
        done = subprocess.run([self.cli, *args], env=self.env, input=stdin, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=timeout, check=False)
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
        assert code is None or done.returncode == code, \
            f"docker {' '.join(args)}: exit {done.returncode}\n{out}{err}\n{self.host.read_log()}"
        return out, err

    def out(self, *args, **kw):
        return self.run(*args, **kw)[0].strip()

    def err(self, *args, code=1, **kw):
        return self.run(*args, code=code, **kw)[1].strip()

    def raw(self, method, path, body=None, headers=()):
        """One API call with curl; returns (status, body)."""
        cmd = ["curl", "-s", "-X", method, "--unix-socket", self.host.sock, "-w", "\n%{http_code}",
               "http://d" + path]
        for h in headers:
            cmd += ["-H", h]
        if body is not None:
            cmd += ["--data-binary", "@-"]
        done = subprocess.run(cmd, input=body, stdout=subprocess.PIPE, timeout=60, check=False)
        text, _, status = done.stdout.rpartition(b"\n")
        return int(status), text
