//! The messages of an Arrow stream, whose sizes are checked before memory is taken for them.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read as _};

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::{Message, MessageHeader, RecordBatch as BatchHeader, root_as_message};
use arrow_schema::{ArrowError, SchemaRef};

use super::claims::is_plausible;
use super::guarded::guarded;

/// Begins every message since 2019.
const CONTINUATION: [u8; 4] = [0xff; 4];
/// The most bytes of a record batch, decompressed.
const MAX_BATCH: u64 = 2 << 30;

/// Reads the record batches of a stream.
pub(super) struct Messages {
    source: BufReader<File>,
    /// The bytes of the file that are not read yet.
    left: u64,
    decoder: StreamDecoder,
    /// Batches that are decoded. A message without a body is decoded with the next one.
    decoded: VecDeque<RecordBatch>,
    is_done: bool,
}

impl Messages {
    /// The stream that begins here, `left` bytes before the end of the file.
    pub(super) fn new(source: File, left: u64) -> Self {
        let source = BufReader::with_capacity(1 << 20, source);
        let (decoder, decoded) = (StreamDecoder::new(), VecDeque::new());
        Self { source, left, decoder, decoded, is_done: false }
    }

    /// The types of the columns, which come first.
    ///
    /// # Errors
    /// A stream without them.
    pub(super) fn schema(&mut self) -> Result<SchemaRef, ArrowError> {
        while self.decoder.schema().is_none() {
            let message = self.message()?.ok_or_else(incomplete)?;
            self.decode(message)?;
        }
        self.decoder.schema().ok_or_else(incomplete)
    }

    /// The next batch; `None` at the end.
    fn batch(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        while self.decoded.is_empty() {
            match self.message()? {
                Some(message) => self.decode(message)?,
                None => return Ok(None),
            }
        }
        Ok(self.decoded.pop_front())
    }

    fn decode(&mut self, mut message: Buffer) -> Result<(), ArrowError> {
        while !message.is_empty() {
            let batch = guarded(|| self.decoder.decode(&mut message))?;
            self.decoded.extend(batch);
        }
        Ok(())
    }

    /// The bytes of the next message, its body included; `None` at the end.
    fn message(&mut self) -> Result<Option<Buffer>, ArrowError> {
        let mut bytes = Vec::new();
        if self.is_done || self.left == 0 {
            return Ok(None);
        }
        self.take(&mut bytes, 4)?;
        if bytes == CONTINUATION {
            self.take(&mut bytes, 4)?;
        }
        let size = bytes.last_chunk::<4>().map_or(0, |size| u32::from_le_bytes(*size));
        if size == 0 {
            self.is_done = true;
            return Ok(None);
        }
        let start = bytes.len();
        self.take(&mut bytes, size.into())?;
        let body = bytes.len();
        let length = guarded(|| {
            let message = header(&bytes[start..])?;
            u64::try_from(message.bodyLength()).map_err(|_| incomplete())
        })?;
        self.take(&mut bytes, length)?;
        guarded(|| check(&header(&bytes[start..body])?, &bytes[body..]))?;
        Ok(Some(Buffer::from_vec(bytes)))
    }

    /// Appends the next `count` bytes of the file.
    fn take(&mut self, bytes: &mut Vec<u8>, count: u64) -> Result<(), ArrowError> {
        if count > self.left || count > MAX_BATCH {
            return Err(incomplete());
        }
        self.left -= count;
        let read = io::Read::by_ref(&mut self.source).take(count).read_to_end(bytes)?;
        if read as u64 == count { Ok(()) } else { Err(incomplete()) }
    }
}

impl Iterator for Messages {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.batch().transpose()
    }
}

fn header(bytes: &[u8]) -> Result<Message<'_>, ArrowError> {
    root_as_message(bytes).map_err(|error| ArrowError::ParseError(error.to_string()))
}

/// Refuses a message that needs too much memory when its buffers are decompressed: each says its size at its start.
fn check(message: &Message<'_>, body: &[u8]) -> Result<(), ArrowError> {
    let batch: Option<BatchHeader<'_>> = match message.header_type() {
        MessageHeader::RecordBatch => message.header_as_record_batch(),
        MessageHeader::DictionaryBatch => {
            message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data())
        }
        _ => None,
    };
    let Some(batch) = batch.filter(|batch| batch.compression().is_some()) else { return Ok(()) };
    let mut total = 0_u64;
    for buffer in batch.buffers().iter().flatten() {
        let start = usize::try_from(buffer.offset()).ok().and_then(|start| body.get(start..));
        // An empty buffer has no size, and -1 stands for bytes that are not compressed.
        let size = start.filter(|_| buffer.length() > 0).and_then(<[u8]>::first_chunk::<8>);
        let size = size.map_or(0, |size| i64::from_le_bytes(*size).max(0)).unsigned_abs();
        if !is_plausible(size, buffer.length().unsigned_abs()) {
            return Err(ArrowError::MemoryError(format!("a buffer claims {size} bytes")));
        }
        total = total.saturating_add(size);
    }
    match total > MAX_BATCH {
        true => Err(ArrowError::MemoryError(format!("a record batch of {total} bytes"))),
        false => Ok(()),
    }
}

fn incomplete() -> ArrowError {
    ArrowError::IpcError("the stream is incomplete".into())
}
