//! The decoder of framed Avro records, over columns of the client's or any sequence of bytes.

use std::collections::HashMap;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use millrace_avro::{Node, Program, Reader, Step, Target};
use millrace_json::Input;

use crate::source::Source;
use crate::tensors::{GivenPlace, Read, Rooms, inputs_of, misfit, place_of, told};

/// A part of a schema: what it is, a size where it has one, and its own parts.
#[derive(FromPyObject)]
struct GivenNode(String, usize, Vec<GivenNode>);

/// A field: what it is, whether it is the record's id, and the feature that it is, if it is one.
type GivenStep = (GivenNode, bool, Option<GivenPlace>);

/// The fields of a schema in their order, and the features that it does not have.
type GivenProgram = (Vec<GivenStep>, Vec<GivenPlace>);

#[pyclass(frozen, module = "millrace_native")]
pub struct AvroReader {
    reader: Reader,
    inputs: Vec<Input>,
}

#[pymethods]
impl AvroReader {
    /// Compiles a signature's inputs, as (type, elements of a row), and the programs of the schemas that are known by
    /// now, by their ids: see `millrace.codec.native_avro`.
    #[new]
    #[pyo3(signature = (inputs, programs, *, record_bytes, finite))]
    fn new(
        inputs: Vec<(String, usize)>,
        programs: HashMap<u32, GivenProgram>,
        record_bytes: usize,
        finite: bool,
    ) -> PyResult<Self> {
        let inputs = inputs_of(inputs)?;
        let compiled = |(id, program)| Ok((id, program_of(program, &inputs)?));
        let programs = programs.into_iter().map(compiled).collect::<PyResult<_>>()?;
        Ok(Self { reader: Reader::new(inputs.clone(), programs, record_bytes, finite), inputs })
    }

    /// Reads what is plainly good into the tensors, without the interpreter's lock; see `JsonReader.read`.
    fn read<'py>(
        &self,
        py: Python<'py>,
        values: &Bound<'py, PyAny>,
        tensors: Vec<PyBuffer<u8>>,
    ) -> PyResult<Read<'py>> {
        let values = Source::new(values)?;
        let rooms = Rooms::new(&tensors, &self.inputs, values.bytes.len())?;
        let bytes = &values.bytes;
        // SAFETY: as in `JsonReader.read`.
        let batch =
            py.detach(|| unsafe { self.reader.read(bytes.iter().map(|value| value.as_slice()), rooms.slices()) });
        told(py, &batch.taken, &batch.left, &batch.ids)
    }
}

fn program_of((steps, absent): GivenProgram, inputs: &[Input]) -> PyResult<Program> {
    let place = |given| place_of(given, inputs);
    let step = |(node, is_id, feature): GivenStep| {
        let node = node_of(node)?;
        let target = match feature {
            Some(feature) => Target::Feature(place(feature)?),
            None if is_id => Target::Id,
            None => Target::Unwanted,
        };
        match target {
            Target::Feature(place) if !node.fits(place.elements) => Err(misfit()),
            _ => Ok(Step { node, target }),
        }
    };
    Ok(Program {
        steps: steps.into_iter().map(step).collect::<PyResult<_>>()?,
        absent: absent.into_iter().map(place).collect::<PyResult<_>>()?,
    })
}

fn node_of(GivenNode(name, size, parts): GivenNode) -> PyResult<Node> {
    let mut parts = parts.into_iter().map(node_of).collect::<PyResult<Vec<_>>>()?;
    Ok(match name.as_str() {
        "null" => Node::Null,
        "float" => Node::Float,
        "double" => Node::Double,
        "integer" => Node::Integer,
        "boolean" => Node::Boolean,
        "text" => Node::Text,
        "fixed" => Node::Fixed(size),
        "symbol" => Node::Symbol(size),
        "empty" => Node::Empty,
        "foreign" => Node::Foreign,
        "union" => Node::Union(parts),
        "record" => Node::Record(parts),
        "array" if parts.len() == 1 => Node::Array(Box::new(parts.remove(0)), size),
        _ => return Err(PyValueError::new_err(format!("{name} is not read here"))),
    })
}
