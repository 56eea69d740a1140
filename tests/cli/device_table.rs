//! Every method on every device: one table of methods, formats of frozen weights, `grad_cp` and loaders. The CPU and the
//! null GPU, on which numbers mean nothing, are always there; a GPU of this machine must train as the CPU does.

use serde_json::Value;

use crate::case::{Case, Output, STATE};
use crate::gpu::has_gpu;
use crate::null_gpu_case::NullGpu;

/// Methods, by a name and the lines of `[peft]`.
const METHODS: [(&str, &str); 8] = [
    ("state", "type = \"state\""),
    ("lora", "type = \"lora\"\nrank = 4\ndropout = 0.1"),
    ("lora and more", "type = \"lora\"\nrank = 4\nstate = true\ntrain_parts = [\"ln\", \"time\"]"),
    ("pissa", "type = \"pissa\"\nrank = 4"),
    ("disha", "type = \"disha\"\nrank = 16"),
    ("bat", "type = \"disha\"\nmode = \"bat\"\nrank = 16"),
    ("full", "type = \"full\""),
    ("full in part", "type = \"full\"\ntrain_parts = [\"ln\", \"time\"]"),
];

/// Formats of frozen weights, by the lines of `[quant]`.
const FORMATS: [&str; 7] = [
    "type = \"none\"",
    "type = \"int8\"",
    "type = \"fp8\"",
    "type = \"nf4\"",
    "type = \"nf4\"\ndouble = true",
    "type = \"fp4\"",
    "type = \"fp4\"\ndouble = true",
];

/// Loaders, by the lines of `[data]` and the rows of a batch.
const LOADERS: [(&str, u32); 4] = [
    ("dataload = \"pad\"", 4),
    ("dataload = \"pack\"", 2),
    ("dataload = \"only\"", 1),
    ("dataload = \"get\"", 2),
];

/// A row of the table.
#[derive(Clone, Copy, Debug)]
struct Row {
    method: (&'static str, &'static str),
    format: &'static str,
    grad_cp: bool,
    loader: (&'static str, u32),
}

impl Row {
    /// Whether weights of the format can be trained by the method.
    fn is_valid(self) -> bool {
        self.format == FORMATS[0] || !self.method.1.contains("full")
    }

    fn case(self) -> Case {
        let Row { method: (_, peft), format, grad_cp, loader: (dataload, rows) } = self;
        let mask = if dataload.contains("get") { "none" } else { "assistant" };
        Case::new()
            .with(STATE, "type = \"state\"", &format!("{peft}\n\n[quant]\n{format}"))
            .with(
                STATE,
                "loss_mask = \"assistant\"",
                &format!("loss_mask = \"{mask}\"\n{dataload}"),
            )
            .with(STATE, "micro_bsz = 4", &format!("micro_bsz = {rows}\ngrad_cp = {grad_cp}"))
            .with(STATE, "lr_init = 1.0", "lr_init = 1e-3")
            .with(STATE, "lr_final = 0.01", "lr_final = 1e-3")
    }

    /// Losses of a run, and of its validation.
    fn losses(self, case: &Case, output: &Output) -> Vec<f64> {
        output.is_done_quietly();
        let run = case.only_run();
        let losses = case.lines(run.join("events.jsonl")).into_iter().chain(case.metrics(&run));
        losses
            .flat_map(|line| ["val_loss", "loss"].map(|name| line[name].clone()))
            .filter_map(|value: Value| value.as_f64())
            .collect()
    }

    /// Trains on every device.
    fn check(self) {
        println!("{self:?}");
        let case = self.case();
        let on_cpu = self.losses(&case, &case.statetune(&["run", STATE]));
        assert!(on_cpu.len() > 4 && on_cpu.iter().all(|loss| *loss > 1.0), "{self:?}: {on_cpu:?}");
        let gpu = NullGpu::new(self.case());
        // Tensors of kernels that the host reads hold zeros if nothing was in their memory before.
        let reads_kernels = self.method.0 == "pissa";
        let fresh = [("PYTORCH_NO_CUDA_MEMORY_CACHING", "1")];
        gpu.run(&[], if reads_kernels { &fresh } else { &[] }).0.is_done_quietly();
        if has_gpu() {
            let case = self.case();
            let arguments = ["run", STATE, "--set", "hardware.accelerator=gpu"];
            let on_gpu = self.losses(&case, &case.statetune(&arguments));
            assert_eq!(on_gpu.len(), on_cpu.len());
            for (gpu, cpu) in on_gpu.iter().zip(&on_cpu) {
                assert!((gpu / cpu - 1.0).abs() < 1e-3, "{self:?}: {on_gpu:?}, CPU {on_cpu:?}");
            }
        }
    }
}

/// The method with every format, and `grad_cp` and the loaders in turn.
fn trains(name: &str) {
    let number = METHODS.iter().position(|method| method.0 == name).expect("a method");
    for (i, format) in FORMATS.into_iter().enumerate() {
        let (grad_cp, loader) = ((i + number) % 2 == 1, LOADERS[(i + number / 2) % 4]);
        let row = Row { method: METHODS[number], format, grad_cp, loader };
        if row.is_valid() {
            row.check();
        }
    }
}

#[test]
fn state_tuning_runs_on_every_device() {
    trains("state");
}

#[test]
fn lora_runs_on_every_device() {
    trains("lora");
}

#[test]
fn lora_with_states_and_parts_runs_on_every_device() {
    trains("lora and more");
}

#[test]
fn pissa_runs_on_every_device() {
    trains("pissa");
}

#[test]
fn disha_runs_on_every_device() {
    trains("disha");
}

#[test]
fn bat_runs_on_every_device() {
    trains("bat");
}

#[test]
fn full_tuning_runs_on_every_device() {
    trains("full");
    trains("full in part");
}

/// Whatever loads a model for a GPU packs it there.
#[test]
fn every_command_uses_packed_weights_on_the_null_gpu() {
    for (peft, format) in [(METHODS[0], FORMATS[4]), (METHODS[1], FORMATS[1])] {
        let row = Row { method: peft, format, grad_cp: false, loader: LOADERS[0] };
        let gpu =
            NullGpu::new(row.case().with(STATE, "accelerator = \"cpu\"", "accelerator = \"gpu\""));
        for command in [
            &["run", STATE][..],
            &["plan", STATE, "--measure"],
            &["data", "show", STATE, "--worst", "1"],
            &["generate", "latest", "-p", "Hi"],
            &["generate", "latest", "--base", "-p", "Hi"],
            &["eval", "latest"],
            &["run", STATE, "--set", "train.epoch_count=3", "--resume", "auto"],
        ] {
            let (output, _) = gpu.statetune(command, &[]);
            println!("{command:?}: {:?}", output.code);
            output.is_done_quietly();
        }
    }
}

#[test]
#[ignore = "minutes: the whole table"]
fn the_whole_table_runs_on_every_device() {
    for method in METHODS {
        for format in FORMATS {
            for grad_cp in [false, true] {
                for loader in LOADERS {
                    let row = Row { method, format, grad_cp, loader };
                    if row.is_valid() {
                        row.check();
                    }
                }
            }
        }
    }
}
