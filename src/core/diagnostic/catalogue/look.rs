//! Messages of inspection, comparison and import.

use crate::diagnostic::entry::catalogue;

catalogue! {
    NO_TRAINING_IN_SCRIPT:
        "the script does not run a trainer: no `train.py` found",
        "脚本没有运行训练器：找不到 `train.py`";
    SCRIPT_ONLY_MERGES:
        "the script merges a checkpoint and does not train; use `statetune merge RUN`",
        "脚本只合并检查点而不训练；请用 `statetune merge RUN`";
    SCRIPT_ONLY_PREPARES:
        "the script prepares data and does not train; a run tokenises its data itself",
        "脚本只准备数据而不训练；运行会自行对数据分词";
    SCRIPT_ONLY_INITIAL_MODEL:
        "the script only writes an initial model (stage 1 of RWKV-LM) and does not train; import the script of stage 3",
        "脚本只写出初始模型（RWKV-LM 的第 1 阶段）而不训练；请导入第 3 阶段的脚本";
    SCRIPT_OF_INFCTX:
        "the script starts infctx-trainer; import its YAML file",
        "脚本启动 infctx-trainer；请导入它的 YAML 文件";
    SCRIPT_NOT_OFFERED:
        "statetune does not offer `{option}`",
        "statetune 不提供 `{option}`";
    OFFERED_METHODS:
        "the methods are state, lora, pissa, disha, miss, bone and none (all parameters); change `--peft` in the script \
         and import it again",
        "可用的方法有 state、lora、pissa、disha、miss、bone 和 none（全部参数）；请修改脚本里的 `--peft` 再导入";
    OFFERED_DATA:
        "the data types are jsonl, binidx, utf-8, utf-16le, numpy, uint16 and dummy",
        "可用的数据类型有 jsonl、binidx、utf-8、utf-16le、numpy、uint16 和 dummy";
    NOT_YAML: "the file is not valid YAML: {error}", "文件不是有效的 YAML：{error}";
    NOT_INFCTX:
        "the file lacks `trainer`, `model` and `data`, which infctx-trainer files have",
        "文件没有 infctx-trainer 文件应有的 `trainer`、`model` 和 `data`";
    ESCAPED_LINE_BREAK[ST3104]:
        "{document} contains a literal backslash and n instead of a line break",
        "{document}含有反斜杠加字母 n，而不是换行";
    NOT_A_LINE_BREAK: "not a line break", "不是换行";
    LINE_BREAK_IN_JSON:
        "in JSON, `\\n` is a line break and `\\\\n` is a backslash and an n",
        "JSON 中 `\\n` 是换行，`\\\\n` 是反斜杠加字母 n";
    IS_ALSO[ST3112]: "{place} is also in {other}", "{place}也出现在 {other} 中";
    VALIDATION_LEAKS:
        "a validation loss on documents that were trained on says nothing about other documents",
        "在训练过的文档上的验证损失，不能说明其他文档的情况";
    DOCUMENT_REPEATS[ST3110]: "{place} is a duplicate of {first}", "{place}与 {first} 重复";
    REPEATED_DOCUMENTS_COUNT:
        "each copy counts as a document; copies go to the same side of the validation split",
        "每个副本都算一个文档；副本总在验证划分的同一侧";
    NEAR_DUPLICATE[ST3111]:
        "{place} differs from {first} only in white space and case",
        "{place}与 {first} 只有空白和大小写不同";
    NEAR_DUPLICATE_LEAKS:
        "one may be trained on while the other is a validation document, which makes the validation loss too low",
        "可能一个用于训练、另一个用于验证，使验证损失偏低";
    OVERLONG_TRUNCATES: "its end is dropped", "末尾会被丢弃";
    OVERLONG_SPLITS: "it is split into several samples", "会分成多个样本";
    OVERLONG_DROPS: "it is skipped", "会被跳过";
    OVERLONG_SAYS: "with the current `data.overlong`, {what}", "按当前的 `data.overlong`，{what}";
    DOCUMENT_TEACHES_NOTHING[ST3102]: "{document} has no target tokens", "{document}没有目标 token";
    UNKNOWN_ROLE_WORD[ST3103]:
        "`{word}` starts turns in {n} of {documents} documents, but is not a role word of the template `{template}`",
        "{documents} 个文档中有 {n} 个以 `{word}` 开启轮次，但它不是模板 `{template}` 的角色";
    TURN_BELONGS_TO_PREVIOUS: "such a turn counts as part of the turn before it", "这样的轮次会并入前一个轮次";
}
