//! The decoder of Arrow IPC records, over columns of the client's or any sequence of bytes.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use millrace_arrow::{Feature, Id, IdKind, Layout, Leaf, Limits, List, Reader, Spots};
use millrace_json::Input;

use crate::source::Source;
use crate::tensors::{GivenPlace, Read, Rooms, inputs_of, misfit, numbers, place_of, told};

/// Where the numbers stand: the body's length, the rows; nodes and buffers with how many there are.
type GivenSpots = (usize, usize, (usize, usize), (usize, usize));

/// A column: its first node and buffer, its lists, the type of its values, whether it may be null, and its place.
type GivenFeature = (usize, usize, Vec<(String, usize)>, String, bool, GivenPlace);

/// What all records of a writer begin with, where that differs, the columns, the features without one, and the ids'
/// column: its type, node and buffer.
type GivenLayout = (Vec<u8>, GivenSpots, Vec<GivenFeature>, Vec<GivenPlace>, Option<(String, usize, usize)>);

#[pyclass(frozen, module = "millrace_native")]
pub struct ArrowReader {
    reader: Reader,
    inputs: Vec<Input>,
}

#[pymethods]
impl ArrowReader {
    /// Compiles a signature's inputs, as (type, elements of a row), and the layouts that are known by now: see
    /// `millrace.codec.native_arrow`.
    #[new]
    #[pyo3(signature = (inputs, layouts, *, record_bytes, rows, expanded_bytes, finite))]
    fn new(
        inputs: Vec<(String, usize)>,
        layouts: Vec<GivenLayout>,
        record_bytes: usize,
        rows: usize,
        expanded_bytes: usize,
        finite: bool,
    ) -> PyResult<Self> {
        let inputs = inputs_of(inputs)?;
        let layouts = layouts.into_iter().map(|layout| layout_of(layout, &inputs)).collect::<PyResult<_>>()?;
        let limits = Limits { record_bytes, rows, expanded_bytes };
        Ok(Self { reader: Reader::new(inputs.clone(), layouts, limits, finite), inputs })
    }

    /// Reads what is plainly good into tensors, without the interpreter's lock; see `JsonReader.read`. `make` gets the
    /// number of rows that these must have room for. At last how many rows each taken record has.
    fn read<'py>(
        &self,
        py: Python<'py>,
        values: &Bound<'py, PyAny>,
        make: &Bound<'py, PyAny>,
    ) -> PyResult<(Read<'py>, Bound<'py, PyBytes>)> {
        let values = Source::new(values)?;
        // SAFETY: the values never change, and their owners are borrowed until this returns.
        let records = || values.bytes.iter().map(|value| unsafe { value.as_slice() });
        let rows = self.reader.most_rows(records());
        let tensors: Vec<PyBuffer<u8>> = make.call1((rows,))?.extract()?;
        let rooms = Rooms::new(&tensors, &self.inputs, rows)?;
        // SAFETY: as in `JsonReader.read`.
        let batch = py.detach(|| unsafe { self.reader.read(records(), rooms.slices()) });
        Ok((told(py, &batch.taken, &batch.left, &batch.ids)?, numbers(py, &batch.rows)))
    }
}

fn layout_of((head, spots, features, absent, id): GivenLayout, inputs: &[Input]) -> PyResult<Layout> {
    let (body, rows, nodes, buffers) = spots;
    let features = features.into_iter().map(|feature| feature_of(feature, inputs)).collect::<PyResult<_>>()?;
    let absent = absent.into_iter().map(|place| place_of(place, inputs)).collect::<PyResult<_>>()?;
    let id = id.map(id_of).transpose()?;
    Layout::new(head, Spots { body, rows, nodes, buffers }, features, absent, id).ok_or_else(misfit)
}

fn feature_of((node, buffer, lists, leaf, nullable, place): GivenFeature, inputs: &[Input]) -> PyResult<Feature> {
    let lists = lists.into_iter().map(list_of).collect::<PyResult<_>>()?;
    Ok(Feature { node, buffer, lists, leaf: leaf_of(&leaf)?, nullable, place: place_of(place, inputs)? })
}

fn list_of((name, size): (String, usize)) -> PyResult<List> {
    match name.as_str() {
        "fixed" => Ok(List::Fixed(size)),
        "narrow" => Ok(List::Narrow(size)),
        "wide" => Ok(List::Wide(size)),
        _ => Err(unread(&name)),
    }
}

fn leaf_of(name: &str) -> PyResult<Leaf> {
    match name {
        "int8" => Ok(Leaf::Int8),
        "int16" => Ok(Leaf::Int16),
        "int32" => Ok(Leaf::Int32),
        "int64" => Ok(Leaf::Int64),
        "uint8" => Ok(Leaf::Uint8),
        "uint16" => Ok(Leaf::Uint16),
        "uint32" => Ok(Leaf::Uint32),
        "uint64" => Ok(Leaf::Uint64),
        "float" => Ok(Leaf::Float32),
        "double" => Ok(Leaf::Float64),
        "bool" => Ok(Leaf::Bool),
        _ => Err(unread(name)),
    }
}

fn id_of((name, node, buffer): (String, usize, usize)) -> PyResult<Id> {
    let kind = match name.as_str() {
        "int32" => IdKind::Narrow,
        "int64" => IdKind::Wide,
        "string" => IdKind::NarrowText,
        "large_string" => IdKind::WideText,
        _ => return Err(unread(&name)),
    };
    Ok(Id { kind, node, buffer })
}

fn unread(name: &str) -> PyErr {
    PyValueError::new_err(format!("{name} is not read here"))
}
