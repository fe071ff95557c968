//! Bytes that are no answer at all, in the place of each answer.
#![forbid(unsafe_code)]

use kuring::DriverChoice;

use crate::support::fake_broker::{FakeBroker, Turn};
use crate::survival::{APIS, survives};

fn each_api(driver: DriverChoice, attack: impl Fn() -> Turn + Send + Clone + 'static) {
    for api in APIS {
        let broker = FakeBroker::start(&[("t", 1)]);
        let error = survives(driver, api, &broker, attack.clone());
        assert!(error.is_some(), "{api:?}");
    }
}

fn raw(driver: DriverChoice, bytes: &'static [u8]) {
    each_api(driver, || Turn::Raw(bytes.to_vec()));
}

pub(crate) fn text_of_another_protocol(driver: DriverChoice) {
    raw(driver, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    raw(driver, b"SSH-2.0-OpenSSH_9.9\r\n");
    // A TLS alert: the port speaks TLS, and was spoken to in plain text.
    raw(driver, &[0x15, 3, 3, 0, 2, 2, 0x28]);
}

pub(crate) fn garbage(driver: DriverChoice) {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..2 {
        let mut noise = vec![0; 20_000];
        for byte in &mut noise {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = (state >> 40) as u8;
        }
        // As a length that is never there, and as the body of a frame of the right length.
        let mut framed = 20_000_i32.to_be_bytes().to_vec();
        framed.extend_from_slice(&noise);
        each_api(driver, move || Turn::Raw(noise.clone()));
        each_api(driver, move || Turn::Raw(framed.clone()));
    }
}

pub(crate) fn silence(driver: DriverChoice) {
    for api in APIS {
        let broker = FakeBroker::start(&[("t", 1)]);
        assert!(survives(driver, api, &broker, || Turn::Mute).is_some(), "{api:?}");
    }
}

pub(crate) fn a_negative_length(driver: DriverChoice) {
    raw(driver, &[0xff; 4]);
    raw(driver, &[0x80, 0, 0, 0]);
}

pub(crate) fn a_length_of_two_gibibytes(driver: DriverChoice) {
    raw(driver, &[0x7f, 0xff, 0xff, 0xff]);
    raw(driver, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0]);
}

pub(crate) fn a_length_that_is_never_filled(driver: DriverChoice) {
    // Within what a large cluster's metadata may need; a thousand bytes come, then nothing.
    each_api(driver, || {
        let mut bytes = (60_i32 << 20).to_be_bytes().to_vec();
        bytes.resize(1000, 0);
        Turn::Raw(bytes)
    });
}

pub(crate) fn frames_too_short_for_a_header(driver: DriverChoice) {
    for length in 0..4_u8 {
        let mut bytes = vec![0, 0, 0, length];
        bytes.extend((0..length).map(|_| 0));
        each_api(driver, move || Turn::Raw(bytes.clone()));
    }
}

pub(crate) fn a_peer_that_hangs_up(driver: DriverChoice) {
    each_api(driver, || Turn::HangUp);
}
