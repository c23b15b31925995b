//! Records to rows.

use crate::cursor::Cursor;
use crate::number::Number;
use crate::plan::{Field, Kind, Plan};

/// Rows of one input tensor, as the bytes of its elements.
pub struct Tensor<'t> {
    kind: Kind,
    bytes: &'t mut [u8],
}

/// No field's number.
const UNKNOWN: usize = usize::MAX;

/// What became of a batch.
#[derive(Debug, Default, PartialEq)]
pub struct Batch<'a> {
    /// The record of each row, ascending.
    pub taken: Vec<u32>,
    /// The other records, ascending.
    pub left: Vec<u32>,
    /// The records' own ids, by row; an empty text is none. Empty where the plan names no field for them.
    pub ids: Vec<Option<&'a str>>,
}

/// What is known of the record at hand, and of the order in which the last one had its fields.
struct Progress {
    /// The record at hand, counted from 1.
    record: usize,
    /// By field: the record that last had it.
    seen: Vec<usize>,
    /// By place in the record: the field that was there last time, most probably the one that is there again.
    order: Vec<usize>,
}

impl Plan {
    /// Reads every record that is plainly good into the next row of the tensors.
    ///
    /// `tensors` are the bytes of each input's elements, with room for as many rows as there are records. What lies
    /// behind the last row that was taken is undefined.
    pub fn read<'a, 't>(
        &self,
        records: impl Iterator<Item = Option<&'a [u8]>>,
        tensors: impl IntoIterator<Item = &'t mut [u8]>,
    ) -> Batch<'a> {
        let mut tensors: Vec<_> =
            self.inputs.iter().zip(tensors).map(|(input, bytes)| Tensor::new(input.kind, bytes)).collect();
        let mut progress = Progress { record: 0, seen: vec![0; self.names.len()], order: Vec::new() };
        let mut batch = Batch::default();
        for (number, record) in (0..).zip(records) {
            let text = record.filter(|record| record.len() <= self.record_bytes);
            let text = text.and_then(|record| std::str::from_utf8(record).ok());
            let row = batch.taken.len();
            match text.and_then(|text| self.record(text, row, &mut tensors, &mut progress)) {
                None => batch.left.push(number),
                Some(id) => {
                    batch.taken.push(number);
                    if self.id.is_some() {
                        batch.ids.push(id);
                    }
                }
            }
        }
        batch
    }

    /// Reads one record into this row; its id, if it has one.
    fn record<'a>(
        &self,
        text: &'a str,
        row: usize,
        tensors: &mut [Tensor<'_>],
        progress: &mut Progress,
    ) -> Option<Option<&'a str>> {
        let mut cursor = Cursor::new(text);
        let (mut id, mut required, mut member) = (None, 0, 0);
        progress.record += 1;
        let mark = progress.record;
        cursor.expect(b'{')?;
        if !cursor.passes(b'}') {
            loop {
                match self.name(&mut cursor, member, progress)? {
                    None if self.refuses_others => return None,
                    None => cursor.skip(self.depth.checked_sub(1)?)?,
                    Some(found) if progress.seen[found] == mark => return None,
                    Some(found) => {
                        progress.seen[found] = mark;
                        if Some(found) == self.id {
                            id = cursor.id()?;
                        } else {
                            let field = &self.fields[found];
                            required += usize::from(!field.nullable);
                            self.field(&mut cursor, field, row, tensors)?;
                        }
                    }
                }
                member += 1;
                if !cursor.passes(b',') {
                    cursor.expect(b'}')?;
                    break;
                }
            }
        }
        if cursor.look().is_some() || required < self.required {
            return None;
        }
        self.fill_absent(row, tensors, |found| progress.seen[found] == mark);
        Some(id)
    }

    /// Reads a name and the colon behind it; the field of this name, looked for first where the last record had it.
    fn name(&self, cursor: &mut Cursor<'_>, member: usize, progress: &mut Progress) -> Option<Option<usize>> {
        let guess = progress.order.get(member).copied().unwrap_or(UNKNOWN);
        if self.names.get(guess).is_some_and(|name| cursor.word(name).is_some()) {
            return Some(Some(guess));
        }
        let found = self.index.get(cursor.plain_text()?).copied();
        cursor.expect(b':')?;
        // Beyond this place there are more fields than anybody asked for; what is unknown is not guessed.
        if member < 2 * self.names.len() {
            progress.order.resize(progress.order.len().max(member + 1), UNKNOWN);
            progress.order[member] = found.unwrap_or(UNKNOWN);
        }
        Some(found)
    }

    fn field(&self, cursor: &mut Cursor<'_>, field: &Field, row: usize, tensors: &mut [Tensor<'_>]) -> Option<()> {
        let tensor = &mut tensors[field.input];
        let start = row * self.inputs[field.input].width + field.place;
        let first = cursor.look()?;
        if field.nullable && first == b'n' {
            cursor.word("null")?;
            tensor.fill_nan(start, field.elements());
            return Some(());
        }
        if field.shape.is_empty() {
            return tensor.element(cursor, start);
        }
        cursor.expect(b'[')?;
        if field.shape.len() > 1 && cursor.look()? == b'[' {
            (field.shape.len() < self.depth).then_some(())?;
            return tensor.nested(cursor, &field.shape, start).map(drop);
        }
        (1 < self.depth).then_some(())?;
        tensor.flat(cursor, field.elements(), start)
    }

    fn fill_absent(&self, row: usize, tensors: &mut [Tensor<'_>], is_present: impl Fn(usize) -> bool) {
        if self.required == self.fields.len() {
            return;
        }
        for (found, field) in self.fields.iter().enumerate() {
            if !is_present(found) {
                let start = row * self.inputs[field.input].width + field.place;
                tensors[field.input].fill_nan(start, field.elements());
            }
        }
    }
}

impl<'t> Tensor<'t> {
    pub fn new(kind: Kind, bytes: &'t mut [u8]) -> Self {
        Self { kind, bytes }
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Makes NaN of `count` elements from `start` on, which are floats.
    pub fn fill_nan(&mut self, start: usize, count: usize) {
        for index in start..start + count {
            match self.kind {
                Kind::Float32 => self.put(index, f32::NAN.to_ne_bytes()),
                _ => self.put(index, f64::NAN.to_ne_bytes()),
            }
        }
    }

    /// Sets an element, which has this size.
    pub fn put<const SIZE: usize>(&mut self, index: usize, element: [u8; SIZE]) {
        self.bytes[index * SIZE..(index + 1) * SIZE].copy_from_slice(&element);
    }

    /// Elements up to the closing bracket; the opening one is passed already.
    fn flat(&mut self, cursor: &mut Cursor<'_>, count: usize, start: usize) -> Option<()> {
        for index in 0..count {
            if index > 0 {
                cursor.expect(b',')?;
            }
            cursor.look();
            self.element(cursor, start + index)?;
        }
        cursor.expect(b']')
    }

    /// As `flat`, of arrays in arrays; where the elements that follow go.
    fn nested(&mut self, cursor: &mut Cursor<'_>, shape: &[usize], start: usize) -> Option<usize> {
        let [count, inner @ ..] = shape else { return None };
        if inner.is_empty() {
            self.flat(cursor, *count, start)?;
            return Some(start + count);
        }
        let mut next = start;
        for index in 0..*count {
            if index > 0 {
                cursor.expect(b',')?;
            }
            cursor.expect(b'[')?;
            next = self.nested(cursor, inner, next)?;
        }
        cursor.expect(b']')?;
        Some(next)
    }

    fn element(&mut self, cursor: &mut Cursor<'_>, index: usize) -> Option<()> {
        match self.kind {
            Kind::Float32 => {
                // Python rounds to a double first, and so twice.
                let number = cursor.number()?.real() as f32;
                number.is_finite().then_some(())?;
                self.put(index, number.to_ne_bytes());
            }
            Kind::Float64 => self.put(index, cursor.number()?.real().to_ne_bytes()),
            Kind::Int32 => self.put(index, i32::try_from(whole(cursor)?).ok()?.to_ne_bytes()),
            Kind::Int64 => self.put(index, whole(cursor)?.to_ne_bytes()),
            Kind::Bool => {
                let is_true = cursor.peek()? == b't';
                cursor.word(if is_true { "true" } else { "false" })?;
                self.put(index, [u8::from(is_true)]);
            }
        }
        Some(())
    }
}

fn whole(cursor: &mut Cursor<'_>) -> Option<i64> {
    match cursor.number()? {
        Number::Whole(number) => Some(number),
        Number::Real(_) => None,
    }
}

impl<'a> Cursor<'a> {
    /// A record's id as it is written: a text without escapes or an integer.
    fn id(&mut self) -> Option<Option<&'a str>> {
        match self.look()? {
            b'n' => self.word("null").map(|()| None),
            b'"' => Some(Some(self.plain_text()?).filter(|text| !text.is_empty())),
            _ => {
                let start = self.at();
                whole(self)?;
                let text = std::str::from_utf8(self.since(start)).ok()?;
                (text != "-0").then_some(Some(text))
            }
        }
    }
}
