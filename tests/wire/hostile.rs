//! Bytes that nobody should send: cut, flipped, overstated and random ones. Never a panic, never a
//! verdict out of a response that turns out bad, and memory in proportion to what arrived.
#![forbid(unsafe_code)]

use kuring::protocol::api::{ApiKey, split_response};
use kuring::protocol::{
    FrameError, FrameReader, api_versions, get_telemetry_subscriptions, init_producer_id, metadata,
    produce, push_telemetry,
};

use crate::allocation::bytes_taken_by;
use crate::responses::{Answer, ours, sample, theirs};
use crate::seed::Seed;

/// Bytes that a decoder may ask for per byte of input. The widest element on the way from wire to
/// memory is a topic: 5 bytes there, 72 here; a partition in it is 12 bytes there, 88 here.
const BYTES_TAKEN_PER_BYTE_MAX: usize = 32;

const SAMPLES: usize = 3;

/// Decodes in the bounds that are promised.
fn decode_bounded(api: ApiKey, version: i16, body: &[u8]) {
    let (taken, bound) = match api {
        ApiKey::Produce => {
            let run = || produce::decode_response(version, body, &mut |_| ()).is_ok();
            (bytes_taken_by(run).0, 0)
        }
        ApiKey::InitProducerId => {
            (bytes_taken_by(|| init_producer_id::decode_response(version, body).is_ok()).0, 0)
        }
        ApiKey::PushTelemetry => {
            (bytes_taken_by(|| push_telemetry::decode_response(version, body).is_ok()).0, 0)
        }
        ApiKey::GetTelemetrySubscriptions => {
            let run = || get_telemetry_subscriptions::decode_response(version, body).is_ok();
            (bytes_taken_by(run).0, BYTES_TAKEN_PER_BYTE_MAX * body.len())
        }
        ApiKey::Metadata => {
            let run = || metadata::decode_response(version, body).is_ok();
            (bytes_taken_by(run).0, BYTES_TAKEN_PER_BYTE_MAX * body.len())
        }
        ApiKey::ApiVersions => {
            let run = || api_versions::decode_response(version, body).is_ok();
            (bytes_taken_by(run).0, BYTES_TAKEN_PER_BYTE_MAX * body.len())
        }
    };
    assert!(taken <= bound, "{api:?} {version}: {taken} bytes for {body:02x?}");
}

/// What we still read from damaged bytes, the oracle reads as well, and reads the same.
fn assert_no_disagreement(api: ApiKey, version: i16, body: &[u8]) -> bool {
    if matches!((api, version), (ApiKey::ApiVersions, 3..)) {
        // We skip the tags about features. The oracle reads them, believes their counts, and takes
        // the process down with it.
        return false;
    }
    let Ok(read) = ours(api, version, body) else { return false };
    if let Answer::ApiVersions(response) = &read
        && response.error == kuring::protocol::ErrorCode::UnsupportedVersion
    {
        // Ours reads it as version 0 then, which the oracle leaves to its user.
        return false;
    }
    // Only bytes that passed our bounds get here: the oracle allocates what a count claims.
    let Some(expected) = theirs(api, version, body) else {
        // Tag 0 is not defined before version 10: we skip it, the oracle refuses it.
        assert_eq!((api, version), (ApiKey::Produce, 9), "the oracle refuses {body:02x?}");
        return false;
    };
    assert_eq!(read, expected, "{api:?} {version}: {body:02x?}");
    true
}

fn for_each_sample(mut check: impl FnMut(ApiKey, i16, &[u8])) {
    for api in ApiKey::ALL {
        let mut seed = Seed(31 + api.wire() as u64);
        for version in api.versions().min..=api.versions().max {
            for _ in 0..SAMPLES {
                // Short ones: the work below is quadratic in them.
                let body = loop {
                    let (body, _) = sample(api, version, &mut seed);
                    if (16..=600).contains(&body.len()) {
                        break body;
                    }
                };
                check(api, version, &body);
            }
        }
    }
}

#[test]
fn every_truncated_prefix_is_refused() {
    for_each_sample(|api, version, body| {
        assert!(ours(api, version, body).is_ok());
        for end in 0..body.len() {
            let prefix = &body[..end];
            decode_bounded(api, version, prefix);
            assert!(ours(api, version, prefix).is_err(), "{api:?} {version} at {end}");
        }
        let longer = [body, &[0]].concat();
        assert!(ours(api, version, &longer).is_err(), "{api:?} {version} with a byte too many");
    });
}

#[test]
fn every_flipped_byte_is_refused_or_read_as_the_oracle_reads_it() {
    let mut agreed = 0;
    for_each_sample(|api, version, body| {
        let mut flipped = body.to_vec();
        for at in 0..body.len() {
            let was = body[at];
            for value in [was ^ 0x01, was ^ 0x80, was ^ 0xff, 0, 1, 0x7f, 0xff, was.wrapping_add(1)]
            {
                flipped[at] = value;
                decode_bounded(api, version, &flipped);
                agreed += usize::from(assert_no_disagreement(api, version, &flipped));
            }
            flipped[at] = was;
        }
    });
    assert!(agreed > 10_000, "only {agreed} were compared");
}

#[test]
fn a_hostile_count_anywhere_takes_no_memory() {
    let counts: [&[u8]; 8] = [
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xff, 0xff, 0xff, 0xff],
        &[0x80, 0, 0, 0],
        &[0, 0xff, 0xff, 0xff],
        &[0x7f, 0xff],
        &[0xff, 0xff, 0xff, 0xff, 0x07],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80],
    ];
    for_each_sample(|api, version, body| {
        for count in counts {
            for at in 0..=body.len() - count.len() {
                let mut overwritten = body.to_vec();
                overwritten[at..at + count.len()].copy_from_slice(count);
                decode_bounded(api, version, &overwritten);
                assert_no_disagreement(api, version, &overwritten);
            }
            for at in 0..=body.len() {
                let inserted = [&body[..at], count, &body[at..]].concat();
                decode_bounded(api, version, &inserted);
                assert_no_disagreement(api, version, &inserted);
            }
        }
    });
}

#[test]
fn counts_that_just_fit_stay_within_the_bound() {
    // A large body of zeros: each count in front of it can claim the most that it may.
    let zeros = vec![0; 4096];
    for version in ApiKey::Metadata.versions().min..=ApiKey::Metadata.versions().max {
        for count in 1..4096_u32 {
            let mut body = vec![0; 4];
            if version >= 9 {
                body.extend([0x01, 0x00, 0, 0, 0, 0]);
                body.extend([(count + 1) as u8 | 0x80, ((count + 1) >> 7) as u8]);
            } else {
                body.extend([0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);
                body.extend(count.to_be_bytes());
            }
            body.extend_from_slice(&zeros);
            decode_bounded(ApiKey::Metadata, version, &body);
        }
    }
}

#[test]
fn garbage_is_refused_or_read_within_the_bounds() {
    let mut seed = Seed(77);
    for api in ApiKey::ALL {
        for version in api.versions().min..=api.versions().max {
            for _ in 0..2000 {
                let length = seed.below(200);
                let mut body = seed.bytes(length);
                if seed.flag() {
                    // Mostly zeros with a few bytes set gets further than noise does.
                    body.iter_mut().filter(|byte| **byte > 20).for_each(|byte| *byte = 0);
                }
                decode_bounded(api, version, &body);
                assert_no_disagreement(api, version, &body);
                let (taken, _) = bytes_taken_by(|| split_response(api, version, &body).is_ok());
                assert_eq!(taken, 0);
            }
        }
    }
}

#[test]
fn a_stream_of_garbage_never_takes_more_than_arrived() {
    let mut seed = Seed(5);
    for _ in 0..500 {
        let mut reader = FrameReader::new(1 << 20);
        let mut arrived = 0;
        for _ in 0..20 {
            let length = seed.below(300);
            let mut chunk = seed.bytes(length);
            if let Some(first) = chunk.first_mut() {
                *first = 0;
            }
            arrived += chunk.len();
            let run = || reader.feed::<FrameError>(&chunk, &mut |_| Ok(()));
            let (taken, fed) = bytes_taken_by(run);
            // A vector that grows doubles, and starts with a few bytes.
            assert!(taken <= 2 * arrived + 64, "{taken} bytes after {arrived}");
            if fed.is_err() {
                break;
            }
        }
    }
}

#[test]
fn the_frame_reader_allocates_nothing_once_it_has_seen_its_frames() {
    let mut stream = Vec::new();
    for length in [100_u32, 7, 0, 300, 42] {
        stream.extend(length.to_be_bytes());
        stream.extend(vec![1; length as usize]);
    }
    let mut reader = FrameReader::new(1 << 20);
    let mut frames = 0;
    let mut feed = |chunk: &[u8]| {
        for piece in stream.chunks(chunk.len()) {
            let fed = reader.feed::<FrameError>(piece, &mut |_| {
                frames += 1;
                Ok(())
            });
            assert_eq!(fed, Ok(()));
        }
    };
    feed(&[0; 97]);
    let (taken, ()) = bytes_taken_by(|| {
        feed(&[0; 97]);
        feed(&[0; 11]);
        feed(&[0; 1]);
    });
    assert_eq!((taken, frames), (0, 20));
}
