//! The bytes of TensorBoard's event files.
//!
//! A file is a sequence of records, each a frame around an `Event` message:
//!
//! ```text
//! u64 length | u32 masked crc32c of the length | the message | u32 masked crc32c of the message
//! ```
//!
//! Numbers are little-endian. Messages are protocol buffers with the field numbers of `event.proto`, `summary.proto` and
//! `tensor.proto` of TensorBoard. Every message written here starts with its time and its step, so that [`records`] finds
//! the step without parsing the rest.

/// Bytes of a frame before the message.
const HEAD: usize = 12;
/// Bytes of a frame after the message.
const TAIL: usize = 4;

/// Wire types of protocol buffers.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;
const FIXED32: u64 = 5;

/// `DT_STRING` of TensorFlow's `DataType`.
const DT_STRING: u64 = 7;
/// `START` of `SessionLog.SessionStatus`.
const SESSION_START: u64 = 1;

/// The content of an event.
#[derive(Clone, Copy, Debug)]
pub(super) enum What<'a> {
    /// The first event of a file: the version of the format.
    Version,
    /// A process starts: readers drop everything from the event's step on.
    SessionStart,
    /// A number.
    Scalar { tag: &'a str, value: f64 },
    /// A text, shown as Markdown.
    Text { tag: &'a str, text: &'a str },
}

/// The record of an event at `wall_time` (seconds since 1970), after `step` steps.
pub(super) fn record(wall_time: f64, step: u64, what: What<'_>) -> Vec<u8> {
    let mut event = Message::default();
    event.double(1, wall_time);
    event.integer(2, step);
    match what {
        What::Version => event.bytes(3, b"brain.Event:2"),
        What::SessionStart => event.message(7, |log| log.integer(1, SESSION_START)),
        What::Scalar { tag, value } => event.message(5, |summary| {
            summary.message(1, |item| {
                item.bytes(1, tag.as_bytes());
                item.float(2, value as f32);
            });
        }),
        What::Text { tag, text } => event.message(5, |summary| {
            summary.message(1, |item| {
                item.bytes(1, tag.as_bytes());
                item.message(8, |tensor| {
                    tensor.integer(1, DT_STRING);
                    tensor.message(2, |_| {}); // no axes: one text
                    tensor.bytes(8, text.as_bytes());
                });
                item.message(9, |metadata| {
                    metadata.message(1, |plugin| plugin.bytes(1, b"text"));
                });
            });
        }),
    }
    frame(&event.0)
}

/// The complete records at the start of a file, each with its step. Ignores a partial record and everything after it.
pub(super) fn records(mut file: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    std::iter::from_fn(move || {
        let (record, rest) = split_record(file)?;
        file = rest;
        Some((step_of(&record[HEAD..record.len() - TAIL])?, record))
    })
}

fn split_record(file: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = u64::from_le_bytes(*file.first_chunk()?);
    let end = usize::try_from(length).ok()?.checked_add(HEAD + TAIL)?;
    let (record, rest) = file.split_at_checked(end)?;
    (frame(&record[HEAD..end - TAIL]) == record).then_some((record, rest))
}

/// The step of a message written by [`record`]: the field after the time.
fn step_of(message: &[u8]) -> Option<u64> {
    let field = message.get(1 + size_of::<f64>()..)?;
    let digits = field.strip_prefix(&[key(2, VARINT) as u8])?;
    let mut step = 0;
    for (i, byte) in digits.iter().take(10).enumerate() {
        step |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some(step);
        }
    }
    None
}

fn frame(message: &[u8]) -> Vec<u8> {
    let length = (message.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(message.len() + HEAD + TAIL);
    record.extend(length);
    record.extend(masked_crc(&length).to_le_bytes());
    record.extend(message);
    record.extend(masked_crc(message).to_le_bytes());
    record
}

/// The checksum of a frame: turned by 15 bits and moved, so that the checksum of a text that holds
/// checksums is no trivial one.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// What stands before a field: its number and the form of its value.
fn key(field: u64, wire_type: u64) -> u64 {
    field << 3 | wire_type
}

/// A protocol buffers message that grows.
#[derive(Debug, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn integer(&mut self, field: u64, value: u64) {
        self.varint(key(field, VARINT));
        self.varint(value);
    }

    fn double(&mut self, field: u64, value: f64) {
        self.varint(key(field, FIXED64));
        self.0.extend(value.to_le_bytes());
    }

    fn float(&mut self, field: u64, value: f32) {
        self.varint(key(field, FIXED32));
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, field: u64, value: &[u8]) {
        self.varint(key(field, BYTES));
        self.varint(value.len() as u64);
        self.0.extend(value);
    }

    fn message(&mut self, field: u64, fill: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_of_the_format() {
        // The check value of crc32c for these digits is 0xe3069283; masked by hand.
        assert_eq!(masked_crc(b"123456789"), 0xc78a_b0e5);
    }

    #[test]
    fn records_are_found_again_up_to_a_broken_one() {
        let long = "x".repeat(300);
        let parts = [
            record(0.5, 0, What::Version),
            record(1.5, 127, What::Scalar { tag: "a", value: 1.0 }),
            record(2.5, 300_000, What::Text { tag: "b", text: &long }),
        ];
        let whole = parts.concat();
        let steps = |bytes: &[u8]| records(bytes).map(|(step, _)| step).collect::<Vec<_>>();
        assert_eq!(steps(&whole), [0, 127, 300_000]);
        assert_eq!(records(&whole).flat_map(|(_, record)| record).count(), whole.len());
        assert_eq!(steps(&whole[..whole.len() - 1]), [0, 127]);
        let mut damaged = whole.clone();
        damaged[parts[0].len() + HEAD + 3] ^= 1;
        assert_eq!(steps(&damaged), [0]);
        assert_eq!(steps(b"no event file at all, but longer than a frame"), [0; 0]);
    }
}
