//! Conversations by shape: what records of every shape become, which keys they leave out, and every help followed to
//! the letter.

use regex::Regex;
use serde_json::{Value, json};

use crate::case::{Case, Output, STATE};

/// Settings with which any of the documents here fits, and answers are learned.
const USUAL: [&str; 4] =
    ["train.ctx_len=1024", "data.val_split=0", "data.loss_mask=assistant", "data.overlong=error"];

fn case_of(records: &[Value]) -> Case {
    let lines = records.iter().map(|record| record.to_string() + "\n");
    Case::new().having("data.jsonl", lines.collect::<String>())
}

fn with(case: &Case, command: &[&str], settings: &[&str]) -> Output {
    let settings = USUAL.iter().chain(settings).flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = command.iter().copied().chain(settings).collect();
    case.statetune(&arguments)
}

fn check(case: &Case, settings: &[&str]) -> Output {
    with(case, &["data", "check", STATE], settings)
}

fn show(case: &Case, line: usize, settings: &[&str]) -> String {
    let line = line.to_string();
    let output = with(case, &["data", "show", STATE, "--line", &line], settings);
    assert_eq!(output.code, Some(0), "{output:?}");
    output.stdout
}

/// The target texts of a document.
fn targets(case: &Case, line: usize, settings: &[&str]) -> Vec<String> {
    let target = Regex::new(r"(?s)\[\[(.*?)\]\]").expect("a valid expression");
    let shown = show(case, line, settings);
    let found = target.captures_iter(&shown).map(|found| found[1].trim().to_owned());
    found.filter(|text| *text != "<end>").collect()
}

/// The values that helps give to a key, as settings.
fn helps(stderr: &str, key: &str) -> Vec<String> {
    let help =
        Regex::new(&format!(r"set `({} = .*?)`", regex::escape(key))).expect("an expression");
    help.captures_iter(stderr).map(|found| found[1].replace(" = ", "=")).collect()
}

/// The prepared data as files.
fn exported(case: &Case, settings: &[&str]) -> [Vec<u8>; 2] {
    let command = ["data", "export", STATE, "--to", "binidx", "--out", "out", "--force"];
    let output = with(case, &command, settings);
    assert_eq!((output.code, &*output.stderr), (Some(0), ""), "{output:?}");
    ["out.bin", "out.idx"].map(|file| std::fs::read(case.path(file)).expect("a file"))
}

/// A conversation: a system prompt, functions, and turns.
struct Talk {
    system: &'static str,
    tools: bool,
    turns: Vec<Turn>,
}

enum Turn {
    Ask(&'static str),
    Answer(&'static str),
    /// Reasoning, and the answer.
    Think(&'static str, &'static str),
    /// Arguments of a call of `weather`.
    Call(Value),
    Result(&'static str),
}

fn talks() -> Vec<Talk> {
    use Turn::{Answer, Ask, Call, Result, Think};
    let talk = |system, turns| Talk { system, tools: false, turns };
    vec![
        talk("", vec![Ask("Hi"), Answer("Hello!")]),
        talk("Be kind.", vec![Ask("Hi"), Answer("Hello, my friend!")]),
        talk("", vec![Ask("a?"), Answer("b"), Ask("c?"), Answer("d")]),
        talk("Sei nett.", vec![Ask("eins"), Answer("zwei"), Ask("drei"), Answer("vier")]),
        talk("", vec![Ask("你好吗？"), Answer("我很好。\n\n你呢？")]),
        talk("", vec![Ask("👋🏽 \"quoted\" \\ back"), Answer("🙂🎉")]),
        talk("", vec![Ask("2+2?"), Think("two and two", "4")]),
        talk("", vec![Ask("one\ntwo"), Answer("- a\n- b")]),
        Talk {
            system: "",
            tools: true,
            turns: vec![
                Ask("Rain?"),
                Call(json!({ "city": "Ulm", "days": 1.5 })),
                Result("{\"rain\":true}"),
                Answer("Yes."),
            ],
        },
        Talk {
            system: "Use functions.",
            tools: true,
            turns: vec![
                Ask("Sun in 北京?"),
                Call(json!({ "city": "北京" })),
                Result("no"),
                Answer("No."),
            ],
        },
    ]
}

fn functions() -> Value {
    json!([{ "name": "weather", "description": "looks it up",
        "parameters": { "type": "object", "properties": { "city": { "type": "string" } } } }])
}

fn beside(talk: &Talk, record: &mut Value) {
    if !talk.system.is_empty() {
        record["system"] = talk.system.into();
    }
    if talk.tools {
        record["tools"] = functions();
    }
}

fn openai(talk: &Talk) -> Value {
    let mut messages = Vec::new();
    if !talk.system.is_empty() {
        messages.push(json!({ "role": "system", "content": talk.system }));
    }
    messages.extend(talk.turns.iter().map(|turn| match turn {
        Turn::Ask(text) => json!({ "role": "user", "content": text }),
        Turn::Answer(text) => json!({ "role": "assistant", "content": text }),
        Turn::Think(thought, text) => {
            json!({ "role": "assistant", "content": text, "reasoning_content": thought })
        }
        Turn::Call(arguments) => {
            let function = json!({ "name": "weather", "arguments": arguments.to_string() });
            let call = json!({ "id": "call_1", "type": "function", "function": function });
            json!({ "role": "assistant", "content": null, "tool_calls": [call] })
        }
        Turn::Result(text) => json!({ "role": "tool", "tool_call_id": "call_1", "content": text }),
    }));
    let mut record = json!({ "messages": messages });
    if talk.tools {
        let wrapped = functions().as_array().expect("a list").clone().into_iter();
        let wrapped = wrapped.map(|one| json!({ "type": "function", "function": one }));
        record["tools"] = wrapped.collect();
    }
    record
}

/// The messages with parts in place of texts, the system prompt beside them, and the old names of calls.
fn openai_of_old(talk: &Talk) -> Value {
    let mut record = openai(&Talk { system: "", tools: false, turns: Vec::new() });
    let messages = talk.turns.iter().map(|turn| match turn {
        Turn::Ask(text) => json!({ "role": "user", "content": [{ "type": "text", "text": text }] }),
        Turn::Answer(text) => json!({ "role": "assistant", "content": [text] }),
        Turn::Think(thought, text) => json!({ "role": "assistant", "content": [
            { "type": "thinking", "thinking": thought }, { "type": "text", "text": text },
        ] }),
        Turn::Call(arguments) => json!({ "role": "assistant", "content": "",
            "function_call": { "name": "weather", "arguments": arguments } }),
        Turn::Result(text) => json!({ "role": "function", "name": "weather", "content": text }),
    });
    record["messages"] = messages.collect();
    beside(talk, &mut record);
    record
}

fn sharegpt(talk: &Talk) -> Value {
    let list = talk.turns.iter().map(|turn| match turn {
        Turn::Ask(text) => json!({ "from": "human", "value": text }),
        Turn::Answer(text) => json!({ "from": "gpt", "value": text }),
        Turn::Think(thought, text) => {
            json!({ "from": "gpt", "value": format!("<think>{thought}</think>{text}") })
        }
        Turn::Call(arguments) => {
            let call = json!({ "name": "weather", "arguments": arguments });
            json!({ "from": "function_call", "value": call.to_string() })
        }
        Turn::Result(text) => json!({ "from": "observation", "value": text }),
    });
    let mut record = json!({ "conversations": list.collect::<Vec<_>>() });
    beside(talk, &mut record);
    if talk.tools {
        record["tools"] = functions().to_string().into();
    }
    record
}

/// Prompt and completion as lists of messages.
fn completion_of_messages(talk: &Talk) -> Value {
    let mut record = openai(talk);
    let mut messages = record["messages"].take().as_array().expect("a list").clone();
    let last = messages.pop();
    record.as_object_mut().expect("an object").shift_remove("messages");
    record["prompt"] = messages.into();
    record["completion"] = json!([last]);
    record
}

/// A text for the question and the answer, where the conversation has no more than these.
fn alpaca(talk: &Talk) -> Option<Value> {
    let mut said = Vec::new();
    for turn in &talk.turns {
        said.push(match turn {
            Turn::Ask(text) | Turn::Answer(text) => (*text).to_owned(),
            Turn::Think(thought, text) => format!("<think>\n{thought}\n</think>\n{text}"),
            Turn::Call(_) | Turn::Result(_) => return None,
        });
    }
    let (answer, question) = (said.pop()?, said.pop()?);
    let history: Vec<Value> = said.chunks(2).map(|pair| json!(pair)).collect();
    let mut record = json!({ "instruction": question, "input": "", "output": answer });
    if !history.is_empty() {
        record["history"] = history.into();
    }
    beside(talk, &mut record);
    Some(record)
}

/// The record of a conversation without history under other names.
fn renamed(record: &Value, question: &str, answer: &str) -> Option<Value> {
    if record.get("history").is_some() {
        return None;
    }
    let mut renamed = json!({ question: record["instruction"], answer: record["output"] });
    if let Some(system) = record.get("system") {
        renamed["system"] = system.clone();
    }
    Some(renamed)
}

const THINKS: &str = "data.template=g1-think";

#[test]
fn the_same_conversations_in_every_shape_are_the_same_data() {
    let talks = talks();
    let of_all =
        |record: fn(&Talk) -> Value| case_of(&talks.iter().map(record).collect::<Vec<_>>());
    let shapes: [fn(&Talk) -> Value; 4] = [openai, openai_of_old, sharegpt, completion_of_messages];
    let first = of_all(openai);
    let (data, marks) = (exported(&first, &[THINKS]), shown(&first, 10));
    assert!(marks[8].contains("Function output:") && marks[6].contains("two and two"), "{marks:?}");
    for shape in shapes {
        let case = of_all(shape);
        assert_eq!(exported(&case, &[THINKS]), data);
        assert_eq!(shown(&case, 10), marks);
        let checked = check(&case, &[THINKS]);
        assert_eq!((checked.code, &*checked.stderr), (Some(0), ""), "{checked:?}");
    }
    // One answer to one question, in shapes without room for functions.
    let plain: Vec<&Talk> = talks.iter().filter(|talk| alpaca(talk).is_some()).collect();
    assert_eq!(plain.len(), 8);
    let records: Vec<Value> = plain.iter().map(|talk| openai(talk)).collect();
    let data = exported(&case_of(&records), &[THINKS]);
    let alpacas: Vec<Value> = plain.iter().filter_map(|talk| alpaca(talk)).collect();
    assert_eq!(exported(&case_of(&alpacas), &[THINKS]), data);
    let single: Vec<&Value> = alpacas.iter().filter(|one| one.get("history").is_none()).collect();
    let owned: Vec<Value> = single.iter().map(|one| (*one).clone()).collect();
    let data = exported(&case_of(&owned), &[THINKS]);
    for (question, answer) in [
        ("prompt", "completion"),
        ("prompt", "response"),
        ("question", "answer"),
        ("query", "response"),
        ("instruction", "response"),
    ] {
        let records: Vec<Value> =
            single.iter().filter_map(|one| renamed(one, question, answer)).collect();
        assert_eq!(exported(&case_of(&records), &[THINKS]), data, "{question} {answer}");
    }
}

/// Every document with its marks, without its place.
fn shown(case: &Case, documents: usize) -> Vec<String> {
    let count = documents.to_string();
    let output = with(case, &["data", "show", STATE, "--random", &count], &[THINKS]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let place = Regex::new(r"(?m)^line \d+ of .*\n").expect("a valid expression");
    place.split(&output.stdout).skip(1).map(str::to_owned).collect()
}

#[test]
fn the_shapes_of_a_mixed_file_are_counted() {
    let messages = json!({ "messages": [
        { "role": "user", "content": "a" }, { "role": "assistant", "content": "b" },
    ] });
    let records = [
        json!({ "text": "User: a\n\nAssistant: c" }),
        messages,
        json!({ "conversations": [
            { "from": "human", "value": "a" }, { "from": "gpt", "value": "d" },
        ] }),
        json!({ "instruction": "a", "output": "e" }),
        json!({ "query": "a", "response": "f" }),
        json!({ "text": "User: a\n\nAssistant: g" }),
    ];
    let case = case_of(&records);
    check(&case, &[]).succeeds(
        "\
state.toml: 6 documents  no findings
shapes: text 2 (key text), messages 1 (key messages), ShareGPT 1 (key conversations), alpaca 1 (keys instruction, \
         output), question and answer 1 (keys query, response)",
        "",
    );
    for (line, answer) in ["c", "b", "d", "e", "f", "g"].into_iter().enumerate() {
        assert_eq!(targets(&case, line + 1, &[]), [answer]);
    }
    let output = with(&case, &["data", "check", STATE, "--format", "json"], &[]);
    let answer: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(answer["shapes"][0], json!({ "shape": "text", "keys": "text", "records": 2 }));
}

/// Row D8, and variations: what is beside the keys of `sft_field` is named, and read as the help says.
#[test]
fn keys_beside_sft_field_are_named() {
    let fields = "data.sft_field=[\"instruction\", \"output\"]";
    let with_input = |extra: &[(&str, Value)]| {
        let records = (0..3).map(|i| {
            let mut record =
                json!({ "instruction": format!("Add {i}."), "input": "2 3", "output": "5" });
            for (key, value) in extra {
                record[*key] = value.clone();
            }
            record
        });
        case_of(&records.collect::<Vec<_>>())
    };
    let case = with_input(&[]);
    let checked = check(&case, &[fields]);
    assert_eq!(checked.code, Some(0));
    assert_eq!(
        checked.stderr.trim_end(),
        "\
warning[ST3113]: `data.jsonl` has 1 key that no document is made of
  |
  = note: `input` in 3 of 3 records
  = note: `input` would be material for the question
  = help: set `data.sft_field = [\"instruction\", \"input\", \"output\"]`
  = help: set `data.ignore_keys = [\"input\"]` to leave them out without this warning"
    );
    let three = &helps(&checked.stderr, "data.sft_field")[0];
    assert!(show(&case, 1, &[three]).contains("User: Add 0.\n2 3"), "{three}");
    assert_eq!(check(&case, &[three]).stderr, "");
    let ignored = &helps(&checked.stderr, "data.ignore_keys")[0];
    assert_eq!(check(&case, &[fields, ignored]).stderr, "");
    assert!(!show(&case, 1, &[fields, ignored]).contains("2 3"));

    // A system prompt and a history are read without the setting.
    let case = with_input(&[("system", json!("Be brief.")), ("history", json!([["a", "b"]]))]);
    let checked = check(&case, &[fields]);
    assert!(checked.stderr.contains("`system` would be a system prompt"), "{checked:?}");
    assert!(checked.stderr.contains("= help: remove `data.sft_field`"), "{checked:?}");
    assert_eq!(check(&case, &[]).stderr, "");
    assert_eq!(targets(&case, 1, &[]), ["b", "5"]);
    assert!(show(&case, 1, &[]).contains("System: Be brief."));
}

/// Keys that no shape reads are named once with their count, wherever data is read, also from the cache.
#[test]
fn keys_that_nothing_is_made_of_are_named_everywhere() {
    let record = |i: usize| {
        let user = json!({ "role": "user", "content": format!("question {i}"), "name": "Ann" });
        let bot = json!({ "role": "assistant", "content": "yes" });
        let mut record = json!({ "messages": [user, bot], "meta": { "n": i } });
        if i.is_multiple_of(2) {
            record["id"] = i.into();
        }
        record
    };
    let case = case_of(&(0..20).map(record).collect::<Vec<_>>());
    let warning = "\
warning[ST3113]: `data.jsonl` has 3 keys that no document is made of
  |
  = note: `messages[].name` in 20 of 20 records, `meta` in 20 of 20 records, `id` in 10 of 20 records
  = note: `messages[].name` would be the name of the speaker
  = help: set `data.ignore_keys = [\"messages[].name\", \"meta\", \"id\"]` to leave them out without this warning";
    let ignored = helps(warning, "data.ignore_keys").remove(0);
    for command in [
        ["data", "check", STATE].as_slice(),
        &["data", "prepare", STATE],
        &["data", "prepare", STATE], // from the cache
        &["plan", STATE, "--prepare"],
        &["run", STATE, "--progress", "plain"],
    ] {
        let output = with(&case, command, &[]);
        assert_eq!(output.code, Some(0), "{output:?}");
        let count = output.stderr.matches(warning).count() + output.stdout.matches(warning).count();
        assert_eq!(count, 1, "{command:?}: {output:?}");
        let silent = with(&case, command, &[&ignored]);
        assert_eq!(silent.code, Some(0), "{silent:?}");
        assert!(!format!("{silent:?}").contains("ST3113"), "{command:?}: {silent:?}");
    }
    assert_eq!(
        check(&case, &[]).stdout.trim_end(),
        "\
state.toml: 20 documents
shapes: messages 20 (key messages)
warning  ST3113       3  keys of records that no document is made of"
    );
    let allowed = case.with(STATE, "data_file", "# statetune: allow(ST3113)\ndata_file");
    assert_eq!(check(&allowed, &[]).stderr, "");
}

/// Row D9, and variations: functions, reasoning and weights of the OpenAI shape.
#[test]
fn messages_with_weight_0_are_no_targets() {
    let record = json!({ "messages": [
        { "role": "user", "content": "a" },
        { "role": "assistant", "content": "wrong", "weight": 0 },
        { "role": "user", "content": "b" },
        { "role": "assistant", "content": "right", "weight": 1 },
    ] });
    let other = json!({ "conversations": [
        { "from": "human", "value": "c" },
        { "from": "gpt", "value": "fine" },
        { "from": "human", "value": "d" },
        { "from": "gpt", "value": "bad", "train": false },
    ] });
    let case = case_of(&[record.clone(), other]);
    assert_eq!(targets(&case, 1, &[]), ["right"]);
    assert_eq!(targets(&case, 2, &[]), ["fine"]);
    assert!(!show(&case, 2, &[]).contains("[[<end>]]"), "the last turn is none");
    assert!(!show(&case, 1, &["data.loss_mask=pad"]).contains("[[ wrong"));
    check(&case, &[]).succeeds(
        "\
state.toml: 2 documents  no findings
shapes: messages 1 (key messages), ShareGPT 1 (key conversations)
not targets: 2 messages with weight 0",
        "",
    );
    // A run counts the same targets as `data stats`, from the cache and in copies, too.
    let stats = with(&case, &["data", "stats", STATE], &[]);
    let all = with(&case, &["data", "stats", STATE], &["data.ignore_keys=[\"messages[].weight\"]"]);
    assert_ne!(stats.stdout, all.stdout);
    let counted = |ignored: &str| {
        let plan = with(&case, &["plan", STATE, "--prepare"], &["data.repeat=3", ignored]);
        assert_eq!(plan.code, Some(0), "{plan:?}");
        let targets = Regex::new(r"targets +([\d,]+) of").expect("a valid expression");
        let count = targets.captures(&plan.stdout).expect("a count")[1].replace(',', "");
        count.parse::<u64>().expect("a number")
    };
    let muted = counted("data.ignore_keys=[]");
    assert_eq!(muted, counted("data.ignore_keys=[]"));
    let both = "data.ignore_keys=[\"messages[].weight\", \"conversations[].train\"]";
    assert!(muted < counted(both));
    // Exported files cannot hold it.
    let output =
        with(&case, &["data", "export", STATE, "--to", "binidx", "--out", "out", "--force"], &[]);
    assert!(
        output.stderr.contains("warning[ST3115]: 2 messages have weight 0, and the exported file"),
        "{output:?}"
    );
    // Nothing is left to learn.
    let none = case_of(&[
        record,
        json!({ "messages": [
        { "role": "user", "content": "a" }, { "role": "assistant", "content": "b", "weight": 0 },
    ] }),
    ]);
    let output = with(&none, &["run", STATE, "--progress", "plain"], &[]);
    assert_eq!(output.code, Some(20), "{output:?}");
    assert!(output.stderr.contains("every answer has weight 0"), "{output:?}");
}

/// Row D9: what a template cannot write is refused with the setting that can.
#[test]
fn helps_about_functions_and_reasoning_work() {
    let call = json!({ "function": { "name": "f", "arguments": "{}" } });
    let with_tool = json!({ "tools": functions(), "messages": [
        { "role": "user", "content": "a" },
        { "role": "assistant", "content": null, "tool_calls": [call] },
        { "role": "tool", "content": "1" },
        { "role": "assistant", "content": "b" },
    ] });
    let case = case_of(&[with_tool]);
    let output = check(&case, &[]);
    assert_eq!(output.code, Some(20));
    assert!(output.stderr.contains("the template `rwkv-qa` has no role `tool`"), "{output:?}");
    let template = &helps(&output.stderr, "data.template")[0].replace('"', "");
    assert_eq!(template, "data.template=g1");
    check(&case, &[template])
        .succeeds("state.toml: 1 document  no findings\nshapes: messages 1 (key messages)", "");
    assert_eq!(
        targets(&case, 1, &[template]),
        [">\n```json\n{\"name\":\"f\",\"arguments\":{}}\n```", ">\nb"]
    );

    let reasons = json!({ "messages": [
        { "role": "user", "content": "a" },
        { "role": "assistant", "content": "b", "reasoning_content": "hm" },
    ] });
    let case = case_of(&[reasons]);
    let output = check(&case, &["data.template=g1"]);
    assert_eq!(output.code, Some(20));
    let template = &helps(&output.stderr, "data.template")[0].replace('"', "");
    assert_eq!(check(&case, &[template]).stderr, "");
    assert_eq!(targets(&case, 1, &[template]), [">\nhm\n</think>\nb"]);
    let ignored = &helps(&output.stderr, "data.ignore_keys")[0];
    assert_eq!(check(&case, &["data.template=g1", ignored]).stderr, "");
    assert_eq!(targets(&case, 1, &["data.template=g1", ignored]), [">\nb"]);
    // A template without a think block writes the reasoning, and `data check` says so.
    let output = check(&case, &[]);
    assert!(output.stderr.contains("warning[ST3108]"), "{output:?}");
    assert!(targets(&case, 1, &[])[0].contains("hm"));
}

/// Row D14, and variations: a record of no known shape names its keys and the setting that reads it.
#[test]
fn a_record_of_no_known_shape_shows_the_setting_that_reads_it() {
    for (record, answer) in [
        (json!({ "prompt": "a?", "answer": "b" }), "b"),
        (json!({ "id": "7", "A": "b", "Q": "a?" }), "b"),
        (json!({ "frage": "a?", "antwort": "b" }), "b"),
        (json!({ "input": "a?", "output": "b" }), "b"),
    ] {
        let case = case_of(&[record]);
        let output = check(&case, &[]);
        assert_eq!(output.code, Some(20));
        let message = "error[ST3003]: line 1 of `data.jsonl` has no text and no conversation of a known shape";
        assert!(output.stderr.contains(message), "{output:?}");
        let fields = &helps(&output.stderr, "data.sft_field")[0];
        assert_eq!(targets(&case, 1, &[fields]), [answer], "{fields}");
        let output = check(&case, &[fields]);
        assert!(!output.stderr.contains("ST3003"), "{output:?}");
    }
    let case = case_of(&[json!({ "content": "a", "n": 1 })]);
    assert_eq!(
        check(&case, &[]).stderr.trim_end(),
        "\
error[ST3003]: line 1 of `data.jsonl` has no text and no conversation of a known shape
 --> data.jsonl:1:1
  |
1 | {\"content\":\"a\",\"n\":1}
  | ^ keys found: `content`, `n`
  |
  = note: shapes that are read: `text`; `messages`; `conversations`; `instruction` and `output`; `prompt` and `completion`; \
         `question` and `answer`
  = note: `data.sft_field` names the keys of a question and an answer with other names"
    );
    for list in ["conversations", "conversation", "chat_rounds", "dialogue"] {
        let case = case_of(&[json!({ list: [
            { "role": "user", "content": "a" }, { "role": "assistant", "content": "b" },
        ] })]);
        assert_eq!(targets(&case, 1, &[]), ["b"], "{list}");
    }
}

#[test]
fn preference_pairs_are_shown_and_not_trained_on() {
    let answer = |text: &str| json!([{ "role": "assistant", "content": text }]);
    let whole = |text: &str| json!([{ "role": "user", "content": "a?" }, { "role": "assistant", "content": text }]);
    let question = json!([{ "role": "user", "content": "a?" }]);
    for record in [
        json!({ "prompt": "a?", "chosen": "good", "rejected": "bad" }),
        json!({ "prompt": question, "chosen": answer("good"), "rejected": answer("bad") }),
        json!({ "chosen": whole("good"), "rejected": whole("bad") }),
    ] {
        let case = case_of(&[record]);
        let output = check(&case, &[]);
        assert_eq!(output.code, Some(20), "a run would refuse it: {output:?}");
        assert_eq!(
            output.stdout.trim_end(),
            "\
state.toml: 1 document
shapes: preference pair 1 (keys chosen, rejected)
error    ST3114       1  documents are preference pairs"
        );
        let shown = show(&case, 1, &[]);
        assert!(shown.contains("User: a?\n\nAssistant:[[ good]]"), "{shown}");
        assert!(shown.contains("with the rejected answer:\nUser: a?\n\nAssistant: bad"), "{shown}");
        let output = with(&case, &["run", STATE, "--progress", "plain"], &[]);
        assert_eq!(output.code, Some(20), "{output:?}");
        assert!(
            output.stderr.contains("error[ST3114]: line 1 of `data.jsonl` is a preference pair"),
            "{output:?}"
        );
        let ignored = "data.ignore_keys=[\"rejected\"]";
        assert!(output.stderr.contains("add `\"rejected\"` to `data.ignore_keys`"), "{output:?}");
        assert_eq!(check(&case, &[ignored]).stderr, "");
        assert_eq!(targets(&case, 1, &[ignored]), ["good"]);
    }
}

#[test]
fn sft_field_takes_two_or_three_keys() {
    let case = case_of(&[json!({ "q": "a?", "a": "b" })]);
    for (keys, code) in [("[\"q\"]", 2), ("[\"q\", \"x\", \"y\", \"a\"]", 2), ("[\"q\", \"a\"]", 0)]
    {
        let setting = format!("data.sft_field={keys}");
        assert_eq!(check(&case, &[&setting]).code, Some(code), "{keys}");
    }
    let one = check(&case, &["data.sft_field=[\"q\", \"b\"]"]);
    assert!(one.stderr.contains("line 1 of `data.jsonl` has no key `b`"), "{one:?}");
}

/// Questions of every shape lose their blank lines, as the help says.
#[test]
fn blank_lines_are_fixed_in_every_shape() {
    let question = "one\n\ntwo";
    for record in [
        json!({ "messages": [
            { "role": "user", "content": question }, { "role": "assistant", "content": "b" },
        ] }),
        json!({ "conversations": [
            { "from": "human", "value": question }, { "from": "gpt", "value": "b" },
        ] }),
        json!({ "instruction": question, "output": "b" }),
        json!({ "prompt": question, "completion": "b" }),
        json!({ "query": question, "response": "b" }),
    ] {
        let case = case_of(&[record]);
        let output = check(&case, &[]);
        assert!(output.stderr.contains("warning[ST3107]"), "{output:?}");
        let fixed = with(&case, &["data", "check", STATE, "--fix"], &[]);
        assert!(fixed.stderr.contains("wrote data.fixed.jsonl: 1 lines fixed"), "{fixed:?}");
        let again = check(&case, &["data.data_file=data.fixed.jsonl"]);
        assert_eq!(again.stderr, "", "{again:?}");
    }
}
