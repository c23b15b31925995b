//! The writer of JSON and of Avro: columns to texts that lie one after the other.

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::{PyBackedBytes, PyBackedStr};
use pyo3::types::PyBytes;

use crate::bytes::{Bytes, Place};

type Column<'a> = millrace_json::Column<'a, PyBackedStr, PyBackedBytes>;

/// A column as Python has it.
#[derive(FromPyObject)]
enum Given<'py> {
    Integers(PyBuffer<i64>),
    Floats(PyBuffer<f32>),
    Choices(Vec<PyBackedBytes>, PyBuffer<i64>),
    Texts(Vec<PyBackedStr>),
    Bytes(Vec<PyBackedBytes>),
    /// What marks them apart from integers, and they.
    #[allow(dead_code)]
    Longs(String, PyBuffer<i64>),
    Doubles(PyBuffer<f64>),
    Sized(Vec<PyBackedBytes>, Vec<Bound<'py, PyAny>>),
}

/// The same, with numbers that may be read without the interpreter's lock.
enum Held {
    Integers(Vec<i64>),
    Floats(Vec<f32>),
    Choices(Vec<PyBackedBytes>, Vec<i64>),
    Texts(Vec<PyBackedStr>),
    Bytes(Vec<PyBackedBytes>),
    Longs(Vec<i64>),
    Doubles(Vec<f64>),
    Sized(Vec<PyBackedBytes>, Vec<Self>),
}

impl Held {
    fn of(column: Bound<'_, PyAny>) -> PyResult<Self> {
        let py = column.py();
        Ok(match column.extract()? {
            Given::Integers(numbers) => Self::Integers(numbers.to_vec(py)?),
            Given::Floats(numbers) => Self::Floats(numbers.to_vec(py)?),
            Given::Choices(texts, of_row) => Self::Choices(texts, of_row.to_vec(py)?),
            Given::Texts(texts) => Self::Texts(texts),
            Given::Bytes(texts) => Self::Bytes(texts),
            Given::Longs(_, numbers) => Self::Longs(numbers.to_vec(py)?),
            Given::Doubles(numbers) => Self::Doubles(numbers.to_vec(py)?),
            Given::Sized(pieces, columns) => {
                Self::Sized(pieces, columns.into_iter().map(Self::of).collect::<PyResult<_>>()?)
            }
        })
    }

    fn column(&self) -> Column<'_> {
        match self {
            Self::Integers(numbers) => Column::Integers(numbers),
            Self::Floats(numbers) => Column::Floats(numbers),
            Self::Choices(texts, of_row) => Column::Choices(texts, of_row),
            Self::Texts(texts) => Column::Texts(texts),
            Self::Bytes(texts) => Column::Bytes(texts),
            Self::Longs(numbers) => Column::Longs(numbers),
            Self::Doubles(numbers) => Column::Doubles(numbers),
            Self::Sized(pieces, columns) => Column::Sized(pieces, columns.iter().map(Self::column).collect()),
        }
    }
}

/// Writes the text of each row: `millrace.codec.templates` says what the pieces and columns are.
#[pyfunction]
pub fn fill(
    py: Python<'_>,
    pieces: Vec<PyBackedBytes>,
    columns: Vec<Bound<'_, PyAny>>,
    rows: usize,
) -> PyResult<Texts> {
    let held = columns.into_iter().map(Held::of).collect::<PyResult<Vec<_>>>()?;
    let texts = py.detach(|| {
        let columns: Vec<_> = held.iter().map(Held::column).collect();
        millrace_json::fill(&pieces, &columns, rows)
    });
    texts.map(Texts).ok_or_else(|| PyValueError::new_err("the columns do not fit the pieces, or one another"))
}

/// Texts in one buffer: a sequence of `bytes`, which are made when somebody asks for one.
#[pyclass(frozen, sequence, module = "millrace_native")]
pub struct Texts(millrace_json::Texts);

impl Texts {
    /// All texts, in order. They point into memory that lives, unchanged, as long as this.
    pub fn all(&self) -> Vec<Bytes> {
        (0..self.0.len()).map(|row| self.0.text(row).into()).collect()
    }
}

#[pymethods]
impl Texts {
    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, index: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        Ok(match Place::of(index, self.0.len())? {
            Place::Row(row) => PyBytes::new(py, self.0.text(row)).into_any(),
            Place::Rows(rows) => {
                let texts = rows.into_iter().map(|row| self.0.text(row)).collect();
                Bound::new(py, Self(texts))?.into_any()
            }
        })
    }
}
