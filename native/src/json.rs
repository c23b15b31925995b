//! The decoder of JSON records, over columns of the client's or any sequence of bytes.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use millrace_json::{Field, Input, Kind, Plan};

use crate::column::Source;

/// Rows that were taken, records that were left, both as native `uint32`, and ids by row.
type Read<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Option<Bound<'py, PyList>>);

/// Memory that nobody else looks at while it is written.
struct Room {
    start: *mut u8,
    len: usize,
}

// SAFETY: plain memory; whoever hands it to another thread keeps it alive.
unsafe impl Send for Room {}

#[pyclass(frozen, module = "millrace_native")]
pub struct JsonReader {
    plan: Plan,
    row_bytes: Vec<usize>,
}

#[pymethods]
impl JsonReader {
    /// Compiles a signature: inputs as (type, elements of a row), features as (name, input, place in its row, shape,
    /// nullable).
    #[new]
    #[pyo3(signature = (inputs, features, *, id_field, refuse_others, record_bytes, depth))]
    fn new(
        inputs: Vec<(String, usize)>,
        features: Vec<(String, usize, usize, Vec<usize>, bool)>,
        id_field: Option<String>,
        refuse_others: bool,
        record_bytes: usize,
        depth: usize,
    ) -> PyResult<Self> {
        let input = |(name, width): (String, usize)| Ok::<_, PyErr>(Input { kind: kind_of(&name)?, width });
        let inputs = inputs.into_iter().map(input).collect::<PyResult<Vec<_>>>()?;
        let row_bytes = inputs.iter().map(|input| input.kind.size() * input.width).collect();
        let field = |(name, input, place, shape, nullable)| Field { name, input, place, shape, nullable };
        let plan = Plan::new(features.into_iter().map(field).collect(), inputs, id_field)
            .refuse_others(refuse_others)
            .limit(record_bytes, depth);
        Ok(Self { plan, row_bytes })
    }

    /// Reads what is plainly good into the tensors, without the interpreter's lock.
    ///
    /// `tensors` are the bytes of fresh arrays that nobody else uses, one per input, with a row for every value.
    fn read<'py>(
        &self,
        py: Python<'py>,
        values: &Bound<'py, PyAny>,
        tensors: Vec<PyBuffer<u8>>,
    ) -> PyResult<Read<'py>> {
        let values = Source::new(values)?;
        let sizes: Vec<_> = self.row_bytes.iter().map(|bytes| bytes * values.bytes.len()).collect();
        let rooms = tensors.iter().zip(&sizes).filter_map(|(tensor, &size)| room_of(tensor, size)).collect::<Vec<_>>();
        if [rooms.len(), tensors.len()] != [sizes.len(); 2] {
            return Err(PyValueError::new_err("the tensors do not fit the values"));
        }
        let bytes = &values.bytes;
        let batch = py.detach(|| {
            // SAFETY: the caller lends the tensors, which live as long as their buffers, and to nobody else; the values
            // never change, and their owners are borrowed until this returns.
            let rooms = rooms.into_iter().map(|room| unsafe { std::slice::from_raw_parts_mut(room.start, room.len) });
            // SAFETY: as above.
            self.plan.read(bytes.iter().map(|value| unsafe { value.as_slice() }), rooms)
        });
        let numbers =
            |rows: &[u32]| PyBytes::new(py, &rows.iter().flat_map(|row| row.to_ne_bytes()).collect::<Vec<_>>());
        let ids = batch.ids.iter().any(Option::is_some).then(|| PyList::new(py, &batch.ids)).transpose()?;
        Ok((numbers(&batch.taken), numbers(&batch.left), ids))
    }
}

fn room_of(tensor: &PyBuffer<u8>, size: usize) -> Option<Room> {
    let fits = !tensor.readonly() && tensor.is_c_contiguous() && tensor.len_bytes() == size;
    fits.then(|| Room { start: tensor.buf_ptr().cast(), len: size })
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
