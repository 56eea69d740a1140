//! `--where`: conditions on runs.

use std::cmp::Ordering;

use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::words::parse_age;

use super::row::{COLUMNS, Row};

/// Comparison operator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

/// Two-character operators come first, since they start like the others.
const OPERATORS: [(&str, Operator); 6] = [
    ("!=", Operator::Unequal),
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

/// A condition such as `status=done`, `val_loss<1.3` or `schedule.lr_init>=0.3`.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    text: String,
    key: String,
    operator: Operator,
    value: String,
}

impl Condition {
    /// Parses a condition.
    pub(super) fn parse(text: &str) -> Result<Condition, String> {
        let at = text.find(['!', '<', '>', '=']);
        let found = at.and_then(|at| {
            let (key, rest) = text.split_at(at);
            let mut known = OPERATORS.into_iter();
            let (sign, operator) = known.find(|(sign, _)| rest.starts_with(sign))?;
            let (key, value) = (key.trim(), rest[sign.len()..].trim());
            (!key.is_empty() && !value.is_empty()).then_some((key, operator, value))
        });
        let Some((key, operator, value)) = found else {
            return Err("must be `KEY=VALUE`, or with `!=`, `<`, `<=`, `>`, `>=`".to_string());
        };
        let value = match key {
            // Ages are written in the same way everywhere.
            "age" => parse_age(value)
                .map_err(|problem| format!("`{value}` {problem}"))?
                .as_secs()
                .to_string(),
            "status" => value.to_lowercase(),
            _ => value.to_string(),
        };
        Ok(Condition { text: text.to_string(), key: key.to_string(), operator, value })
    }

    /// Whether a run meets the condition. A run without the value meets only `!=`.
    pub(super) fn holds(&self, row: &Row) -> bool {
        let values = row.values(&self.key);
        let any = |wanted: &[Ordering]| {
            values.iter().any(|value| wanted.contains(&compare(value, &self.value)))
        };
        match self.operator {
            Operator::Equal => any(&[Ordering::Equal]),
            Operator::Unequal => !any(&[Ordering::Equal]),
            Operator::Less => any(&[Ordering::Less]),
            Operator::AtMost => any(&[Ordering::Less, Ordering::Equal]),
            Operator::Greater => any(&[Ordering::Greater]),
            Operator::AtLeast => any(&[Ordering::Greater, Ordering::Equal]),
        }
    }
}

/// Checks that each key is a column, or a setting of a run.
///
/// # Errors
/// The message for the first unknown key.
pub(super) fn check_keys(
    conditions: &[Condition],
    sort: Option<&str>,
    rows: &[Row],
) -> Result<(), Box<Diagnostic>> {
    let known =
        |key: &str| COLUMNS.contains(&key) || rows.iter().any(|row| row.settings.contains_key(key));
    let asked = conditions.iter().map(|one| (one.key.as_str(), one.text.as_str()));
    let mut asked = asked.chain(sort.map(|key| (key, key)));
    match asked.find(|(key, _)| !rows.is_empty() && !known(key)) {
        None => Ok(()),
        Some((key, text)) => {
            let message = msg!(NOT_A_COLUMN, key, text);
            let columns = msg!(COLUMNS_ARE, columns = COLUMNS.join(", "));
            let help = msg!(SETTING_WITH_TABLE);
            Err(Box::new(Diagnostic::error(message).note(columns).help(help)))
        }
    }
}

/// Compares two values as numbers if both are numbers, otherwise as text.
pub(super) fn compare(a: &str, b: &str) -> Ordering {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => a.total_cmp(&b),
        _ => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_has_key_sign_and_value() {
        for (text, key, operator, value) in [
            ("status=done", "status", Operator::Equal, "done"),
            ("val_loss < 1.3", "val_loss", Operator::Less, "1.3"),
            ("schedule.lr_init>=0.3", "schedule.lr_init", Operator::AtLeast, "0.3"),
            ("tag!=a=b", "tag", Operator::Unequal, "a=b"),
            ("age>2h", "age", Operator::Greater, "7200"),
        ] {
            let one = Condition::parse(text).expect(text);
            assert_eq!(
                (one.key.as_str(), one.operator, one.value.as_str()),
                (key, operator, value)
            );
        }
        for text in ["", "status", "=done", "status=", "!x", "age<soon"] {
            assert!(Condition::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        assert_eq!(compare("9", "10.0"), Ordering::Less);
        assert_eq!(compare("1.0", "1"), Ordering::Equal);
        assert_eq!(compare("b", "a"), Ordering::Greater);
    }
}
