//! Token bytes to text. A character may be spread over several tokens, so the bytes of an
//! unfinished one wait here for the next token.

/// Turns pieces of bytes into valid text, as they come.
///
/// All text emitted from `push` after `push`, closed by `finish`, is what
/// `String::from_utf8_lossy` makes of all the bytes at once: each broken sequence becomes one
/// U+FFFD.
///
/// ```
/// use demask::text::Utf8Stream;
///
/// let mut stream = Utf8Stream::new();
/// let mut seen = String::new();
/// stream.push(b"\xE2\x82", |text| seen.push_str(text)); // two thirds of a euro sign
/// assert_eq!(seen, "");
/// stream.push(b"\xAC!", |text| seen.push_str(text));
/// stream.finish(|text| seen.push_str(text));
/// assert_eq!(seen, "\u{20AC}!");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Utf8Stream {
    /// The first `len` bytes are the start of a character, never a whole one; the fourth is work
    /// space while that is being found out.
    held: [u8; 4],
    len: usize,
}

const REPLACEMENT: &str = "\u{FFFD}";

impl Utf8Stream {
    /// A stream that holds nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { held: [0; 4], len: 0 }
    }

    /// Takes more bytes and hands every part of the text that is now certain to `sink`.
    pub fn push(&mut self, bytes: &[u8], mut sink: impl FnMut(&str)) {
        let mut rest = bytes;
        // A held start grows byte by byte until it is a character or cannot become one.
        while self.len > 0 {
            let Some((&byte, after)) = rest.split_first() else { return };
            if self.extend(byte, &mut sink) {
                rest = after;
            }
        }
        let mut chunks = rest.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            if !chunk.valid().is_empty() {
                sink(chunk.valid());
            }
            let broken = chunk.invalid();
            // Only at the end of the input can the rest of a character still come.
            if chunks.peek().is_none() && is_unfinished(broken) {
                self.hold(broken);
            } else if !broken.is_empty() {
                sink(REPLACEMENT);
            }
        }
    }

    /// Ends the text: an unfinished character becomes U+FFFD. The stream can be used again.
    pub fn finish(&mut self, mut sink: impl FnMut(&str)) {
        if self.len > 0 {
            sink(REPLACEMENT);
        }
        self.len = 0;
    }

    /// Adds one byte to the held start; says whether the byte belonged to it.
    fn extend(&mut self, byte: u8, sink: &mut impl FnMut(&str)) -> bool {
        if let Some(slot) = self.held.get_mut(self.len) {
            *slot = byte;
        }
        let held = self.held.get(..=self.len).unwrap_or_default();
        match core::str::from_utf8(held) {
            Ok(text) => {
                sink(text);
                self.len = 0;
                true
            }
            Err(error) if error.error_len().is_none() => {
                self.len += 1;
                true
            }
            // The start without the byte was a valid start, so the byte is what breaks it.
            Err(_) => {
                sink(REPLACEMENT);
                self.len = 0;
                false
            }
        }
    }

    fn hold(&mut self, start: &[u8]) {
        self.len = 0;
        for (slot, &byte) in self.held.iter_mut().zip(start) {
            *slot = byte;
            self.len += 1;
        }
    }
}

/// Whether `bytes` could become a character if more followed.
fn is_unfinished(bytes: &[u8]) -> bool {
    core::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
