//! Failures of libtorch and the CUDA driver that are known by their words: memory that ran out, and a GPU that failed.

use std::any::Any;

/// Phrases of libtorch, CUDA's libraries, the C++ library and the standard library for exhausted memory.
const OUT_OF_MEMORY: [&str; 6] = [
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "std::bad_alloc",
    "failed to spawn thread",
];
/// What stands before libtorch's words for an error of CUDA.
const OF_LIBTORCH: &str = "CUDA error: ";
/// What stands before the name of an error of the CUDA driver, as this program writes them.
const OF_DRIVER: &str = "DriverError(CUDA_ERROR_";
/// Names of errors of the CUDA driver about a kernel, after which the GPU still works.
const OF_KERNEL: [&str; 9] = [
    "INVALID_IMAGE",
    "INVALID_PTX",
    "INVALID_SOURCE",
    "INVALID_VALUE",
    "INVALID_HANDLE",
    "NO_BINARY_FOR_GPU",
    "NOT_FOUND",
    "LAUNCH_OUT_OF_RESOURCES",
    "UNSUPPORTED_PTX_VERSION",
];
/// What follows the useful part: stack frames, escaped line breaks of a panic message, error codes, calls.
const ENDS: [&str; 7] = ["\n", "\\n", "\"", ". Error code", "; ", ": Os {", " when calling"];

/// A failure, with the useful part of its words.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum LibraryFault {
    /// Memory ran out, on the CPU or on a GPU.
    Memory(String),
    /// The GPU reports an error after which this process cannot use it.
    Gpu(String),
}

impl LibraryFault {
    /// The failure that `text` tells of, if it is one of these.
    pub(crate) fn of_text(text: &str) -> Option<LibraryFault> {
        let memory = OUT_OF_MEMORY.iter().filter_map(|phrase| text.find(phrase)).min();
        if let Some(start) = memory {
            // The amount says more than the phrase, which the message has too.
            let text = &text[start..];
            let text = text.strip_prefix("out of memory. ").unwrap_or(text);
            return Some(LibraryFault::Memory(beginning(text)));
        }
        let of_libtorch = || Some(beginning(text.split_once(OF_LIBTORCH)?.1));
        of_libtorch().or_else(|| of_driver(text)).map(LibraryFault::Gpu)
    }

    /// The failure that a panic tells of: tch panics with the words of libtorch.
    pub(crate) fn of_panic(panic: &(dyn Any + Send)) -> Option<LibraryFault> {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Self::of_text(text.or_else(|| panic.downcast_ref::<&str>().copied())?)
    }
}

/// The words of the driver for an error of the GPU, or its name without words.
fn of_driver(text: &str) -> Option<String> {
    let (name, rest) = text.split_once(OF_DRIVER)?.1.split_once([',', ')'])?;
    if OF_KERNEL.contains(&name) {
        return None;
    }
    let words = beginning(rest.trim_start_matches([' ', '\\', '"']));
    Some(if words.is_empty() { name.to_string() } else { words })
}

/// What stands before the first of [`ENDS`].
fn beginning(text: &str) -> String {
    let end = ENDS.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    text[..end].trim().trim_end_matches('\\').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_useful_part_ends_before_the_stack() {
        let memory = |text: &str| Some(LibraryFault::Memory(text.to_string()));
        let gpu = |text: &str| Some(LibraryFault::Gpu(text.to_string()));
        for (text, expected) in [
            (
                "called `Result::unwrap()` on an `Err` value: Torch(\"[enforce fail at alloc_cpu.cpp:127] err == 0. \
                 DefaultCPUAllocator: can't allocate memory: you tried to allocate 307200000 bytes. Error code 12 \
                 (Cannot allocate memory)\\nframe #0: c10\")",
                memory("can't allocate memory: you tried to allocate 307200000 bytes"),
            ),
            (
                "CUDA out of memory. Tried to allocate 2.00 GiB\nframe",
                memory("Tried to allocate 2.00 GiB"),
            ),
            ("CUDA error: out of memory\nSearch for", memory("out of memory")),
            (
                "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
                memory("CUBLAS_STATUS_ALLOC_FAILED"),
            ),
            ("std::bad_alloc", memory("std::bad_alloc")),
            (
                "failed to spawn thread: Os { code: 11, kind: WouldBlock, message: \"Resource\" }",
                memory("failed to spawn thread"),
            ),
            (
                "Torch(\"CUDA error: an illegal memory access was encountered\\nSearch for `cudaError\")",
                gpu("an illegal memory access was encountered"),
            ),
            (
                "cannot start a WKV kernel: DriverError(CUDA_ERROR_ECC_UNCORRECTABLE, \"uncorrectable ECC error\")",
                gpu("uncorrectable ECC error"),
            ),
            ("DriverError(CUDA_ERROR_UNKNOWN)", gpu("UNKNOWN")),
            ("DriverError(CUDA_ERROR_INVALID_IMAGE, \"device kernel image is invalid\")", None),
            ("index out of range", None),
        ] {
            assert_eq!(LibraryFault::of_text(text), expected, "{text}");
            assert_eq!(LibraryFault::of_panic(&text.to_string()), expected, "{text}");
        }
    }
}
