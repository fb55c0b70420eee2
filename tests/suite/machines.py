# SPDX-License-Identifier: ISC
"""Test suites of other projects, many programs per boot: the root they run in, and machines to run
it: a linux cell on D0 in QEMU, a Debian cloud kernel in the same QEMU, the host's own kernel in
namespaces of their own. A runner (runner.c) is the first process; its marks on the console are
`suite< NAME` (begins), `suite> TEXT`, `suite: NAME CODE MILLISECONDS`, `suite: end`, and for
GoogleTest's programs one line for each case: `suite+` passes, `suite-` fails, `suite~` is
skipped, `suite! CASE` was not through when the program ended, `suite? CASE` runs."""

import gzip
import glob
import os
import re
import selectors
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(TOP, os.environ.get("B", "build"))
MEMORY = "900M"
CONF = f"""\
cell t image=transport heap=8M state=2M stack=64K channels=4 priority=5
args t socks=512
cell suite image=linux heap=64K stack=32K user={MEMORY} channels=8 priority=4 data=root.tar
args suite argv=/suite/runner tmpfs=1 caps=0x1ffffffffff wxallowed=1 env=PATH=/suite/bin:/bin
channel t suite protocol=socket ring=4M label=sock
"""
PASSWD = "".join(f"{n}:x:{u}:{u}:{n}:{h}:/bin/sh\n" for n, u, h in (
    ("root", 0, "/root"), ("daemon", 1, "/"), ("bin", 2, "/"), ("sys", 3, "/"), ("nobody", 65534, "/")))
GROUP = "".join(f"{n}:x:{g}:\n" for n, g in (
    ("root", 0), ("daemon", 1), ("bin", 2), ("sys", 3), ("users", 100), ("nobody", 65533),
    ("nogroup", 65534)))


def libraries(path):
    out = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                         check=False).stdout
    return re.findall(r"(/\S+)", out)


class Root:
    """The tree of the container: busybox, a few files of /etc, the runner; programs in /suite/bin."""

    def __init__(self, tmp, folders=()):
        self.dir = os.path.join(tmp, "root")
        for name in ("bin", "dev", "etc", "suite/bin", "proc", "root", "sys", "tmp", "var/tmp", "usr/bin",
                     "sbin", "home", *folders):
            os.makedirs(os.path.join(self.dir, name))
        os.chmod(os.path.join(self.dir, "var/tmp"), 0o1777)
        shutil.copy("/bin/busybox", f"{self.dir}/bin/busybox")
        for name in subprocess.run(["/bin/busybox", "--list"], stdout=subprocess.PIPE, text=True,
                                   check=True).stdout.split():
            if not os.path.lexists(f"{self.dir}/bin/{name}"):
                os.symlink("busybox", f"{self.dir}/bin/{name}")
        os.symlink("../../bin/env", f"{self.dir}/usr/bin/env")
        for name, text in (("passwd", PASSWD), ("group", GROUP), ("hosts", "127.0.0.1 localhost\n")):
            with open(f"{self.dir}/etc/{name}", "w", encoding="utf-8") as f:
                f.write(text)
        for name in ("services", "protocols", "host.conf", "nsswitch.conf"):
            if os.path.exists(f"/etc/{name}"):
                shutil.copy(f"/etc/{name}", f"{self.dir}/etc/{name}")
        subprocess.run(["gcc", "-static", "-O2", "-o", f"{self.dir}/suite/runner", f"{HERE}/runner.c"],
                       check=True)

    def library(self, lib):
        if not os.path.exists(self.dir + lib):
            os.makedirs(os.path.dirname(self.dir + lib), exist_ok=True)
            shutil.copy(os.path.realpath(lib), self.dir + lib)

    def program(self, path):
        """A program or script into /suite/bin, stripped, with the libraries it needs."""
        to = f"{self.dir}/suite/bin/{os.path.basename(path)}"
        if os.path.exists(to):
            return
        shutil.copy(path, to)
        with open(to, "rb") as f:
            elf = f.read(4) == b"\x7fELF"
        if elf:
            subprocess.run(["strip", to], check=False, stderr=subprocess.DEVNULL)
            for lib in libraries(path):
                self.library(lib)

    def list(self, batch):
        """The runner's list: (name, seconds, [program, arguments])."""
        with open(f"{self.dir}/suite/list", "w", encoding="utf-8") as f:
            for name, seconds, words in batch:
                f.write(f"{name} {seconds} {' '.join(words)}\n")


def machine_d0(root, tmp):
    subprocess.run(["tar", "--format=gnu", "--owner=0", "--group=0", "-C", root.dir, "-cf",
                    f"{tmp}/root.tar", "."], check=True)
    with open(f"{tmp}/conf", "w", encoding="utf-8") as f:
        f.write(CONF)
    subprocess.run([f"{BUILD}/bin/d0-mkarchive", "create", "--key", f"{BUILD}/keys/signing.key",
                    "--out", f"{tmp}/archive", "--conf", f"{tmp}/conf", "--nucleus", f"{BUILD}/d0.elf",
                    "--cell", f"transport={BUILD}/cells/transport.elf",
                    "--cell", f"linux={BUILD}/cells/linux.elf,high", "--data", f"root.tar={tmp}/root.tar"],
                   check=True)
    return qemu(["-kernel", f"{BUILD}/d0.elf", "-initrd", f"{tmp}/archive"])


def machine_peer(root, tmp):
    kernel = sorted(glob.glob("/boot/vmlinuz-*cloud-amd64"))
    if not kernel:
        sys.exit("suite: no Debian cloud kernel in /boot (package linux-image-cloud-amd64)")
    listing = subprocess.run(["find", ".", "-print0"], cwd=root.dir, stdout=subprocess.PIPE, check=True)
    cpio = subprocess.run(["cpio", "-0", "-o", "-H", "newc", "-R", "0:0", "--quiet"], cwd=root.dir,
                          input=listing.stdout, stdout=subprocess.PIPE, check=True).stdout
    with gzip.open(f"{tmp}/initrd", "wb", compresslevel=1) as f:
        f.write(cpio)
    return qemu(["-kernel", kernel[-1], "-initrd", f"{tmp}/initrd", "-append",
                 "console=ttyS0 quiet loglevel=0 panic=-1 rdinit=/suite/runner -- plain"])


def machine_host(root, _tmp):
    """The host's kernel: a chroot in new namespaces, ended with the command."""
    return ["unshare", "--pid", "--mount", "--net", "--ipc", "--uts", "--fork", "--kill-child", "chroot",
            root.dir, "/suite/runner", "plain"]


def qemu(argv):
    return ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1700",
            "-smp", os.environ.get("SMP", "1"), "-display", "none", "-no-reboot", "-nic", "none", "-serial",
            "stdio"] + argv


class Progress:
    """What the marks on the console said so far."""

    def __init__(self, results):
        self.results, self.running, self.lines, self.cases, self.open = results, None, [], {}, None
        self.ended, self.begun = False, time.monotonic()

    def line(self, line):
        """True: the test that ran has ended."""
        if m := re.search(r"suite< (\S+)$", line):
            self.running, self.lines, self.cases, self.open = m.group(1), [], {}, None
            self.begun = time.monotonic()
        elif m := re.search(r"suite> (.*)$", line):
            self.lines.append(m.group(1))
        elif m := re.search(r"suite\? (\S+)$", line):
            self.open = m.group(1)
        elif m := re.search(r"suite([-+~!]) (\S+)$", line):
            self.cases[m.group(2)] = [m.group(1)] + (self.lines if m.group(1) in "-!" else [])
            self.lines, self.open, self.begun = [], None, time.monotonic()
        elif m := re.search(r"suite: (\S+) (\d+|timeout) (\d+)$", line):
            self.keep(m.group(1), m.group(2), int(m.group(3)))
            self.running, self.begun = None, time.monotonic()
            return m.group(1)
        elif re.search(r"suite: end|cell suite ended|Kernel panic", line):
            if "end" not in line.split()[-1:]:
                self.lines.append(line)
            self.ended = True
        return None

    def keep(self, name, code, ms):
        if self.open:
            self.cases[self.open] = ["!"] + self.lines
        self.results[name] = {"code": code, "ms": ms, "lines": self.lines}
        if self.cases:
            self.results[name]["cases"] = self.cases


def run_machine(argv, batch, results, log):
    """Until the list, (name, seconds, words), is through or the machine is stuck; the tests that were
    not reached."""
    proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    sel = selectors.DefaultSelector()
    sel.register(proc.stdout, selectors.EVENT_READ)
    buffer, done, at = b"", set(), Progress(results)
    limits = {name: seconds + 60 for name, seconds, _ in batch}
    try:
        while not at.ended:
            if not sel.select(max(0, at.begun + limits.get(at.running, 240) - time.monotonic())):
                at.lines.append("no answer")
                break
            chunk = os.read(proc.stdout.fileno(), 65536)
            if not chunk:
                break
            log.write(chunk)
            *whole, buffer = (buffer + chunk).split(b"\n")
            for raw in whole:
                done.add(at.line(raw.decode("utf-8", "replace").strip("\r")))
    finally:
        proc.kill()
        proc.wait()
    if at.running:
        at.lines = at.lines[-4:]
        at.keep(at.running, "crash", 0)
        done.add(at.running)
    elif not done - {None}:
        raise RuntimeError(f"the machine did not start; see {log.name}")
    return [t for t in batch if t[0] not in done]
