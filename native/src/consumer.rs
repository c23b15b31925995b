//! The consumer: `confluent_kafka.Consumer` as far as a lane uses it, but for `poll_columns`.

use std::ffi::{CString, c_char, c_int};
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

use crate::api;
use crate::client::{Client, Failure, Hooks, Partitions, Position, milliseconds, text};
use crate::column::{Column, Part, Records};

/// The membership of a consumer in its group, for the producer that commits its offsets.
#[pyclass(frozen, module = "millrace_native")]
pub struct Membership(*mut api::GroupMetadata);

// SAFETY: a copy that nobody writes to.
unsafe impl Send for Membership {}
// SAFETY: as above.
unsafe impl Sync for Membership {}

impl Membership {
    /// Valid as long as this is.
    pub fn as_ptr(&self) -> *const api::GroupMetadata {
        self.0
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { api::consumer_group_metadata_destroy(self.0) };
    }
}

/// Messages as the queue gave them.
struct Fetched(Vec<*mut api::Message>);

// SAFETY: messages may go from thread to thread.
unsafe impl Send for Fetched {}

/// Partitions, offsets and timestamps as native integers, keys, values and headers as columns, and errors.
type Polled<'py> =
    (Bound<'py, PyBytes>, Bound<'py, PyBytes>, Bound<'py, PyBytes>, Column, Column, Column, Bound<'py, PyList>);

/// What a consumer needs as long as it is open.
struct Open {
    client: Arc<Client>,
    queue: *mut api::Queue,
}

// SAFETY: as for the client. One caller at a time consumes, which is the lane's rule.
unsafe impl Send for Open {}
// SAFETY: as above.
unsafe impl Sync for Open {}

impl Drop for Open {
    fn drop(&mut self) {
        // SAFETY: the reference is ours.
        unsafe { api::queue_destroy(self.queue) };
    }
}

impl Open {
    /// Appends at most `limit` messages; waits only for the first of them.
    fn fetch(&self, messages: &mut Vec<*mut api::Message>, limit: usize, timeout_ms: c_int) -> Result<(), Failure> {
        let start = messages.len();
        messages.resize(start + limit, ptr::null_mut());
        // SAFETY: there is room for `limit` messages from `start` on.
        let count = unsafe { api::consume_batch_queue(self.queue, timeout_ms, messages[start..].as_mut_ptr(), limit) };
        messages.truncate(start + usize::try_from(count).unwrap_or(0));
        // SAFETY: the code of this thread's last call.
        if count < 0 { Err(Failure::of_code(unsafe { api::last_error() })) } else { Ok(()) }
    }
}

#[pyclass(frozen, module = "millrace_native")]
pub struct Consumer {
    open: Mutex<Option<Arc<Open>>>,
}

impl Consumer {
    /// The lock is held for this moment only: hooks call the consumer from inside its own calls.
    fn open(&self) -> PyResult<Arc<Open>> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clone().ok_or_else(|| PyRuntimeError::new_err("the consumer is closed"))
    }
}

/// Separates records from errors, which the queue delivers among them.
fn sort(messages: Vec<*mut api::Message>) -> (Vec<*mut api::Message>, Vec<Failure>) {
    // SAFETY: the messages are ours and valid.
    let (good, bad): (Vec<_>, Vec<_>) = messages.into_iter().partition(|&message| unsafe { (*message).err } == 0);
    let failures = bad.into_iter().map(|message| {
        // SAFETY: as above; of an error the payload is its text. It is destroyed once.
        unsafe {
            let (code, reason) = ((*message).err, (*message).payload.cast::<c_char>().cast_const());
            let failure =
                if reason.is_null() { Failure::of_code(code) } else { Failure::described(code, text(reason)) };
            api::message_destroy(message);
            failure
        }
    });
    (good, failures.collect())
}

#[pymethods]
impl Consumer {
    #[new]
    fn new(settings: &Bound<'_, PyDict>, logger: Py<PyAny>) -> PyResult<Self> {
        let client = Arc::new(Client::new(api::CONSUMER, settings, logger)?);
        // SAFETY: the handle is valid. Errors and rebalances come by the consumer's own queue.
        let queue = unsafe {
            api::poll_set_consumer(client.handle);
            api::queue_get_consumer(client.handle)
        };
        Ok(Self { open: Mutex::new(Some(Arc::new(Open { client, queue }))) })
    }

    #[pyo3(signature = (topics, *, on_assign, on_revoke, on_lost))]
    fn subscribe(
        &self,
        topics: Vec<String>,
        on_assign: Py<PyAny>,
        on_revoke: Py<PyAny>,
        on_lost: Py<PyAny>,
    ) -> PyResult<()> {
        let client = &self.open()?.client;
        client.set_hooks(Some(Hooks { on_assign, on_revoke, on_lost }));
        let wanted: Vec<_> = topics.into_iter().map(|topic| Position { topic, partition: -1, offset: -1001 }).collect();
        // SAFETY: the list lives during the call.
        Ok(Failure::check_code(unsafe { api::subscribe(client.handle, Partitions::new(&wanted)?.as_ptr()) })?)
    }

    /// Waits `timeout` seconds for the first record and `linger` for more, without the interpreter's lock.
    fn poll_columns<'py>(&self, py: Python<'py>, limit: usize, timeout: f64, linger: f64) -> PyResult<Polled<'py>> {
        let open = self.open()?;
        let (fetched, stopped) = py.detach(|| {
            let mut messages = Vec::new();
            let mut stopped = open.fetch(&mut messages, 1, milliseconds(timeout));
            if stopped.is_ok() && !messages.is_empty() && limit > 1 {
                stopped = open.fetch(&mut messages, limit - 1, milliseconds(linger));
            }
            (Fetched(messages), stopped)
        });
        let (records, mut failures) = sort(fetched.0);
        let records = Arc::new(Records::new(records, Arc::clone(&open.client)));
        open.client.tell(py)?;
        failures.extend(open.client.take_failures());
        failures.extend(stopped.err());
        let errors = PyList::empty(py);
        for failure in failures {
            errors.append(failure.to_python(py)?)?;
        }
        let (partitions, offsets, timestamps) = (records.partitions(), records.offsets(), records.timestamps());
        let rows: Arc<[u32]> = (0..partitions.len() as u32).collect();
        let column = |part| Column::new(Arc::clone(&records), Arc::clone(&rows), part);
        Ok((
            PyBytes::new(py, &partitions.iter().flat_map(|n| n.to_ne_bytes()).collect::<Vec<_>>()),
            PyBytes::new(py, &offsets.iter().flat_map(|n| n.to_ne_bytes()).collect::<Vec<_>>()),
            PyBytes::new(py, &timestamps.iter().flat_map(|n| n.to_ne_bytes()).collect::<Vec<_>>()),
            column(Part::Key),
            column(Part::Value),
            column(Part::Headers),
            errors,
        ))
    }

    fn consumer_group_metadata(&self) -> PyResult<Membership> {
        // SAFETY: the copy is ours.
        Ok(Membership(unsafe { api::consumer_group_metadata(self.open()?.client.handle) }))
    }

    #[pyo3(signature = (*, offsets, asynchronous))]
    fn commit(&self, py: Python<'_>, offsets: Vec<Position>, asynchronous: bool) -> PyResult<()> {
        let (open, offsets) = (self.open()?, Partitions::new(&offsets)?);
        // SAFETY: the list lives during the call.
        let code = py.detach(|| unsafe { api::commit(open.client.handle, offsets.as_ptr(), asynchronous.into()) });
        Failure::check_code(code)?;
        offsets.to_python(py).map(drop)
    }

    /// The committed offsets. Raises the first failure among them, too.
    #[pyo3(signature = (partitions, *, timeout))]
    fn committed<'py>(&self, py: Python<'py>, partitions: Vec<Position>, timeout: f64) -> PyResult<Bound<'py, PyList>> {
        let (open, list) = (self.open()?, Partitions::new(&partitions)?);
        // SAFETY: the list lives during the call.
        let code = py.detach(|| unsafe { api::committed(open.client.handle, list.as_ptr(), milliseconds(timeout)) });
        Failure::check_code(code)?;
        list.to_python(py)
    }

    fn position<'py>(&self, py: Python<'py>, partitions: Vec<Position>) -> PyResult<Bound<'py, PyList>> {
        let list = Partitions::new(&partitions)?;
        // SAFETY: the list lives during the call.
        Failure::check_code(unsafe { api::position(self.open()?.client.handle, list.as_ptr()) })?;
        list.to_python(py)
    }

    fn pause(&self, partitions: Vec<Position>) -> PyResult<()> {
        let list = Partitions::new(&partitions)?;
        // SAFETY: the list lives during the call.
        Ok(Failure::check_code(unsafe { api::pause_partitions(self.open()?.client.handle, list.as_ptr()) })?)
    }

    fn resume(&self, partitions: Vec<Position>) -> PyResult<()> {
        let list = Partitions::new(&partitions)?;
        // SAFETY: the list lives during the call.
        Ok(Failure::check_code(unsafe { api::resume_partitions(self.open()?.client.handle, list.as_ptr()) })?)
    }

    fn seek(&self, py: Python<'_>, position: Position) -> PyResult<()> {
        let (open, name) = (self.open()?, CString::new(position.topic)?);
        // SAFETY: the topic is destroyed after its use. Without a limit, as confluent-kafka does: the client answers.
        let code = py.detach(|| unsafe {
            let topic = api::topic_new(open.client.handle, name.as_ptr(), ptr::null_mut());
            let code = api::seek(topic, position.partition, position.offset, -1);
            api::topic_destroy(topic);
            code
        });
        Ok(Failure::check_code(code)?)
    }

    /// The first offset and the end of a partition, as far as the client knows without asking; -1001 where it does not.
    #[pyo3(signature = (position, *, cached))]
    fn get_watermark_offsets(&self, position: Position, cached: bool) -> PyResult<(i64, i64)> {
        debug_assert!(cached, "a lane never asks the broker");
        let (name, mut low, mut high) = (CString::new(position.topic)?, 0, 0);
        let handle = self.open()?.client.handle;
        // SAFETY: both numbers outlive the call.
        let code =
            unsafe { api::get_watermark_offsets(handle, name.as_ptr(), position.partition, &mut low, &mut high) };
        Failure::check_code(code)?;
        Ok((low, high))
    }

    /// Leaves the group, and goes as soon as nobody holds records of it. Hooks are called for what was assigned.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let Ok(open) = self.open() else { return Ok(()) };
        // SAFETY: the handle is valid.
        let code = py.detach(|| unsafe { api::consumer_close(open.client.handle) });
        // They refer to the reader, which refers to this consumer.
        open.client.set_hooks(None);
        let told = open.client.tell(py);
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = None;
        py.detach(|| drop(open));
        told?;
        Ok(Failure::check_code(code)?)
    }
}
