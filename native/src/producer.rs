//! The producer: `confluent_kafka.Producer` as far as a lane uses it, but for `enqueue_columns`.

use std::ffi::{CString, c_int};
use std::ptr;

use pyo3::buffer::PyBuffer;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::api::{self, Field};
use crate::bytes::{Bytes, bytes_of};
use crate::client::{Client, Failure, Partitions, Position, milliseconds};
use crate::consumer::Membership;
use crate::source::Source;

/// The headers of one record: names, values, and what keeps the values alive.
type Headers<'py> = Vec<(CString, Bytes, Bound<'py, PyAny>)>;

/// Records to produce, all columns of one length.
struct Outputs {
    topic: CString,
    partitions: Vec<i32>,
    timestamps: Vec<i64>,
    keys: Vec<Bytes>,
    values: Vec<Bytes>,
    /// Empty where no record has any.
    headers: Vec<Vec<(CString, Bytes)>>,
}

#[pyclass(frozen, module = "millrace_native")]
pub struct Producer {
    client: Client,
}

impl Producer {
    /// Queues records from `start` on as far as there is room; the row to go on from.
    fn queue(&self, outputs: &Outputs, start: usize) -> Result<usize, Failure> {
        // SAFETY: the client copies what a record is made of; the topic is destroyed after its use.
        let topic = unsafe { api::topic_new(self.client.handle, outputs.topic.as_ptr(), ptr::null_mut()) };
        if topic.is_null() {
            // SAFETY: the code of this thread's last call.
            return Err(Failure::of_code(unsafe { api::last_error() }));
        }
        let mut fields = Vec::with_capacity(6);
        let mut row = start;
        let stopped = loop {
            if row == outputs.values.len() {
                break Ok(());
            }
            outputs.describe(topic, row, &mut fields);
            // SAFETY: as above.
            if let Err(failure) =
                Failure::check(unsafe { api::produceva(self.client.handle, fields.as_ptr(), fields.len()) })
            {
                break if failure.code == api::ERR_QUEUE_FULL { Ok(()) } else { Err(failure) };
            }
            row += 1;
        };
        // SAFETY: as above.
        unsafe { api::topic_destroy(topic) };
        stopped.map(|()| row)
    }

    /// Calls without the interpreter's lock, and logs what the client has to say.
    fn call(&self, py: Python<'_>, step: impl FnOnce(&Client) -> Result<(), Failure> + Send) -> PyResult<()> {
        let done = py.detach(|| step(&self.client));
        self.client.tell(py)?;
        Ok(done?)
    }
}

impl Outputs {
    fn describe(&self, topic: *mut api::Topic, row: usize, fields: &mut Vec<Field>) {
        let (key, value) = (self.keys[row], self.values[row]);
        fields.clear();
        fields.extend([
            Field::topic(topic),
            Field::partition(self.partitions[row]),
            Field::flags(api::COPY),
            Field::key(key.start, key.len),
            Field::value(value.start, value.len),
            Field::timestamp(self.timestamps[row]),
        ]);
        if let Some(headers) = self.headers.get(row) {
            fields.extend(headers.iter().map(|(name, value)| Field::header(name.as_ptr(), value.start, value.len)));
        }
    }
}

/// The headers of each record; None is none.
fn headers_of<'py>(column: &Bound<'py, PyAny>) -> PyResult<Vec<Headers<'py>>> {
    let of_record = |record: Bound<'py, PyAny>| -> PyResult<Headers<'py>> {
        if record.is_none() {
            return Ok(Vec::new());
        }
        record
            .try_iter()?
            .map(|header| {
                let (name, value): (String, Bound<'py, PyAny>) = header?.extract()?;
                Ok((CString::new(name)?, bytes_of(&value)?, value))
            })
            .collect()
    };
    column.try_iter()?.map(|record| of_record(record?)).collect()
}

#[pymethods]
impl Producer {
    #[new]
    fn new(settings: &Bound<'_, PyDict>, logger: Py<PyAny>) -> PyResult<Self> {
        Ok(Self { client: Client::new(api::PRODUCER, settings, logger)? })
    }

    /// Queues records from row `start` on, in order, as far as the queue has room; the row to go on from.
    #[allow(clippy::too_many_arguments, reason = "the columns of an OutputBatch")]
    fn enqueue_columns(
        &self,
        py: Python<'_>,
        topic: String,
        partitions: PyBuffer<i32>,
        timestamps_ms: PyBuffer<i64>,
        keys: &Bound<'_, PyAny>,
        values: &Bound<'_, PyAny>,
        headers: Option<&Bound<'_, PyAny>>,
        start: usize,
    ) -> PyResult<usize> {
        let (keys, values) = (Source::new(keys)?, Source::new(values)?);
        let mut held = headers.map_or(Ok(Vec::new()), headers_of)?;
        let borrow = |headers: &mut Headers<'_>| {
            headers.iter_mut().map(|(name, value, _)| (std::mem::take(name), *value)).collect()
        };
        let outputs = Outputs {
            topic: CString::new(topic)?,
            partitions: partitions.to_vec(py)?,
            timestamps: timestamps_ms.to_vec(py)?,
            keys: keys.bytes.clone(),
            values: values.bytes.clone(),
            headers: held.iter_mut().map(borrow).collect(),
        };
        let count = outputs.values.len();
        if [outputs.partitions.len(), outputs.timestamps.len(), outputs.keys.len()] != [count; 3] {
            return Err(PyValueError::new_err("the columns differ in length"));
        }
        Ok(py.detach(|| self.queue(&outputs, start))?)
    }

    fn init_transactions(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        // SAFETY: the handle is valid; so for the steps that follow.
        self.call(py, |client| Failure::check(unsafe { api::init_transactions(client.handle, milliseconds(timeout)) }))
    }

    fn begin_transaction(&self, py: Python<'_>) -> PyResult<()> {
        // SAFETY: see above.
        self.call(py, |client| Failure::check(unsafe { api::begin_transaction(client.handle) }))
    }

    fn send_offsets_to_transaction(
        &self,
        py: Python<'_>,
        offsets: Vec<Position>,
        membership: &Membership,
        timeout: f64,
    ) -> PyResult<()> {
        let offsets = Partitions::new(&offsets)?;
        self.call(py, |client| {
            let (list, group) = (offsets.as_ptr(), membership.as_ptr());
            // SAFETY: see above; list and membership live during the call.
            Failure::check(unsafe {
                api::send_offsets_to_transaction(client.handle, list, group, milliseconds(timeout))
            })
        })
    }

    fn commit_transaction(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        // SAFETY: see above.
        self.call(py, |client| Failure::check(unsafe { api::commit_transaction(client.handle, milliseconds(timeout)) }))
    }

    fn abort_transaction(&self, py: Python<'_>, timeout: f64) -> PyResult<()> {
        // SAFETY: see above.
        self.call(py, |client| Failure::check(unsafe { api::abort_transaction(client.handle, milliseconds(timeout)) }))
    }

    /// Serves the client's callbacks, waiting at most `timeout` seconds for one.
    fn poll(&self, py: Python<'_>, timeout: f64) -> PyResult<c_int> {
        // SAFETY: see above.
        let client = &self.client;
        let served = py.detach(|| unsafe { api::poll(client.handle, milliseconds(timeout)) });
        client.tell(py)?;
        Ok(served)
    }

    /// Waits until the broker has answered for every record; how many it has not answered for in time.
    fn flush(&self, py: Python<'_>, timeout: f64) -> PyResult<c_int> {
        let mut left = 0;
        self.call(py, |client| {
            // SAFETY: see above.
            let code = unsafe { api::flush(client.handle, milliseconds(timeout)) };
            // SAFETY: see above.
            left = unsafe { api::outq_len(client.handle) };
            if code == api::ERR_TIMED_OUT { Ok(()) } else { Failure::check_code(code) }
        })?;
        Ok(left)
    }

    /// Gives up what is queued and what is on its way.
    #[pyo3(signature = (*, blocking = true))]
    fn purge(&self, py: Python<'_>, blocking: bool) -> PyResult<()> {
        let flags = api::PURGE_QUEUE | api::PURGE_IN_FLIGHT | if blocking { 0 } else { api::PURGE_NON_BLOCKING };
        // SAFETY: see above.
        self.call(py, |client| Failure::check_code(unsafe { api::purge(client.handle, flags) }))
    }

    /// Why records were not delivered, since the last call.
    fn failures<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let failures = PyList::empty(py);
        for failure in self.client.take_failures() {
            failures.append(failure.to_python(py)?)?;
        }
        Ok(failures)
    }
}
