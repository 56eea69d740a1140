//! Tells the linker where the programs, tests and benchmarks of a package find libtorch when they run. The build
//! script of the programs and of `src/cli`. The programs also get the git commit that they are built from.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    let lib = env::var("DEP_STATETUNE_KERNELS_LIB").expect("the engine's build script names it");
    // Installed programs have the libraries near them, wherever they are moved.
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib/statetune");
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
    // `statetune` itself starts without libtorch: its linker drops what no command in it reaches, and then
    // the libraries that nothing asks for. Symbols that it offered to libtorch would count as reached.
    if env::var("CARGO_PKG_NAME").is_ok_and(|package| package == "statetune") {
        println!("cargo:rustc-link-arg-bin=statetune=-Wl,--exclude-libs,ALL");
        name_commit();
    }
}

/// Passes the commit to the compiler as `STATETUNE_COMMIT`, unless that variable is set already. Without git, or in a
/// copy inside another repository, nothing is passed. Only a new commit runs this script again.
fn name_commit() {
    println!("cargo:rerun-if-changed=src/build.rs");
    println!("cargo:rerun-if-env-changed=STATETUNE_COMMIT");
    if env::var_os("STATETUNE_COMMIT").is_some() {
        return; // the compiler sees it
    }
    let here = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).unwrap_or_default();
    let is_ours = || {
        let top = PathBuf::from(git(&here, &["rev-parse", "--show-toplevel"])?);
        Some(top.canonicalize().ok()? == here.canonicalize().ok()?)
    };
    if is_ours() != Some(true) {
        return;
    }
    let Some(commit) = git(&here, &["rev-parse", "--short=12", "HEAD"]) else { return };
    println!("cargo:rustc-env=STATETUNE_COMMIT={commit}");
    // The log of HEAD changes with every commit and checkout.
    for file in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&here, &["rev-parse", "--git-path", file])
            && here.join(&path).exists()
        {
            println!("cargo:rerun-if-changed={}", here.join(path).display());
        }
    }
}

/// The first line that git prints; `None` when git is missing or refuses.
fn git(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(folder).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}
