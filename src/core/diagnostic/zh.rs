//! Messages in simplified Chinese.
//!
//! English is what the program writes, where it finds a fault; here its texts are recognised by their templates and
//! said in Chinese. The catalogue in `zh/` has a heading for the codes that a text is used by, whole or by their
//! first letters (`## ST1001`, `## ST30 ST31`, `## ST`), and pairs of templates below it:
//!
//! ```text
//! - unknown key `{key}` {place}
//!   {place}没有键 `{key}`
//! ```
//!
//! What stands in a hole is looked up in turn, unless the hole stands within backticks: that is code. `\n`,
//! `\\`, `{{` and `}}` mean what they mean in a format string of the program. Under `## composed` stand texts that no
//! literal of the program shows whole: those that it puts together, and those of the system and of libraries.

#[cfg(test)]
mod complete;

use std::iter;
use std::path::Path;
use std::sync::LazyLock;

use super::{Diagnostic, Severity};
use crate::config::about_in_chinese;

/// The catalogue, by ranges of codes.
const CATALOGUE: [&str; 6] = [
    include_str!("zh/common.md"),
    include_str!("zh/st0.md"),
    include_str!("zh/st1_st2.md"),
    include_str!("zh/st3.md"),
    include_str!("zh/st4_st5.md"),
    include_str!("zh/st6_st9.md"),
];

/// The heading of texts that the source does not show whole; every message may use them.
const COMPOSED: &str = "composed";
/// The hole in which a message repeats the manual of the key in the hole [`KEY`].
const ABOUT: &str = "about";
const KEY: &str = "key";

/// A text with holes in English, and the same in Chinese.
struct Pair {
    /// First letters of the codes that use it, or [`COMPOSED`].
    heading: &'static str,
    english: Template<'static>,
    chinese: Template<'static>,
}

/// A text with holes: `texts[0]`, the first hole, `texts[1]` and so on.
struct Template<'a> {
    texts: Vec<String>,
    holes: Vec<&'a str>,
}

static PAIRS: LazyLock<Vec<Pair>> =
    LazyLock::new(|| CATALOGUE.into_iter().flat_map(read).collect());

/// The pairs of one file of the catalogue.
fn read(file: &'static str) -> Vec<Pair> {
    let (mut heading, mut english, mut pairs) = ("", "", Vec::new());
    for line in file.lines() {
        if let Some(codes) = line.strip_prefix("## ") {
            heading = codes;
        } else if let Some(template) = line.strip_prefix("- ") {
            english = template;
        } else if let Some(template) = line.strip_prefix("  ") {
            let (english, chinese) = (Template::parse(english), Template::parse(template));
            pairs.push(Pair { heading, english, chinese });
        }
    }
    pairs
}

impl<'a> Template<'a> {
    fn parse(text: &'a str) -> Self {
        let (mut texts, mut holes, mut rest) = (vec![String::new()], Vec::new(), text);
        while let Some(at) = rest.find(['\\', '{', '}']) {
            let last = texts.last_mut().expect("there is one");
            last.push_str(&rest[..at]);
            rest = &rest[at..];
            let (piece, length) = match rest.get(..2) {
                Some("\\n") => ("\n", 2),
                Some("\\\\") => ("\\", 2),
                Some("{{") => ("{", 2),
                Some("}}") => ("}", 2),
                _ => match rest.find('}').filter(|_| rest.starts_with('{')) {
                    Some(end) => {
                        holes.push(&rest[1..end]);
                        texts.push(String::new());
                        rest = &rest[end + 1..];
                        continue;
                    }
                    None => (&rest[..1], 1),
                },
            };
            last.push_str(piece);
            rest = &rest[length..];
        }
        texts.last_mut().expect("there is one").push_str(rest);
        Template { texts, holes }
    }

    /// What stands in the holes where the text is of this form; each hole is as short as it can be.
    fn find<'t>(&self, text: &'t str) -> Option<Vec<&'t str>> {
        let (first, others) = self.texts.split_first()?;
        let mut rest = text.strip_prefix(&**first)?;
        let Some((last, between)) = others.split_last() else {
            return rest.is_empty().then(Vec::new);
        };
        let mut found = Vec::new();
        for literal in between {
            let at = rest.find(&**literal)?;
            found.push(&rest[..at]);
            rest = &rest[at + literal.len()..];
        }
        found.push(rest.strip_suffix(&**last)?);
        Some(found)
    }

    /// How well it fits a text whose holes have these values: by the characters outside of holes. Backticks around
    /// a hole count where the value is one piece of code, not where it reaches over several.
    fn fitness(&self, values: &[&str]) -> (usize, bool) {
        let characters: usize = self.texts.iter().map(|text| text.chars().count()).sum();
        let quoted = values.iter().enumerate().filter(|(hole, _)| self.is_quoted(*hole));
        let several = quoted.filter(|(_, value)| value.contains('`')).count();
        (characters - 2 * several, several == 0)
    }

    /// Whether a hole stands within backticks.
    fn is_quoted(&self, hole: usize) -> bool {
        let before: usize = self.texts[..=hole].iter().map(|text| text.matches('`').count()).sum();
        before % 2 == 1
    }
}

impl Pair {
    fn is_for(&self, code: &str) -> bool {
        self.heading == COMPOSED || self.heading.split(' ').any(|start| code.starts_with(start))
    }
}

/// Holes within holes that are looked up; what is below them, in a text of somebody else, stays.
const DEPTH: usize = 8;

/// The text in Chinese, if a template of its code fits: the one that fits best.
fn translated(code: &str, text: &str, depth: usize) -> Option<String> {
    let fitting = PAIRS.iter().filter(|pair| pair.is_for(code));
    let fitting = fitting.filter_map(|pair| Some((pair, pair.english.find(text)?)));
    let best = fitting.max_by_key(|(pair, values)| pair.english.fitness(values));
    let (Pair { english, chinese, .. }, values) = best?;
    let hole =
        |name: &str| english.holes.iter().position(|known| *known == name).unwrap_or_default();
    let filled = |name: &&str| match (*name, values[hole(name)]) {
        (_, value) if english.is_quoted(hole(name)) => value.to_owned(),
        (ABOUT, value) => about_in_chinese(values[hole(KEY)]).unwrap_or(value).to_owned(),
        (_, value) if depth == 0 => value.to_owned(),
        (_, value) => in_chinese(code, value, depth - 1),
    };
    let holes = chinese.holes.iter().map(filled).chain(iter::once(String::new()));
    Some(chinese.texts.iter().zip(holes).map(|(text, hole)| format!("{text}{hole}")).collect())
}

/// The text in Chinese, as a whole or line by line; what has no translation stays as it is.
fn in_chinese(code: &str, text: &str, depth: usize) -> String {
    translated(code, text, depth).unwrap_or_else(|| {
        let lines = text.split('\n');
        let lines =
            lines.map(|line| translated(code, line, depth).unwrap_or_else(|| line.to_owned()));
        lines.collect::<Vec<_>>().join("\n")
    })
}

impl Diagnostic {
    /// The message with every text in Chinese that the catalogue knows.
    pub(super) fn in_chinese(&self) -> Diagnostic {
        let said = |text: &String| in_chinese(self.code, text, DEPTH);
        Diagnostic {
            message: said(&self.message),
            label: said(&self.label),
            others: self.others.iter().map(|(range, label)| (range.clone(), said(label))).collect(),
            notes: self.notes.iter().map(said).collect(),
            helps: self.helps.iter().map(said).collect(),
            ..self.clone()
        }
    }
}

/// `emoji.toml：3 个错误，1 个警告`: the line that follows several messages.
pub(super) fn summary(diagnostics: &[Diagnostic], file: &Path) -> String {
    let count = |severity, word: &str| {
        let n = diagnostics.iter().filter(|one| one.severity == severity).count();
        (n > 0).then(|| format!("{n} 个{word}"))
    };
    let counts = [count(Severity::Error, "错误"), count(Severity::Warning, "警告")];
    let counts: Vec<String> = counts.into_iter().flatten().collect();
    let counts = if counts.is_empty() { "没有错误".to_owned() } else { counts.join("，") };
    format!("{}：{counts}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::Span;
    use crate::lang::Lang;

    #[test]
    fn holes_are_taken_out_and_said_in_turn() {
        let said = |code, text| in_chinese(code, text, DEPTH);
        assert_eq!(said("ST1001", "unknown key `a b` in `[train]`"), "`[train]` 中没有键 `a b`");
        assert_eq!(
            said("ST2001", "`a` must be an integer or a list, found a string"),
            "`a` 必须是整数或列表，实际是字符串"
        );
        // Code stays, even where it reads like a text of ours.
        assert_eq!(said("ST1001", "did you mean `a string`?"), "是否想写 `a string`？");
        assert_eq!(said("ST1001", "did you mean `a` or `b`?"), "是否想写 `a` 或 `b`？");
        // What the manual says about the key.
        assert_eq!(
            said(
                "ST2003",
                "`sample.probe[3].goal`: Share of the answers that is to show it, from 0 to 1"
            ),
            "`sample.probe[3].goal` 的含义：应当符合的回答所占的比例，从 0 到 1"
        );
        // A text of another code, and one that nobody knows.
        assert_eq!(said("ST3001", "the text is empty"), "the text is empty");
        assert_eq!(said("ST1001", "no such text"), "no such text");
    }

    #[test]
    fn a_text_of_somebody_else_is_looked_into_only_so_far() {
        let text = "status.json: ".repeat(100_000);
        let said = in_chinese("ST6042", &text, DEPTH);
        assert_eq!(said.matches("status.json：").count(), DEPTH + 1);
    }

    #[test]
    fn braces_and_line_breaks_are_those_of_a_format_string() {
        let template = Template::parse("a {{b}} `{c}`\\n\\\\{d}");
        assert_eq!(template.texts, ["a {b} `", "`\n\\", ""]);
        assert_eq!(template.holes, ["c", "d"]);
        assert_eq!(template.find("a {b} `x`\n\\y z"), Some(vec!["x", "y z"]));
        assert_eq!(template.find("a {b} `x`\ny"), None);
    }

    #[test]
    fn a_message_keeps_its_shape() {
        let text = "[train]\nmicro_bzs = \"日本\"\n";
        let at = |place: &str| {
            let start = text.find(place).expect("the place is in the text");
            start..start + place.len()
        };
        let span =
            Span {
                file: "a.toml".into(), text: text.into(), first_line: 1, range: at("\"日本\"")
            };
        let message = Diagnostic::error("ST2001", "`micro_bzs` must be a number, found a string")
            .at(span)
            .label("expected a number")
            .also(at("[train]"), "because of this")
            .note("for example\n[train]")
            .help("delete the line");
        let expected = "\
错误[ST2001]: `micro_bzs` 必须是数字，实际是字符串
 --> a.toml:2:13
  |
1 | [train]
  | ------- 原因在此
2 | micro_bzs = \"日本\"
  |             ^^^^^^ 此处应为数字
  |
  = 说明: for example
          [train]
  = 建议: 删除这一行";
        assert_eq!(message.render_in(Lang::Zh, false), expected);
        assert!(message.render_in(Lang::En, false).starts_with("error[ST2001]: `micro_bzs` must"));
    }

    #[test]
    fn a_summary_counts_each_severity() {
        let file = Path::new("emoji.toml");
        let found = [Diagnostic::error("ST1001", "e"), Diagnostic::warning("ST2301", "w")];
        assert_eq!(summary(&found, file), "emoji.toml：1 个错误，1 个警告");
        assert_eq!(summary(&[], file), "emoji.toml：没有错误");
    }
}
