# SPDX-License-Identifier: ISC
"""What a container of a D0 in QEMU prints, line by line, and how it ends: for `make run`."""

import http.client
import json
import threading
import time


class Follow:
    def __init__(self, docker_port, name, say=print):
        self._port, self._name, self._say = docker_port, name, say
        self._told = None  # when the end that was told came

    def _get(self, path, timeout):
        link = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout)
        link.request("GET", f"/containers/{self._name}/{path}")
        answer = link.getresponse()
        if answer.status != 200:
            raise ValueError(answer.status)
        return answer

    @staticmethod
    def _frames(answer):
        """The pieces of Docker's multiplexed stream: stream, three zeros, length, bytes."""
        while len(head := answer.read(8)) == 8:
            yield answer.read(int.from_bytes(head[4:], "big"))

    def _output(self, since):
        rest = b""
        for piece in self._frames(self._get(f"logs?follow=1&stdout=1&stderr=1&since={since}", None)):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._say(f"{self._name}: {line.decode(errors='replace').rstrip()}")
        if rest:
            self._say(f"{self._name}: {rest.decode(errors='replace')}")

    def _turn(self, begun):
        state = json.load(self._get("json", 10))["State"]
        if state["StartedAt"] < begun:
            return  # of an earlier boot, and not up again yet
        if state["StartedAt"] != self._told:
            self._told = state["StartedAt"]
            self._output(state["StartedAt"])
            state = json.load(self._get("json", 10))["State"]
            if not state["Running"] and state["StartedAt"] == self._told:
                self._say(f"d0: {self._name}: ended, exit code {state['ExitCode']}")

    def run(self):
        """For good; until D0 answers there is nothing to tell."""
        begun = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1))
        while True:
            try:
                self._turn(begun)
            except (http.client.HTTPException, ValueError, OSError):
                pass
            time.sleep(0.5)

    def start(self):
        threading.Thread(target=self.run, daemon=True).start()
