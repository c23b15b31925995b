//! A writer's schema, compiled.

use millrace_json::Place;

/// One part of a schema.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Takes no bytes. Where a feature is wanted, it is NaN.
    Null,
    Float,
    Double,
    /// An int or a long.
    Integer,
    Boolean,
    /// A string, or bytes.
    Text,
    Fixed(usize),
    /// An enum of so many symbols.
    Symbol(usize),
    /// An array of exactly so many items, in one block.
    Array(Box<Node>, usize),
    /// An array or a map without items.
    Empty,
    Union(Vec<Node>),
    Record(Vec<Node>),
    /// What is not read here.
    Foreign,
}

impl Node {
    /// Whether every value that is read here is of so many elements.
    pub fn fits(&self, elements: usize) -> bool {
        match self {
            Self::Float | Self::Double | Self::Integer | Self::Boolean | Self::Array(..) => self.width() == elements,
            Self::Union(branches) => branches.iter().all(|branch| branch.fits(elements)),
            // Null fits everywhere, and the others are never read as a feature.
            Self::Null
            | Self::Text
            | Self::Fixed(_)
            | Self::Symbol(_)
            | Self::Empty
            | Self::Record(_)
            | Self::Foreign => true,
        }
    }

    /// How many elements a value is.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Array(item, size) => size * item.width(),
            _ => 1,
        }
    }
}

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    Unwanted,
    /// It is the record's own id.
    Id,
    Feature(Place),
}

/// One field of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub node: Node,
    pub target: Target,
}

/// How records of one writer's schema are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Program {
    /// In the order in which the writer wrote.
    pub steps: Vec<Step>,
    /// Features that the schema does not have, which are NaN.
    pub absent: Vec<Place>,
}
