"""What the package `gguf` reads in files that statetune wrote: F32.gguf Q8_0.gguf F16.gguf BF16.gguf, as JSON.

The tensors must be those that the architecture has there, and the narrow files what the package makes of the wide one.
"""
import json
import sys

import numpy as np
from gguf import GGUFReader
from gguf.constants import MODEL_ARCH, MODEL_ARCH_NAMES, MODEL_TENSORS, TENSOR_NAMES, GGMLQuantizationType
from gguf.quants import dequantize, quantize

readers = [GGUFReader(path) for path in sys.argv[1:]]
wide, narrow = readers[0], readers[1:]
field = lambda reader, key: reader.get_field(key).contents()
name = field(wide, "general.architecture")
arch = next(arch for arch in MODEL_ARCH if MODEL_ARCH_NAMES[arch] == name)
layers = field(wide, f"{name}.block_count")
known = {TENSOR_NAMES[tensor].format(bid=bid) for tensor in MODEL_TENSORS[arch] for bid in range(layers)}
unknown = [tensor.name for tensor in wide.tensors if tensor.name.rsplit(".", 1)[0] not in known]
values = {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in wide.tensors}
differing, kinds = [], []
for reader in narrow:
    for tensor in reader.tensors:
        expected = values[tensor.name]
        if tensor.tensor_type != GGMLQuantizationType.F32:
            kinds.append(tensor.tensor_type.name)
            expected = dequantize(quantize(expected, tensor.tensor_type), tensor.tensor_type)
        if not np.array_equal(dequantize(tensor.data, tensor.tensor_type), expected):
            differing.append(tensor.name)
print(json.dumps({
    "architecture": name,
    "unknown": unknown,
    "differing": differing,
    "kinds": sorted(set(kinds)),
    "shapes": {tensor.name: [int(size) for size in reversed(tensor.shape)] for tensor in wide.tensors},
    "fields": {key: field(wide, key) for key in wide.fields if "tokens" not in key and "token_type" not in key},
    "tokens": len(field(wide, "tokenizer.ggml.tokens")),
}))
