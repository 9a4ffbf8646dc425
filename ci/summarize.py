"""Adds up what ci/test left in a folder: checks, GoogleTest cases, and programs that died without a result.

Prints each skipped case with its reason, each failed one, and closes on "N passed, M failed".
"""

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def gtest_cases(path):
    """Yields (name, outcome, message) for each case of one GoogleTest XML file."""
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        name = f"{path.parent.name}/{case.get('classname')}.{case.get('name')}"
        failure, skipped = case.find("failure"), case.find("skipped")
        if failure is not None:
            yield name, "failed", failure.get("message", "")
        elif skipped is not None or case.get("status") == "notrun":
            yield name, "skipped", (skipped.get("message", "") if skipped is not None else "not run")
        else:
            yield name, "passed", ""


def main():
    results = Path(sys.argv[1])
    counted = {"passed": [], "failed": [], "skipped": []}
    for path in sorted(results.glob("*.outcome")):
        # The two ctest runs are counted case by case below.
        if not path.stem.startswith("tests-"):
            log = path.with_suffix(".log")
            said = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
            counted[path.read_text().strip()].append((path.stem, said[-1] if said else ""))
    for suite in sorted(results.glob("ctest-*.xml")):
        preset = suite.stem.removeprefix("ctest-")
        programs = ElementTree.parse(suite).getroot().findall("testcase")
        if not programs:
            counted["failed"].append((suite.stem, "no test was run"))
        for program in programs:
            name = program.get("name")
            xml = results / preset / f"{name}.xml"
            cases = list(gtest_cases(xml)) if xml.exists() else []
            for case, outcome, message in cases:
                counted[outcome].append((case, message))
            died = program.get("status") != "run"
            if program.find("skipped") is not None and not cases:
                said = program.findtext("system-out", "").strip().splitlines()
                counted["skipped"].append((f"{preset}/{name}", said[-1] if said else "the program says so"))
            elif not cases or (died and not any(outcome == "failed" for _, outcome, _ in cases)):
                outcome = "failed" if died else "passed"
                counted[outcome].append((f"{preset}/{name}", "the program failed outside of its cases" if died else ""))
    for expected in ("tests-release", "tests-sanitized"):
        outcome = results / f"{expected}.outcome"
        failed_cases = bool(counted["failed"])
        if not outcome.exists() or (outcome.read_text().strip() == "failed" and not failed_cases):
            counted["failed"].append((expected, f"see {expected}.log"))
    for name, message in counted["skipped"]:
        print(f"skipped: {name}: {message.strip() or 'no reason given'}")
    for name, message in counted["failed"]:
        print(f"failed: {name}: {message.strip()[:500]}")
    print(f"{len(counted['passed'])} passed, {len(counted['failed'])} failed, {len(counted['skipped'])} skipped")
    sys.exit(1 if counted["failed"] or not counted["passed"] else 0)


if __name__ == "__main__":
    main()
