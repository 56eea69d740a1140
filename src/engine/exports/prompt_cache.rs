//! Initial states as prompt caches of llama.cpp: the state of a context after one token, the end of a document.
//!
//! llama.cpp continues from a cache where a prompt begins with the tokens of the cache. Token 0 is in no text, so a
//! prompt that begins with it starts from the trained state. The file has no tensors that llama.cpp computed: the token
//! shift is that of the state, zero where it was not trained.

use std::io::{self, Write};
use std::path::Path;

use statetune_core::tensorfile::{WeightsError, write_atomically};
use tch::{Kind, Tensor};

use super::card::ExportError;
use super::gguf::architecture;
use crate::model::{Shape, Shift, TimeState, Version};

/// The first bytes of a session file, and the version of its format.
const MAGIC: (u32, u32) = (0x6767_736e, 10);
/// The number of the type float32.
const F32: i32 = 0;

/// Writes the states as a session file.
///
/// # Errors
/// A model that llama.cpp has no architecture for, or a file that cannot be written.
pub fn save_prompt_cache(states: &TimeState, shape: &Shape, out: &Path) -> Result<(), ExportError> {
    let arch = architecture(shape)?;
    write_atomically(out, |file| write(file, states, shape, arch))
        .map_err(|source| WeightsError::Write { path: out.to_path_buf(), source })?;
    Ok(())
}

fn write(out: &mut impl Write, states: &TimeState, shape: &Shape, arch: &str) -> io::Result<()> {
    let (one_token, token) = (1, 0);
    for value in [MAGIC.0, MAGIC.1, one_token, token] {
        write_number(out, value)?;
    }
    write_number(out, arch.len() as u32)?;
    out.write_all(arch.as_bytes())?;
    // One cell of the memory: at position 0, of one sequence, which is sequence 0.
    let (cells, position, sequences, sequence) = (1, 0, 1, 0);
    for value in [cells, position, sequences, sequence] {
        write_number(out, value)?;
    }
    let is_transposed = 0;
    write_number(out, is_transposed)?;
    write_number(out, states.wkv.len() as u32)?;
    // That of the time mix, then that of the channel mix.
    let states = states.share().with_shift(shape.n_embd);
    for Shift { att, ffn } in states.shift.iter().flatten() {
        write_row(out, &Tensor::cat(&[att, ffn], 0))?;
    }
    // The recurrence of RWKV-7 there indexes [head, value, key], that of RWKV-6 [head, key, value].
    let states = match shape.version() {
        Version::V7 => states,
        Version::V5 | Version::V6 => states.transposed(),
    };
    states.wkv.iter().try_for_each(|state| write_row(out, state))
}

fn write_number(out: &mut impl Write, number: u32) -> io::Result<()> {
    out.write_all(&number.to_le_bytes())
}

/// The values of a block, with their type and size.
fn write_row(out: &mut impl Write, values: &Tensor) -> io::Result<()> {
    let flat = values.to_kind(Kind::Float).contiguous().view([-1]);
    let values: Vec<f32> = Vec::try_from(flat).map_err(io::Error::other)?;
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    out.write_all(&F32.to_le_bytes())?;
    out.write_all(&(bytes.len() as u64).to_le_bytes())?;
    out.write_all(&bytes)
}
