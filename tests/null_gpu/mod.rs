//! The null GPU: builds the libraries of this folder for the libtorch of this process, and starts programs with them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::{fs, io, process};

use statetune_core::digest::sha256_hex;
use statetune_engine::kernels::cuda::libtorch_folder;

/// The folder of the libraries, built at the first call in a process and kept for the next ones.
///
/// # Panics
/// When they cannot be built.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let libtorch = libtorch_folder().expect("the folder of libtorch");
        let libtorch = libtorch.parent().expect("the folder `torch`").to_path_buf();
        let sources = [include_str!("null_gpu.c"), include_str!("build.sh")];
        let name = sha256_hex([&sources.concat(), &*libtorch.to_string_lossy()].concat());
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("null_gpu-{name:.16}"));
        if !folder.exists() {
            build(&libtorch, &folder).expect("a folder for the null GPU");
        }
        folder
    })
}

fn build(libtorch: &Path, folder: &Path) -> io::Result<()> {
    let partial = folder.with_extension(process::id().to_string());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/null_gpu/build.sh");
    let built = Command::new(script).args([libtorch, &*partial]).output()?;
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    match fs::rename(&partial, folder) {
        Err(_) if folder.exists() => fs::remove_dir_all(partial), // another process was faster
        renamed => renamed,
    }
}

/// The environment of a program that is to find the null GPU of a folder, and no other GPU.
pub fn environment(folder: &Path) -> [(String, String); 2] {
    let libraries = ["torch/lib", "nvidia/cu13/lib"].map(|x| folder.join(x).display().to_string());
    let path = std::env::var("LD_LIBRARY_PATH").unwrap_or_default();
    let path = libraries.into_iter().chain([path]).collect::<Vec<_>>().join(":");
    [("LD_LIBRARY_PATH".to_string(), path), ("STATETUNE_LANG".to_string(), "en".to_string())]
}
