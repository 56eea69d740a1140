//! Messages of the commands.

use crate::diagnostic::entry::catalogue;

catalogue! {
    CANNOT_USE_CACHE[ST3045]: "cannot use the cache `{cache}`", "无法使用缓存 `{cache}`";
    CANNOT_ASK_THIS[ST0213]:
        "the template cannot phrase this prompt: {error}",
        "模板无法表达此提示词：{error}";
    CHOOSE_ANOTHER_NAME:
        "choose another name; existing files are never replaced",
        "换一个名字；已有的文件不会被替换";
    NO_PROCESS_OF_RUN[ST6090]: "the run `{name}` is not running", "运行 `{name}` 没有在运行";
    RESUME_IF_NOT_DONE:
        "if it is not finished, `statetune resume {name:sh}` continues it",
        "若尚未完成，`statetune resume {name:sh}` 可继续它";
    CANNOT_WRITE_RUN[ST6001]: "cannot write to the run `{name}`", "无法写入运行 `{name}`";
    RUN_REFUSES_REQUEST[ST6091]:
        "the run refused `{request}` after step {step}",
        "运行在第 {step} 步之后拒绝 `{request}`";
    RUN_ENDED_BEFORE_REQUEST[ST6092]:
        "the run `{name}` ended before it handled the request",
        "运行 `{name}` 在处理请求之前就结束了";
    FLAG_IS_FOR_RUNS[ST0212]: "`{flag}` does not apply to an experiment file", "`{flag}` 不适用于实验文件";
    OVERRIDE_THE_SETTING:
        "override the setting of the file: `--set {key}=...`",
        "请覆盖文件中的设置：`--set {key}=...`";
    REPEAT_IS_FOR_BINIDX[ST0214]:
        "`--repeat` only applies to `--to binidx`",
        "`--repeat` 只适用于 `--to binidx`";
    DOCUMENTS_WRITTEN_ONCE:
        "the other formats write every document once, in order",
        "其他格式按顺序把每个文档写一次";
    TEMPLATE_DOES_NOT_THINK[ST0126]:
        "`--think` only applies to models with a think block; the template is `{template}`",
        "`--think` 只用于有思考块的模型；模板是 `{template}`";
    MODELS_THAT_THINK:
        "models of the templates `g1` and `g1-think` have one; name a run with such a template, or weights with `g1` in their file name",
        "模板 `g1` 和 `g1-think` 的模型有思考块；请给出使用这类模板的运行，或文件名含 `g1` 的权重";
    NO_DOCUMENT_HERE[ST3105]: "the data has no documents", "数据中没有文档";
    DATA_CHECK_NAMES_LINES:
        "run `statetune data check {experiment}` to list the lines that are not valid documents",
        "运行 `statetune data check {experiment}` 列出不是有效文档的行";
    DOCUMENTS_ARE_ON:
        "`{data}` has its documents on lines {first} to {last}",
        "`{data}` 的文档在第 {first} 到 {last} 行";
    CANNOT_DETACH_RUN[ST0123]: "cannot start the run detached from the terminal", "无法脱离终端启动运行";
    TRAIN_WITH_CHUNK:
        "train with `op = \"chunk\"` and report this message",
        "请用 `op = \"chunk\"` 训练，并报告此消息";
    KERNEL_DOES_NOT_RUN[ST0130]:
        "the kernel {name} does not run on this machine",
        "内核 {name} 在本机无法运行";
    KERNEL_IS_WRONG[ST0130]:
        "the kernel {name} computes wrong values on this machine: error {error}",
        "内核 {name} 在本机计算有误：误差 {error}";
    SCHEMA_IS_OLD:
        "out of date; run `statetune schema --write {file:sh}` to update it",
        "已过时；运行 `statetune schema --write {file:sh}` 更新";
    RUN_HAS_NO_VALIDATION_DOCUMENTS[ST0209]:
        "the run `{name}` has no validation documents",
        "运行 `{name}` 没有验证文档";
    NAME_DOCUMENTS_TO_EVAL:
        "pass a file of documents: `statetune eval RUN FILE`",
        "请给出文档文件：`statetune eval RUN FILE`";
    NO_METRIC[ST0210]: "unknown metric `{name}`", "未知指标 `{name}`";
    METRICS_ARE: "metrics: {names}", "可用指标：{names}";
    DOCUMENTS_CHANGED[ST3050]: "the documents have changed since the run", "文档在运行之后有改动";
    VALIDATION_SPLIT_CHANGED:
        "the validation split has changed too and now contains documents that the run was trained on",
        "验证划分也随之改变，现在含有该运行训练过的文档";
    EVAL_UNSEEN_DOCUMENTS:
        "pass documents that the run was not trained on: `statetune eval RUN FILE`",
        "请给出该运行未训练过的文档：`statetune eval RUN FILE`";
    NO_CODE_OR_KEY[ST1102]:
        "`{name}` is neither a message code nor a key of the experiment file",
        "`{name}` 既不是消息代码，也不是实验文件的键";
    EXPLAIN_ALL:
        "run `statetune explain --all` to list every code and key",
        "运行 `statetune explain --all` 列出所有代码和键";
    WOULD_OVERWRITE_ITSELF[ST0206]:
        "`{source}` would overwrite itself",
        "`{source}` 会覆盖它自己";
    NAME_ANOTHER_OUT: "pass another file: `--out FILE`", "换一个文件名：`--out FILE`";
    ST_IS_FP16[ST0207]:
        "a `.st` is always fp16: web-rwkv reads nothing else",
        "`.st` 总是 fp16：web-rwkv 只读这种";
    STATE_SAFETENSORS_IS_ST[ST0208]:
        "a state file in safetensors format must be a `.st`, because its tensor order depends on the extension",
        "safetensors 形式的 state 文件必须是 `.st`，因为张量的维度顺序由扩展名决定";
    WRITE_TO_ST: "pass `--to st`", "用 `--to st`";
    IS_STATE_ALREADY[ST0215]:
        "`{source}` is a state file: it holds initial states and no model",
        "`{source}` 是 state 文件：只有初始 state，没有模型";
    WRITE_TO_PTH_OR_ST: "pass `--to pth` or `--to st`, without `--without-states`", "用 `--to pth` 或 `--to st`，不加 `--without-states`";
    DASH_IS_A_NAME[ST0206]: "`--out -` would write a file named `-`", "`--out -` 会写出名为 `-` 的文件";
    STDOUT_IS_A_FILE:
        "pass `--out FILE`; standard output is `/dev/stdout`",
        "请写 `--out FILE`；标准输出是 `/dev/stdout`";
    OUT_IS_NO_FOLDER[ST0206]: "`{out}` is a file, expected a folder", "`{out}` 是文件，应为目录";
    NAME_A_FOLDER: "pass a folder, new or existing: `--out FOLDER`", "请写新的或已有的目录：`--out FOLDER`";
    OUT_TAKES_ONE_FILE[ST0206]:
        "`{out}` is a device or pipe, and several files are to be written",
        "`{out}` 是设备或管道，而这里要写出多个文件";
    NAME_A_FILE_AS_OUT: "pass the name of a file: `--out FILE`", "请写文件名：`--out FILE`";
    OPTION_OF_OTHER_FORMS[ST0216]:
        "`{option}` does not apply to `--to {form}`",
        "`{option}` 不适用于 `--to {form}`";
    REMOVE_OPTION: "remove `{option}`", "去掉 `{option}`";
    MODEL_WITHOUT_STATES[ST8011]:
        "`{source}` holds no initial states beside its weights",
        "`{source}` 的权重旁边没有初始 state";
    RAW_TAKES_PROMPT_AS_IS: "pass `--raw` to use the prompt as it is", "用 `--raw` 可原样使用提示词";
    CANNOT_READ_SCRIPT[ST0401]: "cannot read `{script}`: {error}", "无法读取 `{script}`：{error}";
    CANNOT_IMPORT_SCRIPT[ST0402]: "cannot import `{script}`: {error}", "无法导入 `{script}`：{error}";
    INIT_ASKS_QUESTIONS:
        "run `statetune init` to create an experiment from a few questions",
        "运行 `statetune init`，回答几个问题即可新建实验";
    FILE_EXISTS[ST0403]: "`{out}` already exists", "`{out}` 已存在";
    CHOOSE_ANOTHER_OUT:
        "choose another `--out`; existing files are never overwritten",
        "请换一个 `--out`；已有文件不会被覆盖";
    CANNOT_WRITE_BECAUSE[ST0404]:
        "cannot write `{out}`: {error}",
        "无法写入 `{out}`：{error}";
    UPDATE_TO_BLAME[ST6071]:
        "the update of step {step} made the parameters NaN or infinite, not its loss or gradients",
        "是第 {step} 步的更新使参数变为 NaN 或无穷大，而不是损失或梯度";
    PARAMETERS_NOT_RECORDED:
        "the parameters before the update were not recorded, so the step cannot be replayed",
        "没有记录更新前的参数，因此无法重放这一步";
    NOT_AN_INCIDENT[ST6070]: "`{name}` is not a valid incident", "`{name}` 不是有效的事故";
    INCIDENT_IS_RUN_AND_STEP:
        "an incident is a run and a step, such as `latest/12`; `statetune incident ls latest` lists those of the newest run",
        "事故写作运行和步数，例如 `latest/12`；`statetune incident ls latest` 列出最新运行的事故";
    NO_INCIDENT_AT_STEP[ST6070]:
        "the run `{run}` has no incident at step {step}",
        "运行 `{run}` 在第 {step} 步没有事故";
    INCIDENT_LS_LISTS:
        "run `statetune incident ls {run:sh}` to list the incidents",
        "运行 `statetune incident ls {run:sh}` 列出事故";
    INIT_NEEDS_TERMINAL[ST0125]:
        "`init` asks five questions, but standard input is not a terminal",
        "`init` 要问五个问题，但标准输入不是终端";
    ANSWER_WITH_FLAGS:
        "pass the answers as flags, and `--yes` to use the defaults for the rest",
        "用参数给出回答，其余用 `--yes` 取默认值";
    CANNOT_READ_ANSWER[ST0125]: "cannot read the answer", "无法读取回答";
    ONE_TEXT_NOT_HELD_OUT:
        "nothing: a file of text is one document; split it into files, one for each document, to measure a validation loss",
        "无：一个文本文件就是一个文档；要测量验证损失，请分成多个文件，每个文档一个";
    ANSWERS_TRAIN:
        "the answers (`loss_mask = \"assistant\"`): {why}",
        "回答（`loss_mask = \"assistant\"`）：{why}";
    ALL_TOKENS_TRAIN: "all tokens (`loss_mask = \"pad\"`): {why}", "全部 token（`loss_mask = \"pad\"`）：{why}";
    VOCABULARY_FITS:
        "`{tokenizer}`, which has the size of the weights",
        "`{tokenizer}`，与权重的大小一致";
    ASK_DOCUMENTS:
        "Documents (JSONL, text or token files; empty: a few examples)",
        "文档（JSONL、文本或 token 文件；不填则用几个示例）";
    ASK_WEIGHTS:
        "Weights, a .pth or .safetensors file (empty: a new small model)",
        "权重，.pth 或 .safetensors 文件（不填则新建小模型）";
    ASK_METHOD:
        "Method: state, lora, pissa, disha or full",
        "方法：state、lora、pissa、disha 或 full";
    METHOD_NEEDS_WEIGHTS[ST0125]:
        "`{method}` needs trained weights",
        "`{method}` 需要训练好的权重";
    NAME_MODEL: "pass the weights: `--model FILE`", "请给出权重：`--model FILE`";
    ASK_DEVICE: "Device: auto, gpu or cpu", "设备：auto、gpu 或 cpu";
    EXPLAIN_KEY_MEANT:
        "here this is `{key}`: `statetune explain {key}`",
        "在此对应 `{key}`：`statetune explain {key}`";
    NOT_A_RUN_BUT_TEXT[ST0201]: "{text} is not a run", "{text} 不是运行";
    TEXT_IS_PROMPT:
        "to continue a text, run `statetune {given} --prompt {text:sh}`",
        "要续写文本，运行 `statetune {given} --prompt {text:sh}`";
    NOT_A_NAME[ST0125]:
        "`{name}` is not a valid name: use ASCII letters, digits, `-` and `_`",
        "`{name}` 不是有效名称：请用 ASCII 字母、数字、`-` 和 `_`";
    NOT_ONE_OF_CHOICES[ST0125]: "`{answer}` is not one of the choices", "`{answer}` 不在可选值之中";
    RUN_HAS_NO_BASE[ST6009]:
        "the run `{run}` trained a new model and has no base model",
        "运行 `{run}` 训练的是新模型，没有基座模型";
    RUN_MADE_WHOLE_MODEL: "the run exported a complete model: {exported}", "该运行导出的是完整模型：{exported}";
    RUN_WEIGHTS_NOT_PACKED[ST0220]:
        "the run did not quantise its weights, so `--quantised` does not apply",
        "该运行没有量化权重，因此 `--quantised` 不适用";
    LEAVE_OUT_QUANTISED: "remove `--quantised`", "去掉 `--quantised`";
    NOT_A_PTH_NAME[ST0221]: "`{out}` is not a `.pth` file", "`{out}` 不是 `.pth` 文件";
    EXPORT_MAKES_OTHER_FORMS:
        "merge with `--out {pth}`, then convert the file: `statetune export {pth:sh} --to st`",
        "用 `--out {pth}` 合并，再转换该文件：`statetune export {pth:sh} --to st`";
    WOULD_OVERWRITE_INPUT[ST0206]:
        "`{out}` is an input of this command and would be overwritten",
        "`{out}` 是此命令的输入，会被覆盖";
    NO_STATE_TO_MOUNT[ST8007]:
        "`{state}` contains trained weights, not a state",
        "`{state}` 含有训练过的权重，而不是 state";
    EXPORT_INSTEAD: "export the model with `statetune export`", "请用 `statetune export` 导出模型";
    ADAPTER_NOT_MOUNTABLE[ST8010]:
        "`{name}` trained an adapter together with its state",
        "`{name}` 同时训练了适配器和 state";
    PROGRAMS_LOAD_NO_ADAPTERS:
        "{program} would use the state with the base weights and without the adapter, which is another model",
        "{program} 会把该 state 与基座权重一起使用而不含适配器，那是另一个模型";
    MERGE_THEN_MOUNT:
        "merge the adapter into the weights, and mount the state on the merged model:\n{merge}\n{mount}",
        "先把适配器合并进权重，再把 state 挂载到合并后的模型上：\n{merge}\n{mount}";
    MERGE_THE_RUN:
        "merge the run of the adapter with `statetune merge RUN --states beside`, and mount the state that it writes",
        "请用 `statetune merge RUN --states beside` 合并该适配器的运行，再挂载所写出的 state";
    LOG_PROBABILITIES_DIFFER:
        "the log-probabilities in that program would differ by up to {difference}, more than the {tolerance} that rounding explains",
        "该程序中的对数概率最多相差 {difference}，超过舍入可解释的 {tolerance}";
    OPTION_NOT_MOUNTABLE[ST8008]:
        "the model uses `{option}`, which no program that loads states supports",
        "模型使用 `{option}`，能加载 state 的程序都不支持";
    PROGRAM_WOULD_DIFFER[ST8009]:
        "{program} would compute other results with this state than training did",
        "{program} 使用此 state 得到的结果会与训练时不同";
    NOTHING_WRITTEN: "nothing was written", "没有写入任何内容";
    CANNOT_START_TENSOR_PROGRAM[ST0120]: "cannot start `{program}`", "无法启动 `{program}`";
    TENSOR_PROGRAM_IS_BESIDE:
        "this command needs `statetune-tensors`; install it in the same folder as `statetune`",
        "此命令需要 `statetune-tensors`；请把它与 `statetune` 安装在同一目录";
    UNITS_OF_SIZES: "valid units are B, MB, GB, MiB and GiB", "单位可用 B、MB、GB、MiB 和 GiB";
    EXPECTED_SIZE: "expected a size such as 8GiB", "应为大小，例如 8GiB";
    NO_PROPOSALS[ST5012]:
        "no proposals: the available memory or the run's memory need is unknown",
        "没有方案：可用内存或运行所需内存未知";
    PROPOSALS_ARE[ST5012]:
        "`--apply` takes A to {last}: there are {n} proposals",
        "`--apply` 可取 A 到 {last}：共有 {n} 个方案";
    CANNOT_SET_IN_FILE[ST5013]:
        "`{key}` cannot be set in `{file}`",
        "无法在 `{file}` 中设置 `{key}`";
    SET_ELSEWHERE:
        "a profile, the environment or an option overrides the key, or the file does not write it in a table",
        "配置档、环境变量或选项覆盖了此键，或文件没有把它写在表中";
    SET_WHERE_SET:
        "change the value where it is set: `{key} = {value}`",
        "请在当前设置它的地方改：`{key} = {value}`";
    NO_PRESET[ST0124]: "unknown preset `{name}`", "未知预设 `{name}`";
    PRESETS_LS_LISTS:
        "run `statetune presets ls` to list the presets",
        "运行 `statetune presets ls` 列出全部预设";
    TOO_MANY_RUNS_FOR_REPORT[ST6081]:
        "a report shows at most {most} runs, but {n} were given",
        "报告最多显示 {most} 个运行，但给出了 {n} 个";
    TOO_MANY_CURVES: "more curves could not be told apart by colour", "曲线再多就无法靠颜色区分";
    CANNOT_WRITE_REPORT[ST6082]: "cannot write the report `{out}`", "无法写入报告 `{out}`";
    NEEDED_IS_FOR_RESUME_AUTO[ST6044]:
        "`--needed` only works with `--resume auto`",
        "`--needed` 只能与 `--resume auto` 同用";
    NAMED_RUN_CONTINUES:
        "a run given by name is always resumed, whether other runs are finished or not",
        "指名的运行总会继续，与其他运行是否完成无关";
    RUN_IS_DONE[ST6008]: "the run `{run}` is finished", "运行 `{run}` 已完成";
    SET_MORE_EPOCHS:
        "to train for more mini-epochs, pass their total: `statetune resume {run:sh} --set train.epoch_count={n}`",
        "要训练更多 mini-epoch，请给出总数：`statetune resume {run:sh} --set train.epoch_count={n}`";
    FEWER_THAN_DONE[ST6010]:
        "`train.epoch_count = {asked}`, but the run `{run}` has begun {begun} mini-epochs already",
        "`train.epoch_count = {asked}`，但运行 `{run}` 已经开始了 {begun} 个 mini-epoch";
    COUNT_IS_TOTAL:
        "`train.epoch_count` is the total; to train on, run `statetune resume {run:sh} --set train.epoch_count={n}`",
        "`train.epoch_count` 是总数；要继续训练，运行 `statetune resume {run:sh} --set train.epoch_count={n}`";
    RUN_CANNOT_LEAVE_TERMINAL[ST0123]:
        "the run cannot detach from the terminal; keep the terminal open",
        "运行无法脱离终端；请保持终端打开";
    NO_SIGNALS[ST9002]: "cannot install signal handlers", "无法安装信号处理程序";
    NOT_A_COLUMN[ST6046]:
        "`{key}` in `{text}` is neither a column nor a setting of these runs",
        "`{text}` 中的 `{key}` 既不是列，也不是这些运行的设置";
    COLUMNS_ARE: "columns: {columns}", "可用的列：{columns}";
    SETTING_WITH_TABLE:
        "write a setting with its table, such as `schedule.lr_init`",
        "设置要连同所在的表一起写：`schedule.lr_init`";
    NOT_A_TAG[ST6047]: "`{word}` is not a valid tag", "`{word}` 不是有效的标签";
    TAG_CHARACTERS:
        "a tag consists of letters, digits, `-`, `_` and `.`",
        "标签由字母、数字、`-`、`_` 和 `.` 组成";
    CANNOT_ASK_BACK[ST6045]:
        "{question} Standard input is not a terminal, so this cannot be asked",
        "{question} 标准输入不是终端，无法询问";
    YES_AGREES: "pass `--yes` to confirm", "用 `--yes` 确认";
    REMOVE_RUNS: "remove {names} ({size})?", "删除 {names}（{size}）？";
    CANNOT_WRITE_MAN_PAGES[ST0301]:
        "cannot write manual pages to `{folder}`",
        "无法把手册页写入 `{folder}`";
    WEIGHTS_FOR_STATES[ST0204]: "{weights} given for {states}", "{states} 给出了 {weights}";
    WRITE_ONE_WEIGHT_EACH: "pass one weight for each state", "每个 state 写一个权重";
    WHICH_WEIGHTS[ST0202]: "`{file}` does not name its base model", "`{file}` 没有指明基座模型";
    WEIGHTS_OF_FILE[ST0202]:
        "the base model of `{file}` is `{base}` (fingerprint {fingerprint}); its path is not recorded",
        "`{file}` 的基座模型是 `{base}`（指纹 {fingerprint}）；没有记录它的路径";
    NAME_MODEL_AND_TOKENIZER:
        "pass the weights and their vocabulary: `--model FILE --tokenizer FILE`",
        "请给出权重及其词表：`--model FILE --tokenizer FILE`";
    NAME_RUN_OF_FILE:
        "or pass the run `{run}` instead of the file",
        "或给出运行 `{run}` 而不是文件";
    NO_RUN_OR_MODEL[ST0202]: "a run or a model is required", "需要给出运行或模型";
    SET_NEEDS_RUN[ST0203]:
        "`--set {set}` overrides a setting of a run, but no run was given",
        "`--set {set}` 覆盖的是运行的设置，但这里没有运行";
    NO_FILE_OR_RUN[ST0205]:
        "`{name}` is neither a file nor a run in `{runs}`",
        "`{name}` 既不是文件，也不是 `{runs}` 中的运行";
    UNKNOWN_ADAPTER[ST8022]:
        "the adapter `{file}` does not say which method made it",
        "适配器 `{file}` 没有说明由哪种方法生成";
    NAME_THE_RUN:
        "pass the run instead of the file, or put the `.json` of the adapter beside the `.pth`",
        "请改为给出运行，或把适配器的 `.json` 放在 `.pth` 旁边";
    NOT_A_SWEEP[ST6051]: "not a valid sweep: {problem}", "无效的扫描：{problem}";
    NAME_AXIS_VALUES:
        "pass values: `--axis schedule.lr_init=0.3,1.0`",
        "请给出取值：`--axis schedule.lr_init=0.3,1.0`";
    NAME_AXES_IN_FILE:
        "or write them in the file: `[sweep]` with `axes = {{ \"schedule.lr_init\" = [0.3, 1.0] }}`",
        "或写在文件中：`[sweep]` 里写 `axes = {{ \"schedule.lr_init\" = [0.3, 1.0] }}`";
    CANNOT_START_MEMBERS[ST9003]: "cannot start the runs of the sweep", "无法启动扫描的各次运行";
    NO_STEPS_TO_COMPARE[ST6061]:
        "the run `{run}` has no steps to compare with",
        "运行 `{run}` 没有可比较的步";
    CANNOT_MAKE_TEMPORARY_FOLDER[ST6062]: "cannot create a temporary folder", "无法建立临时目录";
    RUN_ENDED[ST6093]: "the run `{run}` {state}", "运行 `{run}` {state}";
    RUN_WAS_KILLED[ST6094]: "the process of the run `{run}` was killed", "运行 `{run}` 的进程被杀死";
    LOCK_IS_FREE:
        "its status is `running`, but no process holds its lock",
        "其状态为 `running`，但没有进程持有锁";
    RESUME_AFTER_CHECKPOINT:
        "run `statetune resume {run:sh}` to continue from its last checkpoint",
        "运行 `statetune resume {run:sh}` 从最后的检查点继续";
    CANNOT_WATCH[ST6095]: "cannot watch `{path}` for changes", "无法监视 `{path}` 的变化";
    CANNOT_DRAW[ST6096]: "cannot draw on this terminal", "无法在终端上绘制";
    WATCH_IN_LINES:
        "`statetune watch {run:sh} | cat` tells the same in lines",
        "`statetune watch {run:sh} | cat` 逐行显示同样内容";
    CANNOT_WRITE_EXPERIMENT[ST5011]: "cannot write `{file}`", "无法写入 `{file}`";
    CANNOT_WRITE_EVENTS[ST6043]: "cannot write `{file}`", "无法写入 `{file}`";
    NO_DOCUMENT_ON_LINE[ST3105]: "line {line} has no document", "第 {line} 行没有文档";
    FAULTS_FIXED: "{file}: {fixed} fixed", "{file}：已修复 {fixed} 处";
    FILE_IS_VALID_WITHOUT:
        "{file}: valid, but {n} {n:file is|files are} missing; a run needs {n:it|them}",
        "{file}：有效，但缺少 {n} 个运行所需的文件";
    FILE_IS_VALID: "{file}: valid", "{file}：有效";
}
