//! Characters to words, and words to commands.

use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;

use super::arithmetic;
use super::branches::{Branches, Loop, Step};
use super::{Commands, Word};

/// The value of a variable: one piece, or the elements of an array.
#[derive(Clone, Debug, Default)]
struct Variable {
    pieces: Vec<Word>,
}

/// The value of a `$...`.
enum Expansion {
    /// One text.
    Text(Word),
    /// The elements of an array, each a word.
    Elements(Vec<Word>),
}

/// A script being read.
pub(super) struct Reader<'a> {
    left: Peekable<Chars<'a>>,
    line: usize,
    variables: HashMap<String, Variable>,
    words: Vec<Word>,
    /// Open `(`.
    subshells: usize,
    /// The ends of here-documents whose text begins after this line.
    here_documents: Vec<String>,
    branches: Branches,
    found: Commands,
}

impl<'a> Reader<'a> {
    pub(super) fn new(script: &'a str) -> Reader<'a> {
        Reader {
            left: script.chars().peekable(),
            line: 1,
            variables: HashMap::new(),
            words: Vec::new(),
            subshells: 0,
            here_documents: Vec::new(),
            branches: Branches::default(),
            found: Commands::default(),
        }
    }

    pub(super) fn read(mut self) -> Commands {
        while let Some(&next) = self.left.peek() {
            match next {
                '\n' => {
                    self.bump();
                    self.skip_here_documents();
                    self.end_command();
                }
                '&' if self.ahead(1) == Some('>') => {
                    self.bump();
                    self.redirection();
                }
                '(' => {
                    self.bump();
                    self.subshells += 1;
                    self.end_command();
                }
                // Without a subshell, the end of a pattern of `case`.
                ')' if self.subshells == 0 => {
                    self.bump();
                    self.words.clear();
                }
                ')' => {
                    self.bump();
                    self.subshells -= 1;
                    self.end_command();
                }
                ';' | '&' | '|' => {
                    self.bump();
                    self.end_command();
                }
                '#' => self.skip_comment(),
                '<' | '>' => self.redirection(),
                one if one.is_whitespace() => {
                    self.bump();
                }
                '\\' if self.is_continued() => {}
                _ => self.word(),
            }
        }
        self.end_command();
        self.found
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.left.next();
        if next == Some('\n') {
            self.line += 1;
        }
        next
    }

    /// The character `after` the next one.
    fn ahead(&self, after: usize) -> Option<char> {
        self.left.clone().nth(after)
    }

    fn skip_comment(&mut self) {
        while self.left.peek().is_some_and(|&one| one != '\n') {
            self.bump();
        }
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

    /// Skips `> FILE`, `2>&1`, `< FILE` and the like; the text of a here-document follows later.
    fn redirection(&mut self) {
        let mut signs = String::new();
        while let Some(one) = self.left.next_if(|one| "<>|&".contains(*one)) {
            signs.push(one);
        }
        while self.left.next_if(|one| *one == ' ' || *one == '\t' || *one == '-').is_some() {}
        let before = self.words.len();
        if self.left.peek().is_some_and(|one| !one.is_whitespace()) {
            self.word();
        }
        let target = self.words.drain(before.min(self.words.len())..).next();
        if signs == "<<" {
            self.here_documents.extend(target.map(|word| word.text));
        }
    }

    fn skip_here_documents(&mut self) {
        for end in std::mem::take(&mut self.here_documents) {
            loop {
                let mut line = String::new();
                while let Some(one) = self.left.next_if(|one| *one != '\n') {
                    line.push(one);
                }
                if self.bump().is_none() || line.trim() == end {
                    break;
                }
            }
        }
    }

    /// Reads a word; unquoted variables may make several.
    fn word(&mut self) {
        let mut word = Word { line: self.line, ..Word::default() };
        let mut is_quoted = false;
        while let Some(&next) = self.left.peek() {
            match next {
                one if one.is_whitespace() || ";&|)".contains(one) => break,
                '(' if word.text.ends_with('=') => return self.array(&word.text),
                // The name of a function, whose commands follow.
                '(' if self.ahead(1) == Some(')') => {
                    self.bump();
                    self.bump();
                    return;
                }
                '(' => break,
                '<' | '>' => {
                    // `2>`: the number belongs to the redirection.
                    if !is_quoted && word.text.chars().all(|one| one.is_ascii_digit()) {
                        return self.redirection();
                    }
                    break;
                }
                '\'' => {
                    is_quoted = true;
                    self.bump();
                    while let Some(one) = self.bump().filter(|&one| one != '\'') {
                        word.text.push(one);
                    }
                }
                '"' => {
                    is_quoted = true;
                    self.bump();
                    self.double_quoted(&mut word);
                }
                '\\' => {
                    if !self.is_continued() {
                        self.bump();
                        word.text.extend(self.bump());
                    } else if self.left.peek() == Some(&'-') && !word.text.is_empty() {
                        self.found.notes.push(format!(
                            "line {} has no space before its backslash, so the shell joins its last word with the next \
                             line; it is read as two words",
                            self.line - 1
                        ));
                        break;
                    }
                }
                '$' if self.ahead(1) == Some('\'') => {
                    self.bump();
                }
                '$' | '`' => {
                    let expansion = self.substituted();
                    self.insert(&mut word, expansion);
                }
                _ => word.text.extend(self.bump()),
            }
        }
        if !word.text.is_empty() || is_quoted {
            self.words.push(word);
        }
    }

    /// Reads `NAME=(...)` and `NAME+=(...)` behind the `=`.
    fn array(&mut self, opening: &str) {
        self.bump();
        let before = std::mem::take(&mut self.words);
        while let Some(&next) = self.left.peek() {
            match next {
                ')' => break,
                '#' => self.skip_comment(),
                '\\' if self.is_continued() => {}
                one if one.is_whitespace() || ";&|(<>".contains(one) => {
                    self.bump();
                }
                _ => self.word(),
            }
        }
        self.bump();
        let pieces = std::mem::replace(&mut self.words, before);
        if self.branches.run() {
            let opening = opening.trim_end_matches('=');
            let name = opening.trim_end_matches('+').to_string();
            let variable = self.variables.entry(name).or_default();
            if !opening.ends_with('+') {
                variable.pieces.clear();
            }
            variable.pieces.extend(pieces);
        }
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
                '$' | '`' => match self.substituted() {
                    Expansion::Text(text) => append(word, &text),
                    elements => self.insert(word, elements),
                },
                _ => word.text.extend(self.bump()),
            }
        }
    }

    /// Appends an unquoted expansion to `word`: blanks in a value separate words, except in an assignment.
    fn insert(&mut self, word: &mut Word, expansion: Expansion) {
        let is_json = |text: &str| text.starts_with('{') || text.starts_with('[');
        let pieces: Vec<Word> = match expansion {
            Expansion::Elements(elements) => elements,
            Expansion::Text(text) if is_json(text.text.trim_start()) => {
                if text.text.contains(char::is_whitespace) && assignment(word).is_none() {
                    self.found.notes.push(format!(
                        "line {}: JSON with blanks in a variable without quotes, which the shell splits; it is read as \
                         one value",
                        self.line
                    ));
                }
                vec![text]
            }
            Expansion::Text(text) if assignment(word).is_some() => vec![text],
            Expansion::Text(text) => {
                let has = |piece: &str| text.is_unknown && piece.contains(['$', '`']);
                let pieces = split(&text.text).into_iter().map(|piece| Word {
                    line: text.line,
                    is_unknown: has(&piece),
                    text: piece,
                });
                pieces.collect()
            }
        };
        for (i, piece) in pieces.iter().enumerate() {
            if i > 0 {
                let done = std::mem::replace(word, Word { line: self.line, ..Word::default() });
                self.words.push(done);
            }
            append(word, piece);
        }
    }

    /// Reads `$NAME`, `${NAME}`, `${NAME:-default}` or `${NAME[@]}`. Anything else stays as text and is unknown.
    fn substituted(&mut self) -> Expansion {
        let sign = self.bump();
        let is_name = |one: char| one.is_alphanumeric() || one == '_';
        let unknown = |line, text| Expansion::Text(Word { line, text, is_unknown: true });
        match (sign, self.left.peek().copied()) {
            (Some('$'), Some('{')) => {
                self.bump();
                let inner = self.until('}');
                self.in_braces(&inner)
            }
            (Some('$'), Some('(')) => {
                self.bump();
                let inner = self.until(')');
                let expression = inner.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
                match expression.and_then(|expression| self.computed(expression)) {
                    Some(number) => {
                        let text = number.to_string();
                        Expansion::Text(Word { line: self.line, text, is_unknown: false })
                    }
                    None => unknown(self.line, format!("$({inner})")),
                }
            }
            (Some('$'), Some(one)) if is_name(one) => {
                let mut name = String::new();
                while let Some(one) = self.left.next_if(|one| is_name(*one)) {
                    name.push(one);
                }
                self.value(&name, &format!("${name}"), false)
            }
            (Some('$'), Some(one)) if "@*#?$!-".contains(one) => {
                self.bump();
                unknown(self.line, format!("${one}"))
            }
            (Some('`'), _) => {
                let inner = self.until('`');
                unknown(self.line, format!("`{inner}`"))
            }
            (sign, _) => {
                let text = sign.map_or(String::new(), String::from);
                Expansion::Text(Word { line: self.line, text, is_unknown: false })
            }
        }
    }

    /// The value of `$((...))`.
    fn computed(&self, expression: &str) -> Option<i64> {
        let value = |name: &str| self.variables.get(name)?.pieces.first()?.text.parse().ok();
        arithmetic::value(expression, &value)
    }

    fn in_braces(&self, inner: &str) -> Expansion {
        let written = format!("${{{inner}}}");
        let name = inner.trim_end_matches(['@', '*', '[', ']']);
        if name != inner {
            return self.value(name, &written, true);
        }
        let named = |end: usize| (inner[..end].trim_end_matches(':'), &inner[end + 1..]);
        let Some((name, default)) = inner.find(['-', '=']).map(named) else {
            return self.value(inner, &written, false);
        };
        match self.variables.get(name) {
            Some(variable) if !variable.pieces.is_empty() => self.value(name, &written, false),
            _ => {
                let mut reader = Reader::new(default);
                reader.variables.clone_from(&self.variables);
                reader.word();
                let mut text = reader.words.into_iter().next().unwrap_or_default();
                text.line = self.line;
                Expansion::Text(text)
            }
        }
    }

    /// The value of a variable; `written` is its text where the value is unknown.
    fn value(&self, name: &str, written: &str, all: bool) -> Expansion {
        let on_line = |word: &Word| Word { line: self.line, ..word.clone() };
        match self.variables.get(name) {
            Some(variable) if all => {
                Expansion::Elements(variable.pieces.iter().map(on_line).collect())
            }
            Some(variable) => {
                Expansion::Text(variable.pieces.first().map(on_line).unwrap_or_default())
            }
            None => Expansion::Text(Word {
                line: self.line,
                text: written.to_string(),
                is_unknown: true,
            }),
        }
    }

    /// The text before `end`, which is skipped; brackets within are counted.
    fn until(&mut self, end: char) -> String {
        let open = match end {
            ')' => '(',
            '}' => '{',
            _ => '\0',
        };
        let mut inner = String::new();
        let mut depth = 0;
        while let Some(one) = self.bump() {
            match one {
                one if one == end && depth == 0 => break,
                one if one == end => depth -= 1,
                one if one == open => depth += 1,
                _ => {}
            }
            inner.push(one);
        }
        inner
    }

    /// Keeps the command; a command of assignments alone sets the variables instead.
    fn end_command(&mut self) {
        let words = std::mem::take(&mut self.words);
        let mut words = match self.branches.step(words) {
            Step::Command(words) => words,
            Step::Loop(Loop { variable, values }) => return self.begin_loop(variable, values),
        };
        const DECLARES: [&str; 5] = ["export", "declare", "local", "readonly", "typeset"];
        if words.first().is_some_and(|word| DECLARES.contains(&word.text.as_str())) {
            words.remove(0);
            words.retain(|word| assignment(word).is_some());
        }
        if !self.branches.run() {
            return;
        }
        let assigned = words.iter().map_while(assignment).count();
        if assigned < words.len() {
            words.drain(..assigned);
            self.found.commands.push(words);
            return;
        }
        for word in words {
            let Some((name, value)) = assignment(&word) else { continue };
            let piece =
                Word { line: word.line, text: value.to_string(), is_unknown: word.is_unknown };
            self.variables.insert(name.to_string(), Variable { pieces: vec![piece] });
        }
    }

    fn begin_loop(&mut self, variable: String, values: Vec<Word>) {
        if values.len() > 1 {
            self.found.notes.push(format!(
                "the script runs once for each of {} values of `{variable}`; the first is imported",
                values.len()
            ));
        }
        self.variables.insert(variable, Variable { pieces: values.into_iter().take(1).collect() });
    }
}

/// The words of a value, separated by blanks outside of `$(...)` and `${...}`.
fn split(value: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut depth = 0_usize;
    for one in value.chars() {
        match one {
            '(' | '{' => depth += 1,
            ')' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        match words.last_mut() {
            Some(word) if depth > 0 || !one.is_whitespace() => word.push(one),
            _ => words.push(String::new()),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Name and value of `NAME=value`.
fn assignment(word: &Word) -> Option<(&str, &str)> {
    let (name, value) = word.text.split_once('=')?;
    let mut letters = name.chars();
    let begins = letters.next().is_some_and(|one| one.is_ascii_alphabetic() || one == '_');
    let continues = letters.all(|one| one.is_ascii_alphanumeric() || one == '_');
    (begins && continues).then_some((name, value))
}

fn append(word: &mut Word, piece: &Word) {
    word.text.push_str(&piece.text);
    word.is_unknown |= piece.is_unknown;
}
