//! Error codes that the model says.
#![forbid(unsafe_code)]

pub(super) const UNKNOWN_SERVER_ERROR: i16 = -1;
pub(super) const NONE: i16 = 0;
pub(super) const CORRUPT_MESSAGE: i16 = 2;
pub(super) const UNKNOWN_TOPIC: i16 = 3;
pub(super) const LEADER_NOT_AVAILABLE: i16 = 5;
pub(super) const NOT_LEADER: i16 = 6;
pub(super) const REQUEST_TIMED_OUT: i16 = 7;
pub(super) const REPLICA_NOT_AVAILABLE: i16 = 9;
pub(super) const MESSAGE_TOO_LARGE: i16 = 10;
pub(super) const COORDINATOR_LOADING: i16 = 14;
pub(super) const COORDINATOR_NOT_AVAILABLE: i16 = 15;
pub(super) const NOT_COORDINATOR: i16 = 16;
pub(super) const INVALID_TOPIC: i16 = 17;
pub(super) const RECORD_LIST_TOO_LARGE: i16 = 18;
pub(super) const NOT_ENOUGH_REPLICAS: i16 = 19;
pub(super) const NOT_ENOUGH_REPLICAS_AFTER_APPEND: i16 = 20;
pub(super) const INVALID_REQUIRED_ACKS: i16 = 21;
pub(super) const TOPIC_DENIED: i16 = 29;
pub(super) const CLUSTER_DENIED: i16 = 31;
pub(super) const INVALID_TIMESTAMP: i16 = 32;
pub(super) const UNSUPPORTED_VERSION: i16 = 35;
pub(super) const INVALID_REQUEST: i16 = 42;
pub(super) const UNSUPPORTED_FORMAT: i16 = 43;
pub(super) const POLICY_VIOLATION: i16 = 44;
pub(super) const OUT_OF_ORDER: i16 = 45;
pub(super) const DUPLICATE_SEQUENCE: i16 = 46;
pub(super) const INVALID_PRODUCER_EPOCH: i16 = 47;
pub(super) const INVALID_PRODUCER_ID_MAPPING: i16 = 49;
pub(super) const CONCURRENT_TRANSACTIONS: i16 = 51;
pub(super) const TRANSACTIONAL_ID_DENIED: i16 = 53;
pub(super) const STORAGE_ERROR: i16 = 56;
pub(super) const UNKNOWN_PRODUCER_ID: i16 = 59;
pub(super) const LISTENER_NOT_FOUND: i16 = 72;
pub(super) const FENCED_LEADER_EPOCH: i16 = 74;
pub(super) const UNKNOWN_LEADER_EPOCH: i16 = 75;
pub(super) const UNSUPPORTED_COMPRESSION: i16 = 76;
pub(super) const INVALID_RECORD: i16 = 87;
pub(super) const QUOTA_EXCEEDED: i16 = 89;
pub(super) const PRODUCER_FENCED: i16 = 90;
pub(super) const UNKNOWN_TOPIC_ID: i16 = 100;
pub(super) const INCONSISTENT_TOPIC_ID: i16 = 103;
pub(super) const TRANSACTION_ABORTABLE: i16 = 120;
pub(super) const REBOOTSTRAP_REQUIRED: i16 = 129;

/// Retriable ones that a produce answer can have for a batch that was not appended.
pub(super) const RETRIABLE: &[i16] = &[
    CORRUPT_MESSAGE,
    UNKNOWN_TOPIC,
    LEADER_NOT_AVAILABLE,
    NOT_LEADER,
    REQUEST_TIMED_OUT,
    REPLICA_NOT_AVAILABLE,
    NOT_ENOUGH_REPLICAS,
    CONCURRENT_TRANSACTIONS,
    STORAGE_ERROR,
    LISTENER_NOT_FOUND,
    FENCED_LEADER_EPOCH,
    UNKNOWN_LEADER_EPOCH,
    QUOTA_EXCEEDED,
    UNKNOWN_TOPIC_ID,
    INCONSISTENT_TOPIC_ID,
];

/// Retriable ones that a broker says of a batch that it has appended, and that waited for followers
/// when the broker lost its leadership, disk or topic, or the wait was over.
pub(super) const RETRIABLE_AFTER: &[i16] = &[
    UNKNOWN_TOPIC,
    NOT_LEADER,
    REQUEST_TIMED_OUT,
    NOT_ENOUGH_REPLICAS_AFTER_APPEND,
    STORAGE_ERROR,
];

/// Final ones for a batch that was not appended.
pub(super) const FINAL: &[i16] = &[
    UNKNOWN_SERVER_ERROR,
    8,
    INVALID_TOPIC,
    RECORD_LIST_TOO_LARGE,
    INVALID_REQUIRED_ACKS,
    TOPIC_DENIED,
    INVALID_TIMESTAMP,
    INVALID_REQUEST,
    UNSUPPORTED_FORMAT,
    POLICY_VIOLATION,
    INVALID_PRODUCER_EPOCH,
    UNSUPPORTED_COMPRESSION,
    TRANSACTION_ABORTABLE,
    1_234,
];

/// Those after which a producer cannot go on.
pub(super) const FATAL: &[i16] = &[
    CLUSTER_DENIED,
    UNSUPPORTED_VERSION,
    INVALID_PRODUCER_ID_MAPPING,
    TRANSACTIONAL_ID_DENIED,
    PRODUCER_FENCED,
];

/// Why an InitProducerId is to be tried again.
pub(super) const INIT_RETRIABLE: &[i16] =
    &[COORDINATOR_LOADING, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR, REQUEST_TIMED_OUT];
