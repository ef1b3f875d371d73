//! Differences in words, with what to do about them.

use super::{Change, Difference, Finding};

/// Names a token, for readers.
type Name<'a> = &'a dyn Fn(u32) -> String;

const DAMAGED: &str = "; but a later checksum agrees, and it covers this as well: characters of the log \
                       were lost or changed on their way (baud rate, a full RTT buffer)";
const INPUT: &str = "other prompt ids (prefix, suffix, leading space, normal form), or other options than \
                     those of the line `method:`?";
const FLOATS: &str = "another image (repacked for another processor is fine), another engine version, or \
                      compiler flags and FPU modes such as fast-math and flush-to-zero?";
const STATE: &str = "prompt, image and compiler flags have served until then: is memory overwritten \
                     (stack, DMA), are FPU registers saved in interrupts and by the RTOS, is a kernel not \
                     exact (run `demask::kernels::check::all`)?";

impl Finding {
    /// One sentence, and what to look at. `name` writes a token's id with its text.
    #[must_use]
    pub fn sentence(&self, name: Name<'_>) -> String {
        let what = self.difference.what(name);
        match self.in_transit {
            true => format!("{what}{DAMAGED}"),
            false => format!("{what}{}", self.difference.advice()),
        }
    }
}

impl Difference {
    fn what(&self, name: Name<'_>) -> String {
        match self {
            Self::NoAnswer { lines, complaint } => {
                let said = said(complaint, "; it says");
                format!("the log has no answer in its {lines} lines{said}")
            }
            Self::Image { layout, device, host } => format!(
                "the device has another image: its digest is {device}, and that of this one, packed as \
                 {layout}, is {host}"
            ),
            Self::Layout { layout } => {
                format!("the device's image is packed as {layout:?}, which is not known here")
            }
            Self::OtherPrompt { device, host } => {
                format!("the log has no answer to {host:?}; it has one to {device:?}")
            }
            Self::NoPrompt => "the log does not say to which prompt this is the answer".into(),
            Self::Refused { reason } => {
                format!("the prompt or the method of the log cannot be used here: {reason}")
            }
            Self::Decision { step, position, device, host } => format!(
                "step {step} is the first that differs: at position {position} the device {}, and this \
                 computer {}",
                done(*device, name),
                done(*host, name),
            ),
            Self::Order { step } => format!(
                "step {step} commits the same tokens in another order on the device, so their \
                 confidences differ"
            ),
            Self::Arithmetic { step } => format!(
                "the tokens agree up to step {step} but the checksum differs after step {step}: the \
                 arithmetic differs"
            ),
            Self::MissingStep { step } => {
                format!("the line of step {step} is missing or damaged, and other steps are there")
            }
            Self::Token { index, position, device, host } => format!(
                "token {index} of the answer (position {position}) is {} on the device and {} here",
                there(*device, name),
                there(*host, name),
            ),
            Self::Steps { device, host } => {
                format!("the device took {device} steps and this computer takes {host}")
            }
            Self::Checksum { device, host, tokens_agree: true } => format!(
                "the tokens agree but the checksum is {device} on the device and {host} here: the \
                 arithmetic differs"
            ),
            Self::Checksum { device, host, tokens_agree: false } => {
                format!("the checksum is {device} on the device and {host} here")
            }
            Self::Text { device, host } => format!(
                "tokens and checksum agree but the text is {device:?} on the device and {host:?} here"
            ),
            Self::CutOff { steps, of, complaint } => {
                let after = match steps {
                    0 => String::new(),
                    _ => format!(" after {steps} of {of} steps, which agree"),
                };
                let said = said(complaint, "; it says");
                format!("the answer is cut off{after}: it has no line `checksum:`{said}")
            }
            Self::Unreadable { record } => {
                format!("the line `{}:` cannot be read", record.name())
            }
        }
    }

    /// With the punctuation before it.
    fn advice(&self) -> String {
        match self {
            Self::NoAnswer { .. } => "; is it what the device printed? Firmware prints at least \
                                      `checksum: ` and 16 digits behind an answer (docs/porting.md)"
                .into(),
            Self::Image { .. } => "; give the image that the firmware was built with, or build it \
                                   with this one (DEMASK_IMAGE for the demo)"
                .into(),
            Self::Layout { .. } => {
                "; use the `demask` of the version that the firmware was built with".into()
            }
            Self::OtherPrompt { .. } => "; leave --prompt out to compare what is there".into(),
            Self::NoPrompt => {
                "; say it with --prompt, and the options with which the device decoded".into()
            }
            Self::Refused { .. } => {
                "; is the firmware of another version, or the image another one?".into()
            }
            Self::Decision { step: 0, .. } => format!("; {INPUT} Or {FLOATS}"),
            Self::Decision { .. } => format!(
                "; all before it agrees, scores included: other options than those of the line \
                 `method:`? Else {STATE}"
            ),
            Self::Order { step: 0 } | Self::Arithmetic { step: 0 } => {
                format!(" ({FLOATS} {INPUT})")
            }
            Self::Order { .. } | Self::Arithmetic { .. } => format!(" ({STATE} {FLOATS})"),
            Self::MissingStep { .. } => {
                "; print slower, or enlarge the buffer (RTT drops what is not \
                                         fetched in time, unless it blocks)"
                    .into()
            }
            Self::Token { .. } | Self::Steps { .. } => {
                format!(
                    "; {INPUT} Firmware built with the feature `trace` shows at which step it begins"
                )
            }
            Self::Checksum { tokens_agree: true, .. } => format!(
                " ({FLOATS}); firmware built with the feature `trace` shows at which step it begins"
            ),
            Self::Checksum { .. } => format!(
                "; {INPUT} Or {FLOATS} Let it print the tokens too, or a line for each step"
            ),
            Self::Text { .. } => {
                "; does the log keep UTF-8, and is the text printed in one line?".into()
            }
            Self::CutOff { .. } => {
                "; did the device crash (stack too small: paint it and look), or was \
                                    the log stopped too early?"
                    .into()
            }
            Self::Unreadable { .. } => {
                "; were characters lost (baud rate, a full RTT buffer)?".into()
            }
        }
    }
}

/// A quoted line behind `before`.
fn said(line: &Option<String>, before: &str) -> String {
    line.as_ref().map_or(String::new(), |line| format!("{before} {line:?}"))
}

fn done(change: Option<Change>, name: Name<'_>) -> String {
    match change {
        None => "leaves things as they are".into(),
        Some(Change::Committed(token)) => format!("commits {}", name(token)),
        Some(Change::TakenBack) => "takes the token back".into(),
        Some(Change::Replaced(token)) => format!("puts {} in place of another token", name(token)),
    }
}

fn there(token: Option<u32>, name: Name<'_>) -> String {
    token.map_or("missing (its answer has ended)".into(), name)
}
