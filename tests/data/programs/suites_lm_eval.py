"""Metrics of lm-evaluation-harness on suites, with the log-likelihoods of statetune.

Usage: suites_lm_eval.py STATETUNE MODEL VOCABULARY SUITE... A suite of choices or of cloze texts begins with a line of
settings, among them `shots`. The requests and the metrics are lm_eval's own; the tokens are made here. Prints for each suite
by its file's name an object of metrics.
"""

import ast
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Nothing is fetched, and nothing is kept.
CACHE = tempfile.TemporaryDirectory()
os.environ.update(HF_HOME=CACHE.name, HF_HUB_OFFLINE="1")

import lm_eval
from datasets import Dataset
from lm_eval.api.model import LM

QUESTION = {"doc_to_text": "Question: {{question}}\nAnswer:", "doc_to_target": "{{answer}}", "doc_to_choice": "{{choices}}"}
# A likelihood task joins text and target as they are.
CLOZE = {"doc_to_text": "{{text}}", "doc_to_target": " {{target}}"}


def tokenizer(file):
    """The longest token that fits, again and again."""
    ids = {}
    for line in Path(file).read_text(encoding="utf-8").splitlines():
        number, rest = line.split(" ", 1)
        token = ast.literal_eval(rest.rsplit(" ", 1)[0])
        ids[token if isinstance(token, bytes) else token.encode()] = int(number)
    longest = max(map(len, ids))

    def encode(text):
        found, rest = [], text.encode()
        while rest:
            length = next(n for n in range(min(longest, len(rest)), 0, -1) if rest[:n] in ids)
            found.append(ids[rest[:length]])
            rest = rest[length:]
        return found

    return encode


class Statetune(LM):
    """The model as `statetune score` computes it."""

    def __init__(self, program, model, vocabulary):
        super().__init__()
        self.command = [program, "score", "--model", model]
        self.encode = tokenizer(vocabulary)

    def score(self, sequences):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(sequences, file)
            file.flush()
            said = subprocess.run([*self.command, "--tokens", file.name], check=True, stdout=subprocess.PIPE).stdout
        return json.loads(said)["sequences"]

    def loglikelihood(self, requests):
        pairs = [[self.encode(text) for text in request.args] for request in requests]
        # The sequence before each token of a target: its last logits say which token is the most likely one.
        before = [context + rest[:at] for context, rest in pairs for at in range(len(rest))]
        whole = self.score([context + rest for context, rest in pairs])
        last = iter(self.score(before))
        found = []
        for (context, rest), one in zip(pairs, whole):
            logits = [next(last)["last_logits"] for _ in rest]
            greedy = all(row.index(max(row)) == token for row, token in zip(logits, rest))
            found.append((sum(one["logprobs"][len(context) - 1 :]), greedy))
        return found

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError

    def generate_until(self, requests):
        raise NotImplementedError


def task(file):
    """The suite as a task of lm_eval."""
    settings, *items = map(json.loads, Path(file).read_text(encoding="utf-8").splitlines())
    shots = settings["shots"]
    has_choices = "choices" in items[0]
    metrics = [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm", "acc_bytes")]
    perplexity = {"metric": "perplexity", "aggregation": "perplexity", "higher_is_better": False}
    return {
        "task": Path(file).stem,
        "custom_dataset": lambda **_: {"train": Dataset.from_list(items[:shots] or items), "test": Dataset.from_list(items[shots:])},
        "test_split": "test",
        "fewshot_split": "train",
        "fewshot_config": {"sampler": "first_n"},
        "num_fewshot": shots,
        "output_type": "multiple_choice" if has_choices else "loglikelihood",
        "metric_list": metrics if has_choices else [metrics[0], perplexity],
        **(QUESTION if has_choices else CLOZE),
    }


def main():
    program, model, vocabulary, *suites = sys.argv[1:]
    # What lm_eval says goes to standard error.
    out, sys.stdout = sys.stdout, sys.stderr
    model = Statetune(program, model, vocabulary)
    found = lm_eval.simple_evaluate(model=model, tasks=[task(file) for file in suites], bootstrap_iters=0)
    named = lambda row: {name.removesuffix(",none"): value for name, value in row.items() if isinstance(value, float)}
    print(json.dumps({suite: named(row) for suite, row in found["results"].items()}), file=out)


if __name__ == "__main__":
    main()
