//! JSON as Python's `json.loads` reads it.
//!
//! Scores are only comparable with those of the training scripts if both sides agree on what is
//! valid JSON and on how a value prints. Python accepts `NaN` and `Infinity` and lone surrogates,
//! keeps the last of repeated keys, reads integers of any length, and prints `True` and `None`;
//! serde_json differs in each of these.

use std::iter::Peekable;
use std::str::Chars;

/// Nesting that CPython's parser accepts before it gives up, roughly; an answer of a model is far
/// from it.
const MAX_DEPTH: usize = 900;
/// `int()` refuses longer texts since Python 3.11.
const MAX_INTEGER_DIGITS: usize = 4300;

/// A JSON value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number as its decimal text.
    Integer(String),
    /// Any other number, including the three that JSON does not have.
    Float(f64),
    /// A string. Lone surrogates, which Rust cannot hold, become U+FFFD.
    Text(String),
    /// An array.
    List(Vec<Value>),
    /// An object, each key once, in order of first appearance.
    Object(Vec<(String, Value)>),
}

impl Value {
    /// Parses a text, `None` where Python raises an exception.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parser = Parser { rest: text.chars().peekable() };
        let value = parser.value(0)?;
        parser.skip_space();
        parser.rest.next().is_none().then_some(value)
    }

    /// `str(value)`. Strings inside of lists and objects are quoted without Python's choice of
    /// quotes and escapes: normalized texts contain neither quotes nor backslashes, so that such a
    /// value equals none of them either way.
    pub(super) fn to_str(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            other => other.repr(),
        }
    }

    fn repr(&self) -> String {
        match self {
            Self::Null => "None".into(),
            Self::Bool(true) => "True".into(),
            Self::Bool(false) => "False".into(),
            Self::Integer(digits) => digits.clone(),
            Self::Float(number) => float_repr(*number),
            Self::Text(text) => format!("'{text}'"),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::repr).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Object(fields) => {
                let field = |(key, value): &(String, Self)| format!("'{key}': {}", value.repr());
                let fields: Vec<String> = fields.iter().map(field).collect();
                format!("{{{}}}", fields.join(", "))
            }
        }
    }
}

/// Shortest digits that read back as the same number, with an exponent below 1e-4 and from 1e16 on.
fn float_repr(number: f64) -> String {
    if number.is_nan() {
        return "nan".into();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{number:e}");
    // `{:e}` always writes an `e` and a decimal exponent that fits an i32.
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        format!("{number:?}")
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{digits}e{sign}{:02}", exponent.abs())
    }
}

struct Parser<'a> {
    rest: Peekable<Chars<'a>>,
}

impl Parser<'_> {
    fn skip_space(&mut self) {
        while self.rest.next_if(|c| matches!(c, ' ' | '\t' | '\n' | '\r')).is_some() {}
    }

    fn expect(&mut self, text: &str) -> Option<()> {
        text.chars().all(|c| self.rest.next_if_eq(&c).is_some()).then_some(())
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        self.skip_space();
        match self.rest.peek()? {
            '"' => self.string().map(Value::Text),
            '{' if depth < MAX_DEPTH => self.object(depth),
            '[' if depth < MAX_DEPTH => self.list(depth),
            'n' => self.expect("null").map(|()| Value::Null),
            't' => self.expect("true").map(|()| Value::Bool(true)),
            'f' => self.expect("false").map(|()| Value::Bool(false)),
            'N' => self.expect("NaN").map(|()| Value::Float(f64::NAN)),
            'I' => self.expect("Infinity").map(|()| Value::Float(f64::INFINITY)),
            '-' | '0'..='9' => self.number(),
            _ => None,
        }
    }

    fn object(&mut self, depth: usize) -> Option<Value> {
        self.expect("{")?;
        let mut fields: Vec<(String, Value)> = Vec::new();
        self.skip_space();
        if self.expect("}").is_some() {
            return Some(Value::Object(fields));
        }
        loop {
            self.skip_space();
            let key = self.string()?;
            self.skip_space();
            self.expect(":")?;
            let value = self.value(depth + 1)?;
            match fields.iter_mut().find(|(k, _)| *k == key) {
                Some(field) => field.1 = value,
                None => fields.push((key, value)),
            }
            self.skip_space();
            match self.rest.next()? {
                ',' => {}
                '}' => return Some(Value::Object(fields)),
                _ => return None,
            }
        }
    }

    fn list(&mut self, depth: usize) -> Option<Value> {
        self.expect("[")?;
        let mut items = Vec::new();
        self.skip_space();
        if self.expect("]").is_some() {
            return Some(Value::List(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.skip_space();
            match self.rest.next()? {
                ',' => {}
                ']' => return Some(Value::List(items)),
                _ => return None,
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        self.expect("\"")?;
        let mut out = String::new();
        loop {
            match self.rest.next()? {
                '"' => return Some(out),
                '\\' => out.push(self.escape()?),
                c if c < ' ' => return None,
                c => out.push(c),
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        Some(match self.rest.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => self.unicode_escape()?,
            c @ ('"' | '\\' | '/') => c,
            _ => return None,
        })
    }

    /// After `\u`: a code unit, or two that form a pair.
    fn unicode_escape(&mut self) -> Option<char> {
        let high = self.hex4()?;
        if (0xd800..0xdc00).contains(&high) {
            let mut ahead = Parser { rest: self.rest.clone() };
            let low = ahead.expect("\\u").and_then(|()| ahead.hex4());
            if let Some(low @ 0xdc00..0xe000) = low {
                self.expect("\\u")?;
                self.hex4()?;
                return char::from_u32(0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
            }
        }
        Some(char::from_u32(high).unwrap_or('\u{fffd}'))
    }

    fn hex4(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |n, _| Some(n * 16 + self.rest.next()?.to_digit(16)?))
    }

    fn number(&mut self) -> Option<Value> {
        let mut text = String::new();
        if self.rest.next_if_eq(&'-').is_some() {
            if self.rest.peek() == Some(&'I') {
                return self.expect("Infinity").map(|()| Value::Float(f64::NEG_INFINITY));
            }
            text.push('-');
        }
        if self.rest.next_if_eq(&'0').is_some() {
            text.push('0');
        } else {
            self.digits(&mut text)?;
        }
        let whole = text.len();
        // A dot or an exponent without digits does not belong to the number; what follows a number
        // is never a dot or an `e`, so that such a text is invalid either way.
        if self.rest.next_if_eq(&'.').is_some() {
            text.push('.');
            self.digits(&mut text)?;
        }
        if self.rest.next_if(|c| matches!(c, 'e' | 'E')).is_some() {
            text.push('e');
            text.extend(self.rest.next_if(|c| matches!(c, '+' | '-')));
            self.digits(&mut text)?;
        }
        if text.len() > whole {
            return text.parse().ok().map(Value::Float);
        }
        let digits = text.trim_start_matches('-').len();
        if text == "-0" {
            text = "0".into();
        }
        (digits <= MAX_INTEGER_DIGITS).then_some(Value::Integer(text))
    }

    fn digits(&mut self, out: &mut String) -> Option<()> {
        out.push(self.rest.next_if(char::is_ascii_digit)?);
        while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
            out.push(digit);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_in_python() {
        for (json, printed) in [
            ("\"a\\u00e9\\ud83d\\ude00\\n\"", "aé😀\n"),
            ("12", "12"),
            ("-0", "0"),
            ("-0.0", "-0.0"),
            ("1.50", "1.5"),
            ("1e5", "100000.0"),
            ("0.0001", "0.0001"),
            ("0.00001", "1e-05"),
            ("1e16", "1e+16"),
            ("1.25e-300", "1.25e-300"),
            ("9999999999999998.0", "9999999999999998.0"),
            ("1e999", "inf"),
            ("-Infinity", "-inf"),
            ("NaN", "nan"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            (" [ true , null,[] ] ", "[True, None, []]"),
            ("{}", "{}"),
            ("{\"a\":1,\"b\":2,\"a\":[3]}", "{'a': [3], 'b': 2}"),
        ] {
            assert_eq!(Value::parse(json).map(|v| v.to_str()).as_deref(), Some(printed), "{json}");
        }
    }

    #[test]
    fn refuses_what_python_refuses() {
        let texts = concat!(
            r#"| |{|[1,]|{"a":1,}|{a:1}|{"a" 1}|01|+1|1.|.5|1e|-|-I|nul|'a'|"a|"\x"|"\u12g4"|1 2|"#,
            "\"\n\"|\u{feff}1",
        );
        for json in texts.split('|') {
            assert_eq!(Value::parse(json), None, "{json}");
        }
        assert_eq!(Value::parse(&"[".repeat(100_000)), None);
        assert_eq!(Value::parse(&"9".repeat(4301)), None);
    }
}
