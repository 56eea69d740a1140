//! Memory that runs out, which libtorch says by an exception and its wrapper by a panic.

use std::any::Any;
use std::panic;

/// How libtorch, the CUDA driver and the C++ library say that there is no memory left.
const SAID: [&str; 4] =
    ["can't allocate memory", "not enough memory", "out of memory", "std::bad_alloc"];
/// Where what they say goes over into where they say it from. The text of a panic has its line breaks written out.
const ENDS: [&str; 5] = ["\n", "\\n", "\"", ". Error code", "; "];

/// What was said when memory ran out; `None` for any other panic.
pub(super) fn out_of_memory(panic: &(dyn Any + Send)) -> Option<String> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    said(text.or_else(|| panic.downcast_ref::<&str>().copied())?)
}

/// The part of a text that says that memory ran out, and how much was asked for.
fn said(text: &str) -> Option<String> {
    let text = &text[SAID.iter().filter_map(|said| text.find(said)).min()?..];
    let end = ENDS.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    Some(text[..end].trim().to_string())
}

/// Keeps panics silent that say that memory ran out, which is no defect and has a message of its own.
pub fn keep_quiet_without_memory() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if out_of_memory_said(info).is_none() {
            tell(info);
        }
    }));
}

fn out_of_memory_said(info: &panic::PanicHookInfo<'_>) -> Option<String> {
    said(info.payload_as_str()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_ends_where_the_stack_begins() {
        for (text, expected) in [
            (
                "called `Result::unwrap()` on an `Err` value: Torch(\"[enforce fail at alloc_cpu.cpp:127] err == 0. \
                 DefaultCPUAllocator: can't allocate memory: you tried to allocate 307200000 bytes. Error code 12 \
                 (Cannot allocate memory)\\nframe #0: c10\")",
                Some("can't allocate memory: you tried to allocate 307200000 bytes"),
            ),
            (
                "CUDA out of memory. Tried to allocate 2.00 GiB\nframe",
                Some("out of memory. Tried to allocate 2.00 GiB"),
            ),
            ("std::bad_alloc", Some("std::bad_alloc")),
            ("index out of range", None),
        ] {
            assert_eq!(said(text).as_deref(), expected);
            assert_eq!(out_of_memory(&text.to_string()).as_deref(), expected);
        }
    }
}
