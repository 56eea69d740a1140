"""Reads a `.pth` as Python users do and prints what is in it, as JSON.

    python3 check_pth.py FILE

Loads with `weights_only=True`, once with and once without `mmap=True`, and fails unless both give the
same `OrderedDict` that carries `_metadata`. Printed: a list of the tensors in their order, each with
`name`, `dtype`, `shape`, `sum` (taken in float64) and `sha256` (of its elements in row-major order).
"""

import collections
import hashlib
import json
import sys

import torch


def elements(tensor):
    """The bytes of `tensor` in row-major order."""
    return bytes(tensor.clone(memory_format=torch.contiguous_format).untyped_storage())


def describe(tensors):
    return [
        {
            "name": name,
            "dtype": str(tensor.dtype).removeprefix("torch."),
            "shape": list(tensor.shape),
            "sum": tensor.double().sum().item(),
            "sha256": hashlib.sha256(elements(tensor)).hexdigest(),
        }
        for name, tensor in tensors.items()
    ]


def main(path):
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    assert type(loaded) is collections.OrderedDict, type(loaded)
    assert isinstance(loaded._metadata, collections.OrderedDict), vars(loaded)
    mapped = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    description = describe(loaded)
    assert describe(mapped) == description, "mmap=True gives something else"
    print(json.dumps(description, indent=1))


if __name__ == "__main__":
    main(sys.argv[1])
