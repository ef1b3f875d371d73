//! What to show, from the options and the environment.

use clap::ValueEnum;
use std::io::IsTerminal;

/// `--color`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set
    #[default]
    Auto,
    /// On a terminal, whatever `NO_COLOR` says. A pipe still gets plain lines
    Always,
    /// Never
    Never,
}

/// How a decode is shown. `unicode` says whether the reader understands UTF-8; if not, everything
/// outside ASCII is escaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// The canvas, redrawn in place.
    Live {
        /// Confidence as colour; otherwise new tokens are only inverted.
        color: bool,
        /// The terminal understands UTF-8.
        unicode: bool,
    },
    /// A line per step, with no escape sequences.
    Plain {
        /// The reader understands UTF-8.
        unicode: bool,
    },
    /// Nothing.
    Silent,
}

impl Style {
    /// The style for standard output: live on a terminal, plain in a pipe, on a dumb terminal or
    /// with `--plain`, silent with `--json`.
    #[must_use]
    pub fn choose(plain: bool, json: bool, color: ColorChoice) -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        Self::from_environment(plain, json, color, std::io::stdout().is_terminal(), variable)
    }

    pub(super) fn from_environment(
        plain: bool,
        json: bool,
        color: ColorChoice,
        terminal: bool,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Self {
        if json {
            return Self::Silent;
        }
        let variable = |name: &str| variable(name).filter(|value| !value.is_empty());
        // A serial console or an editor's shell says "dumb", or nothing at all.
        let dumb = variable("TERM").map_or(!cfg!(windows), |term| term == "dumb");
        let unicode = utf8_locale(&variable);
        if plain || !terminal || dumb {
            // Whoever reads a pipe decides about the encoding; text is UTF-8 unless told otherwise.
            return Self::Plain { unicode: unicode || !terminal };
        }
        let color = match color {
            ColorChoice::Auto => variable("NO_COLOR").is_none(),
            ColorChoice::Always => true,
            ColorChoice::Never => false,
        };
        Self::Live { color, unicode }
    }

    pub(super) fn unicode(self) -> bool {
        match self {
            Self::Live { unicode, .. } | Self::Plain { unicode } => unicode,
            Self::Silent => false,
        }
    }
}

/// The first of these that is set decides, as in C's `setlocale`.
fn utf8_locale(variable: &impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable);
    match locale {
        Some(locale) => {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        }
        // These two are UTF-8 without being told.
        None => cfg!(any(windows, target_os = "macos")),
    }
}
