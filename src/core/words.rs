//! Amounts in words: sizes, durations, grouped digits, plurals.

use std::time::Duration;

pub use crate::diagnostic::controls::{printable, without_controls};
use crate::diagnostic::msg;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Bytes in the largest fitting unit up to TiB: `999 B`, `11.8 MiB`, `181 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut number = bytes as f64 / 1024.0;
    let mut unit = 0;
    while number >= 1023.5 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    let digits = if number < 99.95 { 1 } else { 0 };
    format!("{number:.digits$} {}", UNITS[unit])
}

/// Bytes in GiB with two digits, for amounts that are compared with each other: `11.75 GiB`.
pub fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / (1u64 << 30) as f64)
}

/// Parses a size: a number, followed by `B`, `MB`, `GB`, `MiB` or `GiB`; without a unit, bytes.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "" | "B" => 1.0,
        "MB" => 1e6,
        "GB" => 1e9,
        "MiB" => f64::from(1 << 20),
        "GiB" => f64::from(1 << 30),
        _ => return Err(msg!(UNITS_OF_SIZES).to_string()),
    };
    match number.trim().parse::<f64>() {
        Ok(number) if number > 0.0 && number.is_finite() => Ok((number * factor) as u64),
        _ => Err(msg!(EXPECTED_SIZE).to_string()),
    }
}

/// Parses an age: a number with `d`, `h` or `m`, such as `30d`.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_age(text: &str) -> Result<Duration, String> {
    let unit = match text.chars().last() {
        Some('d') => DAY,
        Some('h') => HOUR,
        Some('m') => MINUTE,
        _ => return Err("needs a unit: `d`, `h` or `m`".into()),
    };
    let number: u64 =
        text[..text.len() - 1].parse().map_err(|_| "is not a whole number with a unit")?;
    let secs = number.checked_mul(unit).ok_or("is too long")?;
    Ok(Duration::from_secs(secs))
}

/// An age in its largest whole unit: `59 s`, `2 h`, `3 d`.
pub fn age(secs: u64) -> String {
    match secs {
        DAY.. => format!("{} d", secs / DAY),
        HOUR.. => format!("{} h", secs / HOUR),
        MINUTE.. => format!("{} min", secs / MINUTE),
        _ => format!("{secs} s"),
    }
}

/// A measured duration: `0.3 s`, `59 s`, `2 min 5 s`, `1 h 3 min`.
pub fn duration(secs: f64) -> String {
    let whole = secs.round() as u64;
    match whole {
        0 => format!("{secs:.1} s"),
        1..MINUTE => format!("{whole} s"),
        MINUTE..HOUR => format!("{} min {} s", whole / MINUTE, whole % MINUTE),
        _ => format!("{} h {} min", whole / HOUR, whole % HOUR / MINUTE),
    }
}

/// An estimated duration: `about 40 s`, `about 5 min`, `about 1.5 h`.
pub fn estimate(secs: f64) -> String {
    match secs {
        secs if secs < 90.0 => format!("about {secs:.0} s"),
        secs if secs < 5400.0 => format!("about {:.0} min", secs / 60.0),
        secs => format!("about {:.1} h", secs / 3600.0),
    }
}

/// A duration as on a clock: `5:30`, `1:05:30`.
pub fn clock(time: Duration) -> String {
    let secs = time.as_secs_f64().round() as u64;
    let (hours, minutes, secs) = (secs / HOUR, secs / MINUTE % 60, secs % MINUTE);
    match hours {
        0 => format!("{minutes}:{secs:02}"),
        _ => format!("{hours}:{minutes:02}:{secs:02}"),
    }
}

/// Decimal digits with a comma at every thousand: `1,234,567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number in thousands or millions: `950`, `15.9 k`, `1.2 M`.
pub fn shortened(number: f64) -> String {
    match number {
        n if n >= 1e6 => format!("{:.1} M", n / 1e6),
        n if n >= 1e3 => format!("{:.1} k", n / 1e3),
        n => format!("{n:.0}"),
    }
}

/// A count with its noun: `1 document`, `2 documents`.
pub fn count(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", grouped(n), if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        let cases = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            ((1 << 20) - 10, "1.0 MiB"),
            (12_345_678, "11.8 MiB"),
            (181 << 20, "181 MiB"),
            (5 << 50, "5120 TiB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(gib(3 << 29), "1.50 GiB");
    }

    #[test]
    fn sizes_are_parsed() {
        assert_eq!(parse_size("8GiB"), Ok(8 << 30));
        assert_eq!(parse_size("1.5GB"), Ok(1_500_000_000));
        assert_eq!(parse_size("900 MB"), Ok(900_000_000));
        for text in ["8G", "GiB", "-1GB"] {
            parse_size(text).expect_err(text);
        }
    }

    #[test]
    fn ages_are_parsed_and_written() {
        assert_eq!(parse_age("30d"), Ok(Duration::from_secs(30 * 86400)));
        assert_eq!(parse_age("0m"), Ok(Duration::ZERO));
        for text in ["30", "d", "-1h"] {
            parse_age(text).expect_err(text);
        }
        for (secs, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (90_000, "1 d")]
        {
            assert_eq!(age(secs), text);
        }
    }

    #[test]
    fn durations_have_a_unit() {
        for (secs, text) in
            [(0.25, "0.2 s"), (59.2, "59 s"), (125.0, "2 min 5 s"), (3800.0, "1 h 3 min")]
        {
            assert_eq!(duration(secs), text);
        }
        assert_eq!(clock(Duration::from_secs(330)), "5:30");
        assert_eq!(clock(Duration::from_secs(3930)), "1:05:30");
    }

    #[test]
    fn numbers_are_grouped_or_shortened() {
        let cases =
            [(0, "0"), (999, "999"), (1000, "1,000"), (4093, "4,093"), (1234567, "1,234,567")];
        for (n, text) in cases {
            assert_eq!(grouped(n), text);
        }
        for (n, text) in [(950.0, "950"), (15_900.0, "15.9 k"), (1.25e6, "1.2 M")] {
            assert_eq!(shortened(n), text);
        }
    }

    #[test]
    fn nouns_are_counted() {
        assert_eq!(
            (count(1, "document").as_str(), count(2000, "document").as_str()),
            ("1 document", "2,000 documents")
        );
    }

    #[test]
    fn no_control_character_reaches_a_terminal() {
        let clipboard = "a\x1b]52;c;cm0=\x07b\tc\r\n\x1b[2J\u{9b}d\x7f\u{202e}e";
        let shown = "a␛]52;c;cm0=␇b\tc␍\n␛[2J\u{fffd}d␡\u{fffd}e";
        assert_eq!(printable(clipboard), shown);
        assert_eq!(without_controls(clipboard), shown);
        let coloured = "\x1b[1;31merror\x1b[0m: ü\x1b[m";
        assert_eq!(without_controls(coloured), coloured);
        assert_eq!(printable("\x1b[1m"), "␛[1m");
        assert_eq!(without_controls("\x1b[31"), "␛[31", "a colour that does not end");
    }
}
