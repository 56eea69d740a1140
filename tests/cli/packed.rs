//! Packed weights in the cache, and weights that stay in their file while a run trains on them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use statetune_core::words::grouped;
use statetune_engine::model::{Shape, Version, Weights};
use tch::{Device, Kind, Tensor};

use crate::case::{Case, Output, STATE, checkpoint, program};
use crate::resume::same_numbers;

/// The words of the line `packed`.
#[track_caller]
fn packed(output: &Output) -> String {
    let lines = output.is_done().stderr.lines();
    let line = lines.filter_map(|line| line.strip_prefix("packed  ")).next();
    line.unwrap_or_else(|| panic!("{output:?}")).to_owned()
}

#[test]
fn a_second_run_maps_what_the_first_has_packed() {
    let quant = "[quant]\ntype = \"nf4\"\ndouble = true\n\n[train]";
    let case = Case::new().with(STATE, "[train]", quant);
    // The digest of the weights is recorded.
    statetune_core::known_digest::let_age();
    let run = |more: &[&str]| {
        let before = case.runs();
        let output = case.statetune(&[&["run", STATE], more].concat());
        let words = packed(&output);
        let new = case.runs().into_iter().find(|run| !before.contains(run)).expect("a new run");
        (words, new)
    };
    let (words, first) = run(&[]);
    let folder = case.list("runs/.cache").into_iter().find(|name| name.starts_with("weights-"));
    let folder = folder.expect("packed weights");
    assert!(folder.starts_with("weights-base-nf4-double-"), "{folder}");
    let file = format!("runs/.cache/{folder}/packed");
    assert_eq!(words, format!("written to {file}"));
    let at = || fs::metadata(case.path(&file)).expect("a file").modified().expect("a time");
    let written = at();

    // Two blocks at a time, and no block.
    let (words, second) = run(&["--set", "hardware.stream=true"]);
    assert_eq!(words, format!("mapped from {file}"));
    assert_eq!(at(), written);
    same_numbers(&case, &first, &second, "epoch-0001");

    let mut damaged = fs::read(case.path(&file)).expect("written");
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    case.write(&file, damaged);
    let (words, third) = run(&[]);
    assert_eq!(words, format!("made again, because the file was damaged: {file}"));
    same_numbers(&case, &first, &third, "epoch-0001");

    let ls = case.statetune(&["cache", "ls"]).is_done().stdout.clone();
    let line = ls.lines().find(|line| line.contains(&folder)).expect("a line");
    assert!(line.contains("CASE/base.pth"), "{ls}");
    let clean = |which: &str| case.statetune(&["cache", "clean", which]).is_done().stdout.clone();
    assert!(!clean("--unused").contains(&folder));
    assert!(clean("--all").contains(&format!("removed  {folder}")));
}

#[test]
fn weights_that_change_or_are_converted_are_not_streamed() {
    let case = Case::new();
    let line = 1 + case.read(STATE).lines().position(|line| line == "[hardware]").expect("it") + 1;
    let case = case.with(STATE, "[hardware]\n", "[hardware]\nstream = true\n");
    case.refuses_to(
        &["run", STATE],
        21,
        &format!(
            "\
error[ST2118]: `hardware.stream = true` needs weights in the number format of the computation
  --> state.toml:{line}:10
   |
{line} | stream = true
   |          ^^^^
   |
   = note: the checkpoint has bfloat16 weights and the run computes in float32, so that memory has to hold \
converted weights
   = help: use `[quant]`, or set `train.precision` to the number format of the checkpoint
   = help: or delete `stream`"
        ),
    );
    let pissa = ["--set", "peft={ type = \"pissa\", rank = 4 }", "--set", "schedule.lr_init=1e-3"];
    let output = case.statetune(&[&["run", STATE], &pissa[..]].concat());
    assert_eq!(output.code, Some(2), "{output:?}");
    let expected = "error[ST2118]: `hardware.stream = true` only applies to frozen weights";
    assert!(output.stderr.contains(expected), "{output:?}");
}

#[test]
fn a_plan_says_what_is_streamed_and_when() {
    let shape = Shape::for_scratch(Version::V7, 8, 128, 4096);
    let case = Case::new().having("base.pth", checkpoint(shape));
    let plan = |more: &[&str]| {
        let all = [&["plan", STATE, "--set", "train.precision=bf16"], more].concat();
        case.statetune(&all).stdout
    };
    let line =
        |stdout: &str| stdout.lines().find(|line| line.starts_with("  stream ")).map(str::to_owned);
    assert_eq!(line(&plan(&[])), None);
    let small = line(&plan(&["--memory", "2MB"])).expect("the weights are larger");
    assert!(small.contains(" of weights stay in the file, "), "{small}");
    let memory = |stdout: &str| {
        let line = stdout.lines().find(|line| line.trim_start().starts_with("weights "));
        line.expect("an item").trim().to_owned()
    };
    let all = memory(&plan(&["--memory", "2MB", "--set", "hardware.stream=false"]));
    assert_ne!(memory(&plan(&["--memory", "2MB"])), all);
    let fit = plan(&["--memory", "2MB", "--set", "hardware.stream=false", "--fit"]);
    assert!(fit.contains("hardware.stream = true"), "{fit}");
}

/// A control group of this process with a limit of memory, which counts the page cache; removed when dropped.
struct Group(PathBuf);

impl Group {
    /// `None` where this process cannot make one.
    fn new(limit: u64) -> Option<Group> {
        let ours = fs::read_to_string("/proc/self/cgroup").ok()?;
        let line = |wanted: fn(&str) -> bool| {
            ours.lines().find_map(|line| {
                let [_, controllers, path] = line.splitn(3, ':').collect::<Vec<_>>()[..] else {
                    return None;
                };
                wanted(controllers).then(|| path.trim_start_matches('/').to_owned())
            })
        };
        let name = format!("statetune-test-{}", std::process::id());
        let v1 = line(|controllers| controllers.split(',').any(|one| one == "memory"));
        let (folder, file) = match v1 {
            Some(path) => {
                (PathBuf::from("/sys/fs/cgroup/memory").join(path), "memory.limit_in_bytes")
            }
            None => (PathBuf::from("/sys/fs/cgroup").join(line(str::is_empty)?), "memory.max"),
        };
        let folder = folder.join(name);
        fs::create_dir(&folder).ok()?;
        let group = Group(folder);
        fs::write(group.0.join(file), limit.to_string()).ok()?;
        Some(group)
    }

    /// The program, as a member of the group.
    fn program(&self) -> Command {
        let mut command = Command::new("sh");
        let join = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
        command.args(["-c", join]).arg(&self.0).arg(program().get_program());
        command.envs(program().get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }

    fn number(&self, file: &str) -> Option<u64> {
        fs::read_to_string(self.0.join(file)).ok()?.trim().parse().ok()
    }

    /// The most memory that its members had, page cache included.
    fn peak(&self) -> u64 {
        self.number("memory.max_usage_in_bytes").or(self.number("memory.peak")).unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
#[ignore = "trains on weights of more than a gigabyte"]
fn a_checkpoint_of_three_times_the_memory_trains_to_the_same_bits() {
    const LIMIT: u64 = 400 << 20;
    let shape = Shape::for_scratch(Version::V7, 48, 1024, 4096);
    let case = Case::new().with(STATE, "precision = \"fp32\"", "precision = \"bf16\"");
    let weights = Weights::from_fn(shape, |name, size| {
        let numbers = Tensor::empty(size, (Kind::Float, Device::Cpu)).uniform_(-0.02, 0.02);
        let numbers =
            if name.contains("ln") && name.ends_with("weight") { numbers + 1.0 } else { numbers };
        numbers.to_kind(Kind::BFloat16)
    });
    weights.save_pth(&case.path("base.pth")).expect("written");
    drop(weights);
    let len = fs::metadata(case.path("base.pth")).expect("a file").len();
    assert!(len >= 3 * LIMIT, "{len}");
    let Some(group) = Group::new(LIMIT) else {
        eprintln!(
            "not proven here: this process cannot make a control group with a limit of memory"
        );
        return;
    };
    let arguments = ["run", STATE, "--set", "train.micro_bsz=1", "--set", "train.epoch_steps=1"];
    let arguments =
        [&arguments[..], &["--set", "data.val_split=0", "--set", "sample.held_out=0"]].concat();
    let resident = case.statetune(&[&arguments[..], &["--set", "hardware.stream=false"]].concat());
    resident.is_done_with_warnings();
    let first = case.only_run();
    // The pages that are in memory already count for no group.
    let mut dd = Command::new("dd");
    dd.arg(format!("if={}", case.path("base.pth").display())).args(["iflag=nocache", "count=0"]);
    assert!(dd.output().expect("dd starts").status.success());

    let began = std::time::Instant::now();
    let output = group.program().current_dir(case.path("")).args(&arguments).output();
    let output = output.expect("the program starts");
    let (peak, secs) = (group.peak(), began.elapsed().as_secs_f64());
    assert!(output.status.success(), "{output:?}");
    eprintln!(
        "{} bytes of weights, a limit of {LIMIT}, at most {} in memory, {secs:.1} s",
        grouped(len),
        grouped(peak)
    );
    assert!(peak <= LIMIT, "{peak}");
    let second = case.runs().into_iter().find(|run| *run != first).expect("a second run");
    same_numbers(&case, &first, &second, "epoch-0001");
}
