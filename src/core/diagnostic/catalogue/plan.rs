//! Messages about values that contradict each other, and proposals.

use crate::diagnostic::entry::catalogue;

catalogue! {
    DOES_NOT_FIT_ALONE: "does not fit alone", "单独仍放不下";
    DOES_NOT_FIT: "does not fit", "放不下";
    COST_THIRD_SLOWER: "about a third slower, same result", "约慢三分之一，结果相同";
    COST_HARDLY_SLOWER: "hardly slower, same result but for rounding", "几乎不变慢，除舍入外结果相同";
    COST_SAME_SAMPLES: "same samples in an update", "每次更新的样本数不变";
    COST_8_BITS: "frozen weights rounded to 8 bits", "冻结权重舍入到 8 比特";
    COST_4_BITS: "frozen weights rounded to 4 bits", "冻结权重舍入到 4 比特";
    NO_ROLE_FOR_WORD[ST2140]:
        "`{template}` has no role `{role}` to add a word to",
        "`{template}` 没有角色 `{role}`，无法为它加词";
    GIVE_ROLE_WORDS: "give the role its words in `{key}`", "在 `{key}` 中为该角色写词";
    NOT_A_ROLE_WORD[ST2141]: "`{word}` is not a word for a role", "`{word}` 不能用作角色词";
    ROLE_WORD_FORM: "must begin and end with a letter or digit", "首尾必须是字母或数字";
    ALIAS_REPLACES_WORD:
        "the word takes the place of the one in `{own}`, with all around it",
        "这个词会取代 `{own}` 中的词，其余部分不变";
    KEY_NEEDS_LOSS_MASK_SE[ST2142]:
        "`{key}` has no meaning without `loss_mask = \"se\"`",
        "没有 `loss_mask = \"se\"` 时 `{key}` 没有意义";
    LOSS_MASK_SE_NEEDS[ST2143]:
        "`loss_mask = \"se\"` needs `{key}`",
        "`loss_mask = \"se\"` 需要 `{key}`";
    MASK_ID_MEANING:
        "learning begins behind the text `mask1` and ends before the text `mask0`",
        "从文本 `mask1` 之后开始学习，到文本 `mask0` 之前为止";
    FOR_EXAMPLE_MASK_ID:
        "for example `mask_id = {{ mask0 = \"<user>\", mask1 = \"<answer>\" }}`",
        "例如 `mask_id = {{ mask0 = \"<user>\", mask1 = \"<answer>\" }}`";
    TEMPLATE_NO_ROLE_ASSISTANT[ST2144]:
        "the template `{template}` has no role `assistant`",
        "模板 `{template}` 没有角色 `assistant`";
    LEARNS_ASSISTANT: "learns what the assistant says", "学习 assistant 所说的内容";
    CHOOSE_TEMPLATE_WITH_ROLES:
        "choose a `data.template` with roles, or `loss_mask = \"pad\"`",
        "选一个带角色的 `data.template`，或用 `loss_mask = \"pad\"`";
    DATALOAD_ONLY_TAKES_ONE[ST2145]:
        "`dataload = \"only\"` takes one document at a time",
        "`dataload = \"only\"` 一次只取一个文档";
    MUST_BE_ONE: "must be 1", "必须是 1";
    ONLY_PADS_NOTHING:
        "it pads nothing, and documents of different lengths need padding to stand side by side",
        "它不做填充，而长度不同的文档要并排就需要填充";
    SET_MICRO_BSZ_ONE:
        "set `train.micro_bsz = 1`, and `train.accumulate_grad_batches` for more in a step",
        "设 `train.micro_bsz = 1`，每步要更多样本则用 `train.accumulate_grad_batches`";
    OR_PACK:
        "or `data.dataload = \"pack\"`, which pads little",
        "或用 `data.dataload = \"pack\"`，填充很少";
    WALK_IS_FOR_WINDOWS[ST2146]: "`data.walk` is for windows alone", "`data.walk` 只用于窗口";
    NEEDS_DATALOAD_GET:
        "has no meaning without `dataload = \"get\"`",
        "没有 `dataload = \"get\"` 时没有意义";
    DELETE_OR_DATALOAD_GET:
        "delete the line, or set `data.dataload = \"get\"`",
        "删除这一行，或设 `data.dataload = \"get\"`";
    WALK_TAKES_EVERY_WINDOW[ST2104]:
        "the magic-prime walk takes every window",
        "magic-prime 遍历会取每一个窗口";
    WINDOWS_WITHOUT_TARGETS: "in some windows nothing of this is said", "有些窗口里没有可学的内容";
    RANDOM_WALK_DRAWS_AGAIN:
        "random windows are drawn again until something in them is learned",
        "随机窗口会重新抽取，直到其中有可学的内容";
    SET_WALK_RANDOM:
        "set `data.walk = \"random\"`, or `data.loss_mask = \"pad\"`",
        "设 `data.walk = \"random\"`，或 `data.loss_mask = \"pad\"`";
    OVERLONG_NOT_FOR_WINDOWS[ST2147]:
        "`data.overlong` has no meaning for windows",
        "`data.overlong` 对窗口没有意义";
    WINDOWS_CUT_ANYWHERE:
        "windows cut documents anywhere, and no token is left out",
        "窗口可在任意处截断文档，不会遗漏 token";
    COMPUTES_ON_CPU[ST5004]: "the processor computes, not the GPU", "由 CPU 计算，没有用 GPU";
    SILENT_SETTING: "`{without}` does so without this warning", "写 `{without}` 则不会有此警告";
    TAKES_GPU_OR_CPU:
        "`{setting}` takes a GPU where there is one, and else the processor",
        "`{setting}` 有 GPU 就用 GPU，否则用 CPU";
    TAKES_DEVICE_KERNELS:
        "`{setting}` takes the kernels of the device",
        "`{setting}` 使用该设备的内核";
    SETTING_NEEDS_GPU[ST5003]:
        "`{asked_for}` needs a GPU that can be used",
        "`{asked_for}` 需要可用的 GPU";
    OP_CONTRADICTS[ST2116]:
        "`{op}` contradicts `{accelerator}`",
        "`{op}` 与 `{accelerator}` 矛盾";
    KERNELS_OF_DEVICES:
        "the CUDA kernels run on GPUs alone, and those for processors on none",
        "CUDA 内核只在 GPU 上运行，CPU 内核则不能在 GPU 上运行";
    OP_FITS_EVERY_DEVICE: "`{op}` fits every device", "`{op}` 适合任何设备";
    LOSS_SPIKE_TOO_LOW[ST7010]:
        "`guard.loss_spike = {multiple}` would report usual losses",
        "`guard.loss_spike = {multiple}` 会把正常的损失也报告出来";
    LOSS_SPIKE_MEANING:
        "it is the multiple of the usual loss above which a loss is reported",
        "损失超过正常值的这个倍数时才报告";
    LOSS_SPIKE_DEFAULT: "4.0 is the default; 0 reports nothing", "默认 4.0；0 表示不报告";
    DELETES_LINE: "deletes the line", "删除这一行";
    LR_FINAL_MISSING[ST2108]: "`schedule.lr_final` is missing", "缺少 `schedule.lr_final`";
    RATE_NEEDS_END: "the rate starts here and needs an end", "学习率从这里开始，还需要终值";
    CURVE_RUNS:
        "a curve runs from `lr_init` to `lr_final`",
        "曲线从 `lr_init` 走到 `lr_final`";
    STATE_TUNING_RATES:
        "state tuning usually goes from 1.0 to 0.01: `lr_final = 0.01`",
        "state 微调通常从 1.0 降到 0.01：`lr_final = 0.01`";
    OR_CONSTANT_RATE:
        "or keep the rate as it is with `lr_schedule = \"constant\"`",
        "或用 `lr_schedule = \"constant\"` 保持学习率不变";
    EXPONENTIAL_TO_ZERO[ST2102]:
        "an exponential curve never reaches `lr_final = 0`",
        "指数曲线永远到不了 `lr_final = 0`";
    CHOOSE_SMALL_RATE:
        "choose a small rate such as 1e-4, or `lr_schedule = \"cos\"`",
        "请取 1e-4 之类的小值，或用 `lr_schedule = \"cos\"`";
    DECAY_SHARE_NEEDS_WSD[ST2170]:
        "`decay_share` has no meaning without `lr_schedule = \"wsd\"`",
        "没有 `lr_schedule = \"wsd\"` 时 `decay_share` 没有意义";
    OTHER_CURVES_FALL:
        "the other curves fall all the way, or not at all",
        "其他曲线要么全程下降，要么不下降";
    DELETE_OR_WSD:
        "delete the line, or write `lr_schedule = \"wsd\"`",
        "删除这一行，或写 `lr_schedule = \"wsd\"`";
    SAMPLE_HELD_OUT_WITHOUT_SPLIT[ST2105]:
        "`sample.held_out` asks for held-out documents, but there are none",
        "`sample.held_out` 要用留出文档，但没有留出任何文档";
    HOLD_SOME_OUT:
        "hold some out with `data.val_split`, or write `sample.prompts`",
        "用 `data.val_split` 留出一些，或写 `sample.prompts`";
    PROMPT_IS_EMPTY[ST2106]: "a prompt is empty", "有一条提示词为空";
    SINKS_WITHOUT_JSONL[ST6080]:
        "`log.sinks` leaves out `jsonl`",
        "`log.sinks` 漏掉了 `jsonl`";
    METRICS_ARE_READ:
        "`metrics.jsonl` is what reports, comparisons and other terminals read",
        "报告、比较和其他终端读的就是 `metrics.jsonl`";
    ADD_JSONL_SINK:
        "write it beside the others: `sinks = [\"jsonl\", \"tensorboard\"]`",
        "与其他项一起写上：`sinks = [\"jsonl\", \"tensorboard\"]`";
    ONE_DEVICE[ST2117]:
        "a run uses one device, not {devices}",
        "一次运行只用一个设备，而不是 {devices} 个";
    RAISE_SAMPLES_PER_STEP:
        "for as many samples in a step, raise `accumulate_grad_batches` or `micro_bsz`",
        "要使每步样本数相同，请增大 `accumulate_grad_batches` 或 `micro_bsz`";
    OP_MEANS_CHUNK[ST1301]:
        "`op = \"{name}\"` runs the `chunk` form",
        "`op = \"{name}\"` 使用 `chunk` 形式";
    OP_IN_OTHER_TRAINERS:
        "in other trainers `{name}` names a GPU-only implementation of the same chunked algebra,\nwhich `chunk` computes on every device",
        "在其他训练器中 `{name}` 指同一分块算法的 GPU 专用实现，\n`chunk` 在任何设备上都能计算";
    OP_CHUNK_IS_SILENT:
        "`op = \"chunk\"` does the same without this warning",
        "`op = \"chunk\"` 效果相同且没有此警告";
    QUANT_NEEDS_FROZEN[ST2130]:
        "`quant.type = \"{kind}\"` needs frozen weights, but `peft.type = \"full\"` trains them",
        "`quant.type = \"{kind}\"` 需要冻结的权重，但 `peft.type = \"full\"` 会训练它们";
    FEW_BITS_CANNOT_TRAIN:
        "a number of a few bits cannot take the small steps of training",
        "只有几比特的数存不下训练中的微小更新";
    DELETE_QUANT:
        "delete the table `[quant]`, or tune the state alone: `peft.type = \"state\"`",
        "删除表 `[quant]`，或只微调 state：`peft.type = \"state\"`";
    PLAN_FETCHES_NOTHING:
        "`check`, `plan` and `watch` fetch nothing; a command that computes with it does",
        "`check`、`plan` 和 `watch` 不下载任何东西；用它计算的命令才会下载";
    NOT_ON_MACHINE_YET[ST4021]: "`{file}` is not on this machine yet", "`{file}` 还不在本机上";
    SHAPE_FROM_PRESET:
        "its shape is taken from the preset, or from `n_layer` and `n_embd`",
        "其形状取自预设，或取自 `n_layer` 和 `n_embd`";
    SHAPE_UNKNOWN[ST4020]:
        "`{file}` is not on this machine, and nothing says its shape",
        "`{file}` 不在本机上，也没有任何信息说明其形状";
    PRESET_SAYS_SHAPE:
        "a `preset` beside it says the shape: `preset = \"rwkv7-0.1b\"`",
        "在旁边写上 `preset` 可说明形状：`preset = \"rwkv7-0.1b\"`";
    RUN_FETCHES: "`statetune run` fetches it", "`statetune run` 会下载它";
    VOCABULARY_DOES_NOT_EXIST[ST3005]:
        "the vocabulary file `{path}` does not exist",
        "词表文件 `{path}` 不存在";
    RELATIVE_PATHS: "relative paths start at the experiment file", "相对路径以实验文件所在目录为起点";
    WEIGHTS_DO_NOT_EXIST[ST4001]:
        "the weights file `{path}` does not exist",
        "权重文件 `{path}` 不存在";
    STATE_TUNING: "state tuning", "状态微调";
    AN_ADAPTER: "an adapter", "适配器";
    METHOD_NEEDS_MODEL[ST2111]:
        "{who} needs a trained model, but there is no `model.load_model`",
        "{who}需要训练好的模型，但没有写 `model.load_model`";
    WRITE_LOAD_MODEL:
        "write the path of a checkpoint: `load_model = \"../models/rwkv7-0.1b.pth\"`",
        "写出检查点的路径：`load_model = \"../models/rwkv7-0.1b.pth\"`";
    OR_TRAIN_NEW_MODEL:
        "or train a new model with `type = \"full\"`",
        "或用 `type = \"full\"` 训练新模型";
    NEW_MODEL_NEEDS_SIZE[ST2112]:
        "a new model needs `n_layer` and `n_embd`, or a `preset`",
        "新模型需要 `n_layer` 和 `n_embd`，或 `preset`";
    TRAINS_FROM_SCRATCH:
        "there is no `load_model`, so the model is trained from scratch",
        "没有 `load_model`，因此模型从头训练";
    CHOOSE_SIZE:
        "choose a size, for example `preset = \"rwkv7-0.1b\"`",
        "选一个规模，例如 `preset = \"rwkv7-0.1b\"`";
    OR_START_FROM_CHECKPOINT:
        "or start from a checkpoint: `load_model = \"../models/rwkv7-0.1b.pth\"`",
        "或从检查点开始：`load_model = \"../models/rwkv7-0.1b.pth\"`";
    N_EMBD_NOT_MULTIPLE[ST2113]:
        "`n_embd = {n_embd}` is no multiple of the head size {head_size}",
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
        "it takes the place of the first time mix, whose values all later layers of RWKV-7 need",
        "它会取代第一层的 time mix，而 RWKV-7 后面各层都需要其 value";
    TINY_ATT_IN_RWKV7:
        "it was given up before RWKV-7, in which nobody has defined it",
        "它在 RWKV-7 之前已被放弃，没有人为 RWKV-7 定义过它";
    KEY_NOT_FOR_VERSION[ST2114]:
        "`{key}` has no meaning for an {version} model",
        "`{key}` 对 {version} 模型没有意义";
    DELETE_OR_ZERO: "delete the line, or write 0", "删除这一行，或写 0";
    WEIGHTS_CONTRADICT_FILE[ST4004]:
        "the weights have `{name} = {found}`, but the file says {stated}",
        "权重的 `{name} = {found}`，但文件写的是 {stated}";
    WEIGHTS_HAVE: "weights have {found}", "权重为 {found}";
    FOUND_SHAPE:
        "found {version}, n_layer {n_layer}, n_embd {n_embd}, head_size {head_size}, vocab {vocab}",
        "权重：{version}，n_layer {n_layer}，n_embd {n_embd}，head_size {head_size}，词表 {vocab}";
    DELETE_SHAPE_LINE:
        "delete the line, the shape always comes from the weights",
        "删除这一行，形状总是取自权重";
    HEAD_SIZE_NOT_FOR_KERNELS[ST4006]:
        "the model has heads of {channels} channels, the kernels need a multiple of 8 up to 256",
        "模型每头 {channels} 个通道，内核要求 8 的倍数且不超过 256";
    CHUNK_COMPUTES_ANY_HEAD:
        "`op = \"chunk\"` in `[train]` computes any head size",
        "`[train]` 中写 `op = \"chunk\"` 可计算任意头大小";
    DELETE_VOCAB_LINE:
        "delete the line: a new model takes its size from the tokenizer",
        "删除这一行：新模型的词表大小取自分词器";
    NAME_VOCABULARY:
        "name the vocabulary that the model was trained with",
        "请指明训练模型时所用的词表";
    SET_TOKENIZER:
        "set `model.tokenizer` to the vocabulary that the model was trained with",
        "把 `model.tokenizer` 设为训练模型时所用的词表";
    CHARACTERS_OF_DATA: "the vocabulary of the data's characters", "数据的字符词表";
    THE_WORLD_TOKENIZER: "the World tokenizer", "World 分词器";
    THE_TOKENIZER: "the tokenizer", "分词器";
    NAMED_TOKENIZER_SIZE[ST4005]:
        "the model has {ids} token ids, but {name} has {found}",
        "模型有 {ids} 个 token id，但{name}有 {found} 个";
    STATE_LR_SCALE_NEEDS_STATES[ST2123]:
        "`state_lr_scale` has no meaning without states",
        "没有 state 时 `state_lr_scale` 没有意义";
    STATES_STAY_ZERO:
        "the initial states stay zero, because `state` is false",
        "`state` 为 false，初始状态保持为零";
    WRITE_STATE_TRUE:
        "write `state = true`, or delete the line",
        "写 `state = true`，或删除这一行";
    PART_CANNOT_TRAIN[ST2122]:
        "the linear layers in `{part}` cannot learn beside an adapter",
        "使用适配器时，`{part}` 中的线性层不能学习";
    ADAPTER_KEEPS_FROZEN:
        "an adapter changes them and keeps them frozen themselves",
        "适配器改变它们的作用，而它们自身保持冻结";
    FULL_TRAINS_LAYERS:
        "`type = \"full\"` lets them learn; `targets` says which ones an adapter changes",
        "`type = \"full\"` 让它们学习；`targets` 指定适配器作用于哪些层";
    KEY_NOT_FOR_INIT[ST2121]:
        "`{key}` has no meaning for `init = \"{word}\"`",
        "`{key}` 对 `init = \"{word}\"` 没有意义";
    WRITE_INIT:
        "write `init = \"{word}\"`, or delete the line",
        "写 `init = \"{word}\"`，或删除这一行";
    INIT_NEEDS_KEY[ST2120]:
        "`init = \"{word}\"` needs `{key}`",
        "`init = \"{word}\"` 需要 `{key}`";
    STATE_DOES_NOT_EXIST[ST4001]:
        "the state file `{file}` does not exist",
        "state 文件 `{file}` 不存在";
    TEXT_IS_EMPTY[ST2124]: "the text is empty", "文本为空";
    PROBE_NAME_TAKEN[ST2163]: "the name `{name}` is taken", "名称 `{name}` 已被使用";
    PROBES_NEED_NAMES:
        "records and `eval.metric` tell probes apart by their names",
        "记录和 `eval.metric` 靠名称区分探针";
    PROBE_REGEX_INVALID[ST2107]:
        "the probe `{name}` has no valid regular expression",
        "探针 `{name}` 的正则表达式无效";
    PROBE_ASKS_NOTHING[ST2162]:
        "the probe `{name}` asks for nothing",
        "探针 `{name}` 没有要求任何内容";
    EVERY_ANSWER_FITS: "every answer would show it", "任何回答都会符合";
    WHAT_PROBES_COUNT:
        "`regex`, `json = true`, `min_chars` or `max_chars` say what is counted",
        "`regex`、`json = true`、`min_chars` 或 `max_chars` 指明统计什么";
    PROBE_RANGE_EMPTY[ST2164]:
        "no answer has at least {least} and at most {most} characters",
        "没有回答能既不少于 {least} 又不多于 {most} 个字符";
    PROBE_STOP_WITHOUT_GOAL[ST2160]:
        "the probe `{name}` is to end the run, but has no goal",
        "探针 `{name}` 要用来结束运行，但没有目标";
    GOAL_ENDS_RUN:
        "`goal = 0.9` ends it when nine answers in ten show the behaviour",
        "`goal = 0.9` 表示十个回答中有九个符合时结束";
    NO_PROBE[ST2161]: "there is no probe `{metric}`", "没有探针 `{metric}`";
    NO_QUESTIONS_TO_COUNT[ST2165]:
        "no questions are asked, so nothing is counted",
        "没有提出问题，因此无从统计";
    ASK_QUESTIONS:
        "`sample.held_out` or `sample.prompts` ask some",
        "`sample.held_out` 或 `sample.prompts` 可提出问题";
    TYPICAL_STATE_RATE:
        "typical: 1.0 falling to 0.01, 10 warmup steps",
        "通常：从 1.0 降到 0.01，预热 10 步";
    FULL_TUNING: "full tuning", "全量微调";
    TYPICAL_FULL_RATE:
        "typical: 6e-4 for a new model, 1e-5 for a trained one",
        "通常：新模型 6e-4，训练过的模型 1e-5";
    TYPICAL_ADAPTER_RATE: "typical: 1e-4 or a little less", "通常：1e-4 或略小";
    LR_INIT_LOW[ST2301]:
        "`lr_init = {rate}` is {times} times below the usual start for {method}",
        "`lr_init = {rate}` 比{method}的通常起始值偏小，相差 {times} 倍";
    STATE_MOVES_OVER_RUN:
        "at this rate a state entry moves by at most about {moves} over the planned {steps} steps",
        "按这个学习率，计划的 {steps} 步中 state 的每个分量最多变化约 {moves}";
    STATE_MOVES_PER_STEP:
        "at this rate a state entry moves by at most about {rate} in a step",
        "按这个学习率，state 的每个分量每步最多变化约 {rate}";
    RECIPES_DISAGREE:
        "published recipes disagree: 1.0, 5e-4, 1e-4 and 1e-5 all occur; a short run of each settles it",
        "公开的配方并不一致：1.0、5e-4、1e-4、1e-5 都有；各做一次短跑即可判断";
    PROGRAM_MAKES_DOCUMENTS: "the program makes these documents itself", "这些文档由程序自己生成";
    NAME_DATA_FILE:
        "name the documents: `data_file = \"texts.jsonl\"`",
        "请指明文档：`data_file = \"texts.jsonl\"`";
    OR_SEVERAL_SOURCES:
        "or several sources of them, each in a table `[[data.source]]`",
        "或写多个来源，每个来源一个 `[[data.source]]` 表";
    DATA_DOES_NOT_EXIST[ST3005]:
        "the data file `{file}` does not exist",
        "数据文件 `{file}` 不存在";
    WDS_IMG_IS_IMAGES[ST2151]:
        "`wds_img` is no data for language models",
        "`wds_img` 不是语言模型的数据";
    WDS_IMG_MEANING:
        "it named WebDataset archives of images, for an experiment that no trainer of RWKV language\nmodels ever accepted, although tutorials list it",
        "它原指 WebDataset 图像归档，用于一个从未被任何 RWKV 语言模型训练器\n接受的实验，尽管教程里列出了它";
    CHOOSE_OTHER_TYPE:
        "choose one of the other types, for example `jsonl`",
        "请选其他类型，例如 `jsonl`";
    KEY_HAS_NO_MEANING[ST2103]:
        "`{key}` has no meaning for `{beside}`",
        "`{key}` 对 `{beside}` 没有意义";
    KEY_BESIDE_SOURCES[ST2152]:
        "`{key}` stands beside `data.source`",
        "`{key}` 与 `data.source` 同时出现";
    SOURCES_HAVE_FILES:
        "each `[[data.source]]` has its own files and type",
        "每个 `[[data.source]]` 有自己的文件和类型";
    DELETE_OR_MAKE_SOURCE:
        "delete the line, or make it a `[[data.source]]` too",
        "删除这一行，或把它也写成 `[[data.source]]`";
    PAIR_USED_AS_IS: "a pair of token files is used as it is", "token 文件对按原样使用";
    SWEEP_WITHOUT_AXES: "there is no axis, so there is nothing to vary", "没有轴，因此没有可变的设置";
    AXIS_WITHOUT_VALUES: "the axis `{key}` has no values", "轴 `{key}` 没有值";
    AXIS_WITH_TABLE:
        "the axis `{key}` has a table as a value; vary its keys instead",
        "轴 `{key}` 的值是一个表；请改为变动其中的键";
    AXES_OF_DIFFERENT_LENGTHS:
        "a list takes one value of each axis at a time, but they have {n} and {other} values",
        "列表方式每次从各轴各取一个值，但它们分别有 {n} 和 {other} 个值";
    TOO_MANY_MEMBERS: "more than {most} members", "成员超过 {most} 个";
    ADAPTERS: "adapters", "适配器";
    WEIGHTS_CONTRADICT_PRESET[ST4004]:
        "the weights have `{name} = {found}`, but the preset says {stated}",
        "权重的 `{name} = {found}`，但预设写的是 {stated}";
    LR_INIT_HIGH[ST2301]:
        "`lr_init = {rate}` is {times} times above the usual start for {method}",
        "`lr_init = {rate}` 比{method}的通常起始值偏大，相差 {times} 倍";
    PROPOSAL: "{settings}  about {total}, {verdict}", "{settings}  约 {total}，{verdict}";
    COST_ALL_TOGETHER: "all of this together", "以上全部一起";
    MEMORY_OF_ITEM: "{item} {size}", "{item} {size}";
    PROPOSAL_LINE: "{letter}  {proposal}", "{letter}  {proposal}";
    ITEM_WEIGHTS: "weights", "权重";
    ITEM_PACKED_WEIGHTS: "packed weights", "量化权重";
    ITEM_LEARNING: "what learns, gradients and Adam", "可学习参数、梯度和 Adam";
    ITEM_ACTIVATIONS: "activations", "激活";
    ITEM_LOGITS: "logits", "logits 张量";
    ITEM_WORKSPACE: "workspace", "工作区";
    ITEM_HOLES: "holes", "空隙";
    ITEM_PROGRAM: "program", "程序";
}
