//! The commands of a user who knows other trainers and has not read the documents: each help works when followed to the letter.

use serde_json::json;

use crate::case::{Case, Output, STATE};

/// Questions and answers, written in one form each.
fn pairs(form: impl Fn(&str, &str) -> String) -> String {
    let pair = |n: usize| form(&format!("Where is island {n}?"), &format!("North of {n}, matey."));
    (0..12).map(|n| pair(n) + "\n").collect()
}

fn texts(before: &str, between: &str, after: &str) -> String {
    let text = |question: &str, answer: &str| format!("{before}{question}{between}{answer}{after}");
    pairs(|question, answer| json!({ "text": text(question, answer) }).to_string())
}

/// `init` for `data` with the small model, whose vocabulary is next to the weights.
fn init(case: &Case, data: &str) -> Output {
    case.statetune(&["init", "--data", data, "--model", "base.pth", "--name", "mine", "--yes"])
}

fn says(output: &Output, part: &str) {
    let all = format!("{}{}", output.stdout, output.stderr);
    assert!(all.contains(part), "{part}\n---\n{all}");
}

#[test]
fn init_chooses_the_mask_and_the_vocabulary_and_says_why() {
    let template = "12 of 12 documents have answers, which the `data.template` written here finds";
    let records = |keys: [&str; 2]| {
        pairs(|question, answer| json!({ keys[0]: question, keys[1]: answer }).to_string())
    };
    for (data, why) in [
        (records(["question", "answer"]), "the records hold conversations (question, answer)"),
        (
            records(["user", "answer"]),
            "each record has two texts: `user` is read as the question, `answer` as the answer",
        ),
        (
            texts("User: ", "\n\nAssistant: ", ""),
            "12 of 12 documents have answers after `Assistant:`",
        ),
        (texts("User: ", "\nAssistant: ", ""), template),
        (texts("user: ", "\n\nassistant: ", ""), template),
        (texts("**User:** ", "\n\n**Assistant:** ", ""), template),
        (texts("User：", "\n\nAssistant：", ""), template),
        (texts("Question: ", "\n\nAnswer: ", ""), template),
        (
            texts("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n", "<|im_end|>"),
            template,
        ),
    ] {
        let case = Case::new().having("data.jsonl", &data);
        init(&case, "data.jsonl").succeeds(
            &format!(
                "\
wrote    mine.toml
trains   the answers (`loss_mask = \"assistant\"`): {why}
vocab    `vocab.txt`, which has the size of the weights
check    statetune check mine.toml
run      statetune run mine.toml"
            ),
            "",
        );
        case.statetune(&["check", "mine.toml"]).succeeds("mine.toml: valid", "");
        let checked = case.statetune(&["data", "check", "mine.toml"]);
        assert_eq!(checked.code, Some(0), "{why}: {checked:?}");
        assert!(checked.stdout.starts_with("mine.toml: 12 documents"), "{why}: {checked:?}");
        assert!(!checked.stdout.contains("ST31"), "{why}: {checked:?}");
    }
    let case = Case::new().having("data.jsonl", texts("Once upon a time: ", " ", ""));
    says(
        &init(&case, "data.jsonl"),
        "trains   all tokens (`loss_mask = \"pad\"`): no turns of a conversation in 12 documents\n",
    );
}

#[test]
fn init_refuses_what_cannot_work() {
    for (data, code) in [("", "ST3004"), ("{\"id\": 7}\n", "ST3003")] {
        let case = Case::new().having("data.jsonl", data);
        let output = init(&case, "data.jsonl");
        assert_eq!(output.code, Some(20), "{output:?}");
        says(&output, &format!("error[{code}]"));
        assert!(!case.path("mine.toml").exists());
    }
    let case = Case::new();
    std::fs::remove_file(case.path("vocab.txt")).expect("removed");
    let output = init(&case, "data.jsonl");
    assert_ne!(output.code, Some(0), "{output:?}");
    assert!(!case.path("mine.toml").exists());
}

#[test]
fn near_role_words_are_reported_where_all_tokens_train() {
    for data in [texts("User: ", "\nAssistant: ", ""), texts("Question: ", "\n\nAnswer: ", "")] {
        let case = Case::new().having("data.jsonl", data).with(
            STATE,
            "loss_mask = \"assistant\"",
            "loss_mask = \"pad\"",
        );
        let output = case.statetune(&["data", "check", STATE]);
        assert_eq!(output.code, Some(0), "{output:?}");
        says(&output, "`data.loss_mask` masks nothing here, so all tokens train");
        let help = "to train on the answers alone, set `data.loss_mask = \"assistant\"` and `data.template = ";
        let (_, rest) = output.stderr.split_once(help).unwrap_or_else(|| panic!("{output:?}"));
        let template = rest.lines().next().expect("a value").trim_end_matches('`');
        let template = format!("data.template={template}");
        let settings = ["--set", "data.loss_mask=assistant", "--set", &template];
        let again = case.statetune(&[&["data", "check", STATE][..], &settings].concat());
        assert!(again.stdout.contains("no findings"), "{again:?}");
    }
}

#[test]
fn every_look_at_empty_data_is_refused_as_a_run_is() {
    let case = Case::new().having("data.jsonl", "");
    for command in
        [&["run"][..], &["check"], &["data", "check"], &["data", "stats"], &["data", "show"]]
    {
        let arguments = [command, &[STATE]].concat();
        case.refuses_to(&arguments, 20, "error[ST3004]: `data.jsonl` contains no documents");
    }
}

#[test]
fn a_bad_line_is_named_with_what_to_do() {
    let line = |question: &str, answer: &str| {
        json!({ "question": question, "answer": answer }).to_string()
    };
    let good = pairs(line);
    for (bad, part) in [
        ("{\"question\": \"a\", \"answer\": null}", "must have a string as `answer`, found null"),
        ("{\"question\": \"a\", \"anwser\": \"b\"}", "help: rename `anwser` to `answer`"),
        ("{\"question\": \"a\"}", "has no key `answer`"),
        (
            "{\"question\": \"a\", \"answer\": \"b\"},",
            "help: remove the commas at the ends of the lines",
        ),
        ("{'question': 'a', 'answer': 'b'}", "help: write each record with `json.dumps(record)`"),
    ] {
        let case = Case::new().having("data.jsonl", format!("{good}{bad}\n"));
        for command in [&["data", "check", STATE][..], &["run", STATE]] {
            let output = case.statetune(command);
            assert_eq!(output.code, Some(20), "{output:?}");
            says(&output, "line 13 of `data.jsonl`");
            says(&output, part);
            assert!(!output.stderr.contains("sft_field"), "{output:?}");
        }
    }
    let csv = |text: &str| {
        let data = "data_type = \"csv\"\ndata_file = \"d.csv\"\n";
        let case =
            Case::new().having("d.csv", text).with(STATE, "data_file = \"data.jsonl\"\n", data);
        case.statetune(&["data", "check", STATE])
    };
    let output = csv("question,answer\na?,b\nHow?,Arr, matey\n");
    says(&output, "error[ST3003]: line 3 of `d.csv` has 3 cells, but the header names 2 columns");
    let rows = pairs(|question, answer| format!("{question},\"{answer}\""));
    let output = csv(&rows);
    says(
        &output,
        "the first row names the columns, but here it is text: `Where is island 0?` would be a name",
    );
    assert!(!output.stderr.contains("sft_field"), "{output:?}");
}

#[test]
fn fix_removes_commas_behind_records() {
    let line = |question: &str, answer: &str| {
        let text = format!("User: {question}\n\nAssistant: {answer}");
        json!({ "text": text }).to_string() + ","
    };
    let case = Case::new().having("data.jsonl", pairs(line));
    case.statetune(&["data", "check", STATE, "--fix"]);
    let fixed = ["data", "check", STATE, "--set", "data.data_file=data.fixed.jsonl"];
    assert!(case.statetune(&fixed).stdout.contains("no findings"));
}

#[test]
fn one_text_holds_out_nothing() {
    let chat = pairs(|question, answer| format!("User: {question}\n\nAssistant: {answer}\n"));
    let case = Case::new().having("chat.txt", chat);
    let output = init(&case, "chat.txt");
    says(&output, "held out nothing: a file of text is one document");
    assert!(case.read("mine.toml").contains("val_split = 0 "), "{}", case.read("mine.toml"));
    let output = case.statetune(&["check", "mine.toml", "--set", "data.val_split=0.1"]);
    says(
        &output,
        "warning[ST3116]: `data.val_split` has no effect: `chat.txt` is a single document",
    );
}

#[test]
fn most_conversations_are_cut() {
    let output = Case::new().statetune(&[
        "check",
        STATE,
        "--set",
        "train.ctx_len=8",
        "--set",
        "data.overlong=split",
    ]);
    says(&output, "warning[ST3117]: ");
}

#[test]
fn a_data_file_is_no_experiment() {
    let case = Case::new();
    for command in [&["run"][..], &["data", "check"]] {
        case.refuses_to(
            &[command, &["data.jsonl"]].concat(),
            2,
            "\
error[ST1000]: `data.jsonl` is not an experiment file
  |
  = help: these are documents: `statetune init --data data.jsonl` writes an experiment file that uses them",
        );
    }
}

/// What was meant by a word in the place of an experiment file, whatever it looks like.
#[test]
fn a_run_and_an_address_are_no_experiment() {
    let case = Case::new();
    case.statetune(&["run", STATE, "--set", "train.epoch_count=1"]).is_done();
    let like = "statetune run --like";
    for (file, helps) in [
        ("latest", &["`statetune resume latest` continues it", like][..]),
        ("https://example.com/x.toml", &["URLs are not read here"]),
        ("https://huggingface.co/O/R", &["`statetune init --model hf://O/R/FILE.pth`"]),
        ("O/R", &["`statetune init --model hf://O/R/FILE.pth`"]),
        ("hf://O/R/m.pth", &["`statetune init --model hf://O/R/m.pth`"]),
        (r"C:\x.toml", &["write `/mnt/c/x.toml`"]),
        ("~/x.toml", &["`~` is not expanded"]),
        ("state", &["the experiment file is `state.toml`"]),
        ("stata.toml", &["experiment files here: `state.toml`"]),
    ] {
        for command in [&["run"][..], &["check"], &["plan"], &["data", "stats"]] {
            let output = case.statetune(&[command, &[file]].concat());
            assert_eq!(output.code, Some(2), "{command:?}: {output:?}");
            helps.iter().for_each(|help| says(&output, help));
        }
    }
    // What an earlier version left when it was killed changes nothing.
    case.write("runs/2999-01-01-tiny-left/experiment.toml", case.read(STATE));
    let again = ["run", STATE, "--set", "train.epoch_count=1", "--resume", "auto"];
    case.statetune(&again).is_done();
    std::fs::remove_dir_all(case.path("runs/2999-01-01-tiny-left")).expect("removed");
    for command in [&["resume"][..], &["chat"], &["runs", "show"]] {
        let output = case.statetune(&[command, &[STATE]].concat());
        assert_eq!(output.code, Some(2), "{command:?}: {output:?}");
        if command != ["chat"] {
            says(&output, "`statetune run state.toml --resume auto` continues its newest");
        }
    }
}

/// A path that an option of `init` gives and that does not exist has the help of its own kind.
#[test]
fn init_knows_what_a_wrong_path_means() {
    let case = Case::new();
    for (option, path, help) in [
        ("--model", "bse.pth", "a file with a similar name: `base.pth`"),
        ("--model", "O/R", "`hf://O/R/FILE.pth`"),
        ("--model", "https://h.co/O/R/resolve/main/a.pth", "write `hf://O/R/a.pth`"),
        ("--data", "dat.jsonl", "a file with a similar name: `data.jsonl`"),
        ("--data", r"C:\chat.jsonl", "write `/mnt/c/chat.jsonl`"),
        ("--tokenizer", "vocb.txt", "a file with a similar name: `vocab.txt`"),
    ] {
        let output = case.statetune(&["init", "--yes", "--model", "base.pth", option, path]);
        let output = match option {
            "--model" => case.statetune(&["init", "--yes", option, path]),
            _ => output,
        };
        assert!(matches!(output.code, Some(2 | 20 | 21)), "{path}: {output:?}");
        says(&output, help);
    }
}

#[test]
fn a_missing_file_is_counted_and_an_empty_name_is_refused() {
    let case = Case::new();
    let output = case.statetune(&["check", STATE, "--set", "data.data_file=no.jsonl"]);
    assert_eq!(
        output.stdout.trim_end(),
        "state.toml: valid, but 1 file is missing; a run needs it"
    );
    let output = case.statetune(&["check", STATE, "--set", "data.data_file="]);
    assert_eq!(output.code, Some(2), "{output:?}");
    says(&output, "`data.data_file` must not be empty");
}

#[test]
fn show_names_the_lines_that_there_are() {
    Case::new().refuses_to(
        &["data", "show", STATE, "--line", "99"],
        20,
        "\
error[ST3105]: line 99 has no document
  |
  = note: `data.jsonl` has its documents on lines 1 to 20",
    );
}

#[test]
fn values_of_other_notations_are_understood() {
    let case = Case::new().with(STATE, "micro_bsz = 4", "micro_bsz = 4\ngrad_cp = True");
    case.statetune(&["check", STATE, "--fix"]).is_done();
    assert!(case.read(STATE).contains("grad_cp = true\n"));
    let case = Case::new();
    for (setting, help) in [
        ("train.grad_cp=True", "for example `--set train.grad_cp=true`"),
        ("schedule.lr_init=1,0", "for example `--set schedule.lr_init=1.0`"),
        (
            "data.sft_field=[user,answer]",
            "for example `--set 'data.sft_field=[\"question\",\"answer\"]'`",
        ),
        ("data.data_type=txt", "did you mean `utf-8`?"),
        ("train.epoch_count=4", "state.toml: valid"),
    ] {
        says(&case.statetune(&["check", STATE, "--set", setting]), help);
    }
    let output = case.statetune(&["check", STATE, "--set", "recipe=states"]);
    says(&output, "did you mean `state`?");
    assert!(!output.stderr.contains("missing key"), "{output:?}");
}

#[test]
fn options_of_other_trainers_name_the_setting() {
    for (arguments, tip) in [
        ("run state.toml --epochs 3", "set the key: `--set train.epoch_count=3`"),
        ("run state.toml --device cuda", "set the key: `--set hardware.accelerator=gpu`"),
        ("data chek state.toml", "use `statetune data check`"),
        (
            "run state.toml --set train.micro_bsz 4",
            "write the setting with `=`: `--set train.micro_bsz=4`",
        ),
    ] {
        let output = Case::new().statetune(&arguments.split(' ').collect::<Vec<_>>());
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains(&format!("\n  tip: {tip}\n")), "{output:?}");
        assert_eq!(output.stderr.matches("tip:").count(), 1, "{output:?}");
    }
    let output = Case::new().statetune(&["sweep", STATE, "--progress", "none"]);
    assert!(!output.stderr.contains("tip:"), "{output:?}");
    let output = Case::new().statetune(&["generate", "latest", "--temperature", "-1"]);
    says(&output, "must be at least 0");
}
