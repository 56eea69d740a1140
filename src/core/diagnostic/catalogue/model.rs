//! Messages about weights files, architectures and downloads.

use crate::diagnostic::entry::catalogue;

catalogue! {
    NOT_A_HUB_FILE[ST2180]: "`{path}` is not a valid hub path", "`{path}` 不是有效的 hub 路径";
    HUB_DATASET_FORM:
        "write `hf://datasets/OWNER/REPO`, with `@REVISION` for a certain revision and `/PART` for a configuration, a folder or a file",
        "写成 `hf://datasets/OWNER/REPO`；`@REVISION` 指定版本，`/PART` 指定配置、文件夹或文件";
    HUB_FILES_LEFT_OUT:
        "{n} other {n:file|files} of the data set {n:is|are} not read: {names}",
        "数据集的另外 {n} 个文件不读取：{names}";
    HUB_HAS_NO_DATASET[ST4022]: "the hub has no data set `{name}`", "hub 上没有数据集 `{name}`";
    CHECK_DATASET_NAMES:
        "check the names of the owner, the repository and the revision; a private data set needs `HF_TOKEN`",
        "请检查所有者、仓库和版本的名称；私有数据集需要 `HF_TOKEN`";
    HUB_DATASET_IS_EMPTY[ST4022]: "`{name}` has no files to train on", "`{name}` 中没有可用于训练的文件";
    HUB_DATASET_FORMATS:
        "files of records end in .parquet, .arrow, .jsonl, .json, .csv or .tsv",
        "记录文件以 .parquet、.arrow、.jsonl、.json、.csv 或 .tsv 结尾";
    HUB_DATASET_HAS: "files of the data set: {names}", "数据集的文件：{names}";
    NAME_DATASET_PART:
        "name a folder or a file after the repository: `hf://datasets/OWNER/REPO/PART`",
        "在仓库名之后写文件夹或文件：`hf://datasets/OWNER/REPO/PART`";
    NOT_A_LISTING: "the list of files cannot be read", "文件列表无法读取";
    DATA_NOT_ON_MACHINE_YET[ST4021]: "`{name}` is not downloaded yet", "`{name}` 尚未下载";
    DATA_NOT_ON_MACHINE[ST4020]: "`{name}` is not downloaded", "`{name}` 没有下载";
    DATA_COMMANDS_FETCH:
        "`statetune run` and `statetune data check` download the data",
        "`statetune run` 和 `statetune data check` 会下载数据";
    HUB_HOLDS_RECORDS[ST2180]:
        "a data set of the hub holds records, not `{data_type}`",
        "hub 的数据集中是记录，不是 `{data_type}`";
    DELETE_DATA_TYPE: "delete `data_type`", "删去 `data_type`";
    HUB_FILE_FORM:
        "write `hf://OWNER/REPO/FILE`, or `hf://OWNER/REPO@REVISION/FILE` for a certain revision",
        "写成 `hf://OWNER/REPO/FILE`，需要指定版本时写 `hf://OWNER/REPO@REVISION/FILE`";
    NOT_ON_MACHINE[ST4020]: "`{file}` is not downloaded", "`{file}` 尚未下载";
    FETCHED_WITHOUT_OFFLINE: "remove `--offline` to download it", "去掉 `--offline` 即可下载";
    DOWNLOAD_DIFFERS[ST4023]:
        "the download of `{file}` does not match the file on the hub",
        "下载的 `{file}` 与 hub 上的文件不一致";
    HUB_HAS: "on the hub: {size} bytes with sha256 {digest}", "hub 上：{size} 字节，sha256 {digest}";
    DOWNLOAD_REMOVED: "received {size} bytes, which were removed", "收到 {size} 字节，已删除";
    FETCH_AGAIN: "run the command again to download the file again", "重新运行命令即可重新下载";
    CANNOT_KEEP_DOWNLOAD[ST4024]:
        "cannot store `{file}` in `{folder}`: {error}",
        "无法把 `{file}` 存到 `{folder}`：{error}";
    HF_HOME_NAMES_FOLDER:
        "set `HF_HOME` to another folder, or free disk space and run again to continue",
        "把 `HF_HOME` 设为其他目录，或腾出磁盘空间后重新运行以继续";
    HUB_HAS_NO_FILE[ST4022]: "the hub has no file `{file}`", "hub 上没有 `{file}`";
    CHECK_HUB_NAMES: "check the names of the owner, the repository and the file", "请检查所有者、仓库和文件的名称";
    HUB_FILE_RESTRICTED[ST4022]:
        "access to `{file}` is restricted (gated or private)",
        "`{file}` 的访问受限（需申请或私有）";
    SET_HF_TOKEN:
        "set `HF_TOKEN` to a token of an account with access",
        "把 `HF_TOKEN` 设为有权读取的账号的令牌";
    CANNOT_FETCH[ST4022]: "cannot download `{file}`: {root}", "无法下载 `{file}`：{root}";
    NOT_A_WEB_ADDRESS: "`{address}` is not a valid web address", "`{address}` 不是有效的网址";
    NO_COMMIT_OR_ETAG: "the answer names no commit or tag of the file", "应答中没有该文件的提交或标签";
    NOT_A_COMMIT: "`{commit}` is not a valid commit", "`{commit}` 不是有效的提交";
    NO_RANGE: "the answer is not the range of bytes that was requested", "应答不是所请求的字节范围";
    DOWNLOAD_CUT_OFF: "the connection ended before the file did", "连接在文件传完之前断开";
    TOO_MANY_REDIRECTS: "more than {most} redirects", "重定向超过 {most} 次";
    HUB_ANSWERS_STATUS: "HTTP status {status}", "HTTP 状态 {status}";
    RUN_AGAIN_TO_CONTINUE: "run the command again to continue the download", "重新运行命令可继续下载";
    HF_ENDPOINT_NAMES_MIRROR: "set `HF_ENDPOINT` to use a mirror", "设置 `HF_ENDPOINT` 可使用镜像站";
    EXPECTED_RWKV:
        "expected an {versions} model",
        "应为 {versions} 模型";
    TENSOR_NOT_FILLED:
        "tensor `{name}` has shape {other}, expected a matrix that is not empty",
        "张量 `{name}` 的形状是 {other}，应为非空矩阵";
    KEY_TENSOR_MISSING:
        "tensor `{name}` is missing, {expected}",
        "缺少张量 `{name}`，{expected}";
    HEADS_DO_NOT_FIT:
        "tensor `{heads}` has {n_head} heads of {head_size} channels, which does not match the {n_embd} channels of `emb.weight`",
        "张量 `{heads}` 有 {n_head} 个头、每头 {head_size} 个通道，与 `emb.weight` 的 {n_embd} 个通道不符";
    FOUND_STATE_ALONE:
        "found a state without a model, {expected}",
        "实际是没有模型的 state，{expected}";
    FOUND_ADAPTER_ALONE:
        "found an adapter without its base model, with tensors such as `{tensor}`, {expected}",
        "实际是没有基座模型的适配器，含有 `{tensor}` 等张量，{expected}";
    FOUND_OTHER_NAMING:
        "found an RWKV model in a naming of Hugging Face or fla that is not read, with tensors such as `{name}`, {expected}",
        "实际是采用 Hugging Face 或 fla 命名的 RWKV 模型，含有 `{name}` 等张量，无法读取，{expected}";
    USE_STATE_WITH_BASE:
        "name the base model as the weights; a command takes the state as `statetune generate {path:sh} --model BASE`, an experiment file as `init = \"file\"` and `init_file` in `[peft]`",
        "请以基座模型作为权重；命令用 `statetune generate {path:sh} --model BASE` 使用该 state，实验文件用 `[peft]` 的 `init = \"file\"` 和 `init_file`";
    USE_ADAPTER_WITH_BASE:
        "name the base model of the adapter as the weights; to train on from the adapter, merge it first: `statetune merge RUN`, or the program that wrote it",
        "请以适配器的基座模型作为权重；要在适配器之上继续训练，请先合并：`statetune merge RUN`，或用生成它的程序";
    USE_ORIGINAL_NAMING:
        "use the `.pth` that the model was published as; of these namings, only RWKV-7's is read",
        "请使用模型发布时的 `.pth`；这类命名中只能读取 RWKV-7 的";
    RWKV_VARIANT:
        "a variant of {version} with tensors such as `{name}`",
        "含有 `{name}` 等张量的 {version} 变体";
    RWKV_BEFORE_5_2:
        "an RWKV model older than 5.2 (5.0 or 5.1)",
        "早于 5.2 的 RWKV 模型（5.0 或 5.1）";
    RWKV_BEFORE_5: "an RWKV model older than 5", "早于 5 的 RWKV 模型";
    NOT_RWKV: "a file that is not an RWKV model", "非 RWKV 模型的文件";
    FOUND_ARCHITECTURE: "found {found}, {expected}", "实际是{found}，{expected}";
    BLOCK_NUMBERS:
        "the checkpoint has {blocks} blocks, but block numbers go up to {last}",
        "检查点有 {blocks} 个 block，但编号到 {last}";
    TENSORS_MISSING:
        "{count} {count:tensor is|tensors are} missing: {names}",
        "缺少 {count} 个张量：{names}";
    TENSORS_NOT_PART:
        "{count} {count:tensor is|tensors are} not part of {whole}: {names}",
        "有 {count} 个张量不属于{whole}：{names}";
    STATE_TENSOR_COUNT:
        "found {count} tensors, expected one for each of {layers} layers",
        "有 {count} 个张量，应为 {layers} 层每层一个";
    SHIFT_TENSOR_COUNT:
        "found {count} tensors of shift states, expected two for each of {layers} layers",
        "有 {count} 个 shift state 张量，应为 {layers} 层每层两个";
    STATE_WITHOUT_TENSORS:
        "found no tensors, expected one for each layer",
        "没有张量，应为每层一个";
    STATE_NOT_SQUARE:
        "tensor `{name}` has shape {size}, expected square matrices",
        "张量 `{name}` 的形状是 {size}，应为方阵";
    STATE_ORDER_UNKNOWN:
        "tensor `{name}` is {other} in a .safetensors file, which does not define the order of its axes; expected float16 [head, key, value], or a .pth",
        ".safetensors 文件中的张量 `{name}` 是 {other}，无从得知维度顺序；应为 float16 [head, key, value]，或用 .pth";
    TENSOR_TWICE:
        "tensor `{name}` appears twice, as {stored}",
        "张量 `{name}` 出现两次：{stored}";
    AN_RWKV_MODEL: "an {version} model", "{version} 模型";
    TENSOR_NOT_FLOATING:
        "tensor `{name}` is {dtype}, expected floating point",
        "张量 `{name}` 是 {dtype}，应为浮点数";
    COMPRESSED_ENTRY:
        "the compressed or encrypted entry `{entry}`",
        "压缩或加密的条目 `{entry}`";
    SAVE_UNCOMPRESSED:
        "load the file in Python and save it with `torch.save`, which does not compress",
        "请在 Python 中加载，并用不压缩的 `torch.save` 重新保存";
    ENTRY_TWICE: "the archive has two entries `{entry}`", "归档中有两个 `{entry}`";
    ENTRIES_OVERLAP: "entries of the archive overlap", "归档中的条目互相重叠";
    END_IS_MISSING: "the end is missing, as after an interrupted download", "缺少末尾，像是下载中断";
    DIRECTORY_64_MISSING: "the archive's 64-bit directory is missing", "归档缺少 64 位目录";
    DIRECTORY_OUTSIDE: "the archive's directory lies outside the file", "归档目录位于文件之外";
    DIRECTORY_DAMAGED: "the archive's directory is damaged", "归档目录已损坏";
    ENTRY_NAME_NOT_UTF8:
        "the name of an entry of the archive is not UTF-8",
        "归档中有条目名不是 UTF-8";
    ENTRY_DAMAGED: "entry `{entry}` of the archive is damaged", "归档的条目 `{entry}` 已损坏";
    RECORD_CUT_OFF: "a record of the archive is cut off", "归档的一条记录被截断";
    CANNOT_READ_WEIGHTS[ST4010]: "cannot read the weights file `{path}`", "无法读取权重文件 `{path}`";
    CANNOT_WRITE_WEIGHTS[ST4014]: "cannot write the weights file `{path}`", "无法写入权重文件 `{path}`";
    BEYOND_DTYPE[ST4015]:
        "{path}: tensor `{tensor}` contains {value}, but the largest {dtype} is {limit}",
        "{path}：张量 `{tensor}` 中有 {value}，但 {dtype} 最大为 {limit}";
    COPY_AGAIN_AND_COMPARE:
        "download or copy the file again, and compare its size with the original",
        "重新下载或复制文件，并与原文件比较大小";
    SAVE_STATE_DICT_IF_TRUSTED:
        "weights do not need this; if you trust the file, load it in Python and save only its state dict: `torch.save(model.state_dict(), ...)`",
        "权重不需要它；若信任该文件，请在 Python 中加载并只保存 state dict：`torch.save(model.state_dict(), ...)`";
    NOT_REGULAR_FILE: "it is not a regular file", "不是普通文件";
    IS_A_FOLDER: "it is a folder", "这是目录";
    IS_A_DEVICE: "it is a device", "这是设备文件";
    PIPE_IS_READ_ONCE:
        "it is a pipe, which can be read only once; write its content into a file",
        "这是管道，只能读取一次；请先将其内容写入文件";
    PIPE_WITHOUT_WRITER: "nothing is written into this pipe", "没有程序向该管道写入";
    EMPTY_FILE: "an empty file", "空文件";
    COPY_AGAIN: "download or copy the file again", "请重新下载或复制";
    OLD_PTH_FILE:
        "a .pth file in PyTorch's format from before version 1.6",
        "PyTorch 1.6 之前格式的 .pth 文件";
    SAVE_WITH_NEWER_PYTORCH:
        "load it in Python with a newer PyTorch and save it again",
        "请在 Python 中用较新的 PyTorch 加载并重新保存";
    GIT_LFS_POINTER: "a Git LFS pointer instead of the file", "代替真实文件的 Git LFS 指针";
    FETCH_WITH_LFS:
        "run `git lfs pull` in the repository, or download the file directly",
        "在仓库中运行 `git lfs pull`，或直接下载文件";
    WEB_PAGE: "a web page", "网页";
    USE_FILE_LINK:
        "use the download link of the file, not the link of the page about it",
        "请用文件的下载链接，而不是介绍页面的链接";
    GGUF_FILE: "a GGUF file", "GGUF 文件";
    TAKE_ORIGINAL_FORM:
        "use the original .pth or .safetensors file of the model",
        "请用模型的原始格式，即 .pth 或 .safetensors 文件";
    FILE_ANOTHER_KIND: "a file of another kind", "其他类型的文件";
    DATA_PKL_TOO_BIG: "data.pkl has {size} bytes", "data.pkl 有 {size} 字节";
    DICT_WITH_OTHER_KEYS: "a dict whose keys are not all text", "键不全是文本的 dict";
    KIND_IN_PLACE: "{kind} in the place `{place}`", "位置 `{place}` 上的{kind}";
    PTH_TENSOR_TWICE: "it has two tensors `{name}`", "有两个张量 `{name}`";
    SAVE_ONLY_STATE_DICT:
        "a checkpoint of a training run contains more than weights; load it in Python and save only its state dict",
        "完整训练的检查点不只有权重；请在 Python 中加载并只保存其 state dict";
    A_NONE: "`None`", "空值 `None`";
    A_TRUTH_VALUE: "a boolean", "布尔值";
    A_TUPLE: "a tuple", "元组";
    A_DICT: "a dict", "dict";
    A_CLASS_OR_FUNCTION: "a class or function", "类或函数";
    A_STORAGE: "a storage", "storage";
    A_TENSOR: "a tensor", "张量";
    PICKLE_PROTOCOL: "protocol {protocol} is unknown", "未知的协议 {protocol}";
    PICKLE_CLASS_NAME: "the name of a class is not a string", "类名不是文本";
    PICKLE_INSTRUCTION:
        "data.pkl has instruction {unknown} at byte {at}, which is not used in state dicts",
        "data.pkl 在字节 {at} 处有指令 {unknown}，state dict 不需要它";
    PICKLE_ENDS_EARLY: "the file ends too early", "结束过早";
    PICKLE_NOT_UTF8: "a string is not UTF-8", "文本不是 UTF-8";
    PICKLE_NEAR_BYTE: "data.pkl, near byte {at}: {what}", "data.pkl 字节 {at} 附近：{what}";
    PICKLE_TOO_MANY_OBJECTS: "it creates more than {most} objects", "生成的对象超过 {most} 个";
    PICKLE_OPERAND_MISSING: "an operand is missing", "缺少操作数";
    PICKLE_MARK_MISSING: "a mark is missing", "缺少标记";
    PICKLE_RECALLS_NOTHING: "it uses an object that was never stored", "取用了从未存放的内容";
    PICKLE_NUMBER_TOO_BIG: "a number does not fit into 64 bits", "数字超出 64 位";
    PICKLE_ITEMS_NOT_IN_DICT:
        "items are added to an object that is not a dict",
        "往 dict 以外的对象中放入条目";
    PICKLE_STORAGE: "the description of a storage is invalid", "storage 的描述有误";
    PICKLE_CALLS_OTHER: "it calls an object that is not a function", "调用了函数以外的对象";
    PICKLE_TENSOR: "the description of a tensor is invalid", "张量的描述有误";
    PICKLE_ARGUMENTS: "the arguments of a function are invalid", "函数的调用参数无效";
    PICKLE_ATTRIBUTES:
        "it sets attributes of an object that is not an ordered dict",
        "给有序 dict 以外的对象设置属性";
    ZIP_WITHOUT_PICKLE: "a ZIP archive without a data.pkl", "没有 data.pkl 的 ZIP 归档";
    TORCHSCRIPT_PROGRAM: "a TorchScript program", "TorchScript 程序";
    SAVE_MODULE_STATE_DICT:
        "save the state dict of the module: `torch.save(module.state_dict(), ...)`",
        "请改为保存模块的 state dict：`torch.save(module.state_dict(), ...)`";
    BIG_ENDIAN: "tensors in big-endian byte order", "大端字节序的张量";
    SAVE_LITTLE_ENDIAN:
        "load the file in Python on a little-endian machine and save it again",
        "请在小端机器上用 Python 加载并重新保存";
    STORAGE_MISSING:
        "`{key}` with tensor `{name_quoted}` is missing",
        "缺少 `{key}`，其中有张量 `{name_quoted}`";
    STORAGE_SIZE:
        "`{key}` with tensor `{name_quoted}` has {bytes} bytes for {len} elements of {dtype}",
        "`{key}`（张量 `{name_quoted}`）有 {bytes} 字节，却要存 {len} 个 {dtype} 元素";
    ENDS_IN_HEADER:
        "the file ends within its header, as after an interrupted download",
        "在文件头中间结束，像是下载中断";
    HEADER_PROBLEM: "in the header: {problem}", "文件头：{problem}";
    TENSOR_BYTES:
        "the file has {data_len} bytes of tensors, but its header describes {promised}",
        "张量有 {data_len} 字节，文件头写的是 {promised}";
    TENSOR_OF_DTYPE: "tensor `{name}` of dtype {dtype}", "dtype 为 {dtype} 的张量 `{name}`";
    TENSOR_OF_SHAPE:
        "tensor `{name}` of shape {shape} {what}",
        "形状为 {shape} 的张量 `{name}` {what}";
    HAS_STRIDES: "has {count} strides", "有 {count} 个步长";
    HAS_ABSURD_STRIDES: "has strides out of range", "步长不合理";
    REACHES_BEYOND_STORAGE:
        "needs element {last} of a storage of {count} elements",
        "用到 storage 的第 {last} 个元素，而它只有 {count} 个";
    TENSOR_REPEATS:
        "tensor `{name}` that repeats elements of its storage",
        "重复使用 storage 元素的张量 `{name}`";
    MAKE_CONTIGUOUS:
        "call `contiguous()` on the tensor in Python before saving it",
        "保存前请在 Python 中对该张量调用 `contiguous()`";
    TENSOR_NAMED_TWICE: "two tensors are named `{name}`", "有两个张量 `{name}`";
    TENSOR_BYTES_DIFFER:
        "tensor `{name}`: {found} bytes do not match {dtype} {shape}",
        "张量 `{name}`：{found} 字节无法构成 {dtype} {shape}";
    NOT_A_CHECKPOINT[ST4011]:
        "found {found}, expected tensors by name, in a .pth or .safetensors file",
        "实际是{found}，应为 .pth 或 .safetensors 文件中按名字存放的张量";
    FILE_CORRUPTED[ST4012]: "the file is corrupted: {problem}", "文件已损坏：{problem}";
    REFUSED_TO_LOAD[ST4013]: "refused to load the file: it calls `{name}`", "拒绝加载文件：它会调用 `{name}`";
    NOT_A_MODEL[ST4002]: "{path}: {problem}", "{path}：{problem}";
    TENSORS_DO_NOT_FIT[ST4003]: "{path}: {problem}", "{path}：{problem}";
    A_TEXT: "text", "文本";
}
