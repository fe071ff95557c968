//! Answers as a broker writes them.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::images::{Endpoint, Image, PartitionImage, TopicImage};
use super::produce::{Named, Waiting};
use super::requests::Header;
use super::wire::Writer;
use super::{codes, plan::Line};

/// Who leads, where the asked broker does not.
#[derive(Clone, Debug)]
pub(super) struct Hint {
    pub(super) leader: i32,
    pub(super) epoch: i32,
    pub(super) endpoint: Option<Endpoint>,
}

/// The verdict on one batch.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) code: i16,
    pub(super) base_offset: i64,
    pub(super) append_time: i64,
    pub(super) log_start: i64,
    pub(super) record_errors: Vec<(i32, Option<&'static str>)>,
    pub(super) message: Option<&'static str>,
    pub(super) leader: Option<Hint>,
}

impl Verdict {
    pub(super) fn error(code: i16) -> Self {
        Self {
            code,
            base_offset: -1,
            append_time: -1,
            log_start: -1,
            record_errors: Vec::new(),
            message: None,
            leader: None,
        }
    }
}

fn writer(header: &Header) -> Writer {
    Writer::answer(header.correlation, header.is_flexible(), header.is_flexible())
}

/// Whether brokers of a line speak a request in its version.
pub(super) fn speaks(line: Line, header: &Header) -> bool {
    let versions = line.versions();
    let of = versions.iter().find(|(api, ..)| *api == header.api);
    of.is_some_and(|(_, min, max)| (*min..=*max).contains(&header.version))
}

/// An ApiVersions answer. Its header never has tags (KIP-511); whoever asks too new a version is
/// answered in version 0, by newer brokers with what they do speak.
pub(super) fn api_versions(header: &Header, line: Line, throttle_ms: i32) -> Vec<u8> {
    let versions = line.versions();
    let is_spoken = speaks(line, header);
    let flexible = is_spoken && header.is_flexible();
    let mut out = Writer::answer(header.correlation, false, flexible);
    out.i16(if is_spoken { codes::NONE } else { codes::UNSUPPORTED_VERSION });
    let listed: &[_] = match (is_spoken, line) {
        (true, _) => &versions,
        (false, Line::V2_1) => &[],
        (false, _) => &versions[2..3],
    };
    out.count(listed.len());
    for (api, min, max) in listed {
        out.i16(*api);
        out.i16(*min);
        out.i16(*max);
        out.tags();
    }
    if is_spoken && header.version >= 1 {
        out.i32(throttle_ms);
    }
    out.tags();
    out.finish()
}

pub(super) fn init_producer_id(
    header: &Header,
    throttle_ms: i32,
    said: Result<i64, i16>,
) -> Vec<u8> {
    let mut out = writer(header);
    out.i32(throttle_ms);
    out.i16(said.err().unwrap_or(codes::NONE));
    out.i64(said.unwrap_or(-1));
    out.i16(if said.is_ok() { 0 } else { -1 });
    out.tags();
    out.finish()
}

/// One topic of a metadata answer.
#[derive(Debug)]
pub(super) struct Described<'a> {
    pub(super) code: i16,
    pub(super) name: Option<&'a str>,
    pub(super) image: Option<&'a TopicImage>,
    /// A partition that is said to have no leader, and why.
    pub(super) broken: Option<(usize, i16)>,
}

/// A metadata answer.
pub(super) fn metadata(
    header: &Header,
    throttle_ms: i32,
    brokers: &[Endpoint],
    topics: &[Described<'_>],
    code: i16,
) -> Vec<u8> {
    let version = header.version;
    let mut out = writer(header);
    out.i32(throttle_ms);
    out.count(brokers.len());
    for endpoint in brokers {
        write_endpoint(&mut out, endpoint);
    }
    out.string(Some("simulated"));
    out.i32(brokers.first().map_or(-1, |endpoint| endpoint.node));
    out.count(topics.len());
    for topic in topics {
        write_topic(&mut out, version, topic);
    }
    if (8..=10).contains(&version) {
        out.i32(i32::MIN);
    }
    if version >= 13 {
        out.i16(code);
    }
    out.tags();
    out.finish()
}

fn write_endpoint(out: &mut Writer, endpoint: &Endpoint) {
    out.i32(endpoint.node);
    out.string(Some(&endpoint.host));
    out.i32(i32::from(endpoint.port));
    out.string(None);
    out.tags();
}

fn write_topic(out: &mut Writer, version: i16, topic: &Described<'_>) {
    out.i16(topic.code);
    let name = topic.name.or(if version < 12 { Some("") } else { None });
    out.string(name);
    if version >= 10 {
        out.uuid(topic.image.map_or(0, |image| image.id));
    }
    out.bool(false);
    let partitions = topic.image.map_or(&[][..], |image| &image.partitions);
    out.count(partitions.len());
    for (index, partition) in partitions.iter().enumerate() {
        let broken = topic.broken.filter(|(broken, _)| *broken == index);
        write_partition(out, version, index, partition, broken.map(|(_, code)| code));
    }
    if version >= 8 {
        out.i32(i32::MIN);
    }
    out.tags();
}

fn write_partition(
    out: &mut Writer,
    version: i16,
    index: usize,
    partition: &PartitionImage,
    broken: Option<i16>,
) {
    let is_leaderless = partition.leader < 0;
    let own = if is_leaderless { codes::LEADER_NOT_AVAILABLE } else { codes::NONE };
    out.i16(broken.unwrap_or(own));
    out.i32(index as i32);
    out.i32(if broken.is_some() { -1 } else { partition.leader });
    if version >= 7 {
        out.i32(partition.epoch);
    }
    out.nodes(&partition.replicas);
    out.nodes(&partition.isr);
    if version >= 5 {
        out.nodes(&partition.offline);
    }
    out.tags();
}

/// The answer to a produce request whose parts all have their verdicts.
pub(super) fn produce(waiting: &Waiting, throttle_ms: i32) -> Vec<u8> {
    let version = waiting.header.version;
    let mut out = writer(&waiting.header);
    let groups: Vec<_> = waiting.parts.chunk_by(|one, other| one.topic == other.topic).collect();
    out.count(groups.len());
    let mut endpoints: Vec<&Endpoint> = Vec::new();
    for group in groups {
        match &group[0].topic {
            Named::Name(name) => out.string(Some(name)),
            Named::Id(id) => out.uuid(*id),
        }
        out.count(group.len());
        for part in group {
            let verdict = part.verdict.as_ref().expect("every part has its verdict");
            write_verdict(&mut out, version, part.partition, verdict);
            let endpoint = verdict.leader.as_ref().and_then(|hint| hint.endpoint.as_ref());
            endpoints.extend(endpoint.filter(|it| endpoints.iter().all(|o| o.node != it.node)));
        }
        out.tags();
    }
    out.i32(throttle_ms);
    if version >= 10 && !endpoints.is_empty() {
        out.tag_0(|out| {
            out.count(endpoints.len());
            endpoints.iter().for_each(|endpoint| write_endpoint(out, endpoint));
        });
    } else {
        out.tags();
    }
    out.finish()
}

fn write_verdict(out: &mut Writer, version: i16, partition: i32, verdict: &Verdict) {
    out.i32(partition);
    out.i16(verdict.code);
    out.i64(verdict.base_offset);
    out.i64(verdict.append_time);
    if version >= 5 {
        out.i64(verdict.log_start);
    }
    if version >= 8 {
        out.count(verdict.record_errors.len());
        for (index, message) in &verdict.record_errors {
            out.i32(*index);
            out.string(*message);
            out.tags();
        }
        out.string(verdict.message);
    }
    match &verdict.leader {
        Some(hint) if version >= 10 => out.tag_0(|out| {
            out.i32(hint.leader);
            out.i32(hint.epoch);
            out.tags();
        }),
        _ => out.tags(),
    }
}

/// The brokers of an image, for an answer.
pub(super) fn endpoints(image: &Rc<Image>) -> &[Endpoint] {
    &image.brokers
}
