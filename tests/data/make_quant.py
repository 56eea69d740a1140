"""Writes what bitsandbytes makes of known numbers, for tests/golden/quant.rs.

    python3 make_quant.py OUT SITE

SITE is a folder that has bitsandbytes 0.50.2 and what it needs besides torch. OUT becomes a safetensors
file. For each matrix and each of nf4 and fp4 it holds codes, absmax and the dequantised numbers, and of double
quantisation the codes of the scales, their absmax and their offset, and once the levels of the scales. The numbers of
the matrices are made by the same whole-number arithmetic here and in the test.
"""

import json
import struct
import sys

sys.path.insert(0, sys.argv[2])

import torch  # noqa: E402
from bitsandbytes.functional import dequantize_4bit, quantize_4bit  # noqa: E402

MATRICES = {"large": (300, 64), "small": (8, 72), "odd": (5, 67)}


def numbers(rows, columns):
    """Sums of four numbers of 16 bits from a linear congruential generator, around zero."""
    state, out = 12345, []
    for _ in range(rows * columns):
        total = 0
        for _ in range(4):
            state = (state * 1664525 + 1013904223) % 2**32
            total += state >> 16
        out.append((total - 2 * 65535) / 2**20)
    return torch.tensor(out, dtype=torch.float32).view(rows, columns)


def made():
    for matrix, size in MATRICES.items():
        weight = numbers(*size)
        for form in ("nf4", "fp4"):
            name = f"{matrix}.{form}"
            codes, state = quantize_4bit(weight, blocksize=64, quant_type=form)
            yield f"{name}.codes", codes.view(-1)
            yield f"{name}.absmax", state.absmax
            if matrix != "large":
                yield f"{name}.dense", dequantize_4bit(codes, state)
            codes, state = quantize_4bit(weight, blocksize=64, quant_type=form, compress_statistics=True)
            yield f"{name}.scale_codes", state.absmax.view(-1)
            yield f"{name}.scale_absmax", state.state2.absmax
            yield f"{name}.scale_offset", state.offset.view(1)
    yield "scale_levels", state.state2.code


def main():
    header, data = {}, b""
    for name, tensor in made():
        raw = bytes(tensor.contiguous().view(torch.uint8).flatten().tolist())
        dtype = {torch.uint8: "U8", torch.float32: "F32"}[tensor.dtype]
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(sys.argv[1], "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


main()
