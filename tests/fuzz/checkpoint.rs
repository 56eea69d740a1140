//! Any bytes as a checkpoint file: reading them ends in tensors or in an error, never in a crash.
//!
//! With `cargo install cargo-fuzz`, and libtorch where `LIBTORCH` says (`.libtorch/torch` after `make libtorch`),
//! this starts from the small files of the tests and runs for ten minutes:
//!
//! ```sh
//! export RUSTC_BOOTSTRAP=1 LD_LIBRARY_PATH="$LIBTORCH/lib"
//! cargo fuzz run checkpoint --fuzz-dir tests/fuzz tests/fuzz/corpus tests/data/pth -- -max_len=8192 -max_total_time=600
//! ```
//!
//! What it finds belongs into `tests/data/pth`, as a file whose name begins with `refused_`.

#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use statetune_core::tensorfile::TensorFile;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("room for it");
    if let Ok(checkpoint) = TensorFile::open(file.path()) {
        for tensor in checkpoint.tensors() {
            assert_eq!(tensor.bytes().len(), tensor.numel() * tensor.dtype().size());
        }
    }
});
