//! Produce requests as they leave a producer, for whoever listens on the wire.
#![forbid(unsafe_code)]

use std::borrow::Cow;

use super::batch::{self, Head};
use super::requests::{self, Body};

/// A request, as far as a listener cares.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) correlation: i32,
    pub(crate) is_produce: bool,
    pub(crate) acks: i16,
    /// The batches of a produce request.
    pub(crate) carried: Vec<Carried<'a>>,
}

/// One batch in a request.
#[derive(Debug)]
pub(crate) struct Carried<'a> {
    pub(crate) partition: i32,
    pub(crate) head: Head,
    pub(crate) checksum: u32,
    /// How far the time of the first record is from the base.
    pub(crate) first_delta: i64,
    pub(crate) first_value: Option<Cow<'a, [u8]>>,
}

/// Reads a frame, its size in front.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read(frame: &[u8]) -> Result<Request<'_>, String> {
    let (size, frame) = frame.split_first_chunk::<4>().ok_or("a frame without a size")?;
    if u32::from_be_bytes(*size) as usize != frame.len() {
        return Err(format!("a frame of {} bytes that says {size:?}", frame.len()));
    }
    let (header, reader) = requests::header(frame).ok_or("a frame without a header")?;
    let mut request = Request {
        correlation: header.correlation,
        is_produce: header.api == requests::PRODUCE,
        acks: 0,
        carried: Vec::new(),
    };
    if !request.is_produce {
        return Ok(request);
    }
    let Some(Body::Produce(produce)) = requests::body(&header, reader) else {
        return Err(format!("a malformed produce request: {header:?}"));
    };
    request.acks = produce.acks;
    for sent in produce.sent {
        let bytes = sent.records.ok_or("a partition without records")?;
        let head = batch::check(bytes)?;
        let checksum = bytes[17..].first_chunk::<4>().map_or(0, |sum| u32::from_be_bytes(*sum));
        let (first_delta, first_value) = batch::first_record(bytes);
        let partition = sent.partition;
        request.carried.push(Carried { partition, head, checksum, first_delta, first_value });
    }
    Ok(request)
}
