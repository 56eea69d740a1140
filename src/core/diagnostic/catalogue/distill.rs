//! Messages about teachers.

use crate::diagnostic::entry::catalogue;

catalogue! {
    DISTILL_NEEDS_TEACHER[ST2220]: "`type = \"distill\"` requires a teacher", "`type = \"distill\"` 需要教师";
    TEACHER_WOULD_BE_STUDENT:
        "without a text or a trained file, the teacher is the model that the student starts from",
        "没有文本或训练过的文件时，教师就是学生出发时的模型";
    NAME_A_TEACHER:
        "set `prompt`, `prompt_file`, `teacher` or `teacher_model`",
        "设 `prompt`、`prompt_file`、`teacher` 或 `teacher_model`";
    TWO_TEACHERS[ST2220]:
        "`{one}` and `{other}` both say who teaches",
        "`{one}` 和 `{other}` 都指定了教师";
    DELETE_ONE_OF: "delete `{one}` or `{other}`", "删除 `{one}` 或 `{other}`";
    CANNOT_READ_PROMPT[ST3002]: "cannot read the text of `{file}`", "无法读取 `{file}` 的文本";
    FILE_DOES_NOT_EXIST_HERE[ST4001]:
        "the file of `{key}`, `{file}`, does not exist",
        "`{key}` 的文件 `{file}` 不存在";
    NEEDS_GENERAL_TEXT[ST2223]: "`{key}` requires `eval.general`", "`{key}` 需要 `eval.general`";
    NAME_GENERAL_TEXT:
        "set `eval.general` to a file of text that is unlike the data",
        "把 `eval.general` 设为与数据不同的文本文件";
    NEW_MODEL_HAS_NO_BASE[ST2223]: "`{key}` does not apply to a new model", "`{key}` 不适用于新模型";
    NOTHING_TO_FORGET: "new weights have nothing to forget", "新权重没有可遗忘的内容";
    GENERAL_TEXT_IS_UNREAD[ST2223]:
        "`eval.general` only applies with `eval.forgetting` or `objective.keep`",
        "`eval.general` 只用于 `eval.forgetting` 或 `objective.keep`";
    LIMIT_NEEDS_FORGETTING[ST2223]:
        "`eval.max_forgetting` only applies with `eval.forgetting`",
        "`eval.max_forgetting` 只用于 `eval.forgetting`";
    SET_FORGETTING: "set `eval.forgetting = true`, or delete the setting", "设 `eval.forgetting = true`，或删除此设置";
    DRAWN_QUESTIONS_HAVE_NO_ANSWERS[ST2221]:
        "questions that the teacher writes have no answers in the data",
        "教师写的问题在数据里没有回答";
    LET_TEACHER_ANSWER: "set `answers = \"teacher\"`", "设 `answers = \"teacher\"`";
    DELETE_DRAW: "or delete `draw`", "或删除 `draw`";
    TEACHER_NEEDS_ROLES[ST2221]:
        "the template `{template}` has no questions that a teacher could answer",
        "模板 `{template}` 没有教师可以回答的问题";
    CHOOSE_TEMPLATE_FOR_TEACHER:
        "choose a `data.template` with an assistant role",
        "选择有 assistant 角色的 `data.template`";
    USE_ANSWERS_OF_DATA: "or set `answers = \"data\"`", "或设 `answers = \"data\"`";
    TEACHER_OTHER_VOCABULARY[ST2222]:
        "the teacher `{file}` has {found} token ids, the model has {expected}",
        "教师 `{file}` 有 {found} 个 token id，模型有 {expected} 个";
    TEACHER_SAME_VOCABULARY:
        "distributions are compared token by token, so the vocabularies must be equal",
        "分布是逐个 token 比较的，因此词表必须相同";
    TEACHER_IS_NEW[ST2222]: "new weights cannot teach", "新权重不能当教师";
    NAME_TEACHER_MODEL: "set `teacher_model` to a trained model", "把 `teacher_model` 设为训练过的模型";
    TEACHER_COPIES[ST2222]:
        "distillation does not support the option `head_qk` of the weights",
        "蒸馏不支持权重的选项 `head_qk`";
    TEACHER_WROTE_NOTHING[ST2221]:
        "there are no questions that the teacher could answer",
        "没有教师可以回答的问题";
    QUESTIONS_NEED_ASSISTANT:
        "a question ends where a document opens the first turn of the assistant",
        "问题到文档中助手的第一轮开启处为止";
    DRAW_QUESTIONS: "or let the teacher write questions: set `draw`", "或让教师写问题：设 `draw`";
}
