//! Rows of tensors as decoders of binary formats fill them: numbers of any type go where features are wanted.

use crate::plan::{Input, Kind};
use crate::read::Tensor;

/// Where the elements of a feature go.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// Which tensor, and where in its row.
    pub input: usize,
    pub start: usize,
    pub elements: usize,
}

impl Place {
    /// The place of one of its elements.
    pub fn element(self, number: usize) -> Self {
        Self { start: self.start + number, elements: 1, ..self }
    }
}

/// The tensors, and the row at hand.
pub struct Rows<'t> {
    tensors: Vec<Tensor<'t>>,
    widths: Vec<usize>,
    row: usize,
    finite: bool,
}

impl<'t> Rows<'t> {
    /// Where only `finite` numbers are wanted, no others are taken.
    pub fn new(inputs: &[Input], tensors: impl IntoIterator<Item = &'t mut [u8]>, finite: bool) -> Self {
        let tensors = inputs.iter().zip(tensors).map(|(input, bytes)| Tensor::new(input.kind, bytes)).collect();
        Self { tensors, widths: inputs.iter().map(|input| input.width).collect(), row: 0, finite }
    }

    pub fn go_to(&mut self, row: usize) {
        self.row = row;
    }

    /// Python makes a double of every number first, and so rounds integers twice.
    pub fn real(&mut self, place: Place, number: f64) -> Option<()> {
        // What becomes of the other NaNs is the processor's matter.
        (!number.is_nan() || number.to_bits() == f64::NAN.to_bits()).then_some(())?;
        match self.kind(place) {
            Kind::Float32 => {
                let number = number as f32;
                (number.is_finite() || !self.finite).then_some(())?;
                self.put(place, number.to_ne_bytes());
            }
            Kind::Float64 => {
                (number.is_finite() || !self.finite).then_some(())?;
                self.put(place, number.to_ne_bytes());
            }
            Kind::Int32 | Kind::Int64 | Kind::Bool => None?,
        }
        Some(())
    }

    pub fn whole(&mut self, place: Place, number: i64) -> Option<()> {
        match self.kind(place) {
            Kind::Float32 | Kind::Float64 => self.real(place, number as f64)?,
            Kind::Int32 => self.put(place, i32::try_from(number).ok()?.to_ne_bytes()),
            Kind::Int64 => self.put(place, number.to_ne_bytes()),
            Kind::Bool => None?,
        }
        Some(())
    }

    pub fn truth(&mut self, place: Place, is_true: bool) -> Option<()> {
        (self.kind(place) == Kind::Bool).then_some(())?;
        self.put(place, [u8::from(is_true)]);
        Some(())
    }

    /// Makes NaN of a feature, whose elements are floats.
    pub fn fill_nan(&mut self, place: Place) {
        let start = self.index(place);
        self.tensors[place.input].fill_nan(start, place.elements);
    }

    fn put<const SIZE: usize>(&mut self, place: Place, element: [u8; SIZE]) {
        let index = self.index(place);
        self.tensors[place.input].put(index, element);
    }

    fn index(&self, place: Place) -> usize {
        self.row * self.widths[place.input] + place.start
    }

    fn kind(&self, place: Place) -> Kind {
        self.tensors[place.input].kind()
    }
}
