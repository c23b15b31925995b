//! What is to be produced, or read: any sequence of bytes, whether it is a column of ours or Python's.

use pyo3::prelude::*;

use crate::bytes::{Bytes, bytes_of};
use crate::column::Column;
use crate::texts::Texts;

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
