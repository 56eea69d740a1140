//! Messages about experiment files and their keys.

use crate::diagnostic::entry::catalogue;

catalogue! {
    BACKSLASH_IN_SINGLE_QUOTES:
        "in double quotes, `\\` starts an escape: write {literal}",
        "双引号中 `\\` 表示转义：请写 {literal}";
    RESUME_RUN_DIRECTORY:
        "this is a run: `statetune resume {path:sh}` continues it",
        "这是一次运行：`statetune resume {path:sh}` 可续跑";
    RUN_LIKE_DIRECTORY:
        "for a new run with the same settings, run `statetune run --like {path:sh}`",
        "要用相同设置开始新运行，运行 `statetune run --like {path:sh}`";
    INIT_WITH_MODEL:
        "these are weights: `statetune init --model {path:sh}` writes an experiment file that uses them",
        "这是权重：`statetune init --model {path:sh}` 会写出使用它的实验文件";
    INIT_WITH_DATA:
        "these are documents: `statetune init --data {path:sh}` writes an experiment file that uses them",
        "这是文档：`statetune init --data {path:sh}` 会写出使用它的实验文件";
    INIT_WITH_HUB_FILE:
        "for weights of a Hugging Face repository, name the file: `statetune init --model hf://{repo}/FILE.pth`",
        "若是 Hugging Face 仓库中的权重，请写出文件：`statetune init --model hf://{repo}/FILE.pth`";
    EXPERIMENT_IS: "the experiment file is `{files}`", "实验文件是 `{files}`";
    EXPERIMENTS_ARE: "experiment files here: {files}", "此处的实验文件：{files}";
    KEY_IS: "`{key}` is {expected}", "`{key}` 应为{expected}";
    KEY_MUST_BE[ST2001]:
        "`{key}` must be {expected}, found {found}",
        "`{key}` 必须是{expected}，实际是{found}";
    EXPECTED_HERE: "expected {expected}", "此处应为{expected}";
    NUMBERS_IN_TOML:
        "in TOML, `1`, `1.0`, `1e-2` and `1e-08` are numbers; anything in quotes is a string",
        "TOML 中 `1`、`1.0`、`1e-2`、`1e-08` 是数字；引号里的都是文本";
    PASS_SETTING: "set the key: {arguments}", "设置这个键：{arguments}";
    SAVE_EXPERIMENT_AS_UTF8:
        "the file is UTF-16: save it as UTF-8, for example `iconv -f UTF-16 -t UTF-8 OLD > NEW`",
        "该文件是 UTF-16：请存为 UTF-8，例如 `iconv -f UTF-16 -t UTF-8 OLD > NEW`";
    KEY_SET_ALREADY:
        "`{key}` is set already, in line {line}: delete one of the two lines",
        "`{key}` 已在第 {line} 行设置：请删去两行之一";
    IS_A_DATA_FILE[ST1000]: "`{file}` is not an experiment file", "`{file}` 不是实验文件";
    RENAMES_KEY_AND_WRITES: "renames the key and writes `{value}`", "把键改名并写成 `{value}`";
    FOR_EXAMPLE_ARGUMENT: "for example `{before}{example}`", "例如 `{before}{example}`";
    ONE_SET_EACH: "pass one `--set` for each setting", "每个设置各写一个 `--set`";
    NOT_IN_CHOICES: "not one of the choices", "不在可选值之中";
    DID_YOU_MEAN: "did you mean {words}?", "是否想写 {words}？";
    NOT_A_CHOICE[ST2002]:
        "`{word}` is not a choice of `{key}`",
        "`{word}` 不是 `{key}` 的可选值";
    EXPLAIN_CHOICES:
        "run `statetune explain {key}` to see what each choice does",
        "运行 `statetune explain {key}` 查看各选项的作用";
    ONLY_CHOICE_IS: "the only choice is `{only}`", "只能是 `{only}`";
    CHOICES_ARE_WITH_LAST: "choices are {choices} and {last}", "可选值：{choices}，以及{last}";
    FORBIDDEN_CHARACTERS[ST2003]:
        "`{key}` contains characters that are not allowed",
        "`{key}` 含有不允许的字符";
    MUST_MATCH_PATTERN: "must match `{pattern}`", "必须匹配 `{pattern}`";
    HAS_ENTRIES[ST2003]:
        "`{key}` has {length} entries, expected at least {least}",
        "`{key}` 有 {length} 项，应至少有 {least} 项";
    MUST_NOT_BE_EMPTY[ST2003]: "`{key}` must not be empty", "`{key}` 不能为空";
    AN_INTEGER: "an integer", "整数";
    TRUE_OR_FALSE: "true or false", "布尔值 true 或 false";
    A_TABLE: "a table", "表";
    UNKNOWN_KEY[ST1001]: "unknown key `{key}` {place}", "{place}没有键 `{key}`";
    RENAMES_KEY: "renames the key", "把键改名";
    RENAMES_AND_MOVES_KEY: "renames the key and moves it to `{place}`", "把键改名并移到 `{place}`";
    NO_SUCH_KEY: "unknown key", "未知的键";
    KEY_OF_ANOTHER_TABLE[ST1002]: "`{key}` is not a key of `{table}`", "`{key}` 不是 `{table}` 的键";
    UNKNOWN_TABLE[ST1001]: "unknown table `[{key}]`", "未知的表 `[{key}]`";
    NO_SUCH_TABLE: "unknown table", "未知的表";
    DEFAULT_WOULD_STAY:
        "if this key were ignored, `{key}` would keep its default, {default}",
        "若忽略这个键，`{key}` 会保持默认值 {default}";
    FILE_MAY_HAVE: "tables and keys at the top: {keys}", "顶层的表和键：{keys}";
    KEYS_OF_TABLE: "keys of `{header}`: {keys}", "`{header}` 的键：{keys}";
    TOP_OF_FILE: "the top of the file", "文件顶层";
    BELONGS_TO: "belongs to {tables}", "属于 {tables}";
    EXPLAIN_KEY:
        "run `statetune explain {key}` to see what it does and its range",
        "运行 `statetune explain {key}` 查看其作用和取值范围";
    MOVE_BELOW: "move the key below this header", "把键移到这个表头下面";
    ADD_TABLE_AND_MOVE: "add {table} and move the key there", "加上 {table} 并把键移到那里";
    MOVES_LINE: "moves the line and keeps its comment", "移动这一行并保留注释";
    KEY_BELONGS_HERE: "`{key}` is missing here", "这里缺少 `{key}`";
    FOR_EXAMPLE_KEY: "for example `{key} = {value}`", "例如 `{key} = {value}`";
    TABLE_NEEDS_KEY: "this table requires the key `{key}`", "这个表需要键 `{key}`";
    FILE_ENDS_WITHOUT_TABLE: "the file has no `{header}`", "文件中没有 `{header}`";
    FOR_EXAMPLE_TABLE:
        "for example\n{header}\n{key} = {value}",
        "例如\n{header}\n{key} = {value}";
    MISSING_KEY[ST1003]: "missing key `{key}` {place}", "{place}缺少键 `{key}`";
    ENVIRONMENT_VARIABLE: "the environment variable `{variable}`", "环境变量 `{variable}`";
    KEY_LOOKS_LIKE_SECRET[ST1005]: "`{key}` looks like a secret", "`{key}` 看起来是密钥";
    NO_SECRETS_HERE: "do not write secrets into this file", "不要把密钥写进此文件";
    FILE_IS_COPIED:
        "the file is copied into every run directory, and run directories are shared",
        "文件会被复制到每个运行目录，而运行目录会转交他人";
    SECRET_IN_ENVIRONMENT:
        "delete the setting and set {variable}, which programs that need the secret read",
        "删除这一行并设置{variable}，需要密钥的程序会读取它";
    AT_TOP_OF_FILE: "at the top of the file", "文件顶层";
    IN_TABLE: "in `{header}`", "`{header}` 中";
    FOREIGN_DEVICES:
        "`hardware.devices` is the number of processes that share a step; each holds the whole model",
        "`hardware.devices` 是共同处理一步的进程数；每个进程都有整个模型";
    FOREIGN_STAGE_1:
        "`zero1` slices the moments of the optimizer, as stage 1 does",
        "`zero1` 像 stage 1 一样把优化器的动量分给各设备";
    FOREIGN_STAGE_2:
        "`zero2` slices moments and gradients, as stage 2 does",
        "`zero2` 像 stage 2 一样把动量和梯度分给各设备";
    FOREIGN_STAGE_3:
        "every device keeps all weights; `[quant]` makes frozen weights smaller",
        "每个设备都保存全部权重；`[quant]` 可缩小冻结的权重";
    FOREIGN_DDP: "`ddp` keeps everything on every device", "`ddp` 在每个设备上保存全部内容";
    FOREIGN_OFFLOAD:
        "{why}; moments and gradients are not offloaded, and `hardware.stream` keeps frozen layers in the memory of the host",
        "{why}；动量和梯度不做卸载，`hardware.stream` 可把冻结的层留在主机内存中";
    FOREIGN_MODEL_SIZE: "the value follows from the version and width of the model", "由模型的版本和宽度决定";
    FOREIGN_MAGIC_PRIME:
        "the value is computed from the data; `data.walk = \"magic_prime\"` needs no numbers",
        "由数据推算：`data.walk = \"magic_prime\"` 不需要数字";
    FOREIGN_DIRECTORY:
        "every run creates its own directory; `--runs-dir` sets where",
        "每次运行自建目录：位置由 `--runs-dir` 指定";
    FOREIGN_WANDB:
        "a run does not connect to any service; its metrics are in `metrics.jsonl` in the run directory",
        "运行不连接任何服务；各项指标在运行目录的 `metrics.jsonl` 中";
    FOREIGN_CHOSEN: "statetune chooses the value", "statetune 会选定此值";
    FOREIGN_STEPS:
        "a run has `train.epoch_steps` times `train.epoch_count` steps",
        "总步数为 `train.epoch_steps` 乘 `train.epoch_count`";
    FOREIGN_WARMUP:
        "the warmup is given in steps: `schedule.warmup_steps`",
        "预热以步数计：`schedule.warmup_steps`";
    FOREIGN_PRECISION: "set `train.precision` to this word", "用这个词写 `train.precision`";
    FOREIGN_INT8: "set `type = \"int8\"` in `[quant]`", "在 `[quant]` 里写 `type = \"int8\"`";
    FOREIGN_NF4: "set `type = \"nf4\"` in `[quant]`", "在 `[quant]` 里写 `type = \"nf4\"`";
    FOREIGN_PEFT_CONFIG: "its entries are keys of `[peft]`", "其中各项是 `[peft]` 的键";
    FOREIGN_UNUSED: "statetune has no setting that depends on it", "statetune 没有取决于它的设置";
    AN_ENVIRONMENT_VARIABLE: "an environment variable", "环境变量";
    FOREIGN_4BIT:
        "`4bit` of RWKV-PEFT is the default of bitsandbytes, `fp4`; `nf4` has the same size and is closer to the weights",
        "RWKV-PEFT 的 `4bit` 就是 bitsandbytes 的默认格式 `fp4`；`nf4` 同样小，且更接近原权重";
    FOREIGN_INT8_SCALE:
        "`int8` of RWKV-PEFT uses one scale for a whole matrix and uneven levels; statetune uses one scale for each row",
        "RWKV-PEFT 的 `int8` 整个矩阵共用一个缩放系数，量化级也不等距；这里每行各有缩放系数";
    FOREIGN_ADAMW:
        "`adam` applies weight decay to the weights directly, as AdamW does",
        "`adam` 像 AdamW 一样直接从权重中减去权重衰减";
    FOREIGN_QLORA:
        "QLoRA is `lora` together with a `[quant]` table",
        "QLoRA 就是 `lora` 加上 `[quant]` 表";
    KEY_MUST_BE_STRING[ST2001]:
        "`{key}` must be a string, found {found}",
        "`{key}` 必须是字符串，实际是{found}";
    PARENT_LEADS_BACK[ST1311]: "`{key}` leads back to `{path}`", "`{key}` 绕回到 `{path}`";
    FILE_EXTENDS_ITSELF: "a file cannot extend itself", "文件不能扩展自身";
    TOO_MANY_PARENTS[ST1312]:
        "the chain of `extends` is longer than {most} files",
        "`extends` 的链超过 {most} 个文件";
    CANNOT_READ_PARENT[ST1310]: "cannot read the parent file `{path}`", "无法读取父文件 `{path}`";
    FILE_HAS_NO_PROFILE:
        "the file has no table `[{profile}.{name}]`",
        "文件中没有表 `[{profile}.{name}]`";
    PROFILES_ARE: "profiles: {names}", "已有配置档：{names}";
    NO_PROFILE[ST0121]: "unknown profile `{name}` in `{file}`", "`{file}` 中没有配置档 `{name}`";
    KEY_COUNTS_AT_TOP[ST1313]: "`{key}` only applies at the top of a file", "`{key}` 只在文件顶层有效";
    LETTER_N: "an n", "字母 n";
    A_LINE_BREAK: "a line break", "换行";
    LETTER_T: "a t", "字母 t";
    A_TAB: "a tab", "制表符";
    LETTER_R: "an r", "字母 r";
    A_RETURN: "a carriage return", "回车";
    ESCAPE_IN_SINGLE_QUOTES[ST1204]:
        "`\\{letter}` in single quotes is a backslash and {found}, not {meant}",
        "单引号里的 `\\{letter}` 是反斜杠加{found}，不是{meant}";
    ESCAPED_BACKSLASH[ST1204]:
        "`\\\\{letter}` is a backslash and {found}, not {meant}",
        "`\\\\{letter}` 是反斜杠加{found}，不是{meant}";
    LITERAL_STRING: "literal string", "字面字符串";
    MODEL_READS_TWO_CHARACTERS: "the model would see these two characters", "模型会看到这两个字符";
    USE_DOUBLE_QUOTES: "use double quotes, where escapes work", "请用双引号，其中转义才有效";
    WRITES_IT_SO: "rewrites the string in double quotes", "用双引号改写该字符串";
    PATH_IS_NOT_UTF8[ST1101]:
        "the path `{path}` is not valid UTF-8",
        "路径 `{path}` 不是有效的 UTF-8";
    RENAME_TO_UTF8:
        "rename the file or folder; runs record paths as UTF-8",
        "请重命名该文件或目录；运行以 UTF-8 记录路径";
    FILE_TOO_LARGE: "the file has more than {mib} MiB", "文件超过 {mib} MiB";
    BYTES_NOT_UTF8: "byte {byte} is not UTF-8", "第 {byte} 字节不是 UTF-8";
    CANNOT_READ_EXPERIMENT[ST1101]:
        "cannot read the experiment file `{file}`",
        "无法读取实验文件 `{file}`";
    SCHEMA_ACCEPTS_MORE[ST9001]:
        "the schema accepts what the program does not: {error}",
        "schema 接受了程序不接受的内容：{error}";
    A_LIST_OF_TABLES: "a list of tables", "表的列表";
    BARE_WORD_AS_VALUE[ST1000]:
        "the file is not valid TOML: `{bare}` is not a valid value",
        "文件不是有效的 TOML：`{bare}` 不是合法的值";
    PUT_IN_QUOTES: "put the value in quotes: `{quoted}`", "给值加上引号：`{quoted}`";
    WRITES_VALUE: "writes `{quoted}`", "写成 `{quoted}`";
    KEY_WITHOUT_VALUE: "a key has no value", "键没有值";
    A_VALUE: "a value", "值";
    INVALID_TOML[ST1000]: "the file is not valid TOML: {what}", "文件不是有效的 TOML：{what}";
    STANDS_HERE_ALREADY: "first defined here", "首次定义在此";
    A_DATE_OR_TIME: "a date or time", "日期或时间";
    A_DECIMAL_NUMBER: "a decimal number", "小数";
    A_NUMBER_NOT_FINITE: "NaN or infinity", "NaN 或无穷大";
    WRITES_KEY: "writes `{key} = {value}`", "写成 `{key} = {value}`";
    KEYS_HAVE_NO_MEANING[ST2101]:
        "{keys} {count:does|do} not apply to `{setting}`",
        "{keys} 不适用于 `{setting}`";
    BECAUSE_OF_THIS: "because of this setting", "原因是这个设置";
    DELETE_LINES: "delete the {count:setting|settings}", "删除这些设置";
    DELETE_LINES_OR_CHOOSE:
        "delete the {count:setting|settings}, or choose a type that uses {count:it|them}: {types}",
        "删除这些设置，或选择用到这些键的类型：{types}";
    USED_BY: "used by: {types}", "用于：{types}";
    USED_BY_AS: "as `{known}` used by: {types}", "作为 `{known}` 用于：{types}";
    FOR_EXAMPLE_JSON: "for example `{flag}'{example}'`", "例如 `{flag}'{example}'`";
    NO_NULL_IN_TOML: "TOML has no null", "TOML 没有这样的值";
    UNSET_TAKES_AWAY: "pass `{flag}KEY` to remove a value", "用 `{flag}KEY` 去掉一个值";
    MUST_BE_KEY_VALUE: "must be `KEY={value}`", "应写成 `KEY={value}`";
    MUST_BE_TABLE_KEY: "must be `{prefix}TABLE__KEY`", "应写成 `{prefix}TABLE__KEY`";
    FOR_EXAMPLE_VARIABLE:
        "for example `{prefix}SCHEDULE__LR_INIT=0.3`",
        "例如 `{prefix}SCHEDULE__LR_INIT=0.3`";
    KEY_OUT_OF_RANGE[ST2003]:
        "`{key}` must be {expected}, found {found}",
        "`{key}` 必须{expected}，实际是 {found}";
    REMOVE_QUOTES: "remove the quotes: `{value}`", "去掉引号：`{value}`";
    PUT_IN_BRACKETS: "put the value in brackets: `{value}`", "给值加上方括号：`{value}`";
    WRITE_VALUE: "write `{value}`", "改写为 `{value}`";
    AT_LEAST: "at least {n}", "不小于 {n}";
    ABOVE: "above {n}", "大于 {n}";
    AT_MOST: "at most {n}", "不大于 {n}";
    BELOW: "below {n}", "小于 {n}";
    NO_DEFAULT_REQUIRED: "none; required", "无；必须写";
    DEFAULTS_OF_KEYS: "the defaults of its keys", "其中各键的默认值";
    MATCHES_PATTERN: "matches `{pattern}`", "匹配 `{pattern}`";
    NOT_EMPTY: "not empty", "不能为空";
    ABOUT_KEY: "`{key}`: {about}", "`{key}` 的含义：{about}";
    CANNOT_READ_VARIABLE[ST0105]:
        "cannot read the environment variable `{text}`",
        "无法读取环境变量 `{text}`";
    CANNOT_READ_ARGUMENT[ST0104]: "cannot read `{text}`", "无法解析 `{text}`";
    NOT_A_TOP_LEVEL_KEY[ST1002]: "`{key}` is not a top-level key", "`{key}` 不是顶层的键";
    KEY_REASON: "`{key}`: {reason}", "`{key}`：{reason}";
}
