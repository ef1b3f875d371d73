//! Builds tokenizer sections.

/// What goes into a section, before it is put in order.
#[derive(Clone)]
pub struct Fixture {
    pub pre_tokenizer: u32,
    pub flags: u32,
    pub byte_tokens: Vec<u32>,
    pub pieces: Vec<Vec<u8>>,
    /// left, right, id; the rank is the place
    pub merges: Vec<(u32, u32, u32)>,
    pub added: Vec<u32>,
    pub whole_words: Vec<u32>,
}

impl Fixture {
    /// Only the 256 bytes, each with itself as id.
    pub fn all_bytes() -> Self {
        Self {
            pre_tokenizer: 1,
            flags: 0,
            byte_tokens: (0..256).collect(),
            pieces: (0..=255).map(|byte| vec![byte]).collect(),
            merges: Vec::new(),
            added: Vec::new(),
            whole_words: Vec::new(),
        }
    }

    /// Up to `merges` merges that start from three letters.
    pub fn random(random: &mut Lcg, merges: usize) -> Self {
        let mut fixture = Self::all_bytes();
        let mut known: Vec<u32> = (97..100).collect();
        for _ in 0..merges {
            let (left, right) =
                (known[random.below(known.len())], known[random.below(known.len())]);
            let id = fixture.merge(left, right);
            if !known.contains(&id) {
                known.push(id);
            }
        }
        fixture
    }

    /// Adds a merge, unless the pair has one; returns the id of its result.
    pub fn merge(&mut self, left: u32, right: u32) -> u32 {
        let whole = [&self.pieces[left as usize][..], &self.pieces[right as usize]].concat();
        let id = self.pieces.iter().position(|piece| *piece == whole).unwrap_or_else(|| {
            self.pieces.push(whole);
            self.pieces.len() - 1
        }) as u32;
        if !self.merges.iter().any(|merge| (merge.0, merge.1) == (left, right)) {
            self.merges.push((left, right, id));
        }
        id
    }

    /// Adds a special token.
    pub fn special(&mut self, content: &str) -> u32 {
        self.pieces.push(content.as_bytes().to_vec());
        self.added.push(self.pieces.len() as u32 - 1);
        self.pieces.len() as u32 - 1
    }

    /// The bytes, as the format describes them.
    pub fn section(&self) -> Vec<u8> {
        let blob = self.pieces.concat();
        let mut words: Vec<u32> = vec![
            1,
            self.pre_tokenizer,
            self.flags,
            self.pieces.len() as u32,
            self.merges.len() as u32,
            self.added.len() as u32,
            blob.len() as u32,
            self.whole_words.len() as u32,
        ];
        words.extend(&self.byte_tokens);
        let mut end = 0;
        words.push(end);
        for piece in &self.pieces {
            end += piece.len() as u32;
            words.push(end);
        }
        let mut merges: Vec<[u32; 4]> = self
            .merges
            .iter()
            .zip(0..)
            .map(|(&(left, right, id), rank)| [left, right, rank, id])
            .collect();
        merges.sort_unstable();
        words.extend(merges.as_flattened());
        words.extend(&self.added);
        words.extend(&self.whole_words);
        let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        bytes.extend(blob);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }
}

/// A fixed sequence of numbers.
pub struct Lcg(pub u64);

impl Lcg {
    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % limit
    }
}
