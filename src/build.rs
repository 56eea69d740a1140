//! Tells the linker where the programs, tests and benchmarks of a package find libtorch when they run. The build
//! script of the programs and of `src/cli`. The programs also get the git commit that they are built from.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Versions of Python for which PyPI has a wheel of libtorch's release.
const PYTHONS: [&str; 5] = ["3.14", "3.13", "3.12", "3.11", "3.10"];
/// Libraries of the compiler that `statetune` contains: the name of the shared one, and its archives.
const COMPILER_LIBRARIES: [(&str, &[&str]); 2] =
    [("libstdc++.so", &["libstdc++.a"]), ("libgcc_s.so", &["libgcc_eh.a", "libgcc.a"])];

fn main() {
    let lib = env::var("DEP_STATETUNE_KERNELS_LIB").expect("the engine's build script names it");
    // Installed programs have the libraries near them, wherever they are moved: a set of their own, else the torch of the
    // Python whose pip installed them.
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/../lib/statetune");
    if env::var("CARGO_PKG_NAME").is_ok_and(|package| package == "statetune") {
        for python in PYTHONS {
            for packages in ["site-packages", "dist-packages"] {
                let torch = format!("$ORIGIN/../lib/python{python}/{packages}/torch/lib");
                println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{torch}");
            }
        }
        // `statetune` itself starts without libtorch: its linker drops what no command in it reaches, and then
        // the libraries that nothing asks for. Symbols that it offered to libtorch would count as reached.
        println!("cargo:rustc-link-arg-bin=statetune=-Wl,--exclude-libs,ALL");
        contain_compiler_libraries();
        name_commit();
    }
    println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
}

/// Links the libraries of the C++ compiler into `statetune`, whose start-up code of C++ needs a few functions of them. A
/// library whose archive the compiler does not have stays shared.
fn contain_compiler_libraries() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    for (shared, archives) in COMPILER_LIBRARIES {
        let found: Option<Vec<String>> = archives.iter().map(|name| archive(name)).collect();
        // The linker takes a text under the name of a shared library for a list of what to link.
        let Some(found) = found else { continue };
        fs::write(out.join(shared), format!("GROUP ( {} )\n", found.join(" ")))
            .expect("cargo made the folder");
    }
    println!("cargo:rustc-link-arg-bin=statetune=-L{}", out.display());
}

/// The path of an archive of the compiler, which is also the linker; `None` when it has none of the name.
fn archive(name: &str) -> Option<String> {
    let output = Command::new("cc").arg(format!("-print-file-name={name}")).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    Path::new(&path).is_absolute().then_some(path)
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
