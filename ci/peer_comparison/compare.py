"""Runs i2i and its peers in turns (A/B/B/A): same weights, same request, same machine. Only records; `i2i peers` judges.

usage: compare.py I2I OUT_FOLDER [--model sd15|sdxl] [--peers eager,openvino] [--rounds N] [--threads N] [--steps N]
                  [--options "..."] [--budget LPIPS] [--fresh]
Writes the model into OUT_FOLDER unless it is there, peers.json after every round and the pictures beside it: into
OUT_FOLDER for sd15 in 4 steps, else into a folder of it named after both. What is there already for the same program,
request, machine, peer and options is not measured again. Two programs are in memory at a time, i2i and one peer; with
sdxl, which two of would not fit into 24 GB, one: each is started anew for every round.
"""
import argparse
import contextlib
import datetime
import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUEST = {"source_image": str(ROOT / ".deps" / "photographs" / "astronaut.png"), "prompt": "a portrait in oil",
           "negative_prompt": "blurred", "strength": 1.0, "steps": 4, "guidance_scale": 7.5, "seed": 7}
STAGES = ["encode_prompt", "vae_encode", "vae_decode"]
USUAL = ("sd15", REQUEST["steps"])
MODELS = ("sd15", "sdxl")
ONE_IN_MEMORY = {"sdxl"}
SAME_PICTURE_DB = 40  # below this two programs of full precision compute something else


def say(words):
    print(f"peers: {words}", file=sys.stderr)


class PeerFailed(Exception):
    pass


class Worker:
    """A program that answers a request line with an answer line; its first line says what it is."""

    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.versions = self.read().get("versions", {})

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise PeerFailed(f"{self.name} ended with exit code {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise PeerFailed(f"{self.name}: {answer['error']['message']}")
        return answer

    def ask(self):
        try:
            self.process.stdin.write(json.dumps(REQUEST) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # read() says how it ended
        return self.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.process.wait()


def first_field(path, key):
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.split(":", 1)[1].strip()
    return ""


def what_is_measured(arguments):
    """Rounds are comparable, and a measurement can go on, only where all of this is equal."""
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty"], capture_output=True, text=True)
    return {"i2i": {"commit": commit.stdout.strip(),
                    "sha256": hashlib.sha256(Path(arguments.i2i).read_bytes()).hexdigest()},
            "model": str(arguments.folder), "request": REQUEST, "threads": arguments.threads,
            "machine": {"processor": first_field("/proc/cpuinfo", "model name"), "cores": str(os.cpu_count()),
                        "memory": first_field("/proc/meminfo", "MemTotal"), "system": platform.platform()}}


class Record:
    """peers.json: what was measured so far, replaced as a whole so that it is never half written."""

    def __init__(self, folder, measured):
        self.path = folder / "peers.json"
        self.document = {**measured, "runs": []}
        if not self.path.exists():
            return
        try:
            earlier = json.loads(self.path.read_text())
            changed = [key for key in measured if earlier[key] != measured[key]]
        except (ValueError, KeyError, TypeError):
            changed = ["format"]
        if changed:
            aside = folder / f"until-{datetime.datetime.now():%Y%m%d-%H%M%S}"
            aside.mkdir()
            for kept in (self.path, folder / "pictures"):
                if kept.exists():
                    kept.rename(aside / kept.name)
            say(f"{self.path} is of another {', '.join(changed)}: it is in {aside} now, and all rounds are measured anew")
        else:
            self.document = earlier

    def write(self):
        unfinished = self.path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(self.document, indent=1))
        unfinished.replace(self.path)

    def run_of(self, peer, options):
        """The place and the run of this peer beside i2i with these options; a new one is not in the record yet."""
        runs = self.document["runs"]
        for place, run in enumerate(runs):
            if (run["peer"], run["options"]) == (peer, options):
                return place, run
        return len(runs), {"peer": peer, "options": options, "rounds": []}

    def keep(self, place, run):
        self.document["runs"][place:place + 1] = [run]
        self.write()

    def relative(self, answer):
        return os.path.relpath(answer["images"][0].removeprefix("file://"), self.path.parent)


def times(answer):
    """Raw: each stage's sum over the request, and every call of the UNet. A stage that was not timed is left out."""
    rows = {name: [row["ms"] for row in answer["stages"] if row["name"] == name] for name in [*STAGES, "unet"]}
    sums = {f"{name}_ms": sum(rows[name]) for name in STAGES if rows[name]}
    return sums | {"unet_ms": rows["unet"], "total_ms": answer["total_ms"],
                   "peak_resident_bytes": answer["peak_resident_bytes"]}


def our_worker(arguments, options, pictures):
    return Worker("i2i", [arguments.i2i, "worker", "--model", str(arguments.folder), "--threads",
                          str(arguments.threads), "--out", str(pictures), *shlex.split(options)])


def peer_worker(arguments, name, pictures):
    return Worker(name, [sys.executable, str(Path(__file__).with_name("worker.py")), name, str(arguments.folder),
                         str(pictures), str(arguments.threads)])


@contextlib.contextmanager
def asked_before(start, apart):
    """A function that asks the program of `start` once: the first run, which pays for memory, threads and compilation,
    is over by then. @param apart  it is started for every question and ended after it"""
    if not apart:
        with start() as worker:
            worker.ask()
            yield worker.ask, worker.versions
        return
    versions = {}

    def ask():
        with start() as worker:
            versions.update(worker.versions)
            worker.ask()
            return worker.ask()
    yield ask, versions


def exact_picture(arguments, record):
    """What options such as int8 depart from: i2i's picture without any. One for all runs of a measurement."""
    if "exact_picture" not in record.document:
        say("i2i without options, for the picture that both sides are held to")
        with our_worker(arguments, "", arguments.out / "pictures" / "exact") as exact:
            record.document["exact_picture"] = record.relative(exact.ask())
    return record.document["exact_picture"]


def measure(arguments, record, name):
    place, run = record.run_of(name, arguments.options)
    if run["rounds"] and arguments.fresh:
        say(f"{name}: the {len(run['rounds'])} rounds of {record.path} are measured anew")
        run = {**run, "rounds": []}  # the recorded ones stay until a new one has ended
    if run["rounds"]:
        say(f"{name}: {len(run['rounds'])} of {arguments.rounds} rounds are in {record.path} already; --fresh measures anew")
    if len(run["rounds"]) >= arguments.rounds:
        return
    comparison = {"metric": "psnr", "bar": SAME_PICTURE_DB}
    if arguments.options:  # i2i may depart from the picture on purpose, so the bar is a budget
        comparison = {"metric": "lpips", "bar": arguments.budget, "exact_picture": exact_picture(arguments, record)}
    pictures = arguments.out / "pictures" / f"{place}_{name}"
    apart = arguments.model in ONE_IN_MEMORY
    # The peer first: what it takes to convert its model is given back by the time that i2i loads its own.
    with asked_before(lambda: peer_worker(arguments, name, pictures / "peer"), apart) as (ask_peer, versions), \
            asked_before(lambda: our_worker(arguments, arguments.options, pictures / "i2i"), apart) as (ask_ours, _):
        while (turn := len(run["rounds"])) < arguments.rounds:
            order = (ask_ours, ask_peer) if turn % 2 == 0 else (ask_peer, ask_ours)
            answers = {ask: ask() for ask in order}
            ours, peer = answers[ask_ours], answers[ask_peer]
            if run["rounds"] and run["versions"] != versions:
                say(f"{name}: its libraries are others than those of the recorded rounds, which are measured anew")
                run = {**run, "rounds": []}
            run["rounds"].append({"i2i": times(ours), "peer": times(peer)})
            run |= {"versions": versions, "comparison": comparison,
                    "date": f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC",
                    "pictures": {"i2i": record.relative(ours), "peer": record.relative(peer)}}
            record.keep(place, run)
            say(f"{name} {turn + 1}/{arguments.rounds}: i2i {ours['total_ms'] / 1000:.2f} s, "
                f"{name} {peer['total_ms'] / 1000:.2f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("i2i")
    parser.add_argument("out", type=Path)
    parser.add_argument("--model", choices=MODELS, default=USUAL[0])
    parser.add_argument("--peers", default="eager,openvino")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="of either side")
    parser.add_argument("--steps", type=int, default=REQUEST["steps"], help="of the request")
    parser.add_argument("--options", default="", help="further options of i2i worker, for instance '--dtype bf16'")
    parser.add_argument("--budget", type=float, default=0.02,
                        help="with --options: the LPIPS from i2i's picture without them that either side may have")
    parser.add_argument("--fresh", action="store_true", help="measure these peers anew")
    arguments = parser.parse_args()
    REQUEST["steps"] = arguments.steps
    arguments.folder = arguments.out / arguments.model
    if (arguments.model, arguments.steps) != USUAL:
        arguments.out = arguments.out / f"{arguments.model}-{arguments.steps}-steps"
    arguments.out.mkdir(parents=True, exist_ok=True)
    say(f"writing the model into {arguments.folder} (4 GB for sd15, 14 GB for sdxl) unless it is there")
    # In a process of its own: what torch took for it would stay with this one.
    subprocess.run([sys.executable, str(Path(__file__).with_name("model.py")), arguments.model, str(arguments.folder)],
                   check=True)
    record = Record(arguments.out, what_is_measured(arguments))
    failures = 0
    for name in arguments.peers.split(","):
        try:
            measure(arguments, record, name)
        except PeerFailed as failure:
            say(failure)  # the other peers can still be measured
            failures += 1
    judged = subprocess.run([arguments.i2i, "peers", str(record.path), "--out", str(arguments.out)])
    raise SystemExit(1 if failures else judged.returncode)


if __name__ == "__main__":
    main()
