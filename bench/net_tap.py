# SPDX-License-Identifier: ISC
"""What a byte and a packet cost the transport stack (transportd, a Linux process behind a TAP
device) beside the Linux stack behind an equal TAP device: a namespace whose device a wire (bench/
net/tap_wire.c) joins to the client's. The same client (bench/net/load.c), the same work, in turns;
medians. CPU time of everything but the client, by the scheduler's clock, in cycles of the CPU's
nominal frequency. Needs root; called by bench/net.py.

D0 pays for reading and writing the client's TAP device, and the client's kernel takes what it
writes within that call. The wire pays the same, and once more for the TAP device of the
Linux stack; "less the wire" is without that second crossing, measured alone. What Linux can do
without a TAP device and without a wire is in the rows of the whole host: client and server, in
the Linux stack's case over veth, where nothing is copied between them."""

import os
import re
import resource
import signal
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import BUILD  # noqa: E402

A, B = f"d0tapa{os.getpid()}", f"d0tapb{os.getpid()}"
SECONDS = os.environ.get("SECONDS", "3")
RUNS = int(os.environ.get("RUNS", "3"))
WORK = ("upload", "download", "pingpong", "packets")


def sh(line, check=True):
    return subprocess.run(line.split(), check=check, capture_output=True, text=True, timeout=60)


def start(argv, ns=None):
    p = subprocess.Popen((["ip", "netns", "exec", ns] if ns else []) + argv, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert "ready" in p.stdout.readline(), argv
    return p


def stop(p):
    p.send_signal(signal.SIGTERM)
    try:
        return p.communicate(timeout=5)[0]
    except subprocess.TimeoutExpired:
        p.kill()
        return p.communicate()[0]


def cpu(procs):
    """Seconds of CPU of processes, of all their threads."""
    return sum(int(open(f"/proc/{p.pid}/task/{t}/schedstat", encoding="utf-8").read().split()[0])
               for p in procs for t in os.listdir(f"/proc/{p.pid}/task")) / 1e9


def load(work, host):
    """Units a second (bytes, round trips, packets), and the client's seconds of CPU."""
    def used():
        u = resource.getrusage(resource.RUSAGE_CHILDREN)
        return u.ru_utime + u.ru_stime
    began = used()
    out = sh(f"ip netns exec {A} {BUILD}/bench/load {host} {work} {SECONDS}").stdout
    return 1e6 / float(out) if work == "pingpong" else float(out), used() - began


def measure(procs, host, work):
    """(CPU ns for a unit, units a second, CPU ns with the client's)."""
    began = cpu(procs)
    speed, client = load(work, host)
    spent, units = cpu(procs) - began, speed * float(SECONDS)
    return spent * 1e9 / units, speed, (spent + client) * 1e9 / units


def run_d0(offload, into):
    tap = ["ip=10.79.0.2/24", "-q", "-z", "-o", "18"] + ([] if offload else ["-n"])
    for work in WORK:
        p = start([f"{BUILD}/bin/transportd", "tapa", *tap], A)
        try:
            into.setdefault(work, []).append(measure([p], "10.79.0.2", work))
        finally:
            stop(p)


def run_linux(offload, into, wire_ns):
    for work in WORK:
        wire = start([f"{BUILD}/bench/tap_wire", "wire", A, "tapa", B, "tapb", str(int(offload))])
        server = start([f"{BUILD}/bench/guest_server"], B)
        try:
            cost, speed, _ = measure([wire, server], "10.79.0.3", work)
        finally:
            stop(server)
            n_in, n_out = map(int, stop(wire).split())
        # What the second crossing took: bulk data is large one way, small the other.
        units = speed * float(SECONDS)
        size_in = units / max(n_in, 1) if work == "upload" else 66
        size_out = units / max(n_out, 1) if work == "download" else 66
        extra = n_in * wire_ns("write", size_in) + n_out * wire_ns("read", size_out)
        into.setdefault(work, []).append((cost, speed))
        into.setdefault(work + "_less", []).append((cost - extra / units, speed))


def run_veth(into):
    for work in WORK:
        server = start([f"{BUILD}/bench/guest_server"], B)
        try:
            into.setdefault(work + "_veth", []).append(measure([server], "10.79.1.3", work))
        finally:
            stop(server)


def wire_costs():
    """ns of a frame of `size` bytes, interpolated between a small one and a large one."""
    small, large, at = 66, 60000, {}
    for size in (small, large):
        out = sh(f"{BUILD}/bench/tap_wire write {B} tapb {size} 20000").stdout
        at["write", size] = float(out)
        p = start([f"{BUILD}/bench/tap_wire", "read", B, "tapb", "20000", "0"])
        flood = subprocess.Popen(
            ["ip", "netns", "exec", B, sys.executable, "-c",
             "import socket\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\n"
             f"s.bind(('tapb', 0x88b5))\nb = b'\\2' * 12 + b'\\x88\\xb5' + bytes({size - 14})\n"
             "while True:\n try:\n  s.send(b)\n except OSError:\n  pass"])
        try:
            at["read", size] = float(p.stdout.readline())
        finally:
            flood.kill()
            flood.wait()
            stop(p)

    def cost(kind, size):
        slope = (at[kind, large] - at[kind, small]) / (large - small)
        return at[kind, small] + slope * max(size - small, 0)
    cost.at = at
    return cost


def setup():
    for ns, dev, addr in ((A, "tapa", "10.79.0.1/24"), (B, "tapb", "10.79.0.3/24")):
        sh(f"ip netns add {ns}")
        ex = f"ip netns exec {ns} "
        sh(ex + "ip link set lo up")
        sh(ex + f"ip tuntap add {dev} mode tap vnet_hdr")
        sh(ex + f"ip addr add {addr} dev {dev}")
        sh(ex + f"ip link set {dev} up")
        sh(ex + f"sysctl -qw net.ipv6.conf.{dev}.disable_ipv6=1", False)
    sh(f"ip link add veth0 netns {A} type veth peer name veth1 netns {B}")
    for ns, dev, addr in ((A, "veth0", "10.79.1.1/24"), (B, "veth1", "10.79.1.3/24")):
        sh(f"ip netns exec {ns} ip addr add {addr} dev {dev}")
        sh(f"ip netns exec {ns} ip link set {dev} up")


def rows(row):
    """The rows of both stacks, made by the caller's row()."""
    mhz = float(re.search(r"cpu MHz\s*:\s*([\d.]+)", open("/proc/cpuinfo", encoding="utf-8")
                          .read()).group(1))
    out = []
    try:
        setup()
        sh(f"ip netns exec {B} ip link set tapb mtu 61000")
        wire_ns = wire_costs()
        sh(f"ip netns exec {B} ip link set tapb mtu 1500")
        print("  crossing a TAP device, ns:", {f"{k} {s}": v for (k, s), v in wire_ns.at.items()})
        for offload in (True, False):
            d0, linux = {}, {}
            for _ in range(RUNS):
                run_d0(offload, d0)
                run_linux(offload, linux, wire_ns)
                if offload:
                    run_veth(linux)
            out += make_rows(row, d0, linux, mhz / 1e3, "offloads" if offload else "no offloads")
    finally:
        sh(f"ip netns del {A}", False)
        sh(f"ip netns del {B}", False)
    return out


def make_rows(row, d0, linux, ghz, how):
    names = (("upload", "receive", "cycles/byte"), ("download", "send", "cycles/byte"),
             ("pingpong", "1-byte round trip", "cycles"),
             ("packets", "64-byte UDP packet echoed", "cycles"))
    out = []

    def mid(readings, i, scale=1):
        return statistics.median(r[i] for r in readings) * scale
    for work, name, unit in names:
        ours, digits = mid(d0[work], 0, ghz), 3 if "byte" == unit[-4:] else 0
        for key, peer in ((work, "Linux, its own TAP device"),
                          (work + "_less", "Linux, less the wire")):
            theirs = mid(linux[key], 0, ghz)
            out.append(row(f"over TAP, CPU: {name}, {how}", unit, "lower",
                           round(ours, digits), round(theirs, digits), peer))
        if work + "_veth" in linux:
            out.append(row(f"whole host, CPU: {name}, {how}", unit, "lower",
                           round(mid(d0[work], 2, ghz), digits),
                           round(mid(linux[work + "_veth"], 2, ghz), digits),
                           "Linux to Linux over veth"))
        out.append(row(f"over TAP: {name}, {how}",
                       "MB/s" if work.endswith("load") else "1/s", "higher",
                       round(mid(d0[work], 1, 1e-6 if work.endswith("load") else 1)),
                       round(mid(linux[work], 1, 1e-6 if work.endswith("load") else 1)),
                       "Linux, its own TAP device"))
    return out

