# SPDX-License-Identifier: ISC
"""Runs inside a linux cell under the distribution's own python3. Each check is one behaviour of
the Linux ABI as the C library and CPython use it. With an argument: internet sockets too."""

import array
import errno
import fcntl
import mmap
import os
import pty
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

passed = 0


def check(name, good):
    global passed
    if good:
        passed += 1
    else:
        print("FAIL", name, flush=True)


def chains():
    """A socket in flight over a socket in flight, thousands deep; epolls in epolls."""
    last = None
    for _ in range(3000):
        a, b = socket.socketpair()
        if last:
            a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [last.fileno()]))])
            last.close()
        a.close()
        last = b
    last.close()
    check("chain of sockets", True)
    chain, refused = [select.epoll()], False
    for _ in range(8):
        inner = select.epoll()
        try:
            chain[-1].register(inner.fileno(), select.EPOLLIN)
        except OSError:
            refused = True
            break
        chain.append(inner)
    check("chain of epolls", refused and chain[0].poll(0) == [])


def unix_sockets():
    a, b = socket.socketpair()
    a.send(b"hi")
    check("socketpair", b.recv(10) == b"hi")
    r, w = os.pipe()
    a.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [w]))])
    _, ancillary, _, _ = b.recvmsg(10, 100)
    os.write(array.array("i", ancillary[0][2])[0], b"q")
    check("descriptor passing", os.read(r, 1) == b"q")
    server = socket.socket(socket.AF_UNIX)
    server.bind("/tmp/s")
    server.listen(5)

    def serve():
        conn, _ = server.accept()
        total = 0
        while part := conn.recv(65536):
            total += len(part)
        conn.sendall(str(total).encode())
        conn.close()

    thread = threading.Thread(target=serve)
    thread.start()
    client = socket.socket(socket.AF_UNIX)
    client.connect("/tmp/s")
    client.sendall(b"z" * 1000000)
    client.shutdown(1)
    check("stream", client.recv(100) == b"1000000")
    thread.join()
    to = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    to.bind("\0abstract")
    socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"dg", "\0abstract")
    check("abstract datagram", to.recv(100) == b"dg")


def processes():
    count, lock = [0], threading.Lock()

    def add():
        for _ in range(1000):
            with lock:
                count[0] += 1

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check("threads and futexes", count[0] == 8000)
    seen = []
    signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    os.kill(os.getpid(), signal.SIGUSR1)
    check("signal", seen == [1])
    signal.signal(signal.SIGALRM, lambda *_: seen.append(2))
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    time.sleep(0.3)
    check("interval timer", 2 in seen)
    run = subprocess.run
    check("output", run(["/bin/echo", "x"], capture_output=True).stdout == b"x\n")
    check("exit code", run(["/bin/sh", "-c", "exit 7"]).returncode == 7)
    check("killed", run(["/bin/sh", "-c", "kill -TERM $$"]).returncode == -15)
    shared = mmap.mmap(-1, 4096)
    pid = os.fork()
    if pid == 0:
        shared[0:3] = b"abc"
        os._exit(0)
    check("waitpid", os.waitpid(pid, 0) == (pid, 0))
    check("shared memory over fork", shared[0:3] == b"abc")
    cat = subprocess.Popen(["/bin/cat"], stdin=-1, stdout=-1)
    check("pipes both ways", len(cat.communicate(b"k" * 300000)[0]) == 300000)
    try:
        os.execv("/nonexistent", ["x"])
    except FileNotFoundError:
        check("failed exec", True)


def waiting():
    r, w = os.pipe()
    epoll = select.epoll()
    epoll.register(r, select.EPOLLIN)
    check("epoll time-out", epoll.poll(0.01) == [])
    os.write(w, b"1")
    check("epoll", epoll.poll(1) == [(r, select.EPOLLIN)])
    check("select", select.select([r], [], [], 0)[0] == [r])
    event = os.eventfd(3)
    check("eventfd", os.eventfd_read(event) == 3)
    begin = time.monotonic()
    time.sleep(0.2)
    check("sleep", 0.19 < time.monotonic() - begin < 2)
    check("clocks move", time.time_ns() < time.time_ns())


def files():
    with tempfile.TemporaryDirectory() as top:
        with open(top + "/f", "wb") as f:
            f.write(b"hello" * 1000)
        check("size", os.stat(top + "/f").st_size == 5000)
        os.rename(top + "/f", top + "/g")
        check("rename", os.listdir(top) == ["g"])
        os.link(top + "/g", top + "/h")
        check("link count", os.stat(top + "/h").st_nlink == 2)
        os.symlink("g", top + "/l")
        with open(top + "/l", "rb") as f:
            check("symlink", f.read(5) == b"hello")
        os.truncate(top + "/g", 10)
        check("truncate", os.path.getsize(top + "/h") == 10)
        with open(top + "/g", "r+b") as f:
            mapped = mmap.mmap(f.fileno(), 10)
            mapped[0:2] = b"XY"
            check("shared file mapping", os.pread(f.fileno(), 2, 0) == b"XY")
            mapped.close()
            fcntl.flock(f, fcntl.LOCK_EX)
        os.mkdir(top + "/d")
        check("walk", len(list(os.walk(top))) == 2)
    check("removed", not os.path.exists(top))


def terminals():
    master, slave = os.openpty()
    os.write(master, b"abc\n")
    check("line discipline", os.read(slave, 10) == b"abc\n")
    check("terminal name", os.ttyname(slave).startswith("/dev/pts/"))
    pid, fd = pty.fork()
    if pid == 0:
        os.execv("/bin/sh", ["sh", "-c", "test -t 0 && echo terminal"])
    out = b""
    try:
        while part := os.read(fd, 100):
            out += part
    except OSError:
        pass
    check("controlling terminal", b"terminal" in out)
    os.waitpid(pid, 0)


def lost_datagrams():
    """IP_RECVERR: what became of a datagram, as traceroute and ping ask for it."""
    for family, host, level, recverr, origin in (
            (socket.AF_INET, "127.0.0.1", socket.IPPROTO_IP, 11, 2),
            (socket.AF_INET6, "::1", socket.IPPROTO_IPV6, 25, 3)):
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.setsockopt(level, recverr, 1)
        s.setblocking(False)
        s.sendto(b"anybody?", (host, 9))
        p = select.poll()
        p.register(s, select.POLLIN)
        check("an error wakes poll", p.poll(20000) == [(s.fileno(), select.POLLERR)])
        data, control, flags, to = s.recvmsg(100, 200, socket.MSG_ERRQUEUE)
        check("what was lost", data == b"anybody?" and to[:2] == (host, 9) and
              flags & socket.MSG_ERRQUEUE)
        check("one message about it", [c[:2] for c in control] == [(level, recverr)])
        code, where, kind = struct.unpack_from("=IBB", control[0][2])
        check("why", code == errno.ECONNREFUSED and where == origin and
              kind == (3 if origin == 2 else 1))
        by = socket.inet_ntop(family, control[0][2][20:24] if origin == 2 else
                              control[0][2][24:40])
        check("who says so", by == host)
        try:
            s.recvmsg(100, 200, socket.MSG_ERRQUEUE)
            check("no more of them", False)
        except BlockingIOError:
            check("no more of them", p.poll(0) == [])
        s.close()
    a, b = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    a.bind(("127.0.0.1", 0))
    a.setsockopt(socket.IPPROTO_IP, 12, 1)  # IP_RECVTTL
    b.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 33)
    b.sendto(b"x", a.getsockname())
    control = a.recvmsg(10, 100)[1]
    check("time to live", control == [(socket.IPPROTO_IP, socket.IP_TTL, struct.pack("=i", 33))])


def internet():
    server = socket.socket()
    server.bind(("127.0.0.1", 8080))
    server.listen(5)

    def serve():
        conn, _ = server.accept()
        conn.sendall(conn.recv(100) * 1000)
        conn.close()

    thread = threading.Thread(target=serve)
    thread.start()
    client = socket.create_connection(("127.0.0.1", 8080))
    client.sendall(b"0123456789")
    total = 0
    while part := client.recv(4096):
        total += len(part)
    check("tcp", total == 10000)
    thread.join()
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 5353))
    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"dg", ("127.0.0.1", 5353))
    check("udp", udp.recv(100) == b"dg")
    try:
        socket.create_connection(("127.0.0.1", 9))
    except ConnectionRefusedError:
        check("refused", True)
    check("interfaces", (1, "lo") in socket.if_nameindex())


unix_sockets()
chains()
processes()
waiting()
files()
terminals()
if len(sys.argv) > 1:
    internet()
    lost_datagrams()
print("selftest passed", passed, flush=True)
