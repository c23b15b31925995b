//! Avro's binary encoding, value by value. Every reader answers None where the bytes are not plainly what it reads.

/// What is left of a record.
pub struct Cursor<'a>(pub &'a [u8]);

impl<'a> Cursor<'a> {
    pub fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (found, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(found)
    }

    pub fn array<const SIZE: usize>(&mut self) -> Option<[u8; SIZE]> {
        let (found, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*found)
    }

    /// An int or a long: zigzag, seven bits a byte, the lowest first.
    pub fn integer(&mut self) -> Option<i64> {
        let mut bits = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            // Of the last byte only one bit has room.
            if shift == 63 && byte > 1 {
                return None;
            }
            bits |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some((bits >> 1) as i64 ^ -((bits & 1) as i64));
            }
        }
        None
    }

    /// A length or an index.
    pub fn size(&mut self) -> Option<usize> {
        usize::try_from(self.integer()?).ok()
    }
}
