//! Records to rows.

use std::borrow::Cow;
use std::collections::HashMap;

use millrace_json::{Input, Place, Rows};

use crate::cursor::Cursor;
use crate::program::{Node, Program, Target};

/// What became of a batch.
#[derive(Debug, Default, PartialEq)]
pub struct Batch<'a> {
    /// The record of each row, ascending.
    pub taken: Vec<u32>,
    /// The other records, ascending.
    pub left: Vec<u32>,
    /// The records' own ids, by row; an empty text is none. As many as rows.
    pub ids: Vec<Option<Cow<'a, str>>>,
}

/// Reads records of every schema that it has a program for.
#[derive(Debug)]
pub struct Reader {
    inputs: Vec<Input>,
    programs: HashMap<u32, Program>,
    record_bytes: usize,
    finite: bool,
}

impl Reader {
    /// Records of more than `record_bytes` are left; so are, where only `finite` numbers are wanted, those with others.
    pub fn new(inputs: Vec<Input>, programs: HashMap<u32, Program>, record_bytes: usize, finite: bool) -> Self {
        Self { inputs, programs, record_bytes, finite }
    }

    /// Reads every record that is plainly good into the next row of the tensors.
    ///
    /// `tensors` are the bytes of each input's elements, with room for as many rows as there are records. What lies
    /// behind the last row that was taken is undefined.
    pub fn read<'a, 't>(
        &self,
        records: impl Iterator<Item = Option<&'a [u8]>>,
        tensors: impl IntoIterator<Item = &'t mut [u8]>,
    ) -> Batch<'a> {
        let mut rows = Rows::new(&self.inputs, tensors, self.finite);
        let mut batch = Batch::default();
        for (number, record) in (0..).zip(records) {
            let record = record.filter(|record| record.len() <= self.record_bytes);
            match record.and_then(|record| self.record(record, &mut rows)) {
                None => batch.left.push(number),
                Some(id) => {
                    batch.taken.push(number);
                    batch.ids.push(id);
                    rows.go_to(batch.taken.len());
                }
            }
        }
        batch
    }

    /// Reads one record into the row; its id, if it has one.
    fn record<'a>(&self, record: &'a [u8], rows: &mut Rows<'_>) -> Option<Option<Cow<'a, str>>> {
        let mut cursor = Cursor(record);
        let [0] = cursor.array()? else { return None };
        let program = self.programs.get(&u32::from_be_bytes(cursor.array()?))?;
        let mut id = None;
        for step in &program.steps {
            match step.target {
                Target::Unwanted => pass(&step.node, &mut cursor)?,
                Target::Id => id = read_id(&step.node, &mut cursor)?,
                Target::Feature(place) => read(rows, &step.node, &mut cursor, place)?,
            }
        }
        cursor.0.is_empty().then_some(())?;
        for &place in &program.absent {
            rows.fill_nan(place);
        }
        Some(id)
    }
}

fn read(rows: &mut Rows<'_>, node: &Node, cursor: &mut Cursor<'_>, place: Place) -> Option<()> {
    match node {
        Node::Null => rows.fill_nan(place),
        Node::Float => rows.real(place, f32::from_le_bytes(cursor.array()?).into())?,
        Node::Double => rows.real(place, f64::from_le_bytes(cursor.array()?))?,
        Node::Integer => rows.whole(place, cursor.integer()?)?,
        Node::Boolean => {
            let [byte] = cursor.array()?;
            (byte <= 1).then_some(())?;
            rows.truth(place, byte == 1)?;
        }
        Node::Array(item, size) => {
            (cursor.size()? == *size).then_some(())?;
            let elements = item.width();
            for index in 0..*size {
                read(rows, item, cursor, Place { start: place.start + index * elements, elements, ..place })?;
            }
            (cursor.size()? == 0).then_some(())?;
        }
        Node::Union(branches) => read(rows, branches.get(cursor.size()?)?, cursor, place)?,
        Node::Text | Node::Fixed(_) | Node::Symbol(_) | Node::Empty | Node::Record(_) | Node::Foreign => None?,
    }
    Some(())
}

/// Passes what nobody wants.
fn pass(node: &Node, cursor: &mut Cursor<'_>) -> Option<()> {
    match node {
        Node::Null => {}
        Node::Float => drop(cursor.bytes(4)?),
        Node::Double => drop(cursor.bytes(8)?),
        Node::Integer => drop(cursor.integer()?),
        Node::Boolean => (cursor.array::<1>()? <= [1]).then_some(())?,
        Node::Text => {
            let size = cursor.size()?;
            cursor.bytes(size)?;
        }
        Node::Fixed(size) => drop(cursor.bytes(*size)?),
        Node::Symbol(count) => (cursor.size()? < *count).then_some(())?,
        Node::Empty => (cursor.size()? == 0).then_some(())?,
        Node::Union(branches) => pass(branches.get(cursor.size()?)?, cursor)?,
        Node::Record(fields) => fields.iter().try_for_each(|field| pass(field, cursor))?,
        Node::Array(..) | Node::Foreign => None?,
    }
    Some(())
}

/// A record's own id; None at the inside for none.
fn read_id<'a>(node: &Node, cursor: &mut Cursor<'a>) -> Option<Option<Cow<'a, str>>> {
    match node {
        Node::Null => Some(None),
        Node::Text => {
            let size = cursor.size()?;
            let text = std::str::from_utf8(cursor.bytes(size)?).ok()?;
            Some(Some(text).filter(|text| !text.is_empty()).map(Cow::Borrowed))
        }
        Node::Integer => Some(Some(Cow::Owned(cursor.integer()?.to_string()))),
        Node::Union(branches) => read_id(branches.get(cursor.size()?)?, cursor),
        _ => None,
    }
}
