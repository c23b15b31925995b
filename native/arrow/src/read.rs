//! Records to rows.

use std::borrow::Cow;
use std::ops::Range;

use millrace_json::{Input, Place, Rows};

use crate::layout::{Feature, Id, IdKind, Layout, Leaf, List};

/// What an Arrow file begins with; a stream follows, and then an index that nobody needs.
const FILE: &[u8] = b"ARROW1\0\0";
const END: &[u8] = &[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];

/// What became of a batch of records.
#[derive(Debug, Default, PartialEq)]
pub struct Batch<'a> {
    /// Records with rows, ascending, and how many rows each has.
    pub taken: Vec<u32>,
    pub rows: Vec<u32>,
    /// The other records, ascending.
    pub left: Vec<u32>,
    /// The rows' own ids; an empty text is none. As many as rows.
    pub ids: Vec<Option<Cow<'a, str>>>,
}

/// Records beyond these are left.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub record_bytes: usize,
    pub rows: usize,
    pub expanded_bytes: usize,
}

/// Reads records of every layout that it has.
#[derive(Debug)]
pub struct Reader {
    inputs: Vec<Input>,
    layouts: Vec<Layout>,
    limits: Limits,
    finite: bool,
}

impl Reader {
    /// Where only `finite` numbers are wanted, records with others are left.
    pub fn new(inputs: Vec<Input>, layouts: Vec<Layout>, limits: Limits, finite: bool) -> Self {
        Self { inputs, layouts, limits, finite }
    }

    /// The most rows that reading these records can give.
    pub fn most_rows<'a>(&self, records: impl Iterator<Item = Option<&'a [u8]>>) -> usize {
        records.map(|record| record.and_then(|record| self.open(record)).map_or(0, |opened| opened.rows)).sum()
    }

    /// Reads every record that is plainly good into the next rows of the tensors.
    ///
    /// `tensors` are the bytes of each input's elements, with room for `most_rows`. What lies behind the last row that
    /// was taken is undefined.
    pub fn read<'a, 't>(
        &self,
        records: impl Iterator<Item = Option<&'a [u8]>>,
        tensors: impl IntoIterator<Item = &'t mut [u8]>,
    ) -> Batch<'a> {
        let mut rows = Rows::new(&self.inputs, tensors, self.finite);
        let mut batch = Batch::default();
        for (number, record) in (0..).zip(records) {
            let first = batch.ids.len();
            let opened = record.and_then(|record| self.open(record));
            match opened.and_then(|opened| opened.read(first, &mut rows, &mut batch.ids).map(|()| opened.rows)) {
                None => {
                    batch.left.push(number);
                    batch.ids.truncate(first);
                }
                Some(count) => {
                    batch.taken.push(number);
                    batch.rows.push(count as u32);
                }
            }
        }
        batch
    }

    fn open<'a>(&self, record: &'a [u8]) -> Option<Opened<'_, 'a>> {
        if record.len() > self.limits.record_bytes {
            return None;
        }
        let stream = record.strip_prefix(FILE);
        let opened = self.layouts.iter().find_map(|layout| layout.open(stream.unwrap_or(record), stream.is_none()))?;
        let fits = (1..=self.limits.rows).contains(&opened.rows) && opened.bytes()? <= self.limits.expanded_bytes;
        fits.then_some(opened)
    }
}

/// A record of a layout.
struct Opened<'l, 'a> {
    layout: &'l Layout,
    head: &'a [u8],
    body: &'a [u8],
    rows: usize,
}

impl Layout {
    /// `is_alone`: nothing may follow the stream's end.
    fn open<'a>(&self, record: &'a [u8], is_alone: bool) -> Option<Opened<'_, 'a>> {
        let (head, rest) = record.split_at_checked(self.head.len())?;
        self.fixed.iter().all(|part| head[part.clone()] == self.head[part.clone()]).then_some(())?;
        let (body, end) = rest.split_at_checked(size_at(head, self.spots.body)?)?;
        let ends = if is_alone { end == END } else { end.starts_with(END) };
        ends.then_some(Opened { layout: self, head, body, rows: size_at(head, self.spots.rows)? })
    }
}

impl<'a> Opened<'_, 'a> {
    /// What all buffers hold, if they lie one after the other.
    fn bytes(&self) -> Option<usize> {
        let (mut at, mut bytes) = (0, 0usize);
        for number in 0..self.layout.spots.buffers.1 {
            let (start, len) = self.pair(self.layout.spots.buffers.0, number)?;
            (start % 8 == 0).then_some(())?;
            if len > 0 {
                (start >= at).then_some(())?;
                at = start.checked_add(len)?;
                bytes += len;
            }
        }
        (at <= self.body.len()).then_some(bytes)
    }

    /// Reads all columns into the tensors, from this row on.
    fn read(&self, first: usize, rows: &mut Rows<'_>, ids: &mut Vec<Option<Cow<'a, str>>>) -> Option<()> {
        for feature in &self.layout.features {
            self.feature(feature, first, rows)?;
        }
        for row in first..first + self.rows {
            rows.go_to(row);
            self.layout.absent.iter().for_each(|&place| rows.fill_nan(place));
        }
        match self.layout.id {
            None => ids.resize(ids.len() + self.rows, None),
            Some(id) => self.ids(id, ids)?,
        }
        Some(())
    }

    fn feature(&self, feature: &Feature, first: usize, rows: &mut Rows<'_>) -> Option<()> {
        let (mut node, mut buffer, mut count) = (feature.node, feature.buffer, self.rows);
        for &list in &feature.lists {
            (self.node(node)? == (count, 0)).then_some(())?;
            let size = match list {
                List::Fixed(size) => size,
                List::Narrow(size) => self.even::<4>(buffer + 1, count, size)?,
                List::Wide(size) => self.even::<8>(buffer + 1, count, size)?,
            };
            (node, buffer, count) = (node + 1, buffer + list.buffers(), count.checked_mul(size)?);
        }
        let (len, nulls) = self.node(node)?;
        (len == count).then_some(())?;
        let valid = if nulls == 0 { None } else { Some(self.valid(feature, buffer, nulls)?) };
        let values = Values { bytes: self.buffer(buffer + 1)?, count, valid, feature, first };
        match feature.leaf {
            Leaf::Int8 => values.each(rows, |rows, place, bytes| rows.whole(place, i8::from_le_bytes(bytes).into())),
            Leaf::Int16 => values.each(rows, |rows, place, bytes| rows.whole(place, i16::from_le_bytes(bytes).into())),
            Leaf::Int32 => values.each(rows, |rows, place, bytes| rows.whole(place, i32::from_le_bytes(bytes).into())),
            Leaf::Int64 => values.each(rows, |rows, place, bytes| rows.whole(place, i64::from_le_bytes(bytes))),
            Leaf::Uint8 => values.each(rows, |rows, place, bytes| rows.whole(place, u8::from_le_bytes(bytes).into())),
            Leaf::Uint16 => values.each(rows, |rows, place, bytes| rows.whole(place, u16::from_le_bytes(bytes).into())),
            Leaf::Uint32 => values.each(rows, |rows, place, bytes| rows.whole(place, u32::from_le_bytes(bytes).into())),
            Leaf::Uint64 => {
                values.each(rows, |rows, place, bytes| rows.whole(place, u64::from_le_bytes(bytes).try_into().ok()?))
            }
            Leaf::Float32 => values.each(rows, |rows, place, bytes| rows.real(place, f32::from_le_bytes(bytes).into())),
            Leaf::Float64 => values.each(rows, |rows, place, bytes| rows.real(place, f64::from_le_bytes(bytes))),
            Leaf::Bool => values.each_bit(rows),
        }
    }

    /// The size of the lists of a column, whose offsets must be the plainest.
    fn even<const BYTES: usize>(&self, buffer: usize, count: usize, size: usize) -> Option<usize> {
        let offsets = self.buffer(buffer)?;
        (0..=count).all(|list| offset::<BYTES>(offsets, list) == Some(list * size)).then_some(size)
    }

    /// The rows that are not null, a bit each, of a feature that may be null.
    fn valid(&self, feature: &Feature, buffer: usize, nulls: usize) -> Option<&'a [u8]> {
        (feature.nullable && feature.lists.is_empty()).then_some(())?;
        let bits = self.buffer(buffer)?.get(..self.rows.div_ceil(8))?;
        ((0..self.rows).filter(|&row| !bit(bits, row)).count() == nulls).then_some(bits)
    }

    fn ids(&self, id: Id, ids: &mut Vec<Option<Cow<'a, str>>>) -> Option<()> {
        let Id { kind, node, buffer } = id;
        (self.node(node)? == (self.rows, 0)).then_some(())?;
        let first = self.buffer(buffer + 1)?;
        for row in 0..self.rows {
            ids.push(match kind {
                IdKind::Narrow => Some(integer::<4>(first, row)?.to_string().into()),
                IdKind::Wide => Some(integer::<8>(first, row)?.to_string().into()),
                IdKind::NarrowText => self.text(offset::<4>(first, row)?..offset::<4>(first, row + 1)?, buffer + 2)?,
                IdKind::WideText => self.text(offset::<8>(first, row)?..offset::<8>(first, row + 1)?, buffer + 2)?,
            });
        }
        Some(())
    }

    /// Part of a buffer; None at the inside for an empty text.
    fn text(&self, part: Range<usize>, buffer: usize) -> Option<Option<Cow<'a, str>>> {
        let text = std::str::from_utf8(self.buffer(buffer)?.get(part)?).ok()?;
        Some(Some(text).filter(|text| !text.is_empty()).map(Cow::Borrowed))
    }

    /// Length and nulls of a field node.
    fn node(&self, number: usize) -> Option<(usize, usize)> {
        self.pair(self.layout.spots.nodes.0, number)
    }

    fn buffer(&self, number: usize) -> Option<&'a [u8]> {
        let (start, len) = self.pair(self.layout.spots.buffers.0, number)?;
        self.body.get(start..start.checked_add(len)?)
    }

    fn pair(&self, start: usize, number: usize) -> Option<(usize, usize)> {
        let at = start + 16 * number;
        Some((size_at(self.head, at)?, size_at(self.head, at + 8)?))
    }
}

/// The values of a column: its own, or the elements of its lists.
struct Values<'v> {
    bytes: &'v [u8],
    count: usize,
    /// Which are not null, a bit each.
    valid: Option<&'v [u8]>,
    feature: &'v Feature,
    /// The row of the first.
    first: usize,
}

impl Values<'_> {
    fn each<const SIZE: usize>(
        &self,
        rows: &mut Rows<'_>,
        put: impl Fn(&mut Rows<'_>, Place, [u8; SIZE]) -> Option<()>,
    ) -> Option<()> {
        let values = self.bytes.get(..self.count.checked_mul(SIZE)?)?;
        let place = self.feature.place;
        for (row, values) in (0..).zip(values.chunks_exact(place.elements * SIZE)) {
            rows.go_to(self.first + row);
            if self.valid.is_some_and(|valid| !bit(valid, row)) {
                rows.fill_nan(place);
                continue;
            }
            for (number, value) in values.chunks_exact(SIZE).enumerate() {
                put(rows, place.element(number), value.try_into().ok()?)?;
            }
        }
        Some(())
    }

    fn each_bit(&self, rows: &mut Rows<'_>) -> Option<()> {
        let bits = self.bytes.get(..self.count.div_ceil(8))?;
        let place = self.feature.place;
        for number in 0..self.count {
            rows.go_to(self.first + number / place.elements);
            rows.truth(place.element(number % place.elements), bit(bits, number))?;
        }
        Some(())
    }
}

fn bit(bits: &[u8], number: usize) -> bool {
    bits[number / 8] >> (number % 8) & 1 == 1
}

/// A number of a column of such.
fn integer<const BYTES: usize>(numbers: &[u8], place: usize) -> Option<i64> {
    let bytes = numbers.get(place * BYTES..(place + 1) * BYTES)?;
    match BYTES {
        4 => Some(i32::from_le_bytes(bytes.try_into().ok()?).into()),
        _ => Some(i64::from_le_bytes(bytes.try_into().ok()?)),
    }
}

fn offset<const BYTES: usize>(offsets: &[u8], place: usize) -> Option<usize> {
    integer::<BYTES>(offsets, place)?.try_into().ok()
}

fn size_at(head: &[u8], at: usize) -> Option<usize> {
    offset::<8>(head.get(at..)?, 0)
}
