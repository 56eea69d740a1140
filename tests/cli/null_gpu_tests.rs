//! The program on the null GPU: what it asks of a GPU, and how it ends where the GPU, its memory or its libraries fail.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::json;
use statetune_core::digest::sha256_hex;
use statetune_engine::model::{Shape, Version};

use crate::case::{Case, Output, STATE, checkpoint};
use crate::null_gpu::folder;
use crate::null_gpu_case::{Counts, NullGpu};

fn null_gpu() -> NullGpu {
    NullGpu::new(Case::new())
}

// ---- memory ---------------------------------------------------------------------------------

#[test]
fn the_end_of_a_run_tells_of_reserved_memory() {
    let gpu = null_gpu();
    let (output, counts) = gpu.run(&[], &[]);
    output.is_done_quietly();
    let run = gpu.case.only_run();
    let events = gpu.case.lines(run.join("events.jsonl"));
    let end = events.iter().find(|event| event["event"] == "end").expect("the end");
    let (allocated, reserved) = (&end["peak_gpu_bytes"], &end["peak_gpu_reserved_bytes"]);
    assert_eq!(reserved.as_i64(), Some(counts.of("reserved")), "{end}");
    assert!(allocated.as_i64() < reserved.as_i64(), "{end}");
    assert!(output.stdout.contains(" reserved, "), "{}", output.stdout);
}

/// What libtorch allocates for cuBLAS on a GPU of this kind. The forecast counts it as a part of the program.
const CUBLAS_WORKSPACE: f64 = (32 << 20) as f64;

/// Bytes of tensors and what a plan forecasts for them: the forecast without the program and the gaps between tensors.
#[test]
fn the_forecast_of_tensors_is_near_what_libtorch_allocates() {
    let base = checkpoint(Shape::for_scratch(Version::V7, 4, 512, 8192));
    for (settings, most) in [
        (&["train.grad_cp=false"][..], 0.1),
        (&["train.grad_cp=true"], 0.15),
        (&["quant.type=nf4", "train.grad_cp=true"], 0.15),
        (&["peft.type=lora", "peft.rank=8"], 0.1),
    ] {
        let gpu = NullGpu::new(windows(&base));
        let shape = ["train.precision=bf16", "train.micro_bsz=4", "train.ctx_len=512"];
        let few = ["train.epoch_count=1", "sample.held_out=0", "data.val_split=0"];
        gpu.run(&[settings, &shape, &few].concat(), &[]).0.is_done_quietly();
        let run = gpu.case.only_run();
        let plan = gpu.case.json(run.join("plan.json"));
        let items = plan["memory"]["items"].as_array().expect("items").iter();
        let items = items.filter(|one| one["item"] != "program" && one["item"] != "holes");
        let forecast: f64 = items.map(|one| one["bytes"].as_f64().expect("bytes")).sum();
        let events = gpu.case.lines(run.join("events.jsonl"));
        let found = events.iter().find_map(|event| event["peak_gpu_bytes"].as_f64());
        let error = (forecast + CUBLAS_WORKSPACE) / found.expect("a peak") - 1.0;
        println!("{settings:?}: forecast {forecast:.3e}, {:+.1} %", error * 100.0);
        assert!(error.abs() < most, "{settings:?}: {error}");
    }
}

/// Reserved memory of state tuning in bf16 with one row of 1024 tokens and `grad_cp`, by sizes of the model: not more
/// than today. The file of the weights has no pages, and no upload touches any.
#[test]
#[ignore = "a minute"]
fn a_step_reserves_no_more_memory_than_today() {
    let mut found = Vec::new();
    for (n_layer, n_embd, most) in [(12, 768, 511), (24, 1024, 1050), (24, 2048, 3290)] {
        let gpu = NullGpu::new(windows(&[]));
        sparse_checkpoint(
            &gpu.case.path("base.safetensors"),
            &Shape::for_scratch(Version::V7, n_layer, n_embd, 65536),
        );
        let settings = [
            "model.load_model=base.safetensors",
            "train.precision=bf16",
            "train.micro_bsz=1",
            "train.ctx_len=1024",
            "train.grad_cp=true",
            "train.epoch_count=1",
            "sample.held_out=0",
            "data.val_split=0",
        ];
        let (output, counts) = gpu.run(&settings, &[("NULL_GPU_SKIP_UPLOADS", "1")]);
        output.is_done_quietly();
        let reserved = counts.of("reserved") / 1_000_000;
        println!("{n_layer} x {n_embd}: {reserved} MB reserved");
        if reserved > most {
            found.push(format!("{n_layer} x {n_embd}: {reserved} MB, at most {most} MB"));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// With `hardware.stream` a GPU holds two blocks of linear layers and starts the same kernels; each pass copies every block twice, but
/// for two of them.
#[test]
fn a_gpu_holds_two_blocks_of_streamed_weights_and_starts_the_same_kernels() {
    const BLOCKS: i64 = 8;
    let shape = Shape::for_scratch(Version::V7, BLOCKS, 512, 4096);
    let block: i64 = 2 * 12 * 512 * 512; // six matrices in bfloat16
    for (settings, bits, tensors) in [
        (&["train.precision=bf16"][..], 16, 6),
        (&["train.precision=bf16", "peft.type=lora", "peft.rank=4"], 16, 6),
        (&["train.precision=bf16", "quant.type=nf4"], 4, 12),
    ] {
        let gpu = NullGpu::new(windows(&[]));
        sparse_checkpoint(&gpu.case.path("base.safetensors"), &shape);
        let run = |stream: &str, steps: &str| {
            let common = [
                "model.load_model=base.safetensors",
                "train.micro_bsz=1",
                "train.ctx_len=512",
                "train.grad_cp=true",
                "train.epoch_count=1",
                "sample.held_out=0",
                "data.val_split=0",
                stream,
                steps,
            ];
            let (output, counts) = gpu.run(&[settings, &common].concat(), &[]);
            output.is_done_quietly();
            counts
        };
        let of_a_step = |stream| {
            let (two, three) =
                (run(stream, "train.epoch_steps=2"), run(stream, "train.epoch_steps=3"));
            let step = |of: fn(&Counts) -> i64| of(&three) - of(&two);
            (step(Counts::launches), step(|counts| counts.of("uploads")), three.of("reserved"))
        };
        let (launches, uploads, reserved) = of_a_step("hardware.stream=false");
        let (launches_of_stream, uploads_of_stream, reserved_of_stream) =
            of_a_step("hardware.stream=true");
        println!(
            "{settings:?}: {launches} launches, {uploads} and {uploads_of_stream} uploads, {reserved} and \
             {reserved_of_stream} bytes reserved"
        );
        assert_eq!(launches_of_stream, launches, "{settings:?}");
        assert_eq!(uploads_of_stream - uploads, 2 * (BLOCKS - 2) * tensors, "{settings:?}");
        let away = (BLOCKS - 2) * block * bits / 16;
        assert!(reserved - reserved_of_stream >= away * 9 / 10, "{settings:?}: {away} bytes away");
    }
}

#[test]
fn a_plan_for_a_gpu_says_what_is_streamed_and_proposes_it() {
    let shape = Shape::for_scratch(Version::V7, 8, 512, 4096);
    let gpu = NullGpu::new(Case::new().having("base.pth", checkpoint(shape)));
    let plan = |more: &[&str]| {
        let always = ["plan", STATE, "--set", "hardware.accelerator=gpu"];
        let bf16 = ["--set", "train.precision=bf16"];
        gpu.output(&[&always[..], &bf16, more].concat(), &[]).stdout
    };
    let on = plan(&["--set", "hardware.stream=true", "--memory", "500MB"]);
    let line = on.lines().find(|line| line.starts_with("  stream ")).expect("a line");
    assert_eq!(
        line,
        "  stream    48.0 MiB of weights stay in the memory of the host, 12.0 MiB on the GPU at a time; a pass copies 72.0 MiB"
    );
    let fit = plan(&["--set", "hardware.stream=false", "--fit", "--memory", "500MB"]);
    assert!(fit.contains("hardware.stream = true"), "{fit}");
    assert!(fit.contains("copies the weights to the GPU in every pass"), "{fit}");
}

/// A checkpoint of zeros in bfloat16, without pages on the disk.
fn sparse_checkpoint(file: &Path, shape: &Shape) {
    let mut end = 0;
    let mut header = serde_json::Map::new();
    for (name, size) in shape.tensors() {
        let start = end;
        end += 2 * size.iter().product::<i64>();
        let one = json!({ "dtype": "BF16", "shape": size, "data_offsets": [start, end] });
        header.insert(name, one);
    }
    let header = serde_json::Value::Object(header).to_string();
    let header = header.clone() + &" ".repeat(header.len().next_multiple_of(8) - header.len());
    let whole = [&(header.len() as u64).to_le_bytes(), header.as_bytes()].concat();
    fs::write(file, &whole).expect("a file");
    let len = whole.len() as u64 + end.unsigned_abs();
    fs::OpenOptions::new().write(true).open(file).and_then(|x| x.set_len(len)).expect("a file");
}

/// A case that trains `base` on windows of a text.
fn windows(base: &[u8]) -> Case {
    let text = "A line of a text that is long enough for windows.\n".repeat(2000);
    Case::new()
        .having("base.pth", base)
        .having("text.txt", text)
        .with(
            STATE,
            "data_file = \"data.jsonl\"",
            "data_file = \"text.txt\"\ndata_type = \"utf-8\"",
        )
        .with(STATE, "loss_mask = \"assistant\"", "dataload = \"get\"")
}

/// The message and exit code of memory that runs out.
#[track_caller]
fn ran_out(output: &Output) {
    assert_eq!(output.code, Some(23), "{}", output.stderr);
    assert!(output.stderr.contains("error[ST5005]: out of memory: "), "{}", output.stderr);
    assert!(output.stderr.contains("= help: to use less memory"), "{}", output.stderr);
    for word in ["panicked", "ST9000", "[W", "frame #"] {
        assert!(!output.stderr.contains(word), "{}", output.stderr);
    }
}

/// libtorch asks for each tensor's memory by itself, and not for large blocks: every stage of a small run then has
/// allocations of its own.
const BY_TENSOR: (&str, &str) = ("PYTORCH_NO_CUDA_MEMORY_CACHING", "1");

/// Runs out of memory after several numbers of allocations of a run.
fn runs_out_of_memory(settings: &[&str], variables: &[(&str, &str)], places: i64) {
    let gpu = null_gpu();
    let (output, counts) = gpu.run(settings, variables);
    output.is_done_quietly();
    let allocations = counts.of("allocations");
    let mut begun = 0;
    for place in 0..places.min(allocations) {
        let after = (allocations * place / places.min(allocations)).to_string();
        let full = ("NULL_GPU_ALLOCATIONS", &*after);
        let (output, _) = gpu.run(settings, &[variables, &[full]].concat());
        ran_out(&output);
        // What was begun can be resumed.
        let is_begun = output.stderr.contains("steps   ");
        let resumes = output.stderr.contains("then run `statetune resume runs/");
        assert_eq!(is_begun, resumes, "{after}: {}", output.stderr);
        begun += i64::from(is_begun);
    }
    println!("{begun} of {} runs had begun", places.min(allocations));
    assert!(begun > 0 && begun < places.min(allocations), "before and in the run");
}

#[test]
fn memory_that_runs_out_is_one_fault_from_loading_to_the_last_evaluation() {
    runs_out_of_memory(&[], &[], 8);
    runs_out_of_memory(&["quant.type=nf4", "train.precision=bf16"], &[BY_TENSOR], 8);
}

#[test]
#[ignore = "minutes"]
fn memory_that_runs_out_is_one_fault_everywhere() {
    for quant in ["none", "int8", "nf4"] {
        let quant = format!("quant.type={quant}");
        runs_out_of_memory(&[&quant, "train.precision=bf16"], &[BY_TENSOR], 60);
    }
}

#[test]
fn memory_that_runs_out_of_another_command_is_the_same_fault() {
    let gpu = null_gpu();
    gpu.run(&[], &[]).0.is_done_quietly();
    for command in [&["generate", "latest", "-p", "Hi"][..], &["eval", "latest"]] {
        let arguments = [command, &["--set", "hardware.accelerator=gpu"]].concat();
        gpu.statetune(&arguments, &[]).0.is_done_quietly();
        for after in ["0", "1"] {
            ran_out(&gpu.statetune(&arguments, &[("NULL_GPU_ALLOCATIONS", after)]).0);
        }
    }
}

// ---- a device that fails --------------------------------------------------------------------

#[test]
fn a_gpu_that_fails_is_named_and_a_run_can_be_resumed() {
    let gpu = null_gpu();
    let (output, counts) = gpu.run(&[], &[]);
    output.is_done_quietly();
    let all = counts.launches();
    for (code, words) in [
        (700, "an illegal memory access was encountered"),
        (719, "unspecified launch failure"),
        (214, "uncorrectable ECC error encountered"),
        (999, "unknown error"),
    ] {
        // While weights are loaded, in the first answers, in the steps, and at the end.
        for after in [1, all / 5, all / 2, all - 20] {
            let fault = format!("{code},{after}");
            let (output, _) = gpu.run(&[], &[("NULL_GPU_FAULT", &fault)]);
            assert_eq!(output.code, Some(25), "{fault}: {}", output.stderr);
            let said = output.stderr.split_once("error[ST5006]: the GPU failed").map(|x| x.1);
            let said = said.unwrap_or_else(|| panic!("{fault}: {}", output.stderr));
            // A library in between may have words of its own.
            let own = said.starts_with(&format!(": {words}\n"));
            assert!(own || said.starts_with(": CUBLAS_STATUS_EXECUTION_FAILED\n"), "{said}");
            for word in ["panicked", "ST9000", "[W", "frame #"] {
                assert!(!output.stderr.contains(word), "{fault}: {}", output.stderr);
            }
            assert_eq!(
                said.contains("then run `statetune resume runs/"),
                output.stderr.contains("steps   "),
                "{fault}: {said}"
            );
        }
    }
}

// ---- what is missing ------------------------------------------------------------------------

/// The reason for which a GPU cannot be used.
#[track_caller]
fn unusable(gpu: &NullGpu, variables: &[(&str, &str)], reason: &str) {
    let (output, _) = gpu.run(&[], variables);
    assert_eq!(output.code, Some(25), "{}", output.stderr);
    let expected = format!(
        "\
error[ST5003]: `accelerator = \"gpu\"` requires a usable GPU
 --> command line
  |
  | --set hardware.accelerator=gpu
  |                            ^^^
  |
  = note: {reason}
  = help: use `accelerator = \"auto\"` to use a GPU if there is one, and the CPU otherwise"
    );
    assert_eq!(output.stderr.trim_end(), expected);
    assert!(gpu.case.runs().is_empty());
}

#[test]
fn a_driver_that_is_too_old_is_named_with_the_one_that_is_needed() {
    unusable(
        &null_gpu(),
        &[("NULL_GPU_DRIVER", "12080")],
        "the CUDA driver supports CUDA 12.8, but libtorch needs CUDA 13.0: install driver 580 or newer",
    );
}

#[test]
fn a_driver_without_a_device_says_so() {
    unusable(
        &null_gpu(),
        &[("NULL_GPU_COUNT", "0")],
        "a CUDA driver is installed, but there is no usable GPU: no CUDA-capable device is detected",
    );
}

#[test]
fn a_device_that_is_dead_from_the_start_says_so() {
    unusable(
        &null_gpu(),
        &[("NULL_GPU_FAULT", "46,0")],
        "a CUDA driver is installed, but there is no usable GPU: CUDA-capable device(s) is/are busy or unavailable",
    );
}

/// The libraries of the null GPU without one of them, as a second folder.
fn without(library: &str, folder_of_copy: &Path) {
    for part in ["torch/lib", "nvidia/cu13/lib"] {
        fs::create_dir_all(folder_of_copy.join(part)).expect("a folder");
        for entry in fs::read_dir(folder().join(part)).expect("the null GPU") {
            let entry = entry.expect("an entry");
            let target = fs::canonicalize(entry.path()).expect("a library");
            if entry.file_name() != library {
                let link = folder_of_copy.join(part).join(entry.file_name());
                symlink(target, link).expect("a link");
            }
        }
    }
}

#[test]
fn a_missing_library_is_named() {
    for library in ["libcudnn.so.9", "libcublas.so.13"] {
        let case = Case::new();
        let copy = case.path("libraries");
        without(library, &copy);
        unusable(
            &NullGpu::new(case).with_libraries(&copy),
            &[],
            &format!(
                "a CUDA driver is installed, but libtorch cannot load its CUDA libraries ({library}: cannot open \
                 shared object file: No such file or directory); run `STATETUNE_CUDA=1 make libtorch` to fetch the \
                 libraries"
            ),
        );
    }
}

// ---- kernels --------------------------------------------------------------------------------

#[test]
fn doctor_finds_that_a_gpu_computes_nothing() {
    let (output, _) = null_gpu().statetune(&["doctor"], &[]);
    assert_eq!(output.code, Some(25), "{}", output.stderr);
    for name in ["wkv5", "wkv6", "wkv7"] {
        let ok = format!("{name} cpu: ok");
        let wrong = format!("{name} gpu: WRONG");
        assert!(output.stdout.contains(&ok) && output.stdout.contains(&wrong), "{}", output.stdout);
    }
}

#[test]
fn a_compiled_kernel_that_is_damaged_or_refused_is_compiled_anew() {
    let gpu = null_gpu();
    gpu.run(&[], &[]).0.is_done_quietly();
    let kernels = "cache/statetune/kernels";
    // Those of the recurrence, and those of the stages and of the optimizer.
    let files = gpu.case.list(kernels);
    assert_eq!(files.len(), 2, "{files:?}");
    let contents = || -> Vec<Vec<u8>> {
        let read = |file| fs::read(gpu.case.path(Path::new(kernels).join(file)));
        files.iter().map(|file| read(file).expect("the kernels")).collect()
    };
    let whole = contents();
    let refused = b"not what the driver takes".as_slice();
    let sealed = [sha256_hex(refused).as_bytes(), refused].concat();
    let cut = |one: &Vec<u8>| one[..one.len() - 1].to_vec();
    let all = |content: &[u8]| vec![content.to_vec(); files.len()];
    let damaged = [all(b""), whole.iter().map(cut).collect(), all(refused), all(&sealed)];
    for damaged in damaged {
        for (file, content) in files.iter().zip(damaged) {
            gpu.case.write(Path::new(kernels).join(file), content);
        }
        gpu.run(&[], &[]).0.is_done_quietly();
        assert_eq!(contents(), whole);
    }
}

// ---- launches -------------------------------------------------------------------------------

/// The counts of one step: the difference between runs of three and of two steps.
fn of_a_step(gpu: &NullGpu, settings: &[&str]) -> [i64; 3] {
    let of = |steps: &str| {
        let more = [steps, "train.epoch_count=1", "sample.held_out=0", "data.val_split=0"];
        let (output, counts) = gpu.run(&[settings, &more].concat(), &[]);
        assert_eq!(output.code, Some(0), "{}", output.stderr);
        [counts.launches(), counts.copies(), counts.of("waits")]
    };
    let (two, three) = (of("train.epoch_steps=2"), of("train.epoch_steps=3"));
    std::array::from_fn(|i| three[i] - two[i])
}

/// Launches, copies between host and device, and waits of a step: not more than today. The model has the depth of the
/// 0.1B one, which is what these numbers follow from, and little width.
#[test]
fn a_step_asks_no_more_of_a_gpu_than_today() {
    let base = checkpoint(Shape::for_scratch(Version::V7, 12, 64, 4096));
    let gpu = NullGpu::new(windows(&base));
    let mut found = Vec::new();
    for (name, settings, most) in BOUNDS {
        let common = ["train.precision=bf16"];
        let counts = of_a_step(&gpu, &[settings, &common].concat());
        println!("{name}: launches, copies, waits {counts:?}");
        if counts.iter().zip(most).any(|(found, most)| *found > *most) {
            found.push(format!("{name}: {counts:?}, at most {most:?}"));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// A case of a step with its settings and bounds: launches, copies and waits.
type Bound = (&'static str, &'static [&'static str], &'static [i64; 3]);

const BOUNDS: [Bound; 5] = [
    ("state 1x512", &["train.micro_bsz=1", "train.ctx_len=512"], &[593, 5, 2]),
    ("state 8x1024", &["train.micro_bsz=8", "train.ctx_len=1024"], &[707, 5, 2]),
    (
        "state 8x1024 grad_cp",
        &["train.micro_bsz=8", "train.ctx_len=1024", "train.grad_cp=true"],
        &[990, 5, 2],
    ),
    (
        "lora 1x1024",
        &["train.micro_bsz=1", "train.ctx_len=1024", "peft.type=lora", "peft.rank=4"],
        &[1112, 5, 2],
    ),
    ("full 1x1024", &["train.micro_bsz=1", "train.ctx_len=1024", "peft.type=full"], &[2224, 5, 2]),
];
