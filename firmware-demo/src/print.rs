//! Text and numbers without `core::fmt`, which would bring several KiB of code and panic paths.
//! Nothing here is worth inlining: flash is scarcer than printing time.

/// The powers of ten that fit 64 bits, largest first.
const POWERS: [u64; 20] = {
    let mut powers = [1; 20];
    let mut place = powers.len() - 1;
    while place > 0 {
        powers[place - 1] = powers[place] * 10;
        place -= 1;
    }
    powers
};

/// Something that takes bytes: a UART, a debugger, a test's buffer.
pub trait Console {
    /// Writes all bytes, or drops what the device does not take.
    fn write(&mut self, bytes: &[u8]);

    /// Writes a text as it is.
    fn text(&mut self, text: &str) {
        self.write(text.as_bytes());
    }

    /// Writes a text with spaces for line breaks and other control characters, so that it stays on
    /// its line.
    #[inline(never)]
    fn one_line(&mut self, text: &str) {
        let mut space: &[u8] = b"";
        for part in text.as_bytes().split(|byte| *byte < b' ') {
            self.write(space);
            self.write(part);
            space = b" ";
        }
    }

    /// Writes a number in decimal, digit by digit from the left: 64-bit division would bring a
    /// kilobyte of code.
    #[inline(never)]
    fn number(&mut self, value: u64) {
        let mut digits = [b'0'; POWERS.len()];
        let mut rest = value;
        for (digit, power) in digits.iter_mut().zip(POWERS) {
            while rest >= power {
                rest -= power;
                *digit += 1;
            }
        }
        let zeros = digits.iter().take_while(|&&digit| digit == b'0').count();
        self.write(digits.get(zeros.min(POWERS.len() - 1)..).unwrap_or_default());
    }

    /// Writes a number as 16 hexadecimal digits.
    #[inline(never)]
    fn hex(&mut self, value: u64) {
        let mut digits = [0; 16];
        for (place, digit) in digits.iter_mut().rev().enumerate() {
            let nibble = (value >> (4 * place)) as u8 & 15;
            *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        }
        self.write(&digits);
    }

    /// Writes `name: ` and a number on a line of its own.
    #[inline(never)]
    fn field(&mut self, name: &str, value: u64) {
        self.text(name);
        self.text(": ");
        self.number(value);
        self.text("\n");
    }
}

#[cfg(test)]
mod tests {
    use super::Console;
    use std::vec::Vec;

    impl Console for Vec<u8> {
        fn write(&mut self, bytes: &[u8]) {
            self.extend_from_slice(bytes);
        }
    }

    #[test]
    fn a_text_stays_on_its_line() {
        for (text, line) in [("", ""), ("as it is", "as it is"), ("\na\r\nb\t", " a  b ")] {
            let mut out = Vec::new();
            out.one_line(text);
            assert_eq!(out, line.as_bytes());
        }
    }

    #[test]
    fn numbers_agree_with_core_fmt() {
        for value in [0, 1, 9, 10, 99, 100, 4_294_967_296, u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            out.number(value);
            out.text(" ");
            out.hex(value);
            assert_eq!(out, std::format!("{value} {value:016x}").into_bytes());
        }
    }
}
