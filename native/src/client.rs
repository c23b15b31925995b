//! What consumer and producer have in common: the client's handle, what it tells from threads of its own, its errors.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};

use crate::api;

const REASON_BYTES: usize = 512;

/// Lines and errors that are kept until somebody asks; the rest is dropped.
const MOST_NOTES: usize = 1_000;

/// A failure as librdkafka describes it.
pub struct Failure {
    pub code: c_int,
    reason: String,
    fatal: bool,
    retriable: bool,
    requires_abort: bool,
}

impl Failure {
    /// A failure of which only the code is known.
    pub fn of_code(code: c_int) -> Self {
        // SAFETY: the text is static.
        Self::described(code, text(unsafe { api::err2str(code) }))
    }

    pub fn described(code: c_int, reason: String) -> Self {
        Self { code, reason, fatal: false, retriable: false, requires_abort: false }
    }

    /// Takes an error object over; `Ok` where there is none.
    pub fn check(error: *mut api::Error) -> Result<(), Self> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: the error is ours and lives until it is destroyed, once, below.
        let failure = unsafe {
            Self {
                code: api::error_code(error),
                reason: text(api::error_string(error)),
                fatal: api::error_is_fatal(error) != 0,
                retriable: api::error_is_retriable(error) != 0,
                requires_abort: api::error_txn_requires_abort(error) != 0,
            }
        };
        // SAFETY: as above.
        unsafe { api::error_destroy(error) };
        Err(failure)
    }

    pub fn check_code(code: c_int) -> Result<(), Self> {
        if code == 0 { Ok(()) } else { Err(Self::of_code(code)) }
    }

    /// The failure as the Python body meets it: `confluent_kafka.KafkaError`.
    pub fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let class = py.import("confluent_kafka")?.getattr("KafkaError")?;
        class.call1((self.code, &self.reason, self.fatal, self.retriable, self.requires_abort))
    }
}

impl From<Failure> for PyErr {
    fn from(failure: Failure) -> Self {
        Python::attach(|py| {
            let raised =
                (|| py.import("confluent_kafka")?.getattr("KafkaException")?.call1((failure.to_python(py)?,)))();
            raised.map_or_else(|error| error, PyErr::from_value)
        })
    }
}

/// What is called in Python when partitions come and go.
pub struct Hooks {
    pub on_assign: Py<PyAny>,
    pub on_revoke: Py<PyAny>,
    pub on_lost: Py<PyAny>,
}

/// What callbacks of the client leave for the next call from Python. They run on threads of the client, too, and never
/// wait for the interpreter; `on_rebalance` alone does, which runs inside a poll or a close.
#[derive(Default)]
struct Notes {
    lines: Mutex<Vec<(u8, String)>>,
    failures: Mutex<Vec<Failure>>,
    hooks: Mutex<Option<Hooks>>,
    raised: Mutex<Option<PyErr>>,
}

fn note<T>(notes: &Mutex<Vec<T>>, entry: T) {
    let mut notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    if notes.len() < MOST_NOTES {
        notes.push(entry);
    }
}

fn take<T: Default>(notes: &Mutex<T>) -> T {
    std::mem::take(&mut *notes.lock().unwrap_or_else(PoisonError::into_inner))
}

/// A client of librdkafka. Lives as long as the last record that it delivered.
pub struct Client {
    pub handle: *mut api::Handle,
    notes: Box<Notes>,
    logger: Py<PyAny>,
}

// SAFETY: librdkafka's handle may be used from any thread; what callbacks share with the rest is behind mutexes.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// A client with these settings, which are librdkafka's.
    pub fn new(kind: c_int, settings: &Bound<'_, PyDict>, logger: Py<PyAny>) -> PyResult<Self> {
        let notes = Box::<Notes>::default();
        // SAFETY: `new` takes the configuration over when it succeeds; otherwise it is destroyed here. The notes stay
        // where they are as long as the handle lives.
        unsafe {
            let conf = api::conf_new();
            let created = configure(conf, settings).and_then(|()| {
                api::conf_set_opaque(conf, ptr::from_ref::<Notes>(&notes) as *mut c_void);
                api::conf_set_log_cb(conf, Some(on_log));
                if kind == api::CONSUMER {
                    api::conf_set_error_cb(conf, Some(on_error));
                    api::conf_set_rebalance_cb(conf, Some(on_rebalance));
                } else {
                    // Without one the client waits for deliveries in steps of 10 ms.
                    api::conf_set_dr_msg_cb(conf, Some(on_delivery));
                }
                let mut reason = [0; REASON_BYTES];
                let handle = api::new(kind, conf, reason.as_mut_ptr(), reason.len());
                if handle.is_null() {
                    return Err(Failure::described(api::last_error(), text(reason.as_ptr())).into());
                }
                Ok(handle)
            });
            match created {
                Ok(handle) => Ok(Self { handle, notes, logger }),
                Err(error) => {
                    api::conf_destroy(conf);
                    Err(error)
                }
            }
        }
    }

    pub fn set_hooks(&self, hooks: Option<Hooks>) {
        *self.notes.hooks.lock().unwrap_or_else(PoisonError::into_inner) = hooks;
    }

    /// What went wrong in the background since the last call.
    pub fn take_failures(&self) -> Vec<Failure> {
        take(&self.notes.failures)
    }

    /// Raises what a hook raised, after the client's lines are logged.
    pub fn tell(&self, py: Python<'_>) -> PyResult<()> {
        for (level, line) in take(&self.notes.lines) {
            self.logger.call_method1(py, "log", (level, line))?;
        }
        take(&self.notes.raised).map_or(Ok(()), Err)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: nothing refers to the handle any more. A consumer that was not closed leaves no word behind, as if its
        // process had died: closing would call Python, from wherever the last record happened to be dropped.
        unsafe { api::destroy_flags(self.handle, api::NO_CONSUMER_CLOSE) };
    }
}

/// Topic, partition and offset, as `confluent_kafka.TopicPartition` has them.
#[derive(FromPyObject)]
pub struct Position {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
}

/// A list of partitions that is destroyed with its owner.
pub struct Partitions(*mut api::PartitionList);

// SAFETY: plain memory without an owner among the client's threads.
unsafe impl Send for Partitions {}
// SAFETY: as above.
unsafe impl Sync for Partitions {}

impl Partitions {
    pub fn new(positions: &[Position]) -> PyResult<Self> {
        // SAFETY: names are copied; what `add` returns is a place in the list.
        unsafe {
            let list = Self(api::topic_partition_list_new(positions.len() as c_int));
            for position in positions {
                let topic = CString::new(position.topic.as_str())?;
                (*api::topic_partition_list_add(list.0, topic.as_ptr(), position.partition)).offset = position.offset;
            }
            Ok(list)
        }
    }

    /// Valid as long as this is.
    pub fn as_ptr(&self) -> *mut api::PartitionList {
        self.0
    }

    /// What was found out about each partition, or the first failure among them.
    pub fn to_python<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        // SAFETY: the list is ours.
        unsafe { positions_of(py, self.0) }
    }
}

impl Drop for Partitions {
    fn drop(&mut self) {
        // SAFETY: the list is ours.
        unsafe { api::topic_partition_list_destroy(self.0) };
    }
}

/// # Safety
/// The list must be valid.
unsafe fn positions_of(py: Python<'_>, list: *const api::PartitionList) -> PyResult<Bound<'_, PyList>> {
    let class = py.import("confluent_kafka")?.getattr("TopicPartition")?;
    let found = PyList::empty(py);
    // SAFETY: the list has `count` elements.
    let (elements, count) = unsafe { ((*list).elements, (*list).count as usize) };
    for index in 0..count {
        // SAFETY: as above.
        let element = unsafe { &*elements.add(index) };
        Failure::check_code(element.err)?;
        found.append(class.call1((text(element.topic), element.partition, element.offset))?)?;
    }
    Ok(found)
}

/// Seconds as the client's milliseconds, rounded up: what is not zero waits.
pub fn milliseconds(seconds: f64) -> c_int {
    (seconds * 1000.0).ceil().clamp(0.0, f64::from(c_int::MAX)) as c_int
}

/// A C string of the client's.
pub fn text(start: *const c_char) -> String {
    // SAFETY: the client's texts end with zero and live longer than this call.
    unsafe { CStr::from_ptr(start) }.to_string_lossy().into_owned()
}

/// # Safety
/// The configuration must be valid.
unsafe fn configure(conf: *mut api::Conf, settings: &Bound<'_, PyDict>) -> PyResult<()> {
    for (key, value) in settings {
        // The client reads true and false in small letters.
        let value = value.str()?.to_string();
        let value = if matches!(value.as_str(), "True" | "False") { value.to_lowercase() } else { value };
        let (name, value) = (CString::new(key.str()?.to_string())?, CString::new(value)?);
        let mut reason: [c_char; REASON_BYTES] = [0; REASON_BYTES];
        // SAFETY: texts are copied; the reason fits.
        if unsafe { api::conf_set(conf, name.as_ptr(), value.as_ptr(), reason.as_mut_ptr(), reason.len()) } != 0 {
            return Err(Failure::described(api::ERR_INVALID_ARG, text(reason.as_ptr())).into());
        }
    }
    Ok(())
}

/// # Safety
/// Called by the client, with the opaque pointer of `Client::new`.
unsafe extern "C" fn on_log(handle: *const api::Handle, level: c_int, facility: *const c_char, line: *const c_char) {
    // Syslog's severities as Python's.
    let level = match level {
        ..=2 => 50,
        3 => 40,
        4 => 30,
        5 | 6 => 20,
        _ => 10,
    };
    // SAFETY: see above.
    let notes = unsafe { &*api::opaque(handle).cast::<Notes>() };
    note(&notes.lines, (level, format!("{} {}", text(facility), text(line))));
}

/// # Safety
/// Called by the client, with the opaque pointer of `Client::new`.
unsafe extern "C" fn on_error(handle: *mut api::Handle, code: c_int, reason: *const c_char, opaque: *mut c_void) {
    let mut failure = Failure::described(code, text(reason));
    if code == api::ERR_FATAL {
        let mut reason = [0; REASON_BYTES];
        // SAFETY: the reason fits.
        failure.code = unsafe { api::fatal_error(handle, reason.as_mut_ptr(), reason.len()) };
        failure.reason = text(reason.as_ptr());
        failure.fatal = true;
    }
    // SAFETY: see above.
    note(&unsafe { &*opaque.cast::<Notes>() }.failures, failure);
}

/// # Safety
/// Called by the client, with the opaque pointer of `Client::new`.
unsafe extern "C" fn on_delivery(_: *mut api::Handle, message: *const api::Message, opaque: *mut c_void) {
    // SAFETY: see above; the message is valid during the call.
    let (code, notes) = unsafe { ((*message).err, &*opaque.cast::<Notes>()) };
    if code != 0 {
        note(&notes.failures, Failure::of_code(code));
    }
}

/// Tells Python first, so that what was written is settled while the partitions are still ours, and then does what the
/// group agreed on, whatever a hook raised: a member that refuses would stop the whole group.
///
/// # Safety
/// Called by the client inside `consume_batch_queue` or `consumer_close`, with the opaque pointer of `Client::new`.
unsafe extern "C" fn on_rebalance(
    handle: *mut api::Handle,
    code: c_int,
    partitions: *mut api::PartitionList,
    opaque: *mut c_void,
) {
    let is_assigned = code == api::ERR_ASSIGN_PARTITIONS;
    // SAFETY: see above.
    let notes = unsafe { &*opaque.cast::<Notes>() };
    Python::attach(|py| {
        let hook = notes.hooks.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|hooks| {
            // SAFETY: the handle is the caller's.
            let is_lost = !is_assigned && unsafe { api::assignment_lost(handle) } != 0;
            let hook = if is_assigned {
                &hooks.on_assign
            } else if is_lost {
                &hooks.on_lost
            } else {
                &hooks.on_revoke
            };
            hook.clone_ref(py)
        });
        // SAFETY: the list is the client's and lives during the call.
        let told =
            hook.map_or(Ok(()), |hook| hook.call1(py, (py.None(), unsafe { positions_of(py, partitions) }?)).map(drop));
        if let Err(error) = told {
            *notes.raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    });
    // SAFETY: the list is the client's and lives during the call.
    let done = unsafe {
        // A member that leaves before it has joined has no protocol.
        let protocol = api::rebalance_protocol(handle);
        if protocol.is_null() || CStr::from_ptr(protocol) != c"COOPERATIVE" {
            Failure::check_code(api::assign(handle, if is_assigned { partitions } else { ptr::null() }))
        } else if is_assigned {
            Failure::check(api::incremental_assign(handle, partitions))
        } else {
            Failure::check(api::incremental_unassign(handle, partitions))
        }
    };
    if let Err(failure) = done {
        note(&notes.failures, failure);
    }
}
