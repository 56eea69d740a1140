//! Changes of the experiment file that put a key or a value right and leave all else, comments too.

use std::ops::Range;

use super::locate::{Place, Source};
use crate::diagnostic::Edit;

impl Source {
    /// Whether the text is a file, which can be changed; what stands on a command line cannot.
    fn is_file(&self) -> bool {
        self.layer.is_none()
    }

    /// Writes another value.
    pub(super) fn rewrite(&self, place: &Place, value: &str) -> Vec<Edit> {
        let edit = self.is_file().then(|| Edit::replace(place.value.clone(), value));
        edit.into_iter().collect()
    }

    /// Writes another key.
    pub(super) fn rename(&self, place: &Place, key: &str) -> Vec<Edit> {
        let edit = self.is_file().then(|| Edit::replace(place.key.clone(), key));
        edit.into_iter().collect()
    }

    /// Moves the line of a key, with its comment, to the table `home`, where the key is called `key`. None
    /// where the key does not have its line for itself, or where the table has no header of its own.
    pub(super) fn relocate(&self, place: &Place, home: &[String], key: &str) -> Vec<Edit> {
        let Some(line) = self.line_of(place) else { return Vec::new() };
        let break_ = if self.text.contains("\r\n") { "\r\n" } else { "\n" };
        let content = self.text[place.key.end..line.end].trim_end();
        let moved = format!("{key}{content}");
        let insert = match (home, self.places.get(home)) {
            ([], _) => match self.end_of_top() {
                Some(end) => Edit::insert(end, format!("{moved}{break_}")),
                None => return Vec::new(),
            },
            (_, Some(table)) => {
                let is_header = self.text[table.value.clone()].starts_with('[');
                let Some(header) = self.line_of(table).filter(|_| is_header) else {
                    return Vec::new();
                };
                let before = if self.text[..header.end].ends_with('\n') { "" } else { break_ };
                Edit::insert(header.end, format!("{before}{moved}{break_}"))
            }
            (_, None) => {
                let before = if self.text.ends_with('\n') { "" } else { break_ };
                let header = home.join(".");
                let text = format!("{before}{break_}[{header}]{break_}{moved}{break_}");
                Edit::insert(self.text.len(), text)
            }
        };
        vec![Edit::delete(line), insert]
    }

    /// The byte after the last line of the keys that stand before all tables.
    fn end_of_top(&self) -> Option<usize> {
        let top = self.places.iter().filter(|(path, place)| path.len() == 1 && !place.is_table());
        let ends = top.filter_map(|(_, place)| self.line_of(place)).map(|line| line.end);
        ends.max().filter(|end| self.text[..*end].ends_with('\n'))
    }

    /// Takes out the line of a key; none where the key does not have its line for itself.
    pub(super) fn remove(&self, place: &Place) -> Vec<Edit> {
        self.line_of(place).map(Edit::delete).into_iter().collect()
    }

    /// The line or lines of a key and its value, with the line break, when nothing else stands there but a
    /// comment.
    fn line_of(&self, place: &Place) -> Option<Range<usize>> {
        let (text, from) = (&self.text, place.key.start.min(place.value.start));
        let start = text[..from].rfind('\n').map_or(0, |end| end + 1);
        let rest = &text[place.value.end..];
        let length = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let after = rest[..length].trim();
        let stands_alone = text[start..from].trim().is_empty()
            && (after.is_empty() || after.starts_with('#'))
            && self.is_file();
        stands_alone.then_some(start..place.value.end + length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::apply;

    /// The text after the line of a key has moved to another table.
    fn moved(text: &str, key: &[&str], home: &str) -> Option<String> {
        let source = Source::parse("emoji.toml".into(), text.to_owned()).expect("valid TOML");
        let path: Vec<String> = key.iter().map(|step| (*step).to_owned()).collect();
        let home: Vec<String> =
            home.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect();
        let edits = source.relocate(&source.places[&path], &home, "new");
        (!edits.is_empty()).then(|| apply(text, [&edits[..]]).0)
    }

    #[test]
    fn a_line_moves_with_its_comment() {
        assert_eq!(
            moved("[a]\n  x = [ # one\n 1] # two\ny = 2\n[b]\nz = 3\n", &["a", "x"], "b")
                .as_deref(),
            Some("[a]\ny = 2\n[b]\nnew = [ # one\n 1] # two\nz = 3\n")
        );
        assert_eq!(
            moved("[a]\r\nx = 1\r\n[b]", &["a", "x"], "b").as_deref(),
            Some("[a]\r\n[b]\r\nnew = 1\r\n")
        );
        assert_eq!(
            moved("n = 0\n\n[a]\nx = 1 # one\n", &["a", "x"], "").as_deref(),
            Some("n = 0\nnew = 1 # one\n\n[a]\n")
        );
        assert_eq!(
            moved("[a]\nx = 1 # one", &["a", "x"], "b").as_deref(),
            Some("[a]\n\n\n[b]\nnew = 1 # one\n")
        );
    }

    #[test]
    fn what_shares_its_line_stays() {
        assert_eq!(moved("a = { x = 1 }\n[b]\n", &["a", "x"], "b"), None);
        assert_eq!(moved("a.x = 1\n[b]\n", &["a", "x"], "b"), None);
        assert_eq!(moved("b.y = 2\n[a]\nx = 1\n", &["a", "x"], "b"), None);
    }
}
