#!/usr/bin/env python3
"""What each way of tuning learns of the same documents: a state, a state with shift states, a LoRA of as many numbers as the state,
and states that are distilled from a prompt and from that LoRA.

    make build && python3 tests/bench/ways.py FOLDER [SET ...]

Three sets: answers in one style, invented facts, answers in one format. One question in seven is held out with all its answers.
`loss` is the cross-entropy of the held-out answers, in nats per token; `right` the share of held-out questions that the model answers in
the style, with the right city, or in the format with the right topic. Each way trains at four rates, and the run with the lowest held-out loss
counts. The prompt is eight documents of the set, and the state distilled from it sees no other answer. The figures are in docs/methods.md. Takes half
an hour on two cores. A run whose result is in FOLDER is not repeated.
"""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import sets

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "target/release/statetune"
PROMPT_DOCUMENTS = 8

# For each set: its documents, passes over them, and the regular expression of a right answer.
SETS = {
    "style": (sets.style(sets.THINGS), 2, lambda say: "^ ?Arr, .*matey!$"),
    "facts": (sets.facts(), 6, lambda say: say.split(" is ")[1].replace(".", "[.]")),
    "format": (sets.form(), 4, lambda say: "^ ?" + say.split("\n")[0] + "\nmood: [a-z]+\nreply: .+[.]$"),
}

STATE = 'peft = { type = "state" }'
BOTH = 'peft = { type = "state", parts = ["wkv", "shift"] }'
# Trains at a rate that changes nothing.
PROMPTED = 'peft = { type = "state", parts = ["wkv", "shift"], init = "prompt", init_prompt = PROMPT }'
DISTILLED = STATE + '\nobjective = { type = "distill", SOURCE, draw_tokens = 48 }'
# As many numbers as the state: 4 matrices of 192 x 192 a layer, 2 x 192 x 8 numbers each, against 3 heads of 64 x 64.
LORA = 'peft = { type = "lora", rank = 8, alpha = 16, targets = ["att.receptance", "att.key", "att.value", "att.output"] }'

# For each way: its tables, and the rates that are tried.
WAYS = {
    "the prompt": (PROMPTED, [1e-12]),
    "state, distilled from the prompt": (DISTILLED.replace("SOURCE", "prompt = PROMPT"), [0.1, 0.3, 1, 3]),
    "state": (STATE, [0.3, 1, 3, 10]),
    "state and shift states": (BOTH, [0.3, 1, 3, 10]),
    "LoRA, rank 8": (LORA, [1e-3, 3e-3, 1e-2, 3e-2]),
    "state, distilled from the LoRA": (DISTILLED.replace("SOURCE", "teacher = BEST"), [0.3, 1, 3, 10]),
}

EXPERIMENT = """\
format = 1
name = "{name}"
data = {{ data_file = "{name}.jsonl", val_split = 0, loss_mask = "assistant", dataload = "pad" }}
model = {{ load_model = "{root}/models/tiny-chat.pth", tokenizer = "{root}/models/tiny-vocab.txt" }}
train = {{ ctx_len = 128, micro_bsz = 8, epoch_steps = "pass", epoch_count = {epochs}, precision = "fp32" }}
schedule = {{ lr_schedule = "cos", lr_init = {rate}, lr_final = {final}, warmup_steps = 10 }}
{tables}
"""


def statetune(*arguments):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{arguments}: {done.stdout}{done.stderr}")
    return done.stdout


def write(folder, name):
    """Writes the documents of a set, those held out, and the suite of the questions held out. Returns the prompt."""
    documents, _, right = SETS[name]
    questions = sorted({ask for ask, _ in documents})
    random.Random(1).shuffle(questions)
    held = set(questions[: len(questions) // 7])
    documents = random.Random(1).sample(documents, len(documents))
    learned = [one for one in documents if one[0] not in held]
    held = [one for one in documents if one[0] in held]

    sets.write(folder / f"{name}.jsonl", learned)
    sets.write(folder / f"{name}-held.jsonl", held)
    items = [{"question": ask, "regex": right(say)} for ask, say in dict(held).items()]
    suite = [{"kind": "generate", "max_tokens": 48}, *items]
    (folder / "suite.jsonl").write_text("".join(json.dumps(one) + "\n" for one in suite), encoding="utf-8")
    return "".join(sets.conversation(*one) + "\n\n" for one in learned[:PROMPT_DOCUMENTS])


def tuned(folder, name, prompt, teacher, way, rate):
    """What a way learns at a rate, and beside it the untouched model; `teacher` is the best run of the way before."""
    stem = re.sub("[^a-z0-9]+", "-", f"{name} {way} {rate:g}".lower())
    result = folder / f"{stem}.json"
    if result.exists():
        return json.loads(result.read_text())
    tables, rates = WAYS[way]
    epochs = SETS[name][1] if len(rates) > 1 else 1
    file = folder / f"{stem}.toml"
    tables = tables.replace("PROMPT", json.dumps(prompt)).replace("BEST", json.dumps(teacher))
    file.write_text(EXPERIMENT.format(name=name, root=ROOT, epochs=epochs, rate=rate, final=rate / 100, tables=tables))
    output = statetune("run", file, "--runs-dir", folder / "runs", "--progress", "none")
    run = re.search(r"^run +(\S+)", output, re.M)[1]
    loss = json.loads(statetune("eval", run, folder / f"{name}-held.jsonl", "--format", "json"))["metrics"]
    suite = json.loads(statetune("eval", run, "--suite", folder / "suite.jsonl", "--format", "json"))
    [share] = suite["suites"][0]["metrics"]
    newest = max(Path(run).glob("export/*.pth"), key=lambda one: one.stat().st_mtime)
    found = {"rate": rate, "bytes": newest.stat().st_size, "run": run}
    for model, prefix in [("tuned", ""), ("base", "base_")]:
        found[model] = {"loss": loss[f"{prefix}val_loss"], "right": share[model]}
    result.write_text(json.dumps(found))
    return found


def row(name, way, rate, size, found):
    right = found["right"]
    low, high = (f"{100 * right['interval'][end]:.0f}" for end in ("low", "high"))
    cells = [name, way, rate, size, f"{found['loss']:.4f}", f"{100 * right['value']:.0f} % ({low} to {high})"]
    print("| " + " | ".join(cells) + " |", flush=True)


def main():
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(exist_ok=True)
    print("| set | way | rate | bytes | loss | right |\n| --- | --- | ---: | ---: | ---: | ---: |")
    for name in sys.argv[2:] or SETS:
        prompt = write(folder, name)
        best = None
        for way, (_, rates) in WAYS.items():
            teacher = best and best["run"]
            found = [tuned(folder, name, prompt, teacher, way, rate) for rate in rates]
            first, best = best is None, min(found, key=lambda one: one["tuned"]["loss"])
            if first:
                row(name, "untouched", "", "", best["base"])
            trains = len(rates) > 1
            row(name, way, f"{best['rate']:g}" if trains else "", f"{best['bytes']:,}" if trains else "", best["tuned"])


if __name__ == "__main__":
    main()
