//! Listens between the shards and their drivers, and complains as soon as a producer sends what it
//! may not: too much at once for a partition, two generations of one producer at a time, a sequence
//! number out of its place, or other bytes under the same number.
#![forbid(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};

use crate::cluster::Head;
use crate::cluster::tap::{self, Carried};
use crate::stamp::Stamp;
use crate::trace::is_told;

/// Kafka's brokers remember so many batches of a producer.
const BATCHES_IN_FLIGHT_MAX: usize = 5;

/// A request that waits for its answer.
#[derive(Debug)]
struct Flight {
    correlation: i32,
    is_produce: bool,
    /// No answer will come (acks 0): it is over when the socket has it.
    is_silent: bool,
    batches: Vec<(Place, Generation)>,
}

/// Topic and partition.
type Place = (u16, i32);
/// Producer id and epoch.
type Generation = (i64, i16);

/// Sequences of one generation in one partition.
#[derive(Debug, Default)]
struct Sequences {
    next: i32,
    /// Count and checksum of each batch, by first sequence. No checksum: the rest of a batch that
    /// is being sent in pieces.
    batches: BTreeMap<i32, (u32, Option<u32>)>,
}

#[derive(Debug, Default)]
pub(crate) struct Wiretap {
    is_idempotent: bool,
    in_flight_max: usize,
    /// Whether records are reserved: then the one that a batch has its base time from may be gone.
    may_have_holes: bool,
    flights: BTreeMap<u64, VecDeque<Flight>>,
    flying: BTreeMap<Place, Vec<Generation>>,
    sequences: BTreeMap<(Generation, Place), Sequences>,
    /// Answers that have not arrived whole.
    partial: BTreeMap<u64, Vec<u8>>,
    pub(crate) requests: u64,
    pub(crate) batches: u64,
    pub(crate) resent: u64,
}

impl Wiretap {
    pub(crate) fn new(is_idempotent: bool, in_flight_max: usize, may_have_holes: bool) -> Self {
        Self { is_idempotent, in_flight_max, may_have_holes, ..Self::default() }
    }

    /// A shard hands a request to its driver.
    pub(crate) fn sends(&mut self, link: u64, frame: &[u8]) {
        let request = tap::read(frame).unwrap_or_else(|why| panic!("link {link}: {why}"));
        let mut flight = Flight {
            correlation: request.correlation,
            is_produce: request.is_produce,
            is_silent: request.is_produce && request.acks == 0,
            batches: Vec::new(),
        };
        self.requests += u64::from(request.is_produce);
        for carried in &request.carried {
            let (place, generation) = self.batch(carried, &flight);
            if is_told() {
                let Head { sequence, count, .. } = carried.head;
                println!("{:15}{place:?} of {generation:?}: {sequence}, {count} records", "");
            }
            flight.batches.push((place, generation));
        }
        let flights = self.flights.entry(link).or_default();
        flights.push_back(flight);
        let produce = flights.iter().filter(|flight| flight.is_produce).count();
        let allowed = self.in_flight_max;
        assert!(produce <= allowed, "link {link}: {produce} requests in flight, {allowed} allowed");
    }

    fn batch(&mut self, carried: &Carried<'_>, flight: &Flight) -> (Place, Generation) {
        self.batches += 1;
        let head = carried.head;
        let stamp = carried.first_value.as_deref().and_then(Stamp::peek);
        let stamp =
            stamp.unwrap_or_else(|| panic!("a batch of records that nobody sent: {head:?}"));
        let place = (stamp.topic, carried.partition);
        let away = carried.first_delta;
        assert!(self.may_have_holes || away == 0, "{place:?}: a base that is {away} ms away");
        let generation = (head.producer_id, head.epoch);
        assert!(
            flight.batches.iter().all(|(other, _)| *other != place),
            "two batches of {place:?} in one request"
        );
        assert_eq!(self.is_idempotent, head.producer_id >= 0, "{place:?}: {head:?}");
        let flying = self.flying.entry(place).or_default();
        flying.push(generation);
        if self.is_idempotent {
            let count = flying.len();
            assert!(count <= BATCHES_IN_FLIGHT_MAX, "{place:?}: {count} batches in flight");
            assert!(
                flying.iter().all(|other| *other == generation),
                "{place:?}: two generations in flight: {flying:?}"
            );
            self.sequence(carried, generation, place);
        } else if self.in_flight_max == 1 {
            assert!(flying.len() == 1, "{place:?}: two batches in flight, one request is allowed");
        }
        (place, generation)
    }

    /// A batch is the next one, or one that was sent before, bit by bit.
    fn sequence(&mut self, carried: &Carried<'_>, generation: Generation, place: Place) {
        let head = carried.head;
        let known = self.sequences.entry((generation, place)).or_default();
        if let Some((count, checksum)) = known.batches.get(&head.sequence).copied() {
            self.resent += 1;
            // A batch that was too large comes again in pieces, under the same sequences.
            let is_piece = head.count < count || checksum.is_none();
            assert!(
                is_piece && head.count <= count || checksum == Some(carried.checksum),
                "{place:?}: other records under the same sequence: {head:?}, before: {count}"
            );
            known.batches.insert(head.sequence, (head.count, Some(carried.checksum)));
            if head.count < count {
                let rest = advanced(head.sequence, head.count);
                known.batches.insert(rest, (count - head.count, None));
            }
            return;
        }
        assert!(
            head.sequence == known.next,
            "{place:?}: sequence {} where {} is next: {head:?}",
            head.sequence,
            known.next
        );
        known.next = advanced(head.sequence, head.count);
        known.batches.insert(head.sequence, (head.count, Some(carried.checksum)));
    }

    /// A shard is handed bytes of answers.
    pub(crate) fn receives(&mut self, link: u64, bytes: &[u8]) {
        let Some(flights) = self.flights.get_mut(&link) else { return };
        let partial = self.partial.entry(link).or_default();
        partial.extend_from_slice(bytes);
        while let Some(size) = partial.first_chunk::<4>() {
            let end = 4 + u32::from_be_bytes(*size) as usize;
            if partial.len() < end {
                return;
            }
            let correlation = partial[4..].first_chunk::<4>().map(|id| i32::from_be_bytes(*id));
            let at = flights.iter().position(|flight| Some(flight.correlation) == correlation);
            let flight = at.and_then(|at| flights.remove(at));
            let flight = flight.unwrap_or_else(|| panic!("link {link}: an answer to nothing"));
            land(&mut self.flying, &flight);
            partial.drain(..end);
        }
    }

    /// A frame comes back: what is not answered is over by that.
    pub(crate) fn returns(&mut self, link: u64) {
        let Some(flights) = self.flights.get_mut(&link) else { return };
        if flights.back().is_some_and(|flight| flight.is_silent)
            && let Some(flight) = flights.pop_back()
        {
            land(&mut self.flying, &flight);
        }
    }

    /// A shard gives a connection up, or learns that it is gone.
    pub(crate) fn gives_up(&mut self, link: u64) {
        self.partial.remove(&link);
        for flight in self.flights.remove(&link).into_iter().flatten() {
            land(&mut self.flying, &flight);
        }
    }
}

fn advanced(sequence: i32, count: u32) -> i32 {
    (sequence as u32).wrapping_add(count) as i32 & i32::MAX
}

/// The batches of a request are not in flight any more.
fn land(flying: &mut BTreeMap<Place, Vec<Generation>>, flight: &Flight) {
    for (place, generation) in &flight.batches {
        let Some(there) = flying.get_mut(place) else { continue };
        if let Some(at) = there.iter().position(|other| other == generation) {
            there.swap_remove(at);
        }
    }
}
