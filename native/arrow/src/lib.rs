//! Arrow IPC feature records to columns, in plain Rust: nothing here knows Python or Kafka.
//!
//! As with JSON, only what is *plainly good* is read. Nothing here reads FlatBuffers either: a writer's records begin
//! with the same bytes, but for a few numbers, such as how many rows there are. Python, which has read one of them, says
//! where these numbers stand; a record that differs anywhere else is left to it.

mod layout;
mod read;

pub use layout::{Feature, Id, IdKind, Layout, Leaf, List, Spots};
pub use read::{Batch, Limits, Reader};
