//! The long texts about message codes.

/// The texts: a heading `## CODE: title` for each, sorted by code.
const TEXTS: &str = include_str!("codes.md");

/// What a message code means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Code {
    /// `ST` and four digits.
    pub code: &'static str,
    /// A few words.
    pub title: &'static str,
    /// One paragraph or more; what messages say themselves is not repeated.
    pub text: &'static str,
}

/// Every message code, sorted.
pub fn codes() -> impl Iterator<Item = Code> {
    TEXTS.split("\n## ").skip(1).map(|entry| {
        let (heading, text) = entry.split_once('\n').unwrap_or((entry, ""));
        let (code, title) = heading.split_once(": ").unwrap_or((heading, ""));
        Code { code, title, text: text.trim() }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Every code that the program names: in the files of `folder` and below.
    fn named(folder: &Path, found: &mut BTreeSet<String>) {
        let code = regex::Regex::new(r"\bST[0-9]{4}\b").expect("a valid expression");
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                named(&path, found);
            } else if path.extension().is_some_and(|name| name == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                // What stands in quotes is told; comments and examples may name codes that are not.
                let told = text.split("#[cfg(test)]").next().unwrap_or_default();
                let lines = told.lines().filter(|line| !line.trim_start().starts_with("//"));
                let quoted = lines.filter(|line| line.contains('"'));
                found.extend(
                    quoted.flat_map(|line| code.find_iter(line)).map(|one| one.as_str().to_owned()),
                );
            }
        }
    }

    #[test]
    fn every_code_of_the_program_has_a_text() {
        let mut told = BTreeSet::new();
        named(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut told);
        let known: BTreeSet<String> = codes().map(|one| one.code.to_owned()).collect();
        assert!(told.len() > 100, "{told:?}");
        let missing: Vec<_> = told.difference(&known).collect();
        assert!(missing.is_empty(), "write a text in src/diagnostic/codes.md for {missing:?}");
        let unused: Vec<_> = known.difference(&told).collect();
        assert!(unused.is_empty(), "nothing tells {unused:?}: take their texts out");
    }

    #[test]
    fn codes_are_sorted_and_have_texts() {
        let all: Vec<Code> = codes().collect();
        assert!(all.is_sorted_by(|a, b| a.code < b.code));
        assert!(all.iter().all(|one| !one.title.is_empty() && one.text.ends_with(['.', '`'])));
    }
}
