//! Tells the linker where the programs, tests and benchmarks find libtorch when they run.

use std::env;

fn main() {
    let lib = env::var("DEP_STATETUNE_KERNELS_LIB").expect("the engine's build script names it");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    // `statetune` itself starts without libtorch: its linker drops what no command in it reaches, and then
    // the libraries that nothing asks for. Symbols that it offered to libtorch would count as reached.
    println!("cargo:rustc-link-arg-bin=statetune=-Wl,--exclude-libs,ALL");
}
