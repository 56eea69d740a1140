//! Messages of the commands.

use crate::diagnostic::entry::catalogue;

catalogue! {
    CANNOT_USE_CACHE[ST3045]: "cannot use the cache `{cache}`", "无法使用缓存 `{cache}`";
    CANNOT_ASK_THIS[ST0213]: "cannot ask this: {error}", "无法这样提问：{error}";
    CHOOSE_ANOTHER_NAME:
        "choose another name; nothing that exists is replaced",
        "换一个名字；已有的文件不会被替换";
    NO_PROCESS_OF_RUN[ST6090]:
        "no process works on the run `{name}`",
        "没有进程在使用运行 `{name}`";
    RESUME_IF_NOT_DONE:
        "`statetune resume {name}` goes on with it, if it is not done",
        "若尚未完成，`statetune resume {name}` 可继续";
    CANNOT_WRITE_RUN[ST6001]: "cannot write to the run `{name}`", "无法写入运行 `{name}`";
    RUN_REFUSES_REQUEST[ST6091]:
        "the run refuses `{request}` after step {step}",
        "运行在第 {step} 步之后拒绝 `{request}`";
    RUN_ENDED_BEFORE_REQUEST[ST6092]:
        "the run `{name}` ended before it did what it was asked for",
        "运行 `{name}` 在完成请求之前就结束了";
    FLAG_IS_FOR_RUNS[ST0212]:
        "`{flag}` has no meaning for an experiment file",
        "`{flag}` 对实验文件没有意义";
    OVERRIDE_THE_SETTING:
        "override its setting: `--set {key}=...`",
        "请覆盖文件中的设置：`--set {key}=...`";
    REPEAT_IS_FOR_BINIDX[ST0214]:
        "`--repeat` has a meaning for `--to binidx` alone",
        "`--repeat` 只对 `--to binidx` 有意义";
    DOCUMENTS_WRITTEN_ONCE:
        "every document is written once, in its order",
        "每个文档按顺序只写一次";
    NO_DOCUMENT_HERE[ST3105]: "there is no document here", "这里没有文档";
    DATA_CHECK_NAMES_LINES:
        "`statetune data check` names the lines that are no documents",
        "`statetune data check` 列出不是文档的行";
    CANNOT_DETACH_RUN[ST0123]:
        "the run cannot be started apart from the terminal",
        "无法让运行脱离终端启动";
    TRAIN_WITH_CHUNK:
        "train with `op = \"chunk\"`, and report this",
        "请用 `op = \"chunk\"` 训练，并报告此问题";
    KERNEL_DOES_NOT_RUN[ST0130]: "the kernel {name} does not run here", "内核 {name} 在本机无法运行";
    KERNEL_IS_WRONG[ST0130]:
        "the kernel {name} is wrong on this machine: off by {error}",
        "内核 {name} 在本机计算有误：偏差 {error}";
    SCHEMA_IS_OLD:
        "old; `statetune schema --write {file}` renews it",
        "已过时；`statetune schema --write {file}` 可更新";
    RUN_HAS_NO_VALIDATION_DOCUMENTS[ST0209]:
        "`{name}` held out no documents",
        "`{name}` 没有留出文档";
    NAME_DOCUMENTS_TO_EVAL: "name some: `eval RUN FILE`", "请指明文档：`eval RUN FILE`";
    NO_METRIC[ST0210]: "there is no metric `{name}`", "没有指标 `{name}`";
    METRICS_ARE: "metrics: {names}", "可用指标：{names}";
    DOCUMENTS_CHANGED[ST3050]: "the documents have changed since the run", "文档在运行之后有改动";
    VALIDATION_SPLIT_CHANGED:
        "other documents would be held out now, some of which it learned from",
        "现在留出的会是另一些文档，其中有些已被学过";
    EVAL_UNSEEN_DOCUMENTS:
        "name documents that it has not seen: `eval RUN FILE`",
        "请指明它没见过的文档：`eval RUN FILE`";
    NO_CODE_OR_KEY[ST1102]: "there is no code and no key `{name}`", "没有代码或键 `{name}`";
    EXPLAIN_ALL:
        "`statetune explain --all` explains every code and key",
        "`statetune explain --all` 解释所有代码和键";
    WOULD_OVERWRITE_ITSELF[ST0206]:
        "`{source}` would overwrite itself",
        "`{source}` 会覆盖它自己";
    NAME_ANOTHER_OUT: "name another file: `--out FILE`", "换一个文件名：`--out FILE`";
    ST_IS_FP16[ST0207]:
        "a `.st` is always fp16: web-rwkv reads nothing else",
        "`.st` 总是 fp16：web-rwkv 只读这种";
    STATE_SAFETENSORS_IS_ST[ST0208]:
        "a state as safetensors is a `.st`: nothing would tell its order",
        "safetensors 形式的 state 就是 `.st`：否则无从得知维度顺序";
    WRITE_TO_ST: "write `--to st`", "写 `--to st`";
    RAW_TAKES_PROMPT_AS_IS: "`--raw` takes the prompt as it is", "`--raw` 可原样使用提示词";
    CANNOT_READ_SCRIPT[ST0401]: "cannot read `{script}`: {error}", "无法读取 `{script}`：{error}";
    CANNOT_IMPORT_SCRIPT[ST0402]: "cannot import `{script}`: {error}", "无法导入 `{script}`：{error}";
    INIT_ASKS_QUESTIONS:
        "`statetune init` begins an experiment with questions",
        "`statetune init` 用几个问题新建实验";
    FILE_EXISTS[ST0403]: "`{out}` exists already", "`{out}` 已存在";
    CHOOSE_ANOTHER_OUT:
        "choose another `--out`; nothing is overwritten",
        "请换一个 `--out`；已有文件不会被覆盖";
    CANNOT_WRITE_BECAUSE[ST0404]:
        "cannot write `{out}`: {error}",
        "无法写入 `{out}`：{error}";
    UPDATE_TO_BLAME[ST6071]:
        "the update of step {step} was to blame, not the step",
        "问题出在第 {step} 步的更新，而不是这一步的计算";
    PARAMETERS_NOT_RECORDED:
        "what learned before it is not recorded, so there is nothing to compute again",
        "没有记录更新前的可学习参数，因此无法重新计算";
    NOT_AN_INCIDENT[ST6070]: "`{name}` names no incident", "`{name}` 不指向任何事故";
    INCIDENT_IS_RUN_AND_STEP:
        "a run and the number of a step, such as `latest/12`; `statetune incident ls RUN` lists them",
        "写运行和步数，例如 `latest/12`；`statetune incident ls RUN` 可列出";
    NO_INCIDENT_AT_STEP[ST6070]:
        "the run `{run}` has no incident at step {step}",
        "运行 `{run}` 在第 {step} 步没有事故";
    INCIDENT_LS_LISTS:
        "`statetune incident ls RUN` lists them",
        "`statetune incident ls RUN` 可列出";
    INIT_NEEDS_TERMINAL[ST0125]:
        "`init` asks five questions, but standard input is no terminal",
        "`init` 要问五个问题，但标准输入不是终端";
    ANSWER_WITH_FLAGS:
        "answer with flags and take the defaults for the rest: `--yes`",
        "用参数回答，其余取默认值：`--yes`";
    CANNOT_READ_ANSWER[ST0125]: "cannot read the answer", "无法读取回答";
    ASK_DOCUMENTS:
        "Documents (JSONL, text, or token files; none: a few examples)",
        "文档（JSONL、文本或 token 文件；不填则用几个示例）";
    ASK_WEIGHTS:
        "Weights, a .pth or .safetensors file (none: a new small model)",
        "权重，.pth 或 .safetensors 文件（不填则新建小模型）";
    ASK_METHOD:
        "Method: state, lora, pissa, disha or full",
        "方法：state、lora、pissa、disha 或 full";
    METHOD_NEEDS_WEIGHTS[ST0125]:
        "`{method}` needs trained weights",
        "`{method}` 需要训练好的权重";
    NAME_MODEL: "name them: `--model FILE`", "请指明权重：`--model FILE`";
    ASK_DEVICE: "Device: auto, gpu or cpu", "设备：auto、gpu 或 cpu";
    NOT_ONE_OF_CHOICES[ST0125]:
        "`{answer}` is none of the choices",
        "`{answer}` 不在可选值之中";
    RUN_HAS_NO_BASE[ST6009]:
        "the run `{run}` trained a new model, it has no base",
        "运行 `{run}` 训练的是新模型，没有基座";
    RUN_MADE_WHOLE_MODEL:
        "its product is a whole model: {product}",
        "其产物是完整的模型：{product}";
    RUN_WEIGHTS_NOT_PACKED[ST0220]:
        "the run did not pack its weights, so there is nothing to merge into them",
        "该运行没有量化权重，无从合并到量化权重";
    LEAVE_OUT_QUANTISED: "leave `--quantised` out", "去掉 `--quantised`";
    NOT_A_PTH_NAME[ST0221]: "`{out}` is no name of a `.pth`", "`{out}` 不是 `.pth` 文件名";
    EXPORT_MAKES_OTHER_FORMS:
        "other forms are made from it: `statetune export FILE --to st`",
        "其他格式由它转换：`statetune export FILE --to st`";
    WOULD_OVERWRITE_INPUT[ST0206]:
        "`{out}` would be overwritten by what is made of it",
        "`{out}` 会被由它生成的文件覆盖";
    NO_STATE_TO_MOUNT[ST8007]:
        "`{state}` tuned weights; there is no state to mount",
        "`{state}` 微调的是权重；没有可挂载的 state";
    EXPORT_INSTEAD:
        "export the model instead: `statetune export`",
        "请改为导出模型：`statetune export`";
    LOG_PROBABILITIES_DIFFER:
        "its log-probabilities would differ from ours by up to {difference}, more than the {tolerance} that rounding explains",
        "其对数概率与我们的最多相差 {difference}，超过舍入可解释的 {tolerance}";
    OPTION_NOT_MOUNTABLE[ST8008]:
        "the model has `{option}`, which no program that mounts states knows",
        "模型有 `{option}`，能挂载 state 的程序都不支持";
    PROGRAM_WOULD_DIFFER[ST8009]:
        "{program} would not use this state as it was trained",
        "{program} 不会按训练时的方式使用此 state";
    NOTHING_WRITTEN: "nothing was written", "没有写入任何内容";
    CANNOT_START_TENSOR_PROGRAM[ST0120]:
        "cannot start `{program}`, which computes with tensors",
        "无法启动负责张量计算的 `{program}`";
    TENSOR_PROGRAM_IS_BESIDE:
        "it is installed together with `statetune` and lies in the same folder",
        "它随 `statetune` 一起安装，位于同一目录";
    UNITS_OF_SIZES: "the units are B, MB, GB, MiB and GiB", "单位可用 B、MB、GB、MiB 和 GiB";
    EXPECTED_SIZE: "expected a size such as 8GiB", "应为大小，例如 8GiB";
    NO_PROPOSALS[ST5012]:
        "there are no proposals: nobody knows how much memory there is, or how much this run takes",
        "没有方案：不知道有多少内存，或不知道本次运行要用多少";
    PROPOSALS_ARE[ST5012]: "there are {n} proposals, A to {last}", "共有 {n} 个方案，A 到 {last}";
    CANNOT_SET_IN_FILE[ST5013]:
        "`{key}` cannot be set in `{file}`",
        "无法在 `{file}` 中设置 `{key}`";
    SET_ELSEWHERE:
        "the environment or `--set` holds another value, or the file is not written as tables",
        "环境变量或 `--set` 中有另一个值，或文件不是用表写成";
    SET_WHERE_SET:
        "set it where it is set now: `{key} = {value}`",
        "请在当前设置它的地方改：`{key} = {value}`";
    NO_PRESET[ST0124]: "there is no preset `{name}`", "没有预设 `{name}`";
    PRESETS_LS_LISTS:
        "`statetune presets ls` lists them",
        "`statetune presets ls` 可列出全部预设";
    TOO_MANY_RUNS_FOR_REPORT[ST6081]:
        "a report shows {most} runs at most, not {n}",
        "报告最多显示 {most} 个运行，而不是 {n} 个";
    TOO_MANY_CURVES:
        "more curves than that are not told apart by their colours",
        "曲线再多就无法靠颜色区分";
    CANNOT_WRITE_REPORT[ST6082]: "{out}: the report cannot be written", "{out}：无法写入报告";
    NEEDED_IS_FOR_RESUME_AUTO[ST6044]:
        "`--needed` goes with `--resume auto` alone",
        "`--needed` 只能与 `--resume auto` 同用";
    NAMED_RUN_CONTINUES:
        "a run that is named goes on whether others are done or not",
        "指名的运行总会继续，与其他运行是否完成无关";
    RUN_IS_DONE[ST6008]: "the run `{run}` is done", "运行 `{run}` 已完成";
    SET_MORE_EPOCHS:
        "more mini-epochs: `--set train.epoch_count=N`",
        "更多 mini-epoch：`--set train.epoch_count=N`";
    START_FROM_RUN:
        "a new run that starts from what it learned: `statetune run FILE --from RUN`",
        "从它学到的内容开始新运行：`statetune run FILE --from RUN`";
    RUN_CANNOT_LEAVE_TERMINAL[ST0123]:
        "the run cannot leave the terminal, which has to stay open",
        "运行无法脱离终端，终端必须保持打开";
    NO_SIGNALS[ST9002]: "the operating system does not deliver signals", "操作系统不递送信号";
    NOT_A_COLUMN[ST6046]:
        "`{key}` in `{text}` is no column, and no setting of these runs",
        "`{text}` 中的 `{key}` 既不是列，也不是这些运行的设置";
    COLUMNS_ARE: "columns are {columns}", "可用的列：{columns}";
    SETTING_WITH_TABLE:
        "a setting is named with its table: `schedule.lr_init`",
        "设置要连同所在的表一起写：`schedule.lr_init`";
    NOT_A_TAG[ST6047]: "`{word}` is no word to find runs by", "`{word}` 不能用作查找运行的词";
    TAG_CHARACTERS:
        "it may have letters, digits, `-`, `_` and `.`",
        "可含字母、数字、`-`、`_` 和 `.`";
    CANNOT_ASK_BACK[ST6045]: "{question} There is nobody to ask", "{question} 没有人可以询问";
    YES_AGREES: "`--yes` says yes beforehand", "`--yes` 表示预先同意";
    REMOVE_RUNS: "remove {names} ({size})?", "删除 {names}（{size}）？";
    CANNOT_WRITE_MAN_PAGES[ST0301]:
        "cannot write manual pages to `{folder}`",
        "无法把手册页写入 `{folder}`";
    WEIGHTS_FOR_STATES[ST0204]: "{weights} for {states}", "{states} 却给了 {weights}";
    WRITE_ONE_WEIGHT_EACH: "write one weight a state", "每个 state 写一个权重";
    WHICH_WEIGHTS[ST0202]: "which weights is `{file}` for?", "`{file}` 是哪份权重的？";
    NO_RUN_OR_MODEL[ST0202]:
        "there is nothing to use: no run and no model",
        "没有可用的对象：既没有运行也没有模型";
    SET_NEEDS_RUN[ST0203]:
        "`--set {set}` overrides a setting of a run, but there is no run",
        "`--set {set}` 覆盖的是运行的设置，但这里没有运行";
    NO_FILE_OR_RUN[ST0205]:
        "there is no file `{name}`, and no such run in `{runs}`",
        "没有文件 `{name}`，`{runs}` 中也没有这个运行";
    UNKNOWN_ADAPTER[ST8022]:
        "nothing says how the adapter `{file}` is used",
        "没有任何信息说明适配器 `{file}` 如何使用";
    NAME_THE_RUN:
        "name its run instead, or keep the `.json` beside the `.pth`",
        "改为指定它的运行，或把 `.json` 与 `.pth` 放在一起";
    NOT_A_SWEEP[ST6051]: "this is no sweep: {problem}", "这不是扫描：{problem}";
    NAME_AXIS_VALUES:
        "name values: `--axis schedule.lr_init=0.3,1.0`",
        "请给出取值：`--axis schedule.lr_init=0.3,1.0`";
    NAME_AXES_IN_FILE:
        "or in the file: `[sweep]` with `axes = {{ \"schedule.lr_init\" = [0.3, 1.0] }}`",
        "或写在文件中：`[sweep]` 里写 `axes = {{ \"schedule.lr_init\" = [0.3, 1.0] }}`";
    CANNOT_START_MEMBERS[ST9003]:
        "the members of a sweep cannot be started",
        "无法启动扫描的成员";
    NO_STEPS_TO_COMPARE[ST6061]:
        "the run `{run}` has no steps to compare with",
        "运行 `{run}` 没有可比较的步";
    CANNOT_MAKE_TEMPORARY_FOLDER[ST6062]: "no temporary folder can be made", "无法建立临时目录";
    RUN_ENDED[ST6093]: "the run `{run}` {state}", "运行 `{run}` {state}";
    RUN_WAS_KILLED[ST6094]:
        "the process of the run `{run}` was killed",
        "运行 `{run}` 的进程被杀死";
    LOCK_IS_FREE:
        "its status is still running, but nobody holds its lock",
        "其状态仍为运行中，但没有进程持有锁";
    RESUME_AFTER_CHECKPOINT:
        "`statetune resume {run}` goes on after its last checkpoint",
        "`statetune resume {run}` 从最后的检查点之后继续";
    CANNOT_WATCH[ST6095]:
        "the system does not tell about changes of `{path}`",
        "系统不报告 `{path}` 的变化";
    CANNOT_DRAW[ST6096]: "the terminal cannot be drawn on", "无法在终端上绘制";
    WATCH_IN_LINES:
        "`statetune watch RUN | cat` tells the same in lines",
        "`statetune watch RUN | cat` 逐行显示同样内容";
    CANNOT_WRITE_EXPERIMENT[ST5011]: "cannot write `{file}`", "无法写入 `{file}`";
    CANNOT_WRITE_EVENTS[ST6043]: "cannot write `{file}`", "无法写入 `{file}`";
    NO_DOCUMENT_ON_LINE[ST3105]: "there is no document on line {line}", "第 {line} 行没有文档";
}
