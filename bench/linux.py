# SPDX-License-Identifier: ISC
"""The linux cell beside Linux in the same QEMU: the same static program, and redis-benchmark,
run in a cell of D0 and in a container of crun with an overlayfs root under a Debian cloud
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
echo bench all-done 1
"""
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
/image/bench mark request
crun --cgroup-manager=disabled run --no-pivot -b /run/bundle box
echo bench all-done 2
"""
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
    ("redis_get", "1/s", "higher", "redis-benchmark GET"))


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
    for name in ("sh", "sleep", "echo", "true"):
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
    for name in ("sh", "mount", "mkdir", "cp", "insmod", "echo"):
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
        add_redis(f"{tmp}/image")
        d0, linux = make_d0(tmp, CONF, "archive"), make_peer(tmp)
        for _ in range(RUNS):
            take(boot(start, tmp, r"bench mark_us \d+\n(?s:.*)ready: |ready: (?s:.*)bench mark_us \d+\n", 60),
                 marks)
            take(boot(more, tmp, r"ready: .*\n", 60), many)
            take(boot(d0, tmp, r"bench all-done", 300), mine)
            take(boot(linux, tmp, r"bench all-done 2", 300), peer)
            if not peer:
                sys.exit("bench: the peer did not run: " + open(f"{tmp}/console").read()[-800:])
    rows = [row("linux", text, unit, better, mine.get(name), peer.get(name), PEER)
            for name, unit, better, text in FIGURES]
    a, b = start_times(marks, many, peer)
    rows.append(row("linux", "start of a container, request to its first instruction", "ms", "lower", a, b, PEER))
    publish("linux", rows)


if __name__ == "__main__":
    os.chdir(TOP)
    main()
