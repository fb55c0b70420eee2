# SPDX-License-Identifier: ISC
"""Machines to boot D0 on: QEMU and Bochs. A test gets them through the fixtures of
conftest.py, which end them; here is what a running machine can do."""

import json
import os
import pty
import re
import socket
import subprocess
import threading
import time
import tty

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(TOP, os.environ.get("B", "build"))
KERNEL = os.path.join(BUILD, "d0.elf")
# Emulation on a shared machine is slow at times; waiting longer costs nothing when all is well.
PATIENCE = float(os.environ.get("D0_PATIENCE", "1"))


class Machine:
    """A process whose console is a pair of descriptors."""

    def __init__(self, argv, stdin, stdout, cwd):
        self.log = ""
        self._at = 0
        self._arrived = 0.0
        self._news = threading.Condition()
        self._stdin, self._stdout = stdin, stdout
        self._errors = open(os.path.join(cwd, "stderr"), "w+", encoding="utf-8")
        self.proc = subprocess.Popen(argv, cwd=cwd, stdin=stdin if stdin != "pipe" else
                                     subprocess.PIPE, stdout=subprocess.PIPE if
                                     stdout == "pipe" else subprocess.DEVNULL,
                                     stderr=self._errors)
        self._in = self.proc.stdin.fileno() if stdin == "pipe" else stdout
        out = self.proc.stdout.fileno() if stdout == "pipe" else stdout
        self._reader = threading.Thread(target=self._read, args=(out,), daemon=True)
        self._reader.start()

    def _read(self, fd):
        while True:
            try:
                data = os.read(fd, 65536)
            except OSError:
                data = b""
            with self._news:
                if not data:
                    self._news.notify_all()
                    return
                self.log += data.decode("utf-8", "replace").replace("\r", "")
                self._arrived = time.monotonic()
                self._news.notify_all()

    def tail(self, lines=40):
        self._errors.flush()
        with open(self._errors.name, encoding="utf-8") as f:
            errors = f.read()
        parts = ["\n".join(self.log.split("\n")[-lines:]), errors]
        if self.proc.poll() is not None:
            parts.append(f"the machine has ended: {self.proc.returncode} {self.last_words()}")
        return "\n".join(p for p in parts if p)

    def last_words(self):
        """What the emulator noted about an end that nobody asked for."""
        return ""

    def _readable(self, pattern):
        """What a pattern may be looked for in. The console comes byte by byte: the last line counts
        only when it is whole; without its end (a prompt) when nothing followed for a while, and
        never for a pattern that asks for the line's end."""
        cut = self.log.rfind("\n") + 1
        if not self._reader.is_alive():
            return self.log
        quiet = time.monotonic() - self._arrived > 0.3
        return self.log if quiet and not pattern.endswith("$") else self.log[:cut]

    def expect(self, pattern, timeout=30, absent=None):
        """The first match after the last expected one. Fails at the time limit, when the
        machine ends, or when `absent` is found before it."""
        regex, bad = re.compile(pattern, re.M), absent and re.compile(absent, re.M)
        end = time.monotonic() + timeout * PATIENCE
        with self._news:
            while True:
                text = self._readable(pattern)
                found = regex.search(text, self._at)
                if bad:
                    wrong = bad.search(text, self._at, found.start() if found else len(text))
                    assert not wrong, f"found {wrong.group()!r}; console:\n{self.tail()}"
                if found:
                    self._at = found.end()
                    return found
                left = end - time.monotonic()
                assert left > 0, f"no {pattern!r} within {timeout} s; console:\n{self.tail()}"
                assert self.proc.poll() is None or self._reader.is_alive(), \
                    f"machine ended ({self.proc.returncode}) before {pattern!r}:\n{self.tail()}"
                self._news.wait(min(left, 0.2))

    def find(self, pattern):
        """All matches in everything printed so far."""
        return list(re.finditer(pattern, self._readable(pattern), re.M))

    def send(self, text):
        """Type on the console; slowly, as a UART has a short FIFO."""
        for c in text:
            os.write(self._in, c.encode())
            time.sleep(0.005)

    def command(self, line, pattern, timeout=20):
        """Type a line, wait for what it should print."""
        self.send(line + "\r")
        return self.expect(pattern, timeout)

    def wait_exit(self, timeout=20):
        """The exit code of the machine."""
        try:
            return self.proc.wait(timeout * PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"machine still runs after {timeout} s:\n{self.tail()}") from None

    def stop(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()
        self._errors.close()


class Qmp:
    """QEMU's machine protocol, as much as the tests use."""

    def __init__(self, path):
        self._sock = connect(path)
        self._file = self._sock.makefile("rw", encoding="utf-8")
        self._file.readline()
        self("qmp_capabilities")

    def __call__(self, command, **args):
        self._file.write(json.dumps({"execute": command, "arguments": args}) + "\n")
        self._file.flush()
        while True:
            answer = json.loads(self._file.readline())
            if "return" in answer:
                return answer["return"]
            assert "error" not in answer, answer

    def close(self):
        self._sock.close()


def connect(path, timeout=10):
    end = time.monotonic() + timeout
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(path)
            return sock
        except OSError:
            sock.close()
            assert time.monotonic() < end, f"{path} does not answer"
            time.sleep(0.05)


class Qemu(Machine):
    """D0 in QEMU's TCG."""

    def __init__(self, cwd, archive=None, kernel=KERNEL, iso=None, uefi=False, smp=1, mem="256M",
                 cpu="max", append="", extra=(), gdb=False):
        argv = ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", cpu,
                "-m", str(mem), "-smp", str(smp), "-display", "none", "-no-reboot", "-nic", "none",
                "-chardev", "stdio,id=con,signal=off", "-serial", "chardev:con",
                "-qmp", f"unix:{cwd}/qmp,server=on,wait=off",
                "-d", "cpu_reset", "-D", f"{cwd}/qemu.log"]
        if gdb:
            argv += ["-chardev", f"socket,id=gdb,path={cwd}/gdb,server=on,wait=off",
                     "-gdb", "chardev:gdb"]
        if uefi:
            argv += ["-drive", "if=pflash,format=raw,unit=0,readonly=on,"
                     "file=/usr/share/OVMF/OVMF_CODE.fd"]
        if iso:
            argv += ["-cdrom", iso, "-boot", "d"]
        else:
            argv += ["-kernel", kernel, "-append", append]
            if archive:
                argv += ["-initrd", archive]
        super().__init__(argv + list(extra), "pipe", "pipe", str(cwd))
        self._cwd, self._qmp = str(cwd), None

    @property
    def qmp(self):
        if not self._qmp:
            self._qmp = Qmp(f"{self._cwd}/qmp")
        return self._qmp

    def gdb(self):
        from gdb import Gdb  # pylint: disable=import-outside-toplevel
        return Gdb(connect(f"{self._cwd}/gdb"))

    def dump(self, size, held=False):
        """Physical memory [0, size) as bytes; the machine stands still meanwhile. held: a
        debugger stopped it already."""
        path = f"{self._cwd}/memory"
        if not held:
            self.qmp("stop")
        self.qmp("pmemsave", val=0, size=size, filename=path)
        if not held:
            self.qmp("cont")
        with open(path, "rb") as f:
            data = f.read()
        os.unlink(path)
        return data

    def last_words(self):
        """The registers at a triple fault."""
        with open(f"{self._cwd}/qemu.log", encoding="utf-8", errors="replace") as f:
            log = f.read()
        return log[log.find("Triple fault"):][:6000] if "Triple fault" in log else ""

    def pin(self, cpu):
        """All threads that there are (and those they make) to one CPU of the host."""
        for thread in os.listdir(f"/proc/{self.proc.pid}/task"):
            os.sched_setaffinity(int(thread), {cpu})

    def stop(self):
        if self._qmp:
            self._qmp.close()
        super().stop()


BOCHS_RC = """\
megs: {mem}
cpu: model={model}, count={smp}, ips=100000000, reset_on_triple_fault=0
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
display_library: rfb, options="timeout=0"
sound: waveoutdrv=dummy, waveindrv=dummy, midioutdrv=dummy
ata0: enabled=1
ata0-master: type=cdrom, path={iso}, status=inserted
boot: cdrom
com1: enabled=1, mode=term, dev={tty}
clock: sync=none, time0=utc
panic: action=fatal
error: action=report
info: action=ignore
log: {cwd}/bochs.log
"""


class Bochs(Machine):
    """D0 in Bochs, from an ISO, console on a pseudo-terminal."""

    def __init__(self, cwd, iso, model, smp=1, mem=256, extra=""):
        master, slave = pty.openpty()
        tty.setraw(slave)
        rc, commands = os.path.join(cwd, "bochsrc"), os.path.join(cwd, "commands")
        with open(rc, "w", encoding="utf-8") as f:
            f.write(BOCHS_RC.format(mem=mem, model=model, smp=smp, iso=iso, cwd=cwd,
                                    tty=os.ttyname(slave)) + extra)
        with open(commands, "w", encoding="utf-8") as f:
            f.write("c\n")
        super().__init__(["bochs-bin", "-q", "-f", rc, "-rc", commands], subprocess.DEVNULL,
                         master, str(cwd))
        self._slave = slave  # kept open, else the master reads EOF between openings

    def stop(self):
        super().stop()
        os.close(self._slave)
