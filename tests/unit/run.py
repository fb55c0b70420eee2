# SPDX-License-Identifier: ISC
"""Run cmocka programs, print one line for each, leave JUnit XML: run.py OUTDIR PROGRAM..."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ET

TIMEOUT = 300  # seconds for one program


def crashed(name, why, output):
    suite = ET.Element("testsuite", name=name, tests="1", failures="1")
    case = ET.SubElement(suite, "testcase", classname=name, name="runs to its end")
    ET.SubElement(case, "failure", message=why).text = output[-4000:]
    return suite


def run_one(program, outdir):
    """Returns (passed, failed). cmocka writes its own XML; a crash gets one made here."""
    name = os.path.basename(program)
    xml = os.path.join(outdir, f"unit-{name}.xml")
    if os.path.exists(xml):
        os.unlink(xml)
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="XML", CMOCKA_XML_FILE=xml,
               UBSAN_OPTIONS="print_stacktrace=1", ASAN_OPTIONS="detect_leaks=1")
    why, output, code = None, "", 0
    try:
        done = subprocess.run([program], env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=TIMEOUT, check=False)
        code, output = done.returncode, done.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        why, output = f"no end within {TIMEOUT} s", (late.stdout or b"").decode(errors="replace")
    passed = failed = 0
    if why is None:
        try:
            for suite in ET.parse(xml).getroot().iter("testsuite"):
                bad = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
                failed += bad
                passed += int(suite.get("tests", 0)) - bad
        except (OSError, ET.ParseError):
            why = f"exit {code} without a report"
    if why is None and code != 0 and failed == 0:
        why = f"exit {code} although every test passed (a sanitizer?)"
    if why is not None:
        failed += 1
        root = ET.Element("testsuites")
        root.append(crashed(name, why, output))
        ET.ElementTree(root).write(os.path.join(outdir, f"unit-{name}-crash.xml"))
    print(f"  {'FAIL' if failed else 'ok  '} {name}: {passed} passed, {failed} failed"
          + (f" ({why})" if why else ""), flush=True)
    if failed:
        print(output[-6000:])
    return passed, failed


def main():
    outdir, programs = sys.argv[1], sys.argv[2:]
    results = [run_one(p, outdir) for p in programs]
    sys.exit(1 if any(f for _, f in results) else 0)


if __name__ == "__main__":
    main()
