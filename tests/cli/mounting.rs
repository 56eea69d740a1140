//! `mount` proves the model that the other program will hold, at every position, or says that it cannot.

use serde_json::Value;
use statetune_engine::exports::Passport;
use statetune_engine::model::{TimeState, Weights, fingerprint};

use crate::case::{Case, Output, STATE};

const TOKENS: &str = "[1, 72, 4095, 5, 0, 33, 900, 2, 17, 1023, 72, 5, 61, 8]";

/// A case after a run with these lines for `type = "state"`.
fn run(peft: &str) -> Case {
    let case = Case::new().with(STATE, "type = \"state\"", peft).having("tokens.json", TOKENS);
    let is_adapter = peft.contains("lora");
    let rate = if is_adapter { "lr_init = 1e-4" } else { "lr_init = 1.0" };
    let case =
        case.with(STATE, "lr_init = 1.0", rate).with(STATE, "lr_final = 0.01", "lr_final = 1e-5");
    case.statetune(&["run", STATE]).is_done_with_warnings();
    case
}

fn mount(case: &Case, more: &[&str]) -> Output {
    case.statetune(&[&["mount", "latest", "--for", "rwkv-pip"], more].concat())
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&output.is_done().stdout).expect("JSON")
}

/// Runs a command line that the program printed.
fn follow(case: &Case, line: &str) -> Output {
    let line = line.replace("CASE", &case.path("").to_string_lossy());
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[0], "statetune", "{line}");
    case.statetune(&words[1..])
}

fn mean_nll(case: &Case, subject: &[&str]) -> f64 {
    let output = case.statetune(&[&["score", "--tokens", "tokens.json"], subject].concat());
    json_of(&output)["mean_nll"].as_f64().expect("a number")
}

fn json_of(output: &Output) -> Value {
    assert_eq!(output.code, Some(0), "{output:?}");
    serde_json::from_str(&output.stdout).expect("JSON")
}

#[test]
fn an_adapter_beside_the_state_is_merged_first() {
    for (quant, flag) in [("", ""), ("\n\n[quant]\ntype = \"nf4\"", " --quantised")] {
        let case = run(&format!("type = \"lora\"\nrank = 4\nstate = true{quant}"));
        let refused = mount(&case, &[]);
        let merge = format!("statetune merge latest{flag} --states beside --out merged.pth");
        let then = "statetune mount merged-state.pth --for rwkv-pip --model merged.pth --tokenizer vocab.txt";
        let message = format!(
            "\
error[ST8010]: `latest` trained an adapter together with its state
  |
  = note: rwkv-pip would use the state with the base weights and without the adapter, which is another model
  = help: merge the adapter into the weights, and mount the state on the merged model:
          {merge}
          {then}"
        );
        assert_eq!(refused.stderr.trim_end(), message);
        assert_eq!((refused.code, &*refused.stdout), (Some(28), ""));

        assert_eq!(follow(&case, &merge).code, Some(0));
        let mounted = follow(&case, &format!("{then} --format json"));
        let object = json(&mounted);
        assert_eq!(object["model"], "merged.pth");
        assert_eq!(
            (&object["shows_order"], &object["difference_to_training"]),
            (&true.into(), &Value::Null)
        );
        assert!(object["difference"].as_f64().expect("a number") < 1e-4, "{object}");
        assert!(
            object["entry"].as_str().expect("a text").contains("RWKV(model=\"CASE/merged\""),
            "{object}"
        );
        // What the program holds has the loss of the run.
        let merged = mean_nll(&case, &["merged-state.pth", "--model", "merged.pth"]);
        let tuned = mean_nll(&case, &["latest"]);
        assert!((merged - tuned).abs() < 0.02, "{merged} {tuned}");
        assert!(
            (mean_nll(&case, &["merged-state.pth", "--model", "base.pth"]) - tuned).abs() > 0.0
        );
    }
    // The files alone: the run is unknown.
    let case = run("type = \"lora\"\nrank = 4\nstate = true");
    let adapter = case.only_run().join("export/rwkv-1.pth").to_string_lossy().into_owned();
    let output = case.statetune(&["mount", &adapter, "--for", "ai00", "--model", "base.pth"]);
    let help = "= help: merge the run of the adapter with `statetune merge RUN --states beside`, and mount the state that it writes";
    assert!(output.stderr.trim_end().ends_with(help), "{output:?}");
    assert_eq!((output.code, &*output.stdout), (Some(28), ""));
}

/// The program loads the dense weights; how far they are from those of training is said.
#[test]
fn a_state_on_packed_weights() {
    let case = run("type = \"state\"\n\n[quant]\ntype = \"nf4\"");
    let object = json(&mount(&case, &["--format", "json"]));
    let number = |key: &str| object[key].as_f64().expect("a number");
    assert!(number("difference") < 1e-4 && number("difference_to_training") > 1e-3, "{object}");
    let said = mount(&case, &[]).stdout;
    let note = said.lines().find(|line| line.contains("trained on nf4 weights")).expect("a note");
    let merge = note.rsplit("for the weights of training: ").next().expect("a command");
    assert_eq!(merge, "statetune merge latest --quantised --states beside --out merged.pth");

    // The same by the passport of the file alone.
    let file = case.only_run().join("export/rwkv-1.st").to_string_lossy().into_owned();
    let by_file =
        ["mount", &file, "--for", "ai00", "--model", "base.pth", "--tokenizer", "vocab.txt"];
    let said = case.statetune(&by_file);
    assert!(said.is_done().stdout.contains("trained on nf4 weights"), "{said:?}");

    assert_eq!(follow(&case, merge).code, Some(0));
    let by_file = ["mount", "merged-state.pth", "--for", "rwkv-pip", "--model", "merged.pth"];
    let said = case.statetune(&[&by_file[..], &["--tokenizer", "vocab.txt"]].concat());
    assert!(!said.is_done().stdout.contains("trained on"), "{said:?}");
    let merged = mean_nll(&case, &["merged-state.pth", "--model", "merged.pth"]);
    let tuned = mean_nll(&case, &["latest"]);
    assert!((merged - tuned).abs() < 0.02, "{merged} {tuned}");
}

/// A run that trained all weights exported them, with the state beside them.
#[test]
fn a_whole_model_and_its_state() {
    let case = run("type = \"full\"\nstate = true");
    let export = case.only_run().join("export");
    let object = json(&mount(&case, &["--format", "json"]));
    assert_eq!(object["model"], "runs/DATE-tiny-ID/export/rwkv-1.pth");
    assert_eq!(object["shows_order"], true);
    let folder = export.join("rwkv-pip");
    let files = case.list(&folder);
    let file = files.iter().find(|name| name.ends_with(".pth")).expect("a state");
    let passport = Passport::of(&case.path(folder.join(file))).expect("sound").expect("a passport");
    let base = passport.base.expect("a base");
    let model = fingerprint(&case.path(export.join("rwkv-1.pth"))).expect("a model");
    assert_eq!((base.file.as_str(), base.fingerprint), ("rwkv-1.pth", model));
}

#[test]
fn a_proof_that_proves_nothing_says_so() {
    let case = run("type = \"state\"");
    let said = mount(&case, &[]).stdout;
    let proof = said.lines().find(|line| line.starts_with("proof")).expect("a proof");
    assert!(proof.starts_with("proof  with base.pth, at each of "), "{proof}");

    let shape = *Weights::load(&case.path("base.pth")).expect("the model").shape();
    let file = case.path(case.only_run().join("export/rwkv-1.pth"));
    let state = TimeState::load(&file, &shape).expect("a state");
    let symmetric = TimeState::of_wkv(state.wkv.iter().map(|s| s + s.transpose(1, 2)).collect());
    case.write_state("symmetric", &symmetric, &shape);
    let by_file = ["mount", "symmetric.pth", "--for", "rwkv-pip", "--model", "base.pth"];
    let by_file = [&by_file[..], &["--tokenizer", "vocab.txt"]].concat();
    let said = case.statetune(&by_file).is_done_with_warnings().stdout.clone();
    let proof = said.lines().find(|line| line.starts_with("proof")).expect("a proof");
    assert!(
        proof.starts_with("proof  none: ")
            && proof.ends_with("too little to show the order of its axes"),
        "{proof}"
    );
    let object = json_of(&case.statetune(&[&by_file[..], &["--format", "json"]].concat()));
    assert_eq!(object["shows_order"], false);
}

/// What the printed program uses of PyTorch and of the `rwkv` package, which look at their files and say what they got.
const STUBS: [(&str, &str); 5] = [
    (
        "torch.py",
        "\
class Tensor:
    def float(self): return self
    def transpose(self, *dims): return self
    def contiguous(self): return self
class States(dict):
    def __missing__(self, name): return Tensor()
def load(path, map_location, weights_only):
    open(path, 'rb').close()
    return States()
def zeros(n): return Tensor()
",
    ),
    ("rwkv/__init__.py", ""),
    (
        "rwkv/model.py",
        "\
class Logits:
    def __init__(self, best): self.best = best
    def argmax(self): return self.best
class RWKV:
    def __init__(self, model, strategy):
        open(model + '.pth', 'rb').close()
        self.left = 3
    def forward(self, tokens, state):
        print('reads', tokens, len(state))
        self.left -= 1
        return Logits(self.left), state
",
    ),
    (
        "rwkv/rwkv_tokenizer.py",
        "\
class TRIE_TOKENIZER:
    def __init__(self, path): open(path, 'rb').close()
    def encode(self, text): return [text]
    def decode(self, tokens): return repr(tokens)
",
    ),
    ("rwkv/utils.py", ""),
];

#[test]
fn the_printed_python_program_runs_as_it_is_in_any_folder() {
    let case = run("type = \"state\"");
    let printed = mount(&case, &[]);
    let program = printed.is_done().stdout.split_once("\n\n").expect("a program").1;
    let program = program.replace("CASE", case.path("").to_string_lossy().trim_end_matches('/'));
    let name = case.only_run().file_name().expect("a name").to_string_lossy().into_owned();
    case.write("elsewhere/use.py", program.replace("DATE-tiny-ID", &name));
    for (file, text) in STUBS {
        case.write(format!("stubs/{file}"), text);
    }
    let output = std::process::Command::new("python3")
        .arg("use.py")
        .current_dir(case.path("elsewhere"))
        .env("PYTHONPATH", case.path("stubs"))
        .output()
        .expect("python3 starts");
    assert_eq!(
        (&*String::from_utf8_lossy(&output.stdout), &*String::from_utf8_lossy(&output.stderr)),
        (
            "reads ['User: Tell me about your day.\\n\\nAssistant:'] 6\nreads [2] 6\nreads [1] 6\n[2, 1]\n",
            ""
        )
    );
}
