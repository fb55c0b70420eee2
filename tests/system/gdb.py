# SPDX-License-Identifier: ISC
"""QEMU's gdb stub in physical-memory mode: how faults get into a machine from outside.

Protocol: "Debugging with GDB", appendix E. Memory written here goes through QEMU's own
store path, so translated code is thrown away as it must be."""

import socket


class Gdb:
    """Connecting stops the machine; resume() lets it run."""

    def __init__(self, sock):
        self._sock = sock
        self._sock.settimeout(20)
        self._buf = b""
        answer = self._ask("Qqemu.PhyMemMode:1")
        while answer.startswith("T"):  # connecting stopped the machine, and it says so
            answer = self._packet()
        assert answer == "OK", answer
        self.running = False

    def _byte(self):
        if not self._buf:
            self._buf = self._sock.recv(65536)
            if not self._buf:
                raise EOFError("gdb stub closed the connection")
        c, self._buf = self._buf[:1], self._buf[1:]
        return c

    def _packet(self):
        while self._byte() != b"$":
            pass
        data = b""
        while (c := self._byte()) != b"#":
            data += c
        self._byte(), self._byte()
        self._sock.sendall(b"+")
        return data.decode("latin-1")

    def _send(self, text):
        data = text.encode("latin-1")
        self._sock.sendall(b"$" + data + b"#%02x" % (sum(data) & 0xff))

    def _ask(self, text):
        self._send(text)
        return self._packet()

    def resume(self):
        if not self.running:
            self._send("c")
            self.running = True

    def pause(self):
        if self.running:
            self._sock.sendall(b"\x03")
            while not self._packet().startswith(("T", "S")):
                pass
            self.running = False

    def read(self, addr, size):
        assert not self.running
        answer = self._ask(f"m{addr:x},{size:x}")
        assert not answer.startswith("E"), f"read at {addr:#x}: {answer}"
        return bytes.fromhex(answer)

    def write(self, addr, data):
        assert not self.running
        assert self._ask(f"M{addr:x},{len(data):x}:{data.hex()}") == "OK", hex(addr)

    def flip(self, addr, bit):
        """One bit, while the machine stands still for a moment."""
        self.pause()
        byte = self.read(addr, 1)[0]
        self.write(addr, bytes([byte ^ 1 << bit]))
        self.resume()

    def close(self):
        try:
            self.pause()
            self._send("D")
        except (OSError, EOFError, socket.timeout):
            pass
        self._sock.close()
