//! librdkafka, as confluent-kafka has loaded it.
//!
//! Both bodies of a lane share one librdkafka: there is nothing to compile, TLS and SASL are whatever the wheel of
//! confluent-kafka was built with, and what was proved about this version of the client holds for both. Its functions
//! are looked up in confluent-kafka's extension module, which the loader searches together with its dependencies.
//! The declarations below are librdkafka's public, stable C interface (`rdkafka.h`).

use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

use libloading::Library;

/// Types of which this side knows only addresses.
macro_rules! opaque {
    ($($name:ident)*) => { $(#[repr(C)] pub struct $name { _private: [u8; 0] })* };
}

opaque!(Handle Conf Queue Topic Error Headers GroupMetadata);

/// `rd_kafka_message_t`.
#[repr(C)]
pub struct Message {
    pub err: c_int,
    pub topic: *mut Topic,
    pub partition: i32,
    pub payload: *mut c_void,
    pub len: usize,
    pub key: *mut c_void,
    pub key_len: usize,
    pub offset: i64,
    private: *mut c_void,
}

/// `rd_kafka_topic_partition_t`.
#[repr(C)]
pub struct TopicPartition {
    pub topic: *mut c_char,
    pub partition: i32,
    pub offset: i64,
    metadata: *mut c_void,
    metadata_size: usize,
    opaque: *mut c_void,
    pub err: c_int,
    private: *mut c_void,
}

/// `rd_kafka_topic_partition_list_t`.
#[repr(C)]
pub struct PartitionList {
    pub count: c_int,
    size: c_int,
    pub elements: *mut TopicPartition,
}

/// `rd_kafka_vu_t`: one field of a record to produce.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Field {
    kind: c_int,
    value: FieldValue,
}

#[repr(C)]
#[derive(Clone, Copy)]
union FieldValue {
    topic: *mut Topic,
    int: c_int,
    partition: i32,
    timestamp: i64,
    bytes: Bytes,
    header: Header,
    /// Room that librdkafka keeps for itself.
    _padding: [u8; 64],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Bytes {
    start: *const u8,
    len: usize,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Header {
    name: *const c_char,
    value: Bytes,
}

impl Field {
    fn new(kind: c_int, value: FieldValue) -> Self {
        Self { kind, value }
    }

    pub fn topic(topic: *mut Topic) -> Self {
        Self::new(2, FieldValue { topic })
    }

    pub fn partition(partition: i32) -> Self {
        Self::new(3, FieldValue { partition })
    }

    pub fn value(start: *const u8, len: usize) -> Self {
        Self::new(4, FieldValue { bytes: Bytes { start, len } })
    }

    pub fn key(start: *const u8, len: usize) -> Self {
        Self::new(5, FieldValue { bytes: Bytes { start, len } })
    }

    pub fn flags(int: c_int) -> Self {
        Self::new(7, FieldValue { int })
    }

    pub fn timestamp(timestamp: i64) -> Self {
        Self::new(8, FieldValue { timestamp })
    }

    pub fn header(name: *const c_char, start: *const u8, len: usize) -> Self {
        Self::new(9, FieldValue { header: Header { name, value: Bytes { start, len } } })
    }
}

pub const PRODUCER: c_int = 0;
pub const CONSUMER: c_int = 1;
/// The client copies the bytes before `produceva` returns.
pub const COPY: c_int = 2;
pub const PURGE_QUEUE: c_int = 1;
pub const PURGE_IN_FLIGHT: c_int = 2;
pub const PURGE_NON_BLOCKING: c_int = 4;
pub const NO_CONSUMER_CLOSE: c_int = 8;
pub const ERR_ASSIGN_PARTITIONS: c_int = -175;
pub const ERR_QUEUE_FULL: c_int = -184;
pub const ERR_TIMED_OUT: c_int = -185;
pub const ERR_INVALID_ARG: c_int = -186;
pub const ERR_FATAL: c_int = -150;

pub type LogCallback = unsafe extern "C" fn(*const Handle, c_int, *const c_char, *const c_char);
pub type ErrorCallback = unsafe extern "C" fn(*mut Handle, c_int, *const c_char, *mut c_void);
pub type RebalanceCallback = unsafe extern "C" fn(*mut Handle, c_int, *mut PartitionList, *mut c_void);
pub type DeliveryCallback = unsafe extern "C" fn(*mut Handle, *const Message, *mut c_void);

/// Declares functions of librdkafka, named as there but for `rd_kafka_`, and looks them up in a library.
macro_rules! functions {
    ($(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        struct Functions { $($name: unsafe extern "C" fn($($type),*) $(-> $result)?,)* }

        impl Functions {
            fn find(library: &Library) -> Result<Self, libloading::Error> {
                // SAFETY: the types are those of rdkafka.h.
                Ok(Self { $($name: unsafe { *library.get(concat!("rd_kafka_", stringify!($name), "\0").as_bytes())? },)* })
            }
        }

        $(
            /// See `rdkafka.h`.
            #[allow(clippy::missing_safety_doc)]
            pub unsafe fn $name($($argument: $type),*) $(-> $result)? {
                let functions = FUNCTIONS.get().expect("the module is initialised");
                // SAFETY: the caller keeps what rdkafka.h asks for.
                unsafe { (functions.$name)($($argument),*) }
            }
        )*
    };
}

static FUNCTIONS: OnceLock<Functions> = OnceLock::new();

/// Finds librdkafka behind confluent-kafka's extension module. Before anything else is called here.
pub fn load(extension: &str) -> Result<(), libloading::Error> {
    // SAFETY: the interpreter has loaded this file already, so nothing is initialised now.
    let library = unsafe { Library::new(extension)? };
    let functions = Functions::find(&library)?;
    // Its code is in use as long as the process lives.
    std::mem::forget(library);
    FUNCTIONS.get_or_init(|| functions);
    Ok(())
}

functions! {
    fn version_str() -> *const c_char;
    fn err2str(code: c_int) -> *const c_char;
    fn last_error() -> c_int;
    fn conf_new() -> *mut Conf;
    fn conf_set(conf: *mut Conf, name: *const c_char, value: *const c_char, reason: *mut c_char, size: usize) -> c_int;
    fn conf_destroy(conf: *mut Conf);
    fn conf_set_opaque(conf: *mut Conf, opaque: *mut c_void);
    fn conf_set_log_cb(conf: *mut Conf, callback: Option<LogCallback>);
    fn conf_set_error_cb(conf: *mut Conf, callback: Option<ErrorCallback>);
    fn conf_set_rebalance_cb(conf: *mut Conf, callback: Option<RebalanceCallback>);
    fn conf_set_dr_msg_cb(conf: *mut Conf, callback: Option<DeliveryCallback>);
    fn new(kind: c_int, conf: *mut Conf, reason: *mut c_char, size: usize) -> *mut Handle;
    fn destroy_flags(handle: *mut Handle, flags: c_int);
    fn opaque(handle: *const Handle) -> *mut c_void;
    fn fatal_error(handle: *mut Handle, reason: *mut c_char, size: usize) -> c_int;
    fn poll(handle: *mut Handle, timeout_ms: c_int) -> c_int;

    fn poll_set_consumer(handle: *mut Handle) -> c_int;
    fn queue_get_consumer(handle: *mut Handle) -> *mut Queue;
    fn queue_destroy(queue: *mut Queue);
    fn subscribe(handle: *mut Handle, topics: *const PartitionList) -> c_int;
    fn consume_batch_queue(queue: *mut Queue, timeout_ms: c_int, messages: *mut *mut Message, size: usize) -> isize;
    fn consumer_close(handle: *mut Handle) -> c_int;
    fn rebalance_protocol(handle: *mut Handle) -> *const c_char;
    fn assignment_lost(handle: *mut Handle) -> c_int;
    fn assign(handle: *mut Handle, partitions: *const PartitionList) -> c_int;
    fn incremental_assign(handle: *mut Handle, partitions: *const PartitionList) -> *mut Error;
    fn incremental_unassign(handle: *mut Handle, partitions: *const PartitionList) -> *mut Error;
    fn committed(handle: *mut Handle, partitions: *mut PartitionList, timeout_ms: c_int) -> c_int;
    fn commit(handle: *mut Handle, offsets: *const PartitionList, asynchronous: c_int) -> c_int;
    fn position(handle: *mut Handle, partitions: *mut PartitionList) -> c_int;
    fn pause_partitions(handle: *mut Handle, partitions: *mut PartitionList) -> c_int;
    fn resume_partitions(handle: *mut Handle, partitions: *mut PartitionList) -> c_int;
    fn seek(topic: *mut Topic, partition: i32, offset: i64, timeout_ms: c_int) -> c_int;
    fn get_watermark_offsets(
        handle: *mut Handle, topic: *const c_char, partition: i32, low: *mut i64, high: *mut i64
    ) -> c_int;
    fn consumer_group_metadata(handle: *mut Handle) -> *mut GroupMetadata;
    fn consumer_group_metadata_destroy(metadata: *mut GroupMetadata);

    fn message_destroy(message: *mut Message);
    fn message_timestamp(message: *const Message, kind: *mut c_int) -> i64;
    fn message_headers(message: *const Message, headers: *mut *mut Headers) -> c_int;
    fn header_get_all(
        headers: *const Headers, index: usize, name: *mut *const c_char, value: *mut *const c_void, size: *mut usize
    ) -> c_int;
    fn topic_new(handle: *mut Handle, name: *const c_char, conf: *mut c_void) -> *mut Topic;
    fn topic_destroy(topic: *mut Topic);
    fn topic_partition_list_new(size: c_int) -> *mut PartitionList;
    fn topic_partition_list_add(list: *mut PartitionList, topic: *const c_char, partition: i32) -> *mut TopicPartition;
    fn topic_partition_list_destroy(list: *mut PartitionList);

    fn produceva(handle: *mut Handle, fields: *const Field, count: usize) -> *mut Error;
    fn flush(handle: *mut Handle, timeout_ms: c_int) -> c_int;
    fn outq_len(handle: *mut Handle) -> c_int;
    fn purge(handle: *mut Handle, flags: c_int) -> c_int;
    fn init_transactions(handle: *mut Handle, timeout_ms: c_int) -> *mut Error;
    fn begin_transaction(handle: *mut Handle) -> *mut Error;
    fn send_offsets_to_transaction(
        handle: *mut Handle, offsets: *const PartitionList, group: *const GroupMetadata, timeout_ms: c_int
    ) -> *mut Error;
    fn commit_transaction(handle: *mut Handle, timeout_ms: c_int) -> *mut Error;
    fn abort_transaction(handle: *mut Handle, timeout_ms: c_int) -> *mut Error;

    fn error_code(error: *const Error) -> c_int;
    fn error_string(error: *const Error) -> *const c_char;
    fn error_is_fatal(error: *const Error) -> c_int;
    fn error_is_retriable(error: *const Error) -> c_int;
    fn error_txn_requires_abort(error: *const Error) -> c_int;
    fn error_destroy(error: *mut Error);
}
