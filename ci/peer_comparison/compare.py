"""Measures i2i beside its peers: same weights, same request, one after the other in turns (A/B/B/A) on the same machine.

usage: compare.py I2I MODEL_FOLDER OUT_FOLDER [--peers eager,openvino] [--rounds N] [--threads N] [--impl-options "..."]
Writes OUT_FOLDER/peers.json and OUT_FOLDER/peers.md. Two programs are in memory at a time: i2i and one peer.
"""
import argparse
import json
import random
import statistics
import subprocess
import sys
from pathlib import Path

import numpy
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
REQUEST = {"source_image": str(ROOT / ".deps" / "photographs" / "astronaut.png"), "prompt": "a portrait in oil",
           "negative_prompt": "blurred", "strength": 1.0, "steps": 4, "guidance_scale": 7.5, "seed": 7}
STAGES = ["encode_prompt", "vae_encode", "unet", "vae_decode"]
SAME_PICTURE_DB = 40  # below this a peer computes something else


class Worker:
    """A program that answers a request line with an answer line."""

    def __init__(self, name, command):
        self.name, self.answers = name, []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.read()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with exit code {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise SystemExit(f"{self.name}: {answer['error']['message']}")
        return answer

    def ask(self):
        self.process.stdin.write(json.dumps(REQUEST) + "\n")
        self.process.stdin.flush()
        return self.read()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def stage_times(answer):
    times = {name: [row["ms"] for row in answer["stages"] if row["name"] == name] for name in STAGES}
    # What one UNet call takes; the other stages as their sum over the request.
    return {name: statistics.median(rows) if name == "unet" else sum(rows) for name, rows in times.items() if rows} | {
        "total": answer["total_ms"]}


def interval(values, draws=2000):
    """Bootstrap interval (95 %) of the median."""
    rng = random.Random(1)
    medians = sorted(statistics.median(rng.choices(values, k=len(values))) for _ in range(draws))
    return medians[int(0.025 * draws)], medians[int(0.975 * draws)]


def psnr(a, b):
    first, second = (numpy.asarray(Image.open(path.removeprefix("file://")).convert("RGB"), float) for path in (a, b))
    error = ((first - second) ** 2).mean()
    return 99.0 if error == 0 else 10 * numpy.log10(255**2 / error)


def measure(ours, peer, rounds):
    ours.ask(), peer.ask()  # the first run pays for memory, threads and compilation
    pairs = []
    for turn in range(rounds):
        order = (ours, peer) if turn % 2 == 0 else (peer, ours)
        answers = {worker.name: worker.ask() for worker in order}
        pairs.append((answers[ours.name], answers[peer.name]))
        print(f"peers: {peer.name} {turn + 1}/{rounds}: i2i {pairs[-1][0]['total_ms'] / 1000:.2f} s, "
              f"{peer.name} {pairs[-1][1]['total_ms'] / 1000:.2f} s", file=sys.stderr)
    rows = {}
    for stage in [*STAGES, "total"]:
        times = [(stage_times(a)[stage], stage_times(b)[stage]) for a, b in pairs]
        ratios = [b / a for a, b in times]
        low, high = interval(ratios)
        rows[stage] = {"i2i_ms": statistics.median(a for a, _ in times), "peer_ms": statistics.median(b for _, b in times),
                       "ratio": statistics.median(ratios), "ratio_low": low, "ratio_high": high}
    last = pairs[-1]
    return {"peer": peer.name, "rounds": rounds, "stages": rows, "psnr": psnr(last[0]["images"][0], last[1]["images"][0]),
            "i2i_peak_bytes": last[0]["peak_resident_bytes"], "peer_peak_bytes": last[1]["peak_resident_bytes"]}


def table(results):
    lines = ["| peer | " + " | ".join(("UNet call" if s == "unet" else s.replace("_", " ")) for s in [*STAGES, "total"]) +
             " | i2i is faster by | peak GB, peer / i2i | PSNR between the pictures |", "|---" * 9 + "|"]
    for result in results:
        cells = [f"{r['peer_ms'] / 1000:.3g} s / {r['i2i_ms'] / 1000:.3g} s ({r['ratio']:.2f})" for r in result["stages"].values()]
        total = result["stages"]["total"]
        same = "" if result["psnr"] >= SAME_PICTURE_DB else ", **not the same picture: no peer**"
        lines.append(f"| {result['peer']} | " + " | ".join(cells) +
                     f" | {total['ratio']:.2f} [{total['ratio_low']:.2f}, {total['ratio_high']:.2f}] | "
                     f"{result['peer_peak_bytes'] / 1e9:.1f} / {result['i2i_peak_bytes'] / 1e9:.1f} | {result['psnr']:.1f} dB{same} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("i2i")
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--peers", default="eager,openvino")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--options", default="", help="further options of i2i worker, for instance '--dtype bf16'")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = []
    for name in arguments.peers.split(","):
        ours = Worker("i2i", [arguments.i2i, "worker", "--model", str(arguments.model), "--threads", "2", "--out",
                              str(arguments.out / "i2i"), *arguments.options.split()])
        peer = Worker(name, [sys.executable, str(Path(__file__).with_name("worker.py")), name, str(arguments.model),
                             str(arguments.out / name)])
        results.append(measure(ours, peer, arguments.rounds))
        ours.close(), peer.close()
        (arguments.out / "peers.json").write_text(json.dumps({"request": REQUEST, "results": results}, indent=1))
        (arguments.out / "peers.md").write_text(table(results))
    print(table(results), end="")
    if any(result["psnr"] < SAME_PICTURE_DB for result in results):
        raise SystemExit("a peer's picture is not i2i's")


if __name__ == "__main__":
    main()
