//! Columns over the client's own buffers: a Python object is made for a record only when somebody asks for that record.

use std::ffi::c_int;
use std::ptr;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::api;
use crate::bytes::{Bytes, Place};
use crate::client::{Client, text};

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
