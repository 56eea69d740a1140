//! The parts of a shell that training scripts use: assignments, continued lines, quotes, comments and variables. No
//! command is run.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;

/// A word of a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Word {
    /// First line, counted from 1.
    pub(super) line: usize,
    /// The text without quotes, with variables replaced by their values.
    pub(super) text: String,
    /// Whether the text has an unset variable or a command substitution, so that its value is unknown.
    pub(super) is_unknown: bool,
}

/// The commands of a script in order, each as words. Assignments are applied and not listed.
///
/// `given` holds variables from outside the script. A command ends at `;`, `&`, `|`, at the end of a line that has no
/// backslash there, and at a comment even if the comment ends with a backslash.
pub(super) fn commands(script: &str, given: &HashMap<String, String>) -> Vec<Vec<Word>> {
    let mut reader = Reader {
        left: script.chars().peekable(),
        line: 1,
        variables: given.clone(),
        words: Vec::new(),
        commands: Vec::new(),
    };
    reader.read();
    reader.commands
}

struct Reader<'a> {
    left: Peekable<Chars<'a>>,
    line: usize,
    variables: HashMap<String, String>,
    words: Vec<Word>,
    commands: Vec<Vec<Word>>,
}

impl Reader<'_> {
    fn read(&mut self) {
        while let Some(&next) = self.left.peek() {
            match next {
                '\n' | ';' | '&' | '|' => {
                    self.bump();
                    self.end_command();
                }
                '#' => {
                    while self.left.peek().is_some_and(|&one| one != '\n') {
                        self.bump();
                    }
                }
                one if one.is_whitespace() => {
                    self.bump();
                }
                '\\' if self.is_continued() => {}
                _ => {
                    let word = self.word();
                    self.words.push(word);
                }
            }
        }
        self.end_command();
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.left.next();
        if next == Some('\n') {
            self.line += 1;
        }
        next
    }

    /// Skips a backslash and the line break after it; false if there is none.
    fn is_continued(&mut self) -> bool {
        let mut ahead = self.left.clone();
        ahead.next();
        if ahead.peek() == Some(&'\r') {
            ahead.next();
        }
        let is_end = ahead.next() == Some('\n');
        if is_end {
            self.left = ahead;
            self.line += 1;
        }
        is_end
    }

    fn word(&mut self) -> Word {
        let mut word = Word { line: self.line, text: String::new(), is_unknown: false };
        while let Some(&next) = self.left.peek() {
            match next {
                one if one.is_whitespace() || ";&|".contains(one) => break,
                '\'' => {
                    self.bump();
                    while let Some(one) = self.bump().filter(|&one| one != '\'') {
                        word.text.push(one);
                    }
                }
                '"' => {
                    self.bump();
                    self.double_quoted(&mut word);
                }
                '\\' => {
                    if !self.is_continued() {
                        self.bump();
                        word.text.extend(self.bump());
                    }
                }
                '$' | '`' => self.substituted(&mut word),
                _ => word.text.extend(self.bump()),
            }
        }
        word
    }

    fn double_quoted(&mut self, word: &mut Word) {
        while let Some(&next) = self.left.peek() {
            match next {
                '"' => {
                    self.bump();
                    return;
                }
                '\\' => {
                    if !self.is_continued() {
                        self.bump();
                        let escaped = self.bump();
                        if escaped.is_some_and(|one| !"\"\\$`".contains(one)) {
                            word.text.push('\\');
                        }
                        word.text.extend(escaped);
                    }
                }
                '$' | '`' => self.substituted(word),
                _ => word.text.extend(self.bump()),
            }
        }
    }

    /// Reads `$NAME`, `${NAME}` or `${NAME:-default}`. A command substitution stays as text and is unknown.
    fn substituted(&mut self, word: &mut Word) {
        let sign = self.bump();
        let is_name = |one: char| one.is_alphanumeric() || one == '_';
        match (sign, self.left.peek()) {
            (Some('$'), Some('{')) => {
                self.bump();
                let inner = self.until('}');
                let (name, default) = match inner.split_once(":-").or_else(|| inner.split_once('-'))
                {
                    Some((name, default)) => (name.to_string(), Some(default.to_string())),
                    None => (inner.clone(), None),
                };
                match self.variables.get(&name).cloned().or(default) {
                    Some(value) => word.text.push_str(&value),
                    None => keep_unknown(word, &format!("${{{inner}}}")),
                }
            }
            (Some('$'), Some('(')) => {
                let inner = self.until(')');
                keep_unknown(word, &format!("${inner})"));
            }
            (Some('$'), Some(&one)) if is_name(one) => {
                let mut name = String::new();
                while let Some(&one) = self.left.peek().filter(|one| is_name(**one)) {
                    name.push(one);
                    self.bump();
                }
                match self.variables.get(&name) {
                    Some(value) => word.text.push_str(value),
                    None => keep_unknown(word, &format!("${name}")),
                }
            }
            (Some('`'), _) => {
                let inner = self.until('`');
                keep_unknown(word, &format!("`{inner}`"));
            }
            (sign, _) => word.text.extend(sign),
        }
    }

    /// The text before `end`; skips `end`.
    fn until(&mut self, end: char) -> String {
        let mut inner = String::new();
        while let Some(one) = self.bump().filter(|&one| one != end) {
            inner.push(one);
        }
        inner
    }

    /// Keeps the command; a command of assignments alone sets the variables instead.
    fn end_command(&mut self) {
        let mut words = std::mem::take(&mut self.words);
        if words.first().is_some_and(|word| word.text == "export") {
            words.remove(0);
        }
        let assigned = words.iter().map_while(assignment).count();
        if assigned == words.len() {
            for word in words {
                let Some((name, value)) = assignment(&word) else { continue };
                // A variable with an unknown value counts as unset.
                match word.is_unknown {
                    true => self.variables.remove(name),
                    false => self.variables.insert(name.to_string(), value.to_string()),
                };
            }
        } else {
            words.drain(..assigned);
            self.commands.push(words);
        }
    }
}

/// Name and value of `NAME=value`.
fn assignment(word: &Word) -> Option<(&str, &str)> {
    let (name, value) = word.text.split_once('=')?;
    let mut letters = name.chars();
    let begins = letters.next().is_some_and(|one| one.is_ascii_alphabetic() || one == '_');
    let continues = letters.all(|one| one.is_ascii_alphanumeric() || one == '_');
    (begins && continues).then_some((name, value))
}

fn keep_unknown(word: &mut Word, written: &str) {
    word.text.push_str(written);
    word.is_unknown = true;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words of each command with the line of its first word.
    fn read(script: &str) -> Vec<(usize, Vec<String>)> {
        let commands = commands(script, &HashMap::new());
        let texts = |words: &[Word]| words.iter().map(|word| word.text.clone()).collect();
        commands.iter().map(|words| (words[0].line, texts(words))).collect()
    }

    #[test]
    fn lines_are_continued_and_variables_replaced() {
        let script = "#!/bin/bash\nMODEL=base.pth\nexport N=4 M='a b'\n\npython train.py --load_model $MODEL \\\n  --n ${N} --m \"$M\" \\\n  --k ${K:-7}\n";
        let expected = [
            "python",
            "train.py",
            "--load_model",
            "base.pth",
            "--n",
            "4",
            "--m",
            "a b",
            "--k",
            "7",
        ];
        assert_eq!(read(script), [(5, expected.map(String::from).to_vec())]);
    }

    #[test]
    fn quotes_keep_json_together() {
        let script = r#"x '{"r":8,"parts":""}' "{\"r\":$R}" a\ b "c\d""#;
        let given = HashMap::from([("R".to_string(), "4".to_string())]);
        let commands = commands(script, &given);
        let texts: Vec<_> = commands[0].iter().map(|word| word.text.as_str()).collect();
        assert_eq!(texts, ["x", r#"{"r":8,"parts":""}"#, r#"{"r":4}"#, "a b", r"c\d"]);
    }

    #[test]
    fn a_comment_ends_a_command_even_if_its_line_ends_with_a_backslash() {
        let script = "train --a 1 \\\n#--b 2 \\\n--c 3\nnext";
        let (train, rest) = (["train", "--a", "1"], ["--c", "3"]);
        let owned = |words: &[&str]| words.iter().map(ToString::to_string).collect();
        let expected: [(usize, Vec<String>); 3] =
            [(1, owned(&train)), (3, owned(&rest)), (4, owned(&["next"]))];
        assert_eq!(read(script), expected);
        // A backslash before a space quotes the space; the command ends with the line.
        assert_eq!(read("a \\ \nb")[1], (2, vec!["b".to_string()]));
    }

    #[test]
    fn values_that_need_a_shell_are_unknown() {
        let commands = commands("A=$(nproc)\nx $A $HOME `date` $(pwd) plain", &HashMap::new());
        let unknown: Vec<_> =
            commands[0].iter().map(|word| (word.text.as_str(), word.is_unknown)).collect();
        let expected = [
            ("x", false),
            ("$A", true),
            ("$HOME", true),
            ("`date`", true),
            ("$(pwd)", true),
            ("plain", false),
        ];
        assert_eq!(unknown, expected);
    }

    #[test]
    fn windows_line_ends_and_separators() {
        assert_eq!(read("a 1 \\\r\n2\r\nb;c && d").len(), 4);
        assert_eq!(read("a 1 \\\r\n2\r\n")[0].1, ["a", "1", "2"]);
        assert_eq!(read(""), []);
    }
}
