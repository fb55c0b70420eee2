# SPDX-License-Identifier: ISC
"""Unmodified programs of the distribution in linux cells: from an archive in memory, from the
store, with sockets from a transport cell, and under the container control protocol."""

import hashlib
import os
import re
import shutil
import subprocess

import pytest
from machine import BUILD, TOP

APPLETS = ("sh ls cat echo ps mount sleep true false uname id env mkdir rm cp mv grep wc seq date head "
           "tail sort find dd kill stat ln test expr tr cut md5sum sha256sum printf touch chmod hostname "
           "stty tty sed awk tar gzip sync").split()
HERE = os.path.join(TOP, "tests", "system", "linux")
BUSYBOX = "/bin/busybox"
VCPUS = int(os.environ.get("D0_VCPUS", "1"))  # of cells of tests that don't say otherwise

pytestmark = pytest.mark.skipif(not os.path.exists(BUSYBOX), reason="busybox-static is not installed")


def add_file(root, path):
    to = str(root) + path
    os.makedirs(os.path.dirname(to), exist_ok=True)
    if not os.path.exists(to):
        shutil.copy(os.path.realpath(path), to)


def add_program(root, path):
    add_file(root, path)
    libs = subprocess.run(["ldd", path], stdout=subprocess.PIPE, text=True, check=False).stdout
    for lib in re.findall(r"(/\S+)", libs):
        add_file(root, lib)


def add_python(root):
    """The interpreter and the modules that the payloads import."""
    code = ("import sys, array, fcntl, mmap, pty, select, signal, socket, struct, subprocess, tempfile,"
            "threading, encodings.ascii, encodings.utf_8, encodings.idna, site\n"
            "print('\\n'.join(m.__file__ for m in sys.modules.values() if getattr(m, '__file__', None)))")
    add_program(root, "/usr/bin/python3")
    for path in subprocess.run(["/usr/bin/python3", "-c", code], stdout=subprocess.PIPE, text=True,
                               check=True).stdout.split():
        add_program(root, path) if path.endswith(".so") else add_file(root, path)


def build_c(root, *names):
    for name in names:
        subprocess.run(["gcc", "-O2", "-static", "-pthread", "-o", root / "bin" / name,
                        os.path.join(HERE, f"{name}.c")], check=True)


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "root"
    for name in ("bin", "etc", "tmp", "proc", "sys", "dev", "root"):
        (root / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin" / "busybox")
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (root / "etc" / "secret").write_text("secret\n")
    return root


def pack(root):
    out = str(root) + ".tar"
    subprocess.run(["tar", "--format=gnu", "--owner=0", "--group=0", "-C", root, "-cf", out, "."],
                   check=True)
    return out


def cell(name, args, user="64M", data="root.tar", prio=4, vcpus=VCPUS):
    return (f"cell {name} image=linux vcpus={vcpus} heap=64K stack=32K user={user} channels=8 priority={prio}"
            f"{f' data={data}' if data else ''}\nargs {name} {args}\n")


def shell(script):
    return f'argv=/bin/sh,-c,"{script}"'


def test_busybox_agrees_with_the_host(archive, boot, tree):
    script = ("seq 1 2000 | sha256sum; echo hello | tr a-z A-Z; printf %05d 42; echo; expr 6 '*' 7; "
              "for i in 3 1 2; do echo $i; done | sort | head -2; (exit 3); echo $?; "
              "echo abc | sed s/b/X/; dd if=/dev/zero bs=1k count=300 2>/dev/null | md5sum; "
              "ls /dev | wc -w > /tmp/n; test -s /tmp/n; echo $?; sh -c 'echo out > /dev/stdout' | cat")
    host = subprocess.run([BUSYBOX, "sh", "-c", script], stdout=subprocess.PIPE, text=True, check=True,
                          env={"PATH": f"{tree}/bin"}).stdout
    vm = boot(archive(cell("c1", shell(script + "; exit 9")), high=["linux"],
                      data={"root.tar": pack(tree)}))
    vm.expect(r"cell c1 ended: code 9", timeout=60)
    assert [m.group(1) for m in vm.find(r"^c1: (.*)$")] == host.splitlines()


def test_bad_programs_harm_only_themselves(archive, boot, tree):
    (tree / "bin" / "cut-off").write_bytes(open(BUSYBOX, "rb").read()[:5000])
    (tree / "bin" / "text").write_text("#!/nonexistent\n")
    for name in ("cut-off", "text"):
        os.chmod(tree / "bin" / name, 0o755)
    script = ("/bin/cut-off; echo one $?; /bin/text; echo two $?; dd if=/dev/zero of=/tmp/big bs=1M "
              "count=200 2>/dev/null; echo three $?; rm /tmp/big; "
              "f() { f | f & }; f 2>/dev/null; sleep 1; echo four; kill -9 -1; echo five")
    vm = boot(archive(cell("c1", shell(script) + " pids=64", user="32M"), high=["linux"],
                      data={"root.tar": pack(tree)}))
    vm.expect(r"c1: one (139|126|2)", timeout=60)
    vm.expect(r"c1: two (127|126)")
    vm.expect(r"c1: three 1", timeout=60)
    vm.expect(r"c1: four", timeout=60)
    vm.expect(r"c1: five", timeout=60)
    vm.expect(r"cell c1 ended: code 0", timeout=60)


def test_python_and_sockets(archive, boot, tree):
    add_python(tree)
    shutil.copy(os.path.join(HERE, "selftest.py"), tree / "selftest.py")
    build_c(tree, "sockets")
    conf = ("cell t image=transport heap=8M state=2M stack=64K channels=4 priority=5\nargs t socks=512\n" +
            cell("c1", shell("/bin/sockets && exec /usr/bin/python3 /selftest.py net"), user="160M", vcpus=2) +
            "channel t c1 protocol=socket ring=4M label=sock\n")
    vm = boot(archive(conf, cells=["transport"], high=["linux"], data={"root.tar": pack(tree)}),
              mem="512M")
    vm.expect(r"^c1: sockets passed 47$", timeout=60, absent="FAIL")
    vm.expect(r"c1: selftest passed (\d+)", timeout=120, absent="FAIL|Traceback")
    vm.expect(r"cell c1 ended: code 0")


def test_control_channel(archive, boot, tree):
    small = pack(tree)
    big = tree.parent / "controller"
    shutil.copytree(tree, big, symlinks=True)
    add_python(big)
    shutil.copy(os.path.join(HERE, "controller.py"), big / "controller.py")
    conf = (cell("d", "argv=/usr/bin/python3,/controller.py", user="120M", data="big.tar") +
            cell("c1", "") + "channel d c1 protocol=console ring=64K label=conctl\n")
    vm = boot(archive(conf, high=["linux"], data={"root.tar": small, "big.tar": pack(big)}), mem="512M")
    vm.expect(r"d: frame hello 0 2 0", timeout=90)
    vm.expect(r"cell d ended: code 0", timeout=90)
    log = vm.log
    for line in (r"started 1 1 0", r"out 1 0 0 'box\\n'", r"out 2 0 0 'ping\\n'", r"ack 2 5 0",
                 r"exit 2 0 0", r"failed 3 2 0", r"out 4 0 0 '33 99", r"Read-only file system",
                 r"exit 4 137 9", r"out 5 0 0 '33\\n'", r"err 5 0 0 'bad\\n'", r"exit 5 3 0",
                 r"error 1 22 0", r"exit 1 137 9"):
        assert re.search(f"d: frame .*{line}" if " " in line and line[0] != "R" else line, log), line
    assert "'secret" not in log
    assert log.index("exit 5 3 0") > log.index("out 5 0 0")


def test_files_of_the_store(archive, boot, tree, tmp_path):
    d0fs, disk = os.path.join(BUILD, "bin", "d0fs"), tmp_path / "disk"
    build_c(tree, "xattr")
    subprocess.run([d0fs, "newfs", "-s", "96M", "-L", "root", disk], check=True, stdout=subprocess.DEVNULL)
    for name in os.listdir(tree):
        subprocess.run([d0fs, "cp", "-r", disk, tree / name, "root:/"], check=True)
    script = ("sha256sum /bin/busybox; dd if=/dev/urandom of=/root/big bs=64k count=30 2>/dev/null; "
              "sha256sum /root/big; mkdir -p /root/a/b; for i in 1 2 3 4 5; do echo $i > /root/a/$i; done; "
              "mv /root/a/3 /root/a/b; ln /root/a/4 /root/four; ln -s a/5 /root/five; rm /root/a/1; "
              "cat /root/a/2 /root/a/b/3 /root/four /root/five; /bin/xattr /root/a/2; find /root | sort; sync")
    conf = ("cell store image=store heap=24M stack=64K channels=16 priority=5\n"
            "args store d0.store=disk:0 log=2\ndevice store class=0100\n" +
            cell("c1", shell(script), data=None) +
            "channel store c1 protocol=fs ring=1M label=fs server_args=pfs=root\n")
    vm = boot(archive(conf, cells=["store"], high=["linux"]),
              extra=["-drive", f"if=none,id=d,format=raw,file={disk}", "-device", "virtio-blk-pci,drive=d"])
    vm.expect(r"cell c1 ended: code 0", timeout=90)
    sums = [m.group(1) for m in vm.find(r"^c1: ([0-9a-f]{64})  /")]
    host = subprocess.run(["sha256sum", BUSYBOX], stdout=subprocess.PIPE, text=True, check=True).stdout
    assert sums[0] == host.split()[0]
    lines = [m.group(1) for m in vm.find(r"^c1: (.*)$")]
    assert lines[2:6] == ["2", "3", "4", "5"]
    assert lines[6:] == ["/root", "/root/a", "/root/a/2", "/root/a/4", "/root/a/5", "/root/a/b",
                         "/root/a/b/3", "/root/big", "/root/five", "/root/four"]
    vm.stop()
    subprocess.run([d0fs, "check", disk], check=True, stdout=subprocess.DEVNULL)
    out = subprocess.run([d0fs, "cat", disk, "root:/root/big"], check=True, stdout=subprocess.PIPE).stdout

    assert hashlib.sha256(out).hexdigest() == sums[1]


@pytest.fixture
def c_programs(tree):
    build_c(tree, "smp", "avx", "calls")
    return tree


def test_threads_and_their_registers_on_several_vcpus(archive, boot, c_programs):
    conf = cell("c1", shell("/bin/smp 2 && /bin/avx && /bin/calls wall") + " caps=0xaa0425fb selfcheck=1",
                vcpus=2)
    vm = boot(archive(conf, high=["linux"], data={"root.tar": pack(c_programs)}), smp=2)
    vm.expect(r"^c1: smp passed 9", timeout=120, absent="FAIL|fault")
    vm.expect(r"^c1: avx passed", timeout=30, absent="FAIL|fault|absent")
    vm.expect(r"^c1: calls passed 29$", timeout=60, absent="FAIL|fault")
    checks = [(m.group(1), m.group(2)) for m in vm.find(r"^c1: selfcheck: (.*): (\w+)$")]
    assert len(checks) == 10 and checks.pop() == ("write data", "POSSIBLE")
    assert all(result == "refused" for _, result in checks), checks
    vm.expect(r"cell c1 ended: code 0")
