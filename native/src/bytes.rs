//! Bytes that lie in somebody's memory, as columns of any kind hold them.

use std::ptr;

use pyo3::exceptions::{PyIndexError, PyTypeError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PySlice};

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

    pub fn to_python<'py>(self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        // SAFETY: the owner of the bytes is borrowed by whoever made this.
        unsafe { self.as_slice() }.map(|bytes| PyBytes::new(py, bytes))
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
