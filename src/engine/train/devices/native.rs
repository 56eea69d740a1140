//! The safe side of `kernels/devices.cpp`.

use std::ffi::{CString, c_char, c_int};
use std::fmt;
use std::ptr;
use std::time::Duration;

use tch::Tensor;
use torch_sys::C_tensor;

use super::DevicesError;
use crate::kernels::{KernelError, call_shim};

/// Bytes of a value of the store that are read.
const CAPACITY: usize = 4096;

#[repr(C)]
struct CMeeting {
    _private: [u8; 0],
}

#[repr(C)]
struct CGroup {
    _private: [u8; 0],
}

#[repr(C)]
struct CPending {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn statetune_meeting_open(
        host: *const c_char,
        port: *mut c_int,
        serves: c_int,
        prefix: *const c_char,
        timeout_ms: i64,
        meeting: *mut *mut CMeeting,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_meeting_close(meeting: *mut CMeeting);
    fn statetune_meeting_set(
        meeting: *const CMeeting,
        key: *const c_char,
        bytes: *const u8,
        len: usize,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_meeting_get(
        meeting: *const CMeeting,
        key: *const c_char,
        bytes: *mut u8,
        capacity: usize,
        len: *mut i64,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_group_open(
        meeting: *const CMeeting,
        rank: c_int,
        world: c_int,
        own: *const c_char,
        timeout_ms: i64,
        group: *mut *mut CGroup,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_group_close(group: *mut CGroup);
    fn statetune_group_begin_exchange(
        group: *const CGroup,
        out: *mut C_tensor,
        input: *mut C_tensor,
        pending: *mut *mut CPending,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_pending_wait(
        pending: *const CPending,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_pending_close(pending: *mut CPending);
    fn statetune_watch_gradient(
        leaf: *const C_tensor,
        number: i64,
        done: extern "C" fn(i64),
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_group_gather(
        group: *mut CGroup,
        out: *mut C_tensor,
        input: *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_group_broadcast(
        group: *const CGroup,
        tensor: *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_group_give(
        group: *mut CGroup,
        to: c_int,
        tensor: *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_group_take(
        group: *const CGroup,
        from: c_int,
        tensor: *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
}

/// A call of the shim.
fn call(shim: impl FnOnce(*mut c_char, usize) -> c_int) -> Result<(), DevicesError> {
    call_shim(shim).map_err(|error| match error {
        KernelError::Native(text) => DevicesError::Native(text),
        other => DevicesError::Native(other.text()),
    })
}

fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "")).expect("without zero bytes")
}

/// The number of a device.
fn number(n: usize) -> c_int {
    c_int::try_from(n).unwrap_or(c_int::MAX)
}

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

/// A store of texts by key that all processes of a run reach.
pub(super) struct Meeting(ptr::NonNull<CMeeting>);

impl Meeting {
    /// Opens the store at `host` and `port` (0: any free one), which this process serves or reaches within `timeout`. Keys begin
    /// with `prefix`. Returns the port.
    pub(super) fn open(
        host: &str,
        port: u16,
        serves: bool,
        prefix: &str,
        timeout: Duration,
    ) -> Result<(Meeting, u16), DevicesError> {
        let (host, prefix) = (c_text(host), c_text(prefix));
        let mut port = c_int::from(port);
        let mut meeting = ptr::null_mut();
        call(|message, len| {
            // SAFETY: both texts end with a zero byte and outlive the call, which writes one number and one pointer.
            unsafe {
                statetune_meeting_open(
                    host.as_ptr(),
                    &mut port,
                    serves.into(),
                    prefix.as_ptr(),
                    milliseconds(timeout),
                    &mut meeting,
                    message,
                    len,
                )
            }
        })?;
        let meeting = ptr::NonNull::new(meeting).expect("set by a call that succeeds");
        Ok((Meeting(meeting), u16::try_from(port).unwrap_or_default()))
    }

    /// Stores a text.
    pub(super) fn set(&self, key: &str, value: &str) -> Result<(), DevicesError> {
        let key = c_text(key);
        call(|message, len| {
            // SAFETY: the store lives as long as `self`; key and bytes outlive the call, which copies them.
            unsafe {
                statetune_meeting_set(
                    self.0.as_ptr(),
                    key.as_ptr(),
                    value.as_ptr(),
                    value.len(),
                    message,
                    len,
                )
            }
        })
    }

    /// The text of a key, if one is stored.
    pub(super) fn get(&self, key: &str) -> Result<Option<String>, DevicesError> {
        let key = c_text(key);
        let (mut bytes, mut found) = ([0; CAPACITY], -1);
        call(|message, len| {
            // SAFETY: as for `set`; the call writes at most `CAPACITY` bytes and one number.
            unsafe {
                statetune_meeting_get(
                    self.0.as_ptr(),
                    key.as_ptr(),
                    bytes.as_mut_ptr(),
                    CAPACITY,
                    &mut found,
                    message,
                    len,
                )
            }
        })?;
        let found = usize::try_from(found).ok();
        Ok(found.map(|len| String::from_utf8_lossy(&bytes[..len.min(CAPACITY)]).into_owned()))
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        // SAFETY: the pointer is that of the constructor, and nothing uses it afterwards.
        unsafe { statetune_meeting_close(self.0.as_ptr()) }
    }
}

/// Connected processes.
pub(super) struct Gloo(ptr::NonNull<CGroup>);

impl Gloo {
    /// Connects this process, `rank` of `count`, with the others. `own` is the address at which they reach it; empty: that of the
    /// interface in `GLOO_SOCKET_IFNAME`.
    pub(super) fn open(
        meeting: &Meeting,
        (rank, count): (usize, usize),
        own: &str,
        timeout: Duration,
    ) -> Result<Gloo, DevicesError> {
        let own = c_text(own);
        let mut group = ptr::null_mut();
        call(|message, len| {
            // SAFETY: the store is alive, the text ends with a zero byte and outlives the call, which writes one pointer and
            // keeps its own reference to the store.
            unsafe {
                statetune_group_open(
                    meeting.0.as_ptr(),
                    number(rank),
                    number(count),
                    own.as_ptr(),
                    milliseconds(timeout),
                    &mut group,
                    message,
                    len,
                )
            }
        })?;
        Ok(Gloo(ptr::NonNull::new(group).expect("set by a call that succeeds")))
    }

    /// Begins to exchange `rows`; `out` has the result once the exchange is over.
    pub(super) fn begin_exchange(
        &self,
        out: &Tensor,
        rows: &Tensor,
    ) -> Result<Pending, DevicesError> {
        let (out, rows) = (out.as_ptr().cast_mut(), rows.as_ptr().cast_mut());
        let mut pending = ptr::null_mut();
        // SAFETY: the group lives as long as `self`; both pointers are those of live tensors, of which the exchange keeps
        // references of its own. The call writes one pointer.
        call(|message, len| unsafe {
            statetune_group_begin_exchange(self.0.as_ptr(), out, rows, &mut pending, message, len)
        })?;
        Ok(Pending(ptr::NonNull::new(pending).expect("set by a call that succeeds")))
    }

    pub(super) fn gather(&self, out: &Tensor, tensor: &Tensor) -> Result<(), DevicesError> {
        let (out, tensor) = (out.as_ptr().cast_mut(), tensor.as_ptr().cast_mut());
        // SAFETY: the group lives as long as `self`; both pointers are those of live tensors, of which the call reads one and
        // writes into the elements of the other; it has ended its work when it returns.
        call(|message, len| unsafe {
            statetune_group_gather(self.0.as_ptr(), out, tensor, message, len)
        })
    }

    pub(super) fn broadcast(&self, tensor: &Tensor) -> Result<(), DevicesError> {
        let tensor = tensor.as_ptr().cast_mut();
        // SAFETY: as for `gather`.
        call(|message, len| unsafe {
            statetune_group_broadcast(self.0.as_ptr(), tensor, message, len)
        })
    }

    pub(super) fn give(&self, to: usize, tensor: &Tensor) -> Result<(), DevicesError> {
        let tensor = tensor.as_ptr().cast_mut();
        // SAFETY: the group lives as long as `self`, which one thread uses; the pointer is that of a live tensor, whose
        // elements the group owns too until they are sent.
        call(|message, len| unsafe {
            statetune_group_give(self.0.as_ptr(), number(to), tensor, message, len)
        })
    }

    pub(super) fn take(&self, from: usize, tensor: &Tensor) -> Result<(), DevicesError> {
        let tensor = tensor.as_ptr().cast_mut();
        // SAFETY: as for `exchange`.
        call(|message, len| unsafe {
            statetune_group_take(self.0.as_ptr(), number(from), tensor, message, len)
        })
    }
}

/// An exchange under way. Dropping this does not end the exchange.
pub(super) struct Pending(ptr::NonNull<CPending>);

impl Pending {
    /// Waits until the exchange is over.
    pub(super) fn wait(&self) -> Result<(), DevicesError> {
        // SAFETY: the pointer is that of the constructor, and lives as long as `self`.
        call(|message, len| unsafe { statetune_pending_wait(self.0.as_ptr(), message, len) })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        // SAFETY: as for `Meeting`.
        unsafe { statetune_pending_close(self.0.as_ptr()) }
    }
}

/// Calls `done` with `number` whenever a backward pass has accumulated a gradient into `leaf`, on the thread of that pass.
pub(super) fn watch_gradient(
    leaf: &Tensor,
    number: usize,
    done: extern "C" fn(i64),
) -> Result<(), KernelError> {
    // SAFETY: the tensor outlives the call; what the call keeps is a number and a function.
    call_shim(|message, len| unsafe {
        statetune_watch_gradient(leaf.as_ptr(), number as i64, done, message, len)
    })
}

impl Drop for Gloo {
    fn drop(&mut self) {
        // SAFETY: as for `Meeting`.
        unsafe { statetune_group_close(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Gloo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gloo")
    }
}

impl fmt::Debug for Meeting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meeting")
    }
}
