//! Avro feature records in Confluent's framing to columns, in plain Rust: nothing here knows Python or Kafka.
//!
//! As with JSON, only what is *plainly good* is read. Schemas are resolved in Python, which compiles each writer's into a
//! program; a record whose program is not known here, or that is not exactly what its program says, is left to Python.

mod cursor;
mod program;
mod read;

pub use program::{Node, Program, Step, Target};
pub use read::{Batch, Reader};
