"""Log-probabilities of tokens in llama.cpp, as `statetune score` prints them: MODEL.gguf TOKENS.json [SESSION]."""
import ctypes
import json
import sys

import llama_cpp
import numpy as np

model, tokens = sys.argv[1], json.load(open(sys.argv[2]))
llama = llama_cpp.Llama(model, n_ctx=256, n_threads=1, n_gpu_layers=0, logits_all=True, verbose=False)
past = 0
if len(sys.argv) > 3:
    cached, count = (llama_cpp.llama_token * 16)(), ctypes.c_size_t()
    loaded = llama_cpp.llama_state_load_file(llama.ctx, sys.argv[3].encode(), cached, 16, ctypes.byref(count))
    assert loaded and count.value == 1 and cached[0] == 0
    past = llama.n_tokens = 1
llama.eval(tokens)
logits = llama.scores[past : past + len(tokens)].astype(np.float64)
logprobs = logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True)) - logits.max(-1, keepdims=True)
text = "User: Hi!\n\nAssistant: 你好 😀\t\\'\""
print(json.dumps({
    "logprobs": [logprobs[i, token] for i, token in enumerate(tokens[1:])],
    "ids": llama.tokenize(text.encode(), add_bos=True, special=False),
    "text": text,
}))
