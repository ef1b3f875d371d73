//! The text side of a model: vocabulary, what stands around a prompt, chat template, end tokens.

use super::LoadError;
use crate::chat::{ChatError, ChatTemplate, Message, Role};
use crate::prompt::{self, Prompt};
use crate::read::folder::HfFolder;
use crate::read::gguf::GgufModel;
use crate::read::tokenizer_json;
use demask::ModelImage;
use demask::image::ModelConfig;
use demask::text::Tokenizer;
use demask_quant::tokenizer::TokenizerData;
use std::path::Path;

/// What a model brings for text.
#[derive(Debug, Default)]
pub(super) struct TextSide {
    /// TOKENIZER section, unless it is the image's.
    pub(super) section: Option<Vec<u8>>,
    pub(super) prompt: Prompt,
    /// A template that fails is no reason not to open the model.
    pub(super) template: Option<Result<ChatTemplate, ChatError>>,
    /// End tokens beside the configuration's.
    pub(super) stop_ids: Vec<u32>,
}

impl TextSide {
    pub(super) fn of_image(image: &ModelImage<'_>) -> Self {
        Self { prompt: prompt::from_image(image.prompt()), ..Self::default() }
    }

    pub(super) fn of_folder(folder: &HfFolder, path: &Path) -> Result<Self, LoadError> {
        let config = folder.config();
        let tokenizer = tokenizer_json::read_folder(path)
            .map_err(|source| LoadError::TokenizerJson { path: path.to_owned(), source })?;
        let template = ChatTemplate::from_folder(path).transpose();
        Self::new(&config.model, tokenizer, template, &config.generation.eos_ids)
    }

    pub(super) fn of_gguf(model: &GgufModel) -> Result<Self, LoadError> {
        let Some(vocab) = model.vocab()? else { return Ok(Self::default()) };
        let template = ChatTemplate::from_gguf(&vocab).transpose();
        let stop_ids: Vec<u32> = vocab.eot.into_iter().collect();
        Self::new(model.config(), Some(vocab.tokenizer()?), template, &stop_ids)
    }

    fn new(
        config: &ModelConfig,
        tokenizer: Option<TokenizerData>,
        template: Option<Result<ChatTemplate, ChatError>>,
        stop_ids: &[u32],
    ) -> Result<Self, LoadError> {
        let Some(data) = tokenizer else { return Ok(Self::default()) };
        let section = data.to_section()?;
        let tokenizer = Tokenizer::parse(&section).map_err(LoadError::Tokenizer)?;
        let (tokens, model) = (tokenizer.vocab_len(), config.vocab_size);
        if tokens > model {
            return Err(LoadError::Vocabulary { tokenizer: tokens, model });
        }
        let framed = prompt::from_tokenizer(&data, &tokenizer);
        let of_template = template.as_ref().and_then(|t| single_turn(t.as_ref().ok()?, &tokenizer));
        let prompt = if framed.normal_form { framed } else { of_template.unwrap_or(framed) };
        let other = |id: &&u32| **id != config.eos_id && **id < model;
        let stop_ids = stop_ids.iter().filter(other).copied().collect();
        Ok(Self { section: Some(section), prompt, template, stop_ids })
    }
}

/// What a template puts around a single message, as ids, so that an image can hold it. `None` for a
/// template that changes the message itself.
fn single_turn(template: &ChatTemplate, tokenizer: &Tokenizer<'_>) -> Option<Prompt> {
    // Not a word that a template would look for, or trim.
    const PROBE: &str = "\u{2}probe\u{3}";
    let text = template.render(&[Message::new(Role::User, PROBE)], true).ok()?;
    let (before, after) = text.split_once(PROBE)?;
    if after.contains(PROBE) {
        return None;
    }
    let ids = |text| prompt::ids_with_specials(tokenizer, text).ok();
    let (prefix, suffix) = (ids(before)?, ids(after)?);
    let fits = prefix.len() <= MAX_AROUND && suffix.len() <= MAX_AROUND;
    fits.then(|| Prompt { prefix, suffix, ..Prompt::default() })
}

/// Most ids that an image holds before or after a prompt.
const MAX_AROUND: usize = 64;
