//! Reads and evaluates an arithmetic expression.
//!
//! Owns no state; pure. Nesting is bounded, so that no query exhausts the stack.
//!
//! ```text
//! sum     = product (("+" | "-") product)*        `200 + 10%` adds a tenth of 200
//! product = signed (("*" | "/" | "mod" | "of" | nothing before a name or bracket) signed)*
//! signed  = ("-" | "+") signed | power
//! power   = postfix ("^" signed)?
//! postfix = primary ("!" | "%" | "degrees")*
//! primary = number | constant | function values | "(" sum ")"
//! ```

use crate::{
    Problem,
    functions::{apply, constant, factorial, is_function, multiplies},
};

const DEEPEST: usize = 100;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Number(f64),
    Name(String),
    Sign(char),
}

/// A value, and whether it was written as a percentage.
#[derive(Clone, Copy)]
struct Operand {
    value: f64,
    percentage: bool,
}

/// The value of an expression that [`crate::wording::question`] has prepared.
pub(crate) fn evaluate(text: &str) -> Result<f64, Problem> {
    let mut reader = Reader { tokens: tokens(text)?, at: 0, depth: 0 };
    if reader.tokens.is_empty() {
        return Err("There is nothing to calculate in this.".to_owned());
    }
    let value = reader.sum()?.value;
    if let Some(token) = reader.peek() {
        return Err(unexpected(token));
    }
    if value.is_nan() {
        return Err("This has no real value.".to_owned());
    }
    if value.is_infinite() {
        return Err("The result is too large.".to_owned());
    }
    Ok(value)
}

fn tokens(text: &str) -> Result<Vec<Token>, Problem> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if first.is_ascii_digit() || first == '.' {
            let length = number_length(rest);
            let number =
                rest[..length].parse().map_err(|_| format!("`{}` is not a number.", &rest[..length]))?;
            tokens.push(Token::Number(number));
            length
        } else if first.is_alphabetic() {
            let length = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
            // `percent` is the sign in another form.
            match &rest[..length] {
                "percent" => tokens.push(Token::Sign('%')),
                "deg" | "degree" | "degrees" => tokens.push(Token::Sign('°')),
                name => tokens.push(Token::Name(name.to_owned())),
            }
            length
        } else if "+-*/^%!(),°".contains(first) {
            tokens.push(Token::Sign(first));
            first.len_utf8()
        } else if first.is_whitespace() {
            first.len_utf8()
        } else {
            return Err(format!("`{first}` has no place in a calculation."));
        };
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// Digits, a point, digits, and a power of ten such as `e-9`, but not the constant in `2e`.
fn number_length(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut length = digits(0);
    if bytes.get(length) == Some(&b'.') {
        length += 1 + digits(length + 1);
    }
    if bytes.get(length) == Some(&b'e') {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let power = digits((length + 1 + sign).min(bytes.len()));
        if power > 0 {
            length += 1 + sign + power;
        }
    }
    length
}

struct Reader {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
}

impl Reader {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    /// Takes the next token if it is this sign.
    fn sign(&mut self, sign: char) -> bool {
        let found = self.peek() == Some(&Token::Sign(sign));
        self.at += usize::from(found);
        found
    }

    /// Takes the next token if it is this word.
    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Name(name)) if name == word);
        self.at += usize::from(found);
        found
    }

    fn sum(&mut self) -> Result<Operand, Problem> {
        let mut left = self.product()?;
        loop {
            let factor = if self.sign('+') {
                1.0
            } else if self.sign('-') {
                -1.0
            } else {
                return Ok(left);
            };
            let right = self.product()?;
            let amount =
                if right.percentage && !left.percentage { left.value * right.value } else { right.value };
            let percentage = left.percentage && right.percentage;
            left = Operand { value: left.value + factor * amount, percentage };
        }
    }

    fn product(&mut self) -> Result<Operand, Problem> {
        let mut left = self.signed()?;
        loop {
            let divides = if self.sign('*') || self.word("of") || self.follows_directly() {
                false
            } else if self.sign('/') {
                true
            } else if self.word("mod") || self.remainder_sign() {
                let right = nonzero(self.signed()?.value)?;
                left = plain(left.value.rem_euclid(right));
                continue;
            } else {
                return Ok(left);
            };
            let right = self.signed()?.value;
            left = plain(if divides { left.value / nonzero(right)? } else { left.value * right });
        }
    }

    /// Whether a product is written without a sign: `2 pi`, `3(4 + 1)`.
    fn follows_directly(&self) -> bool {
        match self.peek() {
            Some(Token::Sign('(')) => true,
            Some(Token::Name(name)) => multiplies(name),
            _ => false,
        }
    }

    /// Takes a `%` that stands between two values, where it asks for the remainder.
    fn remainder_sign(&mut self) -> bool {
        let followed = matches!(self.tokens.get(self.at + 1), Some(Token::Number(_) | Token::Sign('(')));
        followed && self.sign('%')
    }

    fn signed(&mut self) -> Result<Operand, Problem> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err("This is nested too deeply.".to_owned());
        }
        let operand = if self.sign('-') {
            let operand = self.signed()?;
            Operand { value: -operand.value, ..operand }
        } else if self.sign('+') {
            self.signed()?
        } else {
            self.power()?
        };
        self.depth -= 1;
        Ok(operand)
    }

    fn power(&mut self) -> Result<Operand, Problem> {
        let base = self.postfix()?;
        if self.sign('^') {
            return Ok(plain(base.value.powf(self.signed()?.value)));
        }
        Ok(base)
    }

    fn postfix(&mut self) -> Result<Operand, Problem> {
        let mut operand = plain(self.primary()?);
        loop {
            if self.sign('!') {
                operand = plain(factorial(operand.value)?);
            } else if self.sign('°') {
                operand = plain(operand.value.to_radians());
            } else if self.peek() == Some(&Token::Sign('%')) && !self.remainder_follows() {
                self.at += 1;
                operand = Operand { value: operand.value / 100.0, percentage: true };
            } else {
                return Ok(operand);
            }
        }
    }

    fn remainder_follows(&self) -> bool {
        matches!(self.tokens.get(self.at + 1), Some(Token::Number(_) | Token::Sign('(')))
    }

    fn primary(&mut self) -> Result<f64, Problem> {
        let token = self.peek().cloned().ok_or_else(|| "The calculation ends too early.".to_owned())?;
        self.at += 1;
        match token {
            Token::Number(value) => Ok(value),
            Token::Sign('(') => {
                let value = self.sum()?.value;
                if !self.sign(')') {
                    return Err("A bracket is not closed.".to_owned());
                }
                Ok(value)
            }
            Token::Name(name) if is_function(&name) => {
                let values = self.values()?;
                apply(&name, &values)
            }
            Token::Name(name) => {
                constant(&name).ok_or_else(|| format!("This calculator does not know `{name}`."))
            }
            Token::Sign(_) => Err(unexpected(&token)),
        }
    }

    /// What a function is given: in brackets, or after `of`, or the one value that follows.
    fn values(&mut self) -> Result<Vec<f64>, Problem> {
        let listed = self.word("of");
        if self.sign('(') {
            let values = self.list()?;
            if !self.sign(')') {
                return Err("A bracket is not closed.".to_owned());
            }
            return Ok(values);
        }
        if listed {
            let first = self.signed()?.value;
            let more = self.word("and") || self.sign(',');
            return if more {
                self.word("and");
                let mut values = self.list()?;
                values.insert(0, first);
                Ok(values)
            } else {
                Ok(vec![first])
            };
        }
        Ok(vec![self.signed()?.value])
    }

    fn list(&mut self) -> Result<Vec<f64>, Problem> {
        let mut values = vec![self.sum()?.value];
        while self.sign(',') || self.word("and") {
            self.word("and");
            values.push(self.sum()?.value);
        }
        Ok(values)
    }
}

fn plain(value: f64) -> Operand {
    Operand { value, percentage: false }
}

fn nonzero(value: f64) -> Result<f64, Problem> {
    if value == 0.0 { Err("Nothing can be divided by zero.".to_owned()) } else { Ok(value) }
}

fn unexpected(token: &Token) -> Problem {
    match token {
        Token::Number(value) => format!("A sign is missing before {value}."),
        Token::Name(name) => format!("This calculator does not know what `{name}` means here."),
        Token::Sign(sign) => format!("`{sign}` stands where a value should."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precedence_is_as_taught() {
        let cases = [
            ("1 + 2 * 3", 7.0),
            ("(1 + 2) * 3", 9.0),
            ("2 ^ 3 ^ 2", 512.0),
            ("-2 ^ 2", -4.0),
            ("2 ^ -1", 0.5),
            ("10 / 4 / 5", 0.5),
            ("10 % 3", 1.0),
            ("5%", 0.05),
            ("15% of 80", 12.0),
            ("200 - 10%", 180.0),
            ("10% + 5%", 0.15),
            ("3! * 2", 12.0),
            ("2 pi", std::f64::consts::TAU),
            ("3(4 + 1)", 15.0),
            ("sqrt 16 + 9", 13.0),
            ("sqrt(16 + 9)", 5.0),
            ("max(1, 2 + 5, 3)", 7.0),
            ("1.5e3 + 2e-1", 1500.2),
            ("sin(30 degrees)", 0.5),
            ("average of 3, 7 and 11", 7.0),
            ("half of 10", 5.0),
        ];
        for (text, wanted) in cases {
            let value = evaluate(text);
            assert!(value.as_ref().is_ok_and(|value| (value - wanted).abs() < 1e-9), "{text}: {value:?}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        assert!(evaluate(&"(".repeat(5000)).is_err());
        assert!(evaluate(&"-".repeat(5000)).is_err());
        assert!(evaluate(&format!("{}1{}", "(".repeat(50), ")".repeat(50))).is_ok());
    }
}
