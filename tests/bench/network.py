#!/usr/bin/env python3
"""What a network between two devices costs: two processes of one thread each, over links of 1 Gbit and 100 Mbit.

    make build && python3 tests/bench/network.py [REPEATS [STEPS]]

Each process has a core and a network namespace of its own; `tc` limits the link between them. State tuning of the 0.1B shape (random
weights, passes of 1 sample of 512 tokens, bfloat16). Cases are repeated in turn, REPEATS times (3) of STEPS steps (4), of which the first
does not count. Prints for each link and number of passes in a step: the seconds of a step of one process alone, of two processes that
know nothing of each other, and of two devices; the efficiency of two devices against one process, and against the two that do not talk;
the exchange of the gradients of a pass as `statetune doctor --devices` measures it; and the share of the exchange that is hidden behind
the backward pass. Needs two cores, 6 GiB of memory, `unshare`, `ip` and `tc`. The figures are in docs/benchmarks.md.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("STATETUNE", ROOT / "target/release/statetune")
REPEATS = int(sys.argv[1]) if len(sys.argv) > 1 else 3
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 4
LINKS = {"1 Gbit": "1gbit", "100 Mbit": "100mbit"}
PASSES = (2, 4)
CTX_LEN = 512
EXPERIMENT = """\
format = 1
name = "{name}"
data = {{ data_file = "data.jsonl", dataload = "pack", overlong = "split", val_split = 0 }}
model = {{ {model} }}
peft = {{ type = "{peft}" }}
train = {{ ctx_len = {ctx_len}, micro_bsz = 1, epoch_steps = {steps}, epoch_count = 1, precision = "bf16" }}
hardware = {{ accelerator = "cpu", threads = {threads} }}
schedule = {{ lr_schedule = "constant", lr_init = 1e-3 }}
"""
ADDRESSES = ("10.9.0.1", "10.9.0.2")


def sh(*command, **more):
    return subprocess.run([str(one) for one in command], check=True, text=True, capture_output=True, **more)


def prepare(folder):
    """Documents, weights of the 0.1B shape, and the experiment."""
    rng = random.Random(1)
    words = ["river", "stone", "green", "under", "seven", "walks", "old", "quiet", "paper", "north"]
    lines = (" ".join(rng.choice(words) for _ in range(700)) for _ in range(64))
    (folder / "data.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    new = EXPERIMENT.format(name="new", model='preset = "rwkv7-0.1b"', peft="full", ctx_len=16, steps=1, threads=2)
    (folder / "new.toml").write_text(new)
    sh(PROGRAM, "run", "new.toml", cwd=folder)
    weights = next((folder / "runs").glob("*/export/*.pth"))
    weights.rename(folder / "base.pth")
    states = EXPERIMENT.format(name="net", model='load_model = "base.pth"', peft="state", ctx_len=CTX_LEN, steps=STEPS, threads=1)
    (folder / "net.toml").write_text(states)


def connect(other):
    """Two network namespaces, this one and that of the process `other`."""
    left, right = ADDRESSES
    sh("ip", "link", "set", "lo", "up")
    sh("ip", "link", "add", "left", "type", "veth", "peer", "name", "right", "netns", other)
    sh("ip", "addr", "add", f"{left}/24", "dev", "left")
    sh("ip", "link", "set", "left", "up")
    there(other, "ip", "link", "set", "lo", "up")
    there(other, "ip", "addr", "add", f"{right}/24", "dev", "right")
    there(other, "ip", "link", "set", "right", "up")


def there(other, *command):
    return sh("nsenter", "-t", other, "-n", *command)


def limit(other, rate):
    bucket = ("root", "tbf", "rate", rate, "burst", "64kb", "latency", "50ms")
    sh("tc", "qdisc", "replace", "dev", "left", *bucket)
    there(other, "tc", "qdisc", "replace", "dev", "right", *bucket)


def start(folder, other, core, rank, arguments):
    """A process on a core of its own, one of two devices unless `rank` is none."""
    command = ["taskset", "-c", str(core), str(PROGRAM), *arguments]
    if other and rank == 1:
        command = ["nsenter", "-t", str(other), "-n", *command]
    place = {}
    if rank is not None:
        place = {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1"}
        place |= {"MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": "29411"}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **place}
    return subprocess.Popen(command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def outputs(programs):
    results = [program.communicate() for program in programs]
    for program, (_, errors) in zip(programs, results):
        if program.returncode:
            sys.exit(f"{program.args}: {errors}")
    return [out for out, _ in results]


def step_secs(folder, passes):
    """The median step of the newest run of a folder, without the first."""
    run = max((folder / "runs").iterdir(), key=lambda one: one.stat().st_mtime)
    lines = [json.loads(line) for line in (run / "times.jsonl").read_text().splitlines()]
    return statistics.median(passes * CTX_LEN / line["positions_per_s"] for line in lines[1:])


def trains(folder, passes):
    return ["run", "net.toml", "--progress", "none", "--runs-dir", str(folder / "runs"), "--set", f"train.accumulate_grad_batches={passes}", "--set", "log.every_steps=1"]


def measure(folder, other):
    columns = ("link", "passes", "one s", "two apart s", "two devices s", "efficiency", "against apart", "exchange ms", "hidden")
    print("".join(f"{one:>15}" for one in columns))
    apart = [folder / "apart-0", folder / "apart-1"]
    for one in apart:
        one.mkdir()
    exchange = {}
    for name, rate in LINKS.items():
        limit(other, rate)
        found = outputs([start(folder, other, rank, rank, ["doctor", "--devices", "2", "--format", "json"]) for rank in (0, 1)])[0]
        exchange[name] = json.loads(found)["exchanges"][0]["secs"]
    for passes in PASSES:
        times = {}
        for _ in range(REPEATS):
            outputs([start(folder, None, 0, None, trains(apart[0], passes))])
            times.setdefault("one", []).append(step_secs(apart[0], passes))
            outputs([start(folder, None, core, None, trains(apart[core], passes)) for core in (0, 1)])
            times.setdefault("apart", []).append(max(step_secs(one, passes) for one in apart))
            for name, rate in [("none", "40gbit"), *LINKS.items()]:
                limit(other, rate)
                outputs([start(folder, other, rank, rank, trains(folder, passes)) for rank in (0, 1)])
                times.setdefault(name, []).append(step_secs(folder, passes))
        median = {name: statistics.median(secs) for name, secs in times.items()}
        for name in LINKS:
            secs, one, two = median[name], median["one"], median["apart"]
            visible = (secs - median["none"]) / (passes / 2)
            hidden = 1 - max(visible, 0) / exchange[name]
            row = [name, passes, f"{one:.3f}", f"{two:.3f}", f"{secs:.3f}", f"{one / secs / 2:.3f}", f"{two / secs / 2:.3f}"]
            row += [f"{exchange[name] * 1e3:.1f}", f"{hidden:.2f}"]
            print("".join(f"{one:>15}" for one in row), flush=True)


def main():
    if "IN_NAMESPACE" not in os.environ:
        command = ["unshare", "--map-root-user", "--net", sys.executable, __file__, *sys.argv[1:]]
        sys.exit(subprocess.run(command, env={**os.environ, "IN_NAMESPACE": "1"}).returncode)
    sleeper = subprocess.Popen(["unshare", "-n", "sleep", "100000"])
    try:
        while os.readlink(f"/proc/{sleeper.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            pass
        connect(sleeper.pid)
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder))
            measure(Path(folder), sleeper.pid)
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    finally:
        sleeper.kill()


if __name__ == "__main__":
    main()
