//! Columns over the client's own buffers: a Python object is made for a record only when somebody asks for that record.

use std::ffi::c_int;
use std::ptr;
use std::sync::Arc;

use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PySlice};

use crate::api;
use crate::client::{Client, text};
use crate::texts::Texts;

/// Records as the client delivered them. Their buffers are freed with the last column over them.
pub struct Records {
    messages: Vec<*mut api::Message>,
    /// Outlives the records, which lie in its memory.
    _client: Arc<Client>,
}

// SAFETY: nobody writes to a delivered message, but for its headers, which are parsed under the interpreter's lock.
unsafe impl Send for Records {}
// SAFETY: as above.
unsafe impl Sync for Records {}

impl Records {
    /// Takes over messages, none of them an error.
    pub fn new(messages: Vec<*mut api::Message>, client: Arc<Client>) -> Self {
        Self { messages, _client: client }
    }

    pub fn partitions(&self) -> Vec<i32> {
        self.messages().map(|message| message.partition).collect()
    }

    pub fn offsets(&self) -> Vec<i64> {
        self.messages().map(|message| message.offset).collect()
    }

    /// Milliseconds, -1 where a record has none.
    pub fn timestamps(&self) -> Vec<i64> {
        let mut kind: c_int = 0;
        // SAFETY: the messages are valid as long as this is.
        self.messages.iter().map(|&message| unsafe { api::message_timestamp(message, &mut kind) }).collect()
    }

    fn messages(&self) -> impl Iterator<Item = &api::Message> {
        // SAFETY: the messages are valid as long as this is.
        self.messages.iter().map(|&message| unsafe { &*message })
    }
}

impl Drop for Records {
    fn drop(&mut self) {
        for &message in &self.messages {
            // SAFETY: the messages are ours.
            unsafe { api::message_destroy(message) };
        }
    }
}

/// Bytes of a record, or none.
#[derive(Clone, Copy)]
pub struct Bytes {
    pub start: *const u8,
    pub len: usize,
}

// SAFETY: bytes that nobody writes to; whoever hands them to another thread keeps their owner.
unsafe impl Send for Bytes {}
// SAFETY: as above.
unsafe impl Sync for Bytes {}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self { start: bytes.as_ptr(), len: bytes.len() }
    }
}

impl Bytes {
    pub const NONE: Self = Self { start: ptr::null(), len: 0 };

    /// # Safety
    /// The owner of the bytes must outlive the slice.
    pub unsafe fn as_slice<'a>(self) -> Option<&'a [u8]> {
        // SAFETY: see above; nobody writes to them.
        (!self.start.is_null()).then(|| unsafe { std::slice::from_raw_parts(self.start, self.len) })
    }

    fn to_python<'py>(self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        // SAFETY: the owner of the bytes is borrowed by whoever made this.
        unsafe { self.as_slice() }.map(|bytes| PyBytes::new(py, bytes))
    }
}

#[derive(Clone, Copy, PartialEq)]
pub enum Part {
    Key,
    Value,
    Headers,
}

/// Keys, values or headers of records: a sequence of `bytes | None`, or of headers as confluent-kafka gives them.
#[pyclass(frozen, sequence, module = "millrace_native")]
pub struct Column {
    records: Arc<Records>,
    rows: Arc<[u32]>,
    part: Part,
}

impl Column {
    pub fn new(records: Arc<Records>, rows: Arc<[u32]>, part: Part) -> Self {
        Self { records, rows, part }
    }

    /// All rows of the column, in order. They point into memory that lives as long as the column; None for headers.
    pub fn bytes(&self) -> Option<Vec<Bytes>> {
        (self.part != Part::Headers).then(|| self.rows.iter().map(|&row| self.at(row)).collect())
    }

    fn at(&self, row: u32) -> Bytes {
        // SAFETY: rows are rows of the records, which live as long as this.
        let message = unsafe { &*self.records.messages[row as usize] };
        match self.part {
            Part::Key => Bytes { start: message.key.cast(), len: message.key_len },
            Part::Value | Part::Headers => Bytes { start: message.payload.cast(), len: message.len },
        }
    }

    fn headers<'py>(&self, py: Python<'py>, row: u32) -> PyResult<Option<Bound<'py, PyList>>> {
        let mut headers = ptr::null_mut();
        // SAFETY: the headers belong to the message, which lives as long as this.
        if unsafe { api::message_headers(self.records.messages[row as usize], &mut headers) } != 0 {
            return Ok(None);
        }
        let found = PyList::empty(py);
        let (mut name, mut value, mut len) = (ptr::null(), ptr::null(), 0);
        // SAFETY: as above; the index ends the list.
        while unsafe { api::header_get_all(headers, found.len(), &mut name, &mut value, &mut len) } == 0 {
            found.append((text(name), Bytes { start: value.cast(), len }.to_python(py)))?;
        }
        Ok(Some(found))
    }

    fn item<'py>(&self, py: Python<'py>, row: u32) -> PyResult<Option<Bound<'py, PyAny>>> {
        match self.part {
            Part::Headers => Ok(self.headers(py, row)?.map(Bound::into_any)),
            Part::Key | Part::Value => Ok(self.at(row).to_python(py).map(Bound::into_any)),
        }
    }
}

#[pymethods]
impl Column {
    fn __len__(&self) -> usize {
        self.rows.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match Place::of(index, self.rows.len())? {
            Place::Row(row) => self.item(py, self.rows[row]),
            Place::Rows(places) => {
                let rows = places.into_iter().map(|place| self.rows[place]).collect();
                let column = Self::new(Arc::clone(&self.records), rows, self.part);
                Ok(Some(Bound::new(py, column)?.into_any()))
            }
        }
    }
}

/// What an index of a sequence means.
pub enum Place {
    Row(usize),
    Rows(Vec<usize>),
}

impl Place {
    pub fn of(index: &Bound<'_, PyAny>, len: usize) -> PyResult<Self> {
        if let Ok(slice) = index.cast::<PySlice>() {
            let range = slice.indices(len as isize)?;
            let place = |n| (range.start + n as isize * range.step) as usize;
            return Ok(Self::Rows((0..range.slicelength).map(place).collect()));
        }
        let index: isize = index.extract()?;
        let place = if index < 0 { index + len as isize } else { index };
        let row = usize::try_from(place).ok().filter(|&row| row < len);
        row.map(Self::Row).ok_or_else(|| PyIndexError::new_err(format!("there is no row {index} of {len}")))
    }
}

/// A column to produce: bytes, and what keeps them alive.
pub struct Source<'py> {
    pub bytes: Vec<Bytes>,
    _owners: Vec<Bound<'py, PyAny>>,
}

impl<'py> Source<'py> {
    /// Reads a sequence of `bytes | None`; of columns of ours no objects are made.
    pub fn new(column: &Bound<'py, PyAny>) -> PyResult<Self> {
        if let Some(bytes) = column.cast::<Column>().ok().and_then(|column| column.get().bytes()) {
            return Ok(Self { bytes, _owners: vec![column.clone()] });
        }
        if let Ok(texts) = column.cast::<Texts>() {
            return Ok(Self { bytes: texts.get().all(), _owners: vec![column.clone()] });
        }
        let owners = column.try_iter()?.collect::<PyResult<Vec<_>>>()?;
        let bytes = owners.iter().map(bytes_of).collect::<PyResult<_>>()?;
        Ok(Self { bytes, _owners: owners })
    }
}

/// The bytes of `bytes | None`; they live, unchanged, as long as the object.
pub fn bytes_of(object: &Bound<'_, PyAny>) -> PyResult<Bytes> {
    if object.is_none() {
        return Ok(Bytes::NONE);
    }
    let bytes = object.cast::<PyBytes>().map_err(|_| PyTypeError::new_err("a record is made of bytes or None"))?;
    Ok(bytes.as_bytes().into())
}
