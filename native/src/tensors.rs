//! What the decoders have in common: the tensors that they fill, which are NumPy's, and what they say of a batch.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use millrace_json::{Input, Kind, Place};

/// Rows that were taken, records that were left, both as native `uint32`, and ids by row.
pub type Read<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Option<Bound<'py, PyList>>);

/// Memory that nobody else looks at while it is written.
struct Room {
    start: *mut u8,
    len: usize,
}

// SAFETY: plain memory; whoever hands it to another thread keeps it alive.
unsafe impl Send for Room {}

/// The bytes of fresh arrays, one per input, with a row for every record.
pub struct Rooms(Vec<Room>);

impl Rooms {
    /// Fails where the arrays do not fit `records` rows of the inputs.
    pub fn new(tensors: &[PyBuffer<u8>], inputs: &[Input], records: usize) -> PyResult<Self> {
        let sizes = inputs.iter().map(|input| input.kind.size() * input.width * records);
        let rooms: Vec<_> = tensors.iter().zip(sizes).filter_map(|(tensor, size)| room_of(tensor, size)).collect();
        if [rooms.len(), tensors.len()] != [inputs.len(); 2] {
            return Err(PyValueError::new_err("the tensors do not fit the values"));
        }
        Ok(Self(rooms))
    }

    /// # Safety
    /// The arrays must outlive the slices, and nobody else may use them meanwhile.
    pub unsafe fn slices<'a>(self) -> impl Iterator<Item = &'a mut [u8]> {
        // SAFETY: see above.
        self.0.into_iter().map(|room| unsafe { std::slice::from_raw_parts_mut(room.start, room.len) })
    }
}

fn room_of(tensor: &PyBuffer<u8>, size: usize) -> Option<Room> {
    let fits = !tensor.readonly() && tensor.is_c_contiguous() && tensor.len_bytes() == size;
    fits.then(|| Room { start: tensor.buf_ptr().cast(), len: size })
}

/// Inputs of a signature, as (type, elements of a row).
pub fn inputs_of(given: Vec<(String, usize)>) -> PyResult<Vec<Input>> {
    given.into_iter().map(|(name, width)| Ok(Input { kind: kind_of(&name)?, width })).collect()
}

/// Input, place in its row, elements.
pub type GivenPlace = (usize, usize, usize);

/// The place of a feature, which must lie in its input.
pub fn place_of((input, start, elements): GivenPlace, inputs: &[Input]) -> PyResult<Place> {
    let fits = inputs.get(input).is_some_and(|input| start + elements <= input.width);
    fits.then_some(Place { input, start, elements }).ok_or_else(misfit)
}

pub fn misfit() -> PyErr {
    PyValueError::new_err("a feature does not fit its input")
}

fn kind_of(name: &str) -> PyResult<Kind> {
    match name {
        "float32" => Ok(Kind::Float32),
        "float64" => Ok(Kind::Float64),
        "int32" => Ok(Kind::Int32),
        "int64" => Ok(Kind::Int64),
        "bool" => Ok(Kind::Bool),
        _ => Err(PyValueError::new_err(format!("{name} is not read here"))),
    }
}

/// What a decoder says of a batch; ids are None where no row has one.
pub fn told<'py, Id: AsRef<str>>(
    py: Python<'py>,
    taken: &[u32],
    left: &[u32],
    ids: &[Option<Id>],
) -> PyResult<Read<'py>> {
    let texts = ids.iter().map(|id| id.as_ref().map(AsRef::as_ref)).collect::<Vec<Option<&str>>>();
    let ids = texts.iter().any(Option::is_some).then(|| PyList::new(py, &texts)).transpose()?;
    Ok((numbers(py, taken), numbers(py, left), ids))
}

/// As native `uint32`.
pub fn numbers<'py>(py: Python<'py>, rows: &[u32]) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &rows.iter().flat_map(|row| row.to_ne_bytes()).collect::<Vec<_>>())
}
