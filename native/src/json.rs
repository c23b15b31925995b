//! The decoder of JSON records, over columns of the client's or any sequence of bytes.

use pyo3::buffer::PyBuffer;
use pyo3::prelude::*;

use millrace_json::{Field, Input, Plan};

use crate::source::Source;
use crate::tensors::{Read, Rooms, inputs_of, told};

#[pyclass(frozen, module = "millrace_native")]
pub struct JsonReader {
    plan: Plan,
    inputs: Vec<Input>,
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
        let inputs = inputs_of(inputs)?;
        let field = |(name, input, place, shape, nullable)| Field { name, input, place, shape, nullable };
        let plan = Plan::new(features.into_iter().map(field).collect(), inputs.clone(), id_field)
            .refuse_others(refuse_others)
            .limit(record_bytes, depth);
        Ok(Self { plan, inputs })
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
        let rooms = Rooms::new(&tensors, &self.inputs, values.bytes.len())?;
        let bytes = &values.bytes;
        // SAFETY: the caller lends the tensors, which live as long as their buffers, and to nobody else; the values never
        // change, and their owners are borrowed until this returns.
        let batch = py.detach(|| unsafe { self.plan.read(bytes.iter().map(|value| value.as_slice()), rooms.slices()) });
        told(py, &batch.taken, &batch.left, &batch.ids)
    }
}
