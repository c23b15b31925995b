//! What to read: a signature, compiled.

use std::collections::HashMap;

/// Type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    Float32,
    Float64,
    Int32,
    Int64,
    Bool,
}

impl Kind {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Self::Bool => 1,
            Self::Float32 | Self::Int32 => 4,
            Self::Float64 | Self::Int64 => 8,
        }
    }
}

/// An input tensor of the model: its type, and how many elements a row has.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    pub kind: Kind,
    pub width: usize,
}

/// A feature: its name, and where its elements go.
#[derive(Clone, Debug)]
pub struct Field {
    pub name: String,
    /// Which tensor, and where in its row.
    pub input: usize,
    pub place: usize,
    /// Empty for a single value.
    pub shape: Vec<usize>,
    /// Whether it may be null or absent, and is NaN then. Only floats can.
    pub nullable: bool,
}

impl Field {
    pub(crate) fn elements(&self) -> usize {
        self.shape.iter().product()
    }
}

/// What to read of each record, and what not to read at all.
#[derive(Debug)]
pub struct Plan {
    pub(crate) fields: Vec<Field>,
    pub(crate) inputs: Vec<Input>,
    /// The names of the fields, and of the id after them, as most records have them: with quotes and a colon.
    pub(crate) names: Vec<String>,
    pub(crate) id: Option<usize>,
    pub(crate) index: HashMap<String, usize>,
    pub(crate) required: usize,
    pub(crate) refuses_others: bool,
    pub(crate) depth: usize,
    pub(crate) record_bytes: usize,
}

impl Plan {
    /// Compiles a signature. `id_field` names a field with the record's own id and must not be one of `fields`.
    pub fn new(fields: Vec<Field>, inputs: Vec<Input>, id_field: Option<String>) -> Self {
        let id = id_field.as_ref().map(|_| fields.len());
        let names: Vec<_> = fields.iter().map(|field| field.name.clone()).chain(id_field).collect();
        let index = names.iter().cloned().zip(0..).collect();
        let names = names.iter().map(|name| format!("\"{name}\":")).collect();
        let required = fields.iter().filter(|field| !field.nullable).count();
        Self { fields, inputs, names, id, index, required, refuses_others: false, depth: 64, record_bytes: usize::MAX }
    }

    /// Leaves records with fields that nobody asked for.
    pub fn refuse_others(mut self, refuses: bool) -> Self {
        self.refuses_others = refuses;
        self
    }

    /// Leaves records that are longer, or nested deeper; the outermost object is level 1.
    pub fn limit(mut self, record_bytes: usize, depth: usize) -> Self {
        (self.record_bytes, self.depth) = (record_bytes, depth);
        self
    }
}
