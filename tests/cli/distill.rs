//! Distillation, and the distance from the base on general text.

use crate::case::{Case, STATE};
use crate::{devices, kills};

/// A teacher that has read two turns, and everything that is read on the side.
const DISTILL: [&str; 8] = [
    "objective.type=distill",
    "objective.prompt=User: Hi there.\n\nAssistant: Hello!\n\n",
    "objective.draw_tokens=6",
    "objective.draw=2",
    "objective.temperature=1.5",
    "objective.keep=0.2",
    "eval.forgetting=true",
    "eval.general=data.jsonl",
];

fn set<'a>(settings: &[&'a str]) -> Vec<&'a str> {
    settings.iter().flat_map(|one| ["--set", *one]).collect()
}

/// The case with this table.
fn case(table: &str) -> Case {
    let case = Case::new();
    let text = case.read(STATE) + "\n[objective]\ntype = \"distill\"\n" + table;
    case.having(STATE, text)
}

#[test]
fn a_teacher_answers_once_and_the_student_comes_near() {
    let case = Case::new();
    case.write("base.pth", include_bytes!("../../models/tiny-chat.pth"));
    let run = |more: &[&str]| {
        let output = case.statetune(&[&["run", STATE][..], &set(&DISTILL), more].concat());
        output.is_done_with_warnings();
        output
    };
    let output = run(&set(&["train.epoch_count=4"]));
    let saved = "saved    a prompt of 12 tokens in every request\n";
    assert!(output.stdout.contains(saved), "{}", output.stdout);
    let run_dir = case.only_run();
    let drawn = case.lines(run_dir.join("drawn.jsonl"));
    assert!(drawn.len() > 15, "{drawn:?}");
    let events = case.lines(run_dir.join("events.jsonl"));
    let numbers = |event: &str, key: &str| -> Vec<f64> {
        let lines = events.iter().filter(|line| line["event"] == event);
        lines.map(|line| line[key].as_f64().expect("a number")).collect()
    };
    let losses = numbers("eval", "val_loss");
    assert!(losses[0] > 0.0 && losses[losses.len() - 1] < losses[0] * 0.85, "{losses:?}");
    let distances = numbers("forgetting", "kl");
    assert_eq!(distances.len(), losses.len());
    assert!(distances[0].abs() < 1e-6 && distances[1] > 1e-6, "{distances:?}");
    let facts = events[0]["facts"].to_string();
    assert!(facts.contains("the same weights after a prompt of 12 tokens"), "{facts}");
    // The cache has the documents: the second run writes none.
    let cache = case.list("runs/.cache/drawn");
    run(&[]);
    assert_eq!((cache.len(), case.list("runs/.cache/drawn")), (1, cache));
}

#[test]
fn a_distance_above_the_limit_ends_the_run() {
    let case = Case::new();
    let limit = ["eval.forgetting=true", "eval.general=data.jsonl", "eval.max_forgetting=1e-6"];
    let output = case.statetune(&[&["run", STATE][..], &set(&limit)].concat());
    let line =
        "stopped early after step 2: the distance from the base is above `eval.max_forgetting`";
    assert!(output.is_done().stdout.contains(line), "{}", output.stdout);
}

#[test]
fn every_teacher_teaches() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let trained = case.only_run().to_string_lossy().into_owned();
    case.write("long.txt", "User: a\n\nAssistant: b\n\n".repeat(200));
    let by = |teacher: &str| format!("objective.{teacher}");
    for (peft, teacher) in [
        ("peft.type=state", by(&format!("teacher={trained}"))),
        ("peft.type=lora", by("prompt_file=long.txt")),
        ("peft.type=pissa", by("prompt_file=long.txt")),
        ("peft.type=full", by("prompt_file=long.txt")),
        ("peft.type=state", by("teacher_model=base.pth")),
    ] {
        let more = [
            peft,
            "objective.type=distill",
            &teacher,
            "objective.answers=data",
            "objective.top_k=8",
            "objective.alpha=0.5",
            "schedule.lr_init=1e-3",
            "schedule.lr_final=1e-4",
            "data.dataload=pack",
            "train.chunk_ctx=16",
            "train.epoch_count=1",
        ];
        let output = case.statetune(&[&["run", STATE][..], &set(&more)].concat());
        output.is_done_with_warnings();
    }
}

#[test]
fn on_two_devices_it_has_the_bits_of_one() {
    let packed = ["data.dataload=pack", "train.chunk_ctx=16", "objective.answers=data"];
    let settings: Vec<&str> =
        DISTILL.into_iter().filter(|one| !one.contains("draw")).chain(packed).collect();
    devices::same_bits_with("state", &settings, &[2]);
}

#[test]
fn killed_at_some_calls_it_ends_the_same() {
    kills::survives(&set(&DISTILL), |calls| (1..4).map(|i| i * calls / 4).collect());
}

#[test]
fn a_distillation_needs_one_teacher() {
    case("").refuses(
        2,
        "\
error[ST2220]: `type = \"distill\"` requires a teacher
  --> state.toml:35:8
   |
35 | type = \"distill\"
   |        ^^^^^^^^^
   |
   = note: without a text or a trained file, the teacher is the model that the student starts from
   = help: set `prompt`, `prompt_file`, `teacher` or `teacher_model`
",
    );
    case("prompt = \"a\"\nprompt_file = \"data.jsonl\"\n").refuses(
        2,
        "\
error[ST2220]: `prompt` and `prompt_file` both say who teaches
  --> state.toml:37:15
   |
37 | prompt_file = \"data.jsonl\"
   |               ^^^^^^^^^^^^
   |
   = help: delete `prompt` or `prompt_file`
",
    );
    case("prompt = \"a\"\nteacher = \"base.pth\"\n").refuses(
        2,
        "\
error[ST2220]: `prompt` and `teacher` both say who teaches
  --> state.toml:37:11
   |
37 | teacher = \"base.pth\"
   |           ^^^^^^^^^^
   |
   = help: delete `prompt` or `teacher`
",
    );
    case("prompt = \"a\"\ndraw = 2\nanswers = \"data\"\n").refuses(
        2,
        "\
error[ST2221]: questions that the teacher writes have no answers in the data
  --> state.toml:37:8
   |
37 | draw = 2
   |        ^
   |
   = help: set `answers = \"teacher\"`
   = help: or delete `draw`
",
    );
    case("prompt_file = \"gone.txt\"\n").refuses(
        21,
        "\
error[ST4001]: the file of `objective.prompt_file`, `gone.txt`, does not exist
  --> state.toml:36:15
   |
36 | prompt_file = \"gone.txt\"
   |               ^^^^^^^^^^
   |
   = help: relative paths start at the folder of the experiment file
",
    );
}

#[test]
fn a_teacher_has_the_vocabulary_of_the_student() {
    let case = case("teacher_model = \"other.pth\"\n");
    case.write("other.pth", crate::case::checkpoint(small()));
    case.refuses_to(
        &["run", STATE],
        21,
        "\
error[ST2222]: the teacher `other.pth` has 4100 token ids, the model has 4096
  --> state.toml:36:17
   |
36 | teacher_model = \"other.pth\"
   |                 ^^^^^^^^^^^
   |
   = note: distributions are compared token by token, so the vocabularies must be equal
",
    );
}

/// A model with other token ids.
fn small() -> statetune_engine::model::Shape {
    use statetune_engine::model::{Shape, Version};
    Shape::for_scratch(Version::V7, 1, 64, 4100)
}

#[test]
fn forgetting_is_measured_on_a_text() {
    let with = |table: &str| {
        let case = Case::new();
        let text = case.read(STATE) + table;
        case.having(STATE, text)
    };
    with("\n[eval]\nforgetting = true\n").refuses(
        2,
        "\
error[ST2223]: `eval.forgetting` requires `eval.general`
  --> state.toml:35:14
   |
35 | forgetting = true
   |              ^^^^
   |
   = help: set `eval.general` to a file of text that is unlike the data
",
    );
    with("\n[eval]\ngeneral = \"data.jsonl\"\n").refuses(
        2,
        "\
error[ST2223]: `eval.general` only applies with `eval.forgetting` or `objective.keep`
  --> state.toml:35:11
   |
35 | general = \"data.jsonl\"
   |           ^^^^^^^^^^^^
   |
   = help: set `eval.forgetting = true`, or delete the setting
",
    );
    with("\n[eval]\nmax_forgetting = 1.0\n").refuses(
        2,
        "\
error[ST2223]: `eval.max_forgetting` only applies with `eval.forgetting`
  --> state.toml:35:18
   |
35 | max_forgetting = 1.0
   |                  ^^^
   |
   = help: set `eval.forgetting = true`, or delete the setting
",
    );
}
