//! Words of a shell, for the commands that messages print.

use std::path::Path;

/// A word of a shell command, quoted if needed.
pub fn shell_word(word: &str) -> String {
    let is_plain = |one: char| one.is_ascii_alphanumeric() || "-_./,:+".contains(one);
    match word {
        word if !word.is_empty() && word.chars().all(is_plain) => word.to_string(),
        word => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// A path as a word of a shell command.
pub fn shell_path(path: &Path) -> String {
    shell_word(&path.to_string_lossy())
}

/// `NAME=VALUE` as one word of a shell: in quotes where the value needs them.
pub fn shell_assignment(name: &str, value: &str) -> String {
    let whole = format!("{name}={value}");
    if shell_word(value) == value { whole } else { shell_word(&whole) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_words_are_quoted_if_needed() {
        for (word, text) in [
            ("/a/b-1.pth", "/a/b-1.pth"),
            ("", "''"),
            ("my runs/a", "'my runs/a'"),
            ("it's $HOME", r"'it'\''s $HOME'"),
        ] {
            assert_eq!(shell_word(word), text);
        }
    }
}
