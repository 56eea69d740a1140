//! Messages of several rooms.

use crate::diagnostic::entry::catalogue;

catalogue! {
    LEVEL_ERROR: "error", "错误";
    LEVEL_WARNING: "warning", "警告";
    LEVEL_NOTE: "note", "说明";
    LEVEL_HELP: "help", "建议";
    NO_ERRORS: "no errors", "没有错误";
    ERRORS: "{n} {n:error|errors}", "{n} 个错误";
    WARNINGS: "{n} {n:warning|warnings}", "{n} 个警告";
    SUMMARY: "{counts} in {file}", "{file}：{counts}";
    SUMMARY_WITH_FIXES:
        "{summary}; {fixable} can be fixed with --fix",
        "{summary}；其中 {fixable} 个可用 --fix 修复";
    CHECK_FIX: "`statetune check {file:sh}{options} --fix` {does}", "`statetune check {file:sh}{options} --fix` 会{does}";
    SILENCE:
        "silence with `# {allow}{code})` on the line above",
        "在上一行写 `# {allow}{code})` 可不再提示";
    AND_MORE: "{place} and {more} others", "{place} 等，另有 {more} 个";
    CANNOT_WRITE[ST0301]: "cannot write `{file}`", "无法写入 `{file}`";
    CANNOT_WRITE_OUTPUT[ST0301]: "cannot write to standard output", "无法写入标准输出";
    FILE_IS_THERE[ST0122]: "`{file}` already exists", "`{file}` 已存在";
    DOCUMENTS_OF_DATA: "{documents} documents", "{documents} 个文档";
    DID_YOU_MEAN_WORD: "did you mean `{word}`?", "是否想写 `{word}`？";
    NOT_FINITE: "NaN or infinite", "NaN 或无穷大";
    PASSPORT_MISSING: "the passport `{file}` is missing", "缺少身份文件 `{file}`";
    CHOICES_ARE: "choices are {choices}", "可选值：{choices}";
    A_NUMBER: "a number", "数字";
    A_LIST: "a list", "列表";
    A_STRING: "a string", "字符串";
    A_BOOLEAN: "a boolean", "布尔值";
    DELETE_LINE: "delete the setting", "删除此设置";
    AN_OBJECT: "an object", "对象";
    TENSOR_SHAPE:
        "tensor `{name}` has shape {shape}, expected {size}",
        "张量 `{name}` 的形状是 {shape}，应为 {size}";
    TENSOR_MISSING: "tensor `{name}` is missing", "缺少张量 `{name}`";
    PATH_PROBLEM: "{path}: {problem}", "{path}：{problem}";
    WAIT_OR_STOP:
        "wait for it to finish, or stop it with `statetune ctl {run:sh} stop`",
        "等它完成，或用 `statetune ctl {run:sh} stop` 停止";
    RUN_HAS_NO_CHECKPOINT[ST6006]:
        "the run `{run}` has no checkpoint",
        "运行 `{run}` 没有检查点";
    KEY_IS_MISSING[ST2150]: "`{file_key}` is missing", "缺少 `{file_key}`";
}
