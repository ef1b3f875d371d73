//! What can be set of a method, and within which limits.

use super::MethodError;
use super::error::advice;
use std::fmt;

/// Something that can be set.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameter {
    /// What it is called.
    pub name: &'static str,
    /// What it means.
    pub about: &'static str,
    /// What it may be.
    pub kind: Kind,
}

/// What a parameter may be. Limits belong to what is allowed.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// A number.
    Number {
        /// The published value.
        default: f32,
        /// The least.
        min: f32,
        /// The most.
        max: f32,
    },
    /// A whole number.
    Count {
        /// The published value.
        default: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// One of some words; the first is the published one. None of them stands for any text.
    Word(&'static [&'static str]),
}

/// What a parameter is set to.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number.
    Number(f32),
    /// A whole number.
    Count(usize),
    /// A word.
    Word(String),
}

/// A parameter that is a number.
pub(crate) const fn number(
    name: &'static str,
    default: f32,
    (min, max): (f32, f32),
    about: &'static str,
) -> Parameter {
    Parameter { name, about, kind: Kind::Number { default, min, max } }
}

/// A parameter that is a whole number.
pub(crate) const fn count(
    name: &'static str,
    default: usize,
    (min, max): (usize, usize),
    about: &'static str,
) -> Parameter {
    Parameter { name, about, kind: Kind::Count { default, min, max } }
}

/// A parameter that is one of some words.
pub(crate) const fn word(
    name: &'static str,
    words: &'static [&'static str],
    about: &'static str,
) -> Parameter {
    Parameter { name, about, kind: Kind::Word(words) }
}

impl Kind {
    /// The published value.
    #[must_use]
    pub fn default_value(&self) -> Value {
        match self {
            Self::Number { default, .. } => Value::Number(*default),
            Self::Count { default, .. } => Value::Count(*default),
            Self::Word(words) => Value::Word(words.first().copied().unwrap_or_default().to_owned()),
        }
    }

    fn parse(&self, text: &str) -> Option<Value> {
        match self {
            Self::Number { min, max, .. } => {
                let number: f32 = text.parse().ok()?;
                (*min..=*max).contains(&number).then_some(Value::Number(number))
            }
            Self::Count { min, max, .. } => {
                let number: usize = text.parse().ok()?;
                (*min..=*max).contains(&number).then_some(Value::Count(number))
            }
            Self::Word([]) => Some(Value::Word(text.to_owned())),
            Self::Word(words) => words.contains(&text).then(|| Value::Word(text.to_owned())),
        }
    }
}

/// What is allowed, in words.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { min, max, .. } if *max == f32::MAX => {
                write!(f, "a number of at least {min}")
            }
            Self::Number { min, max, .. } => write!(f, "a number between {min} and {max}"),
            Self::Count { min, max: usize::MAX, .. } => {
                write!(f, "a whole number of at least {min}")
            }
            Self::Count { min, max, .. } => write!(f, "a whole number between {min} and {max}"),
            Self::Word([]) => f.write_str("a text"),
            Self::Word(words) => write!(f, "one of {}", words.join(", ")),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Count(number) => write!(f, "{number}"),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// The values of a method's parameters, those that were given and the published ones.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arguments {
    parameters: &'static [Parameter],
    given: Vec<Option<Value>>,
}

impl Arguments {
    /// Nothing given.
    pub(super) fn new(parameters: &'static [Parameter]) -> Self {
        Self { parameters, given: vec![None; parameters.len()] }
    }

    /// Reads `a=1,b=2` or `1,2`; values without a name go to the parameters in their order.
    pub(super) fn parse(&mut self, method: &'static str, text: &str) -> Result<(), MethodError> {
        let names = self.parameters.iter().map(|parameter| parameter.name);
        for (place, part) in text.split(',').enumerate() {
            let (at, value) = match part.split_once('=') {
                Some((name, value)) => {
                    let at = self.parameters.iter().position(|p| p.name == name.trim());
                    let unknown = || MethodError::NoParameter {
                        method,
                        name: name.trim().to_owned(),
                        advice: advice(name.trim(), names.clone()),
                    };
                    (at.ok_or_else(unknown)?, value)
                }
                None => (place, part),
            };
            let Some(parameter) = self.parameters.get(at) else {
                let (most, advice) = (self.parameters.len(), advice("", names));
                return Err(MethodError::TooMany { method, most, advice });
            };
            let value = value.trim();
            let Parameter { name, kind, .. } = *parameter;
            let parsed = kind.parse(value).ok_or_else(|| MethodError::Value {
                method,
                name,
                value: value.to_owned(),
                allowed: kind.to_string(),
            })?;
            match self.given.get_mut(at) {
                Some(place @ None) => *place = Some(parsed),
                _ => return Err(MethodError::Twice { method, name }),
            }
        }
        Ok(())
    }

    /// Sets a parameter unless it was given, and says whether it was open; `None` if there is no such one.
    pub(super) fn set_if_open(&mut self, name: &str, text: &str) -> Option<bool> {
        let at = self.parameters.iter().position(|p| p.name == name)?;
        let place = self.given.get_mut(at)?;
        let open = place.is_none();
        if open {
            *place = self.parameters[at].kind.parse(text);
        }
        Some(open)
    }

    /// Every parameter with its value.
    pub(super) fn all(&self) -> impl Iterator<Item = (&'static Parameter, Value)> {
        let values = self.parameters.iter().zip(&self.given);
        values.map(|(p, given)| (p, given.clone().unwrap_or_else(|| p.kind.default_value())))
    }

    /// A number. An entry asks for its own parameters; for any other the answer makes no sense.
    pub(super) fn number(&self, name: &str) -> f32 {
        match self.value(name) {
            Some((_, Value::Number(number))) => number,
            other => unreachable_parameter(name, other.is_some(), f32::NAN),
        }
    }

    /// A whole number.
    pub(super) fn count(&self, name: &str) -> usize {
        match self.value(name) {
            Some((_, Value::Count(number))) => number,
            other => unreachable_parameter(name, other.is_some(), 0),
        }
    }

    /// A word.
    pub(super) fn word(&self, name: &str) -> &str {
        let at = self.parameters.iter().position(|p| p.name == name);
        let given = at.and_then(|at| self.given.get(at)).and_then(Option::as_ref);
        match (given, at.map(|at| self.parameters[at].kind)) {
            (Some(Value::Word(word)), _) => word,
            (None, Some(Kind::Word(words))) => words.first().copied().unwrap_or_default(),
            (_, kind) => unreachable_parameter(name, kind.is_some(), ""),
        }
    }

    fn value(&self, name: &str) -> Option<(&'static Parameter, Value)> {
        self.all().find(|(parameter, _)| parameter.name == name)
    }
}

/// An entry asks for a parameter that it does not declare: caught by the test that builds every entry.
fn unreachable_parameter<T>(name: &str, declared: bool, value: T) -> T {
    debug_assert!(false, "parameter {name} is declared: {declared}, of another kind");
    value
}
