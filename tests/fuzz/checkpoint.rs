//! Any bytes as a checkpoint file: reading them ends in tensors or in an error, never in a crash.
//!
//! `cargo fuzz run checkpoint --fuzz-dir tests/fuzz tests/fuzz/corpus tests/data/pth` starts from the small files of the tests.

#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use statetune::tensorfile::TensorFile;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("room for it");
    if let Ok(checkpoint) = TensorFile::open(file.path()) {
        for tensor in checkpoint.tensors() {
            assert_eq!(tensor.bytes().len(), tensor.numel() * tensor.dtype().size());
        }
    }
});
