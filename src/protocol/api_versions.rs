//! ApiVersions: the first question on each connection, versions 0 to 5.
//!
//! | request | since | | response | since |
//! |---|---|---|---|---|
//! | client software name | 3 | | error code | 0 |
//! | client software version | 3 | | api keys: key, min version, max version | 0 |
//! | cluster id, null for none | 5 | | throttle time | 1 |
//! | node id, -1 for none | 5 | | | |
//!
//! A broker that is not the one that version 5 names answers REBOOTSTRAP_REQUIRED and no keys; a
//! node id without a cluster id is INVALID_REQUEST. Brokers before 4.4 refuse version 5.
//!
//! Source:   KIP-35, KIP-511 (the client's name, and how a broker refuses the version), KIP-1242
//!           (cluster id and node id).
#![forbid(unsafe_code)]

use super::api::{ApiKey, RequestHeader, VersionRange};
use super::error_code::ErrorCode;
use super::wire::{Reader, WireError};
use crate::ids::BrokerId;

/// What brokers see as the client's software. Letters, digits, dots and hyphens only (NET-14).
pub const SOFTWARE_NAME: &str = "kuring";
/// The version behind [`SOFTWARE_NAME`].
pub const SOFTWARE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// The first version that says who is meant.
pub const NAMES_BROKER_FROM: i16 = 5;

/// The broker that a connection is meant for (KIP-1242).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intended<'a> {
    /// The cluster's id; at most 32767 bytes.
    pub cluster_id: &'a str,
    /// The node's id in that cluster.
    pub node: BrokerId,
}

/// Appends a whole request, size prefix included. Versions below [`NAMES_BROKER_FROM`] have no
/// place for `intended`.
///
/// # Panics
/// When the version is not one of ours, or the client id or the cluster id is longer than 32767
/// bytes.
pub fn encode_request(
    out: &mut Vec<u8>,
    header: &RequestHeader<'_>,
    intended: Option<Intended<'_>>,
) {
    let mut request = header.begin(ApiKey::ApiVersions, out);
    if header.version >= 3 {
        request.fields.string(SOFTWARE_NAME);
        request.fields.string(SOFTWARE_VERSION);
    }
    if header.version >= NAMES_BROKER_FROM {
        request.fields.nullable_string(intended.map(|intended| intended.cluster_id));
        request.fields.i32(intended.map_or(-1, |intended| intended.node.0));
    }
    request.fields.no_tags();
    request.end(0);
}

/// Which versions a broker speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiVersionsResponse {
    /// `UnsupportedVersion` asks for another try with a version of [`Self::range`], or with 0.
    pub error: ErrorCode,
    /// How long the broker wants the connection to rest.
    pub throttle_ms: i32,
    /// Every API of the broker, known to this crate or not.
    pub apis: Vec<ApiRange>,
}

/// One API of a broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiRange {
    /// The API's key on the wire.
    pub key: i16,
    /// The versions that the broker speaks.
    pub versions: VersionRange,
}

impl ApiVersionsResponse {
    /// The broker's versions of one of our APIs; None when it does not have it.
    pub fn range(&self, api: ApiKey) -> Option<VersionRange> {
        self.apis.iter().find(|range| range.key == api.wire()).map(|range| range.versions)
    }
}

/// Reads the answer to a request of `version`.
///
/// A broker that does not speak `version` answers in version 0 whatever was asked; some name the
/// versions they do speak, older ones name nothing (NET-9).
///
/// # Errors
/// When the bytes are not such an answer.
pub fn decode_response(version: i16, body: &[u8]) -> Result<ApiVersionsResponse, WireError> {
    let mut reader = ApiKey::ApiVersions.body_reader(version, body)?;
    let error = ErrorCode::from_wire(reader.i16("error_code")?);
    if error == ErrorCode::UnsupportedVersion {
        let mut listed = Reader::new(reader.rest(), false);
        let apis = match listed.remaining() {
            0 => Vec::new(),
            _ => decode_apis(&mut listed)?,
        };
        return Ok(ApiVersionsResponse { error, throttle_ms: 0, apis });
    }
    let apis = decode_apis(&mut reader)?;
    let throttle_ms = if version >= 1 { reader.i32("throttle_time_ms")? } else { 0 };
    // The tags are about features; none concerns a producer without transactions.
    reader.skip_tags("response tags")?;
    reader.finish("api_versions")?;
    Ok(ApiVersionsResponse { error, throttle_ms, apis })
}

fn decode_apis(reader: &mut Reader<'_>) -> Result<Vec<ApiRange>, WireError> {
    const KEY_AND_TWO_VERSIONS: usize = 6;
    let count = reader.array_len(KEY_AND_TWO_VERSIONS, "api_keys")?;
    let mut apis = Vec::with_capacity(count);
    for _ in 0..count {
        let key = reader.i16("api_key")?;
        let versions =
            VersionRange { min: reader.i16("min_version")?, max: reader.i16("max_version")? };
        reader.skip_tags("api_key tags")?;
        apis.push(ApiRange { key, versions });
    }
    Ok(apis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn net_14_name_and_version_have_the_characters_that_brokers_accept() {
        for text in [SOFTWARE_NAME, SOFTWARE_VERSION] {
            assert!(text.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-'));
            assert!(text.starts_with(|c: char| c.is_ascii_alphanumeric()));
            assert!(text.ends_with(|c: char| c.is_ascii_alphanumeric()));
        }
    }

    #[test]
    fn net_9_a_refusal_is_read_as_version_0_with_and_without_a_list() {
        let listed = [0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 2];
        for version in 0..=5 {
            let response = decode_response(version, &listed).expect("a refusal with a list");
            assert_eq!(response.error, ErrorCode::UnsupportedVersion);
            let range = VersionRange { min: 0, max: 2 };
            assert_eq!(response.range(ApiKey::ApiVersions), Some(range));
            assert_eq!(response.range(ApiKey::Produce), None);
            for bare in [&[0, 35][..], &[0, 35, 0, 0, 0, 0]] {
                let response = decode_response(version, bare).expect("a refusal without a list");
                assert_eq!(response.error, ErrorCode::UnsupportedVersion);
                assert_eq!(response.apis, []);
            }
        }
    }

    #[test]
    fn a_version_that_is_not_ours_is_refused() {
        let refused = WireError::Unsupported { field: "ApiVersions", version: 6 };
        assert_eq!(decode_response(6, &[0, 0]), Err(refused));
    }

    #[test]
    fn rbt_4_version_5_names_the_cluster_and_the_node_behind_the_software() {
        let header = RequestHeader { version: 5, correlation: 7, client_id: Some("c") };
        let encode = |intended| {
            let mut frame = Vec::new();
            encode_request(&mut frame, &header, intended);
            let [length, body @ ..] = &frame[4..] else { panic!("a size and a message") };
            assert_eq!(frame[..4], (body.len() as u32 + 1).to_be_bytes());
            [&[*length], body].concat()
        };
        let software = [&[7][..], b"kuring", &[SOFTWARE_VERSION.len() as u8 + 1]].concat();
        let head = [&[0, 18, 0, 5, 0, 0, 0, 7, 0, 1, b'c', 0][..], &software].concat();
        let head = [&head, SOFTWARE_VERSION.as_bytes()].concat();
        let known = encode(Some(Intended { cluster_id: "abc", node: BrokerId(258) }));
        assert_eq!(known, [&head[..], &[4, b'a', b'b', b'c', 0, 0, 1, 2, 0]].concat());
        let unknown = encode(None);
        assert_eq!(unknown, [&head[..], &[0, 0xff, 0xff, 0xff, 0xff, 0]].concat());
    }

    #[test]
    fn rbt_4_a_broker_that_is_not_meant_says_so_and_names_no_versions() {
        let answer = [0, 129, 1, 0, 0, 0, 9, 0];
        let response = decode_response(5, &answer).expect("an error without a list");
        assert_eq!(response.error, ErrorCode::RebootstrapRequired);
        assert_eq!((response.apis, response.throttle_ms), (vec![], 9));
    }
}
