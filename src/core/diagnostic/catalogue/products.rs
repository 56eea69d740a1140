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
}
