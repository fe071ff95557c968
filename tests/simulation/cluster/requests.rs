//! Requests as a broker reads them: every byte of a frame is accounted for.
#![forbid(unsafe_code)]

use super::wire::Reader;

pub(super) const PRODUCE: i16 = 0;
pub(super) const METADATA: i16 = 3;
pub(super) const API_VERSIONS: i16 = 18;
pub(super) const INIT_PRODUCER_ID: i16 = 22;

/// What every request begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) api: i16,
    pub(super) version: i16,
    pub(super) correlation: i32,
}

impl Header {
    /// The first flexible version of a request.
    pub(super) fn is_flexible(&self) -> bool {
        let from = match self.api {
            PRODUCE | METADATA => 9,
            API_VERSIONS => 3,
            _ => 2,
        };
        self.version >= from
    }
}

/// How a request names a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TopicRef<'a> {
    Name(&'a str),
    Id(u128),
}

/// One partition of a produce request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent<'a> {
    pub(super) topic: TopicRef<'a>,
    pub(super) partition: i32,
    pub(super) records: Option<&'a [u8]>,
}

#[derive(Debug)]
pub(super) struct Produce<'a> {
    pub(super) transactional_id: Option<&'a str>,
    pub(super) acks: i16,
    pub(super) timeout_ms: i32,
    pub(super) sent: Vec<Sent<'a>>,
}

#[derive(Debug)]
pub(super) struct Metadata<'a> {
    /// None asks for all.
    pub(super) topics: Option<Vec<TopicRef<'a>>>,
    pub(super) may_create: bool,
}

#[derive(Debug)]
pub(super) enum Body<'a> {
    ApiVersions,
    Metadata(Metadata<'a>),
    InitProducerId,
    Produce(Produce<'a>),
}

/// The header, and a reader over the body.
pub(super) fn header(frame: &[u8]) -> Option<(Header, Reader<'_>)> {
    let mut reader = Reader::new(frame, false);
    let (api, version) = (reader.i16()?, reader.i16()?);
    let header = Header { api, version, correlation: reader.i32()? };
    reader.nullable_string()?;
    reader.become_flexible(header.is_flexible());
    reader.tags()?;
    Some((header, reader))
}

/// The body of a request whose version the broker speaks.
pub(super) fn body<'a>(header: &Header, mut reader: Reader<'a>) -> Option<Body<'a>> {
    let body = match header.api {
        API_VERSIONS => {
            if header.version >= 3 {
                reader.string()?;
                reader.string()?;
            }
            reader.tags()?;
            Body::ApiVersions
        }
        METADATA => Body::Metadata(metadata(header.version, &mut reader)?),
        INIT_PRODUCER_ID => {
            reader.nullable_string()?;
            reader.i32()?;
            if header.version >= 3 {
                reader.i64()?;
                reader.i16()?;
            }
            reader.tags()?;
            Body::InitProducerId
        }
        PRODUCE => Body::Produce(produce(header.version, &mut reader)?),
        _ => return None,
    };
    reader.is_empty().then_some(body)
}

fn metadata<'a>(version: i16, reader: &mut Reader<'a>) -> Option<Metadata<'a>> {
    let mut topics = None;
    if let Some(count) = reader.count()? {
        let mut named = Vec::with_capacity(count);
        for _ in 0..count {
            let id = if version >= 10 { reader.uuid()? } else { 0 };
            named.push(match reader.nullable_string()? {
                Some(name) => TopicRef::Name(name),
                None => TopicRef::Id(id),
            });
            reader.tags()?;
        }
        topics = Some(named);
    }
    let may_create = version < 4 || reader.bool()?;
    if (8..=10).contains(&version) {
        reader.bool()?;
    }
    if version >= 8 {
        reader.bool()?;
    }
    reader.tags()?;
    Some(Metadata { topics, may_create })
}

fn produce<'a>(version: i16, reader: &mut Reader<'a>) -> Option<Produce<'a>> {
    let transactional_id = reader.nullable_string()?;
    let (acks, timeout_ms) = (reader.i16()?, reader.i32()?);
    let mut sent = Vec::new();
    for _ in 0..reader.count()?? {
        let topic = match version {
            13.. => TopicRef::Id(reader.uuid()?),
            _ => TopicRef::Name(reader.string()?),
        };
        for _ in 0..reader.count()?? {
            let partition = reader.i32()?;
            sent.push(Sent { topic, partition, records: reader.nullable_bytes()? });
            reader.tags()?;
        }
        reader.tags()?;
    }
    reader.tags()?;
    Some(Produce { transactional_id, acks, timeout_ms, sent })
}
