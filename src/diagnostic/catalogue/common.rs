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
}
