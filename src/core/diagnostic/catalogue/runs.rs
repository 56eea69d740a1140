//! Messages about run directories.

use crate::diagnostic::entry::catalogue;

catalogue! {
    RUN_IS_BUSY[ST6007]: "another process is using the run `{path}`", "另一个进程正在使用运行 `{path}`";
    PROCESS_HOLDS_RUN: "process {pid} holds its lock", "进程 {pid} 持有它的锁";
    PROCESS_HOLDS_RUN_WITH_COMMAND:
        "process {pid} holds its lock: `{command}`",
        "进程 {pid} 持有它的锁：`{command}`";
    RUN_IS_PINNED[ST6048]: "the run `{path}` is pinned", "运行 `{path}` 已固定";
    NO_ROOM[ST6052]:
        "not enough disk space for {bytes} bytes in `{path}`",
        "`{path}` 没有 {bytes} 字节的磁盘空间";
    CANNOT_CHANGE_RUN[ST6001]: "cannot change the run `{path}`", "无法更改运行 `{path}`";
    PIN_OFF:
        "run `statetune runs pin {path:sh} --off` to unpin it",
        "运行 `statetune runs pin {path:sh} --off` 解除固定";
    NOTHING_REPLACED: "existing files are never replaced", "已有的文件不会被替换";
    NOTHING_KEPT: "no files were kept", "没有保留任何文件";
    NOTHING_UNPACKED: "no files were unpacked", "没有解包任何文件";
    TENSOR_COUNT:
        "{count} tensors, expected {expected}",
        "有 {count} 个张量，应为 {expected} 个";
    OTHER_FOLDERS_OF_RUNS: "there are runs in {folders}", "{folders} 中有运行";
    RUNS_OF_OTHER_FOLDERS:
        "runs are in `runs` beside the experiment file: pass that folder as `--runs-dir DIR`, or the path of a run",
        "运行位于实验文件旁的 `runs` 中：用 `--runs-dir DIR` 指定该目录，或给出运行的路径";
    PASS_PATH_OF_RUN: "pass the path of a run near by: `{run}`", "给出附近一个运行的路径：`{run}`";
    OLDEST_RUN_IS:
        "the number of runs is {n}, and the oldest is `latest~{oldest}`; `statetune runs ls` lists them",
        "共有 {n} 个运行，最旧的是 `latest~{oldest}`；`statetune runs ls` 可列出它们";
    RESUME_OF_EXPERIMENT:
        "this is an experiment file; `statetune run {file:sh} --resume auto` continues its newest unfinished run",
        "这是实验文件；`statetune run {file:sh} --resume auto` 可续跑其最新的未完成运行";
    RUNS_LS_LISTS: "run `statetune runs ls` to list the runs", "运行 `statetune runs ls` 列出所有运行";
    NO_RUN[ST0201]: "no run `{name}` in `{runs_dir}`", "`{runs_dir}` 中没有运行 `{name}`";
    AMBIGUOUS_RUN[ST6040]:
        "the ids of {n} runs start with `{name}`",
        "有 {n} 个运行的 id 以 `{name}` 开头";
    RUN_HAS_NO_BEST[ST6006]: "the run `{run}` has no best checkpoint", "运行 `{run}` 没有最佳检查点";
    RUN_HAS_NO_SUCH_CHECKPOINT[ST6006]:
        "the run `{run}` has no checkpoint `{moment}`",
        "运行 `{run}` 没有检查点 `{moment}`";
    RUN_HAS_CHECKPOINTS: "its checkpoints: {names}", "它的检查点：{names}";
    KEEP_LAST_SAYS:
        "`checkpoint.keep_last` sets how many checkpoints are kept",
        "保留多少个由 `checkpoint.keep_last` 决定";
    NOT_A_MOMENT[ST6041]:
        "`{moment}` in `{name}` is not a valid checkpoint name",
        "`{name}` 中的 `{moment}` 不是有效的检查点名";
    MOMENT_FORM:
        "write RUN@best, RUN@last, RUN@epoch-3 or RUN@step-1500",
        "写成 RUN@best、RUN@last、RUN@epoch-3 或 RUN@step-1500";
    NOTHING_SAVED_YET[ST6002]: "the run `{run}` has no saved files yet", "运行 `{run}` 还没有保存任何文件";
    LINE_PROBLEM: "line {number}: {problem}", "第 {number} 行：{problem}";
    INCIDENT_ORDER: "micro-batches are out of order", "micro-batch 的次序不对";
    INCIDENT_TOKEN: "the model has no token {id}", "模型没有 token {id}";
    INCIDENT_POSITIONS: "positions and tokens do not match", "位置与 token 不对应";
    WRITTEN_DIFFERS: "the written bytes differ from the bytes that were read", "写出的字节与读到的不同";
    CANNOT_READ_RUN[ST6042]: "cannot read `{path}`", "无法读取 `{path}`";
    RUN_SCHEMA[ST6042]:
        "`{path}` has schema `{found}`, expected `{expected}`",
        "`{path}` 的 schema 为 `{found}`，应为 `{expected}`";
    WRITTEN_BY_ANOTHER_VERSION:
        "another version of statetune wrote this run",
        "此运行由另一版本的 statetune 写出";
    LINK_TO_FOLDER_AROUND: "a link to a folder around it", "指向上层目录的链接";
    PACK_IS_EMPTY: "the archive is empty", "归档为空";
    NOT_A_PACKED_RUN: "not a valid packed run: {error}", "不是有效的打包运行：{error}";
    PACK_WITHOUT_LIST: "not a valid packed run: the list of files is missing", "不是有效的打包运行：缺少文件清单";
    PACK_FILE_DIFFERS: "`{name}` does not match the list of files", "`{name}` 与文件清单不符";
    PACK_CONTENT_DIFFERS:
        "the content of `{name}` does not match the list of files",
        "`{name}` 的内容与文件清单不符";
    PACK_HAS_MORE: "the archive has more files than its list", "归档中的文件多于清单";
    PACK_SCHEMA:
        "the archive has schema `{found}`, expected `{expected}`",
        "归档的 schema 为 `{found}`，应为 `{expected}`";
    NOT_A_RUN_NAME: "`{name}` is not a valid run name", "`{name}` 不是有效的运行名";
    OUTSIDE_OF_RUN: "`{name}` points outside the run directory", "`{name}` 会落在运行目录之外";
    FILE_IS_THERE_TWICE: "`{name}` appears twice", "`{name}` 出现两次";
    CANNOT_WRITE_RUN_DIRECTORY[ST6001]:
        "cannot write to the run directory: `{path}`",
        "无法写入运行目录：`{path}`";
    RUN_IS_DAMAGED[ST6042]: "{path}: {problem}", "{path}：{problem}";
    PACK_IS_DAMAGED[ST6050]: "{path}: {problem}", "{path}：{problem}";
    CHECKPOINT_IS_DAMAGED[ST6005]: "{path}: {problem}", "{path}：{problem}";
    FILE_CHANGED_BY_OTHERS:
        "another program removed or changed the file during the run",
        "运行期间有其他程序删除或改动了该文件";
    DIGEST_DIFFERS: "the content does not match `{seal}`", "内容与 `{seal}` 不符";
    CHECKPOINTS_ARE_GONE[ST6005]:
        "the run `{run}` saved checkpoint `{name}`, but has no checkpoint now",
        "运行 `{run}` 保存过检查点 `{name}`，但现在没有检查点";
    RUN_WITH_ITS_SETTINGS:
        "to start a new run with its settings, run `statetune run --like {run:sh}`",
        "要用它的设置开始新运行，运行 `statetune run --like {run:sh}`";
    DAMAGED_CHECKPOINT_IN_THE_WAY:
        "restore the file from a copy, or move the folder `{folder}` elsewhere to resume from an earlier checkpoint",
        "请从副本恢复该文件，或把目录 `{folder}` 移到别处，以便从较早的检查点续跑";
    PATH_IS_THERE[ST6049]: "`{path}` already exists", "`{path}` 已存在";
    PACK_FILE_MISSING: "`{name}` is missing", "缺少 `{name}`";
    PACK_LIST_INVALID: "{name}: {error}", "{name}：{error}";
    PACK_FILE_TIME: "the time of `{name}` is invalid", "`{name}` 的时间无效";
    PACK_FILE_ERROR: "`{name}`: {error}", "`{name}`：{error}";
    PACK_HAS_MORE_DATA: "the archive has data after its last file", "归档的最后一个文件之后还有数据";
    FILE_AND_FOLDER: "`{name}` is both a file and a folder", "`{name}` 既是文件又是目录";
    PACK_WITHOUT_RECORD: "the archive has no `{name}`, so it is not a run", "归档没有 `{name}`，因此不是运行";
    PACK_EXPANDS_TO_MORE: "the archive expands to more data than its list states", "归档解压后的数据超出清单";
    AMBIGUOUS_RUNS_ARE: "matching runs: {names}", "匹配的运行：{names}";
}
