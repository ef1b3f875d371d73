//! Every policy, schedule, end rule and cache plan, by the name that users know, chosen at run time.
//!
//! Four tables hold one [`Entry`] per method: what it is called, what can be set, where it comes from,
//! and how it is made. To add one, add its entry to the table of its kind; the command line, the
//! listing of `demask policies`, the sweep and the tests take it from there.
//!
//! | module | what it holds |
//! |---|---|
//! | `policies`, `schedules`, `ends`, `plans` | the tables |
//! | `parameter` | what can be set of a method, and within which limits |
//! | `spec` | `localleap:anchor=0.9,window=4`, read and written |
//! | `pieces` | memory that methods keep between steps, with an owner |
//! | `choice` | the four parts of a decode together |
//! | `presets` | published settings per model family |
//!
//! Core's methods borrow their memory. On a host somebody must own it: [`Choice::memory`] counts and
//! allocates it, [`Choice::build`] makes the parts on it.
//!
//! ```
//! use demask_std::methods::{Choice, Setting};
//! let choice = Choice { policy: "threshold:p=0.8".parse()?, ..Choice::default() };
//! let setting = Setting::typical(96);
//! let mut memory = choice.memory(&setting)?;
//! let method = choice.build(&setting, &mut memory)?;
//! assert_eq!(demask::decode::CommitPolicy::name(&method.policy), "threshold");
//! # Ok::<(), demask_std::methods::MethodError>(())
//! ```

mod choice;
mod ends;
mod error;
mod parameter;
mod pieces;
mod plans;
mod policies;
pub mod presets;
mod schedules;
mod spec;
#[cfg(test)]
mod tests;

pub use choice::{AnyCache, AnyEos, AnyMethod, AnyPolicy, AnySchedule, Choice};
pub use error::MethodError;
pub use parameter::{Kind, Parameter, Value};
pub use pieces::{PartsMemory, Pieces};
pub use spec::Spec;

use bytemuck::{AnyBitPattern, NoUninit};
use demask::decode::{CommitFilter, Needs};
use parameter::Arguments;

/// One method as users know it.
pub struct Entry<K: Part> {
    /// What it is called; what the built part says it is called.
    pub name: &'static str,
    /// Other names that are understood.
    pub aliases: &'static [&'static str],
    /// What it does, in one sentence.
    pub rule: &'static str,
    /// Where it comes from: an arXiv number, or a name.
    pub source: &'static str,
    /// What can be set, in the order in which values without a name are taken.
    pub parameters: &'static [Parameter],
    /// It changes what another one decides: `prophet+threshold`. Alone it is put around the default.
    pub wraps: bool,
    /// The gain that its authors report.
    pub published: Option<Published>,
    /// Makes it.
    pub(crate) build: Build<K>,
}

/// Makes a part from its parameters and memory.
pub(crate) type Build<K> =
    for<'a, 'm> fn(&mut Making<'a, 'm, K>) -> Result<<K as Part>::Boxed<'m>, MethodError>;

/// A gain over the plain way of decoding that a paper or its code reports.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Published {
    /// So many times less.
    pub times: f64,
    /// Of what.
    pub of: Cost,
    /// On which model and task.
    pub on: &'static str,
}

/// A published gain, as tables write it.
const fn published(times: f64, of: Cost, on: &'static str) -> Option<Published> {
    Some(Published { times, of, on })
}

/// What a decode takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cost {
    /// Forward passes.
    Forwards,
    /// Rows through the network.
    Rows,
    /// Time.
    Seconds,
}

impl Cost {
    /// All, in the order of reports.
    pub const ALL: [Self; 3] = [Self::Forwards, Self::Rows, Self::Seconds];

    /// In words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Forwards => "forward passes",
            Self::Rows => "rows",
            Self::Seconds => "time",
        }
    }
}

/// A kind of method: policy, schedule, end rule or cache plan.
pub trait Part: Sized + Clone + std::fmt::Debug + PartialEq + Send + Sync + 'static {
    /// One that was made, on memory that lives for `'m`.
    type Boxed<'m>;

    /// In words.
    const KIND: &'static str;
    /// The option of the command line.
    const OPTION: &'static str;

    /// All of this kind; the first one is what a wrapper without another is put around.
    fn tables() -> &'static [&'static [Entry<Self>]];

    /// All of this kind, in the order of listings.
    fn entries() -> impl Iterator<Item = &'static Entry<Self>> + Clone {
        Self::tables().iter().copied().flatten()
    }

    /// The first of them: what decodes when nothing else is asked for.
    fn first() -> &'static Entry<Self> {
        &Self::tables()[0][0]
    }

    /// What it says of itself.
    fn facts(part: &Self::Boxed<'_>) -> Facts;
}

/// What a method says of itself, once it is made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// What it asks of model and session.
    pub needs: Needs,
    /// What a policy beside it may not ask for.
    pub forbids: Needs,
    /// For cache plans: whether every score is that of computing all rows.
    pub exact: Option<bool>,
    /// Whatever else is worth knowing.
    pub notes: Vec<&'static str>,
    /// Bytes of memory between steps whatever the canvas.
    pub fixed_bytes: usize,
    /// Bytes per position of the canvas besides.
    pub bytes_per_position: usize,
}

/// Commit policies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Policy;
/// Count schedules.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counts;
/// End rules.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct End;
/// Cache plans.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan;

/// What is known of a decode before it begins.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// Tokens that the canvas has room for.
    pub canvas: usize,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens to generate.
    pub length: usize,
    /// Tokens per block.
    pub block_length: usize,
    /// Ends a text.
    pub eos_id: u32,
    /// Other tokens that end one.
    pub stop_ids: &'a [u32],
    /// Key of random numbers.
    pub seed: u64,
    /// The network that has been trained for the model.
    pub filter: Option<CommitFilter<'a>>,
}

/// A filter of the published widths that knows nothing.
fn blank_filter() -> Option<CommitFilter<'static>> {
    static ZEROS: [f32; CommitFilter::count(32, 32)] = [0.0; CommitFilter::count(32, 32)];
    CommitFilter::new(32, 32, &ZEROS).ok()
}

impl Setting<'_> {
    /// A canvas in blocks of 32 and nothing special, for listings and tests.
    #[must_use]
    pub fn typical(canvas: usize) -> Self {
        Self {
            canvas,
            prompt: 0,
            length: canvas,
            block_length: 32,
            eos_id: 0,
            stop_ids: &[],
            seed: 0,
            filter: blank_filter(),
        }
    }
}

/// What a part is made of.
pub(crate) struct Making<'a, 'm, K: Part> {
    arguments: &'a Arguments,
    /// What is known of the decode.
    pub(crate) setting: &'a Setting<'a>,
    /// Where its memory comes from.
    pub(crate) memory: &'a mut Pieces<'m>,
    /// What it is put around.
    inner: Option<K::Boxed<'m>>,
}

impl<'m, K: Part> Making<'_, 'm, K> {
    /// A parameter that is a number.
    pub(crate) fn number(&self, name: &str) -> f32 {
        self.arguments.number(name)
    }

    /// A parameter that is a whole number.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.arguments.count(name)
    }

    /// A parameter that is a word.
    pub(crate) fn word(&self, name: &str) -> &str {
        self.arguments.word(name)
    }

    /// One zeroed element for every position of the canvas.
    pub(crate) fn per_position<T: AnyBitPattern + NoUninit>(
        &mut self,
    ) -> Result<&'m mut [T], MethodError> {
        self.memory.take(self.setting.canvas)
    }

    /// One bit for every position of the canvas.
    pub(crate) fn bits(&mut self) -> Result<&'m mut [u8], MethodError> {
        self.memory.take(self.setting.canvas.div_ceil(8))
    }

    /// What a wrapper is put around.
    pub(crate) fn inner(&mut self) -> Result<K::Boxed<'m>, MethodError> {
        self.inner.take().ok_or(MethodError::NothingInside)
    }
}

impl<K: Part> Entry<K> {
    /// Whether it is called that.
    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// What it says of itself with its published constants.
    ///
    /// # Errors
    /// [`MethodError`] if it cannot be made without more being said, such as the name of a file.
    pub fn facts(&'static self) -> Result<Facts, MethodError> {
        let spec = Spec::<K>::of(self);
        let sizes = [1024, 2048].map(|canvas| spec.memory_bytes(&Setting::typical(canvas)));
        let [small, large] = sizes;
        let (small, large) = (small?, large?);
        let bytes_per_position = large.saturating_sub(small) / 1024;
        let setting = Setting::typical(1024);
        let mut memory = PartsMemory::new(small);
        let part = spec.build(&setting, &mut memory.pieces())?;
        let fixed_bytes = small.saturating_sub(bytes_per_position * 1024);
        Ok(Facts { fixed_bytes, bytes_per_position, ..K::facts(&part) })
    }
}

impl<K: Part> std::fmt::Debug for Entry<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}
