//! Counts that claim more than there is.
#![forbid(unsafe_code)]

use kafka_protocol::messages::ApiKey;
use kuring::DriverChoice;

use crate::support::fake_broker::{FakeBroker, Turn};
use crate::survival::survives;

const HUGE: u32 = 0x7fff_ffff;

fn attacked(
    driver: DriverChoice,
    (api, version): (ApiKey, i16),
    change: impl Fn(&mut Vec<u8>) + Send + Clone + 'static,
) {
    let broker = FakeBroker::start(&[("t", 1)]);
    broker.cap_version(api, version);
    let error = survives(driver, api, &broker, move || {
        let change = change.clone();
        Turn::Mangle(Box::new(move |bytes| change(bytes)))
    });
    assert!(error.is_some(), "{api:?} {version}");
}

pub(crate) fn a_count_of_two_billion_in_the_old_encoding(driver: DriverChoice) {
    // Api, version, where in the frame a count is, and what an honest broker has there.
    for (api, version, at, honest) in [
        (ApiKey::ApiVersions, 2, 10, 4),
        (ApiKey::Metadata, 8, 12, 1),
        (ApiKey::Metadata, 8, 47, 1),
        (ApiKey::Produce, 8, 8, 1),
        (ApiKey::Produce, 8, 15, 1),
        (ApiKey::Produce, 3, 8, 1),
    ] {
        attacked(driver, (api, version), move |bytes| {
            let count: &mut [u8; 4] = bytes[at..].first_chunk_mut().unwrap();
            assert_eq!(u32::from_be_bytes(*count), honest, "{api:?} {version} at {at}");
            *count = HUGE.to_be_bytes();
        });
    }
}

pub(crate) fn a_count_of_two_billion_in_the_compact_encoding(driver: DriverChoice) {
    // Counts of elements are one more than they say; those of tags are themselves.
    for (api, version, at, honest) in [
        (ApiKey::ApiVersions, 4, 10, 5),
        (ApiKey::Metadata, 12, 8, 0),
        (ApiKey::Metadata, 12, 13, 2),
        (ApiKey::InitProducerId, 5, 8, 0),
        (ApiKey::InitProducerId, 5, 25, 0),
        (ApiKey::Produce, 12, 9, 2),
        (ApiKey::Produce, 13, 9, 2),
        (ApiKey::Produce, 13, 26, 2),
    ] {
        attacked(driver, (api, version), move |bytes| {
            assert_eq!(bytes[at], honest, "{api:?} {version} at {at}");
            bytes.splice(at..=at, [0xff, 0xff, 0xff, 0xff, 0x07]);
            let length = u32::try_from(bytes.len() - 4).unwrap();
            bytes[..4].copy_from_slice(&length.to_be_bytes());
        });
    }
}
