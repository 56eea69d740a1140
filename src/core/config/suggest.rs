//! What a person probably meant by a key or word that does not exist.

use strsim::damerau_levenshtein;

use super::foreign::{current_name, no_counterpart};
use super::keys::{KeyPath, Keys};
use crate::diagnostic::Text;

/// What was probably meant by an unknown key.
#[derive(Debug, PartialEq)]
pub(super) enum Meant {
    /// One of these keys of the same table.
    Here(Vec<String>),
    /// The very key, but in one of these tables.
    InTables(Vec<KeyPath>),
    /// Another key of another table.
    Elsewhere(KeyPath, String),
    /// What there is no setting for; the text says why.
    NoSetting(Text),
    /// Nothing that is known.
    Nothing,
}

/// What was probably meant by the unknown `key` of `table`, which has the keys `here`.
pub(super) fn meant(keys: &Keys, table: &[String], here: &[&str], key: &str) -> Meant {
    let plain = plain(key);
    if let Some(same) = here.iter().find(|known| **known == plain) {
        return Meant::Here(vec![(*same).to_owned()]);
    }
    let all = keys.all();
    let tables: Vec<KeyPath> = all
        .iter()
        .filter(|(other, known)| *known == plain && other != table)
        .map(|(other, _)| other.clone())
        .collect();
    if !tables.is_empty() {
        return Meant::InTables(tables);
    }
    // Other trainers have no tables within tables.
    if let Some((other, known)) = current_name(&plain).filter(|_| table.len() < 2) {
        return if table == [other] {
            Meant::Here(vec![known.to_owned()])
        } else {
            Meant::Elsewhere(vec![other.to_owned()], known.to_owned())
        };
    }
    if let Some(reason) = no_counterpart(&plain) {
        return Meant::NoSetting(reason);
    }
    let near = nearest(&plain, here.iter().copied());
    if !near.is_empty() {
        return Meant::Here(near);
    }
    let near = nearest(&plain, all.iter().map(|(_, known)| *known));
    let near = near.first().and_then(|near| all.iter().find(|(_, known)| known == near));
    match near {
        Some((other, known)) => Meant::Elsewhere(other.clone(), (*known).to_owned()),
        None => Meant::Nothing,
    }
}

/// The word that is least far from `word`, if one is near at all.
pub fn nearest_word<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Option<String> {
    nearest(word, words).into_iter().next()
}

/// The words that are least far from `word`, if that is near at all. A third of the letters may
/// be wrong, and case, `-` and `_` do not count.
pub(super) fn nearest<'a>(word: &str, words: impl Iterator<Item = &'a str>) -> Vec<String> {
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

/// The key as it would be spelled here: `micro_bsz` for `micro-bsz`, `Micro_Bsz` and `microBsz`.
pub(super) fn plain(key: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_near_when_few_letters_differ() {
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
}
