//! Byte-pair merging, in place in the caller's output.
//!
//! A word starts as one token per byte. The pair of neighbours with the lowest rank, the leftmost
//! among equals, is merged, until no pair has a merge. That order, one pair at a time, is the one
//! of Hugging Face `tokenizers`; the passes here only take several equal pairs at once where that
//! gives the same.

use core::cell::Cell;

use super::{Added, EncodeError, Tokenizer, Words};

/// In the ranks: this pair has no merge. Real ranks are below the number of merges.
const NO_RANK: u32 = u32::MAX;

impl Tokenizer<'_> {
    /// Turns text into tokens and returns their number; they lie at the start of `out`.
    ///
    /// Special tokens in the text are read as plain text, so text from outside cannot forge them.
    ///
    /// `out` is also the work space: beyond the tokens already written it needs one entry for each
    /// byte of the next word (with `add_prefix_space`, plus one). One entry per byte of the text
    /// plus one is always enough. Twice that lets ranks be kept, which matters for words of
    /// hundreds of bytes: time grows with the bytes of a word times the different merges in it.
    ///
    /// # Errors
    ///
    /// [`EncodeError`]; what `out` holds is then not specified.
    pub fn encode(&self, text: &str, out: &mut [u32]) -> Result<usize, EncodeError> {
        self.encode_added(text, Added::Ordinary, out)
    }

    /// Like [`encode`](Self::encode), but the content of a special token in the text becomes that
    /// token: the leftmost first, the longest where several start. For text that is trusted, such
    /// as a chat template.
    ///
    /// # Errors
    ///
    /// [`EncodeError`]; what `out` holds is then not specified.
    pub fn encode_with_specials(&self, text: &str, out: &mut [u32]) -> Result<usize, EncodeError> {
        self.encode_added(text, Added::All, out)
    }

    /// Like [`encode`](Self::encode) for a text between two added tokens: none is looked for.
    ///
    /// # Errors
    ///
    /// [`EncodeError`]; what `out` holds is then not specified.
    pub fn encode_words(&self, text: &str, out: &mut [u32]) -> Result<usize, EncodeError> {
        self.append_words(text, Cell::from_mut(out).as_slice_of_cells(), 0)
    }

    /// Merges the bytes of one word, whether or not it is to be taken whole; for writers, which
    /// list those words that merging does not give. `out` as for [`encode`](Self::encode).
    ///
    /// # Errors
    ///
    /// [`EncodeError`]; what `out` holds is then not specified.
    pub fn merge_bytes<'o>(
        &self,
        word: &[u8],
        out: &'o mut [u32],
    ) -> Result<&'o [u32], EncodeError> {
        let cells = Cell::from_mut(&mut *out).as_slice_of_cells();
        let count = self.append_merged(word.iter().copied(), word.len(), cells, 0)?;
        Ok(out.get(..count).unwrap_or_default())
    }

    fn encode_added(
        &self,
        text: &str,
        which: Added,
        out: &mut [u32],
    ) -> Result<usize, EncodeError> {
        let out = Cell::from_mut(out).as_slice_of_cells();
        let mut used = 0;
        let mut rest = text;
        while let Some((before, id, after)) = self.next_added(rest, which) {
            used = self.append_words(before, out, used)?;
            used = append(id, out, used)?;
            rest = after;
        }
        self.append_words(rest, out, used)
    }

    /// Appends the tokens of `text` to the `used` first entries of `out`.
    fn append_words(
        &self,
        text: &str,
        out: &[Cell<u32>],
        mut used: usize,
    ) -> Result<usize, EncodeError> {
        for word in Words::new(text, self.pre_tokenizer, self.add_prefix_space()) {
            used = match self.whole_word(word) {
                Some(id) => append(id, out, used)?,
                None => self.append_merged(word.bytes(), word.byte_len(), out, used)?,
            };
        }
        Ok(used)
    }

    /// Appends what merging makes of the bytes of a word.
    fn append_merged(
        &self,
        word: impl Iterator<Item = u8>,
        length: usize,
        out: &[Cell<u32>],
        used: usize,
    ) -> Result<usize, EncodeError> {
        let needed = used.saturating_add(length);
        let room = out.get(used..).ok_or(full(needed, out))?;
        let (ids, ranks) = room.split_at_checked(length).ok_or(full(needed, out))?;
        for (slot, byte) in ids.iter().zip(word) {
            slot.set(self.byte_token(byte).ok_or(EncodeError::NoByteToken { byte })?);
        }
        Ok(used + Pairs { tokenizer: self, ids, ranks }.merge_all())
    }
}

/// Appends a token to the `used` first entries of `out`.
fn append(id: u32, out: &[Cell<u32>], used: usize) -> Result<usize, EncodeError> {
    let needed = used.saturating_add(1);
    out.get(used).ok_or(full(needed, out))?.set(id);
    Ok(needed)
}

fn full(needed: usize, out: &[Cell<u32>]) -> EncodeError {
    EncodeError::Full { needed, capacity: out.len() }
}

/// The merge that is due.
#[derive(Clone, Copy)]
struct Best {
    at: usize,
    rank: u32,
    left: u32,
    right: u32,
    id: u32,
}

/// A word while it is merged. Cells, because reading runs ahead of writing in the same slice.
struct Pairs<'p> {
    tokenizer: &'p Tokenizer<'p>,
    ids: &'p [Cell<u32>],
    /// The rank of each pair by the place of its left token, as far as there is room for them;
    /// those beyond are looked up each time.
    ranks: &'p [Cell<u32>],
}

impl Pairs<'_> {
    /// Merges until nothing merges; returns the number of tokens left.
    fn merge_all(&self) -> usize {
        let mut length = self.ids.len();
        for (at, slot) in self.ranks.iter().enumerate().take(length.saturating_sub(1)) {
            slot.set(self.look_up(self.id(at, length), self.id(at + 1, length)));
        }
        while let Some(best) = self.best(length) {
            length = self.merge(best, length);
        }
        length
    }

    /// The leftmost pair of the lowest rank among the first `length` tokens.
    fn best(&self, length: usize) -> Option<Best> {
        let (mut rank, mut at) = (NO_RANK, 0);
        for place in 0..length.saturating_sub(1) {
            let found = self.rank(place, length);
            if found < rank {
                (rank, at) = (found, place);
            }
        }
        let (left, right) = (self.id(at, length)?, self.id(at + 1, length)?);
        let (rank, id) = self.tokenizer.merge(left, right)?;
        Some(Best { at, rank, left, right, id })
    }

    /// Merges the occurrences of a pair from `best.at` on and closes the gaps; returns the new
    /// length.
    ///
    /// When a merge makes a pair of lower rank (two merges with the same result can do that), the
    /// other occurrences wait: that pair is due before them.
    fn merge(&self, best: Best, length: usize) -> usize {
        let (mut from, mut to) = (best.at, best.at);
        let mut merging = true;
        while let Some(id) = self.id(from, length) {
            if merging && id == best.left && self.id(from + 1, length) == Some(best.right) {
                from += 2;
                self.set(to, best.id);
                let merged = Some(best.id);
                let before = to.checked_sub(1).map_or(NO_RANK, |left| {
                    self.note(left, self.look_up(self.id(left, length), merged))
                });
                let after = self.note(to, self.look_up(merged, self.id(from, length)));
                merging = before >= best.rank && after >= best.rank;
            } else {
                // The rank first: without room for it, it comes from the ids.
                self.move_rank(from, to, length);
                self.set(to, id);
                from += 1;
            }
            to += 1;
        }
        to
    }

    /// The token at a place, if it is among the first `length`.
    fn id(&self, at: usize, length: usize) -> Option<u32> {
        self.ids.get(at).filter(|_| at < length).map(Cell::get)
    }

    fn set(&self, at: usize, id: u32) {
        if let Some(slot) = self.ids.get(at) {
            slot.set(id);
        }
    }

    /// The rank of the pair whose left token is at a place.
    fn rank(&self, at: usize, length: usize) -> u32 {
        match self.ranks.get(at) {
            Some(slot) => slot.get(),
            None => self.look_up(self.id(at, length), self.id(at + 1, length)),
        }
    }

    /// Keeps a rank, if there is room for it, and hands it back.
    fn note(&self, at: usize, rank: u32) -> u32 {
        if let Some(slot) = self.ranks.get(at) {
            slot.set(rank);
        }
        rank
    }

    fn move_rank(&self, from: usize, to: usize, length: usize) {
        if let Some(slot) = self.ranks.get(to) {
            slot.set(self.rank(from, length));
        }
    }

    #[inline(never)] // a binary search, asked for from several places
    fn look_up(&self, left: Option<u32>, right: Option<u32>) -> u32 {
        let merge = left.zip(right).and_then(|(left, right)| self.tokenizer.merge(left, right));
        merge.map_or(NO_RANK, |(rank, _)| rank)
    }
}
