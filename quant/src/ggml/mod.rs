//! The block formats of ggml, which GGUF files store their tensors in.
//!
//! A row of a tensor is cut into blocks of 1, 32 or 256 values; every block carries its own scales.
//! Decoding and quantizing here give the same bits and bytes as ggml's scalar reference: plain `f32`
//! in the order in which ggml writes it, nothing fused.
//!
//! | type | values | bytes | a value is |
//! |---|---|---|---|
//! | F32, F16, BF16 | 1 | 4, 2, 2 | itself |
//! | Q4_0, Q5_0, Q8_0 | 32 | 18, 22, 34 | `d * (q - 8)`, `d * (q - 16)`, `d * q` |
//! | Q4_1, Q5_1 | 32 | 20, 24 | `d * q + m` |
//! | MXFP4 | 32 | 17 | `2^(e - 128) * codebook[q]` (OCP Microscaling, doubled E2M1) |
//! | Q4_K, Q5_K | 256 | 144, 176 | `(d * scale) * q - d_min * min`, scale and min per 32 |
//! | Q6_K | 256 | 210 | `(d * scale) * (q - 32)`, scale per 16 |

mod decode;
mod encode;
mod groups;
mod k_quants;
mod steps;

use std::fmt;

/// Values of a K format's block.
const SUPER_BLOCK: usize = 256;

/// How a tensor of a GGUF file is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(non_camel_case_types)] // the names that everybody knows them by
pub enum GgmlType {
    /// `f32`
    F32 = 0,
    /// IEEE binary16
    F16 = 1,
    /// 4 bits, scale
    Q4_0 = 2,
    /// 4 bits, scale and minimum
    Q4_1 = 3,
    /// 5 bits, scale
    Q5_0 = 6,
    /// 5 bits, scale and minimum
    Q5_1 = 7,
    /// 8 bits, scale
    Q8_0 = 8,
    /// 4 bits, 6-bit scales and minima, themselves scaled
    Q4_K = 12,
    /// 5 bits, 6-bit scales and minima, themselves scaled
    Q5_K = 13,
    /// 6 bits, 8-bit scales, themselves scaled
    Q6_K = 14,
    /// Upper half of an `f32`
    BF16 = 30,
    /// 4-bit floats, power of two as scale
    MXFP4 = 39,
}

impl GgmlType {
    /// Every type that can be read, by number.
    pub const ALL: [Self; 12] = [
        Self::F32,
        Self::F16,
        Self::Q4_0,
        Self::Q4_1,
        Self::Q5_0,
        Self::Q5_1,
        Self::Q8_0,
        Self::Q4_K,
        Self::Q5_K,
        Self::Q6_K,
        Self::BF16,
        Self::MXFP4,
    ];

    /// Number of the type in a file.
    #[must_use]
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// Inverse of [`GgmlType::id`].
    #[must_use]
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|t| t.id() == id)
    }

    /// Name as ggml spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::F16 => "F16",
            Self::Q4_0 => "Q4_0",
            Self::Q4_1 => "Q4_1",
            Self::Q5_0 => "Q5_0",
            Self::Q5_1 => "Q5_1",
            Self::Q8_0 => "Q8_0",
            Self::Q4_K => "Q4_K",
            Self::Q5_K => "Q5_K",
            Self::Q6_K => "Q6_K",
            Self::BF16 => "BF16",
            Self::MXFP4 => "MXFP4",
        }
    }

    /// Values of a block; a row has a whole number of blocks.
    #[must_use]
    pub const fn block_values(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::BF16 => 1,
            Self::Q4_K | Self::Q5_K | Self::Q6_K => SUPER_BLOCK,
            _ => 32,
        }
    }

    /// Bytes of a block.
    #[must_use]
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q5_0 => 22,
            Self::Q5_1 => 24,
            Self::Q8_0 => 34,
            Self::Q4_K => 144,
            Self::Q5_K => 176,
            Self::Q6_K => 210,
            Self::MXFP4 => 17,
        }
    }

    /// Bytes of this many values, or `None` if they are not a whole number of blocks.
    #[must_use]
    pub const fn bytes_of(self, values: usize) -> Option<usize> {
        if !values.is_multiple_of(self.block_values()) {
            return None;
        }
        (values / self.block_values()).checked_mul(self.block_bytes())
    }

    fn check_lengths(self, bytes: usize, values: usize) -> Result<(), BlockError> {
        match self.bytes_of(values) {
            Some(needed) if needed == bytes => Ok(()),
            _ => Err(BlockError::Length { stored_as: self, bytes, values }),
        }
    }

    /// Decodes whole blocks.
    ///
    /// # Errors
    /// [`BlockError::Length`] if `blocks` and `out` are not of the same number of blocks.
    ///
    /// ```
    /// use demask_quant::ggml::GgmlType;
    ///
    /// let mut block = vec![0x00, 0x3c]; // 1.0 as f16
    /// block.extend(0..32u8);
    /// let mut values = [0.0; 32];
    /// GgmlType::Q8_0.dequantize(&block, &mut values)?;
    /// assert_eq!(values[31], 31.0);
    /// # Ok::<(), demask_quant::ggml::BlockError>(())
    /// ```
    pub fn dequantize(self, blocks: &[u8], out: &mut [f32]) -> Result<(), BlockError> {
        self.check_lengths(blocks.len(), out.len())?;
        decode::decode(self, blocks, out);
        Ok(())
    }

    /// Quantizes whole blocks, to the bytes that ggml's reference gives.
    ///
    /// # Errors
    /// [`BlockError::Length`] if `values` and `out` are not of the same number of blocks.
    pub fn quantize(self, values: &[f32], out: &mut [u8]) -> Result<(), BlockError> {
        self.check_lengths(out.len(), values.len())?;
        encode::encode(self, values, out);
        Ok(())
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why blocks could not be converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum BlockError {
    /// Bytes and values are not of the same number of blocks: a mistake of the caller.
    Length {
        /// Type of the blocks.
        stored_as: GgmlType,
        /// Length of the stored side in bytes.
        bytes: usize,
        /// Length of the decoded side in values.
        values: usize,
    },
    /// The engine has no format that holds these blocks without rounding.
    NotExact(GgmlType),
    /// A scale is NaN or infinite.
    NotFinite,
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { stored_as, bytes, values } => {
                write!(f, "{bytes} bytes of {stored_as} blocks do not hold {values} values")
            }
            Self::NotExact(stored_as) => write!(
                f,
                "these {stored_as} blocks cannot be held without rounding; round them to Q8 instead"
            ),
            Self::NotFinite => write!(f, "a scale is NaN or infinite; the file is damaged"),
        }
    }
}

impl std::error::Error for BlockError {}
