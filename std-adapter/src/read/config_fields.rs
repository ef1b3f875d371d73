//! Typed, bounded access to the fields of a JSON configuration.
//!
//! An error names the field and what is supported, so that its reader need not know the engine.
//! `null` always means that the field is absent.

use serde_json::{Map, Value};

use super::hf_config::ConfigError;
use super::shortened;

/// The engine's limits, see `demask::image::ModelConfig::validate`.
pub(super) mod limit {
    pub(in crate::read) const VOCAB: u32 = 1 << 20;
    pub(in crate::read) const DIM: u32 = 1 << 16;
    pub(in crate::read) const LAYERS: u32 = 1 << 10;
    pub(in crate::read) const HEADS: u32 = 1 << 10;
    pub(in crate::read) const HEAD_DIM: u32 = 1 << 10;
    pub(in crate::read) const FFN: u32 = 1 << 18;
    pub(in crate::read) const CONTEXT: u32 = 1 << 16;
    pub(in crate::read) const EXPERTS: u32 = demask::image::MAX_EXPERTS;
    /// End tokens of one model. Not the engine's: published models have up to three.
    pub(in crate::read) const END_TOKENS: usize = 64;
}

/// An option with one supported value, as JSON.
pub(super) type FixedOption = (&'static str, &'static str);

/// A JSON object.
#[derive(Debug)]
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    pub(super) fn parse(json: &[u8]) -> Result<Self, ConfigError> {
        Ok(Self(serde_json::from_slice(json).map_err(ConfigError::Json)?))
    }

    /// The value of a field, `None` when it is absent or `null`.
    pub(super) fn value(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|v| !v.is_null())
    }

    /// A field's text, `None` when it is absent or not text.
    pub(super) fn text(&self, field: &str) -> Option<&str> {
        self.value(field).and_then(Value::as_str)
    }

    /// The field's value, or else the value that an absent field has, has no place in this engine.
    pub(super) fn unsupported(&self, field: &'static str, supported: &'static str) -> ConfigError {
        let value = self.value(field).map_or("null".into(), Value::to_string);
        ConfigError::Unsupported { field, value: shortened(&value), supported }
    }

    fn wrong_type(field: &'static str, value: &Value, expected: &'static str) -> ConfigError {
        ConfigError::Type { field, found: shortened(&value.to_string()), expected }
    }

    /// Refuses any value but the supported one; an absent field has it.
    pub(super) fn check_fixed(&self, (field, supported): FixedOption) -> Result<(), ConfigError> {
        let Some(value) = self.value(field) else { return Ok(()) };
        let equal = match (value.as_f64(), supported.parse::<f64>()) {
            (Some(number), Ok(supported)) => number == supported, // 1 and 1.0 are the same option
            _ => value.to_string().as_str() == supported,
        };
        if equal { Ok(()) } else { Err(self.unsupported(field, supported)) }
    }

    /// An object within this one.
    pub(super) fn object(&self, field: &'static str) -> Result<Option<Self>, ConfigError> {
        match self.value(field) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(Self(map.clone()))),
            Some(other) => Err(Self::wrong_type(field, other, "an object")),
        }
    }

    /// A whole number in `min..=max`, if the field is there.
    pub(super) fn integer(
        &self,
        field: &'static str,
        min: u32,
        max: u32,
    ) -> Result<Option<u32>, ConfigError> {
        self.value(field).map(|value| whole_number(field, value, min, max)).transpose()
    }

    /// A whole number in `1..=max`.
    pub(super) fn size(&self, field: &'static str, max: u32) -> Result<u32, ConfigError> {
        self.integer(field, 1, max)?.ok_or(ConfigError::Missing(field))
    }

    /// One token id or a list of them; none if the field is absent.
    pub(super) fn tokens(&self, field: &'static str) -> Result<Vec<u32>, ConfigError> {
        let one = |value| whole_number(field, value, 0, limit::VOCAB);
        match self.value(field) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) if list.len() > limit::END_TOKENS => {
                Err(Self::wrong_type(field, &list.len().into(), "at most 64 token ids"))
            }
            Some(Value::Array(list)) => list.iter().map(one).collect(),
            Some(value) => Ok(vec![one(value)?]),
        }
    }

    /// A number in `min..=max`, if the field is there.
    pub(super) fn number(
        &self,
        field: &'static str,
        min: f64,
        max: f64,
    ) -> Result<Option<f32>, ConfigError> {
        let Some(value) = self.value(field) else { return Ok(None) };
        let number = value.as_f64().ok_or_else(|| Self::wrong_type(field, value, "a number"))?;
        if (min..=max).contains(&number) {
            Ok(Some(number as f32))
        } else {
            Err(ConfigError::Range { field, value: number, range: format!("{min:e} to {max:e}") })
        }
    }

    pub(super) fn flag(&self, field: &'static str, default: bool) -> Result<bool, ConfigError> {
        let Some(value) = self.value(field) else { return Ok(default) };
        value.as_bool().ok_or_else(|| Self::wrong_type(field, value, "true or false"))
    }

    /// Base of the rotary frequencies. Older files have it as a field of its own, newer ones in
    /// `rope_parameters`; both may ask for scaled frequencies, which are refused.
    pub(super) fn rope_theta(&self) -> Result<f32, ConfigError> {
        let parameters = self.object("rope_parameters")?;
        let scaling = self.object("rope_scaling")?;
        for (field, object) in [("rope_parameters", &parameters), ("rope_scaling", &scaling)] {
            let Some(object) = object else { continue };
            let kind = object.text("rope_type").or_else(|| object.text("type"));
            // What only tells the base is not a scaling.
            let plain = kind.is_none() && object.value("factor").is_none();
            if !plain && kind != Some("default") {
                let supported = if field == "rope_scaling" { "null" } else { "rope_type default" };
                return Err(self.unsupported(field, supported));
            }
        }
        let theta = |fields: &Self| fields.number("rope_theta", 1.0, 1e12);
        let newer = parameters.as_ref().map_or(Ok(None), theta)?;
        match (newer.or(theta(self)?), parameters) {
            (Some(theta), _) => Ok(theta),
            (None, None) => Ok(10_000.0),
            // Parameters of another shape, such as one object per kind of layer.
            (None, Some(_)) => Err(ConfigError::Missing("rope_theta")),
        }
    }

    /// Part of a head that is rotated, if the file says so.
    pub(super) fn rotary_factor(&self) -> Result<Option<f32>, ConfigError> {
        let factor = |fields: &Self| fields.number("partial_rotary_factor", 1e-3, 1.0);
        let newer = self.object("rope_parameters")?.as_ref().map_or(Ok(None), factor)?;
        Ok(newer.or(factor(self)?))
    }
}

/// A whole number in `min..=max`.
fn whole_number(
    field: &'static str,
    value: &Value,
    min: u32,
    max: u32,
) -> Result<u32, ConfigError> {
    let number =
        value.as_i64().ok_or_else(|| Fields::wrong_type(field, value, "a whole number"))?;
    match u32::try_from(number) {
        Ok(n) if (min..=max).contains(&n) => Ok(n),
        _ => {
            let range = format!("{min} to {max}");
            Err(ConfigError::Range { field, value: number as f64, range })
        }
    }
}
