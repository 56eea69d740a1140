//! Sizes and ages as they are written and read.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Reads an age: a number with `d`, `h` or `m`, such as `30d`.
pub(super) fn age(text: &str) -> Result<Duration, String> {
    let unit = match text.chars().last() {
        Some('d') => DAY,
        Some('h') => HOUR,
        Some('m') => MINUTE,
        _ => return Err("needs a unit: `d`, `h` or `m`".into()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| "is no number with a unit")?;
    let secs = number.checked_mul(unit).ok_or("is too long")?;
    Ok(Duration::from_secs(secs))
}

/// Bytes in a unit of a thousand.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut number = bytes as f64 / 1000.0;
    let mut unit = 0;
    while number >= 999.95 && unit + 1 < UNITS.len() {
        number /= 1000.0;
        unit += 1;
    }
    format!("{number:.1} {}", UNITS[unit])
}

/// How long it is: the largest whole unit.
pub(super) fn span(secs: u64) -> String {
    match secs {
        DAY.. => format!("{} d", secs / DAY),
        HOUR.. => format!("{} h", secs / HOUR),
        MINUTE.. => format!("{} min", secs / MINUTE),
        _ => format!("{secs} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_960, "1.0 MB"),
            (12_345_678, "12.3 MB"),
            (5_000_000_000_000_000, "5000.0 TB"),
        ];
        for (bytes, text) in cases {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn ages_have_a_unit() {
        assert_eq!(age("30d"), Ok(Duration::from_secs(30 * 86400)));
        assert_eq!(age("0m"), Ok(Duration::ZERO));
        assert!(age("30").is_err() && age("d").is_err() && age("-1h").is_err());
    }

    #[test]
    fn spans_have_a_unit() {
        for (secs, text) in
            [(0, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (90_000, "1 d")]
        {
            assert_eq!(span(secs), text);
        }
    }
}
