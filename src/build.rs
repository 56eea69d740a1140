//! Tells the linker where the programs, tests and benchmarks of a package find libtorch when they run. The build
//! script of the programs and of `src/cli`.

use std::env;

fn main() {
    let lib = env::var("DEP_STATETUNE_KERNELS_LIB").expect("the engine's build script names it");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    // `statetune` itself starts without libtorch: its linker drops what no command in it reaches, and then
    // the libraries that nothing asks for. Symbols that it offered to libtorch would count as reached.
    if env::var("CARGO_PKG_NAME").is_ok_and(|package| package == "statetune") {
        println!("cargo:rustc-link-arg-bin=statetune=-Wl,--exclude-libs,ALL");
    }
}
