//! What all records of a writer have in common, and where the numbers stand that differ.

use std::ops::Range;

use millrace_json::Place;

/// Type of a column's values, or of the elements of its lists.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leaf {
    Int8,
    Int16,
    Int32,
    Int64,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Float32,
    Float64,
    /// One bit each.
    Bool,
}

/// A level of lists, each of exactly so many elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum List {
    Fixed(usize),
    /// With offsets of 32 bits.
    Narrow(usize),
    /// With offsets of 64 bits.
    Wide(usize),
}

/// A column that is a feature.
#[derive(Clone, Debug)]
pub struct Feature {
    /// The column's first field node, and its first buffer.
    pub node: usize,
    pub buffer: usize,
    pub lists: Vec<List>,
    pub leaf: Leaf,
    /// Whether it may be null, and is NaN then. Only floats can.
    pub nullable: bool,
    pub place: Place,
}

/// What a column of ids holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum IdKind {
    /// Integers of 32 bits.
    Narrow,
    /// Integers of 64 bits.
    Wide,
    /// Texts with offsets of 32 bits.
    NarrowText,
    /// Texts with offsets of 64 bits.
    WideText,
}

/// The column with the rows' own ids.
#[derive(Clone, Copy, Debug)]
pub struct Id {
    pub kind: IdKind,
    /// Its field node, and its first buffer.
    pub node: usize,
    pub buffer: usize,
}

/// Where in a record the numbers stand that differ from record to record.
#[derive(Clone, Copy, Debug)]
pub struct Spots {
    /// The length of the batch's body.
    pub body: usize,
    /// The number of rows.
    pub rows: usize,
    /// Length and nulls of each field node, and how many there are.
    pub nodes: (usize, usize),
    /// Offset and length of each buffer, and how many there are.
    pub buffers: (usize, usize),
}

/// How the records of one writer are read.
#[derive(Clone, Debug)]
pub struct Layout {
    pub(crate) head: Vec<u8>,
    /// The parts of the head that no record changes.
    pub(crate) fixed: Vec<Range<usize>>,
    pub(crate) spots: Spots,
    pub(crate) features: Vec<Feature>,
    pub(crate) absent: Vec<Place>,
    pub(crate) id: Option<Id>,
}

impl Layout {
    /// `head` is a record up to its batch's body, and `absent` are features that no column is.
    ///
    /// None where the spots are not in the head, or overlap, where a column is not among the nodes and buffers, or where
    /// its lists are not of as many elements as its place.
    pub fn new(
        head: Vec<u8>,
        spots: Spots,
        features: Vec<Feature>,
        absent: Vec<Place>,
        id: Option<Id>,
    ) -> Option<Self> {
        let ((nodes, node_count), (buffers, buffer_count)) = (spots.nodes, spots.buffers);
        let size = |count: usize| count.checked_mul(16);
        let mut holes = [(spots.body, 8), (spots.rows, 8), (nodes, size(node_count)?), (buffers, size(buffer_count)?)];
        holes.sort_unstable();
        let (mut fixed, mut at) = (Vec::new(), 0);
        for (start, size) in holes {
            (start >= at).then_some(())?;
            fixed.push(at..start);
            at = start.checked_add(size)?;
        }
        fixed.push(at..head.len());
        let of_feature = |feature: &Feature| {
            let buffers = feature.lists.iter().map(|list| list.buffers()).sum::<usize>();
            (feature.node + feature.lists.len(), feature.buffer + buffers + 1)
        };
        let is_whole = |feature: &Feature| {
            let elements = feature.lists.iter().try_fold(1usize, |elements, list| elements.checked_mul(list.size()));
            elements == Some(feature.place.elements) && elements != Some(0)
        };
        let of_id = id.map(|id| match id.kind {
            IdKind::Narrow | IdKind::Wide => (id.node, id.buffer + 1),
            IdKind::NarrowText | IdKind::WideText => (id.node, id.buffer + 2),
        });
        let mut last = features.iter().map(of_feature).chain(of_id);
        let fits = at <= head.len()
            && last.all(|(node, buffer)| node < node_count && buffer < buffer_count)
            && features.iter().all(is_whole);
        fits.then_some(Self { head, fixed, spots, features, absent, id })
    }
}

impl List {
    fn size(self) -> usize {
        match self {
            Self::Fixed(size) | Self::Narrow(size) | Self::Wide(size) => size,
        }
    }

    /// Buffers of a level, before those of its elements.
    pub(crate) fn buffers(self) -> usize {
        match self {
            Self::Fixed(_) => 1,
            Self::Narrow(_) | Self::Wide(_) => 2,
        }
    }
}
