//! `scripts/libtorch.sh`: what it fetches on which machine, with a pip that fetches nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A pip that writes what it was asked for into a file of the project.
const PYTHON: &str = "#!/bin/sh
[ \"$3\" != config ] || cat config 2>/dev/null
[ \"$3\" = install ] || exit 0
echo \"$@\" >asked
env | grep ^PIP_ | sort >settings
mkdir -p .libtorch.partial/torch/include/torch/headeronly
printf '#define TORCH_VERSION_MAJOR 2\\n#define TORCH_VERSION_MINOR 11\\n#define TORCH_VERSION_PATCH 0\\n' \
>.libtorch.partial/torch/include/torch/headeronly/version.h
";

/// A project with the script, in which `bin/` comes before the tools of the system.
struct Project(TempDir);

impl Project {
    fn new() -> Project {
        let project = Project(tempfile::tempdir().expect("a temporary folder"));
        fs::create_dir(project.path("scripts")).expect("a folder");
        for script in ["scripts/libtorch.sh", "scripts/pip.sh"] {
            let original = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
            fs::copy(original, project.path(script)).expect("a copy");
        }
        project.program("python3", PYTHON);
        // The library cache of a machine without a driver.
        project.program("ldconfig", "#!/bin/sh\n");
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    fn program(&self, name: &str, text: &str) {
        let name = format!("bin/{name}");
        self.write(&name, text);
        fs::set_permissions(self.path(&name), PermissionsExt::from_mode(0o755)).expect("a program");
    }

    /// What the script asks of pip; `None` if it asks for nothing.
    fn asks(&self, variables: &[(&str, &str)]) -> Option<String> {
        let _ = fs::remove_file(self.path("asked"));
        let path = format!("{}:/usr/bin:/bin", self.path("bin").display());
        let output = Command::new(self.path("scripts/libtorch.sh"))
            .env_clear()
            .env("PATH", path)
            .envs(variables.iter().copied())
            .output()
            .expect("the script starts");
        assert!(output.status.success(), "{output:?}");
        fs::read_to_string(self.path("asked")).ok()
    }

    #[track_caller]
    fn fetches_the_cpu_set(&self, variables: &[(&str, &str)]) {
        let asked = self.asks(variables).expect("a download");
        assert!(asked.contains("--no-deps torch==2.11.0 nvidia-cuda-runtime"), "{asked}");
    }

    #[track_caller]
    fn fetches_everything(&self, variables: &[(&str, &str)]) {
        let asked = self.asks(variables).expect("a download");
        assert!(asked.ends_with(".partial torch==2.11.0\n"), "{asked}");
    }
}

/// Whether this machine has a driver, which the script then finds whatever the test arranges.
fn has_driver() -> bool {
    ["/proc/driver/nvidia/version", "/usr/lib/wsl/lib/libcuda.so.1", "/usr/bin/nvidia-smi"]
        .iter()
        .any(|path| Path::new(path).exists())
}

#[test]
fn a_machine_without_a_driver_gets_the_small_set_once() {
    if has_driver() {
        return;
    }
    let project = Project::new();
    project.fetches_the_cpu_set(&[]);
    assert_eq!(project.asks(&[]), None);
}

#[test]
fn a_container_or_wsl_with_a_driver_gets_everything() {
    // The driver's library on the library path, in the cache of the loader, or only its tool: no
    // /proc/driver/nvidia in any of them.
    let project = Project::new();
    project.write("driver/libcuda.so.1", "");
    let folder = project.path("driver").display().to_string();
    project.fetches_everything(&[("LD_LIBRARY_PATH", &folder)]);

    let project = Project::new();
    project.program(
        "ldconfig",
        "#!/bin/sh\necho '  libcuda.so.1 (libc6,x86-64) => /lib/libcuda.so.1'\n",
    );
    project.fetches_everything(&[]);

    let project = Project::new();
    project.program("nvidia-smi", "#!/bin/sh\n");
    project.fetches_everything(&[]);
}

/// `scripts/gpu.sh run` is red where no GPU was used.
#[test]
fn a_check_of_a_gpu_requires_one() {
    let project = Project::new();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/gpu.sh");
    project.write("torch/lib/libtorch_cuda.so", "");
    for name in ["golden", "step", "wkv"] {
        project.program(name, "#!/bin/sh\n[ \"${STATETUNE_REQUIRE_GPU:-0}\" != 1 ]\n");
    }
    let output = Command::new(script)
        .args(["run", &project.path("bin").display().to_string()])
        .env("LIBTORCH", project.path("torch"))
        .output()
        .expect("the script starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("## what failed"), "{output:?}");
}

/// Settings that a user has for other installs would end this one, in variables or in a file.
#[test]
fn settings_of_pip_for_other_installs_are_left_out() {
    let project = Project::new();
    project.write(
        "config",
        "global.index-url='https://one'\ninstall.user='true'\nglobal.find-links='/a\\n/b'\n",
    );
    let mine = [
        ("STATETUNE_CUDA", "0"),
        ("PIP_USER", "1"),
        ("PIP_REQUIRE_VIRTUALENV", "1"),
        ("PIP_PREFIX", "/somewhere"),
    ];
    project.fetches_the_cpu_set(&mine);
    let settings = fs::read_to_string(project.path("settings")).expect("a file");
    let expected = "PIP_CONFIG_FILE=/dev/null\nPIP_FIND_LINKS=/a /b\nPIP_INDEX_URL=https://one\nPIP_REQUIRE_VIRTUALENV=0\nPIP_ROOT_USER_ACTION=ignore\nPIP_USER=0\n";
    assert_eq!(settings, expected);
}

#[test]
fn the_user_chooses_whatever_the_machine_has() {
    Project::new().fetches_everything(&[("STATETUNE_CUDA", "1")]);
    let project = Project::new();
    project.program("nvidia-smi", "#!/bin/sh\n");
    project.fetches_the_cpu_set(&[("STATETUNE_CUDA", "0")]);
}

#[test]
fn a_small_set_is_completed_where_a_driver_is_found_later() {
    let project = Project::new();
    project.fetches_the_cpu_set(&[("STATETUNE_CUDA", "0")]);
    project.fetches_everything(&[("STATETUNE_CUDA", "1")]);
    project.write(".libtorch/nvidia/cu13/lib/libcublas.so.13", "");
    assert_eq!(project.asks(&[("STATETUNE_CUDA", "1")]), None);
}
