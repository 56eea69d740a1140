//! `scripts/install.sh`, and what the programs need of the system.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// The program under test.
const PROGRAM: &str = env!("CARGO_BIN_EXE_statetune");

fn output(command: &mut Command) -> Output {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {output:?}");
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The program that starts in milliseconds, on machines without libtorch and without the libraries of a compiler.
#[test]
fn the_program_without_tensors_needs_no_library_but_libc() {
    let needed = |program: &str| -> Vec<String> {
        let printed = text(&output(Command::new("readelf").args(["-d", program])));
        let lines = printed.lines().filter(|line| line.contains("(NEEDED)"));
        lines
            .filter_map(|line| Some(line.split_once('[')?.1.trim_end_matches(']').to_owned()))
            .collect()
    };
    // The parts of glibc.
    let is_of_libc =
        |name: &String| ["libc.so", "libm.so", "ld-linux"].iter().any(|one| name.starts_with(one));
    let small = needed(PROGRAM);
    assert!(!small.is_empty() && small.iter().all(is_of_libc), "{small:?}");
    let large = needed(env!("CARGO_BIN_EXE_statetune-tensors"));
    assert!(large.contains(&"libtorch_cpu.so".to_owned()), "{large:?}");
}

/// Runs `scripts/install.sh` in `folder`, with a link to the libraries.
fn install(folder: &Path, prefix: &str) -> Output {
    let built = Path::new(PROGRAM).parent().expect("a folder");
    let mut script = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/install.sh"));
    script.arg(prefix).arg(built).env("STATETUNE_LINK", "1").current_dir(folder);
    script.output().expect("it starts")
}

/// What an installation did not make stays.
#[test]
fn an_installation_replaces_nothing_of_others() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name);
    fs::create_dir_all(path("a/bin/statetune")).expect("a folder");
    fs::create_dir_all(path("b/lib/statetune")).expect("a folder");
    fs::write(path("b/lib/statetune/notes"), "mine").expect("a file");
    fs::write(path("c"), "mine").expect("a file");
    for (prefix, message) in [
        ("a", "a/bin/statetune is a folder; move it elsewhere\n"),
        ("b", "b/lib/statetune is not from an earlier installation; move it elsewhere\n"),
        ("c", "mkdir: "),
        ("~/d", "the shell has not replaced the `~` of "),
    ] {
        let output = install(folder.path(), prefix);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && stderr.contains(message), "{stderr}");
    }
    assert_eq!(fs::read(path("b/lib/statetune/notes")).expect("a file"), b"mine");
    assert!(fs::read_dir(path("a/bin/statetune")).is_ok() && !path("~").exists());
}

/// In a relative folder with blanks, through a link, and again over itself.
#[test]
#[ignore = "copies the programs"]
fn an_installation_in_unusual_folders() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::create_dir(folder.path().join("real")).expect("a folder");
    std::os::unix::fs::symlink("real", folder.path().join("link")).expect("a link");
    for prefix in ["a b/c d", "a b/c d", "link"] {
        let output = install(folder.path(), prefix);
        assert!(output.status.success(), "{output:?}");
        let bin = folder.path().join(prefix).join("bin");
        let names = fs::read_dir(&bin).expect("a folder").count();
        assert_eq!(names, 2, "{prefix}");
        output_of_version(&bin);
    }
}

fn output_of_version(bin: &Path) {
    let mut version = Command::new(bin.join("statetune-tensors"));
    assert!(text(&output(version.arg("version"))).starts_with("statetune "));
}

/// Copies 440 MB.
#[test]
#[ignore = "copies the libraries of libtorch"]
fn an_installed_program_runs_where_it_was_moved() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = tempfile::tempdir().expect("a temporary folder");
    let [first, moved] = ["first", "moved"].map(|name| folder.path().join(name));
    let built = Path::new(PROGRAM).parent().expect("a folder");
    output(
        Command::new(root.join("scripts/install.sh"))
            .arg(&first)
            .arg(built)
            .env("STATETUNE_LINK", "0"),
    );
    fs::rename(&first, &moved).expect("moved");
    let linked = text(&output(Command::new("ldd").arg(moved.join("bin/statetune-tensors"))));
    for library in
        ["libtorch_cpu.so", "libc10.so", "libgomp.so.1", "libcudart.so.13", "libcupti.so.13"]
    {
        let line = linked.lines().find(|line| line.trim().starts_with(library)).expect(library);
        assert!(line.contains(&moved.join("bin/../lib/statetune").display().to_string()), "{line}");
    }
    for file in [
        "share/man/man1/statetune.1",
        "share/man/man1/statetune-run.1",
        "share/bash-completion/completions/statetune",
        "share/zsh/site-functions/_statetune",
        "share/fish/vendor_completions.d/statetune.fish",
    ] {
        assert!(fs::metadata(moved.join(file)).is_ok_and(|file| file.len() > 100), "{file}");
    }
    let program = moved.join("bin/statetune");
    let model = root.join("models/tiny-chat.pth");
    let score = ["score", "--tokens", "tokens.json", "--model"];
    fs::write(folder.path().join("tokens.json"), "[1, 2, 3]").expect("a file");
    let printed = output(Command::new(program).args(score).arg(model).current_dir(folder.path()));
    assert!(text(&printed).contains("logprobs"), "{printed:?}");
}
