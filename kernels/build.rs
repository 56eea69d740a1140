//! Compiles the native code of this folder and tells the linker where libtorch lies.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

/// The release that crate `tch` and the kernels are written for.
const LIBTORCH_VERSION: &str = "2.11.0";

/// The CPU kernels, each compiled for every instruction set.
const CPU_KERNELS: [&str; 9] = [
    "kernels/channel_mix_cpu.cpp",
    "kernels/few_rows_cpu.cpp",
    "kernels/flat_cpu.cpp",
    "kernels/head_loss_cpu.cpp",
    "kernels/norm_mix_cpu.cpp",
    "kernels/quant_cpu.cpp",
    "kernels/time_mix_cpu.cpp",
    "kernels/wkv6_cpu.cpp",
    "kernels/wkv7_cpu.cpp",
];

/// One compilation of the CPU kernels: namespace, vector width in bytes, compiler flags.
const INSTRUCTION_SETS: [(&str, u32, &[&str]); 3] = [
    ("wkv_baseline", 16, &[]),
    ("wkv_avx2", 32, &["-mavx2", "-mfma", "-mf16c"]),
    (
        "wkv_avx512",
        64,
        &[
            "-mavx512f",
            "-mavx512dq",
            "-mavx512bw",
            "-mavx512vl",
            "-mfma",
            "-mf16c",
            "-mprefer-vector-width=512",
        ],
    ),
];

fn main() {
    // Paths of this script start at the project's folder.
    env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .expect("the project's folder");
    let root = env::current_dir().expect("a folder");
    println!("cargo:rerun-if-changed={}", root.join("kernels").display());
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let libtorch = libtorch();

    for (namespace, vector_bytes, flags) in INSTRUCTION_SETS {
        let mut build = cc::Build::new();
        build
            .cpp(true)
            .std("c++17")
            .opt_level(3)
            .files(CPU_KERNELS)
            .define("WKV_ISA", namespace)
            .define("WKV_VECTOR_BYTES", vector_bytes.to_string().as_str())
            // Vectors never cross a function that is not inlined.
            .flag("-Wno-psabi")
            // GCC 12 takes the unused operand of its own intrinsics for an uninitialised variable.
            .flag("-Wno-maybe-uninitialized")
            .flag("-Wno-uninitialized")
            .flag("-ffp-contract=fast");
        for flag in flags {
            build.flag(flag);
        }
        build.compile(namespace);
    }

    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .file("kernels/backward.cpp")
        .file("kernels/block_autograd.cpp")
        .file("kernels/copies.cpp")
        .file("kernels/devices.cpp")
        .file("kernels/few_rows.cpp")
        .file("kernels/flat.cpp")
        .file("kernels/time_mix_cuda_autograd.cpp")
        .file("kernels/wkv_autograd.cpp")
        .file("kernels/wkv_cuda_autograd.cpp")
        .file("kernels/quant_autograd.cpp")
        .file("kernels/instruction_set.cpp")
        .file("kernels/product_blocks.cpp")
        .file("kernels/low_rank.cpp")
        .file("kernels/products.cpp")
        .file("kernels/settings.cpp")
        .file("kernels/terminate.cpp")
        .file("kernels/threads.cpp")
        .file("kernels/weight_copies.cpp")
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .includes([libtorch.join("include"), libtorch.join("include/torch/csrc/api/include")])
        .include("kernels/gloo_names")
        .flag("-fopenmp")
        .warnings(false)
        .compile("wkv_autograd");

    let lib = libtorch.join("lib");
    println!("cargo:rustc-link-search=native={}", lib.display());
    for name in ["torch_cpu", "c10", "gomp"] {
        println!("cargo:rustc-link-lib=dylib={name}");
    }
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", lib.display());
    println!("cargo:lib={}", lib.display());
    println!("cargo:rustc-env=STATETUNE_LIBTORCH_VERSION={LIBTORCH_VERSION}");
}

/// The libtorch folder from `LIBTORCH`, after checking that it is one and of the right release.
fn libtorch() -> PathBuf {
    let Some(dir) = env::var_os("LIBTORCH").map(PathBuf::from) else {
        fail("LIBTORCH is not set; run `make libtorch` in the project's folder");
    };
    let header = dir.join("include/torch/headeronly/version.h");
    let Ok(text) = fs::read_to_string(&header) else {
        fail(&format!(
            "LIBTORCH={} holds no libtorch {LIBTORCH_VERSION} ({} is missing); run `make libtorch`, or point LIBTORCH at one",
            dir.display(),
            header.display()
        ));
    };
    let found = version(&text).unwrap_or_else(|| "unknown".to_string());
    if found != LIBTORCH_VERSION {
        fail(&format!(
            "LIBTORCH={} is libtorch {found}, but {LIBTORCH_VERSION} is needed",
            dir.display()
        ));
    }
    // Absolute, because the path ends up in the program.
    fs::canonicalize(Path::new(&dir)).unwrap_or(dir)
}

/// `2.11.0` from the lines `#define TORCH_VERSION_MAJOR 2` and so on.
fn version(header: &str) -> Option<String> {
    let part = |name: &str| {
        header.lines().find_map(|line| {
            line.strip_prefix("#define TORCH_VERSION_")?
                .strip_prefix(name)?
                .trim()
                .parse::<u32>()
                .ok()
        })
    };
    Some(format!("{}.{}.{}", part("MAJOR")?, part("MINOR")?, part("PATCH")?))
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    std::process::exit(1);
}
