"""Prints the documents of a binidx pair as JSON: check_binidx.py PREFIX

An independent reader for the tests: standard library only, and it shares no code with the crate.
"""

import json
import struct
import sys

DTYPES = {1: ("u8", "B"), 2: ("i8", "b"), 3: ("i16", "h"), 4: ("i32", "i"), 5: ("i64", "q"), 8: ("u16", "H")}


def read(prefix):
    with open(prefix + ".idx", "rb") as file:
        idx = file.read()
    with open(prefix + ".bin", "rb") as file:
        tokens = file.read()
    magic, version, code, n, m = struct.unpack_from("<9sQBQQ", idx)
    assert magic == b"MMIDIDX\x00\x00" and version == 1, "not a binidx index"
    assert len(idx) == 34 + 12 * n + 8 * m, "wrong index size"
    sizes = struct.unpack_from(f"<{n}i", idx, 34)
    pointers = struct.unpack_from(f"<{n}q", idx, 34 + 4 * n)
    assert struct.unpack_from(f"<{m}q", idx, 34 + 12 * n) == tuple(range(n + 1)), "wrong document index"
    name, letter = DTYPES[code]
    assert len(tokens) == sum(sizes) * struct.calcsize(letter), "wrong data size"
    documents = [struct.unpack_from(f"<{size}{letter}", tokens, at) for size, at in zip(sizes, pointers)]
    return {"dtype": name, "documents": documents}


if __name__ == "__main__":
    print(json.dumps(read(sys.argv[1])))
