//! What tells one set of weights from another, whatever file holds them.

use statetune_core::digest::sha256_hex;
use std::num::NonZero;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::json;

use statetune_core::arch::{is_of_state, open_model};
use statetune_core::tensorfile::{TensorRef, WeightsError};

/// The fingerprint of a checkpoint's weights: 64 hexadecimal digits.
///
/// It depends on every tensor's name, dtype, shape and elements, and on nothing else: not on the order of
/// the tensors, how they are stored, or the format, so that a `.pth` and a `.safetensors` of the same
/// weights agree. Each tensor makes a line of JSON, `["NAME","DTYPE",[SHAPE],"sha256 of its elements"]`
/// without spaces; the fingerprint is the sha256 of the lines sorted by bytes, each ended by a line break.
/// Elements are taken in row-major order, little-endian; dtypes by PyTorch's words.
///
/// Names and axes are those of the original naming, whatever naming the file has. Initial states beside the weights
/// count: they make another model.
///
/// Reads the file once, with one thread per CPU core; memory holds at most one tensor per thread.
///
/// # Errors
/// A file that cannot be read or is not a valid checkpoint.
pub fn fingerprint(path: &Path) -> Result<String, WeightsError> {
    of_tensors(path, |_| true)
}

/// The fingerprint of a checkpoint without the initial states that it may hold beside the weights: that of the same
/// weights alone.
///
/// # Errors
/// Those of [`fingerprint`].
pub fn fingerprint_without_states(path: &Path) -> Result<String, WeightsError> {
    of_tensors(path, |name| !is_of_state(name))
}

fn of_tensors(path: &Path, counts: impl Fn(&str) -> bool) -> Result<String, WeightsError> {
    let file = open_model(path)?;
    let tensors: Vec<TensorRef<'_>> =
        file.tensors().filter(|tensor| counts(tensor.name())).collect();
    let next = AtomicUsize::new(0);
    let lines = Mutex::new(Vec::with_capacity(tensors.len()));
    let work = || {
        while let Some(tensor) = tensors.get(next.fetch_add(1, Ordering::Relaxed)) {
            let line = line(tensor);
            file.forget_pages(tensor.name());
            lines.lock().expect("no thread panics").push(line);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get) {
            scope.spawn(work);
        }
    });
    let mut lines = lines.into_inner().expect("no thread panicked");
    lines.sort_unstable();
    Ok(sha256_hex(lines.concat()))
}

fn line(tensor: &TensorRef<'_>) -> String {
    let elements = sha256_hex(tensor.bytes());
    format!("{}\n", json!([tensor.name(), tensor.dtype().name(), tensor.shape(), elements]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use statetune_core::tensorfile::{Dtype, NewTensor, write_pth, write_safetensors};

    fn tensors(prefix: &str) -> [NewTensor<'static>; 2] {
        let tensor = |name: &str, dtype, shape: &[usize], bytes: &[u8]| NewTensor {
            name: format!("{prefix}{name}"),
            dtype,
            shape: shape.to_vec(),
            bytes: bytes.to_vec().into(),
        };
        [
            tensor("head.weight", Dtype::F16, &[2, 1], &[1, 2, 3, 4]),
            tensor("emb.weight", Dtype::F32, &[1], &[0, 0, 128, 63]),
        ]
    }

    /// `python3 -c 'import hashlib as h; s = lambda b: h.sha256(b).hexdigest(); print(s(
    /// ("[\"emb.weight\",\"float32\",[1],\"%s\"]\n[\"head.weight\",\"float16\",[2,1],\"%s\"]\n"
    /// % (s(b"\0\0\x80?"), s(b"\1\2\3\4"))).encode()))'`
    const FINGERPRINT: &str = "cdbb6d645f34fb6285573428d4bad535667b5d363d46223bbd5546ba6b535755";

    #[test]
    fn one_set_of_weights_has_one_fingerprint() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("weights");
        let found = || fingerprint(&path).expect("a sound file");
        for prefix in ["", "_forward_module.", "module.", "model."] {
            write_pth(&path, tensors(prefix)).expect("written");
            assert_eq!(found(), FINGERPRINT);
            let [head, emb] = tensors(prefix);
            write_pth(&path, [emb, head]).expect("written");
            assert_eq!(found(), FINGERPRINT);
            write_safetensors(&path, tensors(prefix), &[("format", "pt")]).expect("written");
            assert_eq!(found(), FINGERPRINT);
        }
    }

    #[test]
    fn states_may_be_left_out() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("weights.pth");
        let [head, emb] = tensors("");
        let name = "blocks.0.att.time_state".to_string();
        let state = NewTensor { name, ..emb.clone() };
        write_pth(&path, [head, emb, state]).expect("written");
        assert_ne!(fingerprint(&path).expect("a sound file"), FINGERPRINT);
        assert_eq!(fingerprint_without_states(&path).expect("a sound file"), FINGERPRINT);
    }

    #[test]
    fn every_change_changes_it() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("weights.pth");
        let changes: [fn(&mut NewTensor<'_>); 4] = [
            |tensor| tensor.name.push('2'),
            |tensor| tensor.shape.reverse(),
            |tensor| tensor.dtype = Dtype::BF16,
            |tensor| tensor.bytes.to_mut()[3] ^= 1,
        ];
        for change in changes {
            let mut tensors = tensors("");
            change(&mut tensors[0]);
            write_pth(&path, tensors).expect("written");
            assert_ne!(fingerprint(&path).expect("a sound file"), FINGERPRINT);
        }
    }
}
