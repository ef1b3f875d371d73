//! Methods as they are written on a command line.
//!
//! ```text
//! method     = part { "+" part }            wrappers first: prophet+threshold:p=0.9
//! part       = name [ ":" value { "," value } ]
//! value      = [ parameter "=" ] text       without a name: the parameters in their order
//! ```
//!
//! `name=value` is read like `name:value`.

use super::error::advice;
use super::parameter::Arguments;
use super::{Entry, Making, MethodError, Part, PartsMemory, Pieces, Setting, Value};
use std::fmt;
use std::str::FromStr;

/// A method with its parameters.
///
/// ```
/// use demask_std::methods::{Policy, Spec};
/// let spec: Spec<Policy> = "threshold:0.95".parse()?;
/// assert_eq!(spec.to_string(), "threshold:p=0.95");
/// let error = "treshold".parse::<Spec<Policy>>().unwrap_err();
/// assert!(error.to_string().contains("did you mean threshold?"));
/// # Ok::<(), demask_std::methods::MethodError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Spec<K: Part> {
    /// Wrappers, the outermost first, and what they are put around.
    parts: Vec<(&'static Entry<K>, Arguments)>,
}

impl<K: Part> Spec<K> {
    /// A method with its published constants; a wrapper around the first one of the table.
    #[must_use]
    pub fn of(entry: &'static Entry<K>) -> Self {
        let mut spec = Self { parts: vec![(entry, Arguments::new(entry.parameters))] };
        spec.close();
        spec
    }

    /// Its entries, wrappers first.
    pub fn entries(&self) -> impl Iterator<Item = &'static Entry<K>> {
        self.parts.iter().map(|(entry, _)| *entry)
    }

    /// Whether one of its parts is called that.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.entries().any(|entry| entry.name == name)
    }

    /// The names without parameters.
    #[must_use]
    pub fn names(&self) -> String {
        self.entries().map(|entry| entry.name).collect::<Vec<_>>().join("+")
    }

    /// Sets a parameter of a part, unless it was given. Whether there is such a one.
    pub fn set_if_open(&mut self, method: &str, parameter: &str, value: &Value) -> bool {
        let mut parts = self.parts.iter_mut();
        let part = parts.find(|(entry, _)| entry.name == method);
        part.is_some_and(|(_, given)| given.set_if_open(parameter, &value.to_string()))
    }

    /// Makes it.
    ///
    /// # Errors
    /// [`MethodError`] if there is too little memory, or it cannot be made.
    pub fn build<'m>(
        &self,
        setting: &Setting<'_>,
        memory: &mut Pieces<'m>,
    ) -> Result<K::Boxed<'m>, MethodError> {
        let mut inner = None;
        for (entry, arguments) in self.parts.iter().rev() {
            let mut making = Making { arguments, setting, memory: &mut *memory, inner };
            inner = Some((entry.build)(&mut making)?);
        }
        inner.ok_or(MethodError::NothingInside)
    }

    /// Bytes of memory that it keeps between steps.
    ///
    /// # Errors
    /// [`MethodError`] if it cannot be made.
    pub fn memory_bytes(&self, setting: &Setting<'_>) -> Result<usize, MethodError> {
        PartsMemory::count(|pieces| self.build(setting, pieces).map(|_| ()))
    }

    /// Puts a wrapper that stands alone around the first method of the table.
    fn close(&mut self) {
        if self.parts.last().is_some_and(|(last, _)| last.wraps) {
            let first = K::first();
            self.parts.push((first, Arguments::new(first.parameters)));
        }
    }

    fn parse_part(text: &str) -> Result<(&'static Entry<K>, Arguments), MethodError> {
        let (name, values) = match text.split_once([':', '=']) {
            Some((name, values)) => (name.trim(), Some(values)),
            None => (text.trim(), None),
        };
        let entry = K::entries().find(|entry| entry.is_called(name));
        let entry = entry.ok_or_else(|| MethodError::Unknown {
            kind: K::KIND,
            name: name.to_owned(),
            advice: advice(name, K::entries().map(|entry| entry.name)),
        })?;
        let mut arguments = Arguments::new(entry.parameters);
        if let Some(values) = values {
            arguments.parse(entry.name, values)?;
        }
        Ok((entry, arguments))
    }
}

impl<K: Part> FromStr for Spec<K> {
    type Err = MethodError;

    fn from_str(text: &str) -> Result<Self, MethodError> {
        let parts: Result<Vec<_>, _> = text.split('+').map(Self::parse_part).collect();
        let mut spec = Self { parts: parts? };
        let before_last = spec.parts.len().saturating_sub(1);
        if let Some((alone, _)) = spec.parts.iter().take(before_last).find(|(e, _)| !e.wraps) {
            let wrappers = K::entries().filter(|entry| entry.wraps).map(|entry| entry.name);
            let wrappers = wrappers.collect::<Vec<_>>().join(", ");
            return Err(MethodError::NotAWrapper { method: alone.name, wrappers });
        }
        spec.close();
        Ok(spec)
    }
}

/// With all parameters, so that it reads the same whatever the defaults will be.
impl<K: Part> fmt::Display for Spec<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (entry, arguments)) in self.parts.iter().enumerate() {
            write!(f, "{}{}", if i == 0 { "" } else { "+" }, entry.name)?;
            for (j, (parameter, value)) in arguments.all().enumerate() {
                write!(f, "{}{}={value}", if j == 0 { ":" } else { "," }, parameter.name)?;
            }
        }
        Ok(())
    }
}

impl<K: Part> PartialEq for Spec<K> {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}
