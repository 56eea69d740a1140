//! Compiles kernels with NVRTC, NVIDIA's run-time compiler, which needs no GPU.

use std::ffi::{CStr, CString};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use cudarc::nvrtc::{result, sys};
use sha2::{Digest, Sha256};
use statetune_core::diagnostic::msg;
use statetune_core::digest::{hex, sha256_hex};

use super::{KernelError, Program, libtorch_packages, load};

/// Options of every compilation besides architecture and macros: `-default-device` makes unmarked functions device
/// functions, and `-v` reports the resources of each kernel in the log.
const OPTIONS: [&str; 3] = ["--std=c++17", "-default-device", "--ptxas-options=-v"];

/// Digits of a sha256.
const SEAL_LEN: usize = 64;

/// A compiled kernel file.
#[derive(Debug)]
pub struct Compiled {
    /// Machine code for one architecture, as the driver loads it.
    pub cubin: Vec<u8>,
    /// The compiler's log: warnings, and registers, shared and local memory of each kernel.
    pub log: String,
}

/// Machine code for an architecture such as `sm_90`: from [`cache_folder`] unless the code is to be `fresh`, or compiled
/// and stored there.
///
/// # Errors
/// Errors of [`Nvrtc::open`] and [`Nvrtc::compile`]. Failure to write the cache is ignored.
pub(super) fn machine_code(
    program: &dyn Program,
    architecture: &str,
    source: CodeSource,
) -> Result<Vec<u8>, KernelError> {
    let file = cache_folder().map(|folder| folder.join(cache_name(program, architecture)));
    if let (CodeSource::Cache, Some(file)) = (source, &file)
        && let Some(cubin) = fs::read(file).ok().and_then(|bytes| unsealed(&bytes))
    {
        return Ok(cubin);
    }
    let packages = libtorch_packages();
    let compiled = Nvrtc::open(packages.as_slice())?.compile(program, architecture)?;
    if let Some(file) = file {
        let _ = write_whole(&file, &sealed(&compiled.cubin));
    }
    Ok(compiled.cubin)
}

/// Where machine code may come from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum CodeSource {
    /// The cache, if it has a sound file.
    Cache,
    /// The compiler.
    Compiler,
}

/// A file of the cache: the sha256 of the machine code in hexadecimal digits, then the code.
fn sealed(cubin: &[u8]) -> Vec<u8> {
    [sha256_hex(cubin).as_bytes(), cubin].concat()
}

/// The machine code in a file of the cache; `None` if the file is cut or damaged.
fn unsealed(file: &[u8]) -> Option<Vec<u8>> {
    let (seal, cubin) = file.split_at_checked(SEAL_LEN)?;
    (sha256_hex(cubin).as_bytes() == seal).then(|| cubin.to_vec())
}

/// The cache of compiled kernels: `statetune/kernels` in `$XDG_CACHE_HOME`, by default `~/.cache`. `None` if neither
/// is known.
pub fn cache_folder() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))?;
    Some(cache.join("statetune/kernels"))
}

/// The file name of a program's machine code: a digest of everything it depends on.
fn cache_name(program: &dyn Program, architecture: &str) -> String {
    let mut digest = Sha256::new();
    for part in options(program, architecture).iter().chain([&program.source()]) {
        digest.update(part);
        digest.update([0]);
    }
    format!("{}.kernel", hex(digest.finalize()))
}

/// Writes a file so that readers, in other processes too, see all of it or nothing.
fn write_whole(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut partial = tempfile::NamedTempFile::new_in(folder)?;
    partial.write_all(bytes)?;
    partial.persist(file)?;
    Ok(())
}

fn options(program: &dyn Program, architecture: &str) -> Vec<String> {
    let mut options = vec![format!("--gpu-architecture={architecture}")];
    options.extend(OPTIONS.map(String::from));
    options.extend(program.defines());
    options
}

/// The compiler, once its library is loaded.
#[derive(Debug)]
pub struct Nvrtc(());

impl Nvrtc {
    /// Loads NVRTC from the first of `folders` that has it, or from the system's library path.
    ///
    /// # Errors
    /// [`KernelError::Native`] names the places searched.
    pub fn open(folders: &[PathBuf]) -> Result<Nvrtc, KernelError> {
        for folder in folders {
            // NVRTC finds its builtins by name only if they are loaded already or in a system folder.
            if load_from(folder, "libnvrtc-builtins.so.") && load_from(folder, "libnvrtc.so.") {
                break;
            }
        }
        // SAFETY: the probe loads the library, as any use of it does.
        if unsafe { sys::is_culib_present() } {
            return Ok(Nvrtc(()));
        }
        let looked: String = folders.iter().map(|x| format!("{}, ", x.display())).collect();
        Err(KernelError::Native(msg!(NVRTC_MISSING, folders = looked)))
    }

    /// Compiles a kernel file for an architecture such as `sm_90`.
    ///
    /// # Errors
    /// [`KernelError::Native`] has the compiler's text.
    pub fn compile(
        &self,
        program: &dyn Program,
        architecture: &str,
    ) -> Result<Compiled, KernelError> {
        let source = CString::new(program.source()).expect("the kernels hold no zero byte");
        let failed = |what: &str| {
            KernelError::Native(msg!(
                NVRTC_FAILED,
                program = format_args!("{program:?}"),
                architecture,
                what
            ))
        };
        let compiling = result::create_program(&source, Some(c"kernels.cu"))
            .map_err(|error| failed(&error.to_string()))?;
        // SAFETY: the program was just created and is destroyed last; both buffers have the size that
        // NVRTC names.
        unsafe {
            let status = result::compile_program(compiling, &options(program, architecture));
            let log = result::get_program_log(compiling).unwrap_or_default();
            let log: Vec<u8> = log.iter().map(|&c| c.cast_unsigned()).collect();
            let log = CStr::from_bytes_until_nul(&log).unwrap_or_default().to_string_lossy();
            let compiled = match status {
                Ok(()) => cubin(compiling).map_err(|error| failed(&error.to_string())),
                Err(_) => Err(failed(&log)),
            };
            let _ = result::destroy_program(compiling);
            Ok(Compiled { cubin: compiled?, log: log.into_owned() })
        }
    }
}

/// # Safety
/// `program` was compiled for a real architecture.
unsafe fn cubin(program: sys::nvrtcProgram) -> Result<Vec<u8>, result::NvrtcError> {
    let mut size = 0;
    // SAFETY: by the caller's promise there is machine code; the buffer has the size that NVRTC names.
    unsafe {
        sys::nvrtcGetCUBINSize(program, &mut size).result()?;
        let mut cubin = vec![0u8; size];
        sys::nvrtcGetCUBIN(program, cubin.as_mut_ptr().cast()).result()?;
        Ok(cubin)
    }
}

/// Loads the library in `folder` whose name starts with `prefix`; false if there is none.
fn load_from(folder: &Path, prefix: &str) -> bool {
    let names = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files = names.filter(|entry| {
        // Not `libnvrtc.alt.so.13`, another build of the same compiler.
        entry.file_name().to_string_lossy().starts_with(prefix)
    });
    files.next().is_some_and(|entry| load(&entry.path()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cuda::{Build, OperandType, Recurrence};

    const BUILD: Build =
        Build { recurrence: Recurrence::Wkv7, operand: OperandType::Bf16, keys: 64 };

    #[test]
    fn cache_names_tell_builds_and_architectures_apart() {
        let names: std::collections::BTreeSet<String> = Build::all()
            .flat_map(|build| {
                ["sm_80", "sm_90"].map(|architecture| cache_name(&build, architecture))
            })
            .collect();
        assert_eq!(names.len(), 27 * 2);
        assert_eq!(cache_name(&BUILD, "sm_90"), cache_name(&BUILD, "sm_90"));
    }

    #[test]
    fn a_cached_file_appears_whole_and_in_a_new_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("a/b/x.cubin");
        write_whole(&file, b"one").expect("a writable folder");
        write_whole(&file, b"two").expect("a file to replace");
        assert_eq!(fs::read(&file).expect("the file"), b"two");
        assert_eq!(fs::read_dir(file.parent().expect("a parent")).expect("the folder").count(), 1);
    }

    #[test]
    fn a_cut_or_damaged_file_of_the_cache_has_no_code() {
        let whole = sealed(b"machine code");
        assert_eq!(unsealed(&whole).as_deref(), Some(&b"machine code"[..]));
        for len in 0..whole.len() {
            assert_eq!(unsealed(&whole[..len]), None, "{len} bytes");
        }
        for place in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[place] ^= 1;
            assert_eq!(unsealed(&damaged), None, "byte {place}");
        }
    }

    #[test]
    fn a_missing_compiler_is_an_error_that_names_the_places_searched() {
        match Nvrtc::open(&[PathBuf::from("/nowhere")]) {
            Ok(_) => eprintln!("skipped: this system has NVRTC where it finds libraries"),
            Err(error) => {
                assert!(error.to_string().contains("neither in /nowhere, nor"), "{error}")
            }
        }
    }
}
