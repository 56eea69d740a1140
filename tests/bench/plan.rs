//! Predictions of `statetune plan` against measurements: `cargo bench --bench plan`.
//!
//! Every case makes a model with random weights and random tokens, plans a run of a few steps and runs it, each with
//! the real program in a process of its own. Prints a line of Markdown for each case: predicted and measured peak of
//! resident memory, predicted and minimum measured seconds of a step. `cargo bench --bench plan -- NAME` runs one case,
//! `-- held-out` the cases that no constant of the forecast was fitted to.
//!
//! `docs/benchmarks.md` holds the table of one machine.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use statetune_engine::model::{Shape, Version, Weights};
use tch::{Device, Kind, Tensor};

/// Steps of a run, of which the first one warms up. With other programs on the machine, only the minimum of several
/// times is meaningful.
const STEPS: usize = 4;

struct Case {
    name: &'static str,
    version: Version,
    /// Blocks, channels and token ids.
    sizes: [i64; 3],
    /// The table `[peft]`, without its header.
    peft: &'static str,
    quant: &'static str,
    precision: &'static str,
    grad_cp: bool,
    /// Samples and tokens in each.
    batch: [i64; 2],
}

const WORLD: i64 = 65536;
const TINY: i64 = 4096;
const STATE: &str = "type = \"state\"";
const LORA: &str = "type = \"lora\"\nrank = 32\nalpha = 32";
const PISSA: &str = "type = \"pissa\"\nrank = 32";
const BONE: &str = "type = \"disha\"\nrank = 64";
const BAT: &str = "type = \"disha\"\nmode = \"bat\"\nrank = 64";
const FULL: &str = "type = \"full\"";

/// The base case: RWKV-7 in bf16, dense.
const V7: Case = Case {
    name: "",
    version: Version::V7,
    sizes: [8, 1024, TINY],
    peft: STATE,
    quant: "none",
    precision: "bf16",
    grad_cp: false,
    batch: [2, 512],
};

#[rustfmt::skip]
const CASES: [Case; 17] = [
    Case { name: "v7 state bf16", sizes: [12, 768, WORLD], ..V7 },
    Case { name: "v7 state bf16 cp 1024", grad_cp: true, batch: [2, 1024], ..V7 },
    Case { name: "v7 state fp32", precision: "fp32", batch: [1, 512], ..V7 },
    Case { name: "v7 state int8", quant: "int8", sizes: [12, 1024, TINY], ..V7 },
    Case { name: "v7 state nf4 cp 1024", quant: "nf4", grad_cp: true, batch: [2, 1024], sizes: [12, 1024, WORLD], ..V7 },
    Case { name: "v7 lora bf16", peft: LORA, ..V7 },
    Case { name: "v7 lora nf4 cp", peft: LORA, quant: "nf4", grad_cp: true, batch: [4, 512], ..V7 },
    Case { name: "v7 pissa bf16", peft: PISSA, batch: [1, 512], ..V7 },
    Case { name: "v7 bone int8", peft: BONE, quant: "int8", ..V7 },
    Case { name: "v7 bat bf16 cp", peft: BAT, grad_cp: true, ..V7 },
    Case { name: "v7 full bf16 cp", peft: FULL, grad_cp: true, ..V7 },
    Case { name: "v7 full fp32", peft: FULL, precision: "fp32", batch: [1, 256], ..V7 },
    Case { name: "v6 state bf16", version: Version::V6, ..V7 },
    Case { name: "v6 lora nf4 cp", version: Version::V6, peft: LORA, quant: "nf4", grad_cp: true, batch: [4, 512], ..V7 },
    Case { name: "v6 full bf16", version: Version::V6, peft: FULL, ..V7 },
    Case { name: "v5 state int8 fp32", version: Version::V5, quant: "int8", precision: "fp32", ..V7 },
    Case { name: "v5 lora bf16", version: Version::V5, peft: LORA, ..V7 },
];

/// Cases of other sizes, lengths and methods, to which the constants of the forecast are never fitted: they measure
/// prediction.
#[rustfmt::skip]
const HELD_OUT: [Case; 6] = [
    Case { name: "v7 state fp16 3 x 384", sizes: [6, 512, TINY], precision: "fp16", batch: [3, 384], ..V7 },
    Case { name: "v7 lora bf16 5 layers x 1536", sizes: [5, 1536, TINY], peft: LORA, batch: [1, 768], ..V7 },
    Case { name: "v6 state nf4 10 layers x 768", version: Version::V6, sizes: [10, 768, WORLD], quant: "nf4", batch: [2, 640], ..V7 },
    Case { name: "v6 bone bf16 cp 6 x 256", version: Version::V6, sizes: [6, 768, TINY], peft: BONE, grad_cp: true, batch: [6, 256], ..V7 },
    Case { name: "v5 full fp32 12 layers x 512", version: Version::V5, sizes: [12, 512, TINY], peft: FULL, precision: "fp32", batch: [2, 320], ..V7 },
    Case { name: "v7 pissa fp32 cp 1 x 1536", sizes: [6, 768, WORLD], peft: PISSA, precision: "fp32", grad_cp: true, batch: [1, 1536], ..V7 },
];

fn main() {
    let asked: Vec<String> = std::env::args().skip(1).filter(|x| !x.starts_with("--")).collect();
    println!(
        "| case | part | memory predicted MB | measured MB | off | step predicted s | measured s | off |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let fitted = CASES.iter().map(|case| (case, "fitted"));
    let held_out = HELD_OUT.iter().map(|case| (case, "held-out"));
    for (case, part) in fitted.chain(held_out) {
        if asked.is_empty() || asked.iter().any(|name| name == case.name || name == part) {
            case.run(part);
        }
    }
}

impl Case {
    fn run(&self, part: &str) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        self.write(folder.path());
        let [planned, ran] =
            [&["plan", "--measure", "--format", "json"][..], &["run", "--progress", "none"]]
                .map(|arguments| statetune(folder.path(), arguments));
        let planned: Value = serde_json::from_str(&planned).expect("a forecast");
        let run = ran.lines().find_map(|line| line.strip_prefix("run      ")).expect("a run");
        let run = folder.path().join(run);
        let events = lines(&run.join("events.jsonl"));
        let peak =
            events.last().expect("an event")["peak_resident_bytes"].as_f64().expect("a peak");
        let positions = (self.batch[0] * self.batch[1]) as f64;
        let speeds = lines(&run.join("times.jsonl"));
        let speeds =
            speeds.iter().skip(1).map(|line| line["positions_per_s"].as_f64().expect("a speed"));
        let secs = positions / speeds.fold(0.0, f64::max);
        let off = |predicted: f64, measured: f64| 100.0 * (predicted / measured - 1.0);
        let bytes = planned["memory"]["total"].as_f64().expect("memory");
        let step = planned["time"]["step_secs"].as_f64().expect("a time");
        println!(
            "| {} | {part} | {:.0} | {:.0} | {:+.1} % | {step:.3} | {secs:.3} | {:+.1} % |",
            self.name,
            bytes / 1e6,
            peak / 1e6,
            off(bytes, peak),
            off(step, secs)
        );
    }

    /// Writes model, tokens and experiment file.
    fn write(&self, folder: &Path) {
        tch::manual_seed(1);
        let [n_layer, n_embd, vocab_size] = self.sizes;
        let shape = Shape::for_scratch(self.version, n_layer, n_embd, vocab_size);
        let weights = Weights::from_fn(shape, |_, size| {
            (Tensor::randn(size, (Kind::Float, Device::Cpu)) * 0.02).to_kind(Kind::BFloat16)
        });
        weights.save_pth(&folder.join("model.pth")).expect("written");
        drop(weights);
        let ids = vocab_size.min(65530);
        let tokens: Vec<u8> = (0u64..1 << 16)
            .flat_map(|i| {
                ((1 + i.wrapping_mul(2_654_435_761) % (ids as u64 - 1)) as u16).to_le_bytes()
            })
            .collect();
        fs::write(folder.join("tokens.bin"), tokens).expect("written");
        let tokenizer = concat!(env!("CARGO_MANIFEST_DIR"), "/models/tiny-vocab.txt");
        let tokenizer = if vocab_size == TINY { tokenizer } else { "world" };
        let Case { peft, quant, precision, grad_cp, batch: [micro_bsz, ctx_len], .. } = self;
        let text = format!(
            "format = 1\nname = \"bench\"\n\
             [data]\ndata_type = \"uint16\"\ndata_file = \"tokens.bin\"\ndataload = \"get\"\nval_split = 0.0\n\
             [model]\nload_model = \"model.pth\"\ntokenizer = \"{tokenizer}\"\n\
             [peft]\n{peft}\n[quant]\ntype = \"{quant}\"\n\
             [train]\nctx_len = {ctx_len}\nmicro_bsz = {micro_bsz}\nepoch_steps = {STEPS}\n\
             precision = \"{precision}\"\ngrad_cp = {grad_cp}\n\
             [schedule]\nlr_init = 1e-5\nlr_schedule = \"constant\"\n\
             [log]\nevery_steps = 1\n[hardware]\naccelerator = \"cpu\"\n"
        );
        fs::write(folder.join("bench.toml"), text).expect("written");
    }
}

/// Standard output of the program in a folder.
fn statetune(folder: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_statetune"));
    let output = command.current_dir(folder).args(arguments).arg("bench.toml").output();
    let output = output.expect("the program starts");
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).expect("a record of the run");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}
