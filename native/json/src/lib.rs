//! JSON feature records to columns, and columns to JSON, in plain Rust: nothing here knows Python or Kafka.
//!
//! Of records only what is *plainly good* is read: a record that is strict JSON, whole, and of exactly the types that the signature
//! asks for. Everything else is left to the Python body, which knows each policy and each reason, so that neither is
//! written twice. What is read here must therefore be accepted there, with the same bits; the other way round a record
//! only costs time.

mod cursor;
mod number;
mod plan;
mod read;
mod rows;
mod write;

pub use plan::{Field, Input, Kind, Plan};
pub use read::{Batch, Tensor};
pub use rows::{Place, Rows};
pub use write::{Column, Texts, fill};
