#!/usr/bin/env python3
"""Makes models/tiny-vocab.txt, the 4096-id vocabulary of the small base model.

    python3 scripts/base_corpus.py && python3 scripts/tiny_vocab.py

A subset of the RWKV World vocabulary `rwkv_vocab_v20230424.txt`, taken from the PyPI package `rwkv`
0.8.32 (Apache-2.0), which pip fetches once into data/base/.cache. The file has the same form: a line
is `<id> <python literal> <byte length>`, with the literals verbatim and in the original order, but
with the ids renumbered: 1..256 are the single bytes (id = byte + 1), 257..4095 the chosen longer tokens.
Id 0 ends a document and has no line.

Chosen are the tokens that save most tokens in data/base/base.jsonl and, if it exists,
data/emoji-qa.jsonl. A token's saving depends on which others are chosen, because the tokeniser takes
the longest match at every place; therefore the choice is repeated ROUNDS times and the best one kept.
"""

import ast
import json
import sys
from collections import Counter

from base_corpus import CORPUS, EMOJI, ROOT, fetch, write_atomically

VOCAB = ROOT / "models/tiny-vocab.txt"
EMOJI_QA = ROOT / "data/emoji-qa.jsonl"

VOCAB_SIZE = 4096  # with id 0, which has no line
ROUNDS = 4
SAMPLE_STEP = 4  # rounds look at every fourth document; the report at all of them


def parse_vocab(text: str) -> dict:
    """Token bytes -> their line without the id, in the order of the file."""
    lines = {}
    for number, line in enumerate(text.split("\n")[:-1], 1):
        _, rest = line.split(" ", 1)
        literal, length = rest.rsplit(" ", 1)
        token = ast.literal_eval(literal)
        token = token.encode("utf-8") if isinstance(token, str) else token
        if len(token) != int(length) or token in lines:
            sys.exit(f"vocabulary line {number}: token is a duplicate or not {length} bytes long: {literal}")
        lines[token] = rest
    return lines


class Tokenizer:
    """Greedy longest match over bytes. `tokens` has all 256 single bytes."""

    def __init__(self, tokens):
        self.tokens = set(tokens)
        lengths = {}
        for token in self.tokens:
            if len(token) > 1:
                lengths.setdefault(token[:2], set()).add(len(token))
        self.lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}

    def encode(self, text: bytes, without: bytes = b"") -> list:
        """The tokens of `text`, with `without` treated as if it were not in the vocabulary."""
        found, at = [], 0
        while at < len(text):
            token = text[at : at + 1]
            for length in self.lengths.get(text[at : at + 2], ()):
                longer = text[at : at + length]
                if longer in self.tokens and longer != without:
                    token = longer
                    break
            found.append(token)
            at += len(token)
        return found

    def count(self, texts: list) -> Counter:
        counts = Counter()
        for text in texts:
            counts.update(self.encode(text))
        return counts


def choose(full: Tokenizer, texts: list, size: int) -> set:
    """The best `size` tokens of more than one byte that were found in ROUNDS rounds."""
    single = {bytes([byte]) for byte in range(256)}
    uses = {token: count for token, count in full.count(texts).items() if len(token) > 1}
    needed = {token for token in uses if not token.isascii()}  # the pieces of emoji
    chosen = set(sorted(uses, key=lambda token: (-uses[token], token))[:size])
    best, fewest = set(), sum(len(text) for text in texts) + 1
    for turn in range(1, ROUNDS + 1):
        tiny = Tokenizer(single | chosen)
        saving = {token: count * (len(tiny.encode(token, without=token)) - 1) for token, count in uses.items()}
        ranked = sorted(uses.keys() - needed, key=lambda token: (-saving[token], token))
        chosen = needed | set(ranked[: size - len(needed)])
        counts = Tokenizer(single | chosen).count(texts)
        uses.update((token, counts[token]) for token in chosen)  # a token left out keeps its last count
        total = sum(counts.values())
        print(f"  round {turn}: {total} tokens in every {SAMPLE_STEP}th document")
        if total < fewest:
            best, fewest = chosen, total
    return best


def percentiles(sizes: list) -> str:
    sizes = sorted(sizes)
    return ", ".join(f"{p} %: {sizes[min(len(sizes) - 1, len(sizes) * p // 100)]}" for p in (1, 10, 50, 90, 99, 100))


def main() -> None:
    source = fetch(
        "rwkv==0.8.32",
        "rwkv/rwkv_vocab_v20230424.txt",
        "e6dee3d4e31b4d5c40ac99508ac6c701ceef4bed681bf2167ce9a908552bca89",
    )
    lines = parse_vocab(source.decode("utf-8"))
    full = Tokenizer(lines)
    files = [file for file in (CORPUS, EMOJI_QA) if file.exists()]
    if CORPUS not in files:
        sys.exit(f"{CORPUS} is missing: run scripts/base_corpus.py first")
    texts = []
    for file in files:
        with file.open(encoding="utf-8") as records:
            texts += [json.loads(record)["text"].encode("utf-8") for record in records if record.strip()]

    chosen = choose(full, texts[::SAMPLE_STEP], VOCAB_SIZE - 1 - 256)
    kept = [token for token in lines if len(token) == 1] + [token for token in lines if token in chosen]
    vocab = "".join(f"{number} {lines[token]}\n" for number, token in enumerate(kept, 1))
    assert list(parse_vocab(vocab)) == kept and len(kept) == VOCAB_SIZE - 1
    assert kept[:256] == [bytes([byte]) for byte in range(256)]
    write_atomically(VOCAB, vocab)

    report(texts, full, Tokenizer(kept), len(kept))


def report(texts: list, full: Tokenizer, tiny: Tokenizer, size: int) -> None:
    encoded = [tiny.encode(text) for text in texts]
    counts = Counter(token for document in encoded for token in document)
    tokens, text_bytes = sum(counts.values()), sum(len(text) for text in texts)
    full_tokens = sum(full.count(texts[::SAMPLE_STEP]).values())
    full_bytes = sum(len(text) for text in texts[::SAMPLE_STEP])
    emoji_texts = [bool(EMOJI.search(text.decode("utf-8"))) for text in texts]
    emoji_documents = sum(len(document) for document, emoji in zip(encoded, emoji_texts) if emoji)
    emoji = sum(count for token, count in counts.items() if max(token) >= 0x80)
    unused = [token for token in tiny.tokens if token not in counts]
    single = sum(len(token) == 1 for token in unused)
    print(f"{VOCAB.relative_to(ROOT)}: {size} tokens, {len(unused)} of them unused ({single} single bytes)")
    print(f"  {len(texts)} documents, {text_bytes} bytes, {tokens} tokens (and as many ends as documents)")
    print(f"  {text_bytes / tokens:.3f} bytes a token; {full_bytes / full_tokens:.3f} with the full vocabulary")
    sizes = [len(document) for document in encoded]
    print(f"  tokens a document: {percentiles(sizes)}; {sum(size > 255 for size in sizes)} have more than 255")
    print(f"  {100 * emoji_documents / tokens:.1f} % of the tokens are in documents with emoji")
    print(f"  {100 * emoji / tokens:.2f} % of the tokens are emoji or pieces of emoji")


if __name__ == "__main__":
    main()
