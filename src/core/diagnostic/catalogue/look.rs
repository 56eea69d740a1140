//! Messages of inspection, comparison and import.

use crate::diagnostic::entry::catalogue;

catalogue! {
    NO_TRAINING_IN_SCRIPT:
        "no command in it trains a model: looked for `train.py`",
        "其中没有训练模型的命令：要找的是 `train.py`";
    SCRIPT_ONLY_MERGES:
        "it merges a checkpoint and trains nothing: `statetune merge RUN` does that",
        "它只合并检查点而不训练：请用 `statetune merge RUN`";
    NOT_YAML: "it is not YAML: {error}", "不是 YAML：{error}";
    NOT_INFCTX:
        "it has no `trainer`, `model` and `data`, which files of infctx-trainer have",
        "没有 infctx-trainer 文件应有的 `trainer`、`model` 和 `data`";
    ESCAPED_LINE_BREAK[ST3104]:
        "{document} has `\\n` as a backslash and an n",
        "{document}中的 `\\n` 是反斜杠加字母 n";
    NOT_A_LINE_BREAK: "this is no line break", "这不是换行";
    LINE_BREAK_IN_JSON:
        "JSON writes a line break as `\\n`, and a backslash as `\\\\`",
        "JSON 中换行写作 `\\n`，反斜杠写作 `\\\\`";
    IS_ALSO[ST3112]: "{place} is also {other}", "{place}同时也是 {other}";
    VALIDATION_LEAKS:
        "what is learned says nothing about how well the rest is answered",
        "学到的内容说明不了其余部分回答得如何";
    DOCUMENT_REPEATS[ST3110]: "{place} repeats {first}", "{place}与 {first} 重复";
    REPEATED_DOCUMENTS_COUNT:
        "a document counts as often as it stands there; copies are held out together",
        "文档出现几次就计几次；相同的文档会一起留出";
    NEAR_DUPLICATE[ST3111]:
        "{place} differs from {first} in white space and case alone",
        "{place}与 {first} 只有空白和大小写不同";
    NEAR_DUPLICATE_LEAKS:
        "one may be held out and the other learned, which makes the held-out loss too low",
        "可能一个留出、另一个被学习，使留出损失偏低";
    OVERLONG_TRUNCATES: "its end is left out", "末尾会被略去";
    OVERLONG_SPLITS: "it becomes several samples", "会分成多个样本";
    OVERLONG_DROPS: "it is left out", "会被略去";
    OVERLONG_SAYS: "`data.overlong` says that {what}", "按 `data.overlong` 的设置，{what}";
    DOCUMENT_TEACHES_NOTHING[ST3102]: "{document} would teach nothing", "{document}什么也学不到";
    UNKNOWN_ROLE_WORD[ST3103]:
        "`{word}` opens turns in {n} of {documents} documents, but is no role of the template `{template}`",
        "{documents} 个文档中有 {n} 个以 `{word}` 开启轮次，但它不是模板 `{template}` 的角色";
    TURN_BELONGS_TO_PREVIOUS:
        "such a turn belongs to whoever speaks before it",
        "这样的轮次归前一个说话者";
    IF_ASSISTANT: "if the assistant speaks there: {help}", "如果那是 assistant 在说话：{help}";
}
