//! ApiVersions: the first question on each connection, versions 0 to 4.
//!
//! | request | since | | response | since |
//! |---|---|---|---|---|
//! | client software name | 3 | | error code | 0 |
//! | client software version | 3 | | api keys: key, min version, max version | 0 |
//! | | | | throttle time | 1 |
//!
//! Source:   KIP-35, KIP-511 (the client's name, and how a broker refuses the version).
#![forbid(unsafe_code)]

use super::api::{ApiKey, RequestHeader, VersionRange};
use super::error_code::ErrorCode;
use super::wire::{Reader, WireError};

/// What brokers see as the client's software. Letters, digits, dots and hyphens only (NET-14).
pub const SOFTWARE_NAME: &str = "kuring";
/// The version behind [`SOFTWARE_NAME`].
pub const SOFTWARE_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Appends a whole request, size prefix included.
///
/// # Panics
/// When the version is not one of ours, or the client id is longer than 32767 bytes.
pub fn encode_request(out: &mut Vec<u8>, header: &RequestHeader<'_>) {
    let mut request = header.begin(ApiKey::ApiVersions, out);
    if header.version >= 3 {
        request.fields.string(SOFTWARE_NAME);
        request.fields.string(SOFTWARE_VERSION);
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
        for version in 0..=4 {
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
        let refused = WireError::Unsupported { field: "ApiVersions", version: 5 };
        assert_eq!(decode_response(5, &[0, 0]), Err(refused));
    }
}
