//! ListOffsets and Fetch, as far as whoever reads the log back needs them: no sessions, no groups.
//!
//! Source:   the Kafka protocol guide; KIP-74 (a first batch is sent whatever its size), KIP-227
//!           (session 0: none).
#![forbid(unsafe_code)]

use super::api::{Answer, Header};
use super::faults::{Plan, Verdict};
use super::requests::{Fetch, Wanted};
use super::serve::{Served, write_topic};
use super::shared::State;
use super::topics::Partition;
use crate::ids::BrokerId;
use crate::protocol::{ErrorCode, Writer};

/// The times that mean a place (ListOffsets).
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// No answer has more records than that, whatever was asked.
const FETCH_BYTES_MAX: usize = 64 << 20;

impl State {
    /// The partition that is asked for, if this broker leads it.
    fn led(
        &self,
        broker: BrokerId,
        wanted: &Wanted<'_>,
        verdict: Option<Verdict>,
    ) -> Result<&Partition, ErrorCode> {
        if let Some(verdict) = verdict {
            return Err(verdict.code);
        }
        let partition = self.topics.asked(wanted.topic, wanted.partition)?;
        let is_leader = partition.leader == Some(broker);
        is_leader.then_some(partition).ok_or(ErrorCode::NotLeaderOrFollower)
    }

    pub(super) fn list_offsets(
        &self,
        broker: BrokerId,
        header: &Header<'_>,
        wanted: &[Wanted<'_>],
        plan: &Plan,
    ) -> Vec<u8> {
        let version = header.version;
        let mut answer = Answer::to(header);
        let mut fields = answer.fields();
        if version >= 2 {
            fields.i32(plan.throttle_ms);
        }
        let mut verdicts = plan.verdicts.iter().copied();
        by_topic(&mut fields, wanted, |fields, wanted| {
            let led = self.led(broker, wanted, verdicts.next().flatten());
            let (code, offset, timestamp, epoch) = match led {
                Ok(partition) => {
                    let (offset, timestamp) = find_offset(partition, wanted.position);
                    (ErrorCode::None, offset, timestamp, partition.leader_epoch)
                }
                Err(code) => (code, -1, -1, -1),
            };
            fields.i32(wanted.partition);
            fields.i16(code.wire());
            fields.i64(timestamp);
            fields.i64(offset);
            if version >= 4 {
                fields.i32(epoch);
            }
            fields.no_tags();
        });
        fields.no_tags();
        answer.finish()
    }

    pub(super) fn fetch(
        &self,
        broker: BrokerId,
        header: &Header<'_>,
        asked: &Fetch<'_>,
        plan: &Plan,
        may_wait: bool,
    ) -> Served {
        let bytes_max = usize::try_from(asked.bytes_max).unwrap_or(0).min(FETCH_BYTES_MAX);
        let mut taken = 0;
        let mut found = Vec::with_capacity(asked.wanted.len());
        for (wanted, verdict) in asked.wanted.iter().zip(&plan.verdicts) {
            let read = self.led(broker, wanted, *verdict).and_then(|partition| {
                let left = bytes_max.saturating_sub(taken);
                let limit = usize::try_from(wanted.bytes_max).unwrap_or(0).min(left);
                let records = partition.log.read(wanted.position, limit);
                let mut records = records.ok_or(ErrorCode::OffsetOutOfRange)?;
                // Only the first batch of an answer may be larger than what was asked for.
                if taken > 0 && records.len() > left {
                    records.clear();
                }
                Ok((records, partition.log.end()))
            });
            taken += read.as_ref().map_or(0, |(records, _)| records.len());
            found.push(read);
        }
        let is_idle = found.iter().all(|it| it.as_ref().is_ok_and(|(bytes, _)| bytes.is_empty()));
        if is_idle && may_wait && asked.wait_ms > 0 {
            return Served::Wait(asked.wait_ms as u64);
        }
        Served::Answer(fetched(header, asked, &found, plan.throttle_ms))
    }
}

/// Records and end of a log, or why there are none.
type Read = Result<(Vec<u8>, i64), ErrorCode>;

fn fetched(header: &Header<'_>, asked: &Fetch<'_>, found: &[Read], throttle_ms: i32) -> Vec<u8> {
    let version = header.version;
    let mut answer = Answer::to(header);
    let mut fields = answer.fields();
    fields.i32(throttle_ms);
    if version >= 7 {
        fields.i16(ErrorCode::None.wire());
        fields.i32(0); // session: none
    }
    let mut found = found.iter();
    by_topic(&mut fields, &asked.wanted, |fields, wanted| {
        let read = found.next().expect("one per wanted partition");
        let end = read.as_ref().map_or(-1, |(_, end)| *end);
        fields.i32(wanted.partition);
        fields.i16(read.as_ref().err().map_or(ErrorCode::None, |code| *code).wire());
        fields.i64(end); // high watermark
        fields.i64(end); // last stable offset
        if version >= 5 {
            fields.i64(if read.is_ok() { 0 } else { -1 }); // log start
        }
        fields.array_len(None); // aborted transactions
        if version >= 11 {
            fields.i32(-1); // preferred replica
        }
        let records = read.as_ref().map_or(&[][..], |(records, _)| records);
        fields.bytes_len(Some(records.len()));
        fields.raw(records);
        fields.no_tags();
    });
    fields.no_tags();
    answer.finish()
}

/// Writes partitions in the order of the request, neighbours of a topic together.
fn by_topic(
    fields: &mut Writer<'_>,
    wanted: &[Wanted<'_>],
    mut write: impl FnMut(&mut Writer<'_>, &Wanted<'_>),
) {
    let groups: Vec<_> = wanted.chunk_by(|one, next| one.topic == next.topic).collect();
    fields.array_len(Some(groups.len()));
    for group in groups {
        write_topic(fields, group[0].topic);
        fields.array_len(Some(group.len()));
        group.iter().for_each(|wanted| write(fields, wanted));
        fields.no_tags();
    }
}

/// Offset and timestamp of a time: exact to the batch.
fn find_offset(partition: &Partition, time: i64) -> (i64, i64) {
    match time {
        LATEST => (partition.log.end(), -1),
        EARLIEST => (0, -1),
        MAX_TIMESTAMP => partition.log.latest().unwrap_or((-1, -1)),
        time => partition.log.find_time(time).unwrap_or((-1, -1)),
    }
}
