"""Reads and writes binidx pairs with numpy: an implementation that shares no code with the crate.

binidx_numpy.py read PREFIX             prints {"dtype": "uint16", "documents": [[...], ...]}
binidx_numpy.py write PREFIX u16|i32    takes a JSON list of documents from standard input
"""

import json
import sys

import numpy as np

HEADER = np.dtype([("magic", "S9"), ("version", "<u8"), ("code", "u1"), ("documents", "<u8"), ("entries", "<u8")])
DTYPES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}


def read(prefix):
    idx = np.fromfile(prefix + ".idx", "u1").tobytes()
    (_, version, code, n, m), rest = np.frombuffer(idx, HEADER, 1)[0].item(), idx[HEADER.itemsize :]
    assert idx.startswith(b"MMIDIDX\0\0") and version == 1 and len(rest) == 12 * n + 8 * m
    sizes, pointers = np.frombuffer(rest, "<i4", n), np.frombuffer(rest, "<i8", n, 4 * n)
    assert np.frombuffer(rest, "<i8", m, 12 * n).tolist() == list(range(n + 1))
    tokens = np.memmap(prefix + ".bin", DTYPES[code], "r")
    starts = pointers // tokens.itemsize
    assert len(tokens) == sizes.sum() and (starts == np.cumsum(sizes) - sizes).all()
    documents = [tokens[start : start + size].tolist() for start, size in zip(starts, sizes)]
    print(json.dumps({"dtype": tokens.dtype.name, "documents": documents}))


def write(prefix, name):
    documents, code = json.load(sys.stdin), {"u16": 8, "i32": 4}[name]
    np.array(sum(documents, []), DTYPES[code]).tofile(prefix + ".bin")
    sizes = np.array([len(document) for document in documents], "<i4")
    pointers = (np.cumsum(sizes) - sizes).astype("<i8") * np.dtype(DTYPES[code]).itemsize
    header = np.array([(b"MMIDIDX\0\0", 1, code, len(sizes), len(sizes) + 1)], HEADER)
    parts = [header, sizes, pointers, np.arange(len(sizes) + 1, dtype="<i8")]
    with open(prefix + ".idx", "wb") as file:
        file.write(b"".join(part.tobytes() for part in parts))


if __name__ == "__main__":
    {"read": read, "write": write}[sys.argv[1]](*sys.argv[2:])
