//! What to do about each error code: one total table, and what it means for each request.
//!
//! Source: section 4 of the Java producer's behaviour; KIP-98, KIP-360, KIP-467, KIP-679, KIP-951.
#![forbid(unsafe_code)]

use crate::protocol::error_code::ErrorCode;

/// What follows from a code. Written for a batch; [`for_identity`] says what is different for a
/// producer id. Metadata has its own, shorter rule, beside its merge: final codes of a topic are
/// told to the call that waits for it, all others ask again (MD-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    /// It was written.
    Success,
    /// It was written before; the broker no longer knows where (META-4).
    Duplicate,
    /// Send it again after a wait.
    Retry {
        /// Ask for metadata first.
        refresh: bool,
        /// Whether this attempt may have been written all the same.
        uncertain: bool,
    },
    /// The sequence is not the one that the broker expects (OOS).
    OutOfOrder,
    /// The broker has nothing of this producer (UPI).
    UnknownProducer,
    /// Send it again in smaller pieces, or fail a single record (SPL-1).
    Split,
    /// Its records fail, and sequences start again under a new epoch.
    Fail {
        /// Whether this attempt may have been written all the same.
        uncertain: bool,
    },
    /// With idempotence no batch of this shard can be written any more; else as `Fail`.
    Fatal,
}

/// Not written, the metadata is right.
const RETRY: Recovery = Recovery::Retry { refresh: false, uncertain: false };
/// Not written, the metadata may be old.
const REFRESH: Recovery = Recovery::Retry { refresh: true, uncertain: false };
/// The leader may have it: a retry without idempotence can duplicate.
const RETRY_UNCERTAIN: Recovery = Recovery::Retry { refresh: false, uncertain: true };
/// The same, and the metadata may be old.
const REFRESH_UNCERTAIN: Recovery = Recovery::Retry { refresh: true, uncertain: true };
/// The broker refused it before it wrote anything.
const FAIL: Recovery = Recovery::Fail { uncertain: false };

/// The table. No wildcard: a new code has to be thought about here.
pub(super) fn recovery(code: ErrorCode) -> Recovery {
    use ErrorCode as E;
    match code {
        E::None => Recovery::Success,
        E::DuplicateSequenceNumber => Recovery::Duplicate,
        E::OutOfOrderSequenceNumber => Recovery::OutOfOrder,
        E::UnknownProducerId => Recovery::UnknownProducer,
        E::MessageTooLarge => Recovery::Split,

        // Note c of the source. A producer id or a permission is gone for good.
        E::ClusterAuthorizationFailed
        | E::TransactionalIdAuthorizationFailed
        | E::UnsupportedVersion
        | E::InvalidProducerIdMapping
        | E::ProducerFenced => Recovery::Fatal,

        // The leader has it, its followers may not.
        E::RequestTimedOut | E::NotEnoughReplicasAfterAppend => RETRY_UNCERTAIN,
        // With acks=all these also answer what was appended and then waited for followers, when the
        // broker stops leading (a shutdown does it), loses its disk or its replica meanwhile. Seen
        // for the first of these with 3.9.2: the next leader knows the batch as a duplicate. A
        // topic may be deleted meanwhile, too. The last is made here, when a connection ends.
        E::NotLeaderOrFollower
        | E::KafkaStorageError
        | E::UnknownTopicOrPartition
        | E::UnknownTopicId
        | E::InconsistentTopicId
        | E::NetworkException => REFRESH_UNCERTAIN,

        E::LeaderNotAvailable
        | E::ReplicaNotAvailable
        | E::ListenerNotFound
        | E::FencedLeaderEpoch
        | E::PreferredLeaderNotAvailable
        | E::EligibleLeadersNotAvailable
        | E::ElectionNotNeeded => REFRESH,

        E::CorruptMessage
        | E::CoordinatorLoadInProgress
        | E::CoordinatorNotAvailable
        | E::NotCoordinator
        | E::NotEnoughReplicas
        | E::NotController
        | E::ConcurrentTransactions
        | E::FetchSessionIdNotFound
        | E::InvalidFetchSessionEpoch
        | E::UnknownLeaderEpoch
        | E::OffsetNotAvailable
        | E::UnstableOffsetCommit
        | E::ThrottlingQuotaExceeded
        | E::FetchSessionTopicIdError
        | E::ShareSessionNotFound
        | E::InvalidShareSessionEpoch
        | E::ShareSessionLimitReached => RETRY,

        // Something unforeseen went wrong in the broker, before or after it wrote; and every code
        // that this client does not know is taken for this one.
        E::UnknownServerError => Recovery::Fail { uncertain: true },

        // What a broker refuses a batch with.
        E::BrokerNotAvailable
        | E::InvalidTopicException
        | E::RecordListTooLarge
        | E::InvalidRequiredAcks
        | E::TopicAuthorizationFailed
        | E::InvalidTimestamp
        | E::InvalidRequest
        | E::UnsupportedForMessageFormat
        | E::PolicyViolation
        | E::InvalidProducerEpoch
        | E::InvalidTxnState
        | E::TransactionCoordinatorFenced
        | E::UnsupportedCompressionType
        | E::InvalidRecord
        | E::TransactionAbortable => FAIL,

        // Codes of other requests. A broker that gives one to a batch did not write it.
        E::OffsetOutOfRange
        | E::InvalidFetchSize
        | E::StaleControllerEpoch
        | E::OffsetMetadataTooLarge
        | E::IllegalGeneration
        | E::InconsistentGroupProtocol
        | E::InvalidGroupId
        | E::UnknownMemberId
        | E::InvalidSessionTimeout
        | E::RebalanceInProgress
        | E::InvalidCommitOffsetSize
        | E::GroupAuthorizationFailed
        | E::UnsupportedSaslMechanism
        | E::IllegalSaslState
        | E::TopicAlreadyExists
        | E::InvalidPartitions
        | E::InvalidReplicationFactor
        | E::InvalidReplicaAssignment
        | E::InvalidConfig
        | E::InvalidTransactionTimeout
        | E::SecurityDisabled
        | E::OperationNotAttempted
        | E::LogDirNotFound
        | E::SaslAuthenticationFailed
        | E::ReassignmentInProgress
        | E::DelegationTokenAuthDisabled
        | E::DelegationTokenNotFound
        | E::DelegationTokenOwnerMismatch
        | E::DelegationTokenRequestNotAllowed
        | E::DelegationTokenAuthorizationFailed
        | E::DelegationTokenExpired
        | E::InvalidPrincipalType
        | E::NonEmptyGroup
        | E::GroupIdNotFound
        | E::TopicDeletionDisabled
        | E::StaleBrokerEpoch
        | E::MemberIdRequired
        | E::GroupMaxSizeReached
        | E::FencedInstanceId
        | E::NoReassignmentInProgress
        | E::GroupSubscribedToTopic
        | E::ResourceNotFound
        | E::DuplicateResource
        | E::UnacceptableCredential
        | E::InconsistentVoterSet
        | E::InvalidUpdateVersion
        | E::FeatureUpdateFailed
        | E::PrincipalDeserializationFailure
        | E::SnapshotNotFound
        | E::PositionOutOfRange
        | E::DuplicateBrokerRegistration
        | E::BrokerIdNotRegistered
        | E::InconsistentClusterId
        | E::TransactionalIdNotFound
        | E::IneligibleReplica
        | E::NewLeaderElected
        | E::OffsetMovedToTieredStorage
        | E::FencedMemberEpoch
        | E::UnreleasedInstanceId
        | E::UnsupportedAssignor
        | E::StaleMemberEpoch
        | E::MismatchedEndpointType
        | E::UnsupportedEndpointType
        | E::UnknownControllerId
        | E::UnknownSubscriptionId
        | E::TelemetryTooLarge
        | E::InvalidRegistration
        | E::InvalidRecordState
        | E::FencedStateEpoch
        | E::InvalidVoterKey
        | E::DuplicateVoter
        | E::VoterNotFound
        | E::InvalidRegularExpression
        | E::RebootstrapRequired
        | E::StreamsInvalidTopology
        | E::StreamsInvalidTopologyEpoch
        | E::StreamsTopologyFenced => FAIL,
    }
}

/// What a code means for the request for a producer id. Java ends the producer at most of the final
/// ones; here what is queued fails and the next records may fare better, as Java does for denied
/// permissions (SEQ-12).
pub(super) fn for_identity(code: ErrorCode) -> Recovery {
    match recovery(code) {
        Recovery::Success => Recovery::Success,
        retry @ Recovery::Retry { .. } => retry,
        Recovery::Duplicate
        | Recovery::OutOfOrder
        | Recovery::UnknownProducer
        | Recovery::Split
        | Recovery::Fail { .. }
        | Recovery::Fatal => FAIL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Code, name, retriable, refresh: the rows of section 4.2 of the source, by their numbers.
    const RETRIABLE: [i16; 24] = [
        2, 3, 5, 6, 7, 9, 13, 14, 15, 16, 19, 20, 51, 56, 72, 74, 75, 80, 83, 84, 89, 100, 103, 41,
    ];
    const REFRESHING: [i16; 13] = [3, 5, 6, 9, 13, 56, 72, 74, 80, 83, 84, 100, 103];
    const FATAL: [i16; 5] = [31, 35, 49, 53, 90];

    #[test]
    fn the_table_of_the_produce_codes_holds_row_by_row() {
        for &code in ErrorCode::ALL {
            let found = recovery(code);
            let number = code.wire();
            let retried = matches!(found, Recovery::Retry { .. });
            assert_eq!(retried, code.is_retriable(), "{code}: {found:?}");
            if RETRIABLE.contains(&number) {
                assert!(retried, "{code}: {found:?}");
            }
            let refreshes = matches!(found, Recovery::Retry { refresh: true, .. });
            assert_eq!(refreshes, REFRESHING.contains(&number), "{code}: {found:?}");
            assert_eq!(refreshes, code.refreshes_metadata(), "{code}: {found:?}");
            assert_eq!(found == Recovery::Fatal, FATAL.contains(&number), "{code}: {found:?}");
        }
    }

    #[test]
    fn seq_12_no_code_ends_the_producer_when_it_asks_for_an_id() {
        for &code in ErrorCode::ALL {
            let found = for_identity(code);
            assert_eq!(found == Recovery::Success, code == ErrorCode::None);
            assert_eq!(matches!(found, Recovery::Retry { .. }), code.is_retriable(), "{code}");
            assert_ne!(found, Recovery::Fatal, "{code}");
        }
    }

    #[test]
    fn a_code_that_nobody_knows_may_mean_anything() {
        let unknown = ErrorCode::from_wire(9999);
        assert_eq!(recovery(unknown), Recovery::Fail { uncertain: true });
    }
}
