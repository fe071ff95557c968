//! The requests that the cluster serves, in which versions, and what stands in front of each.
//!
//! Source:   the Kafka protocol guide; KIP-482 (flexible versions), KIP-511 and KIP-1242
//!           (ApiVersions).
#![forbid(unsafe_code)]

use std::fmt;

use super::answers::Announced;
use crate::protocol::{Reader, WireError, Writer};

/// A request of Kafka's protocol that a [`Cluster`](super::Cluster) serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(i16)]
pub enum Api {
    /// Record batches for partition leaders; versions 3 to 13.
    Produce = 0,
    /// Batches for whoever reads the log; versions 4 to 13.
    Fetch = 1,
    /// Where a log begins and ends; versions 1 to 7.
    ListOffsets = 2,
    /// Brokers, topics, partitions and their leaders; versions 0 to 13.
    Metadata = 3,
    /// Which versions are spoken; versions 0 to 5.
    ApiVersions = 18,
    /// A producer id and its epoch; versions 0 to 5.
    InitProducerId = 22,
}

impl Api {
    /// Every request that is served.
    pub const ALL: [Self; 6] = [
        Self::Produce,
        Self::Fetch,
        Self::ListOffsets,
        Self::Metadata,
        Self::ApiVersions,
        Self::InitProducerId,
    ];

    /// The key on the wire.
    pub const fn key(self) -> i16 {
        self as i16
    }

    pub(super) fn from_key(key: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|api| api.key() == key)
    }

    /// The lowest and the highest version that is served.
    pub(super) const fn served(self) -> (i16, i16) {
        match self {
            Self::Produce => (3, 13),
            Self::Fetch => (4, 13),
            Self::ListOffsets => (1, 7),
            Self::Metadata => (0, 13),
            Self::ApiVersions => (0, 5),
            Self::InitProducerId => (0, 5),
        }
    }

    /// The lowest version that is announced. librdkafka takes a broker without the oldest versions
    /// of Produce for one that cannot store record batches v2, so Kafka 4 announces them too
    /// (KIP-896), and refuses them as we do.
    const fn announced_from(self) -> i16 {
        match self {
            Self::Produce => 0,
            Self::Fetch
            | Self::ListOffsets
            | Self::Metadata
            | Self::ApiVersions
            | Self::InitProducerId => self.served().0,
        }
    }

    pub(super) const fn is_flexible(self, version: i16) -> bool {
        let since = match self {
            Self::Produce | Self::Metadata => 9,
            Self::Fetch => 12,
            Self::ListOffsets => 6,
            Self::ApiVersions => 3,
            Self::InitProducerId => 2,
        };
        version >= since
    }
}

impl fmt::Display for Api {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// The highest version of each request that is spoken, and with it what is announced.
#[derive(Clone, Debug)]
pub(super) struct Versions([(Api, i16); Api::ALL.len()]);

impl Versions {
    pub(super) fn all() -> Self {
        Self(Api::ALL.map(|api| (api, api.served().1)))
    }

    /// Speaks a request up to `version` only. False when that leaves none.
    pub(super) fn cap(&mut self, api: Api, version: i16) -> bool {
        let (lowest, highest) = api.served();
        for (capped, limit) in &mut self.0 {
            if *capped == api {
                *limit = version.min(highest);
            }
        }
        version >= lowest
    }

    pub(super) fn highest(&self, api: Api) -> i16 {
        let known = self.0.iter().find(|(known, _)| *known == api);
        known.map_or(-1, |(_, highest)| *highest)
    }

    fn speaks(&self, api: Api, version: i16) -> bool {
        (api.served().0..=self.highest(api)).contains(&version)
    }

    /// The table of an ApiVersions answer.
    pub(super) fn announced(&self) -> impl ExactSizeIterator<Item = Announced> {
        self.0.iter().map(|(api, highest)| (api.key(), api.announced_from(), *highest))
    }
}

/// What every request begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header<'a> {
    pub(super) api: Api,
    pub(super) version: i16,
    pub(super) correlation_id: i32,
    pub(super) client_id: Option<&'a str>,
    /// False for an ApiVersions request of a version to come: it has an answer all the same.
    pub(super) is_spoken: bool,
}

impl<'a> Header<'a> {
    /// Reads a frame without its size; returns the body behind the header, too.
    ///
    /// # Errors
    /// A sentence about what no broker would serve.
    pub(super) fn read(frame: &'a [u8], versions: &Versions) -> Result<(Self, &'a [u8]), String> {
        let malformed = |error: WireError| format!("a request's header: {error}");
        let mut reader = Reader::new(frame, false);
        let key = reader.i16("api_key").map_err(malformed)?;
        let version = reader.i16("api_version").map_err(malformed)?;
        let correlation_id = reader.i32("correlation_id").map_err(malformed)?;
        let api = Api::from_key(key)
            .ok_or_else(|| format!("request {key} version {version}, which is not served"))?;
        let is_spoken = versions.speaks(api, version);
        if !is_spoken && (api != Api::ApiVersions || version < 0) {
            let (lowest, highest) = (api.served().0, versions.highest(api));
            return Err(format!("{api} version {version}: {lowest} to {highest} are served"));
        }
        let mut header = Self { api, version, correlation_id, client_id: None, is_spoken };
        if !is_spoken {
            // Its header may have another form: it is not looked at (KIP-511).
            return Ok((header, &[]));
        }
        header.client_id = reader.nullable_string("client_id").map_err(malformed)?;
        let mut tags = Reader::new(reader.rest(), api.is_flexible(version));
        tags.skip_tags("header tags").map_err(malformed)?;
        Ok((header, tags.rest()))
    }

    pub(super) fn is_flexible(&self) -> bool {
        self.api.is_flexible(self.version)
    }
}

/// An answer that is being written: its size is known at the end.
#[derive(Debug)]
pub(super) struct Answer {
    frame: Vec<u8>,
    flexible: bool,
}

impl Answer {
    /// Starts the answer to a request, in the form of its version.
    pub(super) fn to(header: &Header<'_>) -> Self {
        // Whoever asks for versions cannot know the answer's form yet: no tags (KIP-511).
        let has_tags = header.is_flexible() && header.api != Api::ApiVersions;
        let flexible = header.is_flexible() && header.is_spoken;
        let mut frame = Vec::with_capacity(128);
        let mut writer = Writer::new(&mut frame, has_tags);
        writer.i32(0);
        writer.i32(header.correlation_id);
        writer.no_tags();
        Self { frame, flexible }
    }

    pub(super) fn fields(&mut self) -> Writer<'_> {
        Writer::new(&mut self.frame, self.flexible)
    }

    /// The frame, with its size in front.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let size = i32::try_from(self.frame.len() - 4).expect("answers are bounded");
        self.frame[..4].copy_from_slice(&size.to_be_bytes());
        self.frame
    }
}
