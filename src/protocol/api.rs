//! What every request and response begins with, and which versions are spoken.
//!
//! | header | fields | used by |
//! |---|---|---|
//! | request v1 | api key i16, version i16, correlation id i32, client id nullable string | older |
//! | request v2 | v1, tagged fields (the client id keeps its 16-bit length) | flexible |
//! | response v0 | correlation id i32 | older; every ApiVersions |
//! | response v1 | v0, tagged fields | flexible |
//!
//! Source:   KIP-482 (flexible versions), KIP-511 (why ApiVersions keeps response header v0).
#![forbid(unsafe_code)]

use super::wire::{Reader, WireError, Writer};

/// The requests that this crate sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum ApiKey {
    /// Record batches for partition leaders.
    Produce = 0,
    /// Brokers, topics, partitions and their leaders.
    Metadata = 3,
    /// Which versions the broker speaks.
    ApiVersions = 18,
    /// A producer id and its epoch.
    InitProducerId = 22,
    /// Which metrics the cluster wants of this client.
    GetTelemetrySubscriptions = 71,
    /// Those metrics.
    PushTelemetry = 72,
}

impl ApiKey {
    /// Every request that this crate sends.
    pub const ALL: [Self; 6] = [
        Self::Produce,
        Self::Metadata,
        Self::ApiVersions,
        Self::InitProducerId,
        Self::GetTelemetrySubscriptions,
        Self::PushTelemetry,
    ];

    /// The key on the wire.
    pub const fn wire(self) -> i16 {
        self as i16
    }

    /// The versions that this crate speaks.
    pub const fn versions(self) -> VersionRange {
        match self {
            Self::Produce => VersionRange { min: 3, max: 13 },
            Self::Metadata => VersionRange { min: 4, max: 13 },
            Self::ApiVersions => VersionRange { min: 0, max: 5 },
            Self::InitProducerId => VersionRange { min: 0, max: 5 },
            Self::GetTelemetrySubscriptions | Self::PushTelemetry => {
                VersionRange { min: 0, max: 0 }
            }
        }
    }

    /// The first flexible version.
    pub const fn flexible_from(self) -> i16 {
        match self {
            Self::Produce | Self::Metadata => 9,
            Self::ApiVersions => 3,
            Self::InitProducerId => 2,
            Self::GetTelemetrySubscriptions | Self::PushTelemetry => 0,
        }
    }

    /// Whether a version is flexible.
    pub const fn is_flexible(self, version: i16) -> bool {
        version >= self.flexible_from()
    }

    /// The message's name in Kafka's documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Produce => "Produce",
            Self::Metadata => "Metadata",
            Self::ApiVersions => "ApiVersions",
            Self::InitProducerId => "InitProducerId",
            Self::GetTelemetrySubscriptions => "GetTelemetrySubscriptions",
            Self::PushTelemetry => "PushTelemetry",
        }
    }

    /// A reader over a response's body of `version`.
    ///
    /// # Errors
    /// `Unsupported` when `version` is outside [`ApiKey::versions`].
    pub fn body_reader(self, version: i16, body: &[u8]) -> Result<Reader<'_>, WireError> {
        if !self.versions().contains(version) {
            return Err(WireError::Unsupported { field: self.name(), version });
        }
        Ok(Reader::new(body, self.is_flexible(version)))
    }
}

/// Versions from `min` to `max`, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionRange {
    /// The lowest version.
    pub min: i16,
    /// The highest version.
    pub max: i16,
}

impl VersionRange {
    /// Whether `version` is inside.
    pub const fn contains(self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }
}

/// The highest version that both sides speak; None when there is none (NET-15).
pub fn negotiate(ours: VersionRange, brokers: VersionRange) -> Option<i16> {
    let highest = ours.max.min(brokers.max);
    (highest >= ours.min && highest >= brokers.min).then_some(highest)
}

/// Gives out correlation ids. The top eight values of i32 belong to SASL and are skipped; behind
/// them the ids go on at `i32::MIN` (NET-3).
#[derive(Clone, Debug, Default)]
pub struct CorrelationId {
    upcoming: i32,
}

impl CorrelationId {
    const RESERVED_MIN: i32 = i32::MAX - 7;

    /// A counter whose first id is `first`, or the first one behind the reserved ids.
    pub fn starting_at(first: i32) -> Self {
        Self { upcoming: if first >= Self::RESERVED_MIN { i32::MIN } else { first } }
    }

    /// The id of the next request.
    pub fn allot(&mut self) -> i32 {
        let id = self.upcoming;
        *self = Self::starting_at(id + 1);
        id
    }
}

/// What stands in front of a request's own fields.
#[derive(Clone, Copy, Debug)]
pub struct RequestHeader<'a> {
    /// The request's version.
    pub version: i16,
    /// Comes back in the response.
    pub correlation: i32,
    /// `client.id`; at most 32767 bytes.
    pub client_id: Option<&'a str>,
}

impl RequestHeader<'_> {
    /// Most bytes of the size prefix and the header.
    pub fn bytes_max(client_id: Option<&str>) -> usize {
        const SIZE_KEY_VERSION_CORRELATION_LENGTH_TAGS: usize = 4 + 2 + 2 + 4 + 2 + 1;
        SIZE_KEY_VERSION_CORRELATION_LENGTH_TAGS + client_id.map_or(0, str::len)
    }

    /// Starts a frame: four bytes for the size, then the header.
    ///
    /// # Panics
    /// When the crate does not speak the version: versions come from [`negotiate`].
    pub(super) fn begin<'a>(&self, api: ApiKey, out: &'a mut Vec<u8>) -> RequestWriter<'a> {
        assert!(api.versions().contains(self.version), "a version that was not negotiated");
        let start = out.len();
        let mut header = Writer::new(out, false);
        header.i32(0);
        header.i16(api.wire());
        header.i16(self.version);
        header.i32(self.correlation);
        header.nullable_string(self.client_id);
        let mut fields = Writer::new(out, api.is_flexible(self.version));
        fields.no_tags();
        RequestWriter { start, fields }
    }
}

/// A frame that is being written.
#[derive(Debug)]
pub(super) struct RequestWriter<'a> {
    start: usize,
    pub(super) fields: Writer<'a>,
}

impl RequestWriter<'_> {
    /// Ends the frame: its size counts everything behind the size itself, and `lent_bytes` that are
    /// sent between its pieces.
    pub(super) fn end(mut self, lent_bytes: usize) {
        let size = self.fields.position() - self.start - 4 + lent_bytes;
        let size = i32::try_from(size).expect("requests are bounded by max.request.size, an i32");
        self.fields.patch_i32(self.start, size);
    }
}

/// A response's correlation id and body, from a frame without its size.
///
/// # Errors
/// When the frame is too short or its tagged fields are malformed.
pub fn split_response(api: ApiKey, version: i16, frame: &[u8]) -> Result<(i32, &[u8]), WireError> {
    let flexible = match api {
        // The client cannot know the answer's version before it has read it.
        ApiKey::ApiVersions => false,
        ApiKey::Produce
        | ApiKey::Metadata
        | ApiKey::InitProducerId
        | ApiKey::GetTelemetrySubscriptions
        | ApiKey::PushTelemetry => api.is_flexible(version),
    };
    let mut reader = Reader::new(frame, flexible);
    let correlation = reader.i32("correlation_id")?;
    reader.skip_tags("response header tags")?;
    Ok((correlation, reader.rest()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_that_both_speak_is_chosen() {
        let range = |min, max| VersionRange { min, max };
        assert_eq!(negotiate(range(3, 13), range(0, 11)), Some(11));
        assert_eq!(negotiate(range(3, 13), range(3, 99)), Some(13));
        assert_eq!(negotiate(range(3, 13), range(13, 14)), Some(13));
        assert_eq!(negotiate(range(3, 13), range(0, 2)), None);
        assert_eq!(negotiate(range(3, 13), range(14, 15)), None);
        assert_eq!(negotiate(range(3, 13), range(9, 5)), None);
    }

    #[test]
    fn net_3_the_top_eight_correlation_ids_are_skipped() {
        let mut ids = CorrelationId::default();
        assert_eq!((ids.allot(), ids.allot()), (0, 1));
        let mut ids = CorrelationId::starting_at(i32::MAX - 9);
        assert_eq!(ids.allot(), i32::MAX - 9);
        assert_eq!(ids.allot(), i32::MAX - 8);
        assert_eq!(ids.allot(), i32::MIN);
        assert_eq!(ids.allot(), i32::MIN + 1);
        assert_eq!(CorrelationId::starting_at(i32::MAX).allot(), i32::MIN);
        assert_eq!(CorrelationId::starting_at(-1).allot(), -1);
    }

    #[test]
    fn a_response_header_has_tags_from_the_first_flexible_version_but_never_for_api_versions() {
        let frame = [0, 0, 0, 5, 0, 0xaa];
        assert_eq!(split_response(ApiKey::Produce, 8, &frame), Ok((5, &[0, 0xaa][..])));
        assert_eq!(split_response(ApiKey::Produce, 9, &frame), Ok((5, &[0xaa][..])));
        assert_eq!(split_response(ApiKey::ApiVersions, 4, &frame), Ok((5, &[0, 0xaa][..])));
        assert!(split_response(ApiKey::Metadata, 9, &frame[..4]).is_err());
    }
}
