//! The values of a GGUF file's metadata.

use std::fmt;

/// What a number of the metadata is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum ScalarType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

/// Number of the type of strings in a file.
pub(crate) const STRING_ID: u32 = 8;
/// Number of the type of arrays in a file.
pub(crate) const ARRAY_ID: u32 = 9;

impl ScalarType {
    /// Types and their numbers in a file.
    const IDS: [(Self, u32); 11] = [
        (Self::U8, 0),
        (Self::I8, 1),
        (Self::U16, 2),
        (Self::I16, 3),
        (Self::U32, 4),
        (Self::I32, 5),
        (Self::F32, 6),
        (Self::Bool, 7),
        (Self::U64, 10),
        (Self::I64, 11),
        (Self::F64, 12),
    ];

    pub(crate) fn from_id(id: u32) -> Option<Self> {
        Self::IDS.into_iter().find(|(_, i)| *i == id).map(|(kind, _)| kind)
    }

    pub(crate) fn id(self) -> u32 {
        Self::IDS.into_iter().find(|(kind, _)| *kind == self).map_or(0, |(_, id)| id)
    }

    /// Bytes of one number.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }
}

/// One number, widened: every stored number is exact in one of these.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    /// A whole number, up to 64 bits with or without sign.
    Whole(i128),
    /// A float.
    Float(f64),
    /// True or false.
    Bool(bool),
}

/// Numbers of one type, as the file stores them.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    kind: ScalarType,
    /// Little-endian.
    bytes: Vec<u8>,
}

impl Numbers {
    /// From little-endian bytes; a rest that makes no number is dropped.
    pub(crate) fn new(kind: ScalarType, mut bytes: Vec<u8>) -> Self {
        bytes.truncate(bytes.len() / kind.size() * kind.size());
        Self { kind, bytes }
    }

    /// What they are stored as.
    #[must_use]
    pub const fn kind(&self) -> ScalarType {
        self.kind
    }

    /// Their bytes, little-endian.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len() / self.kind.size()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The numbers in order.
    pub fn iter(&self) -> impl Iterator<Item = Number> {
        self.bytes.chunks_exact(self.kind.size()).map(|bytes| decode(self.kind, bytes))
    }
}

fn decode(kind: ScalarType, bytes: &[u8]) -> Number {
    let mut wide = [0; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(wide);
    match kind {
        ScalarType::U8 | ScalarType::U16 | ScalarType::U32 | ScalarType::U64 => {
            Number::Whole(i128::from(bits))
        }
        ScalarType::I8 => Number::Whole(i128::from(bits as i8)),
        ScalarType::I16 => Number::Whole(i128::from(bits as i16)),
        ScalarType::I32 => Number::Whole(i128::from(bits as i32)),
        ScalarType::I64 => Number::Whole(i128::from(bits as i64)),
        ScalarType::F32 => Number::Float(f64::from(f32::from_bits(bits as u32))),
        ScalarType::F64 => Number::Float(f64::from_bits(bits)),
        ScalarType::Bool => Number::Bool(bits != 0),
    }
}

/// A list of strings in one piece of memory: vocabularies have a few hundred thousand.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Strings {
    text: String,
    /// Where each string ends in `text`.
    ends: Vec<usize>,
}

impl Strings {
    /// Appends a string.
    pub fn push(&mut self, string: &str) {
        self.text.push_str(string);
        self.ends.push(self.text.len());
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The strings in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(&self.ends).map(|(start, end)| self.text.get(start..*end).unwrap_or_default())
    }
}

impl<S: AsRef<str>> FromIterator<S> for Strings {
    fn from_iter<I: IntoIterator<Item = S>>(strings: I) -> Self {
        let mut all = Self::default();
        for string in strings {
            all.push(string.as_ref());
        }
        all
    }
}

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// One number.
    Number(Numbers),
    /// A text.
    String(String),
    /// A list of numbers.
    Numbers(Numbers),
    /// A list of texts.
    Strings(Strings),
}

impl Value {
    /// The one number that the value is.
    #[must_use]
    pub fn number(&self) -> Option<Number> {
        match self {
            Self::Number(number) => number.iter().next(),
            _ => None,
        }
    }

    /// What the value is, for messages.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Number(numbers) => match numbers.kind {
                ScalarType::F32 | ScalarType::F64 => "a float",
                ScalarType::Bool => "true or false",
                _ => "a whole number",
            },
            Self::String(_) => "a text",
            Self::Numbers(_) => "a list of numbers",
            Self::Strings(_) => "a list of texts",
        }
    }
}

macro_rules! from_number {
    ($($number:ty => $kind:ident),*) => {$(
        impl From<$number> for Value {
            fn from(number: $number) -> Self {
                Self::Number(Numbers::new(ScalarType::$kind, number.to_le_bytes().into()))
            }
        }

        impl From<&[$number]> for Value {
            fn from(numbers: &[$number]) -> Self {
                let bytes = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
                Self::Numbers(Numbers::new(ScalarType::$kind, bytes))
            }
        }
    )*};
}

from_number!(u8 => U8, u16 => U16, u32 => U32, i32 => I32, u64 => U64, f32 => F32);

impl From<bool> for Value {
    fn from(holds: bool) -> Self {
        Self::Number(Numbers::new(ScalarType::Bool, vec![u8::from(holds)]))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.into())
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(n) => write!(f, "{n}"),
            Self::Float(x) => write!(f, "{x}"),
            Self::Bool(b) => write!(f, "{b}"),
        }
    }
}

/// As `demask inspect` prints it: long texts and lists are cut.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(_) => self.number().map_or(Ok(()), |n| write!(f, "{n}")),
            Self::String(text) => write!(f, "{:?}", super::shortened(text)),
            Self::Numbers(numbers) => {
                let shown: Vec<String> = numbers.iter().take(8).map(|n| n.to_string()).collect();
                let more = if numbers.len() > shown.len() { ", ..." } else { "" };
                write!(f, "[{}{more}] ({} numbers)", shown.join(", "), numbers.len())
            }
            Self::Strings(strings) => write!(f, "{} texts", strings.len()),
        }
    }
}
