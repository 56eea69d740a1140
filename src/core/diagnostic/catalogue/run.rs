//! Messages of the course of a run.

use crate::diagnostic::entry::catalogue;

catalogue! {
    OTHER_WEIGHTS_WORSE:
        "on weights other than the ones it was trained on, answers become worse",
        "用在训练所用之外的权重上会使回答变差";
    FOR_ANOTHER_VERSION[ST8004]:
        "`{exported}` is for another version of RWKV",
        "`{exported}` 属于另一个 RWKV 版本";
    TUNED_ON: "trained on  {weights}", "训练所用  {weights}";
    FOUND_WEIGHTS_IN: "found       {weights} in {file}", "实际权重  {weights}，在 {file} 中";
    PASSPORT_WITHOUT_WEIGHTS: "its passport does not name its base model", "其身份文件没有指明基座模型";
    TUNED_ON_OTHER_WEIGHTS[ST8002]:
        "`{exported}` was trained on other weights",
        "`{exported}` 是在别的权重上训练的";
    FOUND_WEIGHTS: "found       {weights}", "实际权重  {weights}";
    SAME_SHAPE:
        "the shapes match ({n_layer} x {n_head} x {head_size} x {size}), so other programs would load the file and answer badly",
        "形状相同（{n_layer} x {n_head} x {head_size} x {size}），因此其他程序会照样加载，但回答很差";
    USE_OWN_WEIGHTS:
        "use `{exported}` with the weights it was trained on, or measure the damage first:\nstatetune eval {exported:sh} --model {weights:sh} FILE",
        "请把 `{exported}` 与其训练所用的权重一起使用，或先测量损害：\nstatetune eval {exported:sh} --model {weights:sh} FILE";
    UNKNOWN_BASE[ST8003]: "the base model of `{exported}` is unknown", "不知道 `{exported}` 的基座模型";
    REQUEST_UNKNOWN: "unknown request for this version of statetune", "此版本的 statetune 不认识该请求";
    RUN_IS_STOPPING: "the run is stopping", "运行正在停止";
    NO_QUESTIONS:
        "the run has no prompts to answer: set `sample.prompts` or `sample.held_out`",
        "该运行没有要回答的提示词：请设 `sample.prompts` 或 `sample.held_out`";
    NOTHING_TO_EVALUATE: "the run has no validation documents and no probes", "该运行没有验证文档，也没有探针";
    RUN_GROWS_BY_EPOCHS:
        "a run is extended by whole mini-epochs of {epoch_steps} steps: {choices}",
        "运行只能按整数个 mini-epoch（每个 {epoch_steps} 步）延长：{choices}";
    TOO_MANY_EPOCHS: "a run has at most {most} mini-epochs", "一次运行最多 {most} 个 mini-epoch";
    VAL_LOSS_NOT_FINITE[ST7012]:
        "validation loss became {val_loss} after step {step}",
        "第 {step} 步之后验证损失变为 {val_loss}";
    EVERY_RATE_DIVERGED[ST7017]:
        "training diverged at every learning rate that was tried",
        "试过的每个学习率都使训练发散";
    LOOK_AT_FIRST_STEPS:
        "set `lr_init` to a number: the run then records the step that diverges and its documents",
        "把 `lr_init` 设为数值：运行会记录发散的步和其中的文档";
    RATES_NEED_WEIGHTS[ST4020]:
        "the range test needs `{file}`, which is not on this machine",
        "学习率测试需要 `{file}`，但它不在本机上";
    RUN_FINDS_RATE:
        "set `lr_init = \"auto\"`: `statetune run` downloads the weights and finds the rate",
        "设 `lr_init = \"auto\"`：`statetune run` 会下载权重并找到学习率";
    BASE_IS_NO_BETTER_THAN_CHANCE[ST4008]:
        "the base model predicts the validation documents no better than chance: validation loss {val_loss}, chance is {chance}",
        "基础模型对验证文档的预测不比随机猜测好：验证损失 {val_loss}，随机猜测为 {chance}";
    CHANCE_IS_LN_VOCABULARY:
        "chance is the logarithm of the {rows} token ids of the model",
        "随机猜测的损失是模型 {rows} 个 token id 的对数";
    TOKENIZER_OR_LANGUAGE_IS_OTHER:
        "either the model was trained with another tokenizer, or it has never seen text of this kind",
        "要么模型是用别的分词器训练的，要么它从未见过这类文本";
    GENERATE_SHOWS_BASE:
        "run `statetune generate --model {model:sh} --tokenizer {tokenizer:sh} --prompt \"Hello\"`: the answer of a trained model with its own tokenizer is readable",
        "运行 `statetune generate --model {model:sh} --tokenizer {tokenizer:sh} --prompt \"Hello\"`：训练过的模型配上自己的分词器，回答是可读的";
    EARLIER_CHECKPOINTS_INTACT:
        "nothing was saved after this step; earlier checkpoints are intact",
        "这一步之后没有保存；之前的检查点完好";
    LOWER_LR_OR_CHECK_VALIDATION:
        "lower `schedule.lr_init`, or look for broken documents in the validation split",
        "降低 `schedule.lr_init`，或检查验证划分中是否有损坏的文档";
    DATA_NEVER_SEEN[ST2401]:
        "{percent} % of the data is never seen in this number of steps",
        "按这个步数，{percent} % 的数据永远不会被看到";
    DOCUMENTS_AND_REPEATS:
        "{documents} documents x {repeats} repeats",
        "{documents} 个文档 x 重复 {repeats} 次";
    SAMPLES_SEEN:
        "{steps} steps x {samples_per_step} samples = {seen} of {all} training samples ({copies})",
        "{steps} 步 x {samples_per_step} 个样本 = 全部 {all} 个训练样本中的 {seen} 个（{copies}）";
    EPOCH_IS_INTERVAL:
        "a mini-epoch is the interval between saves, not a pass over the data",
        "mini-epoch 是保存间隔，不是遍历一遍数据";
    FULL_PASS:
        "set `epoch_steps = {pass}` for one full pass, or `epoch_steps = \"pass\"` to have it computed",
        "设 `epoch_steps = {pass}` 为完整一遍，或设 `epoch_steps = \"pass\"` 让程序计算";
    STOPPED_BY_PATIENCE:
        "no evaluation improved within `eval.patience`",
        "在 `eval.patience` 次评估内没有改善";
    STOPPED_BY_PROBES:
        "every probe with `stop = true` reached its goal",
        "每个 `stop = true` 的探针都已达到目标";
    STOPPED_BY_FORGETTING:
        "the distance from the base is above `eval.max_forgetting`",
        "与基础模型的距离超过了 `eval.max_forgetting`";
    GPU_FAILED[ST5006]: "the GPU failed: {message}", "GPU 出错：{message}";
    GPU_REPORTS_LATE:
        "a GPU reports an error some time after its cause, and this process can no longer use it; files that are saved are intact",
        "GPU 在出错一段时间后才报告，此进程无法再使用它；已保存的文件完好";
    TRY_GPU_AGAIN:
        "run the command again; if the error repeats, run `statetune doctor`, and look for `Xid` in the output of `dmesg`",
        "请重新运行命令；如果错误重复出现，请运行 `statetune doctor`，并在 `dmesg` 的输出中查找 `Xid`";
    MEMORY_RAN_OUT[ST5005]: "out of memory: {message}", "内存不足：{message}";
    ADDRESS_SPACE_LIMIT[ST5005]:
        "out of memory: `ulimit -v` allows {limit}, and libtorch alone needs {needed}",
        "内存不足：`ulimit -v` 允许 {limit}，而仅 libtorch 就需要 {needed}";
    STACK_LIMIT[ST5005]:
        "out of memory: `ulimit -s` allows a stack of {limit}, and statetune needs {needed}",
        "内存不足：`ulimit -s` 只允许 {limit} 的栈，而 statetune 需要 {needed}";
    RAISE_STACK_LIMIT: "raise the limit, as with `ulimit -s 8192`", "请提高限制，例如 `ulimit -s 8192`";
    RAISE_LIMIT: "raise the limit, as with `ulimit -v unlimited`", "请提高限制，例如 `ulimit -v unlimited`";
    STATES_UNRELATED:
        "states of different base models cannot be combined or compared",
        "不同基座模型的 state 不能合并或比较";
    SAVED_IS_INTACT:
        "saved files are intact; fix the problem, then run `statetune resume {run:sh}`",
        "已保存的文件完好；解决问题后运行 `statetune resume {run:sh}`";
    STEP_CHANGED_NOTHING:
        "this step changed no parameters; earlier checkpoints are intact",
        "这一步没有改变任何参数；之前的检查点完好";
    USE_BF16:
        "set `train.precision = \"bf16\"`, which has the range of float32, or lower `schedule.lr_init`",
        "设 `train.precision = \"bf16\"`（范围与 float32 相同），或降低 `schedule.lr_init`";
    FREE_DISK:
        "free disk space or make the folder writable; files saved before are intact",
        "请腾出磁盘空间或使目录可写；此前保存的文件完好";
    NEED_LESS_MEMORY:
        "to use less memory, set `train.grad_cp = true`, lower `train.micro_bsz` and raise `train.accumulate_grad_batches`, or lower `train.head_chunk`",
        "要减少内存，可设 `train.grad_cp = true`，减小 `train.micro_bsz` 并增大 `train.accumulate_grad_batches`，或减小 `train.head_chunk`";
    THE_GPU: "the GPU", "GPU";
    THIS_MACHINE: "this machine", "本机";
    RUN_NEEDS_MEMORY[ST5001]:
        "the run needs about {needed}, but {device} has {free} free",
        "运行约需 {needed}，但{device}只有 {free} 可用";
    DEVICES_ARE_PROCESSES:
        "each of the {count} devices on this machine is a process that needs {each}",
        "此机器上的 {count} 个设备各是一个进程，每个需要 {each}";
    LOWER_DEVICES: "lower `hardware.devices`", "请减小 `hardware.devices`";
    MICRO_BATCH_POSITIONS:
        "a micro-batch has up to {rows} x {longest} positions, {chunk} of them with logits at a time",
        "一个 micro-batch 最多有 {rows} x {longest} 个位置，同时计算 logits 的有 {chunk} 个";
    PLAN_APPLY_EDITS:
        "run `statetune plan {experiment} --apply A` to apply proposal A to the file",
        "运行 `statetune plan {experiment} --apply A` 把方案 A 写入文件";
    ADD_PROPOSAL:
        "add `{options}` to the command for proposal A",
        "要采用方案 A，在命令中加上 `{options}`";
    ALLOW_OOM_TRIES: "pass `--allow-oom` to run anyway", "用 `--allow-oom` 仍然运行";
    TOO_MANY_INCIDENTS:
        "the run already had {earlier} incidents, the most that `guard.max_incidents` allows",
        "该运行此前已有 {earlier} 次事故，达到 `guard.max_incidents` 的上限";
    UPDATE_ALREADY_MADE:
        "the parameters are already updated, so the step cannot be skipped",
        "参数已更新，无法跳过这一步";
    MAX_HOURS_OVER[ST7015]:
        "stopped after `guard.max_hours = {hours}`; everything is saved",
        "已达到 `guard.max_hours = {hours}`，运行停止；内容均已保存";
    LOSS_SPIKE[ST7011]:
        "the loss of step {step}, {loss}, is {times} times the median of recent steps",
        "第 {step} 步的损失 {loss} 是近期中位数的 {times} 倍";
    LOSS_SPIKE_CONTINUES:
        "training continues; the median loss of recent steps is {median}, and `guard.loss_spike = {multiple}`",
        "训练继续；近期各步损失的中位数是 {median}，`guard.loss_spike = {multiple}`";
    BATCH_HOLDS: "documents of the batch: {documents}", "batch 中的文档：{documents}";
    STEP_NOT_FINITE[ST7001]:
        "{what} became {became} at step {step} (epoch {epoch})",
        "{what}在第 {step} 步变为 {became}（epoch {epoch}）";
    LAST_GOOD_CHECKPOINT:
        "the last checkpoint is from step {step}; later steps did not overwrite it",
        "最后的检查点是第 {step} 步的；之后没有被覆盖";
    NO_CHECKPOINT_YET: "the run has no checkpoint yet", "该运行还没有检查点";
    RECORDED_IN: "recorded in {folder}", "记录于 {folder}";
    TRACE_IS_FINITE:
        "when computed again block by block, the step has only finite values",
        "逐 block 重新计算时，这一步的值都是有限的";
    FIRST_NOT_FINITE: "first NaN or infinite value: {place}", "第一个 NaN 或无穷大的值：{place}";
    GRADIENT_NORMS: "gradient norms of the last steps: {norms}", "最近几步的梯度范数：{norms}";
    REPLAY_STEP: "to replay this step in fp32, run `{command}`", "要用 fp32 重算这一步，运行 `{command}`";
    CONTINUE_WITHOUT_DOCUMENT:
        "to continue without this document, run `statetune resume {run:sh} --drop-sample {document:sh}`",
        "要去掉这个文档继续，运行 `statetune resume {run:sh} --drop-sample {document:sh}`";
    CONTINUE_WITH_SKIP:
        "to skip such steps, run `statetune resume {run:sh} --set guard.nonfinite=skip`",
        "要跳过这样的步，运行 `statetune resume {run:sh} --set guard.nonfinite=skip`";
    CONTINUE_WITH_ROLLBACK:
        "to roll back on such steps, run `statetune resume {run:sh} --set guard.nonfinite=rollback`",
        "要在这样的步上回滚，运行 `statetune resume {run:sh} --set guard.nonfinite=rollback`";
    CONTINUE_WITH_LOWER_RATE:
        "to continue with a lower rate, run `statetune resume {run:sh} --set schedule.lr_init={rate} --accept schedule.lr_init`",
        "要降低学习率继续，运行 `statetune resume {run:sh} --set schedule.lr_init={rate} --accept schedule.lr_init`";
    CONTINUE_WITH_USUAL_RATE:
        "the rate is far above the usual one of the method; to continue with the usual one, run `statetune resume {run:sh} --set schedule.lr_init={rate} --accept schedule.lr_init`",
        "学习率远高于该方法的常用值；要改用常用值继续，运行 `statetune resume {run:sh} --set schedule.lr_init={rate} --accept schedule.lr_init`";
    BEFORE_STEP: "{place} before the step", "{place}，在这一步之前";
    AFTER_UPDATE: "{place} after the update", "{place}，在更新之后";
    GUARD_SKIPS:
        "`guard.nonfinite = \"skip\"`: the step is skipped",
        "`guard.nonfinite = \"skip\"`：跳过这一步";
    GUARD_ROLLS_BACK:
        "`guard.nonfinite = \"rollback\"`: training continues from the newest checkpoint without this batch",
        "`guard.nonfinite = \"rollback\"`：从最新的检查点继续，去掉这个 batch";
    TOKEN_REPEATS:
        "{documents} repeats one token {repeats} times in a row",
        "{documents} 中同一个 token 连续出现 {repeats} 次";
    MERGED_WITH_DENSE[ST8021]:
        "the run trained on quantised weights, but is merged with dense weights",
        "运行是在量化权重上训练的，合并时用的却是稠密权重";
    DENSE_IS_ANOTHER_MODEL:
        "the run may have adapted to quantisation errors, so the merged model may behave differently",
        "运行可能已适应量化误差，因此合并后的模型可能表现不同";
    QUANTISED_IS_TRAINED_MODEL:
        "pass `--quantised` to merge with the quantised weights that were used in training",
        "用 `--quantised` 与训练时的量化权重合并";
    STATES_IN_MODEL_IGNORED[ST8020]:
        "most programs for RWKV-7 ignore initial states in a model file",
        "多数 RWKV-7 程序会忽略模型文件中的初始状态";
    RUNNER_IGNORES_STATES:
        "the `rwkv` package and RWKV Runner ignore them silently",
        "`rwkv` 包和 RWKV Runner 会不声不响地忽略";
    OTHERS_REFUSE_STATES:
        "rwkv.cpp aborts, and converters for Hugging Face and GGUF refuse the file",
        "rwkv.cpp 会中止，Hugging Face 和 GGUF 的转换器拒绝该文件";
    STATES_BESIDE_INSTEAD:
        "keep the states in a file of their own: pass `--states beside`, the default for RWKV-7",
        "把 state 保存为单独的文件：用 `--states beside`，RWKV-7 默认如此";
    FILE_CANNOT_BE_READ: "cannot be read", "无法读取";
    WINDOWS_KEEP_DOCUMENTS[ST7014]:
        "`--drop-sample` does not work with `dataload = \"get\"`, because windows cross document borders",
        "`--drop-sample` 不适用于 `dataload = \"get\"`，因为窗口会跨越文档边界";
    REMOVE_FROM_DATA:
        "remove the document from the data, then start a new run from this one: `statetune run {arguments}`",
        "从数据中删去该文档，再从此次运行开始新运行：`statetune run {arguments}`";
    DOCUMENT_IS_VALIDATION[ST7013]:
        "`{asked}` is a validation document; no step trains on it",
        "`{asked}` 是验证文档，没有步在它上面训练";
    NO_SUCH_DOCUMENT[ST7013]: "no training document is named `{asked}`", "没有名为 `{asked}` 的训练文档";
    DOCUMENT_NAMES:
        "name a document by its line (`27`), by file and line (`chat.jsonl:27`), or by its number in a pair of token files",
        "文档可用行号 `27`、文件加行号 `chat.jsonl:27`，或它在文件对中的编号来指明";
    SETTINGS_CHANGED[ST6003]:
        "run `{id}` cannot continue exactly: {n} {n:setting|settings} changed",
        "运行 `{id}` 无法精确续跑：有 {n} 项设置改变";
    VALUE_WAS: "was {value}", "原为 {value}";
    LATER_STEPS_DIFFER:
        "`{key}` was {was} and is now {now}; every later step would differ",
        "`{key}` 原为 {was}，现为 {now}：之后每一步都会不同";
    CHANGE_IS_ALLOWED:
        "changing `{key}` from {was} to {now} is allowed",
        "允许把 `{key}` 从 {was} 改为 {now}";
    INPUTS_CHANGED[ST6004]:
        "run `{run}` cannot continue exactly: {inputs} changed",
        "运行 `{run}` 无法精确续跑：{inputs}已改变";
    CANNOT_VERIFY_INPUT_CHANGED[ST6060]:
        "run `{run}` cannot be verified: {name} changed",
        "运行 `{run}` 无法验证：{name}已改变";
    WEIGHTS_CHANGED_MEANWHILE[ST4025]:
        "the weights file `{path}` changed while the run was using it",
        "权重文件 `{path}` 在运行使用期间被改动";
    NOTHING_SAVED_WITH_CHANGE:
        "nothing was saved since the change; earlier checkpoints are intact",
        "改动之后没有保存任何内容；之前的检查点完好";
    BRING_BACK_WEIGHTS:
        "restore the original file, then resume the run",
        "请恢复原来的文件，然后续跑";
    RESUME_PACKS_AGAIN:
        "resume the run: the packed weights are then made again",
        "续跑该运行：届时会重新生成打包的权重";
    BRING_BACK_INPUTS:
        "restore the original inputs, or start a new run and compare both with `statetune diff`",
        "请恢复原来的输入，或开始新运行并用 `statetune diff` 比较";
    RESTORE_INPUTS:
        "restore the files as they were to continue with the same numbers",
        "要得到相同的数值，请把文件恢复原状后再续跑";
    INPUT_WAS_AND_IS: "{name}: was {was}, is now {now}", "{name}：当时是 {was}，现在是 {now}";
    CANNOT_READ_SETTINGS[ST6005]: "cannot read the settings of the run", "无法读取该运行的设置";
    RESUME_WITH_STORED:
        "to continue exactly with the stored settings, run `statetune resume {run:sh}`",
        "要按保存的设置精确续跑，运行 `statetune resume {run:sh}`";
    START_FROM_THIS_RUN:
        "to start a new run from its trained parameters, run `statetune run {arguments}`",
        "要从它训练出的参数开始新运行，运行 `statetune run {arguments}`";
    RESUME_ACCEPT:
        "to continue anyway and record the change, run `statetune resume {run:sh}{options} --accept {accept}`",
        "要仍然续跑并记录此变动，运行 `statetune resume {run:sh}{options} --accept {accept}`";
    NO_CHECKPOINT_AFTER_EPOCH[ST6006]:
        "no run has a checkpoint after mini-epoch {epochs}",
        "没有运行在 mini-epoch {epochs} 之后留有检查点";
    EPOCH_BEGIN_CONTINUES:
        "`epoch_begin = {epochs}` continues from `ckpt/epoch-{epoch}` of an earlier run of this experiment",
        "`epoch_begin = {epochs}` 从此实验先前运行的 `ckpt/epoch-{epoch}` 继续";
    CHECKPOINTS_OF_RUN: "checkpoints of `{run}`: {names}", "`{run}` 的检查点：{names}";
    EPOCH_BEGIN_ZERO:
        "set `epoch_begin = 0` to start from the beginning; set `checkpoint.keep_last = 0` to keep all checkpoints",
        "设 `epoch_begin = 0` 从头开始；设 `checkpoint.keep_last = 0` 保留全部检查点";
    TOKENIZER_SIZE[ST4005]:
        "the model has {ids} token ids, but the tokenizer has {found}",
        "模型有 {ids} 个 token id，但分词器有 {found} 个";
    NAME_TOKENIZER:
        "pass the vocabulary that the model was trained with: `--tokenizer FILE`",
        "请指明训练模型时所用的词表：`--tokenizer FILE`";
    STOPPED_BY_DEFECT: "stopped by a bug in statetune", "因 statetune 的缺陷而停止";
    PARAMETERS_OF_RUN: "the parameters of the run", "运行的参数";
    MICRO_BATCH_NOT_FINITE[ST7001]:
        "{what} became {became} at step {step} (epoch {epoch}, micro-batch {micro_batch})",
        "{what}在第 {step} 步变为 {became}（epoch {epoch}，micro-batch {micro_batch}）";
    STEP_LEFT_OUT[ST7016]:
        "{what} became {became} at step {step} (epoch {epoch})",
        "{what}在第 {step} 步变为 {became}（epoch {epoch}）";
    BEFORE_STEP_IN_HEADS:
        "{place} before the step, {n:head|heads} {heads}",
        "{place}，在这一步之前，头 {heads}";
    AFTER_UPDATE_IN_HEADS:
        "{place} after the update, {n:head|heads} {heads}",
        "{place}，在更新之后，头 {heads}";
    IN_BACKWARD: "{place} backward; forward was finite", "{place} backward；前向是有限的";
    IN_BACKWARD_IN_HEADS:
        "{place} backward, {n:head|heads} {heads}; forward was finite",
        "{place} backward，头 {heads}；前向是有限的";
    IN_FORWARD: "{place} {direction}", "{place} {direction}";
    IN_FORWARD_IN_HEADS:
        "{place} {direction}, {n:head|heads} {heads}",
        "{place} {direction}，头 {heads}";
    INPUT_DATA: "data", "数据";
    INPUT_TOKENIZER: "tokenizer", "分词器";
    INPUT_WEIGHTS: "weights", "权重";
    INPUT_INIT: "init", "初始状态";
    INPUT_TEACHER: "teacher", "教师";
    NO_CHECKPOINTS: "none", "无";
}
