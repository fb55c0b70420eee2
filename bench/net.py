# SPDX-License-Identifier: ISC
"""Figures of the transport stack as a Linux process: CPU cycles per byte and per round trip,
beside lwIP on the same TAP device and beside the Linux stack on an equal one (net_tap.py), round trips
beside the Linux stack over veth, and the memory of 10,000 idle connections. Needs root. Merges its rows into build/bench.json."""

import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time

import net_tap

BUILD = sys.argv[1] if len(sys.argv) > 1 else "build"
NS = f"d0bench{os.getpid()}"
TICK = os.sysconf("SC_CLK_TCK")


def sh(line, check=True):
    return subprocess.run(line.split(), check=check, capture_output=True, text=True, timeout=60)


def inside(fn):
    box = {}

    def body():
        import ctypes
        fd = os.open(f"/var/run/netns/{NS}", os.O_RDONLY)
        assert ctypes.CDLL(None, use_errno=True).setns(fd, 0x40000000) == 0
        os.close(fd)
        try:
            box["v"] = fn()
        except BaseException as e:
            box["e"] = e

    t = threading.Thread(target=body)
    t.start()
    t.join()
    if "e" in box:
        raise box["e"]
    return box["v"]


def mhz():
    return float(re.search(r"cpu MHz\s*:\s*([\d.]+)", open("/proc/cpuinfo").read()).group(1))


def cpu(pid):
    """Seconds of CPU (user and system) of a process, from the scheduler's own clock."""
    total = 0
    for t in os.listdir(f"/proc/{pid}/task"):
        total += int(open(f"/proc/{pid}/task/{t}/schedstat").read().split()[0])
    return total / 1e9


def connect(host, port):
    s = socket.create_connection((host, port), timeout=20)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def upload(host, n):
    s, block, left = connect(host, 9), bytes(1 << 18), n
    while left > 0:
        s.sendall(block)
        left -= len(block)
    s.shutdown(socket.SHUT_WR)
    s.recv(1)
    s.close()
    return n


def download(host, n):
    s, got = connect(host, 19), 0
    while got < n:
        got += len(s.recv(1 << 18))
    s.close()
    return got


def pingpong(host, n, port=7):
    s = connect(host, port)
    for _ in range(n):
        s.send(b"x")
        s.recv(1)
    s.close()
    return n


class Server:
    def __init__(self, argv, env=None):
        self.p = subprocess.Popen(["ip", "netns", "exec", NS, *argv], stdout=subprocess.PIPE,
                                  stderr=subprocess.DEVNULL, text=True,
                                  env=dict(os.environ, **(env or {})))
        assert "ready" in self.p.stdout.readline()

    def cost(self, fn, *args):
        """(cycles, seconds) per unit of what fn returns."""
        c, t = cpu(self.p.pid), time.time()
        n = inside(lambda: fn(*args))
        return (cpu(self.p.pid) - c) * mhz() * 1e6 / n, (time.time() - t) / n

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        try:
            self.p.wait(3)
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()


def linux_echo():
    """An echo server on the Linux stack, in another namespace, over veth."""
    return subprocess.Popen(["ip", "netns", "exec", NS + "b", f"{BUILD}/bench/linux_echo"],
                            stdout=subprocess.PIPE, text=True)


def idle_connections(n):
    """Resident KiB that n idle connections add to transportd; cycles of a round trip among ten and
    among n of them."""
    s = Server([f"{BUILD}/bin/transportd", "tap0", "ip=10.78.0.2/24", "-m", "10240", "-o", "9",
                "-q"])

    def rss():
        return int(re.search(r"VmRSS:\s*(\d+)", open(f"/proc/{s.p.pid}/status").read()).group(1))

    def trip():
        best = 1e18
        for _ in range(3):
            c = cpu(s.p.pid)
            pingpong("10.78.0.2", 2000)
            best = min(best, (cpu(s.p.pid) - c) * mhz() * 1e6 / 2000)
        return best

    def body():
        held = [connect("10.78.0.2", 9) for _ in range(10)]
        few, before = trip(), rss()
        for i in range(n - 10):
            held.append(connect("10.78.0.2", 9))
            if i % 200 == 199:
                time.sleep(0.005)
        time.sleep(0.5)
        after, many = rss(), trip()
        for h in held:
            h.close()
        return after - before, few, many
    try:
        return inside(body)
    finally:
        s.stop()


def row(name, unit, better, d0, peer, peer_name):
    good = peer and d0 and (d0 / peer if better == "higher" else peer / d0)
    return dict(area="net", name=name, unit=unit, better=better, d0=d0, peer=peer,
                peer_name=peer_name, ratio=round(good, 2) if good else None)


def measure(argv, host, env=None):
    """A fresh server for every figure: none inherits the state of another's end."""
    r = {}
    for key, rate, scale, fn, n in (("rx", "rx_rate", 1e-6, upload, 200 << 20),
                                    ("tx", "tx_rate", 1e-6, download, 200 << 20),
                                    ("rt", "rtt", None, pingpong, 5000)):
        if env and key == "rx":
            continue
        server = Server(argv, env)
        try:
            r[key], t = server.cost(fn, host, n)
            r[rate] = scale / t if scale else t * 1e6
        except OSError as e:
            print(f"  {argv[0]}: {fn.__name__}: {e}")
        server.stop()
    return r


def inproc(program):
    """{"bulk_cycles_per_byte": .., "rt_cycles": ..} of three runs' best; {} if it is absent."""
    best = {}
    for _ in range(3):
        path = f"{BUILD}/bench/{program}"
        if not os.path.exists(path):
            return {}
        r = subprocess.run([path], capture_output=True, text=True, timeout=120, check=False)
        for line in r.stdout.splitlines():
            k, v = line.split()
            best[k] = min(best.get(k, 1e18), float(v))
    return best


def main():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rows, lwip = [], None
    sh(f"ip netns add {NS}")
    sh(f"ip netns add {NS}b")
    try:
        ex = f"ip netns exec {NS} "
        sh(ex + "ip link set lo up")
        sh(ex + "ip tuntap add tap0 mode tap vnet_hdr")
        sh(ex + "ip addr add 10.78.0.1/24 dev tap0")
        sh(ex + "ip link set tap0 up")
        d0 = [f"{BUILD}/bin/transportd", "tap0", "ip=10.78.0.2/24", "-q", "-z"]
        plain = measure(d0 + ["-n"], "10.78.0.2")
        full = measure(d0 + ["-o", "18"], "10.78.0.2")
        growth, few, many = idle_connections(10000)
        sh(ex + "ip tuntap del tap0 mode tap")
        sh(ex + "ip tuntap add tap1 mode tap")
        sh(ex + "ip addr add 10.78.0.1/24 dev tap1")
        sh(ex + "ip link set tap1 up")
        if os.path.exists(f"{BUILD}/bench/lwip_peer"):
            lwip = measure([f"{BUILD}/bench/lwip_peer"], "10.78.0.3",
                           {"PRECONFIGURED_TAPIF": "tap1"})
        sh(f"ip link add v0 netns {NS} type veth peer name v1 netns {NS}b")
        sh(ex + "ip addr add 10.78.1.1/24 dev v0")
        sh(ex + "ip link set v0 up")
        sh(f"ip netns exec {NS}b ip addr add 10.78.1.2/24 dev v1")
        sh(f"ip netns exec {NS}b ip link set v1 up")
        e = linux_echo()
        e.stdout.readline()
        t = time.time()
        inside(lambda: pingpong("10.78.1.2", 5000))
        linux_rtt = (time.time() - t) / 5000 * 1e6
        e.kill()
        e.wait()
    finally:
        sh(f"ip netns del {NS}", False)
        sh(f"ip netns del {NS}b", False)
    ours, theirs = inproc("inproc"), inproc("inproc_lwip")
    for k, name, unit in (("bulk_cycles_per_byte", "both ends in memory, bulk", "cycles/byte"),
                          ("rt_cycles", "both ends in memory, 1-byte round trip", "cycles")):
        rows.append(row(name, unit, "lower", ours.get(k), theirs.get(k), "lwIP, raw API"))
    # Debian's lwIP 2.1.3 corrupts its heap when it receives in bulk over TAP: no bulk receiving.
    w = lwip or {}
    for k, name, unit, better in (("tx", "send over TAP, CPU", "cycles/byte", "lower"),
                                  ("tx_rate", "send over TAP", "MB/s", "higher"),
                                  ("rt", "1-byte round trip over TAP, CPU", "cycles", "lower")):
        rows.append(row(f"{name}, no offloads", unit, better, round(plain[k], 2),
                        w.get(k) and round(w[k], 2), "lwIP, same kind of TAP"))
    for r, name in ((plain, "no offloads"), (full, "offloads")):
        rows.append(row(f"receive over TAP, CPU, {name}", "cycles/byte", "lower",
                        round(r["rx"], 2), None, "none"))
    rows.append(row("send over TAP, CPU, offloads", "cycles/byte", "lower",
                    round(full["tx"], 2), None, "none"))
    rows.append(row("1-byte round trip", "us", "lower", round(full["rtt"], 1),
                    round(linux_rtt, 1), "Linux over veth"))
    rows.append(row("10,000 idle connections, memory added", "KiB", "lower", growth, 32768,
                    "bound"))
    rows.append(row("round trip's CPU with 10,000 idle connections", "cycles", "lower", round(many),
                    round(few), "with 10"))
    rows += net_tap.rows(row)
    nic = inproc("nic_switch")
    for k, name, unit, peer, peer_name in (
            ("port_to_port", "nic: 64 bytes from port to port", "cycles", None, "none"),
            ("card_to_port", "nic: 64 bytes from card to port", "cycles", None, "none"),
            ("port_to_card", "nic: 64 bytes from port to card", "cycles", None, "none"),
            ("port_to_port_200", "nic: port to port among 200 others", "cycles",
             "port_to_port", "alone"),
            ("segment_byte", "nic: 64 KiB segment from port to port", "cycles/byte",
             "memcpy_byte", "memcpy"),
            ("stream_merged", "nic: TCP in 1,460 bytes from card to port", "cycles/byte",
             "stream_single", "not merged")):
        rows.append(row(name, unit, "lower", nic.get(k), peer and nic.get(peer), peer_name))
    path = os.path.join(BUILD, "bench.json")
    old = json.load(open(path)) if os.path.exists(path) else []
    with open(path, "w") as f:
        json.dump([r for r in old if r["area"] != "net"] + rows, f, indent=1)
    for r in rows:
        print(f"  {r['name']:44} {r['d0']:>10} {r['unit']:12} {r['peer_name']}: {r['peer']}"
              f"  ({r['ratio']}x)")


main()
