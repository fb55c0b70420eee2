# SPDX-License-Identifier: ISC
"""The linux cell beside Linux in the same QEMU: the same static program, redis-benchmark, and wrk
against lighttpd, run in a cell of D0 and in a container of crun with an overlayfs root under a Debian cloud
kernel. The machines take turns; medians count."""

import glob
import gzip
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from common import BUILD, TOP, console, publish, row  # noqa: E402

RUNS = int(os.environ.get("RUNS", "3"))
SMP = os.environ.get("SMP", "2")
PEER = "Linux 6.1, crun + overlayfs"
QEMU = ["qemu-system-x86_64", "-M", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024",
        "-smp", SMP, "-display", "none", "-no-reboot", "-nic", "none", "-serial", "stdio"]
if os.environ.get("ICOUNT"):  # the guest's clock counts instructions: exact, whatever the load
    SMP = "1"
    QEMU = [a.replace("thread=multi", "thread=single") for a in QEMU] + ["-smp", "1", "-icount",
                                                                         "shift=0,sleep=off"]
CONF = """\
cell t image=transport heap=4M state=256K stack=64K channels=4 priority=5
cell box image=linux heap=64K stack=32K user=256M vcpus={vcpus} channels=8 priority=4 data=root.tar
args box argv=/bin/sh,/run.sh tmpfs=1 env=PATH=/bin
channel t box protocol=socket ring=4M label=sock
"""
# A container without redis: its start is what making its two cells takes (what a machine with MORE
# such pairs is ready later, each), and what the program's first reading of the clock (which counts
# from the machine's start) is later than the nucleus's last word before the cells run.
MORE = 8
PAIR = """\
cell t{n} image=transport heap=1536K state=640K stack=64K channels=4
cell box{n} image=linux heap=64K stack=32K user=64M channels=8 data=root.tar
channel t{n} box{n} protocol=socket ring=2M label=sock
"""
START = """\
cell t image=transport heap=1536K state=640K stack=64K channels=4 priority=5
cell box image=linux heap=64K stack=32K user=64M channels=8 priority=4 data=root.tar
args box argv=/bench,mark tmpfs=1 env=PATH=/bin
channel t box protocol=socket ring=2M label=sock
"""
RUN = """\
/bench
if [ -x /usr/bin/redis-server ]; then
  /usr/bin/redis-server --port 6379 --save "" --daemonize no >/dev/null 2>&1 &
  for i in 1 2 3 4 5 6 7 8 9 10; do sleep 0.3; /usr/bin/redis-cli ping >/dev/null 2>&1 && break; done
  /usr/bin/redis-benchmark -q --csv -n 4000 -c 20 -t set,get </dev/null 2>/dev/null
fi
if [ -x /usr/sbin/lighttpd ] && [ -x /usr/bin/wrk ]; then
  /usr/sbin/lighttpd -D -f /lighttpd.conf 2>/dev/null &
  sleep 1
  /usr/bin/wrk -t1 -c1 -d2s http://127.0.0.1:8080/small | grep Requests/sec | tr : ' ' | while read -r a n; do echo "bench wrk_1 $n"; done
  /usr/bin/wrk -t1 -c20 -d2s http://127.0.0.1:8080/small | grep Requests/sec | tr : ' ' | while read -r a n; do echo "bench wrk_20 $n"; done
  /usr/bin/wrk -t1 -c4 -d2s http://127.0.0.1:8080/big | grep Requests/sec | tr : ' ' | while read -r a n; do echo "bench wrk_big $n"; done
fi
echo bench all-done 1
"""
LIGHTTPD = """\
server.port = 8080
server.bind = "127.0.0.1"
server.document-root = "/www"
server.max-keep-alive-requests = 100000000
"""
# Idle containers, each with its transport cell, and a monitor that is asked for the free memory.
IDLE = """\
cell monitor image=monitor stack=32K channels=4 priority=6 caps=inspect,console
"""
IDLE_ONE = """\
cell t{n} image=transport heap=4M state=256K stack=64K channels=4 priority=5
cell box{n} image=linux heap=64K stack=32K user=64M channels=8 priority=4 data=root.tar
args box{n} argv=/bin/sleep,100000 tmpfs=1 env=PATH=/bin
channel t{n} box{n} protocol=socket ring=4M label=sock
"""
IDLE_COUNT = 4
# Outside of the container; the marks tell how long its start takes.
INIT = """\
#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm /run /tmp; mount -t tmpfs run /run; mount -t tmpfs tmp /tmp
mount -t cgroup2 cgroup /sys/fs/cgroup 2>/dev/null
insmod /overlay.ko
mkdir -p /run/over/up /run/over/work /run/bundle/rootfs
mount -t overlay overlay -o lowerdir=/image,upperdir=/run/over/up,workdir=/run/over/work /run/bundle/rootfs
cp /config.json /run/bundle/
for i in 1 2 3 4 5; do
  mkdir -p /run/up$i /run/work$i /run/idle$i/rootfs
  mount -t overlay overlay -o lowerdir=/image,upperdir=/run/up$i,workdir=/run/work$i /run/idle$i/rootfs
  sed 's|"/run.sh"|"-c", "exec sleep 100000"|' /config.json > /run/idle$i/config.json
done
idle() { crun --cgroup-manager=disabled run -d --no-pivot -b /run/idle$1 idle$1 </dev/null >/dev/null 2>&1; }
free() { sleep 1; grep MemAvailable: /proc/meminfo | tr -s ' ' | cut -d' ' -f2; }
idle 5; a=$(free); idle 1; idle 2; idle 3; idle 4; b=$(free)
crun list -q | while read -r n; do echo "bench idle_up 1"; done
echo "bench idle_kib $(( (a - b) / 4 ))"
for i in 1 2 3 4 5; do crun --cgroup-manager=disabled delete -f idle$i; done
/image/bench mark request
crun --cgroup-manager=disabled run --no-pivot -b /run/bundle box
echo bench all-done 2
"""
SERVERS = ("/usr/sbin/lighttpd", "/usr/bin/wrk")
REDIS = ("redis-server", "redis-benchmark", "redis-cli")
FIGURES = (  # name, unit, better, as the table says it
    ("null_call", "us", "lower", "null call (getppid)"), ("read_1", "us", "lower", "read a byte"),
    ("write_1", "us", "lower", "write a byte"), ("stat", "us", "lower", "stat"),
    ("open_close", "us", "lower", "open and close"), ("signal", "us", "lower", "signal to oneself"),
    ("fork_exit", "us", "lower", "fork and exit"), ("fork_exec", "us", "lower", "fork and exec"),
    ("pipe_round_trip", "us", "lower", "pipe round trip (two switches)"),
    ("page_fault", "us", "lower", "page fault, anonymous"),
    ("pipe_mbs", "MB/s", "higher", "pipe bandwidth"),
    ("file_read_mbs", "MB/s", "higher", "file read, in memory"),
    ("redis_set", "1/s", "higher", "redis-benchmark SET"),
    ("redis_get", "1/s", "higher", "redis-benchmark GET"),
    ("wrk_1", "1/s", "higher", "lighttpd, wrk, 1 connection, 100 bytes"),
    ("wrk_20", "1/s", "higher", "lighttpd, wrk, 20 connections, 100 bytes"),
    ("wrk_big", "1/s", "higher", "lighttpd, wrk, 4 connections, 100 KiB"))


def add(root, path):
    """A file of this machine with the libraries it needs."""
    if os.path.exists(root + path):
        return
    os.makedirs(os.path.dirname(root + path), exist_ok=True)
    shutil.copy(os.path.realpath(path), root + path)
    out = subprocess.run(["ldd", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                         check=False).stdout
    for lib in re.findall(r"(/\S+)", out):
        add(root, lib)


def make_image(root):
    for name in ("bin", "dev", "etc", "proc", "sys", "tmp", "root"):
        os.makedirs(f"{root}/{name}")
    shutil.copy("/bin/busybox", f"{root}/bin/busybox")
    for name in ("sh", "sleep", "echo", "true", "grep", "tr"):
        os.symlink("busybox", f"{root}/bin/{name}")
    with open(f"{root}/etc/passwd", "w", encoding="utf-8") as f:
        f.write("root:x:0:0:root:/root:/bin/sh\n")
    with open(f"{root}/run.sh", "w", encoding="utf-8") as f:
        f.write(RUN)
    subprocess.run(["gcc", "-O2", "-static", "-o", f"{root}/bench", f"{TOP}/bench/linux_bench.c"],
                   check=True)


def add_redis(root):
    for name in REDIS:
        if os.path.exists(f"/usr/bin/{name}"):
            add(root, f"/usr/bin/{name}")


def add_servers(root):
    if not all(os.path.exists(path) for path in SERVERS):
        return
    for path in SERVERS + ("/lib/x86_64-linux-gnu/libgcc_s.so.1",):
        add(root, path)
    for name in ("indexfile", "dirlisting", "staticfile"):
        if os.path.exists(f"/usr/lib/lighttpd/mod_{name}.so"):
            add(root, f"/usr/lib/lighttpd/mod_{name}.so")
    os.makedirs(f"{root}/www")
    with open(f"{root}/lighttpd.conf", "w", encoding="utf-8") as f:
        f.write(LIGHTTPD)
    for name, size in (("small", 100), ("big", 100 << 10)):
        with open(f"{root}/www/{name}", "wb") as f:
            f.write(b"x" * size)


def make_d0(tmp, conf, name):
    subprocess.run(["tar", "--format=gnu", "--owner=0", "--group=0", "-C", f"{tmp}/image", "-cf",
                    f"{tmp}/root.tar", "."], check=True)
    with open(f"{tmp}/conf", "w", encoding="utf-8") as f:
        f.write(conf.format(vcpus=SMP))
    argv = [f"{BUILD}/bin/d0-mkarchive", "create", "--key", f"{BUILD}/keys/signing.key", "--out",
            f"{tmp}/{name}", "--conf", f"{tmp}/conf", "--nucleus", f"{BUILD}/d0.elf", "--data",
            f"root.tar={tmp}/root.tar"]
    for cell in ("transport", "monitor"):
        argv += ["--cell", f"{cell}={BUILD}/cells/{cell}.elf"]
    subprocess.run(argv + ["--cell", f"linux={BUILD}/cells/linux.elf,high"], check=True)
    return ["-kernel", f"{BUILD}/d0.elf", "-initrd", f"{tmp}/{name}"]


def make_peer(tmp):
    kernel = sorted(glob.glob("/boot/vmlinuz-*cloud-amd64"))
    if not kernel:
        sys.exit("bench: no Debian cloud kernel in /boot (package linux-image-cloud-amd64)")
    version = os.path.basename(kernel[-1]).removeprefix("vmlinuz-")
    root = f"{tmp}/peer"
    for name in ("bin", "dev", "proc", "sys", "tmp", "run", "etc"):
        os.makedirs(f"{root}/{name}")
    shutil.copytree(f"{tmp}/image", f"{root}/image", symlinks=True)
    shutil.copy("/bin/busybox", f"{root}/bin/busybox")
    for name in ("sh", "mount", "mkdir", "cp", "insmod", "echo", "sed", "sleep", "grep", "tr", "cut"):
        os.symlink("busybox", f"{root}/bin/{name}")
    add(root, "/usr/bin/crun")
    os.symlink("/usr/bin/crun", f"{root}/bin/crun")
    module = f"/lib/modules/{version}/kernel/fs/overlayfs/overlay.ko"
    if os.path.exists(module):
        shutil.copy(module, f"{root}/overlay.ko")
    else:
        with open(f"{root}/overlay.ko", "wb") as f:
            subprocess.run(["xz", "-dc", module + ".xz"], stdout=f, check=True)
    spec = json.loads(subprocess.run("d=$(mktemp -d) && cd $d && crun spec && cat config.json", shell=True,
                                     stdout=subprocess.PIPE, check=True).stdout)
    spec["process"].update({"terminal": False, "args": ["/bin/sh", "/run.sh"]})
    spec["root"] = {"path": "rootfs", "readonly": False}
    spec["mounts"] = [m for m in spec["mounts"] if m["type"] not in ("cgroup", "cgroup2")] + [
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs"}]
    with open(f"{root}/config.json", "w", encoding="utf-8") as f:
        json.dump(spec, f)
    with open(f"{root}/init", "w", encoding="utf-8") as f:
        f.write(INIT)
    os.chmod(f"{root}/init", 0o755)
    listing = subprocess.run(["find", ".", "-print0"], cwd=root, stdout=subprocess.PIPE, check=True).stdout
    cpio = subprocess.run(["cpio", "-0", "-o", "-H", "newc", "-R", "0:0", "--quiet"], cwd=root, input=listing,
                          stdout=subprocess.PIPE, check=True).stdout
    with gzip.open(f"{tmp}/initrd", "wb", compresslevel=1) as f:
        f.write(cpio)
    return ["-kernel", kernel[-1], "-initrd", f"{tmp}/initrd", "-append",
            "console=ttyS0 quiet loglevel=1 panic=-1 rdinit=/init"]


def boot(args, tmp, want, seconds):
    text = console(QEMU + args, want, seconds, tmp)
    if not re.search(want, text):
        print(text[-1500:], file=sys.stderr)
    return text


def idle_memory(tmp):
    """What an idle container with its transport cell takes, KiB: the free memory of a machine with one
    more, beside that of a machine with IDLE_COUNT more."""
    free = []
    for count in (1, 1 + IDLE_COUNT):
        conf = IDLE + "".join(IDLE_ONE.format(n=n) for n in range(count))
        args = make_d0(tmp, conf, "idle")
        proc = subprocess.Popen(QEMU + args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        killer = threading.Timer(240, proc.kill)
        killer.start()
        text, asked = "", 0
        while not re.search(r"free (\d+)\D[^\n]*\n(?s:.*)\n[^\n]*free (\d+)\D[^\n]*\n", text):
            chunk = os.read(proc.stdout.fileno(), 65536).decode("utf-8", "replace")
            if not chunk:
                break
            text += chunk
            # Twice, with a pause: the cells start while the first is answered.
            if asked == 0 and "ready: " in text or asked == 1 and re.search(r"free \d+\D", text):
                asked += 1
                time.sleep(8)
                proc.stdin.write(b"status\r")
                proc.stdin.flush()
        killer.cancel()
        proc.kill()
        proc.wait()
        found = re.findall(r"free (\d+)\D", text)
        if len(found) < 2:
            print(text[-1000:], file=sys.stderr)
            return None
        free.append(int(found[-1]))
    return (free[0] - free[1]) / IDLE_COUNT


def take(text, into):
    for name, value in re.findall(r"bench (\w+) ([\d.]+)", text):
        into.setdefault(name, []).append(float(value))
    for name, value in re.findall(r'"(SET|GET)","([\d.]+)"', text):
        into.setdefault(f"redis_{name.lower()}", []).append(float(value))
    ready = re.search(r"ready: .*?, ([\d.]+) s", text)
    if ready:
        into.setdefault("ready_us", []).append(float(ready.group(1)) * 1e6)


def start_times(mine, many, peer):
    """Of a busybox container, in ms: from the making of its cells to the program's first instruction; from
    the call of crun to the same. The machine that only starts gives D0's mark."""
    d0 = [(a - b + (m - b) / MORE) / 1e3 for a, b, m in
          zip(mine.get("mark_us", []), mine.get("ready_us", []), many.get("ready_us", []))]
    linux = [(b - a) / 1e3 for a, b in zip(peer.get("mark_us", []), peer.get("start_clock_us", []))]
    return d0 or None, linux or None


def main():
    mine, peer, marks, many = {}, {}, {}, {}
    with tempfile.TemporaryDirectory() as tmp:
        make_image(f"{tmp}/image")
        start = make_d0(tmp, START, "start")
        more = make_d0(tmp, START + "".join(PAIR.format(n=n) for n in range(MORE)), "more")
        idle = idle_memory(tmp)
        add_redis(f"{tmp}/image")
        add_servers(f"{tmp}/image")
        d0, linux = make_d0(tmp, CONF, "archive"), make_peer(tmp)
        for _ in range(RUNS):
            take(boot(start, tmp, r"bench mark_us \d+\n(?s:.*)ready: |ready: (?s:.*)bench mark_us \d+\n", 60),
                 marks)
            take(boot(more, tmp, r"ready: .*\n", 60), many)
            take(boot(d0, tmp, r"bench all-done", 900), mine)
            take(boot(linux, tmp, r"bench all-done 2", 900), peer)
            if not peer:
                sys.exit("bench: the peer did not run: " + open(f"{tmp}/console").read()[-800:])
    rows = [row("linux", text, unit, better, mine.get(name), peer.get(name), PEER)
            for name, unit, better, text in FIGURES]
    a, b = start_times(marks, many, peer)
    rows.append(row("linux", "start of a container, request to its first instruction", "ms", "lower", a, b, PEER))
    rows.append(row("linux", "memory of an idle container", "KiB", "lower", idle, peer.get("idle_kib"), PEER))
    publish("linux", rows)


if __name__ == "__main__":
    os.chdir(TOP)
    main()
