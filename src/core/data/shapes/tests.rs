use proptest::prelude::*;
use serde_json::{Value, json};

use super::{RecordForm, RecordText};
use crate::data::conversation::Template;
use crate::data::fault::LineFault;

fn read_with(form: RecordForm<'_>, record: &Value) -> Result<RecordText, LineFault> {
    let parsed = form.parse(record.to_string().as_bytes()).map_err(|(_, fault)| fault)?;
    Ok(parsed.expect("a record"))
}

fn read_as(template: &Template, record: &Value) -> RecordText {
    read_with(RecordForm::new(template), record).expect("a document")
}

fn text(record: &Value) -> String {
    read_as(&Template::rwkv_qa(), record).text
}

fn problem(record: &Value) -> String {
    match read_with(RecordForm::new(&Template::rwkv_qa()), record).expect_err("a fault") {
        LineFault::Messages { problem, .. } => problem.to_string(),
        other => other.to_string(),
    }
}

#[test]
fn the_same_conversation_in_every_shape() {
    let (system, question, answer) = ("Be kind.", "Wie geht's? 你好", "Gut 🙂\n\nDanke");
    let user = json!({ "role": "user", "content": question });
    let bot = json!({ "role": "assistant", "content": answer });
    let records = [
        json!({ "messages": [{ "role": "system", "content": system }, user, bot] }),
        json!({ "messages": [{ "role": "developer", "content": system }, user, bot] }),
        json!({ "messages": [user, bot], "system": system }),
        json!({ "messages": json!([user, bot]).to_string(), "system": system }),
        json!({ "system": system, "messages": [
            { "role": "user", "content": [{ "type": "text", "text": question }] }, bot,
        ] }),
        json!({ "system": system, "conversations": [
            { "from": "human", "value": question }, { "from": "gpt", "value": answer },
        ] }),
        json!({ "system": system, "chat_rounds": [user, bot] }),
        json!({ "system": system, "instruction": question, "input": "", "output": answer }),
        json!({ "system": system, "prompt": question, "completion": answer }),
        json!({ "system": system, "prompt": [user], "completion": [bot] }),
        json!({ "system": system, "prompt": question, "response": answer }),
        json!({ "system": system, "question": question, "answer": answer }),
        json!({ "system": system, "query": question, "response": answer }),
        json!({ "system": system, "instruction": question, "response": answer }),
        json!({ "system": system, "prompt": question, "chosen": answer }),
        json!({ "system": system, "prompt": question, "chosen": [user, bot] }),
    ];
    for record in records {
        let read = read_as(&Template::rwkv_qa(), &record);
        assert_eq!(
            read.text, "System: Be kind.\n\nUser: Wie geht's? 你好\n\nAssistant: Gut 🙂\n\nDanke",
            "{record}"
        );
        assert!(read.unused.is_empty() && read.muted.is_empty(), "{record} {read:?}");
    }
}

#[test]
fn material_is_a_turn_or_the_next_line() {
    let record = json!({ "instruction": "Add.", "input": "2 3", "output": "5" });
    assert_eq!(text(&record), "User: Add.\n2 3\n\nAssistant: 5");
    let read = read_as(&Template::instruction(), &record);
    assert_eq!(read.text, "Instruction: Add.\n\nInput: 2 3\n\nResponse: 5");
    let keys = ["instruction", "input", "output"].map(str::to_owned);
    let qa = Template::rwkv_qa();
    let form = RecordForm { sft_field: &keys, ..RecordForm::new(&qa) };
    assert_eq!(read_with(form, &record).expect("a document").text, text(&record));
    for empty in [json!(""), json!(null)] {
        let record = json!({ "instruction": "Add.", "input": empty, "output": "5" });
        let read = read_with(form, &record).expect("a document");
        assert_eq!(read.text, "User: Add.\n\nAssistant: 5");
        assert_eq!(text(&record), read.text);
    }
    let history = json!({
        "instruction": "c", "output": "d", "history": [["a", "b"]], "system": "s",
    });
    assert_eq!(text(&history), "System: s\n\nUser: a\n\nAssistant: b\n\nUser: c\n\nAssistant: d");
}

/// The facts of the G1 models, from each way to write them.
#[test]
fn functions_and_reasoning_are_written_as_the_bases_know_them() {
    let parameters = json!({ "type": "object", "properties": { "city": { "type": "string" } } });
    let tools = json!([{ "type": "function", "function": {
        "name": "weather", "description": "looks it up", "parameters": parameters,
    } }]);
    let call = |arguments: Value| json!({ "name": "weather", "arguments": arguments });
    let openai = |tool_calls: Value| {
        json!({ "tools": tools, "messages": [
            { "role": "user", "content": "Rain?" },
            { "role": "assistant", "content": null, "reasoning_content": "look",
              "tool_calls": tool_calls },
            { "role": "tool", "tool_call_id": "c1", "name": "weather", "content": "{\"rain\":1}" },
            { "role": "assistant", "content": "Yes." },
        ] })
    };
    let sharegpt = json!({
        "tools": json!([{ "name": "weather", "description": "looks it up",
            "parameters": parameters }]).to_string(),
        "conversations": [
            { "from": "human", "value": "Rain?" },
            { "from": "function_call", "value": call(json!({ "city": "Ulm" })).to_string() },
            { "from": "observation", "value": "{\"rain\":1}" },
            { "from": "gpt", "value": "Yes." },
        ],
    });
    let expected = |think: &str| {
        format!(
            "System: Tools:\n[{{\"name\":\"weather\",\"description\":\"looks it up\",\"arguments\":{parameters}}}]\n\
             To use a function, return only its JSON call.\n\nUser: Rain?\n\nAssistant: <think>\n{think}</think>\n\
             ```json\n{{\"name\":\"weather\",\"arguments\":{{\"city\":\"Ulm\"}}}}\n```\n\n\
             User: Function output:\n{{\"rain\":1}}\n\nAssistant: <think>\n</think>\nYes."
        )
    };
    let think = Template::g1_think();
    for record in [
        openai(json!([{ "id": "c1", "type": "function",
            "function": call(json!("{\"city\": \"Ulm\"}")) }])),
        openai(json!([{ "id": "c1", "function": call(json!({ "city": "Ulm" })) }])),
        openai(json!([call(json!({ "city": "Ulm" }))])),
    ] {
        let read = read_as(&think, &record);
        assert_eq!(read.text, expected("look\n"), "{record}");
        assert_eq!(read.unused, Vec::<String>::new());
    }
    assert_eq!(read_as(&think, &sharegpt).text, expected(""));
    assert_eq!(read_as(&Template::g1(), &sharegpt).text, expected(""));
    let legacy = json!({ "functions": tools, "messages": [
        { "role": "user", "content": "Rain?" },
        { "role": "assistant", "content": null,
          "function_call": call(json!("{\"city\":\"Ulm\"}")) },
        { "role": "function", "name": "weather", "content": { "rain": 1 } },
        { "role": "assistant", "content": "Yes." },
    ] });
    let read = read_as(&think, &legacy);
    assert_eq!((read.text, read.unused), (expected(""), Vec::new()));
}

#[test]
fn reasoning_is_written_or_refused() {
    for key in ["reasoning_content", "reasoning", "thinking"] {
        let record = json!({ "messages": [
            { "role": "user", "content": "2+2?" },
            { "role": "assistant", "content": "4", key: "easy" },
        ] });
        let block = "User: 2+2?\n\nAssistant: <think>\neasy\n</think>\n4";
        assert_eq!(text(&record), block);
        assert_eq!(read_as(&Template::g1_think(), &record).text, block);
        let g1 = Template::g1();
        let fault = read_with(RecordForm::new(&g1), &record).expect_err("reasoning");
        let LineFault::Messages { helps, .. } = fault else { panic!("{fault}") };
        let path = format!("messages[].{key}");
        assert_eq!(
            helps[1].to_string(),
            format!("or set `data.ignore_keys = [\"{path}\"]` to read the records without the key")
        );
        let ignored = [path];
        let form = RecordForm { ignore_keys: &ignored, ..RecordForm::new(&g1) };
        let read = read_with(form, &record).expect("a document");
        assert_eq!(read.text, "User: 2+2?\n\nAssistant: <think>\n</think>\n4");
    }
}

#[test]
fn messages_with_weight_0_are_muted() {
    for (key, value) in [("weight", json!(0)), ("train", json!(false)), ("loss", json!(false))] {
        let record = json!({ "messages": [
            { "role": "user", "content": "a" },
            { "role": "assistant", "content": "b", key: value },
            { "role": "user", "content": "c", "weight": 1 },
            { "role": "assistant", "content": "d" },
        ] });
        let read = read_as(&Template::rwkv_qa(), &record);
        let muted: Vec<&str> = read.muted.iter().map(|range| &read.text[range.clone()]).collect();
        assert_eq!(muted, [" b\n\n"], "{key}");
        assert_eq!(read.unused, Vec::<String>::new());
    }
    let record = json!({ "messages": [{ "role": "assistant", "content": "b", "weight": 0.5 }] });
    assert_eq!(problem(&record), "message 1 has 0.5 as `weight`; 0 and 1 are read");
}

#[test]
fn a_preference_pair_is_two_documents() {
    let chosen =
        json!([{ "role": "user", "content": "a" }, { "role": "assistant", "content": "b" }]);
    let rejected =
        json!([{ "role": "user", "content": "a" }, { "role": "assistant", "content": "c" }]);
    for record in [
        json!({ "prompt": "a", "chosen": "b", "rejected": "c" }),
        json!({ "prompt": "a", "chosen": chosen, "rejected": rejected }),
        json!({ "chosen": chosen, "rejected": rejected }),
        json!({ "prompt": [{ "role": "user", "content": "a" }],
            "chosen": [chosen[1]], "rejected": [rejected[1]] }),
        json!({ "conversations": [{ "from": "human", "value": "a" }],
            "chosen": { "from": "gpt", "value": "b" }, "rejected": { "from": "gpt", "value": "c" } }),
        json!({ "instruction": "a", "input": "", "chosen": "b", "rejected": "c" }),
    ] {
        let read = read_as(&Template::rwkv_qa(), &record);
        assert_eq!(read.text, "User: a\n\nAssistant: b", "{record}");
        assert_eq!(read.rejected.as_deref(), Some("User: a\n\nAssistant: c"), "{record}");
        let qa = Template::rwkv_qa();
        let ignored = ["rejected".to_owned()];
        let form = RecordForm { ignore_keys: &ignored, ..RecordForm::new(&qa) };
        let alone = read_with(form, &record).expect("a document");
        assert_eq!((alone.text, alone.rejected), (read.text, None), "{record}");
    }
}

#[test]
fn faults_name_what_is_wrong() {
    for (message, expected) in [
        (
            json!({ "role": "user", "content": [{ "type": "image_url", "image_url": {} }] }),
            "message 1 has a part of type `image_url`; only text is read",
        ),
        (
            json!({ "role": "user", "content": [{ "type": "text" }] }),
            "message 1 has a part without `text`",
        ),
        (
            json!({ "role": "assistant", "tool_calls": [{ "name": "f", "arguments": "{" }] }),
            "message 1 has a `tool_calls` that is not a function's name with arguments in JSON",
        ),
        (json!({ "role": "tool", "content": "a" }), "the template `rwkv-qa` has no role `tool`"),
        (json!({ "from": "robot", "value": "a" }), "message 1 has the role `robot`"),
        (json!({ "from": "human", "value": 5 }), "message 1 has a number as `value`"),
    ] {
        assert_eq!(problem(&json!({ "messages": [message] })), expected);
    }
    assert_eq!(
        problem(&json!({ "instruction": "a", "output": "b", "history": "no" })),
        "`history` must be a list of pairs such as `[\"question\", \"answer\"]`"
    );
    assert_eq!(
        problem(&json!({ "messages": [{ "role": "user", "content": "a" }], "tools": 5 })),
        "`tools` must be a list of functions, found a number"
    );
    assert_eq!(problem(&json!({ "prompt": "a", "completion": " " })), "has an empty `completion`");
}

/// A record of each shape, and where keys can be added to the record: at the top, and in the first message.
fn records() -> Vec<Value> {
    let turns = json!([
        { "role": "user", "content": "a" }, { "role": "assistant", "content": "b" },
    ]);
    vec![
        json!({ "text": "a" }),
        json!({ "messages": turns }),
        json!({ "conversations": [
            { "from": "human", "value": "a" }, { "from": "gpt", "value": "b" },
        ] }),
        json!({ "instruction": "a", "input": "i", "output": "b" }),
        json!({ "prompt": "a", "completion": "b" }),
        json!({ "prompt": turns, "completion": [turns[1]] }),
        json!({ "question": "a", "answer": "b" }),
        json!({ "prompt": "a", "chosen": "b", "rejected": "c" }),
    ]
}

fn extra_values() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!(0)),
        Just(json!("")),
        Just(json!("x")),
        Just(json!([])),
        Just(json!({})),
        Just(json!(false)),
        Just(json!({ "text": "y" })),
        Just(json!(["y", 1])),
    ]
}

proptest! {
    /// Every key that is added to a record or to a message is named, and the document stays the same.
    #[test]
    fn no_key_vanishes(
        which in 0..8_usize,
        extra in proptest::collection::btree_map("x[a-z_]{1,6}", extra_values(), 0..5),
        within in proptest::collection::btree_map("x[a-z_]{1,6}", extra_values(), 0..4),
    ) {
        let mut record = records().swap_remove(which);
        let qa = Template::rwkv_qa();
        let plain = read_as(&qa, &record);
        let mut expected: Vec<String> = Vec::new();
        for key in ["messages", "conversations"] {
            let Some(Value::Array(list)) = record.get_mut(key) else { continue };
            for (name, value) in &within {
                list[0][name] = value.clone();
                expected.push(format!("{key}[].{name}"));
            }
        }
        for (name, value) in &extra {
            record[name] = value.clone();
            expected.push(name.clone());
        }
        let read = read_as(&qa, &record);
        let mut unused = read.unused.clone();
        unused.sort();
        expected.sort();
        prop_assert_eq!(&unused, &expected);
        prop_assert_eq!(RecordText { unused: Vec::new(), ..read }, plain);
        let mut counts = super::RecordCounts::default();
        counts.add(&RecordText { unused, ..read_as(&qa, &record) });
        prop_assert_eq!(counts.left_out(&[]).len(), expected.len());
        prop_assert!(counts.left_out(&expected).is_empty());
    }

    /// Without any of its keys, a record is another document, or names the key, or is refused.
    #[test]
    fn every_usual_key_says_something(which in 0..8_usize, at in 0..4_usize) {
        let record = records().swap_remove(which);
        let qa = Template::rwkv_qa();
        let keys: Vec<String> = record.as_object().expect("an object").keys().cloned().collect();
        let key = &keys[at % keys.len()];
        let mut less = record.clone();
        less.as_object_mut().expect("an object").shift_remove(key);
        let before = read_as(&qa, &record);
        if let Ok(after) = read_with(RecordForm::new(&qa), &less) {
            prop_assert!(before.text != after.text || before.rejected != after.rejected);
        }
    }
}
