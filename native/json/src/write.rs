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
    /// As Avro writes an int or a long: zigzag, seven bits a byte, the lowest first.
    Longs(&'a [i64]),
    /// Eight bytes, the lowest first, as Avro writes doubles.
    Doubles(&'a [f64]),
    /// What these pieces and columns make, with its length before it, as Avro writes texts.
    Sized(&'a [Raw], Vec<Self>),
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
    if !fits(pieces, columns, rows) {
        return None;
    }
    let mut texts = Texts { bytes: Vec::new(), ends: Vec::with_capacity(rows) };
    for row in 0..rows {
        write_row(pieces, columns, row, &mut texts.bytes)?;
        if row == 0 {
            // The other rows are probably about as long.
            texts.bytes.reserve(rows.saturating_mul(texts.bytes.len() + texts.bytes.len() / 16));
        }
        texts.ends.push(texts.bytes.len());
    }
    Some(texts)
}

fn fits<Text: AsRef<str>, Raw: AsRef<[u8]>>(pieces: &[Raw], columns: &[Column<'_, Text, Raw>], rows: usize) -> bool {
    pieces.len() == columns.len() + 1 && columns.iter().all(|column| column.fits(rows))
}

fn write_row<Text: AsRef<str>, Raw: AsRef<[u8]>>(
    pieces: &[Raw],
    columns: &[Column<'_, Text, Raw>],
    row: usize,
    to: &mut Vec<u8>,
) -> Option<()> {
    let (first, others) = pieces.split_first()?;
    to.extend_from_slice(first.as_ref());
    for (column, piece) in columns.iter().zip(others) {
        column.write(row, to)?;
        to.extend_from_slice(piece.as_ref());
    }
    Some(())
}

impl<Text: AsRef<str>, Raw: AsRef<[u8]>> Column<'_, Text, Raw> {
    fn fits(&self, rows: usize) -> bool {
        match self {
            Self::Integers(column) | Self::Choices(_, column) | Self::Longs(column) => column.len() == rows,
            Self::Floats(column) => column.len() == rows,
            Self::Texts(column) => column.len() == rows,
            Self::Bytes(column) => column.len() == rows,
            Self::Doubles(column) => column.len() == rows,
            Self::Sized(pieces, columns) => fits(pieces, columns, rows),
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
            Self::Longs(column) => write_long(column[row], to),
            Self::Doubles(column) => to.extend_from_slice(&column[row].to_le_bytes()),
            Self::Sized(pieces, columns) => {
                let start = to.len();
                write_row(pieces, columns, row, to)?;
                let end = to.len();
                write_long((end - start) as i64, to);
                to[start..].rotate_left(end - start);
            }
        }
        Some(())
    }
}

fn write_long(number: i64, to: &mut Vec<u8>) {
    let mut left = (number << 1 ^ number >> 63) as u64;
    while left > 0x7F {
        to.push(left as u8 | 0x80);
        left >>= 7;
    }
    to.push(left as u8);
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
