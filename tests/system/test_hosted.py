# SPDX-License-Identifier: ISC
"""The same cells as Linux processes."""

import re
import signal
import subprocess
import time

from machine import BUILD


def test_heartbeat_as_processes(tmp_path, pair):
    conf = tmp_path / "conf"
    conf.write_text(pair.replace("every=50", "every=20"))
    with open(tmp_path / "log", "w+", encoding="utf-8") as log:
        with subprocess.Popen([f"{BUILD}/bin/d0-hosted", conf], stderr=log) as proc:
            try:
                end = time.monotonic() + 30
                while time.monotonic() < end:
                    time.sleep(0.1)
                    log.seek(0)
                    if re.search(r"^beat-b: heartbeat 60 gap_max_us \d+", log.read(), re.M):
                        break
                else:
                    raise AssertionError("no heartbeat")
                proc.send_signal(signal.SIGTERM)
                assert proc.wait(10) == 0
            finally:
                if proc.poll() is None:
                    proc.kill()


def test_errors_name_the_line(tmp_path):
    conf = tmp_path / "conf"
    for text, why in (("cell a\n", "line 1: no image="), ("\nfoo b\n", "line 2: unknown"),
                      ("channel a b\n", "line 1: no such cell")):
        conf.write_text(text)
        done = subprocess.run([f"{BUILD}/bin/d0-hosted", conf], capture_output=True, text=True,
                              check=False, timeout=20)
        assert done.returncode == 1 and why in done.stderr, done.stderr
