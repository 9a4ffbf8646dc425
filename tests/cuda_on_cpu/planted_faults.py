#!/usr/bin/env python3
"""Plants one fault at a time into a copy of a kernel and expects that kernel's test to fail.

usage: planted_faults.py [--build build/release] [--kernel NAME ...] [--name PART]

Each row of planted_faults.json is a fault: kernel (its test is NAME_test, the file that compiles it for the CPU is
emulated_NAME.cpp, or the test itself for host code), name, file (in optimized/ops/cuda), old text (must occur exactly
once) and new text. The tests must have been built. The unpatched tests run first: a fault found by a test that always
fails says nothing. Prints "N found of M" and fails unless all are found. Takes minutes: not part of ci/test.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNELS = "optimized/ops/cuda"
TEST_SECONDS = 180


def command_with(commands, *texts):
    found = [line for line in commands if all(text in line for text in texts)]
    if not found:
        sys.exit(f"no build command with {texts}: configure and build the tests first")
    return found[-1].split()


def without_option(command, *names):
    """The command less the given options and their values."""
    result, skip = [], False
    for word in command:
        if skip:
            skip = False
        elif word in names:
            skip = True
        else:
            result.append(word)
    return result


class Kernel:
    """How one kernel's test is compiled and linked, taken from the build itself."""

    def __init__(self, build, name):
        self.build, self.name = build, name
        listing = subprocess.run(["ninja", "-C", str(build), "-t", "commands", f"{name}_test"], text=True, check=True,
                                 capture_output=True).stdout.splitlines()
        emulated = ROOT / f"tests/cuda_on_cpu/emulated_{name}.cpp"
        self.is_host_code = not emulated.exists()
        source = ROOT / f"tests/cuda_on_cpu/{name}_test.cpp" if self.is_host_code else emulated
        self.compile = without_option(command_with(listing, f"-c {source}"), "-o", "-MF", "-MT")
        self.compile = [word for word in self.compile if word not in ("-MD", "-Werror")]
        link = command_with(listing, f"-o {name}_test ")
        start = next(i for i, word in enumerate(link) if word.endswith(("g++", "c++", "clang++")))
        end = link.index("&&", start) if "&&" in link[start:] else len(link)
        self.link = without_option(link[start:end], "-o")

    def passes(self):
        return subprocess.run([str(self.build / f"{self.name}_test")], capture_output=True).returncode == 0

    def run_patched(self, overlay):
        """"compiles" and what the test says; None where the patched kernel does not compile."""
        patched, program = overlay / "patched.o", overlay / "patched_test"
        at = self.compile.index("-c")
        compiled = subprocess.run(self.compile[:at] + ["-w", f"-I{overlay}"] + self.include_first(overlay) +
                                  self.compile[at:] + ["-o", str(patched)], cwd=self.build, text=True,
                                  capture_output=True)
        if compiled.returncode != 0:
            print(compiled.stderr[-2000:])
            return None
        # Before the library that has the clean kernel, which then is not taken from it.
        test = next(i for i, word in enumerate(self.link) if word.endswith(f"{self.name}_test.cpp.o"))
        kept = self.link[:test] if self.is_host_code else self.link[:test + 1]
        link = kept + [str(patched)] + self.link[test + 1:] + ["-o", str(program)]
        subprocess.run(link, cwd=self.build, check=True)
        try:
            return subprocess.run([str(program)], text=True, capture_output=True, timeout=TEST_SECONDS,
                                  env=dict(os.environ, GTEST_FAIL_FAST="1"))
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(program, 124, f"no end after {TEST_SECONDS} s", "")

    @staticmethod
    def include_first(overlay):
        # -iquote comes before every -I, wherever it stands.
        return ["-iquote", str(overlay)]


def plant(fault, overlay):
    text = (ROOT / KERNELS / fault["file"]).read_text()
    count = text.count(fault["old"])
    if count != 1:
        sys.exit(f'{fault["kernel"]}, {fault["name"]}: the old text occurs {count} times in {fault["file"]}')
    target = overlay / KERNELS / fault["file"]
    target.parent.mkdir(parents=True)
    target.write_text(text.replace(fault["old"], fault["new"]))


def reason(result):
    """What the test said first: an issue's kind, or that numbers differ."""
    if result.returncode < 0:
        return f"signal {-result.returncode}"
    kinds = ["race", "async-in-flight", "uninitialised", "out-of-bounds", "misaligned", "read-only", "bad-mask",
             "inactive-lane", "divergent-barrier", "divergent-collective", "barrier-after-exit", "deadlock",
             "partial-warp", "bad-launch"]
    seen = [kind for kind in kinds if f"\n{kind}: " in result.stdout]
    if "wavefronts, " in result.stdout and "shared_ideal" in result.stdout:
        seen.append("bank conflicts")
    return ", ".join(seen) or "numbers"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=str(ROOT / "build/release"), type=pathlib.Path)
    parser.add_argument("--kernel", action="append")
    parser.add_argument("--name", default="")
    options = parser.parse_args()
    build = pathlib.Path(options.build).resolve()
    faults = [fault for fault in json.loads((pathlib.Path(__file__).parent / "planted_faults.json").read_text())
              if (not options.kernel or fault["kernel"] in options.kernel) and options.name in fault["name"]]
    kernels, found = {}, 0
    for fault in faults:
        name = fault["kernel"]
        if name not in kernels:
            kernels[name] = Kernel(build, name)
            if not kernels[name].passes():
                sys.exit(f"{name}_test fails without any fault")
            print(f"{name}: clean", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            overlay = pathlib.Path(folder)
            plant(fault, overlay)
            result = kernels[name].run_patched(overlay)
        verdict = "DOES NOT COMPILE" if result is None else "NOT FOUND" if result.returncode == 0 else "found by"
        if verdict == "found by":
            found += 1
            verdict += " " + reason(result)
        print(f'{name}: {fault["name"]}: {verdict}', flush=True)
    print(f"{found} found of {len(faults)}")
    sys.exit(0 if found == len(faults) else 1)


main()
