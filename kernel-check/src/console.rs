//! Formatted text to the machine's console.

use core::fmt;

pub(crate) struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        crate::board::write(text.as_bytes());
        Ok(())
    }
}

macro_rules! print {
    ($($arguments:tt)*) => {{
        use core::fmt::Write as _;
        // The console takes everything; an error could only come from a value's own formatting.
        let _ = write!($crate::console::Console, $($arguments)*);
    }};
}
pub(crate) use print;
