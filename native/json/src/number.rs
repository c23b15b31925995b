//! Numbers as JSON writes them, rounded once.

use crate::cursor::Cursor;

/// A number as it was written: what has neither a fraction nor an exponent is whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Whole(i64),
    Real(f64),
}

impl Number {
    pub fn real(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Real(number) => number,
        }
    }
}

/// Digits of which every sequence fits 63 bits.
const WHOLE_DIGITS: usize = 18;

/// Up to here every integer is a double, and so is every power of ten below: one division or product of the two rounds
/// once, which is all that reading a decimal may do (Clinger, "How to read floating point numbers accurately", 1990).
const EXACT: u64 = 1 << 53;
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

const TENS: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// Decimal digits read so far, as a number.
#[derive(Default)]
struct Digits {
    number: u64,
    count: usize,
}

impl Digits {
    /// As `read`, eight at once, which pays where there are several.
    fn read_many(&mut self, cursor: &mut Cursor<'_>) {
        while let Some(bytes) = cursor.next_eight() {
            let (number, count) = leading(bytes);
            self.number = self.number.wrapping_mul(TENS[count]).wrapping_add(number);
            self.count += count;
            cursor.pass(count);
            if count < 8 {
                return;
            }
        }
        self.read(cursor);
    }

    /// Reads digits as long as there are any. Beyond `WHOLE_DIGITS` the number is wrong, and `count` tells.
    fn read(&mut self, cursor: &mut Cursor<'_>) {
        while let Some(digit) = cursor.next_if(|byte| byte.is_ascii_digit()) {
            self.number = self.number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.count += 1;
        }
    }
}

/// The digits with which eight bytes begin, as a number, and how many they are: all at once, without a branch for each.
fn leading(bytes: [u8; 8]) -> (u64, usize) {
    let digits = u64::from_le_bytes(bytes) ^ 0x3030_3030_3030_3030;
    // The first byte that is no digit is found, whatever carries into those behind it.
    let others = (digits.wrapping_add(0x7676_7676_7676_7676) | digits) & 0x8080_8080_8080_8080;
    let count = others.trailing_zeros() / 8;
    let digits = digits.checked_shl(64 - 8 * count).unwrap_or(0);
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8);
    let upper = (pairs & 0xFF_0000_00FF).wrapping_mul(100 + (1_000_000 << 32));
    let lower = (pairs >> 16 & 0xFF_0000_00FF).wrapping_mul(1 + (10_000 << 32));
    (upper.wrapping_add(lower) >> 32, count as usize)
}

impl Cursor<'_> {
    /// The number here; None for what is none, or is beyond a double.
    pub fn number(&mut self) -> Option<Number> {
        let start = self.at();
        let is_negative = self.passes_here(b'-') == 1;
        let mut digits = Digits::default();
        let first = self.peek();
        digits.read(self);
        if digits.count == 0 || (first == Some(b'0') && digits.count > 1) {
            return None;
        }
        let whole = digits.count;
        if self.next_if(|byte| byte == b'.').is_some() {
            digits.read_many(self);
            if digits.count == whole {
                return None;
            }
        }
        let exponent = self.exponent()?;
        let fraction = digits.count - whole;
        if exponent.is_none() && fraction == 0 && whole <= WHOLE_DIGITS {
            let number = digits.number as i64;
            return Some(Number::Whole(if is_negative { -number } else { number }));
        }
        let power = exponent.unwrap_or(0) - fraction as i64;
        let size = if digits.count <= WHOLE_DIGITS { exactly(digits.number, power) } else { None };
        let real = match size {
            Some(size) => size * [1.0, -1.0][usize::from(is_negative)],
            None => std::str::from_utf8(self.since(start)).ok()?.parse().ok()?,
        };
        real.is_finite().then_some(Number::Real(real))
    }

    /// The exponent here, if there is one; None at the outside for half of one, or one that no number needs.
    fn exponent(&mut self) -> Option<Option<i64>> {
        if self.next_if(|byte| matches!(byte, b'e' | b'E')).is_none() {
            return Some(None);
        }
        let sign = self.next_if(|byte| matches!(byte, b'+' | b'-'));
        let mut digits = Digits::default();
        digits.read(self);
        if digits.count == 0 || digits.count > WHOLE_DIGITS {
            return None;
        }
        let size = digits.number as i64;
        Some(Some(if sign == Some(b'-') { -size } else { size }))
    }
}

/// `digits` times ten to the power, where that takes only one rounding.
fn exactly(digits: u64, power: i64) -> Option<f64> {
    let factor = *POWERS.get(usize::try_from(power.unsigned_abs()).ok()?)?;
    (digits <= EXACT).then(|| if power < 0 { digits as f64 / factor } else { digits as f64 * factor })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::leading;

    proptest! {
        #[test]
        fn leading_digits_are_read_whatever_follows(count in 0..=8usize, mut bytes in any::<[u8; 8]>()) {
            bytes[..count].iter_mut().for_each(|byte| *byte = b'0' + *byte % 10);
            let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit());
            let expected = digits.fold((0, 0), |(number, count), byte| (10 * number + u64::from(byte - b'0'), count + 1));
            prop_assert_eq!(leading(bytes), expected);
        }
    }
}
