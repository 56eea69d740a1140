//! The encoding of a text that is not UTF-8, and the command that converts the text.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{DecoderResult, Encoding};

use crate::diagnostic::{Text, msg};
use crate::shell::shell_word;

use super::containers::{Compression, decompress};

/// Bytes that are looked at together.
const WINDOW: usize = 1 << 20;
/// Windows that are looked at until one is not UTF-8.
const WINDOWS: usize = 64;
/// A text with this many valid characters of UTF-8 for each invalid sequence is damaged UTF-8.
const VALID_FOR_EACH_INVALID: usize = 4;

/// Bytes beyond ASCII from which an encoding can be told.
const ENOUGH: usize = 8;

/// What a text that is not valid UTF-8 is likely to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Likely {
    /// UTF-8 with a few invalid bytes.
    DamagedUtf8,
    /// Another encoding, by the name that `iconv` knows.
    Encoded(&'static str),
}

/// A help that converts `file`, which is not UTF-8; general where the encoding cannot be told.
pub(crate) fn conversion_help(file: &Path) -> Text {
    match likely(file) {
        Some(Likely::DamagedUtf8) => {
            msg!(DROP_INVALID_BYTES, command = command(file, "iconv -c -f UTF-8"))
        }
        Some(Likely::Encoded(name)) => conversion_from(file, name),
        None => msg!(SAVE_AS_UTF8),
    }
}

/// The help that converts `file` from the encoding with this name.
pub(crate) fn conversion_from(file: &Path, name: &str) -> Text {
    msg!(CONVERT_TO_UTF8, name, command = command(file, &format!("iconv -f {name}")))
}

/// The shell command that converts a file, which may be compressed, into a copy.
fn command(file: &Path, iconv: &str) -> String {
    let compression = Compression::of_file(file).unwrap_or(Compression::None);
    let old = shell_word(&file.display().to_string());
    let new = shell_word(&copy_name(file, compression).display().to_string());
    match compression {
        Compression::None => format!("{iconv} -t UTF-8 {old} > {new}"),
        Compression::Gzip => format!("gzip -dc {old} | {iconv} -t UTF-8 > {new}"),
        Compression::Zstd => format!("zstd -dc {old} | {iconv} -t UTF-8 > {new}"),
    }
}

/// `d.utf8.jsonl` for `d.jsonl` and `d.jsonl.gz`.
fn copy_name(file: &Path, compression: Compression) -> PathBuf {
    let plain = match compression {
        Compression::None => file.to_path_buf(),
        _ => file.with_extension(""),
    };
    match plain.extension() {
        Some(ending) => plain.with_extension("utf8").with_added_extension(ending),
        None => plain.with_added_extension("utf8"),
    }
}

/// What the first part of a file that is not UTF-8 is likely to be; `None` where there is no such part near the beginning,
/// or the part is not text.
fn likely(file: &Path) -> Option<Likely> {
    let mut input = decompress(file).ok()?;
    let mut window = Vec::new();
    for _ in 0..WINDOWS {
        // What is left of the window before is an incomplete character.
        (&mut input).take(WINDOW as u64).read_to_end(&mut window).ok()?;
        match std::str::from_utf8(&window) {
            Ok(_) => window.clear(),
            Err(error) if error.error_len().is_none() => {
                window.drain(..error.valid_up_to());
            }
            Err(_) => return of_bytes(&window),
        }
    }
    None
}

fn of_bytes(bytes: &[u8]) -> Option<Likely> {
    let (mut valid, mut invalid) = (0, 0);
    for chunk in bytes.utf8_chunks() {
        valid += chunk.valid().chars().filter(|c| !c.is_ascii()).count();
        invalid += usize::from(!chunk.invalid().is_empty());
    }
    if valid > VALID_FOR_EACH_INVALID * invalid {
        return Some(Likely::DamagedUtf8);
    }
    if bytes.iter().filter(|byte| !byte.is_ascii()).count() < ENOUGH {
        return None;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    detector.feed(bytes, false);
    let encoding = detector.guess(None, Utf8Detection::Deny);
    reads_as_text(bytes, encoding).then(|| Likely::Encoded(name_for_iconv(encoding)))
}

/// Whether all bytes are text in this encoding, save for an incomplete last character.
fn reads_as_text(bytes: &[u8], encoding: &'static Encoding) -> bool {
    let mut decoder = encoding.new_decoder_without_bom_handling();
    let Some(most) = decoder.max_utf8_buffer_length_without_replacement(bytes.len()) else {
        return false;
    };
    let mut text = String::with_capacity(most);
    let (result, _) = decoder.decode_to_string_without_replacement(bytes, &mut text, false);
    let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{c}');
    result == DecoderResult::InputEmpty && !text.contains(is_control)
}

/// The name under which `iconv` knows an encoding of the web, or a superset of it.
fn name_for_iconv(encoding: &'static Encoding) -> &'static str {
    match encoding.name() {
        "GBK" | "gb18030" => "GB18030",
        "Big5" => "BIG5-HKSCS",
        "Shift_JIS" => "CP932",
        "EUC-KR" => "CP949",
        "windows-874" => "CP874",
        "ISO-8859-8-I" => "ISO-8859-8",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    const TEXTS: [(&str, &str, &str); 6] = [
        ("GB18030", "GB18030", "{\"text\": \"你好，今天天气怎么样？我们去公园散步吧。\"}\n"),
        (
            "windows-1252",
            "WINDOWS-1252",
            "{\"text\": \"Où est le café? À côté de l'hôtel, près de la forêt.\"}\n",
        ),
        (
            "windows-1251",
            "WINDOWS-1251",
            "{\"text\": \"Привет, как дела? Сегодня хорошая погода.\"}\n",
        ),
        ("CP932", "CP932", "{\"text\": \"こんにちは、今日はいい天気ですね。\"}\n"),
        ("CP949", "CP949", "{\"text\": \"안녕하세요, 오늘 날씨가 좋네요.\"}\n"),
        ("BIG5-HKSCS", "BIG5", "{\"text\": \"你好，今天天氣怎麼樣？我們去公園散步吧。\"}\n"),
    ];

    /// The bytes of a text that the `iconv` of the system writes; `None` where there is no such program.
    fn converted(text: &str, name: &str) -> Option<Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("d.txt");
        fs::write(&file, text).unwrap();
        let output = Command::new("iconv").args(["-f", "UTF-8", "-t", name]).arg(file).output();
        output.ok().filter(|output| output.status.success()).map(|output| output.stdout)
    }

    #[test]
    fn the_command_brings_the_text_back() {
        for (expected, name, text) in TEXTS {
            let text = text.repeat(20);
            let Some(bytes) = converted(&text, name) else {
                eprintln!("skipped: no iconv for {name}");
                continue;
            };
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("a file.jsonl");
            fs::write(&file, &bytes).unwrap();
            assert_eq!(likely(&file), Some(Likely::Encoded(expected)));
            let command = command(&file, &format!("iconv -f {expected}"));
            assert!(Command::new("sh").args(["-c", &command]).status().unwrap().success());
            let copy = folder.path().join("a file.utf8.jsonl");
            assert_eq!(fs::read_to_string(copy).unwrap(), text, "{command}");
        }
    }

    #[test]
    fn damaged_utf8_and_bytes_that_are_no_text() {
        let good = "你好，今天天气怎么样？é\n".repeat(9);
        assert_eq!(of_bytes(&[good.as_bytes(), b"\xff\n"].concat()), Some(Likely::DamagedUtf8));
        assert_eq!(of_bytes(b"\x00\x01\xff\xfe\x05\x81 \xff\xfe\xf0\xf1\xf2\xf3"), None);
        assert_eq!(of_bytes(b"{\"text\": \"\xc4\xe3\xba\xc3\"}"), None, "too short to tell");
    }

    #[test]
    fn text_far_behind_the_beginning_is_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("d.txt");
        let Some(bytes) = converted(TEXTS[0].2, "GB18030") else { return };
        let start = format!("{}é\n", "a".repeat(WINDOW - 1)).into_bytes();
        fs::write(&file, [start, bytes].concat()).unwrap();
        assert_eq!(likely(&file), Some(Likely::Encoded("GB18030")));
    }

    #[test]
    fn copies_are_named_after_the_text() {
        let name = |file, compression| copy_name(Path::new(file), compression);
        assert_eq!(name("a/d.jsonl", Compression::None), Path::new("a/d.utf8.jsonl"));
        assert_eq!(name("a/d.jsonl.gz", Compression::Gzip), Path::new("a/d.utf8.jsonl"));
        assert_eq!(name("d", Compression::None), Path::new("d.utf8"));
    }
}
