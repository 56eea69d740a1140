//! Messages about run directories.

use crate::diagnostic::entry::catalogue;

catalogue! {
    RUN_IS_BUSY[ST6007]: "{path}: another process works on this run", "{path}：另一个进程正在使用此运行";
    RUN_IS_PINNED[ST6048]: "the run `{path}` is pinned", "运行 `{path}` 已固定";
    NO_ROOM[ST6052]: "{path}: has no room for {bytes} bytes", "{path}：没有 {bytes} 字节的空间";
    CANNOT_CHANGE_RUN[ST6001]: "{path}: cannot be changed", "{path}：无法更改";
    PIN_OFF:
        "`statetune runs pin RUN --off` lets it go",
        "`statetune runs pin RUN --off` 可解除固定";
    NOTHING_REPLACED: "nothing that exists is replaced", "已有的文件不会被替换";
    NOTHING_KEPT: "nothing of it was kept", "没有保留其中任何内容";
    NOTHING_UNPACKED: "nothing of it was unpacked", "没有解包任何内容";
    TENSOR_COUNT:
        "{count} tensors, expected {expected}",
        "有 {count} 个张量，应为 {expected} 个";
    NO_RUN[ST0201]:
        "there is no run `{name}` in `{runs_dir}`",
        "`{runs_dir}` 中没有运行 `{name}`";
    AMBIGUOUS_RUN[ST6040]:
        "the ids of {n} runs start with `{name}`",
        "有 {n} 个运行的 id 以 `{name}` 开头";
    RUN_HAS_NO_BEST[ST6006]: "the run `{run}` has no best checkpoint", "运行 `{run}` 没有最佳检查点";
    RUN_HAS_NO_SUCH_CHECKPOINT[ST6006]:
        "the run `{run}` has no checkpoint `{moment}`",
        "运行 `{run}` 没有检查点 `{moment}`";
    RUN_HAS_CHECKPOINTS: "it has {names}", "现有：{names}";
    KEEP_LAST_SAYS:
        "`checkpoint.keep_last` says how many are kept",
        "保留多少个由 `checkpoint.keep_last` 决定";
    NOT_A_MOMENT[ST6041]:
        "`{moment}` in `{name}` is no moment of a run",
        "`{name}` 中的 `{moment}` 不是运行的时刻";
    MOMENT_FORM:
        "write RUN@best, RUN@last, RUN@epoch-3 or RUN@step-1500",
        "写成 RUN@best、RUN@last、RUN@epoch-3 或 RUN@step-1500";
    NOTHING_SAVED_YET[ST6002]:
        "the run `{run}` has not saved anything yet",
        "运行 `{run}` 还没有保存任何内容";
    LINE_PROBLEM: "line {number}: {problem}", "第 {number} 行：{problem}";
    INCIDENT_ORDER: "micro-batches are not in their order", "micro-batch 的次序不对";
    INCIDENT_TOKEN: "the model has no token {id}", "模型没有 token {id}";
    INCIDENT_POSITIONS: "positions and tokens do not belong together", "位置与 token 不对应";
    LAST_LINE_FAULT: "last line: {error}", "最后一行：{error}";
    WRITTEN_DIFFERS: "what was written is not what was read", "写出的与读到的不一致";
    CANNOT_READ_RUN[ST6042]: "{path}: cannot be read", "{path}：无法读取";
    RUN_SCHEMA[ST6042]:
        "{path}: has schema `{found}`, expected `{expected}`",
        "{path}：schema 为 `{found}`，应为 `{expected}`";
    WRITTEN_BY_ANOTHER_VERSION:
        "another version of statetune wrote this run",
        "此运行由另一版本的 statetune 写出";
    PACK_IS_EMPTY: "is empty", "为空";
    NOT_A_PACKED_RUN: "is no packed run: {error}", "不是打包的运行：{error}";
    PACK_WITHOUT_LIST:
        "is no packed run: it does not begin with its list of files",
        "不是打包的运行：开头不是文件清单";
    PACK_FILE_DIFFERS: "`{name}` is not what its list of files says", "`{name}` 与文件清单不符";
    PACK_CONTENT_DIFFERS:
        "`{name}` has another content than its list of files says",
        "`{name}` 的内容与文件清单不符";
    PACK_HAS_MORE: "has more than its list of files says", "比文件清单多出内容";
    PACK_SCHEMA:
        "has schema `{found}`, expected `{expected}`",
        "schema 为 `{found}`，应为 `{expected}`";
    NOT_A_RUN_NAME: "`{name}` is no name of a run", "`{name}` 不是运行的名称";
    OUTSIDE_OF_RUN: "`{name}` would lie outside the run", "`{name}` 会落在运行目录之外";
    FILE_IS_THERE_TWICE: "`{name}` is there twice", "`{name}` 出现两次";
    CANNOT_WRITE_RUN_DIRECTORY[ST6001]:
        "{path}: cannot write to the run directory",
        "{path}：无法写入运行目录";
    RUN_IS_DAMAGED[ST6042]: "{path}: {problem}", "{path}：{problem}";
    PACK_IS_DAMAGED[ST6050]: "{path}: {problem}", "{path}：{problem}";
    CHECKPOINT_IS_DAMAGED[ST6005]: "{path}: {problem}", "{path}：{problem}";
    PATH_IS_THERE[ST6049]: "`{path}` is there already", "`{path}` 已存在";
    PACK_FILE_MISSING: "`{name}` is missing", "缺少 `{name}`";
    PACK_LIST_INVALID: "{name}: {error}", "{name}：{error}";
    PACK_FILE_TIME: "the time of `{name}` is not valid", "`{name}` 的时间无效";
    PACK_FILE_ERROR: "`{name}`: {error}", "`{name}`：{error}";
    PACK_HAS_MORE_DATA: "has something behind its last file", "最后一个文件之后还有内容";
    FILE_AND_FOLDER: "`{name}` is both a file and a folder", "`{name}` 既是文件又是目录";
    PACK_WITHOUT_RECORD: "has no `{name}`, so it is no run", "没有 `{name}`，因此不是运行";
    PACK_EXPANDS_TO_MORE: "it expands to more than it lists", "解压后的内容超出其清单";
    AMBIGUOUS_RUNS_ARE: "they are {names}", "它们是 {names}";
}
