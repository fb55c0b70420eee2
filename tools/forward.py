#!/usr/bin/python3
# SPDX-License-Identifier: ISC
"""Ports that containers of a D0 in QEMU publish, on the same ports of 127.0.0.1 here.

forward.py --qmp SOCKET --docker PORT [--host ADDRESS] [--netdev ID]

D0's published ports are at its own address, which only QEMU's user network knows. This
listens to the Docker endpoint's events and adds and removes forwards of that network while
the machine runs, through QEMU's machine protocol. A port that is taken here is reported and
tried again at the next change."""

import argparse
import http.client
import json
import socket
import sys
import threading
import time

HOST = "10.0.2.16"  # D0's address, as in conf/demo.conf


class Qmp:
    """QEMU's machine protocol, as far as the monitor's own commands."""

    def __init__(self, path):
        self._sock = socket.socket(socket.AF_UNIX)
        self._sock.connect(path)
        self._file = self._sock.makefile("rw", encoding="utf-8")
        self._file.readline()  # the greeting
        self._ask({"execute": "qmp_capabilities"})

    def _ask(self, request):
        self._file.write(json.dumps(request) + "\n")
        self._file.flush()
        while True:
            line = self._file.readline()
            if not line:
                raise OSError("QEMU has ended")
            answer = json.loads(line)
            if "return" in answer or "error" in answer:
                return answer

    def command(self, line):
        """What the command prints: nothing, if it is done."""
        answer = self._ask({"execute": "human-monitor-command", "arguments": {"command-line": line}})
        return answer.get("return", str(answer.get("error"))).strip()


class Forwards:
    """Keeps the forwards as the containers' ports are."""

    def __init__(self, qmp, docker_port, host=HOST, netdev="net0", say=print):
        self._qmp, self._docker_port, self._host = qmp, docker_port, host
        self._netdev, self._say = netdev, say
        self._have, self._refused = {}, {}

    def _get(self, path, timeout):
        link = http.client.HTTPConnection("127.0.0.1", self._docker_port, timeout=timeout)
        link.request("GET", path)
        return link, link.getresponse()

    def _wanted(self):
        link, answer = self._get("/containers/json", 10)
        listed = json.load(answer)
        link.close()
        ports = {}
        for c in listed:
            for p in c.get("Ports", []):
                if p.get("PublicPort") and ":" not in p.get("IP", ""):  # QEMU forwards IPv4 only
                    ports[p["Type"], p["PublicPort"]] = c["Names"][0].lstrip("/")
        return ports

    def update(self):
        wanted = self._wanted()
        for key in [k for k in self._have if k not in wanted]:
            proto, port = key
            self._qmp.command(f"hostfwd_remove {self._netdev} {proto}:127.0.0.1:{port}")
            self._say(f"d0: {self._have.pop(key)}: {proto} port {port} is closed")
        for key, name in wanted.items():
            if key in self._have:
                continue
            proto, port = key
            why = self._qmp.command(f"hostfwd_add {self._netdev} {proto}:127.0.0.1:{port}-"
                                    f"{self._host}:{port}")
            if not why:
                self._have[key] = name
                self._say(f"d0: {name}: {proto} port {port} is at 127.0.0.1:{port}")
            elif self._refused.get(key) != why:
                self._say(f"d0: {name}: {proto} port {port} is not at 127.0.0.1:{port}, which is taken "
                          f"here or not allowed to you ({why})")
            self._refused[key] = why
        self._refused = {k: w for k, w in self._refused.items() if k in wanted}

    def run(self):
        """Until QEMU ends. The first answers may take a while: D0 boots."""
        while True:
            try:
                # Events first, then the list: what happens in between is an event.
                link, events = self._get("/events?filters=%7B%22type%22%3A%5B%22container%22%5D%7D",
                                         None)
                self.update()
                while events.readline():
                    self.update()
                link.close()
            except (http.client.HTTPException, ValueError, ConnectionError, TimeoutError):
                pass  # not yet, or no longer; QEMU's end shows at the next command
            time.sleep(1)
            self._qmp.command("info version")

    def start(self):
        def work():
            try:
                self.run()
            except OSError:
                pass  # QEMU has ended
        threading.Thread(target=work, daemon=True).start()


def main():
    args = argparse.ArgumentParser()
    args.add_argument("--qmp", required=True)
    args.add_argument("--docker", type=int, required=True)
    args.add_argument("--host", default=HOST)
    args.add_argument("--netdev", default="net0")
    opts = args.parse_args()
    forwards = Forwards(Qmp(opts.qmp), opts.docker, opts.host, opts.netdev,
                        lambda text: print(text, flush=True))
    try:
        forwards.run()
    except OSError as err:
        sys.exit(f"d0: {err}")


if __name__ == "__main__":
    main()
