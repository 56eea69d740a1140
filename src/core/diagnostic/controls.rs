//! Text that does not steer a terminal.

/// Text of a document, a note or a model, fit for a terminal: control characters, which could move the cursor or reach the
/// clipboard, become visible symbols. Line breaks and tabs stay.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if is_control(c) { symbol(c) } else { c }).collect()
}

/// Output fit for a terminal, as [`printable`], with its colours.
pub fn without_controls(text: &str) -> String {
    let mut fit = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(is_control) {
        fit.push_str(&rest[..at]);
        let control = &rest[at..];
        rest = match colour_len(control) {
            Some(len) => {
                fit.push_str(&control[..len]);
                &control[len..]
            }
            None => {
                let c = control.chars().next().expect("found above");
                fit.push(symbol(c));
                &control[c.len_utf8()..]
            }
        };
    }
    fit + rest
}

fn is_control(c: char) -> bool {
    let turns_text = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\n' && c != '\t') || turns_text
}

/// The visible symbol of a control character.
fn symbol(c: char) -> char {
    match c {
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        '\x7f' => '\u{2421}',
        _ => '\u{fffd}',
    }
}

/// Bytes of the colour (`ESC [ 1 ; 31 m`) at the start of `text`.
fn colour_len(text: &str) -> Option<usize> {
    let numbers = text.strip_prefix("\x1b[")?;
    let end = numbers.find(|c: char| !c.is_ascii_digit() && c != ';')?;
    numbers[end..].starts_with('m').then_some("\x1b[".len() + end + 1)
}
