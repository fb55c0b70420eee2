"""Add up the JUnit files of a run: the last line is `N passed, N failed`."""

import glob
import sys
import xml.etree.ElementTree as ET


def main():
    passed = failed = skipped = 0
    files = glob.glob(sys.argv[1] + "/*.xml")
    for path in files:
        for case in ET.parse(path).getroot().iter("testcase"):
            if case.find("failure") is not None or case.find("error") is not None:
                failed += 1
                print(f"FAILED {case.get('classname')} {case.get('name')}")
            elif case.find("skipped") is not None:
                skipped += 1
                why = case.find("skipped").get("message", "")
                print(f"skipped {case.get('classname')} {case.get('name')}: {why}")
            else:
                passed += 1
    if passed + failed == 0:
        print("no test was run")
        failed = 1
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
