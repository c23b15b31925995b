//! Columns to texts: what all rows share in pieces, and what differs between each two of them.

/// What is written between two pieces, row by row.
pub enum Column<'a, Text, Raw> {
    /// In decimal.
    Integers(&'a [i64]),
    /// The shortest decimal that reads back as the same float; `null` for what is not finite, which JSON cannot say.
    Floats(&'a [f32]),
    /// One of a few texts, by its place among them.
    Choices(&'a [Raw], &'a [i64]),
    /// Texts that are quoted, and escaped where they must be.
    Texts(&'a [Text]),
    /// Bytes as they are.
    Bytes(&'a [Raw]),
}

/// Texts, one after the other.
#[derive(Debug, Default, PartialEq)]
pub struct Texts {
    bytes: Vec<u8>,
    /// Where each text ends and the next begins.
    ends: Vec<usize>,
}

impl Texts {
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The text of a row that there is.
    pub fn text(&self, row: usize) -> &[u8] {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        &self.bytes[start..self.ends[row]]
    }
}

impl<'a> FromIterator<&'a [u8]> for Texts {
    fn from_iter<I: IntoIterator<Item = &'a [u8]>>(texts: I) -> Self {
        let mut all = Self::default();
        for text in texts {
            all.bytes.extend_from_slice(text);
            all.ends.push(all.bytes.len());
        }
        all
    }
}

const HEX: [u8; 16] = *b"0123456789abcdef";

/// Writes the text of each row; None where the columns have other lengths than `rows`, do not fit between the pieces, or
/// choose what there is not.
pub fn fill<Text: AsRef<str>, Raw: AsRef<[u8]>>(
    pieces: &[Raw],
    columns: &[Column<'_, Text, Raw>],
    rows: usize,
) -> Option<Texts> {
    let (first, others) = pieces.split_first()?;
    if others.len() != columns.len() || columns.iter().any(|column| column.len() != rows) {
        return None;
    }
    let mut texts = Texts { bytes: Vec::new(), ends: Vec::with_capacity(rows) };
    for row in 0..rows {
        texts.bytes.extend_from_slice(first.as_ref());
        for (column, piece) in columns.iter().zip(others) {
            column.write(row, &mut texts.bytes)?;
            texts.bytes.extend_from_slice(piece.as_ref());
        }
        if row == 0 {
            // The other rows are probably about as long.
            texts.bytes.reserve(rows.saturating_mul(texts.bytes.len() + texts.bytes.len() / 16));
        }
        texts.ends.push(texts.bytes.len());
    }
    Some(texts)
}

impl<Text: AsRef<str>, Raw: AsRef<[u8]>> Column<'_, Text, Raw> {
    fn len(&self) -> usize {
        match self {
            Self::Integers(column) | Self::Choices(_, column) => column.len(),
            Self::Floats(column) => column.len(),
            Self::Texts(column) => column.len(),
            Self::Bytes(column) => column.len(),
        }
    }

    fn write(&self, row: usize, to: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Integers(column) => to.extend_from_slice(itoa::Buffer::new().format(column[row]).as_bytes()),
            Self::Floats(column) => match column[row] {
                number if number.is_finite() => {
                    to.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
                }
                _ => to.extend_from_slice(b"null"),
            },
            Self::Choices(texts, column) => {
                to.extend_from_slice(texts.get(usize::try_from(column[row]).ok()?)?.as_ref());
            }
            Self::Texts(column) => quote(column[row].as_ref(), to),
            Self::Bytes(column) => to.extend_from_slice(column[row].as_ref()),
        }
        Some(())
    }
}

fn quote(text: &str, to: &mut Vec<u8>) {
    to.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => to.extend([b'\\', byte]),
            b'\n' => to.extend(b"\\n"),
            b'\r' => to.extend(b"\\r"),
            b'\t' => to.extend(b"\\t"),
            0x08 => to.extend(b"\\b"),
            0x0C => to.extend(b"\\f"),
            ..b' ' => {
                to.extend(b"\\u00");
                to.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => to.push(byte),
        }
    }
    to.push(b'"');
}
