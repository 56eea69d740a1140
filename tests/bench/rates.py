#!/usr/bin/env python3
"""How good the rate of `schedule.lr_init = "auto"` is: on the sample and on four small sets, against a sweep of eight rates.

    make build && python3 tests/bench/rates.py [FOLDER] [SET ...]

For each set: the validation loss after the whole run at eight rates, half a decade apart, with a hundredth of the rate at the end;
the rate that the range test finds, and the loss after the whole run with it; the CPU time of the range test, as a share of the sweep.
The figures are in docs/benchmarks.md. Takes about ten minutes on two cores.
"""

import json
import random
import re
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import sets

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target/release/statetune"
RATES = [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30]


SETS = {"style": (sets.style, 4), "facts": (sets.facts, 6), "chinese": (sets.chinese, 4), "tiny": (sets.tiny, 12)}

EXPERIMENT = """\
format = 1
name = "{name}"
data = {{ data_file = "{name}.jsonl", val_split = 0.15, loss_mask = "assistant", dataload = "pad" }}
model = {{ load_model = "{root}/models/tiny-chat.pth", tokenizer = "{root}/models/tiny-vocab.txt" }}
peft = {{ type = "state" }}
train = {{ ctx_len = 128, micro_bsz = 8, epoch_steps = "pass", epoch_count = {epochs}, precision = "fp32" }}
schedule = {{ lr_schedule = "cos", lr_init = "auto", warmup_steps = 10 }}
"""


def write(folder, name):
    """Writes a set and its experiment, and returns the experiment file."""
    if name == "sample":
        return ROOT / "configs/emoji-state.toml"
    make, epochs = SETS[name]
    documents = make()
    random.Random(1).shuffle(documents)
    sets.write(folder / f"{name}.jsonl", documents)
    file = folder / f"{name}.toml"
    file.write_text(EXPERIMENT.format(name=name, root=ROOT, epochs=epochs))
    return file


def cpu_secs():
    """The CPU time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def statetune(*arguments):
    """Runs the program, and returns its output and its CPU time in seconds."""
    started = cpu_secs()
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{arguments}: {done.stderr}")
    return done.stdout, cpu_secs() - started


def loss_of(file, folder, rate):
    """The validation loss after a whole run, and its time."""
    settings = [f"schedule.lr_init={rate}", f"schedule.lr_final={rate / 100}"]
    output, secs = statetune("run", file, "--runs-dir", folder / "runs", "--progress", "none", *(f"--set={one}" for one in settings))
    run = Path(re.search(r"^run +(\S+)", output, re.M)[1])
    return json.loads((run / "status.json").read_text())["val_loss"], secs


def compare(folder, name):
    file = write(folder, name)
    output, test_secs = statetune("plan", file, "--rates", "--runs-dir", folder / "runs", "--format", "json", "--set=schedule.lr_init=auto", "--unset=schedule.lr_final")
    found = json.loads(output)["range_test"]
    sweep = [loss_of(file, folder, rate) for rate in RATES]
    losses = [loss for loss, _ in sweep]
    best = min(losses)
    rate = found["lr_init"]
    loss, _ = loss_of(file, folder, rate)
    share = test_secs / sum(secs for _, secs in sweep)
    cells = [name, str(found["total_steps"]), *(f"{one:.4f}" for one in losses), f"{rate:g}", f"{loss:.4f}", f"{100 * (loss / best - 1):+.1f} %", f"{100 * share:.0f} %"]
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    chosen = sys.argv[2:] or ["sample", *SETS]
    print("| set | steps | " + " | ".join(f"{rate:g}" for rate in RATES) + " | found | loss | against the best | time |")
    print("| --- |" + " ---: |" * (len(RATES) + 5))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(temporary)
        folder.mkdir(exist_ok=True)
        for name in chosen:
            compare(folder, name)


if __name__ == "__main__":
    main()
