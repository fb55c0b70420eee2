# SPDX-License-Identifier: ISC
"""The controlling side of d0/conctl.h, run in a linux cell of its own: starts programs in the
other cell and prints one line for each thing that comes back."""

import os
import struct

FRAME = struct.Struct("<HHIII")
START, STDIN, STDIN_EOF, RESIZE, SIGNAL, OUTPUT_ACK = 1, 2, 3, 4, 5, 8
NAMES = {64: "hello", 65: "started", 66: "failed", 67: "out", 68: "err", 69: "ack", 70: "exit",
         71: "oom", 72: "procs", 73: "error"}
channel = os.open("/dev/d0/chan0", os.O_RDWR)


def take(size):
    data = b""
    while len(data) < size:
        data += os.read(channel, size - len(data))
    return data


def send(kind, number, arg=0, data=b"", flags=0):
    os.write(channel, FRAME.pack(kind, flags, len(data), number, arg) + data)


def start(number, *strings):
    send(START, number, 0, b"".join(s.encode() + b"\0" for s in strings))


def show(frame):
    kind, flags, number, arg, data = frame
    print("frame", NAMES[kind], number, arg, flags, ascii(data.decode()), flush=True)


def receive():
    kind, flags, size, number, arg = FRAME.unpack(take(16))
    return kind, flags, number, arg, take(size) if size else b""


show(receive())
start(1, "init=1", "argv=/bin/sh", "argv=-c", "argv=hostname; cat /etc/secret; sleep 60", "env=PATH=/bin",
      "hostname=box", "mask=/etc/secret", "readonly=/etc", "mount=tmpfs:t:/mnt:nosuid:size=1m")
start(2, "argv=/bin/cat", "stdin=1")
send(STDIN, 2, 0, b"ping\n")
send(STDIN_EOF, 2)
start(3, "argv=/bin/nosuch")
start(4, "argv=/bin/sh", "argv=-c", "argv=stty size; touch /etc/x; kill -9 $$", "tty=1", "rows=33",
      "cols=99", "env=PATH=/bin")
start(5, "argv=/bin/sh", "argv=-c", "argv=id -u; echo bad >&2; exit 3", "uid=33", "gid=33",
      "env=PATH=/bin")
send(99, 1)
ended = set()
while 1 not in ended:
    frame = receive()
    show(frame)
    if frame[0] == 70:
        ended.add(frame[2])
        if ended == {2, 4, 5}:
            send(SIGNAL, 1, 9)
