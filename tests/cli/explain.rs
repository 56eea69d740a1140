//! `explain` in both languages.

use serde_json::Value;

use crate::case::Case;

#[test]
fn codes_and_keys_are_explained() {
    let case = Case::new();
    let explained = |name: &str| case.statetune(&["explain", name]);
    let expected = "\
ST1204: an escape in single quotes

TOML does not process escapes in single quotes: `'\\n'` is a backslash and an n. In double quotes it is a line break. A prompt
without line breaks differs from the text that the model was trained on, so answers get worse without any error.";
    explained("st1204").succeeds(expected, "");
    let expected = "\
schedule.lr_init

  Learning rate after the warmup, above 0; or `auto`: found by a range test when the run starts. States start at zero and need a far larger rate than weights, usually 1.0.

  type     a number or a string
  default  none; required
  range    above 0
  unit     no unit

  choices
    auto  The rate that a range test finds.";
    explained("lr_init").succeeds(expected, "");
    let output = explained("peft.alpha");
    assert!(output.stdout.contains("\n  used by  peft.type = lora\n"), "{}", output.stdout);
    let output = explained("lr_inti");
    let expected = "\
error[ST1102]: `lr_inti` is neither a message code nor a key of the experiment file
  |
  = help: did you mean `lr_init`?";
    assert_eq!((output.code, output.stderr.trim_end()), (Some(2), expected));
    let output = case.statetune(&["explain", "--all", "--format", "json"]);
    let all: Value = serde_json::from_str(&output.stdout).expect("an object");
    assert_eq!(all["schema"], "statetune.explain/1");
    assert!(all["codes"].as_array().expect("a list").len() > 100);
    let keys = all["keys"].as_array().expect("a list");
    assert!(keys.iter().any(|one| one["key"] == "sample.probe[0].regex"));
}

#[test]
fn a_code_in_chinese() {
    let expected = "\
ST1204: 单引号中的转义

TOML 不处理单引号中的转义：`'\\n'` 是反斜杠加字母 n。在双引号中它才是换行。没有换行的提示词与模型训练时的文本不同，因此回答会变差，
而且没有任何报错。";
    let case = Case::new();
    case.statetune(&["explain", "st1204", "--lang", "zh"]).succeeds(expected, "");
    case.statetune_with(&["explain", "ST1204"], &[("STATETUNE_LANG", "zh")]).succeeds(expected, "");
}

#[test]
fn a_key_with_choices_in_chinese() {
    let expected = "\
schedule.lr_schedule

  从 `lr_init` 到 `lr_final` 的曲线。

  类型    字符串
  默认值  \"cos\"

  选项
    cos       半个余弦波。
    exp       指数：每一步把学习率乘以同一个因子。
    linear    直线。
    wsd       预热、稳定、衰减：一直是 `lr_init`，到运行的最后一些步沿直线降到 `lr_final`。
    constant  所有步都是 `lr_init`。";
    Case::new().statetune(&["--lang", "zh", "explain", "lr_schedule"]).succeeds(expected, "");
}

#[test]
fn a_key_with_range_and_unit_in_chinese() {
    let expected = "\
schedule.lr_init

  预热之后的学习率，大于 0；或写 `auto`：运行开始时由学习率测试找到。状态从零开始，所需的学习率远大于权重，通常取 1.0。

  类型    数字或字符串
  默认值  无；必须写
  范围    大于 0
  单位    无单位

  选项
    auto  由学习率测试找到的值。";
    let case = Case::new();
    case.statetune(&["explain", "lr_init", "--lang", "zh"]).succeeds(expected, "");
    let expected = "\
peft.alpha

  更新的缩放系数 `alpha / rank` 的分子，大于 0。

  类型    数字
  默认值  64.0
  范围    大于 0
  单位    无单位
  适用于  peft.type = lora";
    case.statetune(&["explain", "peft.alpha", "--lang", "zh"]).succeeds(expected, "");
}

#[test]
fn everything_in_chinese_but_nothing_for_programs() {
    let case = Case::new();
    let explained = |lang, format| {
        let output = case.statetune(&["explain", "--all", "--format", format, "--lang", lang]);
        output.is_done();
        output.stdout
    };
    assert_eq!(explained("zh", "json"), explained("en", "json"));
    let [english, chinese] = ["en", "zh"].map(|lang| explained(lang, "human"));
    let codes = |text: &str| text.lines().filter(|line| line.starts_with("ST")).count();
    assert_eq!(codes(&chinese), codes(&english));
    // A line that has words and no Chinese is a key, which stands alone, as in English.
    let plain = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.is_empty() && line.is_ascii());
        lines.map(str::to_owned).collect()
    };
    let english: Vec<String> = plain(&english);
    let left: Vec<String> = plain(&chinese).into_iter().filter(|line| line.contains(' ')).collect();
    assert!(left.is_empty(), "{left:?}");
    let keys = plain(&chinese);
    assert!(keys.len() > 100 && keys.iter().all(|key| english.contains(key)), "{keys:?}");
}
