//! The CUDA kernels, tested without a GPU: they compile for every architecture without local memory, and the same
//! text, run as C++ in an emulation of a GPU's threads, matches the reference. On a machine with a GPU the same cases
//! run on the GPU.

use std::collections::BTreeMap;
use std::ffi::{c_char, c_int};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;

use libloading::Library;
use statetune_core::digest::sha256_hex;
use statetune_engine::kernels::cuda::nvrtc::Nvrtc;
use statetune_engine::kernels::cuda::{
    Build, Launch, LaunchRequest, OperandType, Operands, Program, Recurrence, run,
};
use statetune_engine::kernels::reference::relative_error;
use statetune_engine::kernels::{KernelError, Op, Wkv5, Wkv6, Wkv7, wkv5, wkv6, wkv7};
use tch::{Device, Kind, Tensor};

use super::gpu::has_gpu;

// ---- cases ----------------------------------------------------------------------------------

/// The implementation that computes a case.
#[derive(Clone, Copy)]
enum By {
    /// The reference in float64, on the CPU.
    Reference,
    /// The kernels in the emulation, on the CPU.
    Emulation(Launch),
    /// The kernels on the first GPU.
    Gpu,
}

/// Operands of a recurrence, s0 last, and the gradients of y and of the last state.
struct Case {
    recurrence: Recurrence,
    kind: Kind,
    inputs: Vec<(&'static str, Tensor)>,
    restarts: Option<Tensor>,
    dy: Tensor,
    ds_last: Tensor,
}

/// (B, T, H, N) and the share of tokens that begin a document.
type Shape = ([i64; 4], f64);

impl Case {
    /// Random operands, rounded to `kind` so that all implementations get the same numbers. `a` and `b` are those of
    /// RWKV-7, w has any sign.
    fn random(recurrence: Recurrence, kind: Kind, (size, restarts): Shape, seed: i64) -> Case {
        tch::manual_seed(seed);
        let options = (Kind::Double, Device::Cpu);
        let [b, t, h, n] = size;
        let randn = || Tensor::randn(size, options);
        let per_head = || Tensor::randn([h, n], options);
        let decay = |x: Tensor| x * 1.5 - 1.0;
        let mut inputs = vec![("r", randn()), ("k", randn()), ("v", randn())];
        match recurrence {
            Recurrence::Wkv5 => inputs.extend([("w", decay(per_head())), ("u", per_head())]),
            Recurrence::Wkv6 => inputs.extend([("w", decay(randn())), ("u", per_head())]),
            Recurrence::Wkv7 => {
                let kk = randn();
                let kk = &kk / kk.norm_scalaropt_dim(2.0, [-1i64], true);
                let iclr = Tensor::rand(size, options);
                inputs.extend([("w", decay(randn())), ("a", kk.neg()), ("b", kk * iclr)]);
            }
        }
        let round = |x: Tensor| x.to_kind(kind).to_kind(Kind::Double);
        let mut inputs: Vec<_> = inputs.into_iter().map(|(name, x)| (name, round(x))).collect();
        let state =
            || Tensor::randn([b, h, n, n], options).to_kind(Kind::Float).to_kind(Kind::Double);
        inputs.push(("s0", state()));
        let restarts = (restarts > 0.0).then(|| Tensor::rand([b, t], options).lt(restarts));
        Case { recurrence, kind, inputs, restarts, dy: round(randn()), ds_last: state() }
    }

    /// y, s_T and the gradients of all inputs, by name.
    fn run(&self, by: By) -> Result<Vec<(String, Tensor)>, KernelError> {
        let device = if matches!(by, By::Gpu) { Device::Cuda(0) } else { Device::Cpu };
        let (kind, state_kind) = match by {
            By::Reference => (Kind::Double, Kind::Double),
            _ => (self.kind, Kind::Float),
        };
        let place = |x: &Tensor, kind| x.to_kind(kind).to_device(device);
        let inputs: Vec<Tensor> = self
            .inputs
            .iter()
            .map(|(name, x)| place(x, if *name == "s0" { state_kind } else { kind }))
            .map(|x| x.copy().set_requires_grad(true))
            .collect();
        let input = |name: &str| {
            let at = self.inputs.iter().position(|(other, _)| *other == name);
            &inputs[at.expect("an operand of the recurrence")]
        };
        let restarts = self.restarts.as_ref().map(|x| x.to_device(device));
        let (s0, restarts) = (input("s0"), restarts.as_ref());
        let [r, w, k, v] = ["r", "w", "k", "v"].map(input);
        let op = if matches!(by, By::Gpu) { Op::Cuda } else { Op::Reference };
        let emulated = |launch, operands: &Operands<'_>| {
            // SAFETY: `random` makes valid operands; the emulation reads and writes what the kernels do, and its
            // library stays loaded.
            unsafe { run(launch, operands, s0, restarts) }
        };
        let (y, s_last) = match self.recurrence {
            Recurrence::Wkv5 => {
                let ops = Wkv5 { r, w, k, v, u: input("u") };
                match by {
                    By::Emulation(launch) => emulated(launch, &Operands::Wkv5(&ops)),
                    _ => wkv5(op, &ops, s0, restarts),
                }
            }
            Recurrence::Wkv6 => {
                let ops = Wkv6 { r, w, k, v, u: input("u") };
                match by {
                    By::Emulation(launch) => emulated(launch, &Operands::Wkv6(&ops)),
                    _ => wkv6(op, &ops, s0, restarts),
                }
            }
            Recurrence::Wkv7 => {
                let ops = Wkv7 { r, w, k, v, a: input("a"), b: input("b") };
                match by {
                    By::Emulation(launch) => emulated(launch, &Operands::Wkv7(&ops)),
                    _ => wkv7(op, &ops, s0, restarts),
                }
            }
        }?;
        let loss = (&y * place(&self.dy, kind)).sum(state_kind)
            + (&s_last * place(&self.ds_last, state_kind)).sum(state_kind);
        let gradients =
            Tensor::f_run_backward(&[loss], &inputs, false, false).map_err(|error| {
                KernelError::Native(statetune_core::diagnostic::Text::library(error))
            })?;
        let names = self.inputs.iter().map(|(name, _)| format!("d{name}"));
        let mut out = vec![("y".to_string(), y.detach()), ("s_T".to_string(), s_last.detach())];
        out.extend(names.zip(gradients));
        Ok(out.into_iter().map(|(name, x)| (name, x.to_device(Device::Cpu))).collect())
    }

    /// The largest relative error of y, s_T and the gradients, and the name of that result.
    fn error(&self, by: By) -> Result<(f64, String), KernelError> {
        let found = self.run(by)?;
        let expected = self.run(By::Reference)?;
        let errors = found.into_iter().zip(expected).map(|((name, x), (_, reference))| {
            let error = relative_error(&x, &reference);
            // The state is float32 for every dtype of the operands.
            let of_state = name == "s_T" || name == "ds0";
            let scale = if of_state { tolerance(self.kind) / tolerance(Kind::Float) } else { 1.0 };
            (if error.is_nan() { f64::INFINITY } else { error * scale }, name)
        });
        Ok(errors.max_by(|(x, _), (y, _)| x.total_cmp(y)).expect("at least y"))
    }

    fn assert_matches_reference(&self, by: By) {
        let (error, name) = self.error(by).expect("valid operands");
        let size = self.inputs[0].1.size();
        let what = format!("{:?} {:?} {size:?}", self.recurrence, self.kind);
        let allowed = tolerance(self.kind);
        println!("{what}: largest relative error {error:.1e}, of {name}");
        assert!(error <= allowed, "{what}: {name} is off by {error:e}, allowed {allowed:e}");
    }
}

/// Less than twice the observed error: sums are float32, results are rounded once on store.
fn tolerance(kind: Kind) -> f64 {
    match kind {
        Kind::BFloat16 => 6e-3,
        Kind::Half => 8e-4,
        _ => 1e-6,
    }
}

/// Each dtype; head sizes below, at and above that of a compilation; lengths on both sides of a group and of a chunk;
/// documents that begin anywhere.
const SHAPES: [Shape; 7] = [
    ([1, 1, 1, 64], 0.0),
    ([2, 21, 2, 64], 0.2),
    ([1, 48, 1, 64], 0.0),
    ([2, 33, 1, 8], 0.1),
    ([1, 18, 2, 40], 0.9),
    ([1, 18, 1, 128], 0.1),
    ([1, 17, 1, 136], 0.2),
];

fn matches_reference(recurrence: Recurrence, by: By) {
    for (seed, shape) in SHAPES.into_iter().enumerate() {
        Case::random(recurrence, Kind::Float, shape, seed as i64).assert_matches_reference(by);
    }
    for kind in [Kind::BFloat16, Kind::Half] {
        Case::random(recurrence, kind, SHAPES[1], 8).assert_matches_reference(by);
    }
}

// ---- compilation ----------------------------------------------------------------------------

/// From Turing to Blackwell: T4, A100, RTX 30, RTX 40, H100, B200, RTX 50.
pub(super) const ARCHITECTURES: [&str; 7] =
    ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120"];

/// Static shared memory available to a block on every architecture.
const MAX_SHARED_BYTES: u32 = 48 << 10;

/// Resources of a kernel, from the compiler's report.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct Usage {
    pub(super) kernel: String,
    pub(super) registers: u32,
    pub(super) shared_bytes: u32,
    pub(super) local_bytes: u32,
}

/// The report consists of lines like these, for each kernel:
///
/// ```text
/// ptxas info    : Compiling entry function 'wkv_forward' for 'sm_90'
/// ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
/// ptxas info    : Used 92 registers, used 1 barriers, 28672 bytes smem
/// ```
pub(super) fn usages(log: &str) -> Vec<Usage> {
    // The number before a word.
    let number = |line: &str, word: &str| -> u32 {
        let before = line.split(word).next().unwrap_or_default();
        before.split_whitespace().last().and_then(|x| x.parse().ok()).expect("a number")
    };
    let mut usages: Vec<Usage> = Vec::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let kernel = rest.split('\'').next().unwrap_or_default().to_string();
            usages.push(Usage { kernel, ..Usage::default() });
        } else if line.contains("bytes spill stores") {
            let usage = usages.last_mut().expect("a kernel");
            usage.local_bytes = number(line, " bytes stack frame")
                + number(line, " bytes spill stores")
                + number(line, " bytes spill loads");
        } else if line.contains(" registers") {
            let usage = usages.last_mut().expect("a kernel");
            usage.registers = number(line, " registers");
            usage.shared_bytes = match line.contains(" bytes smem") {
                true => number(line, " bytes smem"),
                false => 0,
            };
        }
    }
    usages
}

/// NVRTC from the folder of `scripts/cuda_tools.sh`; `None`, with a printed reason, if it is missing.
pub(super) fn nvrtc() -> Option<Nvrtc> {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR")).join(".libtorch-cuda-tools/nvidia/cu13/lib");
    Nvrtc::open(&[tools])
        .inspect_err(|error| eprintln!("skipped: {error}, or from `make cuda-tools` for tests"))
        .ok()
}

/// Compiles all `jobs` on all cores, prints the resources of the kernels, and refuses local memory.
fn compile_without_local_memory(jobs: Vec<(Build, &'static str)>) {
    let Some(nvrtc) = nvrtc() else { return };
    let results = Mutex::new(BTreeMap::new());
    let queue = Mutex::new(jobs.into_iter());
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let job = queue.lock().expect("no thread has failed").next();
                    let Some((build, architecture)) = job else { break };
                    let compiled =
                        nvrtc.compile(&build, architecture).expect("the kernels compile");
                    assert!(!compiled.cubin.is_empty());
                    let usages = usages(&compiled.log);
                    results
                        .lock()
                        .expect("no thread has failed")
                        .insert((build, architecture), usages);
                }
            });
        }
    });
    let results = results.into_inner().expect("no thread has failed");
    println!("| recurrence | operands | keys | architecture | kernel | registers | shared bytes |");
    println!("| --- | --- | --- | --- | --- | --- | --- |");
    for ((build, architecture), usages) in &results {
        assert_eq!(usages.len(), 2, "a forward and a backward kernel");
        for Usage { kernel, registers, shared_bytes, local_bytes } in usages {
            let Build { recurrence, operand, keys } = build;
            println!(
                "| {recurrence:?} | {operand:?} | {keys} | {architecture} | {kernel} | {registers} | \
                 {shared_bytes} |"
            );
            assert_eq!(
                *local_bytes, 0,
                "{kernel} of {build:?} on {architecture} uses local memory"
            );
            assert!(*shared_bytes <= MAX_SHARED_BYTES);
        }
    }
}

#[test]
fn kernels_compile_without_local_memory() {
    // Every compilation for one architecture, and those of released models for all; the others are in
    // `every_kernel_compiles_for_every_architecture`.
    let common = |build: &Build| build.operand == OperandType::Bf16 && build.keys == 64;
    let jobs = ARCHITECTURES.into_iter().flat_map(|architecture| {
        Build::all()
            .filter(move |build| architecture == "sm_90" || common(build))
            .map(move |build| (build, architecture))
    });
    compile_without_local_memory(jobs.collect());
}

#[test]
#[ignore = "takes minutes; part of `make test-full`"]
fn every_kernel_compiles_for_every_architecture() {
    let jobs = ARCHITECTURES
        .into_iter()
        .flat_map(|architecture| Build::all().map(move |build| (build, architecture)));
    compile_without_local_memory(jobs.collect());
}

#[test]
fn local_memory_is_read_from_the_report() {
    let log = "\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'wkv_backward' for 'sm_90'
ptxas info    : Function properties for wkv_backward
ptxas         .     80 bytes stack frame, 192 bytes spill stores, 248 bytes spill loads
ptxas info    : Used 128 registers, used 1 barriers, 80 bytes cumulative stack size, 47360 bytes smem
";
    let expected = Usage {
        kernel: "wkv_backward".to_string(),
        registers: 128,
        shared_bytes: 47360,
        local_bytes: 80 + 192 + 248,
    };
    assert_eq!(usages(log), [expected]);
}

// ---- emulation ------------------------------------------------------------------------------

const EMULATION: &str = include_str!("../../kernels/cuda_emulation.h");
const GUARDED: &str = include_str!("../emulation/guarded.h");
const EMULATED_LAUNCH: &str = include_str!("../emulation/launch.cpp");

/// A library of kernels in the emulation, one launch at a time: the emulated GPU is global to it.
type Emulator = Result<Mutex<Library>, String>;

/// The library that runs `source`, the text of a program's kernels, through the functions of `launch`; compiled once
/// for each text.
fn emulator(program: &dyn Program, source: &str, launch: &str) -> Arc<OnceLock<Emulator>> {
    static ALL: Mutex<BTreeMap<PathBuf, Arc<OnceLock<Emulator>>>> = Mutex::new(BTreeMap::new());
    let text = [EMULATION, source, GUARDED, launch].join("\n");
    let digest = sha256_hex(format!("{program:?}{text}"));
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("emulation-{digest}.so"));
    let emulator =
        Arc::clone(ALL.lock().expect("nothing fails here").entry(file.clone()).or_default());
    emulator.get_or_init(|| {
        if !file.exists() {
            compile_emulation(program, &text, &file)?;
        }
        // SAFETY: the library is compiled from this crate's kernels and has no initialiser with side effects.
        unsafe { Library::new(&file) }.map(Mutex::new).map_err(|error| error.to_string())
    });
    emulator
}

fn compile_emulation(program: &dyn Program, text: &str, file: &Path) -> Result<(), String> {
    let (source, partial) = (file.with_extension("cpp"), file.with_extension("partial"));
    fs::write(&source, text).map_err(|error| error.to_string())?;
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_string());
    // Like `ccache g++`: a program and its first arguments.
    let mut words = compiler.split_whitespace();
    let output = Command::new(words.next().unwrap_or("c++"))
        .args(words)
        .args(["-std=c++17", "-O1", "-fno-strict-aliasing", "-fPIC", "-shared", "-Wall", "-Werror"])
        .arg("-Wno-unknown-pragmas")
        .args(program.defines())
        .arg(&source)
        .arg("-o")
        .arg(&partial)
        .output()
        .map_err(|error| format!("{compiler} cannot be started: {error}"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    fs::rename(partial, file).map_err(|error| error.to_string())
}

/// What runs a launch request in the emulation.
type Run<Request> = unsafe extern "C" fn(*const Request, *mut c_char, usize) -> c_int;

/// Runs a launch in the emulation of a program's kernels, after `change` of their text, through the functions of `launch`.
/// Writes why that is not possible into `message`.
///
/// # Safety
/// The request is one of this program, and the message has room for `message_len` bytes.
pub(super) unsafe fn emulate<Request>(
    program: Result<impl Program, KernelError>,
    launch: &str,
    request: *const Request,
    (message, message_len): (*mut c_char, usize),
    change: impl Fn(String) -> String,
) -> c_int {
    let run = || {
        let program = program.map_err(|error| error.to_string())?;
        let emulator = emulator(&program, &change(program.source()), launch);
        let library = emulator.wait().as_ref().map_err(String::clone)?;
        let library = library.lock().map_err(|error| error.to_string())?;
        // SAFETY: the library exports a function of this name and type, and stays loaded.
        unsafe {
            let run = library
                .get::<Run<Request>>("emulated_launch")
                .map_err(|error| error.to_string())?;
            Ok::<c_int, String>(run(request, message, message_len))
        }
    };
    run().unwrap_or_else(|error| {
        // The end of a compiler's text tells more than its start.
        let text = &error.as_bytes()[error.len().saturating_sub(message_len - 1)..];
        // SAFETY: the message has room for `message_len` bytes.
        unsafe {
            text.as_ptr().cast::<c_char>().copy_to_nonoverlapping(message, text.len());
            *message.add(text.len()) = 0;
        }
        1
    })
}

/// Runs a launch of a recurrence, after `change` of the kernels' text.
///
/// # Safety
/// As for a [`Launch`].
unsafe fn emulate_recurrence(
    request: *const LaunchRequest,
    message: *mut c_char,
    len: usize,
    change: impl Fn(String) -> String,
) -> c_int {
    // SAFETY: the shim's promise.
    unsafe { emulate(Build::of(&*request), EMULATED_LAUNCH, request, (message, len), change) }
}

pub(super) unsafe extern "C" fn intact(
    request: *const LaunchRequest,
    message: *mut c_char,
    len: usize,
) -> c_int {
    // SAFETY: passed on.
    unsafe { emulate_recurrence(request, message, len, |source| source) }
}

#[test]
fn emulated_wkv5_matches_the_reference() {
    matches_reference(Recurrence::Wkv5, By::Emulation(intact));
}

#[test]
fn emulated_wkv6_matches_the_reference() {
    matches_reference(Recurrence::Wkv6, By::Emulation(intact));
}

#[test]
fn emulated_wkv7_matches_the_reference() {
    matches_reference(Recurrence::Wkv7, By::Emulation(intact));
}

#[test]
fn emulated_wkv7_accepts_operands_that_are_not_contiguous_or_aligned() {
    let case = Case::random(Recurrence::Wkv7, Kind::Float, ([2, 5, 2, 16], 0.0), 3);
    let expected = case.run(By::Emulation(intact)).expect("valid operands");
    // Channel 0 of a head begins 4 bytes after a multiple of 16.
    let shifted = |x: &Tensor| {
        let x = x.to_kind(Kind::Float);
        let room = Tensor::zeros([x.numel() as i64 + 1], (Kind::Float, Device::Cpu));
        let mut view = room.narrow(0, 1, x.numel() as i64).view(x.size().as_slice());
        view.copy_(&x);
        view
    };
    let transposed =
        |x: &Tensor| x.to_kind(Kind::Float).transpose(1, 2).contiguous().transpose(1, 2);
    let inputs: BTreeMap<&str, Tensor> = case
        .inputs
        .iter()
        .map(|(name, x)| (*name, if *name == "k" { transposed(x) } else { shifted(x) }))
        .collect();
    let [r, w, k, v, a, b] = ["r", "w", "k", "v", "a", "b"].map(|name| &inputs[name]);
    let ops = Wkv7 { r, w, k, v, a, b };
    // SAFETY: as in `Case::run`.
    let (y, s_last) =
        unsafe { run(intact, &Operands::Wkv7(&ops), &inputs["s0"], None) }.expect("valid operands");
    assert!(y.equal(&expected[0].1) && s_last.equal(&expected[1].1));
}

// ---- the emulation detects faults ------------------------------------------------------------

/// The barrier that `without_barrier` removes, counted over the text of the kernels.
static LEFT_OUT: Mutex<usize> = Mutex::new(0);

/// The lines of a text with a barrier.
fn barriers(source: &str) -> Vec<&str> {
    let is_barrier = |line: &&str| line.trim_start().starts_with("__sync");
    source.lines().filter(is_barrier).collect()
}

unsafe extern "C" fn without_barrier(
    request: *const LaunchRequest,
    message: *mut c_char,
    len: usize,
) -> c_int {
    let left_out = *LEFT_OUT.lock().expect("no test has failed here");
    let change = |source: String| {
        let mut number = 0;
        let keep = |line: &&str| {
            number += usize::from(line.trim_start().starts_with("__sync"));
            !line.trim_start().starts_with("__sync") || number != left_out + 1
        };
        source.lines().filter(keep).collect::<Vec<_>>().join("\n")
    };
    // SAFETY: passed on.
    unsafe { emulate_recurrence(request, message, len, change) }
}

#[test]
fn emulation_detects_every_missing_barrier() {
    for recurrence in [Recurrence::Wkv6, Recurrence::Wkv7] {
        let build = Build { recurrence, operand: OperandType::Float32, keys: 128 };
        let source = build.source();
        // With operands staged in groups, beyond head size 64, every barrier matters.
        let case = Case::random(recurrence, Kind::Float, ([1, 34, 1, 72], 0.1), 4);
        for (number, line) in barriers(&source).into_iter().enumerate() {
            *LEFT_OUT.lock().expect("no test has failed here") = number;
            let (error, _) = case.error(By::Emulation(without_barrier)).expect("valid operands");
            assert!(
                error > 1e-3,
                "{recurrence:?} gives the right numbers without barrier {number}: {line}"
            );
        }
    }
}

/// Writes y one octet past its end.
unsafe extern "C" fn writing_too_far(
    request: *const LaunchRequest,
    message: *mut c_char,
    len: usize,
) -> c_int {
    let change = |source: String| {
        let damaged = source.replace("(p.y, index,", "(p.y, index + OCTET,");
        assert_ne!(damaged, source);
        damaged
    };
    // SAFETY: passed on; the emulation keeps the write away from other memory.
    unsafe { emulate_recurrence(request, message, len, change) }
}

/// Reads v one octet past its end.
unsafe extern "C" fn reading_too_far(
    request: *const LaunchRequest,
    message: *mut c_char,
    len: usize,
) -> c_int {
    let change = |source: String| {
        let damaged = source.replace("p.v, index)", "p.v, index + OCTET)");
        assert_ne!(damaged, source);
        damaged
    };
    // SAFETY: passed on; the emulation keeps the read away from other memory.
    unsafe { emulate_recurrence(request, message, len, change) }
}

#[test]
fn emulation_detects_access_outside_an_array() {
    let case = Case::random(Recurrence::Wkv7, Kind::Float, ([1, 3, 1, 64], 0.0), 5);
    let error =
        case.error(By::Emulation(writing_too_far)).expect_err("a write behind y").to_string();
    assert!(
        error.contains("the kernel wrote 768 bytes from the start of y, which has 768"),
        "{error}"
    );
    let (error, _) = case.error(By::Emulation(reading_too_far)).expect("no write outside an array");
    assert!(error.is_infinite(), "what lies behind v is not a number");
}

// ---- on a GPU -------------------------------------------------------------------------------

#[test]
fn gpu_matches_the_reference() {
    if has_gpu() {
        for recurrence in [Recurrence::Wkv5, Recurrence::Wkv6, Recurrence::Wkv7] {
            matches_reference(recurrence, By::Gpu);
        }
    }
}

#[test]
fn gpu_matches_the_reference_on_long_rows_of_many_heads() {
    if has_gpu() {
        for recurrence in [Recurrence::Wkv5, Recurrence::Wkv6, Recurrence::Wkv7] {
            let case = Case::random(recurrence, Kind::BFloat16, ([4, 515, 12, 64], 0.01), 6);
            case.assert_matches_reference(By::Gpu);
        }
    }
}
