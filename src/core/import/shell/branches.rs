//! Which commands of a script run: `if` with conditions that the assignments decide, and the other reserved words.

use super::Word;

/// Whether something holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Holds {
    Yes,
    No,
    /// Only the shell knows.
    Unknown,
}

/// An `if` with its branches.
#[derive(Debug)]
struct If {
    /// Whether the current branch runs.
    runs: Holds,
    /// Whether an earlier branch ran.
    ran: Holds,
}

impl If {
    /// Goes to the next branch.
    fn next(&mut self, condition: Holds) {
        self.ran = match (self.ran, self.runs) {
            (Holds::Yes, _) | (_, Holds::Yes) => Holds::Yes,
            (Holds::No, Holds::No) => Holds::No,
            _ => Holds::Unknown,
        };
        self.runs = match (self.ran, condition) {
            (Holds::Yes, _) | (_, Holds::No) => Holds::No,
            (Holds::No, condition) => condition,
            (Holds::Unknown, _) => Holds::Unknown,
        };
    }
}

/// A loop over known values.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Loop {
    pub(super) variable: String,
    /// The values; the first one is used.
    pub(super) values: Vec<Word>,
}

/// The open `if`s of a script.
#[derive(Debug, Default)]
pub(super) struct Branches {
    open: Vec<If>,
}

/// What is left of a command without reserved words.
pub(super) enum Step {
    Command(Vec<Word>),
    Loop(Loop),
}

impl Branches {
    /// Whether the current commands run, as far as the script tells.
    pub(super) fn run(&self) -> bool {
        self.open.iter().all(|one| one.runs != Holds::No)
    }

    /// Takes the reserved words off the front of a command.
    pub(super) fn step(&mut self, mut words: Vec<Word>) -> Step {
        while let Some(first) = words.first() {
            match first.text.as_str() {
                "if" => {
                    let runs = holds(&words[1..]);
                    self.open.push(If { runs, ran: Holds::No });
                    return Step::Command(Vec::new());
                }
                "elif" => {
                    let condition = holds(&words[1..]);
                    if let Some(last) = self.open.last_mut() {
                        last.next(condition);
                    }
                    return Step::Command(Vec::new());
                }
                "else" => {
                    if let Some(last) = self.open.last_mut() {
                        last.next(Holds::Yes);
                    }
                }
                "fi" => {
                    self.open.pop();
                }
                "for" => {
                    let names = words.get(2).is_some_and(|word| word.text == "in");
                    let variable = words.get(1).map_or(String::new(), |word| word.text.clone());
                    let values = if names { words.split_off(3) } else { Vec::new() };
                    return Step::Loop(Loop { variable, values });
                }
                "while" | "until" | "case" => return Step::Command(Vec::new()),
                "then" | "do" | "done" | "esac" | "{" | "}" | "!" | "time" | "exec" => {}
                _ => break,
            }
            words.remove(0);
        }
        Step::Command(words)
    }
}

/// Whether `[ ... ]`, `[[ ... ]]` or `test ...` holds.
fn holds(condition: &[Word]) -> Holds {
    let texts: Vec<&str> = condition.iter().map(|word| word.text.as_str()).collect();
    let inner: &[&str] = match texts.as_slice() {
        ["[", inner @ .., "]"] | ["[[", inner @ .., "]]"] | ["test", inner @ ..] => inner,
        _ => return Holds::Unknown,
    };
    if condition.iter().any(|word| word.is_unknown) {
        return Holds::Unknown;
    }
    let number = |text: &str| text.parse::<i64>().ok();
    let compared = match inner {
        [left, "=" | "==", right] => Some(left == right),
        [left, "!=", right] => Some(left != right),
        ["-z", text] => Some(text.is_empty()),
        ["-n", text] => Some(!text.is_empty()),
        [left, operator, right] => number(left).zip(number(right)).and_then(|(left, right)| {
            Some(match *operator {
                "-eq" => left == right,
                "-ne" => left != right,
                "-gt" => left > right,
                "-ge" => left >= right,
                "-lt" => left < right,
                "-le" => left <= right,
                _ => return None,
            })
        }),
        _ => None,
    };
    match compared {
        Some(true) => Holds::Yes,
        Some(false) => Holds::No,
        None => Holds::Unknown,
    }
}
