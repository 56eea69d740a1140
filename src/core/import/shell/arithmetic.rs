//! The value of `$((...))`.

use std::iter::Peekable;
use std::str::Chars;

/// The value of an expression of integers, variables, `+ - * / %` and parentheses; `None` for anything else.
/// `value` is that of a variable.
pub(super) fn value(expression: &str, value: &dyn Fn(&str) -> Option<i64>) -> Option<i64> {
    let mut reader = Reader { left: expression.chars().peekable(), value };
    let sum = reader.sum()?;
    reader.left.all(char::is_whitespace).then_some(sum)
}

struct Reader<'a> {
    left: Peekable<Chars<'a>>,
    value: &'a dyn Fn(&str) -> Option<i64>,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        while self.left.next_if(|one| one.is_whitespace()).is_some() {}
        self.left.peek().copied()
    }

    fn sum(&mut self) -> Option<i64> {
        let mut sum = self.product()?;
        while let Some(sign @ ('+' | '-')) = self.next() {
            self.left.next();
            let term = self.product()?;
            sum = if sign == '+' { sum.checked_add(term)? } else { sum.checked_sub(term)? };
        }
        Some(sum)
    }

    fn product(&mut self) -> Option<i64> {
        let mut product = self.operand()?;
        while let Some(sign @ ('*' | '/' | '%')) = self.next() {
            self.left.next();
            let factor = self.operand()?;
            product = match sign {
                '*' => product.checked_mul(factor)?,
                '/' => product.checked_div(factor)?,
                _ => product.checked_rem(factor)?,
            };
        }
        Some(product)
    }

    fn operand(&mut self) -> Option<i64> {
        match self.next()? {
            '(' => {
                self.left.next();
                let inner = self.sum()?;
                self.next().filter(|one| *one == ')')?;
                self.left.next();
                Some(inner)
            }
            '-' => {
                self.left.next();
                self.operand()?.checked_neg()
            }
            _ => {
                let mut word = String::new();
                while let Some(one) =
                    self.left.next_if(|one| one.is_alphanumeric() || "_${}".contains(*one))
                {
                    word.push(one);
                }
                let name = word.trim_matches(['$', '{', '}']);
                name.parse().ok().or_else(|| (self.value)(name))
            }
        }
    }
}
