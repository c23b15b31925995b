//! The data path of a millrace lane: records between librdkafka and columns, without Python per record.
//!
//! Python keeps every decision, and speaks to `Consumer` and `Producer` as it does to confluent-kafka's, in its types and
//! with its errors; only records go another way, as columns: `Consumer.poll_columns`, `Producer.enqueue_columns`, and
//! `JsonReader`, `AvroReader`, `ArrowReader` and `fill` in between.
//! Whatever waits or works per record does so without the interpreter's lock.

mod api;
mod arrow;
mod avro;
mod bytes;
mod client;
mod column;
mod consumer;
mod json;
mod producer;
mod source;
mod tensors;
mod texts;

use pyo3::exceptions::PyImportError;
use pyo3::prelude::*;

#[pymodule]
mod millrace_native {
    #[pymodule_export]
    use super::arrow::ArrowReader;
    #[pymodule_export]
    use super::avro::AvroReader;
    #[pymodule_export]
    use super::column::Column;
    #[pymodule_export]
    use super::consumer::{Consumer, Membership};
    #[pymodule_export]
    use super::json::JsonReader;
    #[pymodule_export]
    use super::producer::Producer;
    #[pymodule_export]
    use super::texts::{Texts, fill};
    use super::*;

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        let extension: String = module.py().import("confluent_kafka.cimpl")?.getattr("__file__")?.extract()?;
        api::load(&extension)
            .map_err(|error| PyImportError::new_err(format!("no librdkafka in {extension}: {error}")))?;
        // SAFETY: the text is static.
        module.add("LIBRDKAFKA", client::text(unsafe { api::version_str() }))
    }
}
