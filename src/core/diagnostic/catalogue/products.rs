//! Messages about what a run exports, and its use.

use crate::diagnostic::entry::catalogue;

catalogue! {
    RWKV_STATE_COUNT:
        "state shape mismatch: {count} tensors for {layers} layers",
        "state 形状不符：{layers} 层有 {count} 个张量";
    RWKV_TENSOR_NOT_FOUND: "tensor `{name}` not found", "找不到张量 `{name}`";
    RWKV_TENSOR_DTYPE:
        "data type mismatch: tensor `{name}` is {dtype}",
        "数据类型不符：张量 `{name}` 是 {dtype}";
    RWKV_TENSOR_SHAPE:
        "tensor shape not match: `{name}` is {shape}",
        "张量形状不符：`{name}` 是 {shape}";
    TENSOR_IS: "tensor `{name}` is {other}", "张量 `{name}` 是 {other}";
    STATE_SHAPES_DIFFER[ST8005]:
        "`{first}` has {first_shape}, but `{other}` has {other_shape}",
        "`{first}` 是 {first_shape}，但 `{other}` 是 {other_shape}";
    STATE_BASES_DIFFER[ST8006]:
        "`{first}` and `{other}` have different base weights",
        "`{first}` 和 `{other}` 的基础权重不同";
    CANNOT_READ_PASSPORT[ST8001]: "cannot read the passport `{path}`", "无法读取身份文件 `{path}`";
    NOT_A_PASSPORT[ST8001]:
        "`{path}` is not a passport that this version of statetune can read",
        "`{path}` 不是此版本的 statetune 能读取的身份文件";
    FILE_NOT_JSON[ST3040]: "`{file}` is not valid JSON", "`{file}` 不是有效的 JSON";
    PLACE_EXPECTED[ST3041]:
        "{place} is {found}, expected {expected}",
        "{place} 是{found}，应为{expected}";
    EXPECTED_TOKEN_ID[ST3042]:
        "{place} is {id}, expected a token id from 0 to {last}",
        "{place} 是 {id}，应为 0 到 {last} 的 token id";
    NO_TOKENS[ST3043]: "{place} is empty, expected at least one token", "{place} 为空，至少要有一个 token";
    TOKENS_FORM:
        "write one list of token ids, or a list of such lists; items are counted from 0",
        "写一个 token id 列表，或由这种列表组成的列表；项从 0 数起";
    TAKE_MODEL_TOKENIZER:
        "use the tokenizer that the model was trained with; items are counted from 0",
        "请用训练模型时的分词器；项从 0 数起";
    LIST_OR_LISTS_OF_IDS:
        "a list of token ids, or a list of such lists",
        "token id 列表，或由这种列表组成的列表";
    ITEM_OF: "item [{i}] of {place}", "{place} 的第 [{i}] 项";
    ITEM_OF_ITEM: "item [{i}][{j}] of {place}", "{place} 的第 [{i}][{j}] 项";
    LIST_OF_IDS: "a list of token ids, like the other items", "与其他项一样的 token id 列表";
    TOKEN_OF: "token {i} of {place}", "{place} 的第 {i} 个 token";
    A_TOKEN_ID: "a token id", "token id";
    THE_NUMBER: "the number {number}", "数字 {number}";
    LLAMA_LACKS_VERSION[ST8030]:
        "llama.cpp has no {version}: it reads RWKV-6 and RWKV-7",
        "llama.cpp 没有 {version}：它读取 RWKV-6 和 RWKV-7";
    LLAMA_LACKS_SHAPE[ST8030]:
        "llama.cpp reads models with heads of 64 channels, without `pre_ffn` and `head_qk`; this one has {n_head} heads of \
         {head_size} for `n_embd` = {n_embd}",
        "llama.cpp 读取每个 head 为 64 通道、没有 `pre_ffn` 和 `head_qk` 的模型；这个模型有 {n_head} 个 {head_size} 通道的 \
         head，`n_embd` = {n_embd}";
    HF_LACKS_VERSION[ST8030]:
        "the package rwkv7-hf has no {version}: it reads RWKV-7",
        "rwkv7-hf 包没有 {version}：它读取 RWKV-7";
    SHIFT_NOT_READ[ST8033]: "shift states are not read by {program}", "{program} 不读取 shift state";
    READER_COUNTS_TENSORS:
        "it refuses a state file that has other tensors than one for each layer",
        "每层一个张量之外还有张量的 state 文件，它会拒绝";
    READER_READS_TIME_STATE:
        "it reads `time_state` alone, and would start without the shift states and without a word",
        "它只读 `time_state`，会不作声地在没有 shift state 的情况下开始";
    DROP_SHIFT:
        "add `--drop shift` to write the WKV states alone: the model then differs from the trained one",
        "加 `--drop shift` 只写 WKV state：这样的模型与训练的模型不同";
    STATES_BESIDE_WITH_SHIFT:
        "set `--states beside` to write a state file beside the model",
        "设 `--states beside`，在模型旁写 state 文件";
    STATES_LEFT_OUT[ST8031]:
        "the export holds no initial states: the package rwkv7-hf starts every text from zeros",
        "导出的文件没有初始 state：rwkv7-hf 包的每段文本都从零开始";
    STATES_ARE_ALL:
        "the run trained the states alone, so the export answers as the base model does",
        "运行只训练了 state，因此导出的模型与基座模型的回答相同";
    STATES_ARE_PART:
        "the run trained the states together with the weights, so the export answers worse than the run",
        "运行同时训练了 state 和权重，因此导出的模型比运行的结果差";
    PROGRAMS_WITH_STATES:
        "export for a program with states: `--to gguf`, or `statetune mount`",
        "为支持 state 的程序导出：`--to gguf`，或用 `statetune mount`";
    NO_ADAPTER_TO_EXPORT[ST8032]: "`{name}` has no adapter", "`{name}` 没有适配器";
    ADAPTER_NOT_FOR_PEFT[ST8032]:
        "PEFT has no adapter of the kind `{kind}` for these weights",
        "PEFT 没有适用于这些权重的 `{kind}` 适配器";
    PARTS_NOT_FOR_PEFT[ST8032]:
        "the run trained tensors of the model beside its adapter, which a LoRA adapter of PEFT cannot hold",
        "运行在适配器之外还训练了模型的张量，PEFT 的 LoRA 适配器无法包含";
    EXPORT_MERGED_TO_HF: "export the merged model: `--to hf`", "导出合并后的模型：`--to hf`";
}
