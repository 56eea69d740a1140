//! Turns that are nearly found, unknown role words, blank lines in questions: what is said about them, and every help
//! followed to the letter.

use std::fs;

use regex::Regex;
use serde_json::{Value, json};

use crate::case::{Case, Output, STATE};

/// A case with these texts as documents, each with a number so that none repeats another.
fn case_of(texts: &[&str]) -> Case {
    let lines = texts.iter().map(|text| json!({ "text": text }).to_string() + "\n");
    Case::new().having("data.jsonl", lines.collect::<String>())
}

/// The arguments of a command with settings, in a sample that holds any of the documents here.
fn with<'a>(command: &[&'a str], settings: &[&'a str]) -> Vec<&'a str> {
    let settings = settings.iter().flat_map(|setting| ["--set", setting]);
    let long = ["--set", "train.ctx_len=512"];
    command.iter().copied().chain(long).chain(settings).collect()
}

fn check(case: &Case, settings: &[&str]) -> Output {
    case.statetune(&with(&["data", "check", STATE], settings))
}

/// The target texts of a document, without white space around.
fn targets(case: &Case, settings: &[&str], line: usize) -> Vec<String> {
    let line = line.to_string();
    let output = case.statetune(&with(&["data", "show", STATE, "--line", &line], settings));
    assert_eq!(output.code, Some(0), "{output:?}");
    let target = Regex::new(r"(?s)\[\[(.*?)\]\]").expect("a valid expression");
    let is_white = |one: char| one.is_whitespace() || one == '␍';
    let found = target.captures_iter(&output.stdout);
    let found = found.map(|found| found[1].trim_matches(is_white).to_owned());
    found.filter(|text| *text != "<end>").collect()
}

/// The values of `data.template` that helps name, each once.
fn templates(stderr: &str) -> Vec<String> {
    let help =
        Regex::new(r"= help: set `data\.template = (.*?)`(?:$|,| )").expect("a valid expression");
    let mut found: Vec<String> =
        stderr.lines().filter_map(|line| Some(help.captures(line)?[1].to_owned())).collect();
    found.dedup();
    found
}

/// Follows every help about turns of the documents, and checks that no message about turns is left and that each
/// document has these targets. Returns the number of helps followed.
#[track_caller]
fn follow(case: &Case, settings: &[&str], expected: &[&[&str]]) -> usize {
    let output = check(case, settings);
    let is_sound = |settings: &[&str]| {
        let output = check(case, settings);
        for code in ["ST3102", "ST3103", "ST3106", "ST3107", "ST3108"] {
            assert!(!output.stderr.contains(code), "{settings:?}: {}", output.stderr);
        }
        for (index, expected) in expected.iter().enumerate() {
            assert_eq!(targets(case, settings, index + 1), *expected, "{settings:?}, {index}");
        }
    };
    let mut followed = 0;
    for template in templates(&output.stderr) {
        let setting = format!("data.template={template}");
        is_sound(&[settings, &[&setting]].concat());
        followed += 1;
    }
    if output.stderr.contains(" --fix` writes a copy") {
        let fixed = case.statetune(&with(&["data", "check", STATE, "--fix"], settings));
        assert!(fixed.stderr.contains("wrote data.fixed.jsonl"), "{}", fixed.stderr);
        is_sound(&[settings, &["data.data_file=data.fixed.jsonl"]].concat());
        fs::remove_file(case.path("data.fixed.jsonl")).expect("it was written");
        followed += 1;
    }
    if output.stderr.contains("= help: set `data.clean_turns = true`") {
        is_sound(&[settings, &["data.clean_turns=true"]].concat());
        followed += 1;
    }
    followed
}

const PAIRS: &str = "User: a?\n\nAssistant: b\n\nUser: c?\n\nAssistant: d";

#[test]
fn a_question_that_would_be_target_text() {
    let text = "User: a?\n\nAssistant: b\nUser: c?\nAssistant: d";
    let case = case_of(&[text]);
    let output = check(&case, &[]);
    assert_eq!(output.code, Some(0));
    assert_eq!(
        output.stderr.trim_end(),
        r#"warning[ST3106]: `User:` in line 1 of `data.jsonl` does not open a turn
 --> data.jsonl:1:36
  |
1 | {"text":"User: a?\n\nAssistant: b\nUser: c?\nAssistant: d"}
  |                                    ^^^^^ after a single line break, not a blank line
  |
  = note: the turn counts as part of the answer before it, so it is target text
  = help: `statetune data check state.toml --set train.ctx_len=512 --fix` writes a copy with 1 of these documents fixed; set `data.data_file` to the copy
  = help: set `data.template = { extends = "rwkv-qa", separator = "\n" }`"#
    );
    assert_eq!(
        output.stdout.trim_end(),
        "state.toml: 1 document\nwarning  ST3106       1  documents have role words that do not open a turn"
    );
    assert_eq!(follow(&case, &[], &[&["b", "d"]]), 2);
    let output = case.statetune(&with(&["data", "show", STATE, "--line", "1"], &[]));
    assert!(
        output.stdout.contains("Assistant:[[ b\n]]??User:??[[ c?\n]]??Assistant:??[[ d]]"),
        "{}",
        output.stdout
    );
    assert!(
        output.stdout.contains("`??User:??` does not open a turn: after a single line break"),
        "{}",
        output.stdout
    );
}

/// `data check`, `plan` and `run` say the same; the first place is in the source.
#[test]
fn plan_and_run_say_it_too() {
    let texts: Vec<String> = (0..20)
        .map(|i| match i {
            0 => PAIRS.replace("a?", "who?"),
            _ => format!("User: a{i}?\n\nAssistant: b\nUser: c?\nAssistant: d"),
        })
        .collect();
    let case = case_of(&texts.iter().map(String::as_str).collect::<Vec<_>>());
    for command in [&["plan", STATE, "--prepare"][..], &["run", STATE]] {
        let output = case.statetune(&with(command, &[]));
        assert_eq!(output.code, Some(0), "{output:?}");
        for part in [
            "warning[ST3106]: 15 of 16 documents have role words that do not open a turn\n --> data.jsonl:",
            "after a single line break, not a blank line",
            "role words that do not open a turn: `User:` after a single line break, not a blank line (15)",
            "help: `statetune data check state.toml --set train.ctx_len=512 --fix` writes a copy with 15 of these documents fixed",
            "help: set `data.template = { extends = \"rwkv-qa\", separator = \"\\n\" }`",
        ] {
            assert!(output.stderr.contains(part), "{part}\nin\n{}", output.stderr);
        }
    }
    let plan = case.statetune(&with(&["plan", STATE], &[]));
    assert!(plan.stdout.contains("ST3106 15 of 16 documents"), "{}", plan.stdout);
    // The user may know better.
    let case = case.with(
        STATE,
        "loss_mask = \"assistant\"",
        "loss_mask = \"assistant\" # statetune: allow(ST3106)",
    );
    let output = case.statetune(&with(&["plan", STATE], &[]));
    assert_eq!(output.stderr, "");
}

/// What people write for a turn from the second pair on.
#[test]
fn every_near_miss_is_found_and_fixed() {
    for (written, why) in [
        ("\nUser: c?\nAssistant:", "after a single line break"),
        ("\r\nUser: c?\r\nAssistant:", "after a single line break"),
        ("\r\n\r\nUser: c?\r\n\r\nAssistant:", "blank line with blanks or carriage returns"),
        ("\n \nUser: c?\n\t\nAssistant:", "blank line with blanks or carriage returns"),
        ("\n\nUser：c?\n\nAssistant：", "full-width colon"),
        ("\n\nUser： c?\n\nAssistant： ", "full-width colon"),
        ("\n\nUser : c?\n\nAssistant :", "blanks before the colon"),
        ("\n\nuser: c?\n\nassistant:", "in other upper and lower case"),
        ("\n\nUSER: c?\n\nASSISTANT:", "in other upper and lower case"),
        ("\n\n**User:** c?\n\n**Assistant:**", "with Markdown marks"),
        ("\n\n**User**: c?\n\n**Assistant**:", "with Markdown marks"),
        ("\n\n### User: c?\n\n### Assistant:", "with Markdown marks"),
        ("\n\n  User: c?\n\n  Assistant:", "indented"),
        (
            "\n**User:** c?\n**Assistant:**",
            "after a single line break, not a blank line, with Markdown",
        ),
    ] {
        let texts: Vec<String> = ["a", "e", "f"]
            .iter()
            .map(|first| format!("User: {first}?\n\nAssistant: b{written} d"))
            .collect();
        let case = case_of(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let output = check(&case, &[]);
        assert!(output.stdout.contains("ST3106       3"), "{written:?}: {output:?}");
        assert!(output.stderr.contains(why), "{written:?}: {}", output.stderr);
        assert!(output.stderr.contains("target text"), "{written:?}: {}", output.stderr);
        let followed = follow(&case, &[], &[&["b", "d"], &["b", "d"], &["b", "d"]]);
        assert!(followed > 0, "{written:?}: {}", output.stderr);
    }
}

#[test]
fn a_word_that_an_answer_quotes_is_left_alone() {
    let text = "User: Which key?\n\nAssistant: Write a line\nUser: your name";
    let case = case_of(&[text]);
    let output = check(&case, &[]);
    assert!(output.stderr.contains("warning[ST3106]"), "{}", output.stderr);
    assert!(!output.stderr.contains("help: `statetune data check"), "{}", output.stderr);
    assert_eq!(templates(&output.stderr), Vec::<String>::new());
    let output = case.statetune(&with(&["data", "check", STATE, "--fix"], &[]));
    assert!(output.stderr.contains("data.jsonl: no lines to fix"), "{}", output.stderr);
    let yaml = "User: A service?\n\nAssistant: x:\n  user: root\nassistants: 2";
    check(&case_of(&[yaml]), &[]).succeeds("state.toml: 1 document  no findings", "");
}

/// Documents of which no answer is found.
#[test]
fn other_role_words() {
    for (user, assistant, helps) in [
        (
            "Q:",
            "A:",
            &["{ extends = \"rwkv-qa\", aliases = { user = [\"Q\"], assistant = [\"A\"] } }"][..],
        ),
        (
            "Bob:",
            "Alice:",
            &["{ extends = \"rwkv-qa\", aliases = { user = [\"Bob\"], assistant = [\"Alice\"] } }"],
        ),
        ("Human:", "Assistant:", &["{ extends = \"rwkv-qa\", aliases = { user = [\"Human\"] } }"]),
        ("User:", "Bot:", &["{ extends = \"rwkv-qa\", aliases = { assistant = [\"Bot\"] } }"]),
        (
            "Human:",
            "AI:",
            &["{ extends = \"rwkv-qa\", aliases = { user = [\"Human\"], assistant = [\"AI\"] } }"],
        ),
        (
            "用户：",
            "助手：",
            &[
                "{ extends = \"rwkv-qa\", aliases = { user = [\"用户：\"], assistant = [\"助手：\"] } }",
            ],
        ),
        (
            "用户:",
            "助手:",
            &["{ extends = \"rwkv-qa\", aliases = { user = [\"用户\"], assistant = [\"助手\"] } }"],
        ),
        (
            "user:",
            "assistant:",
            &[
                "{ extends = \"rwkv-qa\", aliases = { user = [\"user\"], assistant = [\"assistant\"] } }",
            ],
        ),
        (
            "User：",
            "Assistant：",
            &[
                "{ extends = \"rwkv-qa\", aliases = { user = [\"User：\"], assistant = [\"Assistant：\"] } }",
            ],
        ),
        (
            "**User:**",
            "**Assistant:**",
            &[
                "{ extends = \"rwkv-qa\", roles = { user = \"**User:**\", assistant = \"**Assistant:**\" } }",
            ],
        ),
        ("Instruction:", "Response:", &["\"instruction\""]),
        ("### Instruction:\n", "### Response:\n", &["\"alpaca\""]),
    ] {
        let texts: Vec<String> = ["a", "e"]
            .iter()
            .map(|a| format!("{user} {a}?\n\n{assistant} b!\n\n{user} not {a}?\n\n{assistant} d"))
            .collect();
        let case = case_of(&texts.iter().map(String::as_str).collect::<Vec<_>>());
        let output = check(&case, &[]);
        assert_eq!(templates(&output.stderr), helps, "{user}: {}", output.stderr);
        let followed = follow(&case, &[], &[&["b!", "d"], &["b!", "d"]]);
        assert!(followed > 0, "{user}: {}", output.stderr);
        // A run that would refuse the data names the same help.
        let output = case.statetune(&with(&["plan", STATE, "--prepare"], &[]));
        assert_eq!(templates(&output.stderr), helps, "{user}: {}", output.stderr);
    }
}

/// The first help of ST3102, and where the word is.
#[test]
fn full_width_colons_are_named() {
    let case = case_of(&["User：你好\n\nAssistant：你好！"]);
    let output = check(&case, &[]);
    assert_eq!(output.code, Some(20));
    for part in [
        "error[ST3102]: line 1 of `data.jsonl` has no target tokens",
        "note: role words that do not open a turn: `Assistant：` full-width colon (1)",
        "help: `statetune data check state.toml --set train.ctx_len=512 --fix` writes a copy with 1 of these documents fixed",
    ] {
        assert!(output.stderr.contains(part), "{part}\nin\n{}", output.stderr);
    }
    assert!(!output.stderr.contains("no turn begins with a word and a colon"), "{}", output.stderr);
}

#[test]
fn a_help_is_right_or_absent() {
    for texts in [
        &["Bob: a\n\nAlice: b", "Alice: c\n\nBob: d"][..],
        &["Bob: a\n\nAlice: b\n\nCarol: c"],
        &["User: a\n\nThought: b"],
        &["just text"],
    ] {
        let output = check(&case_of(texts), &[]);
        assert!(output.stderr.contains("ST3102"), "{}", output.stderr);
        let helps = templates(&output.stderr);
        assert!(helps.is_empty() || texts[0].contains("Thought"), "{helps:?}");
    }
    // With both roles known, a word that opens paragraphs needs no role.
    let note = "User: a\n\nAssistant: b\n\nNote: c";
    let output = check(&case_of(&[note, &note.replace(": a", ": d"), PAIRS]), &[]);
    assert!(output.stderr.contains("`Note:` starts turns in 2 of 3 documents"), "{output:?}");
    assert_eq!(templates(&output.stderr), Vec::<String>::new());
}

#[test]
fn another_built_in_template_is_named_with_its_count() {
    let case = case_of(&[PAIRS, &PAIRS.replace("a?", "e?")]);
    let alpaca = "data.template=\"alpaca\"";
    let output = check(&case, &[alpaca]);
    let help =
        "help: set `data.template = \"rwkv-qa\"`, which finds the answers of 2 of 2 documents";
    assert!(output.stderr.contains(help), "{}", output.stderr);
    let case = case_of(&["Instruction: a\n\nInput: b\n\nResponse: c"]);
    let output = check(&case, &[]);
    let help =
        "help: set `data.template = \"instruction\"`, which finds the answers of 1 of 1 documents";
    assert!(output.stderr.contains(help), "{}", output.stderr);
    assert_eq!(follow(&case, &[], &[&["c"]]), 1);
}

/// Aliases that the file has stay in the help.
#[test]
fn a_help_keeps_what_was_changed() {
    let case = case_of(&["Q: a?\n\nA: b\n\nQ: c?\n\nA: d"]);
    let one = "data.template={ extends = \"rwkv-qa\", aliases = { assistant = [\"A\"] } }";
    let output = check(&case, &[one]);
    assert!(output.stderr.contains("warning[ST3103]: `Q:` starts turns in 1 of 1"), "{output:?}");
    assert_eq!(
        templates(&output.stderr),
        ["{ extends = \"rwkv-qa\", aliases = { user = [\"Q\"], assistant = [\"A\"] } }"]
    );
    assert_eq!(follow(&case, &[one], &[&["b", "d"]]), 1);
    let output = case.statetune(&with(&["plan", STATE, "--prepare"], &[one, "data.val_split=0"]));
    assert!(output.stderr.contains("warning[ST3103]"), "{output:?}");
}

#[test]
fn blank_lines_within_questions() {
    for text in [
        "User: a\n\nb\n\nAssistant: c\n\nd",
        "System: a\n\n\nb\n\nUser: e\n\nAssistant: c\n\nd",
        "User: a\r\n\r\nb\n\nAssistant: c\n\nd",
    ] {
        let case = case_of(&[text]);
        let output = check(&case, &[]);
        assert_eq!(output.code, Some(0));
        let message = "warning[ST3107]: line 1 of `data.jsonl` has a blank line within a question or system prompt";
        assert!(output.stderr.contains(message), "{text:?}: {}", output.stderr);
        assert_eq!(follow(&case, &[], &[&["c\n\nd"]]), 2, "{text:?}");
        let output = case.statetune(&with(&["plan", STATE, "--prepare"], &["data.val_split=0"]));
        let message =
            "warning[ST3107]: 1 of 1 documents has blank lines within a question or system prompt";
        assert!(output.stderr.contains(message), "{text:?}: {}", output.stderr);
        let clean = ["data.val_split=0", "data.clean_turns=true"];
        let output = case.statetune(&with(&["plan", STATE, "--prepare"], &clean));
        assert_eq!(output.stderr, "");
    }
    let messages = json!({ "messages": [
        { "role": "user", "content": " a\r\n\n\nb " },
        { "role": "assistant", "content": "c\n\nd" },
    ] });
    let case = Case::new().having("data.jsonl", messages.to_string());
    assert_eq!(follow(&case, &[], &[&["c\n\nd"]]), 2);
    let output =
        case.statetune(&with(&["data", "show", STATE, "--line", "1"], &["data.clean_turns=true"]));
    assert!(output.stdout.contains("User: a\nb\n\nAssistant:[[ c\n\nd]]"), "{}", output.stdout);
}

/// A prompt of the G1 models, and what is target text after it.
#[test]
fn templates_of_the_g1_models() {
    let tools = "System: Tools:\n[]\nReturn only JSON.\n\nUser: 2+3?\n\nAssistant: <think>\n</think>\n```json\n{\"name\":\"add\",\"arguments\":{\"a\":2}}\n```\n\nUser: Function output:\n{\"sum\":5}\n\nAssistant: <think>\n</think>\n5";
    let case = case_of(&[
        tools,
        "User: 2+2?\n\nAssistant: <think>\nsum\n</think>\n4",
        "User: 2+2?\n\nAssistant: 4",
    ]);
    let g1 = "data.template=\"g1-think\"";
    let call = "```json\n{\"name\":\"add\",\"arguments\":{\"a\":2}}\n```";
    assert_eq!(targets(&case, &[g1], 1), [format!(">\n{call}"), ">\n5".to_owned()]);
    assert_eq!(targets(&case, &[g1], 2), [">\nsum\n</think>\n4"]);
    let learn = |parts: &str| format!("data.learn={parts}");
    let answers = learn("[\"answer\"]");
    assert_eq!(targets(&case, &[g1, &answers], 1), [">\n5"]);
    assert_eq!(targets(&case, &[g1, &answers], 2), [">\n4"]);
    let reasoning = learn("[\"think\"]");
    assert_eq!(targets(&case, &[g1, &reasoning], 2), [">\nsum\n</think"]);
    let calls = learn("[\"tool_call\"]");
    assert_eq!(targets(&case, &[g1, &calls], 1), [format!(">\n{call}")]);

    let output = check(&case, &[g1]);
    let message = "warning[ST3108]: line 3 of `data.jsonl` has an answer without the think block of the template `g1-think`";
    assert!(output.stderr.contains(message), "{}", output.stderr);
    let output = case.statetune(&with(&["data", "check", STATE, "--fix"], &[g1]));
    assert!(output.stderr.contains("wrote data.fixed.jsonl"), "{}", output.stderr);
    let fixed = [g1, "data.data_file=data.fixed.jsonl"];
    assert!(!check(&case, &fixed).stderr.contains("ST3108"));
    assert_eq!(targets(&case, &fixed, 3), [">\n4"]);
    // The other way round: reasoning that the template does not expect.
    let output = check(&case, &[]);
    let message = "warning[ST3108]: line 2 of `data.jsonl` has reasoning in a think block, which the template `rwkv-qa` does not expect";
    assert!(output.stderr.contains(message), "{}", output.stderr);
}

#[test]
fn parts_of_answers_need_a_mask_of_answers() {
    let output = check(&case_of(&[PAIRS]), &["data.loss_mask=pad", "data.learn=[\"answer\"]"]);
    assert_eq!(output.code, Some(2));
    assert!(output.stderr.contains("error[ST2148]"), "{}", output.stderr);
    let output = check(&case_of(&[PAIRS]), &["data.learn=[]"]);
    assert_eq!(output.code, Some(2), "{}", output.stderr);
}

#[test]
fn reasoning_never_loses_its_end_in_silence() {
    let reasoning = "so ".repeat(60);
    let text = format!("User: 2+2?\n\nAssistant: <think>\n{reasoning}\n</think>\n4");
    let case = case_of(&[&text]);
    let settings =
        |overlong| ["data.template=\"g1-think\"", "data.val_split=0", "train.ctx_len=64", overlong];
    for overlong in ["data.overlong=truncate", "data.overlong=split"] {
        let settings = settings(overlong);
        let output = check(&case, &settings);
        let message = "warning[ST3109]: line 1 of `data.jsonl` loses the end of its reasoning at `train.ctx_len`";
        assert!(output.stderr.contains(message), "{}", output.stderr);
        let output = case.statetune(&with(&["plan", STATE, "--prepare"], &settings));
        let message =
            "warning[ST3109]: 1 of 1 documents loses the end of its reasoning at `train.ctx_len`";
        assert!(output.stderr.contains(message), "{}", output.stderr);
    }
    let output = check(&case, &settings("data.overlong=error"));
    assert_eq!(output.code, Some(20));
    let long = ["data.template=\"g1-think\"", "data.overlong=truncate"];
    assert!(!check(&case, &long).stderr.contains("ST3109"));
}

/// The weights say which template their documents had, where the file is silent.
#[test]
fn the_template_follows_the_weights() {
    let base = fs::read(Case::new().path("base.pth")).expect("the weights");
    let case = case_of(&["User: 2+2?\n\nAssistant: <think>\n</think>\n4", PAIRS])
        .having("rwkv7-g1a-tiny.pth", &base)
        .with(STATE, "base.pth", "rwkv7-g1a-tiny.pth");
    let output = case.statetune(&with(&["plan", STATE, "--prepare"], &["data.val_split=0"]));
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("template  g1 (from the name of the weights)"), "{output:?}");
    let disagree = "warning[ST3108]: 1 of 2 documents has answers without the think block of the template `g1`";
    assert!(output.stderr.contains(disagree), "{}", output.stderr);
    let output = case.statetune(&with(&["run", STATE], &["data.val_split=0"]));
    assert!(output.stderr.contains(disagree), "{output:?}");
    let resolved = case.read(case.only_run().join("resolved.toml"));
    assert!(resolved.contains("template = \"g1\"  # name of the weights"), "{resolved}");

    let output = case.statetune(&["check", STATE, "--set", "data.template=\"rwkv-qa\""]);
    let lint =
        "warning[ST2302]: the weights are of the G1 series, but `data.template` is `rwkv-qa`";
    assert!(output.stderr.contains(lint), "{}", output.stderr);
    assert_eq!(output.code, Some(0));

    case.write(
        "rwkv7-g1a-tiny.json",
        json!({ "schema": "statetune.passport/1", "template": "User: {}\n\nAssistant: <think" })
            .to_string(),
    );
    let output = case.statetune(&with(&["plan", STATE], &["data.val_split=0"]));
    let said = "template  g1-think (from the passport of the weights)";
    assert!(output.stdout.contains(said), "{output:?}");
}

#[test]
fn models_that_think() {
    let base = fs::read(Case::new().path("base.pth")).expect("the weights");
    let case = Case::new().having("rwkv7-g1-tiny.pth", &base);
    let say = |more: &[&str]| {
        let files = ["generate", "--model", "rwkv7-g1-tiny.pth", "--tokenizer", "vocab.txt"];
        let question = ["-p", "Why?\n\nSay", "--max-tokens", "4", "--format", "json"];
        let output = case.statetune(&[&files[..], &question, more].concat());
        assert_eq!(output.code, Some(0), "{output:?}");
        let object: Value = serde_json::from_str(&output.stdout).expect("JSON");
        object["prompt"].as_str().expect("a text").to_owned()
    };
    assert_eq!(say(&[]), "User: Why?\nSay\n\nAssistant: <think>\n</think");
    assert_eq!(say(&["--think=none"]), "User: Why?\nSay\n\nAssistant: <think>\n</think");
    assert_eq!(say(&["--think"]), "User: Why?\nSay (think)\n\nAssistant: <think");
    assert_eq!(say(&["--think=short"]), "User: Why?\nSay (think a bit)\n\nAssistant: <think");
    assert_eq!(say(&["--think=long"]), "User: Why?\nSay (think a lot)\n\nAssistant: <think");

    let talk = ["chat", "--model", "rwkv7-g1-tiny.pth", "--tokenizer", "vocab.txt", "--think"];
    let output = case.statetune_reading(&[&talk[..], &["--max-tokens", "3"]].concat(), "hi\nyo\n");
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.starts_with("<think"), "{output:?}");

    let plain = ["generate", "--model", "base.pth", "--tokenizer", "vocab.txt", "--think"];
    let output = case.statetune(&plain);
    assert_eq!(output.code, Some(2));
    assert_eq!(
        output.stderr.trim_end(),
        "\
error[ST0126]: `--think` only applies to models with a think block; the template is `rwkv-qa`
  |
  = help: models of the templates `g1` and `g1-think` have one; name a run with such a template, or weights with `g1` in their file name"
    );
}

/// `init` for one long text: nothing of it is lost.
#[test]
fn a_long_text_is_split() {
    let case = Case::new().having("story.txt", "Once upon a time. ".repeat(120));
    let output = case.statetune(&[
        "init",
        "--yes",
        "--data",
        "story.txt",
        "--model",
        "base.pth",
        "--tokenizer",
        "vocab.txt",
        "--name",
        "s",
    ]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let file = case.read("s.toml");
    assert!(file.contains("overlong = \"split\""), "{file}");
    let plan = |more: &[&str]| case.coverage("s.toml", more);
    let whole = plan(&[]);
    assert!(whole.contains(" 100 % of 1 copy"), "{whole}");
    let cut = plan(&["--set", "data.overlong=truncate"]);
    let share = Regex::new(r" (\d+) % of the [\d,]+ tokens of 1 copy").expect("a valid expression");
    let share = share.captures(&cut).unwrap_or_else(|| panic!("{cut}"));
    assert!(share[1].parse::<u32>().expect("a number") < 20, "{cut}");

    let notes = json!({ "text": "Once upon a time. ".repeat(120) }).to_string();
    let case = Case::new().having("notes.jsonl", notes);
    for (data, overlong) in [("notes.jsonl", "split"), ("data.jsonl", "truncate")] {
        let name = format!("of-{overlong}");
        let output = case.statetune(&["init", "--yes", "--data", data, "--name", &name]);
        assert_eq!(output.code, Some(0), "{output:?}");
        let file = case.read(format!("{name}.toml"));
        assert!(file.contains(&format!("overlong = \"{overlong}\"")), "{file}");
    }
}
