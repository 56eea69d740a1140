#!/usr/bin/env python3
"""How much training slows down beside other programs.

    make build && python3 tests/bench/shared.py [SECONDS]

Trains the sample (`configs/emoji-state.toml`, many passes, no samples, no validation) beside 0, 1, 2 and 4 busy processes and beside
a second run, with threads that follow the load and with a fixed number. Each case trains for SECONDS (12), of which the first third does
not count. Prints positions a second and the quotient quiet / busy. The figures are in docs/benchmarks.md. Nothing else may run.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target/release/statetune"
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 12
SETTINGS = [
    "train.epoch_steps=20000",
    "train.epoch_count=1",
    "data.val_split=0",
    "sample.held_out=0",
    "log.every_steps=1",
    "schedule.lr_init=0.1",
    "schedule.lr_final=0.1",
]
BUSY = [sys.executable, "-c", "while 1: pass"]


def start(folder, more=()):
    """A run in a folder of its own."""
    folder.mkdir(parents=True)
    for name in ("data", "models"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "configs").mkdir()
    shutil.copy(ROOT / "configs/emoji-state.toml", folder / "configs")
    command = [PROGRAM, "run", "configs/emoji-state.toml", "--progress", "none"]
    for setting in [*SETTINGS, *more]:
        command += ["--set", setting]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def steps(folder):
    """Steps that the only run of a folder has recorded."""
    files = list(folder.glob("runs/*/times.jsonl"))
    return sum(1 for _ in files[0].open()) if files else 0


def measure(folder, runs, busy, more):
    """Steps a second of each of some runs beside busy processes."""
    folders = [folder / str(i) for i in range(runs)]
    programs = [start(one, more) for one in folders]
    others = [subprocess.Popen(BUSY) for _ in range(busy)]
    try:
        while any(steps(one) < 3 for one in folders):
            time.sleep(0.05)
            for program in programs:
                if program.poll() is not None:
                    sys.exit(program.stderr.read())
        time.sleep(SECONDS / 3)
        before, since = [steps(one) for one in folders], time.monotonic()
        time.sleep(SECONDS * 2 / 3)
        after, until = [steps(one) for one in folders], time.monotonic()
    finally:
        for one in programs + others:
            one.send_signal(signal.SIGKILL)
            one.wait()
    return [(b - a) / (until - since) for a, b in zip(before, after)]


def main():
    cases = [("quiet", 1, 0), ("one busy process", 1, 1), ("two", 1, 2), ("four", 1, 4), ("a second run", 2, 0)]
    ways = [("follows the load", ()), ("two threads", ("hardware.threads=2",)), ("one thread", ("hardware.threads=1",))]
    print(f"{os.cpu_count()} cores")
    print("| beside |" + "".join(f" {name} | quiet / busy |" for name, _ in ways))
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        for case, runs, busy in cases:
            line = f"| {case} |"
            for i, (_, more) in enumerate(ways):
                found = measure(Path(folder) / f"{runs}-{busy}-{i}", runs, busy, more)
                rate = sum(found) / len(found)
                rates.setdefault(i, rate)
                line += f" {rate:.1f} steps/s | {rates[0] / rate:.2f} |"
            print(line, flush=True)


main()
