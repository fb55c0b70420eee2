# SPDX-License-Identifier: ISC
"""Add up the JUnit files of a run: the last line is `N passed, N failed`."""

import glob
import sys
import xml.etree.ElementTree as ET


def verdict(case):
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "skipped" if case.find("skipped") is not None else "passed"


def main():
    results = {}
    for path in sorted(glob.glob(sys.argv[1] + "/*.xml"), key=lambda p: p.endswith("-again.xml")):
        for case in ET.parse(path).getroot().iter("testcase"):
            # Unit tests of two programs may have one name; a second try replaces the first.
            program = "" if "/system" in path else path
            key = (program, case.get("classname"), case.get("name"))
            if results.get(key, ("",))[0] == "failed" and verdict(case) == "passed":
                print(f"second try needed: {case.get('classname')} {case.get('name')}")
            results[key] = (verdict(case), case)
    for (_, classname, name), (what, case) in results.items():
        if what == "failed":
            print(f"FAILED {classname} {name}")
        elif what == "skipped":
            print(f"skipped {classname} {name}: {case.find('skipped').get('message', '')}")
    count = {w: sum(r[0] == w for r in results.values()) for w in ("passed", "failed", "skipped")}
    if count["passed"] + count["failed"] == 0:
        print("no test was run")
        count["failed"] = 1
    print(f"{count['passed']} passed, {count['failed']} failed"
          + (f", {count['skipped']} skipped" if count["skipped"] else ""))
    sys.exit(1 if count["failed"] else 0)


if __name__ == "__main__":
    main()
