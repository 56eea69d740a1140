//! Changes of a text that leave the rest of it, comments too, as it is.

use std::ops::Range;

/// One change: the bytes of `range` give way to `text`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Edit {
    /// What goes, as bytes of the old text; empty where something is only added.
    pub range: Range<usize>,
    /// What comes; empty where something is only taken out.
    pub text: String,
}

impl Edit {
    /// Something else in the place of `range`.
    pub fn replace(range: Range<usize>, text: impl Into<String>) -> Self {
        Self { range, text: text.into() }
    }

    /// Nothing in the place of `range`.
    pub fn delete(range: Range<usize>) -> Self {
        Self::replace(range, "")
    }

    /// Something more at a byte of the text.
    pub fn insert(at: usize, text: impl Into<String>) -> Self {
        Self::replace(at..at, text)
    }

    /// Whether it cannot be told what both of them together would give.
    fn meets(&self, other: &Self) -> bool {
        let (first, second) =
            if self.range.start <= other.range.start { (self, other) } else { (other, self) };
        second.range.start < first.range.end || first.range.start == second.range.start
    }
}

/// The text after as many of the fixes as can be made together, the first ones first, and their number. A
/// fix is made as a whole or not at all.
pub fn apply<'a>(text: &str, fixes: impl IntoIterator<Item = &'a [Edit]>) -> (String, usize) {
    let mut chosen: Vec<&Edit> = Vec::new();
    let mut count = 0;
    for fix in fixes {
        if fix.iter().all(|edit| !chosen.iter().any(|other| edit.meets(other))) {
            chosen.extend(fix);
            count += 1;
        }
    }
    chosen.sort_by_key(|edit| edit.range.start);
    let mut changed = String::with_capacity(text.len());
    let mut end = 0;
    for Edit { range, text: new } in chosen {
        changed.push_str(&text[end..range.start]);
        changed.push_str(new);
        end = range.end;
    }
    changed.push_str(&text[end..]);
    (changed, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fix_is_made_as_a_whole() {
        let rename = [Edit::replace(0..1, "x")];
        let move_up = [Edit::insert(2, "c "), Edit::delete(3..5)];
        let overlaps = [Edit::delete(6..7), Edit::delete(4..6)];
        let fixes = [&rename[..], &move_up, &overlaps];
        assert_eq!(apply("a b c d", fixes), ("x c b d".to_owned(), 2));
        assert_eq!(apply("a b c d", []), ("a b c d".to_owned(), 0));
    }

    #[test]
    fn two_things_cannot_be_put_in_the_same_place() {
        let (one, two) = ([Edit::insert(1, "x")], [Edit::insert(1, "y")]);
        assert_eq!(apply("ab", [&one[..], &two]), ("axb".to_owned(), 1));
        let after = [Edit::replace(1..2, "y")];
        let before = [Edit::replace(0..1, "x")];
        assert_eq!(apply("ab", [&after[..], &before]), ("xy".to_owned(), 2));
    }
}
