//! SHA-256 digests of an image: one over the manifest, one per section.

use super::header::{DIGEST_BYTES, MANIFEST_DIGEST_AT};
use sha2::{Digest, Sha256};

/// Digest over the first `manifest_bytes` of an image (header and section table), its own place
/// taken as zeros.
#[must_use]
pub fn manifest_digest(image: &[u8], manifest_bytes: usize) -> [u8; DIGEST_BYTES] {
    let mut hash = Sha256::new();
    hash.update(image.get(..MANIFEST_DIGEST_AT).unwrap_or_default());
    hash.update([0; DIGEST_BYTES]);
    hash.update(image.get(MANIFEST_DIGEST_AT + DIGEST_BYTES..manifest_bytes).unwrap_or_default());
    hash.finalize().into()
}

/// Digest of one section and its padding.
#[must_use]
pub fn section_digest(padded: &[u8]) -> [u8; DIGEST_BYTES] {
    Sha256::digest(padded).into()
}
