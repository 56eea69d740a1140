//! Python programs that check what statetune writes.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// A python3 that has this package: the system's, or one in a virtual environment among the build's files.
pub fn python_with(package: &str) -> Option<PathBuf> {
    let has_it = |python: &Path| {
        let import = Command::new(python).args(["-c", &format!("import {package}")]).output();
        import.is_ok_and(|output| output.status.success())
    };
    let system = PathBuf::from("python3");
    if has_it(&system) {
        return Some(system);
    }
    let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{package}-venv"));
    let python = venv.join("bin/python3");
    let run = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    if !has_it(&python) {
        let made = run(Command::new("python3").args(["-m", "venv"]).arg(&venv))
            && run(Command::new(&python).args(["-m", "pip", "install", "--quiet", package]));
        if !made {
            return None;
        }
    }
    has_it(&python).then_some(python)
}

/// What the script of `tests/data/` prints as JSON.
#[track_caller]
pub fn printed(python: &Path, script: &str, arguments: &[PathBuf]) -> Value {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(script);
    let output = Command::new(python).arg(script).args(arguments).output().expect("it starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}
