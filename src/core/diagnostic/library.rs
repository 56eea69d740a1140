//! Chinese for the English texts of libraries and of the operating system.

use std::borrow::Cow;

/// Texts as libraries write them, at most one `{}` each for what they insert, and the same in Chinese.
const TEXTS: &[(&str, &str)] = &[
    ("No such file or directory", "没有这个文件或目录"),
    ("Permission denied", "没有权限"),
    ("File exists", "文件已存在"),
    ("Not a directory", "不是目录"),
    ("Is a directory", "是一个目录"),
    ("Invalid argument", "参数无效"),
    ("File too large", "文件过大"),
    ("No space left on device", "磁盘空间不足"),
    ("Read-only file system", "文件系统只读"),
    ("File name too long", "文件名过长"),
    ("Too many open files", "打开的文件过多"),
    ("Cannot allocate memory", "内存不足"),
    ("Input/output error", "输入输出错误"),
    ("stream did not contain valid UTF-8", "内容不是有效的 UTF-8"),
    ("EOF while parsing a value", "内容在值中间结束"),
    ("EOF while parsing a list", "内容在列表中间结束"),
    ("EOF while parsing an object", "内容在对象中间结束"),
    ("EOF while parsing a string", "内容在字符串中间结束"),
    ("missing field `{}`", "缺少字段 `{}`"),
    ("expected `,` or `}`", "此处应为 `,` 或 `}`"),
    ("expected `,` or `]`", "此处应为 `,` 或 `]`"),
    ("expected `:`", "此处应为 `:`"),
    ("expected value", "此处应为值"),
    ("expected ident", "此处应为 true、false 或 null"),
    ("key must be a string", "键必须是字符串"),
    ("trailing comma", "末尾多了逗号"),
    ("trailing characters", "后面有多余的字符"),
    ("invalid escape", "转义无效"),
    ("invalid number", "数字无效"),
    ("invalid unicode code point", "Unicode 码点无效"),
    (
        "control character (\\u0000-\\u001F) found while parsing a string",
        "字符串中有控制字符 (\\u0000-\\u001F)",
    ),
    ("number out of range", "数字超出范围"),
    ("recursion limit exceeded", "嵌套过深"),
    ("duplicate key", "键重复"),
    ("key with no value", "键没有值"),
    ("unclosed table", "表头没有闭合"),
    ("unclosed array", "数组没有闭合"),
    ("unclosed inline table", "行内表没有闭合"),
    ("missing escaped value", "转义后缺少字符"),
    ("missing comma between key-value pairs", "键值对之间缺少逗号"),
    ("missing comma between array elements", "数组元素之间缺少逗号"),
    ("missing assignment between key-value pairs", "键和值之间缺少等号"),
    ("missing value for key", "键没有值"),
    ("invalid unquoted key", "未加引号的键不合法"),
    ("invalid basic string", "字符串不合法"),
    ("invalid literal string", "字面字符串不合法"),
    ("invalid key", "键不合法"),
    ("integer number overflowed", "整数溢出"),
    ("unexpected leading zero", "多余的前导零"),
    ("unexpected key or value", "多余的键或值"),
    ("unquoted string", "字符串没有引号"),
    ("letters, numbers, {}", "字母、数字、{}"),
    ("unclosed character class", "字符类没有闭合"),
    ("unclosed group", "分组没有闭合"),
    ("unopened group", "分组没有开头"),
    ("repetition operator missing expression", "重复符号前缺少表达式"),
    ("can't allocate memory: you tried to allocate {} bytes", "无法分配 {} 字节内存"),
];

/// The text in Chinese where the table has it, else as it is. The number of a system error and the place in a JSON
/// text are kept.
pub(super) fn in_chinese(text: &str) -> Cow<'_, str> {
    if let Some((reason, number)) = text.rsplit_once(" (os error ") {
        return Cow::Owned(format!("{} (os error {number}", in_chinese(reason)));
    }
    if let Some((problem, place)) = text.rsplit_once(" at line ")
        && let Some((line, column)) = place.split_once(" column ")
    {
        return Cow::Owned(format!("{}，第 {line} 行第 {column} 列", in_chinese(problem)));
    }
    for (english, chinese) in TEXTS {
        match english.split_once("{}") {
            None if *english == text => return Cow::Borrowed(*chinese),
            None => {}
            Some((before, after)) => {
                let inserted = text.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
                if let Some(inserted) = inserted {
                    return Cow::Owned(chinese.replace("{}", inserted));
                }
            }
        }
    }
    Cow::Borrowed(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_texts_are_said_in_chinese() {
        let said = "没有这个文件或目录 (os error 2)";
        assert_eq!(in_chinese("No such file or directory (os error 2)"), said);
        let said = "缺少字段 `a`，第 1 行第 2 列";
        assert_eq!(in_chinese("missing field `a` at line 1 column 2"), said);
        assert_eq!(in_chinese("something else"), "something else");
    }
}
