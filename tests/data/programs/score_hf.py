"""Log-probabilities of tokens in Transformers, as `statetune score` prints them: FOLDER TOKENS.json [ADAPTER]."""
import json
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

torch.set_num_threads(1)
folder, tokens = sys.argv[1], json.load(open(sys.argv[2]))
model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, dtype="auto").eval()
if len(sys.argv) > 3:
    from peft import PeftModel

    model = PeftModel.from_pretrained(model, sys.argv[3])
with torch.no_grad():
    logits = model(torch.tensor([tokens])).logits[0]
logprobs = logits.double().log_softmax(-1)
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
text = "User: Hi!\n\nAssistant: 你好 😀\t\\'\""
talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}, {"role": "user", "content": "So?"}]
print(json.dumps({
    "logprobs": [logprobs[i, token].item() for i, token in enumerate(tokens[1:])],
    "ids": tokenizer(text)["input_ids"],
    "text": text,
    "talk": tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True),
}))
