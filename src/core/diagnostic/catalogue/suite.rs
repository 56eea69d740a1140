//! Messages about suites.

use crate::diagnostic::entry::catalogue;

catalogue! {
    SUITE_NO_SHAPE[ST3201]: "is not an item of a suite", "不是评测集的条目";
    SUITE_SHAPES:
        "write one of these, a line for each item:\n\
         {{\"question\": \"...\", \"choices\": [\"...\", \"...\"], \"answer\": 0}}\n\
         {{\"text\": \"...\", \"target\": \"...\"}}\n\
         {{\"question\": \"...\", \"answer\": \"...\"}}\n\
         {{\"text\": \"...\"}}",
        "每个条目写一行，形式是以下之一：\n\
         {{\"question\": \"...\", \"choices\": [\"...\", \"...\"], \"answer\": 0}}\n\
         {{\"text\": \"...\", \"target\": \"...\"}}\n\
         {{\"question\": \"...\", \"answer\": \"...\"}}\n\
         {{\"text\": \"...\"}}";
    SUITE_KEY_MISSING[ST3201]: "lacks the key `{key}`", "缺少键 `{key}`";
    SUITE_KEY_TYPE[ST3202]: "has {found} as `{key}`, expected {expected}", "的 `{key}` 是{found}，应为{expected}";
    SUITE_LIST_ITEM[ST3202]:
        "has {found} in the list `{key}`, expected texts or numbers",
        "的列表 `{key}` 中有{found}，应为文本或数字";
    SUITE_TEXT_EMPTY[ST3202]: "has an empty `{key}`", "的 `{key}` 为空";
    SUITE_FEW_CHOICES[ST3202]: "has {n} {n:choice|choices}, expected at least 2", "有 {n} 个选项，至少要有 2 个";
    SUITE_ANSWER_RANGE[ST3202]:
        "has {answer} as `{key}`, which is not one of its {n} choices",
        "的 `{key}` 是 {answer}，不是它的 {n} 个选项之一";
    SUITE_ANSWER_UNKNOWN[ST3202]:
        "has `{answer}` as `{key}`, which is not one of its choices",
        "的 `{key}` 是 `{answer}`，不是它的选项之一";
    SUITE_ANSWER_FORMS:
        "write the index of the choice from 0 to {index}, its letter from A to {letter}, or its text",
        "写选项的序号 0 到 {index}、字母 A 到 {letter}，或选项的文本";
    SUITE_REGEX[ST3202]: "has {regex} as `regex`, which is not a valid expression", "的 `regex` 是 {regex}，不是有效的表达式";
    SUITE_ONE_WORD[ST3202]:
        "has a single word as `text`, so no word is left to ask for",
        "的 `text` 只有一个词，没有可以询问的词";
    SUITE_ONE_TOKEN[ST3202]:
        "{place}: the text is a single token, so no token is left to measure",
        "{place}：文本只有一个 token，没有可以测量的 token";
    SUITE_LONGER_TEXT: "write a longer text, or delete the item", "写更长的文本，或删去该条目";
    SUITE_GIVE_TARGET: "write the end of the text as `target`", "把文本的结尾写为 `target`";
    SUITE_QUESTION[ST3202]: "{place}: {problem}", "{place}：{problem}";
    SUITE_ASK_PLAINLY:
        "change the question, or add the first line `{{\"form\": \"plain\"}}` to the suite",
        "修改问题，或在评测集中加入第一行 `{{\"form\": \"plain\"}}`";
    LIST_OF_TEXTS: "a list of texts", "文本的列表";
    TEXT_NUMBER_OR_LIST: "a text, a number or a list of them", "文本、数字，或由它们组成的列表";
    A_COUNT: "a whole number", "整数";
    SUITE_KIND_UNKNOWN[ST3203]: "has the unknown kind `{kind}`", "的种类 `{kind}` 未知";
    SUITE_SETTING_UNKNOWN[ST3203]: "has the unknown setting `{key}`", "有未知的设置 `{key}`";
    SUITE_SETTING_TYPE[ST3203]: "has {found} as `{key}`, expected {expected}", "的 `{key}` 是{found}，应为{expected}";
    SUITE_SETTING_VALUE[ST3203]: "has the unknown value `{value}` for `{key}`", "的 `{key}` 有未知的值 `{value}`";
    SUITE_TEXT_SHOTS[ST3203]:
        "is a text, but the first line asks for examples before each item with `shots`",
        "是文本，但第一行用 `shots` 要求在每个条目前写示例";
    SUITE_DROP_SHOTS: "delete `shots` from the first line", "从第一行删去 `shots`";
    SUITE_SHOT_WITHOUT_ANSWER[ST3203]:
        "is one of the first {n} items, which are examples, but has no `answer`",
        "是作为示例的前 {n} 个条目之一，但没有 `answer`";
    SUITE_GIVE_ANSWER: "write `answer` in place of `regex`, or lower `shots`", "用 `answer` 代替 `regex`，或减小 `shots`";
    SUITE_OTHER_KIND[ST3204]:
        "is of the kind `{found}`, but the items before are of the kind `{kind}`",
        "的种类是 `{found}`，但前面条目的种类是 `{kind}`";
    SUITE_ONE_KIND: "write the items of each kind to a file of their own", "把每个种类的条目写到各自的文件";
    SUITE_EMPTY[ST3205]: "the suite `{file}` has no items", "评测集 `{file}` 没有条目";
    SUITE_ALL_SHOTS[ST3205]:
        "the suite `{file}` has {n} {n:item|items}, all of them examples for `shots`",
        "评测集 `{file}` 有 {n} 个条目，全部是 `shots` 的示例";
    SUITE_DOES_NOT_EXIST[ST3005]: "the suite `{file}` does not exist", "评测集 `{file}` 不存在";
    SUITE_NAME_TWICE[ST2166]: "two suites have the name `{name}`", "两个评测集的名字都是 `{name}`";
    SUITE_NAME_OF_FILE: "the name of a suite is that of its file, without the ending", "评测集的名字是文件名去掉后缀";
    SUITE_RENAME: "rename one of the files, or list it once", "重命名其中一个文件，或只列出一次";
    SUITE_MORE_ITEMS: "add items, or lower `shots`", "增加条目，或减小 `shots`";
}
