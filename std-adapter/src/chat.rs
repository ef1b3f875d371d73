//! Chat templates: from messages to the text that a model was trained on.
//!
//! A template is a program in Jinja that came with the model, so it is run as a stranger's: fuel
//! bounds the time and the memory that it takes. It gets what `transformers` gives it: the
//! messages, the special tokens by name, `raise_exception`, `strftime_now`, and Python's string
//! methods. Blocks are trimmed as there.
//!
//! The text is encoded with its special tokens spelled out
//! ([`ids_with_specials`](crate::prompt::ids_with_specials)); it brings its own begin token.
//!
//! Source: `transformers`, `utils/chat_template_utils.py`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, ErrorKind, Value, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::Value as Json;

use crate::read::gguf::GgufVocab;
use crate::read::read_capped;

mod functions;

/// Name of the template in messages of the template engine.
const NAME: &str = "chat_template";
/// The longest templates in use (with tools) take 20 kB.
const MAX_TEMPLATE_BYTES: usize = 1 << 20;
/// Longest tokenizer_config.json; with thousands of added tokens they take 1 MB.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// Enough for a million instructions, or 64 MB of text that is made on the way.
const BASE_FUEL: u64 = 1 << 20;
/// More of it for each byte of the messages: a template passes over them several times.
const FUEL_PER_BYTE: u64 = 16;

/// Who says a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What the model is told beforehand.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name that templates know.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message.
    #[must_use]
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }

    /// As templates see it.
    fn value(&self) -> Value {
        Value::from_pairs([("role", self.role.name()), ("content", &self.content)])
    }
}

/// Why there is no text for messages.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file that is not what its name says.
    #[error("{} is not usable: {reason}; download it again", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The template is longer than any in use.
    #[error(
        "the chat template is {0} bytes long; templates of up to {MAX_TEMPLATE_BYTES} are read"
    )]
    TooLong(usize),
    /// The template is not valid, or does something that is not supported.
    #[error(
        "the chat template fails in line {line}, `{source_line}`: {reason}; give the prompt as text \
         instead"
    )]
    Template {
        /// Line of the template, from 1.
        line: usize,
        /// What stands there.
        source_line: String,
        /// What went wrong.
        reason: String,
    },
    /// The template refuses the messages, with `raise_exception`.
    #[error("the chat template refuses these messages: {0}")]
    Refused(String),
    /// The template does not come to an end.
    #[error("the chat template takes more time or memory than any honest one; do not use it")]
    Endless,
}

/// A template, ready to be given messages.
#[derive(Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    /// Text of special tokens by the name that templates use, such as `bos_token`.
    specials: BTreeMap<String, String>,
}

impl ChatTemplate {
    /// Compiles a template. `specials` are texts of special tokens, by names such as `bos_token`.
    ///
    /// ```
    /// use demask_std::chat::{ChatTemplate, Message, Role};
    ///
    /// let source = "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}";
    /// let template = ChatTemplate::parse(source, [("bos_token", "<s>")])?;
    /// let text = template.render(&[Message::new(Role::User, "hello")], true)?;
    /// assert_eq!(text, "<s>user: hello\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ChatError`] with the line of the template.
    pub fn parse<N: Into<String>, T: Into<String>>(
        source: &str,
        specials: impl IntoIterator<Item = (N, T)>,
    ) -> Result<Self, ChatError> {
        if source.len() > MAX_TEMPLATE_BYTES {
            return Err(ChatError::TooLong(source.len()));
        }
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|error| problem(source, &error))?);
        environment.set_unknown_method_callback(unknown_method_callback);
        functions::add_to(&mut environment);
        environment
            .add_template_owned(NAME, source.to_owned())
            .map_err(|error| problem(source, &error))?;
        let specials = specials.into_iter().map(|(name, text)| (name.into(), text.into()));
        Ok(Self { environment, specials: specials.collect() })
    }

    /// The template of a Hugging Face folder: `chat_template.jinja`, or else the one in
    /// `tokenizer_config.json` (of several, the one named `default`). `None` if there is none.
    ///
    /// # Errors
    /// [`ChatError`].
    pub fn from_folder(folder: &Path) -> Result<Option<Self>, ChatError> {
        let path = folder.join("tokenizer_config.json");
        let config: Json = match read_optional(&path, MAX_CONFIG_BYTES)? {
            Some(text) => serde_json::from_slice(&text)
                .map_err(|error| ChatError::File { path, reason: error.to_string() })?,
            None => Json::Null,
        };
        let path = folder.join("chat_template.jinja");
        let source = match read_optional(&path, MAX_TEMPLATE_BYTES as u64)? {
            Some(text) => Some(
                String::from_utf8(text)
                    .map_err(|_| ChatError::File { path, reason: "it is not UTF-8".into() })?,
            ),
            None => template_in(&config["chat_template"]).map(str::to_owned),
        };
        source.map(|source| Self::parse(&source, special_texts(&config))).transpose()
    }

    /// The template of a GGUF file. `None` if there is none.
    ///
    /// # Errors
    /// [`ChatError`].
    pub fn from_gguf(vocab: &GgufVocab<'_>) -> Result<Option<Self>, ChatError> {
        let named = [
            ("bos_token", vocab.bos),
            ("eos_token", vocab.eos),
            ("pad_token", vocab.pad),
            ("mask_token", vocab.mask),
        ];
        let text = |id: u32| vocab.tokens.get(id as usize).copied();
        let specials = named.into_iter().filter_map(|(name, id)| Some((name, text(id?)?)));
        vocab.chat_template.map(|source| Self::parse(source, specials)).transpose()
    }

    /// The text for messages; `add_generation_prompt` appends the start of an answer.
    ///
    /// # Errors
    /// [`ChatError`].
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, ChatError> {
        let bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        let fuel = BASE_FUEL.saturating_add(FUEL_PER_BYTE.saturating_mul(bytes as u64));
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(fuel));
        let template = environment.get_template(NAME).map_err(|error| problem("", &error))?;
        // Templates ask for tools and documents whether or not there are any.
        let values = context! {
            messages => messages.iter().map(Message::value).collect::<Vec<_>>(),
            add_generation_prompt,
            tools => (),
            documents => (),
            ..Value::from_pairs(self.specials.iter().map(|(name, text)| (name.as_str(), text.as_str())))
        };
        template.render(values).map_err(|error| problem(template.source(), &error))
    }
}

/// A file, `None` if it does not exist.
fn read_optional(path: &Path, cap: u64) -> Result<Option<Vec<u8>>, ChatError> {
    match read_capped(path, cap) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ChatError::Io { path: path.to_owned(), source }),
    }
}

/// One template, or the default one of several.
fn template_in(value: &Json) -> Option<&str> {
    let named = value.as_array().into_iter().flatten();
    let default = named.into_iter().find(|entry| entry["name"] == "default");
    value.as_str().or_else(|| default?["template"].as_str())
}

/// The special tokens of a tokenizer_config.json: text, or an object around it.
fn special_texts(config: &Json) -> Vec<(String, String)> {
    let fields = config.as_object().into_iter().flatten();
    let tokens = fields.filter(|(name, _)| name.ends_with("_token"));
    tokens
        .filter_map(|(name, value)| {
            let text = value.as_str().or_else(|| value["content"].as_str())?;
            Some((name.clone(), text.to_owned()))
        })
        .collect()
}

/// An error of the template engine, with the line of the template.
fn problem(source: &str, error: &minijinja::Error) -> ChatError {
    if error.kind() == ErrorKind::OutOfFuel {
        return ChatError::Endless;
    }
    if let Some(reason) = functions::refusal(error) {
        return ChatError::Refused(reason);
    }
    let line = error.line().unwrap_or(1);
    let source_line = source.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim();
    let reason = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    ChatError::Template { line, source_line: crate::read::shortened(source_line), reason }
}

#[cfg(test)]
#[path = "chat_tests.rs"]
mod tests;
