//! Messages about values that contradict each other, and proposals.

use crate::diagnostic::entry::catalogue;

catalogue! {
    DOES_NOT_FIT_ALONE: "does not fit on its own", "单独仍放不下";
    DOES_NOT_FIT: "does not fit", "放不下";
    COST_THIRD_SLOWER: "about a third slower, same result", "约慢三分之一，结果相同";
    COST_CHUNKS:
        "at most half slower, same result up to rounding",
        "最多慢一半，除舍入外结果相同";
    COST_HARDLY_SLOWER: "hardly slower, same result up to rounding", "几乎不变慢，除舍入外结果相同";
    COST_SAME_SAMPLES: "same samples in an update", "每次更新的样本数不变";
    COST_8_BITS: "frozen weights rounded to 8 bits", "冻结权重舍入到 8 比特";
    COST_4_BITS: "frozen weights rounded to 4 bits", "冻结权重舍入到 4 比特";
    NO_ROLE_FOR_WORD[ST2140]:
        "`{template}` has no role `{role}` to add a word to",
        "`{template}` 没有角色 `{role}`，无法为它加词";
    GIVE_ROLE_WORDS: "give the role its name in `{key}`", "在 `{key}` 中为该角色写词";
    NOT_A_ROLE_WORD[ST2141]: "`{word}` is not a valid role word", "`{word}` 不是有效的角色词";
    ROLE_WORDS_WITHOUT_END[ST2141]:
        "`{words}` does not end with a colon or another mark",
        "`{words}` 末尾没有冒号或其他符号";
    LONGER_WORDS_OPEN_TURNS:
        "every text that begins with these letters opens a turn, and the answer begins in the middle of a word",
        "凡以这些字母开头的文本都会开启轮次，回答会从词的中间开始";
    ROLE_WORD_FORM: "a role word must begin and end with a letter or digit", "角色词的首尾必须是字母或数字";
    ALIAS_REPLACES_WORD:
        "the word replaces the one in `{own}`, including the text around it",
        "这个词会替换 `{own}` 中的词，包括其前后的文本";
    LEARN_NEEDS_ASSISTANT[ST2148]:
        "`data.learn` only applies with `loss_mask = \"assistant\"`",
        "`data.learn` 只用于 `loss_mask = \"assistant\"`";
    TEMPLATE_NOT_OF_BASE[ST2302]:
        "the weights are of the G1 series, but `data.template` is `{template}`",
        "权重属于 G1 系列，但 `data.template` 是 `{template}`";
    G1_PROMPTS_HAVE_BLOCK:
        "these models are trained on answers that follow a think block, which is empty without reasoning",
        "这些模型训练时回答都跟在思考块之后，不推理时思考块为空";
    SET_G1_TEMPLATE:
        "set `data.template = \"g1\"`, or `\"g1-think\"` for documents with reasoning",
        "设 `data.template = \"g1\"`；文档含推理时设 `\"g1-think\"`";
    KEY_NEEDS_LOSS_MASK_SE[ST2142]:
        "`{key}` only applies with `loss_mask = \"se\"`",
        "`{key}` 只适用于 `loss_mask = \"se\"`";
    LOSS_MASK_SE_NEEDS[ST2143]:
        "`loss_mask = \"se\"` requires `{key}`",
        "`loss_mask = \"se\"` 需要 `{key}`";
    MASK_ID_MEANING:
        "target tokens start after the text `mask1` and end before the text `mask0`",
        "目标 token 从文本 `mask1` 之后开始，到文本 `mask0` 之前为止";
    FOR_EXAMPLE_MASK_ID:
        "for example `mask_id = {{ mask0 = \"<user>\", mask1 = \"<answer>\" }}`",
        "例如 `mask_id = {{ mask0 = \"<user>\", mask1 = \"<answer>\" }}`";
    TEMPLATE_NO_ROLE_ASSISTANT[ST2144]:
        "the template `{template}` has no role `assistant`",
        "模板 `{template}` 没有角色 `assistant`";
    LEARNS_ASSISTANT: "targets what the assistant says", "以 assistant 所说的内容为目标";
    CHOOSE_TEMPLATE_WITH_ROLES:
        "choose a `data.template` with an assistant role, or set `loss_mask = \"pad\"`",
        "选一个有 assistant 角色的 `data.template`，或设 `loss_mask = \"pad\"`";
    DATALOAD_ONLY_TAKES_ONE[ST2145]:
        "`dataload = \"only\"` takes one document at a time",
        "`dataload = \"only\"` 一次只取一个文档";
    MUST_BE_ONE: "must be 1", "必须是 1";
    ONLY_PADS_NOTHING:
        "this loader does not pad, so documents of different lengths cannot share a batch",
        "这种加载方式不做填充，因此长度不同的文档不能放进同一个 batch";
    SET_MICRO_BSZ_ONE:
        "set `train.micro_bsz = 1`, and raise `train.accumulate_grad_batches` for more samples in a step",
        "设 `train.micro_bsz = 1`，每步要更多样本则用 `train.accumulate_grad_batches`";
    OR_PACK:
        "or set `data.dataload = \"pack\"`, which pads little",
        "或设 `data.dataload = \"pack\"`，填充很少";
    WALK_IS_FOR_WINDOWS[ST2146]: "`data.walk` only applies to windows", "`data.walk` 只用于窗口";
    NEEDS_DATALOAD_GET: "only applies with `dataload = \"get\"`", "只适用于 `dataload = \"get\"`";
    DELETE_OR_DATALOAD_GET:
        "delete the setting, or set `data.dataload = \"get\"`",
        "删除此设置，或设 `data.dataload = \"get\"`";
    WALK_TAKES_EVERY_WINDOW[ST2104]:
        "the magic-prime walk uses every window, even those without target tokens",
        "magic-prime 遍历会用到每一个窗口，包括没有目标 token 的";
    WINDOWS_WITHOUT_TARGETS:
        "with this mask some windows have no target tokens",
        "用这个掩码，有些窗口没有目标 token";
    RANDOM_WALK_DRAWS_AGAIN:
        "the random walk draws again until a window has target tokens",
        "随机遍历会重新抽取，直到窗口含有目标 token";
    SET_WALK_RANDOM:
        "set `data.walk = \"random\"`, or `data.loss_mask = \"pad\"`",
        "设 `data.walk = \"random\"`，或 `data.loss_mask = \"pad\"`";
    OVERLONG_NOT_FOR_WINDOWS[ST2147]:
        "`data.overlong` does not apply to windows",
        "`data.overlong` 不适用于窗口";
    WINDOWS_CUT_ANYWHERE:
        "windows cut documents anywhere and skip no tokens",
        "窗口可在任意处截断文档，不会遗漏 token";
    COMPUTES_ON_CPU[ST5004]: "training runs on the CPU, not on the GPU", "训练在 CPU 上运行，没有用 GPU";
    SILENT_SETTING: "use `{without}` to silence this warning", "设 `{without}` 可不再显示此警告";
    TAKES_GPU_OR_CPU:
        "use `{setting}` to use a GPU if there is one, and the CPU otherwise",
        "设 `{setting}`，有 GPU 就用 GPU，否则用 CPU";
    TAKES_DEVICE_KERNELS:
        "use `{setting}` to use the kernels of the device",
        "设 `{setting}` 使用该设备的内核";
    SETTING_NEEDS_GPU[ST5003]: "`{asked_for}` requires a usable GPU", "`{asked_for}` 需要可用的 GPU";
    OP_CONTRADICTS[ST2116]:
        "`{op}` does not work with `{accelerator}`",
        "`{op}` 不能与 `{accelerator}` 同用";
    KERNELS_OF_DEVICES:
        "the CUDA kernels only run on GPUs, and the CPU kernels only on CPUs",
        "CUDA 内核只在 GPU 上运行，CPU 内核只在 CPU 上运行";
    OP_FITS_EVERY_DEVICE: "use `{op}`, which works on every device", "设 `{op}`，它适用于任何设备";
    LOSS_SPIKE_TOO_LOW[ST7010]:
        "`guard.loss_spike = {multiple}` would report ordinary losses",
        "`guard.loss_spike = {multiple}` 会把正常的损失也报告出来";
    LOSS_SPIKE_MEANING:
        "a loss above this multiple of the recent median is reported",
        "损失超过近期中位数的这个倍数时会报告";
    LOSS_SPIKE_DEFAULT:
        "set `guard.loss_spike = 4.0`, the default, or 0 to report nothing",
        "设 `guard.loss_spike = 4.0`（默认值），或设 0 不报告";
    DELETES_LINE: "deletes the line", "删除这一行";
    LR_FINAL_MISSING[ST2108]: "`schedule.lr_final` is missing", "缺少 `schedule.lr_final`";
    RATE_NEEDS_END: "a rate that falls needs a final value", "下降的学习率需要终值";
    CURVE_RUNS: "the rate decays from `lr_init` to `lr_final`", "学习率从 `lr_init` 衰减到 `lr_final`";
    STATE_TUNING_RATES:
        "for state tuning, a usual choice is `lr_init = 1.0` and `lr_final = 0.01`",
        "state 微调常用 `lr_init = 1.0` 和 `lr_final = 0.01`";
    OR_CONSTANT_RATE:
        "or keep the rate constant: `lr_schedule = \"constant\"`",
        "或用 `lr_schedule = \"constant\"` 保持学习率不变";
    EXPONENTIAL_TO_ZERO[ST2102]:
        "an exponential curve never reaches `lr_final = 0`",
        "指数曲线永远到不了 `lr_final = 0`";
    CHOOSE_SMALL_RATE:
        "set a small final rate such as 1e-4, or `lr_schedule = \"cos\"`",
        "设一个小的终值，如 1e-4，或设 `lr_schedule = \"cos\"`";
    DECAY_SHARE_NEEDS_WSD[ST2170]:
        "`decay_share` only applies with `lr_schedule = \"wsd\"`",
        "`decay_share` 只适用于 `lr_schedule = \"wsd\"`";
    OTHER_CURVES_FALL:
        "the other schedules fall over the whole run or not at all",
        "其他曲线要么全程下降，要么不下降";
    DELETE_OR_WSD:
        "delete the setting, or set `lr_schedule = \"wsd\"`",
        "删除此设置，或写 `lr_schedule = \"wsd\"`";
    SAMPLE_HELD_OUT_WITHOUT_SPLIT[ST2105]:
        "`sample.held_out` needs validation documents, but the run has none",
        "`sample.held_out` 需要验证文档，但运行没有验证文档";
    HOLD_SOME_OUT:
        "set `data.val_split`, or write `sample.prompts` instead",
        "设 `data.val_split`，或改写 `sample.prompts`";
    PROMPT_IS_EMPTY[ST2106]: "an entry of `sample.prompts` is empty", "`sample.prompts` 中有一条为空";
    SINKS_WITHOUT_JSONL[ST6080]: "`log.sinks` must include `jsonl`", "`log.sinks` 必须包含 `jsonl`";
    METRICS_ARE_READ:
        "reports, `diff` and `watch` read `metrics.jsonl`",
        "报告、`diff` 和 `watch` 读取 `metrics.jsonl`";
    ADD_JSONL_SINK:
        "add it to the list: `sinks = [\"jsonl\", \"tensorboard\"]`",
        "把它加进列表：`sinks = [\"jsonl\", \"tensorboard\"]`";
    STREAM_NEEDS_FROZEN[ST2118]:
        "`hardware.stream = true` only applies to frozen weights",
        "`hardware.stream = true` 只适用于冻结的权重";
    FULL_CHANGES_WEIGHTS:
        "`full` trains the weights, which memory has to hold",
        "`full` 训练权重本身，权重必须在内存中";
    PISSA_CHANGES_WEIGHTS:
        "`pissa` takes a part out of each matrix, so that memory has to hold the rest",
        "`pissa` 从每个矩阵中取出一部分，其余部分必须在内存中";
    STREAM_NEEDS_DTYPE[ST2118]:
        "`hardware.stream = true` needs weights in the number format of the computation",
        "`hardware.stream = true` 要求权重的数值格式与计算相同";
    WEIGHTS_ARE_CONVERTED:
        "the checkpoint has {found} weights and the run computes in {dtype}, so that memory has to hold converted weights",
        "检查点的权重是 {found}，而运行以 {dtype} 计算，所以内存要放下转换后的权重";
    QUANTIZE_OR_CONVERT:
        "use `[quant]`, or set `train.precision` to the number format of the checkpoint",
        "使用 `[quant]`，或把 `train.precision` 设为检查点的数值格式";
    DELETE_STREAM: "or delete `stream`", "或删除 `stream`";
    COST_STREAM: "reads the weights from the disk in every pass", "每遍都从磁盘读取权重";
    COST_STREAM_TO_GPU:
        "copies the weights to the GPU in every pass",
        "每遍都把权重复制到 GPU";
    GPUS_ON_CPU[ST2117]:
        "`{asked_for}` names GPUs, but the run computes on the CPU",
        "`{asked_for}` 指定了 GPU，但运行在 CPU 上计算";
    COUNT_DEVICES:
        "set `devices = {count}`, which fits GPUs and CPUs",
        "设 `devices = {count}`，GPU 和 CPU 都适用";
    COMPUTE_ON_GPUS: "or set `accelerator = \"gpu\"`", "或设 `accelerator = \"gpu\"`";
    GPU_NAMED_TWICE[ST2117]: "`devices` names GPU {gpu} twice", "`devices` 两次指定了 GPU {gpu}";
    ONE_PROCESS_A_GPU: "each process takes a GPU of its own", "每个进程各用一块 GPU";
    NAME_GPU_ONCE: "name each GPU once", "每块 GPU 只写一次";
    TOO_FEW_GPUS[ST5003]:
        "`devices = {count}` requires {count} GPUs, but this machine has {found}",
        "`devices = {count}` 需要 {count} 块 GPU，但本机有 {found} 块";
    LOWER_TO_GPUS:
        "set `devices = {found}`: results are the same for any number of equal devices",
        "设 `devices = {found}`：相同设备的个数不影响结果";
    SEVERAL_CPU_DEVICES:
        "or train on CPUs: `accelerator = \"cpu\"`",
        "或在 CPU 上训练：`accelerator = \"cpu\"`";
    GPU_DOES_NOT_EXIST[ST5003]: "GPU {gpu} does not exist", "没有 GPU {gpu}";
    ONLY_GPU_IS_0: "this machine has one GPU, which is GPU 0", "本机只有一块 GPU，即 GPU 0";
    GPUS_EXIST: "this machine has the GPUs 0 to {last}", "本机有 GPU 0 至 {last}";
    NAME_OTHER_GPUS:
        "name other GPUs, or set `devices` to a number",
        "请指定其他 GPU，或把 `devices` 设为一个数";
    OP_MEANS_CHUNK[ST1301]:
        "`op = \"{name}\"` runs the `chunk` form",
        "`op = \"{name}\"` 使用 `chunk` 形式";
    OP_IN_OTHER_TRAINERS:
        "in other trainers `{name}` is a GPU-only implementation of the same chunked algebra,\nwhich `chunk` computes on every device",
        "在其他训练器中 `{name}` 指同一分块算法的 GPU 专用实现，\n`chunk` 在任何设备上都能计算";
    OP_CHUNK_IS_SILENT:
        "use `op = \"chunk\"` to silence this warning",
        "设 `op = \"chunk\"` 可不再显示此警告";
    QUANT_NEEDS_FROZEN[ST2130]:
        "`quant.type = \"{kind}\"` requires frozen weights, but `peft.type = \"full\"` trains them",
        "`quant.type = \"{kind}\"` 需要冻结的权重，但 `peft.type = \"full\"` 会训练它们";
    FEW_BITS_CANNOT_TRAIN:
        "a value of a few bits cannot represent the small updates of training",
        "只有几比特的数存不下训练中的微小更新";
    DELETE_QUANT:
        "delete the table `[quant]`, or train only the state: `peft.type = \"state\"`",
        "删除表 `[quant]`，或只训练 state：`peft.type = \"state\"`";
    PLAN_FETCHES_NOTHING:
        "`check`, `plan` and `watch` do not download; `statetune run` does",
        "`check`、`plan` 和 `watch` 不会下载；`statetune run` 会";
    NOT_ON_MACHINE_YET[ST4021]: "`{file}` is not downloaded yet", "`{file}` 尚未下载";
    SHAPE_FROM_PRESET:
        "its shape is taken from the preset, or from `n_layer` and `n_embd`",
        "其形状取自预设，或取自 `n_layer` 和 `n_embd`";
    SHAPE_UNKNOWN[ST4020]:
        "`{file}` is not downloaded, and its shape is unknown",
        "`{file}` 尚未下载，其形状未知";
    PRESET_SAYS_SHAPE:
        "add a preset with the shape, such as `preset = \"rwkv7-0.1b\"`",
        "加上表示形状的预设，例如 `preset = \"rwkv7-0.1b\"`";
    RUN_FETCHES: "or run `statetune run` to download it", "或运行 `statetune run` 下载它";
    VOCABULARY_DOES_NOT_EXIST[ST3005]:
        "the vocabulary file `{path}` does not exist",
        "词表文件 `{path}` 不存在";
    RELATIVE_PATHS: "relative paths start at the folder of the experiment file", "相对路径以实验文件所在目录为起点";
    RELATIVE_PATHS_OF_SET:
        "relative paths of `--set` start at the current folder",
        "`--set` 的相对路径以当前目录为起点";
    RELATIVE_PATHS_OF_VARIABLES:
        "relative paths of environment variables start at the current folder",
        "环境变量中的相对路径以当前目录为起点";
    TILDE_STAYS: "`~` is not expanded: write `{path}`", "`~` 不会展开：请写 `{path}`";
    WRITE_PATH: "write the path: `{path}`", "请写路径：`{path}`";
    VARIABLES_STAY:
        "variables are not expanded: write `{path}`",
        "变量不会展开：请写 `{path}`";
    VARIABLES_STAY_TEXT:
        "variables such as `$HOME` are not expanded: write the path itself",
        "不会展开 `$HOME` 这样的变量：请写路径本身";
    BLANKS_AS_THEY_ARE:
        "blanks need no backslash: `{path}`",
        "空格前不需要反斜杠：`{path}`";
    TOKEN_IDS_NEED_NO_TOKENIZER:
        "documents of token ids need no tokenizer: remove `model.tokenizer`; texts need the vocabulary of the weights",
        "token id 的文档不需要分词器：请删去 `model.tokenizer`；文本需要权重的词表";
    WRITE_HUB_PATH:
        "write `{path}`; the file is fetched when the run starts",
        "请写 `{path}`；运行开始时会下载该文件";
    URLS_ARE_NOT_READ:
        "URLs are not read here: download the file and write its path",
        "此处不读取网址：请下载文件并写出其路径";
    NAME_HUB_FILE:
        "for a file of a Hugging Face repository, write `hf://{repo}/FILE.pth`",
        "若是 Hugging Face 仓库中的文件，请写 `hf://{repo}/FILE.pth`";
    WINDOWS_DRIVE:
        "drives of Windows are folders in WSL: write `{path}`",
        "Windows 的盘符在 WSL 中是目录：请写 `{path}`";
    BACKSLASHES: "write `/` between folders: `{path}`", "目录之间请写 `/`：`{path}`";
    SIMILAR_FILE: "a file with a similar name: `{file}`", "名称相近的文件：`{file}`";
    FOLDER_DOES_NOT_EXIST: "the folder `{folder}` does not exist", "目录 `{folder}` 不存在";
    WEIGHTS_DO_NOT_EXIST[ST4001]:
        "the weights file `{path}` does not exist",
        "权重文件 `{path}` 不存在";
    PASS_MOVED_WEIGHTS:
        "pass the new path of the weights: `--model FILE`, or `--set model.load_model=FILE` where the command has no `--model`",
        "请给出权重的新路径：`--model FILE`；没有 `--model` 的命令用 `--set model.load_model=FILE`";
    PASS_MOVED_TOKENIZER:
        "pass the new path of the vocabulary: `--tokenizer FILE`, or `--set model.tokenizer=FILE` where the command has no `--tokenizer`",
        "请给出词表的新路径：`--tokenizer FILE`；没有 `--tokenizer` 的命令用 `--set model.tokenizer=FILE`";
    PASS_MOVED_INPUT:
        "pass the new path of the file: `--set {key}=FILE`",
        "请给出文件的新路径：`--set {key}=FILE`";
    STATE_TUNING: "state tuning", "状态微调";
    AN_ADAPTER: "an adapter", "适配器";
    METHOD_NEEDS_MODEL[ST2111]:
        "{who} requires a trained model, but `model.load_model` is missing",
        "{who}需要训练好的模型，但缺少 `model.load_model`";
    WRITE_LOAD_MODEL:
        "set the path of a checkpoint: `load_model = \"../models/rwkv7-0.1b.pth\"`",
        "写出检查点的路径：`load_model = \"../models/rwkv7-0.1b.pth\"`";
    OR_TRAIN_NEW_MODEL:
        "or train a new model with `type = \"full\"`",
        "或用 `type = \"full\"` 训练新模型";
    NEW_MODEL_NEEDS_SIZE[ST2112]:
        "a new model requires `n_layer` and `n_embd`, or a `preset`",
        "新模型需要 `n_layer` 和 `n_embd`，或 `preset`";
    TRAINS_FROM_SCRATCH:
        "without `load_model`, a new model is trained from scratch",
        "没有 `load_model` 时从头训练新模型";
    CHOOSE_SIZE:
        "choose a size, for example `preset = \"rwkv7-0.1b\"`",
        "选一个规模，例如 `preset = \"rwkv7-0.1b\"`";
    OR_START_FROM_CHECKPOINT:
        "or start from a checkpoint: `load_model = \"../models/rwkv7-0.1b.pth\"`",
        "或从检查点开始：`load_model = \"../models/rwkv7-0.1b.pth\"`";
    N_EMBD_NOT_MULTIPLE[ST2113]:
        "`n_embd = {n_embd}` is not a multiple of the head size {head_size}",
        "`n_embd = {n_embd}` 不是头大小 {head_size} 的倍数";
    NEAREST_ARE: "nearest: {nearest}", "最接近的：{nearest}";
    PRE_FFN_ALONE[ST2115]:
        "`pre_ffn = 1` leaves a model of one layer without a time mix",
        "`pre_ffn = 1` 使单层模型没有 time mix";
    CONTRADICTS_PRESET[ST2110]:
        "`{key}` is {written}, but the preset has {of_preset}",
        "`{key}` 为 {written}，但预设为 {of_preset}";
    DELETE_ONE_LINE: "delete one of the two lines", "从两行中删除一行";
    PRE_FFN_IN_RWKV7:
        "`pre_ffn` replaces the first time mix, whose values all later layers of RWKV-7 need",
        "`pre_ffn` 会替换第一层的 time mix，而 RWKV-7 后面各层都需要其 value";
    TINY_ATT_IN_RWKV7:
        "the option was dropped before RWKV-7 and is not defined for it",
        "此选项在 RWKV-7 之前已被放弃，没有为 RWKV-7 定义";
    KEY_NOT_FOR_VERSION[ST2114]:
        "`{key}` does not apply to an {version} model",
        "`{key}` 不适用于 {version} 模型";
    DELETE_OR_ZERO: "delete the setting, or set it to 0", "删除此设置，或设为 0";
    WEIGHTS_CONTRADICT_FILE[ST4004]:
        "the weights have `{name} = {found}`, but the experiment says {stated}",
        "权重的 `{name} = {found}`，但实验写的是 {stated}";
    WEIGHTS_HAVE: "the weights have {found}", "权重为 {found}";
    FOUND_SHAPE:
        "found {version}, n_layer {n_layer}, n_embd {n_embd}, head_size {head_size}, vocab {vocab}",
        "权重：{version}，n_layer {n_layer}，n_embd {n_embd}，head_size {head_size}，词表 {vocab}";
    DELETE_SHAPE_LINE: "delete the setting; the shape comes from the weights", "删除此设置，形状总是取自权重";
    HEAD_SIZE_NOT_FOR_KERNELS[ST4006]:
        "the model has a head size of {channels}, but the kernels require a multiple of 8 up to 256",
        "模型的头大小为 {channels}，而内核要求 8 的倍数且不超过 256";
    CHUNK_COMPUTES_ANY_HEAD:
        "set `op = \"chunk\"` in `[train]`, which supports any head size",
        "在 `[train]` 中设 `op = \"chunk\"`，它支持任意头大小";
    DELETE_VOCAB_LINE:
        "delete the setting; a new model takes its vocabulary size from the tokenizer",
        "删除此设置：新模型的词表大小取自分词器";
    NAME_VOCABULARY: "set the vocabulary that the model was trained with", "请设为训练模型时所用的词表";
    SET_TOKENIZER:
        "set `model.tokenizer` to the vocabulary that the model was trained with",
        "把 `model.tokenizer` 设为训练模型时所用的词表";
    CHARACTERS_OF_DATA: "the vocabulary of the data's characters", "数据的字符词表";
    THE_WORLD_TOKENIZER: "the World tokenizer", "World 分词器";
    THE_TOKENIZER: "the tokenizer", "分词器";
    WARMUP_LONGER_THAN_RUN[ST2303]:
        "the run has {steps} steps, fewer than the {warmup} steps of warmup",
        "运行只有 {steps} 步，少于 {warmup} 步预热";
    RATE_IS_NOT_REACHED:
        "the learning rate only rises and never reaches `lr_init`",
        "学习率一直在上升，到不了 `lr_init`";
    SHORTEN_WARMUP:
        "set `warmup_steps = {fewer}` in `[schedule]`, or train for more steps",
        "在 `[schedule]` 中设 `warmup_steps = {fewer}`，或训练更多步";
    CHUNK_CTX_NOT_MULTIPLE[ST2135]:
        "`chunk_ctx = {chunk_ctx}` is not a multiple of {step}",
        "`chunk_ctx = {chunk_ctx}` 不是 {step} 的倍数";
    SET_CHUNK_CTX: "set `chunk_ctx = {near}`", "设 `chunk_ctx = {near}`";
    CONTEXT_NEEDS_CHUNKS[ST2119]:
        "`strategy = \"context\"` requires `train.chunk_ctx`",
        "`strategy = \"context\"` 需要 `train.chunk_ctx`";
    DEVICES_TAKE_CHUNKS:
        "the devices compute the chunks of a sample in turn",
        "各设备轮流计算一个样本的各块";
    CONTEXT_NEEDS_SFT[ST2119]:
        "`strategy = \"context\"` does not work with `objective.type = \"{name}\"`",
        "`strategy = \"context\"` 不能与 `objective.type = \"{name}\"` 一起使用";
    CONTEXT_WITH_HEAD_QK[ST2119]:
        "`strategy = \"context\"` does not work with a model that has `head_qk`",
        "`strategy = \"context\"` 不能用于带 `head_qk` 的模型";
    SHARE_PASSES:
        "set `strategy = \"auto\"`: the devices then take the passes of a step in turn, with the same result",
        "设 `strategy = \"auto\"`：各设备便轮流处理一步中的各遍，结果相同";
    CHUNK_CTX_CUTS_NOTHING[ST2305]:
        "`chunk_ctx` has no effect, because no sample is longer than `ctx_len = {ctx_len}`",
        "`chunk_ctx` 不起作用，因为没有样本长于 `ctx_len = {ctx_len}`";
    WEIGHTS_NOT_OF_WORLD[ST4005]:
        "the tokenizer of the weights is not known: the weights have {ids} ids, the World tokenizer has {found}",
        "权重的分词器未知：权重有 {ids} 个 id，World 分词器有 {found} 个";
    IDS_OF_OTHER_TOKENIZER:
        "the ids of another tokenizer mean nothing to the weights",
        "别的分词器的 id 对这些权重没有意义";
    NAME_TOKENIZER_OF_WEIGHTS:
        "set `model.tokenizer` to the vocabulary file of the weights; a run on characters keeps its own in `RUN/vocab.json`",
        "把 `model.tokenizer` 设为这些权重的词表文件；按字符训练的运行把词表存在 `RUN/vocab.json`";
    OR_NEW_MODEL_OF_DATA:
        "or train a new model: replace `model.load_model` with `model.n_layer` and `model.n_embd`, and set `recipe = \"full\"`",
        "或训练新模型：把 `model.load_model` 换成 `model.n_layer` 和 `model.n_embd`，并设 `recipe = \"full\"`";
    NAMED_TOKENIZER_SIZE[ST4005]:
        "the model has {ids} token ids, but {name} has {found}",
        "模型有 {ids} 个 token id，但{name}有 {found} 个";
    FEW_IDS_OF_EMBEDDING[ST4005]:
        "the tokenizer has {ids} ids, but the embedding of the weights has {rows}",
        "分词器有 {ids} 个 id，而权重的嵌入有 {rows} 行";
    OTHER_IDS_MEAN_OTHERS:
        "weights that were trained with another vocabulary read every document as noise",
        "用其他词表训练的权重会把所有文档读成噪声";
    NAME_SAYS_WORLD:
        "by its name, `{file}` was trained with the World tokenizer",
        "从名称看，`{file}` 是用 World 分词器训练的";
    SET_WORLD_OR_RENAME:
        "set `tokenizer = \"world\"`; if the weights were trained again with this vocabulary, give their file another name",
        "设 `tokenizer = \"world\"`；如果权重已用这个词表重新训练，请给文件换个名称";
    WORLD_HAS_SO_MANY:
        "World and G1 models have 65,536 rows: set `tokenizer = \"world\"` for these",
        "World 和 G1 模型有 65,536 行：这些模型请设 `tokenizer = \"world\"`";
    STATE_LR_SCALE_NEEDS_STATES[ST2123]:
        "`state_lr_scale` only applies with `state = true`",
        "`state_lr_scale` 只适用于 `state = true`";
    STATES_STAY_ZERO:
        "with `state = false` the initial states stay zero",
        "`state` 为 false，初始状态保持为零";
    WRITE_STATE_TRUE: "set `state = true`, or delete the setting", "写 `state = true`，或删除此设置";
    PART_CANNOT_TRAIN[ST2122]:
        "the linear layers in `{part}` cannot be trained together with an adapter",
        "使用适配器时，`{part}` 中的线性层不能训练";
    ADAPTER_KEEPS_FROZEN: "an adapter keeps the matrices it changes frozen", "适配器所作用的矩阵保持冻结";
    FULL_TRAINS_LAYERS:
        "set `type = \"full\"` to train them; set `targets` to choose the layers of the adapter",
        "设 `type = \"full\"` 训练它们；用 `targets` 选择适配器作用的层";
    NOT_A_LAYER_RANGE[ST2125]: "`{text}` is not a valid range of layers", "`{text}` 不是有效的层范围";
    LAYER_RANGE_FORM:
        "write a layer, such as 5, or layers from the first to the last, such as \"0-3\"",
        "请写一层，如 5，或从第一层到最后一层，如 \"0-3\"";
    LAYER_SCALES_OVERLAP[ST2125]:
        "`lr_scale` has two factors for one layer: `{one}` and `{other}`",
        "`lr_scale` 为同一层写了两个倍数：`{one}` 和 `{other}`";
    SHIFT_FOR_FEW_PROGRAMS[ST2306]:
        "few programs read trained shift states",
        "很少有程序读取训练过的 shift state";
    SHIFT_READ_BY: "read by statetune, {programs}", "能读取的有 statetune、{programs}";
    SHIFT_NOT_READ_BY: "not read by {programs}", "不读取的有{programs}";
    SHIFT_IS_MOUNTED_WITHOUT:
        "for these, `mount` and `export` write the WKV states alone with `--drop shift`",
        "对这些程序，`mount` 和 `export` 加 `--drop shift` 只写 WKV state";
    READERS_OF_MODEL_FILES:
        "programs that read states in a model file (`merge --states embed`)",
        "读取模型文件中 state 的程序（`merge --states embed`）";
    KEY_NOT_FOR_INIT[ST2121]:
        "`{key}` does not apply with `init = \"{word}\"`",
        "`{key}` 不适用于 `init = \"{word}\"`";
    WRITE_INIT: "set `init = \"{word}\"`, or delete the setting", "写 `init = \"{word}\"`，或删除此设置";
    INIT_NEEDS_KEY[ST2120]:
        "`init = \"{word}\"` requires `{key}`",
        "`init = \"{word}\"` 需要 `{key}`";
    STATE_DOES_NOT_EXIST[ST4001]:
        "the state file `{file}` does not exist",
        "state 文件 `{file}` 不存在";
    TEXT_IS_EMPTY[ST2124]: "the text is empty", "文本为空";
    PROBE_NAME_TAKEN[ST2163]: "the probe name `{name}` is used twice", "探针名 `{name}` 重复";
    PROBES_NEED_NAMES:
        "records and `eval.metric` identify probes by name",
        "记录和 `eval.metric` 靠名称区分探针";
    PROBE_REGEX_INVALID[ST2107]:
        "the regular expression of the probe `{name}` is not valid",
        "探针 `{name}` 的正则表达式无效";
    PROBE_ASKS_NOTHING[ST2162]: "the probe `{name}` has no condition", "探针 `{name}` 没有条件";
    EVERY_ANSWER_FITS: "every answer would match", "任何回答都会匹配";
    WHAT_PROBES_COUNT:
        "set `regex`, `json = true`, `min_chars` or `max_chars`",
        "请设 `regex`、`json = true`、`min_chars` 或 `max_chars`";
    PROBE_RANGE_EMPTY[ST2164]:
        "no answer has at least {least} and at most {most} characters",
        "没有回答能既不少于 {least} 又不多于 {most} 个字符";
    PROBE_STOP_WITHOUT_GOAL[ST2160]:
        "the probe `{name}` has `stop = true` but no goal",
        "探针 `{name}` 设了 `stop = true` 但没有目标";
    GOAL_ENDS_RUN:
        "set `goal = 0.9` to stop the run when 90 % of the answers match",
        "设 `goal = 0.9`，当 90 % 的回答匹配时停止运行";
    NO_PROBE[ST2161]: "unknown probe `{metric}`", "未知探针 `{metric}`";
    NO_QUESTIONS_TO_COUNT[ST2165]:
        "`sample.held_out` is 0 and `sample.prompts` is empty, so this probe has no answers to check",
        "`sample.held_out` 为 0 且 `sample.prompts` 为空，该探针没有可检查的回答";
    ASK_QUESTIONS:
        "set `sample.held_out` or `sample.prompts`",
        "请设 `sample.held_out` 或 `sample.prompts`";
    ONE_TEXT_HOLDS_OUT_NOTHING[ST3116]:
        "`{key}` has no effect: `{file}` is a single document, and none is held out",
        "`{key}` 不起作用：`{file}` 是单个文档，不会留出任何文档";
    TEXT_FILE_IS_A_DOCUMENT:
        "with `data_type = \"{data_type}\"` every file is one document, so there is no validation loss",
        "用 `data_type = \"{data_type}\"` 时每个文件是一个文档，因此没有验证损失";
    SPLIT_TEXT_INTO_DOCUMENTS:
        "split the text into files, one for each document, and set `data_file` to their folder; or write one JSONL line \
         `{{\"text\": \"...\"}}` for each document",
        "把文本分成多个文件，每个文档一个，并把 `data_file` 设为其文件夹；或为每个文档写一行 JSONL `{{\"text\": \"...\"}}`";
    TYPICAL_STATE_RATE:
        "typical: 1.0 falling to 0.01, 10 warmup steps",
        "通常：从 1.0 降到 0.01，预热 10 步";
    FULL_TUNING: "full tuning", "全量微调";
    TYPICAL_FULL_RATE:
        "typical: 6e-4 for a new model, 2e-5 for a pretrained one",
        "通常：新模型 6e-4，训练过的模型 2e-5";
    TYPICAL_ADAPTER_RATE: "typical: 1e-4 or slightly less", "通常：1e-4 或略小";
    LR_INIT_LOW[ST2301]:
        "`lr_init = {rate}` is 1/{times} of the usual value for {method}",
        "`lr_init = {rate}` 比{method}的通常起始值偏小，相差 {times} 倍";
    STATE_MOVES_OVER_RUN:
        "at this rate each entry of the state changes by about {moves} at most in the planned {steps} steps",
        "按这个学习率，计划的 {steps} 步中 state 的每个分量最多变化约 {moves}";
    STATE_MOVES_PER_STEP:
        "at this rate each entry of the state changes by about {rate} at most in a step",
        "按这个学习率，state 的每个分量每步最多变化约 {rate}";
    RECIPES_DISAGREE:
        "write `1.0` for the rate of this program's recipe; some published recipes use 5e-4, 1e-4 or 1e-5 over many more steps",
        "写 `1.0` 即本程序配方的起始值；有的公开配方在多得多的步数上用 5e-4、1e-4 或 1e-5";
    PROGRAM_MAKES_DOCUMENTS: "statetune generates these documents", "这些文档由程序自己生成";
    NAME_DATA_FILE:
        "set the documents: `data_file = \"texts.jsonl\"`",
        "请指明文档：`data_file = \"texts.jsonl\"`";
    OR_SEVERAL_SOURCES:
        "or write several sources, each in a table `[[data.source]]`",
        "或写多个来源，每个来源一个 `[[data.source]]` 表";
    RUN_NEEDS_ON_MACHINE:
        "not an error of the experiment file: a run needs this on its machine",
        "这不是实验文件的错误：运行所在的机器需要它";
    DATA_DOES_NOT_EXIST[ST3005]:
        "the data file `{file}` does not exist",
        "数据文件 `{file}` 不存在";
    WDS_IMG_IS_IMAGES[ST2151]:
        "`wds_img` is not a data type for language models",
        "`wds_img` 不是语言模型的数据";
    WDS_IMG_MEANING:
        "it is for archives of images, which no trainer of RWKV language models reads, although tutorials list it",
        "它用于图像归档；没有 RWKV 语言模型的训练器读取它，尽管教程里列出了它";
    CHOOSE_OTHER_TYPE: "choose another type, for example `jsonl`", "请选其他类型，例如 `jsonl`";
    KEY_HAS_NO_MEANING[ST2103]: "`{key}` does not apply to `{beside}`", "`{key}` 不适用于 `{beside}`";
    KEY_BESIDE_SOURCES[ST2152]:
        "`{key}` and `data.source` cannot both be set",
        "`{key}` 与 `data.source` 不能同时设置";
    SOURCES_HAVE_FILES:
        "each `[[data.source]]` has its own files and type",
        "每个 `[[data.source]]` 有自己的文件和类型";
    DELETE_OR_MAKE_SOURCE:
        "delete the setting, or move it into a `[[data.source]]`",
        "删除此设置，或把它移到一个 `[[data.source]]` 中";
    PAIR_USED_AS_IS: "a pair of token files is used as it is", "token 文件对按原样使用";
    SWEEP_WITHOUT_AXES: "the sweep has no axes", "扫描没有轴";
    AXIS_WITHOUT_VALUES: "the axis `{key}` has no values", "轴 `{key}` 没有值";
    AXIS_WITH_TABLE:
        "a value of the axis `{key}` is a table; vary its keys instead",
        "轴 `{key}` 的值是一个表；请改为变动其中的键";
    AXES_OF_DIFFERENT_LENGTHS:
        "a sweep with `mode = \"list\"` takes one value of each axis at a time, but the axes have {n} and {other} values",
        "list 类型的扫描每次从各轴各取一个值，但各轴分别有 {n} 和 {other} 个值";
    TOO_MANY_MEMBERS: "the sweep has more than {most} runs", "扫描的运行超过 {most} 个";
    ADAPTERS: "adapters", "适配器";
    WEIGHTS_CONTRADICT_PRESET[ST4004]:
        "the weights have `{name} = {found}`, but the preset says {stated}",
        "权重的 `{name} = {found}`，但预设写的是 {stated}";
    LR_INIT_HIGH[ST2301]:
        "`lr_init = {rate}` is {times} times the usual value for {method}",
        "`lr_init = {rate}` 比{method}的通常起始值偏大，相差 {times} 倍";
    SMOOTHING_NEEDS_SIGMOID[ST2185]:
        "`label_smoothing` only applies to `loss = \"sigmoid\"`",
        "`label_smoothing` 只用于 `loss = \"sigmoid\"`";
    L2WRAP_NEEDS_SFT[ST2185]:
        "`l2wrap` only applies to `objective.type = \"sft\"`, and the objective is `{name}`",
        "`l2wrap` 只用于 `objective.type = \"sft\"`，而这里的训练目标是 `{name}`";
    PREFERENCES_ARE_RECORDS[ST2185]:
        "`objective.type = \"{name}\"` compares answers of records, and the data has no records",
        "`objective.type = \"{name}\"` 比较记录中的回答，而数据里没有记录";
    SET_JSONL: "set `data_type = \"jsonl\"` for files of records", "对记录文件设 `data_type = \"jsonl\"`";
    PREFERENCES_NEED_ANSWERS[ST2185]:
        "`objective.type = \"{name}\"` compares answers, but `loss_mask` makes whole documents target text",
        "`objective.type = \"{name}\"` 比较回答，但 `loss_mask` 把整个文档当作目标";
    SET_MASK_ASSISTANT: "set `loss_mask = \"assistant\"`", "设 `loss_mask = \"assistant\"`";
    PREFERENCES_NEED_ROWS[ST2185]:
        "`objective.type = \"{name}\"` takes each answer as a row of its own, so `dataload` must be `pad` or `only`",
        "`objective.type = \"{name}\"` 让每个回答各占一行，因此 `dataload` 必须是 `pad` 或 `only`";
    SET_DATALOAD_PAD: "set `dataload = \"pad\"`", "设 `dataload = \"pad\"`";
    PREFERENCES_ARE_NOT_SPLIT[ST2185]:
        "`objective.type = \"{name}\"` compares whole answers, so `overlong` must not split them",
        "`objective.type = \"{name}\"` 比较完整的回答，因此 `overlong` 不能切分它们";
    SET_OVERLONG_DROP:
        "set `overlong = \"drop\"` to leave out long records, or `\"truncate\"` to cut their answers",
        "设 `overlong = \"drop\"` 略去过长的记录，或设 `\"truncate\"` 截断它们的回答";
    COMMAND_TAKES_DOCUMENTS[ST2185]:
        "`statetune {command}` takes documents that are imitated, and the objective of the experiment is `{name}`",
        "`statetune {command}` 使用被模仿的文档，而这个实验的训练目标是 `{name}`";
    EXPORT_CHOSEN_ANSWERS:
        "to export the chosen answers alone, pass `--set objective.type=sft --set-json 'data.ignore_keys=[\"rejected\"]'`",
        "只导出选中的回答：加 `--set objective.type=sft --set-json 'data.ignore_keys=[\"rejected\"]'`";
    EVAL_OTHER_DOCUMENTS:
        "name a file of documents after the run; `statetune report` shows the validation loss and the accuracy of the run",
        "在运行之后写出一个文档文件；`statetune report` 会显示该运行的验证损失和准确率";
    RANGE_TEST_NEEDS_SFT[ST2185]:
        "`lr_init = \"auto\"` and `--rates` measure the loss of imitation, and the objective is `{name}`",
        "`lr_init = \"auto\"` 和 `--rates` 测量的是模仿的损失，而这里的训练目标是 `{name}`";
    SET_LR_INIT_NUMBER:
        "set `lr_init` to a number, such as a tenth of the usual rate of the method",
        "把 `lr_init` 设为一个数，例如该方法常用学习率的十分之一";
    PROPOSAL: "{settings}  about {total}, {verdict}", "{settings}  约 {total}，{verdict}";
    COST_ALL_TOGETHER: "all of these together", "以上全部一起";
    MEMORY_OF_ITEM: "{item} {size}", "{item} {size}";
    PROPOSAL_LINE: "{letter}  {proposal}", "{letter}  {proposal}";
    ITEM_WEIGHTS: "weights", "权重";
    ITEM_PACKED_WEIGHTS: "quantized weights", "量化权重";
    ITEM_LEARNING: "trainable parameters, gradients and Adam", "可学习参数、梯度和 Adam";
    ITEM_ACTIVATIONS: "activations", "激活";
    ITEM_BOUNDARIES: "states between chunks", "分块之间的状态";
    ITEM_LOGITS: "logits", "logits 张量";
    ITEM_WORKSPACE: "workspace", "工作区";
    ITEM_HOLES: "fragmentation", "碎片";
    ITEM_PROGRAM: "program", "程序";
}
