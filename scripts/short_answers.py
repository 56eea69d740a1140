#!/usr/bin/env python3
"""Makes data/short-answers.jsonl from data/emoji-qa.jsonl: preference pairs in which the short answer is chosen.

A pair has the first question of a conversation, its answer cut to one sentence without emoji, and a long answer: the same
sentence with sentences of other answers behind it. Usage: scripts/short_answers.py; the output does not change.
"""

import json
import random
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "data" / "emoji-qa.jsonl"
TARGET = ROOT / "data" / "short-answers.jsonl"
PAIRS = 320
EMOJI = re.compile(r"[^\x00-\x7f]+")


def sentences(answer):
    """The sentences of an answer without emoji."""
    plain = EMOJI.sub("\n", answer)
    found = [one.strip() for one in re.findall(r"[^.!?\n]+[.!?]?", plain)]
    return [one if one[-1] in ".!?" else one + "." for one in found if len(one) > 3]


def main():
    asked = []
    for line in SOURCE.read_text(encoding="utf-8").splitlines():
        turns = json.loads(line)["text"].split("\n\n")
        question, answer = turns[0].removeprefix("User: "), turns[1].removeprefix("Assistant: ")
        said = sentences(answer)
        if question.isascii() and said:
            asked.append((question, said))
    pool = [sentence for _, said in asked for sentence in said]
    rng = random.Random(1)
    lines = []
    for question, said in asked[:PAIRS]:
        more = rng.sample([sentence for sentence in pool if sentence not in said], rng.randint(3, 5))
        rejected = " ".join([said[0], *more])
        pair = {"prompt": question, "chosen": said[0], "rejected": rejected}
        lines.append(json.dumps(pair, ensure_ascii=False))
    TARGET.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
