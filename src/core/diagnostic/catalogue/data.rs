//! Messages about documents, token files and vocabularies.

use crate::diagnostic::entry::catalogue;

catalogue! {
    LINE_FAULT: "line {line} of `{file}` {fault}", "`{file}` 第 {line} 行{fault}";
    ROW_FAULT: "row {row} of `{file}` {fault}", "`{file}` 第 {row} 行记录{fault}";
    ROW_OF_FILE: "row {row} of `{file}`", "`{file}` 第 {row} 行记录";
    CONTAINER_FAULT[ST3015]: "`{file}` {fault}", "`{file}` {fault}";
    FILE_IN_OTHER_ENCODING[ST3002]: "`{file}` {fault}", "`{file}` {fault}";
    DATA_TYPE_CONTRADICTED:
        "is not `{asked}`, as `data_type` says, but `{found}`",
        "不是 `data_type` 所说的 `{asked}`，而是 `{found}`";
    SET_DATA_TYPE: "set `data_type = \"{found}\"`, or delete `data_type`", "设 `data_type = \"{found}\"`，或删去 `data_type`";
    IS_A_ZIP_ARCHIVE: "is a ZIP archive, for example an Excel workbook", "是 ZIP 压缩包，例如 Excel 工作簿";
    IS_A_TAR_ARCHIVE: "is a tar archive", "是 tar 归档";
    IS_COMPRESSED_WITH: "is compressed with {name}", "是用 {name} 压缩的";
    IS_A_COMPRESSED_TABLE: "is a {name} file that is compressed as a whole", "是整体压缩过的 {name} 文件";
    IS_FEATHER_1: "is a Feather file of version 1", "是第 1 版 Feather 文件";
    IS_A_FOREIGN_FILE: "is of the kind {name}, which is not read", "是 {name}，无法读取";
    HOLDS_WEIGHTS: "has the weights of a model, not documents", "是模型的权重，不是文档";
    IS_A_NUMPY_ARRAY: "is an array of NumPy", "是 NumPy 数组";
    IS_A_NOTEBOOK: "is a Jupyter notebook, not documents", "是 Jupyter 笔记本，不是文档";
    IS_A_LFS_POINTER: "is a Git LFS pointer, not the file itself", "是 Git LFS 指针，不是文件本身";
    IS_A_WEB_PAGE: "is a web page, not a data file", "是网页，不是数据文件";
    UNPACK_OR_SAVE_AS_CSV:
        "unpack the archive, or save the table as CSV in UTF-8",
        "解开压缩包，或把表格存为 UTF-8 的 CSV";
    DECOMPRESS_FIRST: "decompress the file", "解压该文件";
    CONVERT_TO_JSONL: "write the records as JSONL, CSV or Parquet", "把记录写成 JSONL、CSV 或 Parquet";
    NAME_WEIGHTS_AS_MODEL:
        "set `model.load_model` to the weights, and `data.data_file` to documents",
        "把 `model.load_model` 设为权重，把 `data.data_file` 设为文档";
    SET_TYPE_NUMPY:
        "if the array has token ids, set `data_type = \"numpy\"`",
        "如果数组是词元 id，设 `data_type = \"numpy\"`";
    WRITE_CELLS:
        "write the text of the cells as JSONL, or run the notebook that writes the documents",
        "把单元格的文本写成 JSONL，或运行写出文档的笔记本";
    RUN_GIT_LFS_PULL: "run `git lfs pull` in its folder", "在其文件夹中运行 `git lfs pull`";
    DOWNLOAD_THE_FILE:
        "download the file itself: on Hugging Face the address has `/resolve/` in place of `/blob/`",
        "下载文件本身：在 Hugging Face 上，地址用 `/resolve/` 代替 `/blob/`";
    ENCODED_WITHOUT_MARK:
        "looks like {name}, but has no byte order mark",
        "看起来是 {name}，但没有字节顺序标记";
    CONVERT_TO_UTF8:
        "the text looks like {name}: run `{command}` and use the new file",
        "文本像是 {name}：运行 `{command}`，然后使用新文件";
    DROP_INVALID_BYTES:
        "nearly all of the text is UTF-8: run `{command}` to drop the invalid bytes, and use the new file",
        "文本几乎都是 UTF-8：运行 `{command}` 去掉无效字节，然后使用新文件";
    TEXT_TOO_LONG: "has more than {gib} GiB of text", "含有超过 {gib} GiB 的文本";
    SPLIT_TEXT:
        "cut the text into several files, and set `data.data_file` to their folder",
        "把文本分成几个文件，并把 `data.data_file` 设为它们的目录";
    CONTAINER_BROKEN: "cannot be read as {container}", "无法作为 {container} 读取";
    CONTAINER_ENCRYPTED: "is encrypted {container}", "是加密的 {container} 文件";
    WRITE_WITHOUT_ENCRYPTION: "write the file without encryption", "写该文件时不要加密";
    FETCH_OR_WRITE_AGAIN:
        "the file is incomplete or damaged: write or download the file again",
        "文件不完整或已损坏：请重新写入或下载";
    ARROW_END_MISSING: "the end of the file is missing", "文件缺少结尾";
    RECORD_TOO_LONG: "has a record that begins on line {line} and is too long", "有一条从第 {line} 行开始的记录太长";
    RECORD_LIMIT: "a record has at most {mib} MiB", "一条记录最多 {mib} MiB";
    LINE_TOO_LONG[ST3003]: "is too long", "太长";
    LIST_NOT_CLOSED: "ends on line {line} within the list of records", "在第 {line} 行结束，而记录列表没有结束";
    QUOTE_NOT_CLOSED:
        "has a quote that is not closed in the row that begins on line {line}",
        "从第 {line} 行开始的行中有一个引号没有闭合";
    SEVERAL_LISTS: "has several lists of objects", "有多个对象列表";
    LISTS_FOUND: "keys of lists: {keys}", "列表的键：{keys}";
    NAME_LIST_TRAIN:
        "name the list of records `train` or `data`, or write the list alone into a file",
        "把记录列表命名为 `train` 或 `data`，或把该列表单独写入一个文件";
    HEADER_MISSING: "has no header", "没有表头";
    ADD_HEADER:
        "add a first row with the name of each column, for example `text`",
        "在第一行写上每一列的名字，例如 `text`";
    COLUMN_WITHOUT_NAME: "cell {number} of the first row is empty", "第一行的第 {number} 格为空";
    COLUMN_NAME_IS_TEXT: "cell {number} of the first row is a text, not a name", "第一行的第 {number} 格是文本而不是名字";
    FIRST_ROW_IS_TEXT:
        "the first row names the columns, but here it is text: `{key}` would be a name",
        "第一行是各列的名字，但这里是文本：`{key}` 会成为列名";
    ADD_HEADER_OF_PAIR:
        "add a first row with the name of each column, for example `question,answer`",
        "在第一行写上每一列的名字，例如 `question,answer`";
    RENAME_KEY_OF_LINE: "rename `{key}` to `{known}`", "把 `{key}` 改名为 `{known}`";
    COMMA_BEHIND_RECORD: "a comma follows the record", "记录后面有逗号";
    REMOVE_COMMA:
        "remove the commas at the ends of the lines: JSONL has one record per line and nothing between them",
        "去掉各行末尾的逗号：JSONL 每行一条记录，记录之间没有别的内容";
    IS_A_PYTHON_DICT:
        "the line is a dict as Python prints it; JSON has double quotes",
        "这一行是 Python 打印的字典；JSON 用双引号";
    WRITE_WITH_JSON_DUMPS:
        "write each record with `json.dumps(record)` in place of `str(record)`",
        "写每条记录时用 `json.dumps(record)`，不要用 `str(record)`";
    COLUMN_TWICE: "the first row has `{name}` twice", "第一行有两个 `{name}`";
    ROW_CELLS[ST3003]:
        "has {found} {found:cell|cells}, but the header names {expected} {expected:column|columns}",
        "有 {found} 格，而表头有 {expected} 列";
    CELLS_OF_HEADER:
        "a cell with the delimiter, a quote or a line break is in quotes: `\"a, b\"`",
        "含有分隔符、引号或换行的格要写在引号里：`\"a, b\"`";
    WRITE_TEXT_COLUMNS: "write the column as UTF-8 text", "把该列写成 UTF-8 文本";
    EXPECTED_OBJECT: "expected `{{`", "应为 `{{`";
    EXPECTED_OBJECT_END: "expected `,` or `}}`", "应为 `,` 或 `}}`";
    EXPECTED_LIST: "expected `[`", "应为 `[`";
    EXPECTED_KEY: "expected a key in quotes", "应为带引号的键";
    EXPECTED_COLON: "expected `:`", "应为 `:`";
    EXPECTED_COMMA: "expected `,`", "应为 `,`";
    EXPECTED_COMMA_OR_END: "expected `,` or `]`", "应为 `,` 或 `]`";
    EXPECTED_VALUE: "expected an object", "应为对象";
    TEXT_AFTER_LIST: "nothing may follow the records", "记录之后不应有内容";
    NO_DOCUMENTS[ST3004]: "`{file}` contains no documents", "`{file}` 中没有文档";
    NO_FILES[ST3005]: "`{path}` matches no files", "`{path}` 没有匹配到文件";
    FOLDER_WITHOUT_FILES[ST3004]: "the folder `{path}` has no data files", "目录 `{path}` 没有数据文件";
    NAME_SUB_FOLDER: "name the folder that has the files: {folders}", "请给出含有文件的目录：{folders}";
    STRANGE_FILE[ST3015]:
        "`{file}` in the folder `{path}` is not a file of records",
        "目录 `{path}` 中的 `{file}` 不是记录文件";
    NAME_FILES_BY_PATTERN:
        "name the files by a pattern: `data_file = \"{pattern}\"`",
        "用模式给出文件：`data_file = \"{pattern}\"`";
    NOT_IN_ENCODING[ST3002]:
        "`{file}` is not valid {encoding} at byte {byte}",
        "`{file}` 在第 {byte} 字节处不是 {encoding}";
    FILE_CHANGED_WHILE_READ[ST3007]: "`{file}` changed while it was read", "`{file}` 在读取时被改动";
    REPEATS_NEED_ROOM:
        "`data.repeat = {repeat}` needs {needed}, and {free} are free",
        "`data.repeat = {repeat}` 需要 {needed}，可用 {free}";
    TOO_MANY_DOCUMENTS[ST3008]: "the data has more than {most} documents", "数据的文档超过 {most} 个";
    FILE_FAULT: "`{file}` {fault}", "`{file}` {fault}";
    CANNOT_READ[ST3005]: "cannot read `{file}`", "无法读取 `{file}`";
    NOT_A_DATA_FILE[ST3016]: "cannot read `{file}`", "无法读取 `{file}`";
    LINE_OF_FILE: "line {line} of `{file}`", "`{file}` 第 {line} 行";
    DOCUMENT_OF_FILE: "document {index} of `{prefix}`", "`{prefix}` 的 {index} 号文档";
    VOCABULARY_LINE_FORM:
        "each line is `<id> <Python literal> <byte length>`, for example `36786 ' Hello' 6`",
        "每行是 `<id> <Python literal> <byte length>`，例如 `36786 ' Hello' 6`";
    FOLDER_MEANS_ITS_FILES:
        "a folder stands for the files in it, without hidden files and sub-folders",
        "目录代表其中的文件，不含隐藏文件和子目录";
    PATTERN_FORM:
        "a pattern is a path with `*`, `?` or `[...]`",
        "模式是带 `*`、`?` 或 `[...]` 的路径";
    FIRST_DOCUMENTS_READ:
        "only the first {most} documents of each source were read; `data check` and `run` read all",
        "每个来源只读了前 {most} 个文档；`data check` 和 `run` 读取全部";
    SAVE_AS_UTF8:
        "save the file as UTF-8, for example `iconv -f GB18030 -t UTF-8 OLD > NEW`",
        "把文件存为 UTF-8，例如 `iconv -f GB18030 -t UTF-8 OLD > NEW`";
    IS_IT_A_TABLE_OR_TEXT:
        "if the file is a table, set `data_type = \"csv\"`; if the file is plain text, set `data_type = \"utf-8\"`",
        "如果文件是表格，设 `data_type = \"csv\"`；如果是纯文本，设 `data_type = \"utf-8\"`";
    IS_IT_UTF8:
        "if the file is UTF-8, set `data.data_type = \"utf-8\"`",
        "如果文件是 UTF-8，设 `data.data_type = \"utf-8\"`";
    TRY_AGAIN_WHEN_COMPLETE: "try again when the file is complete", "等文件完整后再试";
    FILE_IS_PARTIAL: "the file was not copied completely, or has another type", "文件没有复制完整，或是另一种类型";
    RELATIVE_PATH:
        "relative paths of the command line start at the current folder, those of an experiment file at its folder",
        "命令行的相对路径以当前目录为起点，实验文件中的以该文件所在目录为起点";
    NAME_FILE_IN_FOLDER: "pass a file in this folder", "请给出此目录中的一个文件";
    NOTHING_HALF_WRITTEN: "no incomplete file was left behind", "没有留下不完整的文件";
    EVERY_BYTE_A_TOKEN:
        "each of the 256 single bytes must be a token, so that every text can be encoded",
        "256 个单字节都必须是 token，这样才能编码任何文本";
    OTHERS_NOT_TEXT:
        "{n} other {n:document is|documents are} not valid UTF-8 either",
        "另有 {n} 个文档也不是";
    JSON_HOLDS_ONLY_TEXT:
        "JSON can only hold text, and no bytes are replaced",
        "JSON 只能存文本，也不会悄悄替换";
    WRONG_VOCABULARY:
        "if the data was tokenised with another vocabulary, pass that one",
        "如果数据是用别的词表分词的，请给出那个词表";
    CHOOSE_OUT_OR_FORCE:
        "pass another name, or `--force` to replace the file",
        "换个名字，或用 `--force` 替换该文件";
    CHARACTER_VOCABULARY_FORM:
        "a character vocabulary maps an id to each character, as in `{{\"98\": \"a\", \"257\": \"你\"}}`; a run on plain text writes one",
        "字符词表把 id 对应到字符，如 `{{\"98\": \"a\", \"257\": \"你\"}}`；在纯文本上的运行会写出它";
    CHOOSE_VOCABULARY_OF_DATA:
        "set `model.tokenizer` to the vocabulary that the data was tokenised with",
        "把 `model.tokenizer` 设为数据分词时所用的词表";
    DEFECT_OF_TOKENIZER: "this is a bug in the tokenizer; please report it", "这是分词器的缺陷；请报告";
    OTHERS_OVERLONG: "{n} other {n:document is|documents are} too long as well", "另有 {n} 个文档也过长";
    RAISE_CTX_LEN: "raise `train.ctx_len`", "增大 `train.ctx_len`";
    RAISE_CTX_LEN_TO: "raise `train.ctx_len` to {least} or more", "把 `train.ctx_len` 增大到 {least} 或更大";
    SET_OVERLONG:
        "or set `data.overlong` to `split` (several samples), `truncate` (drops the end) or `drop` (skips the document)",
        "或把 `data.overlong` 设为 `split`（分成多个样本）、`truncate`（丢掉末尾）或 `drop`（整个丢掉）";
    TOKENISE_FOR_MODEL: "tokenise the data with the vocabulary of the model", "请用模型的词表分词";
    LOWER_CTX_LEN_OR_PAD:
        "lower `train.ctx_len`, or set `data.dataload = \"pad\"`",
        "减小 `train.ctx_len`，或设 `data.dataload = \"pad\"`";
    OVERLONG_DROP_LEAVES_OUT:
        "`data.overlong = \"drop\"` skips documents that do not fit",
        "`data.overlong = \"drop\"` 会跳过放不下的文档";
    RAISE_CTX_LEN_OR_SPLIT:
        "raise `train.ctx_len`, or set `data.overlong = \"split\"`",
        "增大 `train.ctx_len`，或设 `data.overlong = \"split\"`";
    WALK_NEEDS_WINDOWS: "the walk requires at least three windows", "这种遍历至少要三个窗口";
    WALK_PRIME_TOO_SMALL:
        "the largest usable prime is {prime}, and windows beyond it would never be seen; it must cover nine tenths of all windows",
        "可用的最大质数是 {prime}，其后的窗口永远不会被看到；它必须覆盖全部窗口的九成";
    LOWER_CTX_LEN_OR_RANDOM:
        "lower `train.ctx_len`, or set `data.walk = \"random\"`",
        "减小 `train.ctx_len`，或设 `data.walk = \"random\"`";
    FIRST_ONE_IS: "the first one: {document}", "第一个是 {document}";
    OTHER_ROWS_FINE: "{n} other {n:row is|rows are} fine", "另有 {n} 行记录没有问题";
    OTHER_LINES_FINE: "{n} other {n:line is|lines are} fine", "另有 {n} 行没有问题";
    TEXT_ENDED_AT_QUOTE: "the string ended at the quote before this", "文本在前一个引号处就结束了";
    ESCAPE_QUOTES:
        "quotes inside the text need a backslash: `\\\"`",
        "文本中的引号要加反斜杠：`\\\"`";
    BYTE_VALUE: "byte {byte}", "字节 {byte}";
    JSONL_LINE_FORM:
        "a line looks like `{{\"text\": \"User: ...\\n\\nAssistant: ...\"}}`",
        "一行形如 `{{\"text\": \"User: ...\\n\\nAssistant: ...\"}}`";
    OBJECT_IS_EMPTY: "the object is empty", "对象为空";
    KEYS_FOUND: "keys found: {keys}", "实际的键：{keys}";
    OTHER_WOULD_BE_LOST: "one of the two would be lost", "两者之一会丢失";
    NOTHING_TO_LEARN: "no text", "没有文本";
    MESSAGES_FORM:
        "messages look like `[{{\"role\": \"user\", \"content\": \"...\"}}, ...]`; roles are `system`, `user`, `input`, `assistant` and `tool`",
        "messages 形如 `[{{\"role\": \"user\", \"content\": \"...\"}}, ...]`；角色有 `system`、`user`、`input`、`assistant`、`tool`";
    ONE_TOKEN: "only one token, so there is nothing to predict", "只有一个 token，后面没有可预测的";
    REMOVE_SHORT_DOCUMENTS:
        "remove documents of one token; training predicts each token from the tokens before it",
        "请去掉只有一个 token 的文档；训练由前面的 token 预测每个 token";
    TARGETS_BEYOND_CTX_LEN:
        "all target tokens are beyond `train.ctx_len`",
        "所有目标 token 都在 `train.ctx_len` 之后";
    NO_MARK_ALL_MASKED:
        "no `{on}`, so every token is masked",
        "没有 `{on}`，因此所有 token 都被屏蔽";
    LOSS_MASK_SE_LEARNS:
        "with `loss_mask = \"se\"`, target tokens follow `data.mask_id.mask1`",
        "用 `loss_mask = \"se\"` 时，目标 token 在 `data.mask_id.mask1` 之后";
    NO_TURN_ALL_MASKED:
        "no `{answer}` turn, so every token is masked",
        "没有 `{answer}` 轮次，因此所有 token 都被屏蔽";
    LOSS_MASK_LOOKS_FOR:
        "`loss_mask = \"assistant\"` with template `{template}` looks for {openings}",
        "`loss_mask = \"assistant\"` 配合模板 `{template}` 查找 {openings}";
    NO_ROLE_WORDS_FOUND:
        "no role words found: no turn begins with a word and a colon",
        "没有找到角色词：没有轮次以词加冒号开头";
    ROLE_WORDS_FOUND: "role words found: {words}", "找到的角色词：{words}";
    DATA_SHOW_PRINTS_MASK:
        "run `statetune data show {experiment} --line {line}` to print the sample with its mask",
        "运行 `statetune data show {experiment} --line {line}` 打印样本及其掩码";
    MEND_DOCUMENTS:
        "fix or remove such documents, or set `data.loss_mask = \"pad\"`",
        "修正或去掉这种文档，或设 `data.loss_mask = \"pad\"`";
    SET_TEMPLATE: "set `data.template = {value}`", "设 `data.template = {value}`";
    SET_BUILT_IN_TEMPLATE:
        "set `data.template = {value}`, which finds the answers of {n} of {documents} documents",
        "设 `data.template = {value}`，它在 {documents} 个文档中的 {n} 个里找到回答";
    FIX_WRITES_COPY:
        "`statetune data check {experiment} --fix` writes a copy with {n} of these documents fixed; set `data.data_file` to the copy",
        "`statetune data check {experiment} --fix` 会写出修好其中 {n} 个文档的副本；再把 `data.data_file` 设为该副本";
    SET_CLEAN_TURNS:
        "set `data.clean_turns = true` to remove such lines when the documents are read",
        "设 `data.clean_turns = true`，读取文档时会去掉这些空行";
    DROP_OVERLONG:
        "or set `data.overlong = \"drop\"` to skip documents that do not fit",
        "或设 `data.overlong = \"drop\"`，跳过放不下的文档";
    AFTER_SINGLE_BREAK: "after a single line break, not a blank line", "前面只有一个换行，而不是空行";
    BLANK_LINE_NOT_EMPTY:
        "after a blank line with blanks or carriage returns",
        "前面的空行含有空白或回车符";
    BLANKS_BEFORE_WORD: "indented", "有缩进";
    MARKUP_AROUND_WORD: "with Markdown marks", "带有 Markdown 标记";
    OTHER_CASE: "in other upper and lower case", "大小写不同";
    BLANKS_BEFORE_COLON: "blanks before the colon", "冒号前有空白";
    FULL_WIDTH_COLON: "full-width colon", "全角冒号";
    MISSED_OPENINGS[ST3106]:
        "{n} of {documents} documents {n:has a role word that does not|have role words that do not} open a turn",
        "{documents} 个文档中有 {n} 个含有没有开启轮次的角色词";
    MISSED_OPENING[ST3106]:
        "`{words}` in {document} does not open a turn",
        "{document}中的 `{words}` 没有开启轮次";
    MISSED_IS_TARGET:
        "the turn counts as part of the answer before it, so it is target text",
        "这一轮会并入前面的回答，因此成为目标文本";
    MISSED_IS_MASKED:
        "the answer counts as part of the turn before it, so it is masked",
        "这个回答会并入前面的轮次，因此被屏蔽";
    EVERY_TOKEN_TRAINS:
        "`data.loss_mask` masks nothing here, so all tokens train, those of the questions too",
        "这里 `data.loss_mask` 不屏蔽任何内容，因此所有 token 都参与训练，问题也不例外";
    TRAIN_ON_ANSWERS:
        "to train on the answers alone, set `data.loss_mask = \"assistant\"`; `data check` then helps with the role words",
        "只训练回答：设 `data.loss_mask = \"assistant\"`；`data check` 随后会给出角色词的修改办法";
    TRAIN_ON_ANSWERS_WITH:
        "to train on the answers alone, set `data.loss_mask = \"assistant\"` and `data.template = {value}`",
        "只训练回答：设 `data.loss_mask = \"assistant\"` 和 `data.template = {value}`";
    SUITED_TOKENS: "the data is token ids", "数据是 token id";
    SUITED_LARGE_TEXT: "the text is too large to look for turns", "文本太大，没有查找轮次";
    SUITED_RECORDS: "the records hold conversations ({keys})", "记录里是对话（{keys}）";
    SUITED_FIELDS:
        "each record has two texts: `{question}` is read as the question, `{answer}` as the answer",
        "每条记录有两段文本：`{question}` 作为问题，`{answer}` 作为回答";
    SUITED_TURNS:
        "{n} of {documents} documents {n:has|have} answers after `Assistant:`",
        "{documents} 个文档中有 {n} 个在 `Assistant:` 之后有回答";
    SUITED_TEMPLATE:
        "{n} of {documents} documents {n:has|have} answers, which the `data.template` written here finds",
        "{documents} 个文档中有 {n} 个含有回答，这里写入的 `data.template` 能找到";
    SUITED_NEARLY:
        "role words in {n} {n:document|documents} do not open turns; see `data check`",
        "{n} 个文档中的角色词没有开启轮次；见 `data check`";
    SUITED_TEXTS: "no turns of a conversation in {documents}", "{documents}中没有对话的轮次";
    MARKED_WORD: "`??{words}??` does not open a turn: {why}", "`??{words}??` 没有开启轮次：{why}";
    MISSED_WORDS: "role words that do not open a turn: {words}", "没有开启轮次的角色词：{words}";
    MISSED_WORD: "`{words}` {why} ({n})", "`{words}` {why}（{n}）";
    BLANK_LINES_IN_TURNS[ST3107]:
        "{n} of {documents} documents {n:has|have} blank lines within a question or system prompt",
        "{documents} 个文档中有 {n} 个的问题或系统提示中有空行";
    BLANK_LINE_IN_TURN[ST3107]:
        "{document} has a blank line within a question or system prompt",
        "{document}的问题或系统提示中有空行";
    TRAINED_WITHOUT_BLANK_LINES:
        "RWKV models are trained on turns without blank lines: a blank line ends a turn",
        "RWKV 模型训练时轮次中没有空行：空行表示一轮结束";
    ANSWERS_WITHOUT_BLOCK[ST3108]:
        "{n} of {documents} documents {n:has|have} answers without the think block of the template `{template}`",
        "{documents} 个文档中有 {n} 个的回答缺少模板 `{template}` 的思考块";
    ANSWER_WITHOUT_BLOCK[ST3108]:
        "{document} has an answer without the think block of the template `{template}`",
        "{document}的回答缺少模板 `{template}` 的思考块";
    PROMPTS_END_IN_BLOCK:
        "prompts of the template end within a think block, which these answers do not continue",
        "模板的提示在思考块中结束，而这些回答没有接着它";
    ANSWERS_WITH_REASONING[ST3108]:
        "{n} of {documents} documents {n:has|have} reasoning in a think block, which the template `{template}` does not expect",
        "{documents} 个文档中有 {n} 个的思考块里有推理，模板 `{template}` 不使用推理";
    ANSWER_WITH_REASONING[ST3108]:
        "{document} has reasoning in a think block, which the template `{template}` does not expect",
        "{document}的思考块里有推理，模板 `{template}` 不使用推理";
    REASONING_IS_NOT_ASKED_FOR:
        "prompts of the template do not ask for reasoning",
        "模板的提示不要求推理";
    REASONING_CUT[ST3109]:
        "{n} of {documents} documents {n:loses the end of its|lose the end of their} reasoning at `train.ctx_len`",
        "{documents} 个文档中有 {n} 个的推理在 `train.ctx_len` 处被截断";
    REASONING_CUT_IN_DOCUMENT[ST3109]:
        "{document} loses the end of its reasoning at `train.ctx_len`",
        "{document}的推理在 `train.ctx_len` 处被截断";
    REASONING_WITHOUT_END:
        "the model is trained to begin its reasoning, but not to end it and answer",
        "模型会学到开始推理，却学不到结束推理并回答";
    MESSAGE_HAS_REASONING:
        "message {number} has reasoning, which the template `{template}` leaves out; the template `g1-think` has it",
        "第 {number} 条消息有推理，模板 `{template}` 不写出推理；模板 `g1-think` 会写出";
    DATA_FILE_WITHOUT_ENDING:
        "`data.data_file` is the path without `.bin` and `.idx`",
        "`data.data_file` 是不带 `.bin` 和 `.idx` 的路径";
    PAIR_FORM:
        "a pair is two files with the same name: `.bin` with tokens and `.idx` with offsets",
        "一对是同名的两个文件：`.bin` 存 token，`.idx` 存位置";
    DOCUMENTS_FOLLOW: "each document must begin where the one before it ends", "每个文档从前一个的末尾开始";
    PAIR_DOES_NOT_MATCH:
        "the two files belong to different data, or one was not copied completely",
        "两个文件属于不同的数据，或其中一个没有复制完整";
    LINE_NOT_JSON[ST3001]: "is not valid JSON", "不是有效的 JSON";
    LINE_NOT_UTF8[ST3002]: "is not valid UTF-8", "不是 UTF-8";
    LINE_NOT_OBJECT[ST3003]: "must be a JSON object, found {found}", "必须是 JSON 对象，实际是{found}";
    LINE_WITHOUT_KEY[ST3003]: "has no key `{key}`", "没有键 `{key}`";
    LINE_KEY_TWICE[ST3003]: "has the key `{key}` twice", "重复出现键 `{key}`";
    LINE_KEY_NOT_STRING[ST3003]:
        "must have a string as `{key}`, found {found}",
        "的 `{key}` 必须是字符串，实际是{found}";
    LINE_KEY_EMPTY[ST3003]: "has an empty `{key}`", "的 `{key}` 为空";
    LINE_NOT_CONVERSATION[ST3003]: "is not a valid conversation", "不是有效的对话";
    NO_PAIR[ST3010]:
        "does not exist: neither `{bin}` nor `{idx}` was found",
        "不存在：`{bin}` 和 `{idx}` 都找不到";
    HALF_OF_PAIR_MISSING[ST3010]: "is missing, although `{other}` exists", "缺失，而 `{other}` 存在";
    NOT_AN_INDEX[ST3011]:
        "is not a binidx index: it does not begin with `MMIDIDX`",
        "不是 binidx 索引：开头不是 `MMIDIDX`";
    INDEX_VERSION[ST3011]: "has version {found}, expected 1", "版本为 {found}，应为 1";
    INDEX_DTYPE[ST3011]: "has dtype code {code}, which is {what}", "dtype 代码为 {code}，{what}";
    SIZE_NOT_OF_HEADER[ST3012]:
        "has {found} bytes, but its header requires {expected}",
        "有 {found} 字节，但文件头要求 {expected}";
    INDEX_DOCUMENT_SIZE[ST3012]:
        "gives document {document} a size of {size} tokens",
        "把文档 {document} 的长度记为 {size} 个 token";
    INDEX_DOCUMENT_PLACE[ST3012]:
        "puts document {document} at byte {found}, expected {expected}",
        "把文档 {document} 放在字节 {found} 处，应为 {expected}";
    INDEX_ENTRY[ST3012]:
        "has {found} as entry {entry} of its document index",
        "文档索引的第 {entry} 项为 {found}";
    PARTIAL_TOKEN[ST3012]:
        "has {found} bytes, which is not a multiple of {token_bytes}, the size of a token",
        "有 {found} 字节，不是 token 大小 {token_bytes} 的倍数";
    SIZE_NOT_OF_INDEX[ST3012]:
        "has {found} bytes, but its index describes {expected}",
        "有 {found} 字节，但索引描述的是 {expected}";
    NOT_A_TOKEN_ID[ST3013]:
        "has {value} as token {position}, which is not a valid token id",
        "第 {position} 个 token 是 {value}，不是 token id";
    DOCUMENT_TOO_LONG[ST3014]:
        "cannot hold a document of {tokens} tokens",
        "放不下 {tokens} 个 token 的文档";
    NOT_NPY[ST3011]: "is not a .npy file", "不是 .npy 文件";
    NPY_HEADER[ST3011]: "has an invalid header: {header}", "的文件头无效：{header}";
    NPY_NOT_INTEGERS[ST3011]: "contains `{descr}` numbers, not integers", "存的是 `{descr}` 类型的数，不是整数";
    NPY_AXES[ST3011]: "has the shape ({shape}), not one axis", "形状是 ({shape})，不是一维";
    ODD_BYTES[ST3012]:
        "has {found} bytes, which is not a multiple of 2, the size of a token",
        "有 {found} 字节，不是 token 大小 2 的倍数";
    VOCABULARY_NOT_OF_FORM[ST3020]:
        "is not `<id> <literal> <byte length>`",
        "不是 `<id> <literal> <byte length>` 的形式";
    VOCABULARY_NO_ID[ST3020]: "does not begin with an id", "开头不是 id";
    VOCABULARY_ID_ZERO[ST3021]: "uses id 0, which means end of document", "用了 id 0，它表示文档结束";
    VOCABULARY_ID_TOO_LARGE[ST3021]: "has an id above {max}", "的 id 大于 {max}";
    VOCABULARY_ID_TWICE[ST3021]: "repeats the id of line {first}", "与第 {first} 行的 id 重复";
    VOCABULARY_BYTES_TWICE[ST3022]:
        "repeats the bytes of token {first}",
        "与 token {first} 的字节重复";
    VOCABULARY_EMPTY_TOKEN[ST3022]: "has a token without bytes", "的 token 没有字节";
    VOCABULARY_NO_LENGTH[ST3020]: "does not end with a byte length", "末尾不是字节长度";
    VOCABULARY_LENGTH[ST3020]:
        "states {stated} bytes, but its token has {found}",
        "写明 {stated} 字节，但其 token 有 {found} 字节";
    DTYPE_OF_FLOATS: "for floats, not token ids", "是浮点数而非 token id";
    FOUND_NOT_ARRAY: "found {found}, expected an array", "实际是{found}，应为数组";
    MESSAGE_KEY_TYPE:
        "message {number} has {found} as `{key}`",
        "第 {number} 条消息的 `{key}` 是{found}";
    MESSAGE_WITHOUT_KEY: "message {number} has no `{key}`", "第 {number} 条消息没有 `{key}`";
    MESSAGE_ROLE:
        "message {number} has the role `{name}`",
        "第 {number} 条消息的角色是 `{name}`";
    MESSAGE_EMPTY:
        "message {number} has an empty `content`",
        "第 {number} 条消息的 `content` 为空";
    NO_MESSAGE: "the list has no messages", "没有消息";
    EVERY_ANSWER_MUTED: "every answer has weight 0", "每个回答的权重都是 0";
    REMOVE_MUTED_DOCUMENTS: "remove such records", "去掉这样的记录";
    REJECTED_ANSWER: "with the rejected answer:", "带落选回答的文档：";
    MUTED_IN_PAIR[ST3115]:
        "{n} {n:message has|messages have} weight 0, and the exported file does not hold that",
        "有 {n} 条消息的权重是 0，而导出的文件不含这一点";
    MUTED_BECOME_TARGETS:
        "a mask made of the file alone selects them as targets",
        "只由文件得出的掩码会把它们选为目标";
    MESSAGE_PART:
        "message {number} has a part of type `{kind}`; only text is read",
        "第 {number} 条消息有 `{kind}` 类型的部分；只读取文本";
    MESSAGE_PART_WITHOUT_TEXT:
        "message {number} has a part without `{key}`",
        "第 {number} 条消息有一个部分没有 `{key}`";
    MESSAGE_NOT_A_CALL:
        "message {number} has a `{key}` that is not a function's name with arguments in JSON",
        "第 {number} 条消息的 `{key}` 不是函数名和 JSON 参数";
    MESSAGE_WEIGHT:
        "message {number} has {value} as `{key}`; 0 and 1 are read",
        "第 {number} 条消息的 `{key}` 是 {value}；只读取 0 和 1";
    TOOLS_NOT_A_LIST:
        "`{key}` must be a list of functions, found {found}",
        "`{key}` 必须是函数的列表，实际是{found}";
    HISTORY_NOT_PAIRS:
        "`history` must be a list of pairs such as `[\"question\", \"answer\"]`",
        "`history` 必须是由 `[\"问题\", \"回答\"]` 这样的对组成的列表";
    SET_TEMPLATE_NAME: "set `data.template = \"{name}\"`", "设 `data.template = \"{name}\"`";
    READ_WITHOUT_KEY:
        "or set `data.ignore_keys = [\"{key}\"]` to read the records without the key",
        "或设 `data.ignore_keys = [\"{key}\"]`，读取记录时不看这个键";
    LINE_OF_NO_SHAPE[ST3003]: "has no text and no conversation of a known shape", "没有文本，也没有已知形状的对话";
    SHAPES_OF_RECORDS:
        "shapes that are read: `text`; `messages`; `conversations`; `instruction` and `output`; `prompt` and `completion`; \
         `question` and `answer`",
        "可读取的形状：`text`；`messages`；`conversations`；`instruction` 和 `output`；`prompt` 和 `completion`；`question` 和 `answer`";
    SFT_FIELD_READS_TEXTS:
        "`data.sft_field` names the keys of a question and an answer with other names",
        "`data.sft_field` 指定其他名字的问题键和回答键";
    SET_SFT_FIELD: "set `data.sft_field = {keys}`", "设 `data.sft_field = {keys}`";
    LINE_IS_PREFERENCE[ST3114]: "is a preference pair", "是一个偏好对";
    PAIRS_NEED_OBJECTIVE:
        "`objective.type = \"sft\"` imitates documents; a chosen and a rejected answer are for an objective that compares them",
        "`objective.type = \"sft\"` 模仿文档；选中和落选的回答用于比较二者的训练目标";
    SET_DPO:
        "to compare the answers, set `type = \"dpo\"` in `[objective]`",
        "要比较两个回答：在 `[objective]` 里写 `type = \"dpo\"`";
    LINE_IS_NO_PAIR[ST3118]: "is not a preference pair", "不是偏好对";
    OBJECTIVE_COMPARES_TWO:
        "the objective of this experiment compares a chosen with a rejected answer",
        "这个实验的训练目标比较选中的回答和落选的回答";
    WRITE_CHOSEN_AND_REJECTED:
        "write the record with `prompt`, `chosen` and `rejected`",
        "把记录写成带 `prompt`、`chosen` 和 `rejected` 的形式";
    SET_SFT:
        "to imitate the documents, set `type = \"sft\"` in `[objective]`",
        "要模仿文档：在 `[objective]` 里写 `type = \"sft\"`";
    LINE_HAS_NO_LABEL[ST3118]: "has neither a label nor two answers", "既没有标签，也没有两个回答";
    OBJECTIVE_JUDGES_ANSWERS:
        "the objective of this experiment takes records with a `label`, or preference pairs",
        "这个实验的训练目标使用带 `label` 的记录，或偏好对";
    WRITE_LABEL:
        "write `\"label\": true` for a good answer and `\"label\": false` for a bad one",
        "好的回答写 `\"label\": true`，坏的回答写 `\"label\": false`";
    LINE_LABEL_TYPE[ST3003]: "must have true or false as `label`, found {found}", "的 `label` 必须是 true 或 false，实际是{found}";
    IGNORE_REJECTED:
        "to train on the chosen answers alone, add `\"rejected\"` to `data.ignore_keys`",
        "只训练选中的回答：把 `\"rejected\"` 加入 `data.ignore_keys`";
    KEYS_LEFT_OUT[ST3113]:
        "{file} has {n} {n:key|keys} that no document is made of",
        "{file}中有 {n} 个键没有成为任何文档的内容";
    KEY_IN_RECORDS: "`{key}` in {n} of {records} records", "{records} 条记录中有 {n} 条含 `{key}`";
    AND_MORE_KEYS: "and {n} more", "另有 {n} 个";
    KEY_WOULD_BE: "`{key}` would be {what}", "`{key}` 应是{what}";
    MEANS_SYSTEM: "a system prompt", "系统提示";
    MEANS_TOOLS: "the functions that the assistant may call", "助手可以调用的函数";
    MEANS_INPUT: "material for the question", "问题的材料";
    MEANS_HISTORY: "earlier questions and answers", "之前的问答";
    MEANS_CONVERSATION: "a conversation; `text` is read in its place", "一段对话；这里读取的是 `text`";
    MEANS_OTHER_CONVERSATION: "another conversation", "另一段对话";
    MEANS_PREFERENCE: "one side of a preference pair", "偏好对的一方";
    MEANS_REASONING: "reasoning of an answer", "回答的推理";
    MEANS_CALLS: "calls of functions by the assistant", "助手对函数的调用";
    MEANS_WEIGHT: "the weight of the record in the loss", "记录在损失中的权重";
    MEANS_NAME: "the name of the speaker", "说话者的名字";
    REMOVE_SFT_FIELD:
        "remove `data.sft_field`: without it, records of this shape are read with all their usual keys",
        "去掉 `data.sft_field`：没有它，这种形状的记录会连同所有常用的键一起读取";
    IGNORE_KEYS:
        "set `data.ignore_keys = {keys}` to leave them out without this warning",
        "设 `data.ignore_keys = {keys}`，不再警告地略去它们";
    ALLOW_KEYS_LEFT_OUT:
        "other records use some of them; `# statetune: allow(ST3113)` at `data.data_file` silences the warning",
        "其他记录用到了其中一些；在 `data.data_file` 处写 `# statetune: allow(ST3113)` 可关闭此警告";
    FILE_AND_OTHERS: "`{file}` and {n} other {n:file|files}", "`{file}` 和另外 {n} 个文件";
    FILE_NAMED: "`{file}`", "`{file}`";
    AN_ARRAY: "an array", "数组";
    FILE_CHANGES_WHILE_USED: "the file changes while it is used", "它在使用中被改动";
    TEMPLATE_NO_ROLE:
        "the template `{template}` has no role `{role}`",
        "模板 `{template}` 没有角色 `{role}`";
    MESSAGE_OPENS_TURN:
        "message {number} contains `{opening}`, which would start another turn",
        "第 {number} 条消息含有 `{opening}`，会开启另一轮对话";
    LITERAL_MISSING[ST3020]: "has no Python string or bytes literal", "没有 Python 字符串或字节字面量";
    LITERAL_UNESCAPED_QUOTE[ST3020]: "has an unescaped quote inside its literal", "的字面量中有未转义的引号";
    LITERAL_NON_ASCII[ST3020]: "has a non-ASCII character inside b''", "的 b'' 中有非 ASCII 字符";
    LITERAL_ENDS_IN_ESCAPE[ST3020]: "ends its literal within an escape", "的字面量在转义中间结束";
    LITERAL_UNKNOWN_ESCAPE[ST3020]: "has an unknown escape", "有未知的转义";
    LITERAL_NO_CHARACTER[ST3020]: "has an escape that is not a valid character", "有一个转义不是字符";
    CANNOT_WRITE_DATA[ST3006]: "cannot write `{path}`", "无法写入 `{path}`";
    NO_TOKEN_FOR_BYTE[ST3023]:
        "`{file}` has no token for byte {bytes}",
        "`{file}` 中没有对应字节 {bytes} 的 token";
    NOT_A_CHARACTER_VOCABULARY[ST3026]: "`{file}` is not a character vocabulary", "`{file}` 不是字符词表";
    UNKNOWN_TOKEN[ST3024]:
        "token id {id} is not in the vocabulary of {vocab_size} ids",
        "token id {id} 不在 {vocab_size} 个 id 的词表中";
    DOCUMENT_NOT_TEXT[ST3027]: "{document} is not valid UTF-8", "{document}不是 UTF-8 文本";
    ROUND_TRIP[ST3025]:
        "line {line} of `{file}` changes when it is tokenised and decoded",
        "`{file}` 第 {line} 行分词再还原后发生了变化";
    DOCUMENT_OVERLONG[ST3030]:
        "{document} has {tokens} tokens, more than the {limit} that fit",
        "{document}有 {tokens} 个 token，超过可容纳的 {limit} 个";
    TOKEN_BEYOND_MODEL[ST3031]:
        "{document} has token id {id}, but the model has only {vocab_size} ids",
        "{document}含有 token id {id}，但模型只有 {vocab_size} 个 id";
    SHORTER_THAN_WINDOW[ST3032]:
        "`{file}` has {tokens} tokens, but windows of `ctx_len = {ctx_len}` need {least}",
        "`{file}` 有 {tokens} 个 token，但 `ctx_len = {ctx_len}` 的窗口需要 {least} 个";
    CONVERSATIONS_CUT[ST3117]:
        "{n} of {documents} documents are longer than `ctx_len = {ctx_len}`, so their conversations are cut",
        "{documents} 个文档中有 {n} 个长于 `ctx_len = {ctx_len}`，其中的对话会被截断";
    DOCUMENTS_TEACH_NOTHING[ST3102]:
        "{n} of {documents} documents {n:has|have} no target tokens",
        "{documents} 个文档中有 {n} 个没有目标 token";
    NO_DOCUMENT_FITS[ST3033]:
        "no document of `{file}` fits into `ctx_len = {ctx_len}`",
        "`{file}` 中没有文档能放进 `ctx_len = {ctx_len}`";
    TOO_FEW_WINDOWS[ST3034]:
        "`{file}` has {windows} windows of `ctx_len = {ctx_len}`, too few for the magic-prime walk",
        "`{file}` 有 {windows} 个 `ctx_len = {ctx_len}` 的窗口，不够做 magic-prime 遍历";
    MORE_WITH_SAME_PROBLEM:
        "{n} more {n:has|have} the same problem ({numbers})",
        "另有 {n} 行有同样的问题（{numbers}）";
    BYTE_AND_OTHERS: "{byte} and {n} other {n:byte|bytes}", "{byte} 和另外 {n} 个字节";
    DATA_EXISTS[ST3009]: "`{path}` already exists", "`{path}` 已存在";
    VOCABULARY_NOT_UTF8[ST3020]: "is not valid UTF-8", "不是 UTF-8";
    DTYPE_UNKNOWN: "unknown", "未知";
    LINE_ENDS_IN_STRING: "the line ends within a string", "行在字符串中间结束";
    LINE_ENDS_IN_LIST: "the line ends within a list", "行在列表中间结束";
    LINE_ENDS_IN_OBJECT: "the line ends within an object", "行在对象中间结束";
    LINE_ENDS_IN_VALUE: "the line ends within a value", "行在值中间结束";
}
