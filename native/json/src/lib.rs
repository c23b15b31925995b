//! JSON feature records to columns, in plain Rust: nothing here knows Python or Kafka.
//!
//! Only what is *plainly good* is read: a record that is strict JSON, whole, and of exactly the types that the signature
//! asks for. Everything else is left to the Python body, which knows each policy and each reason, so that neither is
//! written twice. What is read here must therefore be accepted there, with the same bits; the other way round a record
//! only costs time.

mod cursor;
mod number;
mod plan;
mod read;

pub use plan::{Field, Input, Kind, Plan};
pub use read::{Batch, Tensor};
