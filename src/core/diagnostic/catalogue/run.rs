//! Messages of the course of a run.

use crate::diagnostic::entry::catalogue;

catalogue! {
    OTHER_WEIGHTS_WORSE:
        "on other weights than its own it makes answers worse",
        "用在别的权重上会使回答变差";
    FOR_ANOTHER_VERSION[ST8004]:
        "`{product}` is for another version of RWKV",
        "`{product}` 属于另一个 RWKV 版本";
    TUNED_ON: "tuned on  {weights}", "微调所用  {weights}";
    FOUND_WEIGHTS_IN: "found     {weights} in {file}", "实际权重  {weights}，在 {file} 中";
    PASSPORT_WITHOUT_WEIGHTS: "its passport names no weights", "其身份文件没有指明权重";
    TUNED_ON_OTHER_WEIGHTS[ST8002]:
        "`{product}` was tuned on other weights",
        "`{product}` 是在别的权重上微调的";
    FOUND_WEIGHTS: "found     {weights}", "实际权重  {weights}";
    SAME_SHAPE:
        "same shape ({n_layer} x {n_head} x {head_size} x {size}), so other programs would load it and answer badly",
        "形状相同（{n_layer} x {n_head} x {head_size} x {size}），因此其他程序会照样加载，但回答很差";
    USE_OWN_WEIGHTS:
        "use it with the weights that it was tuned on, or measure the damage first:\nstatetune eval {product} --model {weights} FILE",
        "请用它微调时的权重，或先测量损害：\nstatetune eval {product} --model {weights} FILE";
    UNKNOWN_BASE[ST8003]:
        "nothing says which weights `{product}` was tuned on",
        "无从得知 `{product}` 是在哪份权重上微调的";
    REQUEST_UNKNOWN:
        "this version of statetune does not know the request",
        "此版本的 statetune 不认识该请求";
    NO_QUESTIONS: "the run has no questions to answer", "该运行没有要回答的问题";
    NOTHING_TO_EVALUATE:
        "no documents are held out, and nothing is counted",
        "没有留出文档，也没有统计项";
    RUN_GROWS_BY_EPOCHS:
        "a mini-epoch has {epoch_steps} steps, and a run grows by whole ones: {choices}",
        "一个 mini-epoch 有 {epoch_steps} 步，运行只能按整数个延长：{choices}";
    TOO_MANY_EPOCHS: "{most} mini-epochs are the most", "最多 {most} 个 mini-epoch";
    VAL_LOSS_NOT_FINITE[ST7012]:
        "held-out loss became {val_loss} after step {step}",
        "第 {step} 步之后留出损失变为 {val_loss}";
    EARLIER_CHECKPOINTS_INTACT:
        "nothing was saved after that; the checkpoints before are intact",
        "其后没有保存；之前的检查点完好";
    LOWER_LR_OR_CHECK_VALIDATION:
        "lower `schedule.lr_init`, or look for broken documents in what is held out",
        "降低 `schedule.lr_init`，或检查留出文档中是否有坏文档";
    DATA_NEVER_SEEN[ST2401]:
        "with these steps, {percent} % of the data is never seen",
        "按这个步数，{percent} % 的数据永远不会被看到";
    DOCUMENTS_AND_REPEATS:
        "{documents} documents x {repeats} repeats",
        "{documents} 个文档 x 重复 {repeats} 次";
    SAMPLES_SEEN:
        "{steps} steps x {samples_per_step} samples = {seen} of {all} training samples ({copies})",
        "{steps} 步 x {samples_per_step} 个样本 = 全部 {all} 个训练样本中的 {seen} 个（{copies}）";
    EPOCH_IS_INTERVAL:
        "a mini-epoch is a saving interval, not a pass over the data",
        "mini-epoch 是保存间隔，不是遍历一遍数据";
    FULL_PASS:
        "one full pass is `epoch_steps = {pass}`, or let the tool count: `epoch_steps = \"pass\"`",
        "完整一遍是 `epoch_steps = {pass}`，也可让程序自己算：`epoch_steps = \"pass\"`";
    STOPPED_BY_PATIENCE:
        "no evaluation was better for as long as `eval.patience` says",
        "在 `eval.patience` 规定的次数内评估没有改善";
    STOPPED_BY_PROBES:
        "every probe with `stop` has reached its goal",
        "每个带 `stop` 的探针都已达到目标";
    MEMORY_RAN_OUT[ST5005]: "memory ran out: {message}", "内存耗尽：{message}";
    STATES_UNRELATED:
        "numbers of such states have nothing to do with each other",
        "这样的 state 之间数值毫无关系";
    SAVED_IS_INTACT:
        "what was saved is intact; when this is mended: `statetune resume {run}`",
        "已保存的内容完好；修正后可运行：`statetune resume {run}`";
    STEP_CHANGED_NOTHING:
        "nothing was changed by this step, and every checkpoint before it is intact",
        "这一步没有改变任何内容，之前的检查点都完好";
    USE_BF16:
        "`train.precision = \"bf16\"` has the range of float32; or lower `schedule.lr_init`",
        "`train.precision = \"bf16\"` 的范围与 float32 相同；或降低 `schedule.lr_init`";
    FREE_DISK:
        "free the disk or make the folder writable; everything that was saved before is intact",
        "请腾出磁盘空间或使目录可写；此前保存的内容都完好";
    OLDER_CHECKPOINT:
        "an older checkpoint of the run may be intact: `train.epoch_begin` goes on from it",
        "该运行较早的检查点可能完好：可用 `train.epoch_begin` 从它继续";
    NEED_LESS_MEMORY:
        "`train.grad_cp = true`, a smaller `train.micro_bsz` with more `train.accumulate_grad_batches`, or a smaller `train.head_chunk` need less",
        "`train.grad_cp = true`、较小的 `train.micro_bsz` 配较大的 `train.accumulate_grad_batches`，或较小的 `train.head_chunk` 可减少用量";
    THE_GPU: "the GPU", "GPU";
    THIS_MACHINE: "this machine", "本机";
    RUN_NEEDS_MEMORY[ST5001]:
        "this run needs about {needed}, {device} has {free} free",
        "本次运行约需 {needed}，{device}可用 {free}";
    MICRO_BATCH_POSITIONS:
        "a micro-batch has up to {rows} x {longest} positions, {chunk} of them with logits at a time",
        "一个 micro-batch 最多有 {rows} x {longest} 个位置，同时计算 logits 的有 {chunk} 个";
    PLAN_APPLY_EDITS:
        "`statetune plan {file} --apply A` edits the file",
        "`statetune plan {file} --apply A` 会修改文件";
    ALLOW_OOM_TRIES: "`--allow-oom` tries anyway", "`--allow-oom` 仍然尝试";
    TOO_MANY_INCIDENTS:
        "{earlier} incidents before this one are as many as `guard.max_incidents` allows",
        "此前已有 {earlier} 次事故，达到 `guard.max_incidents` 的上限";
    UPDATE_ALREADY_MADE:
        "an update that was made cannot be left out any more",
        "已做的更新无法再撤去";
    MAX_HOURS_OVER[ST7015]:
        "`guard.max_hours = {hours}` are over, everything is saved",
        "`guard.max_hours = {hours}` 已到，内容均已保存";
    LOSS_SPIKE[ST7011]:
        "the loss of step {step}, {loss}, is {times} times the usual one",
        "第 {step} 步的损失 {loss} 是正常值的 {times} 倍";
    LOSS_SPIKE_CONTINUES:
        "nothing is done about it; the median of the steps before is {median}, `guard.loss_spike = {multiple}`",
        "不做处理；此前各步的中位数是 {median}，`guard.loss_spike = {multiple}`";
    BATCH_HOLDS: "batch holds {documents}", "batch 包含 {documents}";
    STEP_NOT_FINITE[ST7001]:
        "{what} became {became} at step {step} (epoch {epoch})",
        "{what}在第 {step} 步变为 {became}（epoch {epoch}）";
    LAST_GOOD_CHECKPOINT:
        "last good checkpoint is step {step}; nothing after it was overwritten",
        "最后的完好检查点是第 {step} 步；其后没有内容被覆盖";
    NO_CHECKPOINT_YET:
        "there is no checkpoint yet, nothing was saved",
        "还没有检查点，没有保存任何内容";
    RECORDED_IN: "recorded in {folder}", "记录于 {folder}";
    TRACE_IS_FINITE:
        "computed again block by block, the step is finite",
        "逐 block 重新计算，这一步是有限的";
    FIRST_NOT_FINITE: "first value that is not finite: {place}", "第一个非有限值：{place}";
    GRADIENT_NORMS: "gradient norm over the last steps: {norms}", "最近几步的梯度范数：{norms}";
    REPLAY_STEP:
        "replay only this step in fp32: `{command}`",
        "只用 fp32 重算这一步：`{command}`";
    CONTINUE_WITHOUT_DOCUMENT:
        "go on without this document: `statetune resume {run} --drop-sample {document}`",
        "去掉这个文档继续：`statetune resume {run} --drop-sample {document}`";
    CONTINUE_WITH_SKIP:
        "go on without this step: `statetune resume {run} --set guard.nonfinite=skip`",
        "跳过这一步继续：`statetune resume {run} --set guard.nonfinite=skip`";
    CONTINUE_WITH_ROLLBACK:
        "go on without this step: `statetune resume {run} --set guard.nonfinite=rollback`",
        "跳过这一步继续：`statetune resume {run} --set guard.nonfinite=rollback`";
    CONTINUE_WITH_LOWER_RATE:
        "go on with a lower rate: `statetune resume {run} --set schedule.lr_init={rate} --accept schedule.lr_init`",
        "降低学习率继续：`statetune resume {run} --set schedule.lr_init={rate} --accept schedule.lr_init`";
    BEFORE_STEP: "{place} before the step", "{place}，在这一步之前";
    AFTER_UPDATE: "{place} after the update", "{place}，在更新之后";
    GUARD_SKIPS:
        "`guard.nonfinite = \"skip\"`: the step changes nothing",
        "`guard.nonfinite = \"skip\"`：这一步不改变任何内容";
    GUARD_ROLLS_BACK:
        "`guard.nonfinite = \"rollback\"`: back to the newest checkpoint, and on without this batch",
        "`guard.nonfinite = \"rollback\"`：回到最新的检查点，去掉这个 batch 继续";
    TOKEN_REPEATS:
        "{documents} has one token {repeats} times in a row",
        "{documents} 中同一个 token 连续出现 {repeats} 次";
    MERGED_WITH_DENSE[ST8021]:
        "the run learned on packed weights, but is merged with the dense ones of the base",
        "运行是在量化权重上学习的，合并时用的却是底模的稠密权重";
    DENSE_IS_ANOTHER_MODEL:
        "those have no errors of packing, to which it may have adapted: this is another model",
        "稠密权重没有量化误差，而运行可能已适应这些误差：得到的是另一个模型";
    QUANTISED_IS_TRAINED_MODEL:
        "`--quantised` makes the model that was trained",
        "`--quantised` 可得到训练时的那个模型";
    STATES_IN_MODEL_IGNORED[ST8020]:
        "most programs for RWKV-7 ignore initial states that lie in a model",
        "多数 RWKV-7 程序会忽略模型中的初始状态";
    RUNNER_IGNORES_STATES:
        "the `rwkv` package and RWKV Runner ignore them without a word",
        "`rwkv` 包和 RWKV Runner 会不声不响地忽略";
    OTHERS_REFUSE_STATES:
        "rwkv.cpp aborts, and converters for Hugging Face and GGUF refuse the file",
        "rwkv.cpp 会中止，Hugging Face 和 GGUF 的转换器拒绝该文件";
    MOUNT_INSTEAD:
        "mount the state beside the model instead: `statetune mount RUN --for rwkv-runner`",
        "请改为在模型之外挂载 state：`statetune mount RUN --for rwkv-runner`";
    FILE_CANNOT_BE_READ: "cannot be read", "无法读取";
    WINDOWS_KEEP_DOCUMENTS[ST7014]:
        "windows are cut out of all documents in a row, none can be left out",
        "窗口从连成一串的全部文档中截取，无法去掉某个文档";
    REMOVE_FROM_DATA:
        "remove it from the data, and begin a new run with what this one has learned: `statetune run FILE --from RUN`",
        "从数据中删去它，并从此次学到的内容开始新运行：`statetune run FILE --from RUN`";
    DOCUMENT_IS_VALIDATION[ST7013]:
        "`{asked}` is held out, no step trains on it",
        "`{asked}` 是留出文档，没有步在它上面训练";
    NO_SUCH_DOCUMENT[ST7013]: "no document that is trained on is `{asked}`", "训练文档中没有 `{asked}`";
    DOCUMENT_NAMES:
        "a document is named by its line, `27`, by file and line, `chat.jsonl:27`, or by its number in a pair",
        "文档可用行号 `27`、文件加行号 `chat.jsonl:27`，或它在文件对中的编号来指明";
    SETTINGS_CHANGED[ST6003]:
        "run `{id}` cannot continue exactly: {n} {n:setting|settings} changed",
        "运行 `{id}` 无法精确续跑：有 {n} 项设置改变";
    VALUE_WAS: "was {value}", "原为 {value}";
    LATER_STEPS_DIFFER:
        "`{key}` was {was} and is {now} now: every later step would differ",
        "`{key}` 原为 {was}，现为 {now}：之后每一步都会不同";
    CHANGE_IS_ALLOWED:
        "`{key}` {was} -> {now} would be no hindrance",
        "`{key}` {was} -> {now} 不妨碍续跑";
    INPUTS_CHANGED[ST6004]:
        "run `{run}` cannot continue exactly: other {inputs}",
        "运行 `{run}` 无法精确续跑：{inputs}已更换";
    CANNOT_VERIFY_INPUT_CHANGED[ST6060]:
        "run `{run}` cannot be verified: other {name}",
        "运行 `{run}` 无法验证：{name}已更换";
    BRING_BACK_INPUTS:
        "bring back what the run was made of, or compare with a run on the new one: `statetune diff`",
        "请恢复运行当时所用的内容，或与在新内容上的运行比较：`statetune diff`";
    INPUT_WAS_AND_IS: "{name}: {was} then, {now} now", "{name}：当时是 {was}，现在是 {now}";
    CANNOT_READ_SETTINGS[ST6005]: "the settings of the run cannot be read", "无法读取该运行的设置";
    RESUME_WITH_STORED:
        "exact continuation with the stored settings: `statetune resume {run}`",
        "按保存的设置精确续跑：`statetune resume {run}`";
    START_FROM_THIS_RUN:
        "a new run that starts from what it learned: `statetune run FILE --from {run}`",
        "从它学到的内容开始新运行：`statetune run FILE --from {run}`";
    RESUME_ACCEPT:
        "continue anyway and record the break: `statetune resume {run} --accept {accept}`",
        "仍然续跑并记录此变动：`statetune resume {run} --accept {accept}`";
    NO_CHECKPOINT_AFTER_EPOCH[ST6006]:
        "no run has a checkpoint after mini-epoch {epochs}",
        "没有运行在 mini-epoch {epochs} 之后留有检查点";
    EPOCH_BEGIN_CONTINUES:
        "`epoch_begin = {epochs}` goes on from `ckpt/epoch-{epoch}` of an earlier run",
        "`epoch_begin = {epochs}` 从先前运行的 `ckpt/epoch-{epoch}` 继续";
    CHECKPOINTS_OF_RUN: "checkpoints of `{run}`: {names}", "`{run}` 的检查点：{names}";
    EPOCH_BEGIN_ZERO:
        "`epoch_begin = 0` starts anew; `checkpoint.keep_last = 0` keeps all checkpoints",
        "`epoch_begin = 0` 重新开始；`checkpoint.keep_last = 0` 保留全部检查点";
    TOKENIZER_SIZE[ST4005]:
        "the model has {ids} token ids, but the tokenizer has {found}",
        "模型有 {ids} 个 token id，但分词器有 {found} 个";
    NAME_TOKENIZER:
        "name the vocabulary that the model was trained with: `--tokenizer FILE`",
        "请指明训练模型时所用的词表：`--tokenizer FILE`";
    STOPPED_BY_DEFECT: "stopped by a defect of statetune", "因 statetune 的缺陷而停止";
    PARAMETERS_OF_RUN: "what the run learned", "运行学到的内容";
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
    NO_CHECKPOINTS: "none", "无";
}
