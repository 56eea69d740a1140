"""Writes the `.pth` files under `pth/`, with which the reader is tested.

    python3 make_pth.py [FOLDER]

Made with torch 2.11.0, seed 7, dtypes as the names of the tensors say. `expected.json` lists for each
file that is to be read its tensors in order: `name`, `dtype`, `shape` and `hex`, their elements in
row-major order. The other files, `refused_*.pth`, are to be refused.
"""

import collections
import json
import os
import pathlib
import sys

import torch

from check_pth import elements

DTYPES = "bfloat16 float16 float32 float64 int64 int32 int16 int8 uint8 bool".split()


def numbers(*shape):
    return torch.randn(*shape)


def all_dtypes():
    tensors = {name: (10 * numbers(2, 3)).to(getattr(torch, name)) for name in DTYPES}
    return tensors | {"scalar": numbers(1)[0].clone(), "empty": numbers(3, 0)}


def views():
    base = numbers(4, 6)
    return {
        "base": base,
        "transposed": base.t(),
        "rows": base[1:3],
        "columns": base[:, 2:5],
        "every_other": base[::2, ::3],
        "permuted": numbers(2, 3, 4).permute(2, 0, 1),
        "last_row": base[3],
        "same_again": base,
    }


def parameters():
    weight = torch.nn.Parameter(numbers(3, 2).bfloat16())
    bias = torch.nn.Parameter(numbers(3), requires_grad=False)
    return collections.OrderedDict(weight=weight, bias=bias)


def module():
    layers = torch.nn.Sequential(torch.nn.Embedding(4, 3), torch.nn.LayerNorm(3)).state_dict()
    assert layers._metadata
    return layers


def prefixed():
    return {f"_forward_module.blocks.{i}.att.time_state": numbers(1, 2, 2) for i in (1, 0)}


class CodeToRun:
    def __reduce__(self):
        return os.system, ("true",)


def main(folder):
    torch.manual_seed(7)
    folder.mkdir(exist_ok=True)
    expected = {}

    def save(name, tensors, **options):
        torch.save(tensors, folder / name, **options)
        expected[name] = [
            {
                "name": key,
                "dtype": str(tensor.dtype).removeprefix("torch."),
                "shape": list(tensor.shape),
                "hex": elements(tensor.detach()).hex(),
            }
            for key, tensor in tensors.items()
        ]

    save("all_dtypes.pth", all_dtypes())
    save("views.pth", views())
    save("parameters.pth", parameters())
    save("module.pth", module())
    save("prefixed.pth", prefixed())
    for protocol in (3, 4, 5):
        save(f"protocol_{protocol}.pth", module(), pickle_protocol=protocol)
    save("no_tensors.pth", {})

    # As if saved from a GPU: a tagger of higher priority than the one for the CPU.
    torch.serialization.register_package(0, lambda storage: "cuda:0", lambda storage, place: None)
    save("cuda.pth", prefixed())
    torch.serialization._package_registry.pop(0)

    def save_only(name, value, **options):
        torch.save(value, folder / f"refused_{name}.pth", **options)

    save_only("code", {"emb.weight": numbers(2), "x": CodeToRun()})
    save_only("nested", {"state_dict": module(), "epoch": 3})
    save_only("epoch", {"emb.weight": numbers(2), "epoch": 3})
    save_only("list", [numbers(2)])
    save_only("expanded", {"emb.weight": numbers(1).expand(5)})
    save_only("complex", {"emb.weight": torch.complex(numbers(2), numbers(2))})
    save_only("legacy", module(), _use_new_zipfile_serialization=False)
    program = torch.jit.ScriptModule()
    program.define("def forward(self, x): return x + x\n")
    program.save(str(folder / "refused_torchscript.pth"))

    (folder / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).parent / "pth")
