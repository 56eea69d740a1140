//! Words that are spelt alike.

use strsim::damerau_levenshtein;

/// The word closest to `word`; `None` if no word is close.
pub fn nearest_word<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest(word, words).into_iter().next()
}

/// The words closest to `word`; empty if no word is close. Up to a third of the letters may differ; case, `-` and `_`
/// are ignored.
pub(in crate::config) fn nearest<'a>(
    word: &str,
    words: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let letters = |word: &str| word.to_lowercase().replace(['-', '_'], "");
    let wanted = letters(word);
    let distances = words.map(|known| (damerau_levenshtein(&wanted, &letters(known)), known));
    let distances: Vec<_> = distances.collect();
    let allowed = (wanted.chars().count() / 3).max(1);
    let least = distances.iter().map(|(distance, _)| *distance).min();
    let Some(least) = least.filter(|least| *least <= allowed) else { return Vec::new() };
    let mut near: Vec<String> = Vec::new();
    for (_, known) in distances.iter().filter(|(distance, _)| *distance == least) {
        if !near.iter().any(|other| other == known) {
            near.push((*known).to_owned());
        }
    }
    near
}

/// The key in snake case: `micro_bsz` for `micro-bsz`, `Micro_Bsz` and `microBsz`.
pub(in crate::config) fn plain(key: &str) -> String {
    let mut plain = String::new();
    let mut after_small = false;
    for letter in key.chars() {
        if letter.is_uppercase() && after_small {
            plain.push('_');
        }
        after_small = letter.is_lowercase();
        plain.extend(letter.to_lowercase());
    }
    plain.replace(['-', ' '], "_")
}

/// The truth value that a word of another notation means: `True` of Python, `yes` of YAML.
pub(in crate::config) fn truth_meant(word: &str) -> Option<bool> {
    match &*word.to_ascii_lowercase() {
        "true" | "yes" | "on" => Some(true),
        "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// The number that is written with a decimal comma, with a point: `0.1` for `0,1`. Three digits after a comma may also be
/// thousands, which mean nothing here.
pub(in crate::config) fn number_with_comma(text: &str) -> Option<String> {
    let (whole, rest) = text.trim().split_once(',')?;
    let digits = rest.chars().take_while(char::is_ascii_digit).count();
    let is_clear = digits > 0 && (digits != 3 || whole.trim_start_matches('-') == "0");
    let number = format!("{whole}.{rest}");
    (is_clear && number.parse::<f64>().is_ok()).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_near_if_few_letters_differ() {
        let words = ["beta1", "beta2", "adam_eps"];
        let near = |word| nearest(word, words.into_iter());
        assert_eq!(near("beta"), ["beta1", "beta2"]);
        assert_eq!(near("Adam-Eps"), ["adam_eps"]);
        assert_eq!(near("adma_eps"), ["adam_eps"]);
        assert!(near("momentum").is_empty());
        assert!(near("").is_empty());
    }

    #[test]
    fn a_key_has_one_spelling() {
        for key in ["micro-bsz", "microBsz", "MicroBsz", "Micro_Bsz", "MICRO_BSZ", "micro bsz"] {
            assert_eq!(plain(key), "micro_bsz");
        }
        assert_eq!(plain("n_layer"), "n_layer");
    }

    #[test]
    fn words_and_numbers_of_other_notations() {
        for (word, meant) in [("True", Some(true)), ("NO", Some(false)), ("maybe", None)] {
            assert_eq!(truth_meant(word), meant, "{word}");
        }
        let numbers = [("0,1", Some("0.1")), ("1,0e-4", Some("1.0e-4")), ("1,000", None)];
        let more = [("0,125", Some("0.125")), ("a,1", None), ("1,", None), ("1.5", None)];
        for (text, number) in numbers.into_iter().chain(more) {
            assert_eq!(number_with_comma(text).as_deref(), number, "{text}");
        }
    }
}
