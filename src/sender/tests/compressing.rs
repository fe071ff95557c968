//! Batches of compressed topics: held in their place until they are back, never released before.
#![forbid(unsafe_code)]

use super::super::PurgeOrder;
use super::super::compress::JOBS_MAX;
use super::rig::{Rig, config, ms};
use crate::clock;
use crate::config::ConfigBuilder;
use crate::protocol::compression::Compression;
use crate::protocol::error_code::ErrorCode;

fn zstd() -> ConfigBuilder {
    config().compression(Compression::ZSTD)
}

/// A value that compresses well.
fn long(letter: char) -> String {
    letter.to_string().repeat(90)
}

/// Four records of 90 bytes, as one batch.
fn batch(rig: &mut Rig, partition: &str, letters: &str) -> usize {
    let values: Vec<_> = letters.chars().map(long).collect();
    rig.batch(partition, &values.iter().map(String::as_str).collect::<Vec<_>>())
}

fn verdicts(rig: &Rig, first: usize, count: usize) -> Vec<String> {
    (first..first + count).map(|record| rig.verdict(record)).collect()
}

fn log(rig: &Rig, partition: &str) -> String {
    rig.log(partition).iter().map(|value| &value[..1]).collect()
}

#[test]
fn every_codec_s_batches_are_smaller_on_the_wire_and_read_back() {
    for codec in [Compression::GZIP, Compression::Snappy, Compression::LZ4, Compression::ZSTD] {
        let mut rig = Rig::new(config().compression(codec), &[1]);
        batch(&mut rig, "t-0", "abcd");
        rig.run();
        let request = rig.produce();
        assert!(request.batches()[0].bytes < 200, "{codec}: {}", request.batches()[0].bytes);
        rig.accept(&request);
        assert_eq!(log(&rig, "t-0"), "abcd", "{codec}");
        assert_eq!(rig.verdict(3), "offset 3");
        let counters = rig.sender.counters();
        assert_eq!(counters.compressed_batches, 1);
        assert!(counters.batch_bytes < counters.plain_bytes / 2, "{counters:?}");
        rig.assert_nothing_left();
    }
}

#[test]
fn a_batch_that_comes_out_larger_is_sent_as_it_was() {
    let mut rig = Rig::new(zstd(), &[1]);
    rig.send("t-0", "x");
    let request = rig.produce();
    assert_eq!(request.batches()[0].bytes, 61 + 8);
    rig.accept(&request);
    assert_eq!(rig.verdict(0), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn ord_1_batches_of_a_partition_leave_in_ring_order_whatever_order_they_come_back_in() {
    let mut rig = Rig::new(zstd(), &[1, 1]);
    rig.holds_jobs = true;
    for (partition, letters) in [("t-0", "abcd"), ("t-0", "efgh"), ("t-1", "ijkl"), ("t-0", "mnop")]
    {
        batch(&mut rig, partition, letters);
        rig.run();
    }
    assert_eq!(rig.jobs.len(), 4);
    // The last one first: it waits for those in front of it.
    rig.finish_job(3);
    assert!(rig.pending().is_empty());
    // The other partition does not.
    rig.finish_job(2);
    assert!(rig.accept_next().contains("t-1"));
    rig.finish_job(1);
    assert!(rig.pending().is_empty());
    rig.finish_job(0);
    rig.accept_all();
    assert_eq!(log(&rig, "t-0"), "abcdefghmnop");
    assert_eq!(log(&rig, "t-1"), "ijkl");
    rig.assert_nothing_left();
}

#[test]
fn no_more_jobs_are_out_than_a_compressor_has_room_for() {
    let mut rig = Rig::new(zstd(), &[1]);
    rig.holds_jobs = true;
    for _ in 0..JOBS_MAX + 3 {
        batch(&mut rig, "t-0", "abcd");
    }
    rig.run();
    assert_eq!(rig.jobs.len(), JOBS_MAX);
    rig.finish_job(0);
    assert_eq!(rig.jobs.len(), JOBS_MAX, "the next one follows");
    while !rig.jobs.is_empty() {
        rig.finish_job(0);
    }
    rig.accept_all();
    assert_eq!(log(&rig, "t-0").len(), 4 * (JOBS_MAX + 3));
    rig.assert_nothing_left();
}

#[test]
fn exp_2_k19012_a_batch_that_expires_with_the_compressor_keeps_its_memory_until_it_is_back() {
    let config = zstd().delivery_timeout(ms(1_000)).request_timeout(ms(900));
    let mut rig = Rig::new(config, &[1]);
    rig.holds_jobs = true;
    let late = batch(&mut rig, "t-0", "abcd");
    rig.run();
    rig.advance(ms(1_000));
    assert_eq!(verdicts(&rig, late, 4), ["timed-out"; 4]);
    let pool = rig.accumulator.pool();
    assert!(pool.available() < pool.total(), "the compressor still reads it");
    let next = batch(&mut rig, "t-0", "efgh");
    rig.run();
    rig.finish_job(0);
    rig.finish_job(0);
    rig.accept_all();
    assert_eq!(rig.verdict(next), "offset 0");
    assert_eq!(log(&rig, "t-0"), "efgh");
    rig.assert_nothing_left();
}

#[test]
fn a_batch_that_expires_while_it_waits_for_the_compressor_is_never_lent() {
    let config = zstd().delivery_timeout(ms(1_000)).request_timeout(ms(900));
    let mut rig = Rig::new(config, &[1]);
    rig.holds_jobs = true;
    for _ in 0..JOBS_MAX {
        batch(&mut rig, "t-0", "abcd");
    }
    let waiting = batch(&mut rig, "t-0", "efgh");
    rig.run();
    rig.advance(ms(1_000));
    assert_eq!(rig.verdict(waiting), "timed-out");
    // Its buffer, and its place in the table, may be another batch's by now.
    let next = batch(&mut rig, "t-0", "ijkl");
    rig.run();
    while !rig.jobs.is_empty() {
        rig.finish_job(0);
    }
    rig.accept_all();
    assert_eq!((rig.verdict(next), log(&rig, "t-0")), ("offset 0".to_owned(), "ijkl".to_owned()));
    assert_eq!(rig.sender.counters().compressed_batches, 1);
    rig.assert_nothing_left();
}

/// Everything of a topic, wherever it is, or only what is queued.
fn purge(rig: &mut Rig, topic: &str, in_flight: bool) {
    let opened_before = clock::to_nanos(rig.now) + 1;
    let order = PurgeOrder { topic: Some(topic.into()), queued: true, in_flight, opened_before };
    rig.sender.handle_purge(1, &order, rig.now);
    rig.run();
    rig.now += ms(1);
}

#[test]
fn purged_batches_that_are_with_the_compressor_get_a_verdict_at_once_and_keep_their_memory() {
    for in_flight in [false, true] {
        let mut rig = Rig::new(zstd(), &[1, 1]);
        rig.holds_jobs = true;
        // Eight are away, three wait for their turn.
        let first = batch(&mut rig, "t-0", "abcd");
        for _ in 1..JOBS_MAX + 3 {
            batch(&mut rig, "t-0", "abcd");
        }
        rig.run();
        assert_eq!(rig.jobs.len(), JOBS_MAX);
        let records = 4 * (JOBS_MAX + 3);
        purge(&mut rig, "t", in_flight);
        assert_eq!(rig.done, [1], "the purge does not wait for the compressor");
        assert_eq!(verdicts(&rig, first, records), vec!["purged"; records]);
        let pool = rig.accumulator.pool();
        assert!(pool.available() < pool.total(), "the compressor still reads");
        // What comes later is compressed behind them, and sent under the first sequences.
        let later = batch(&mut rig, "t-0", "ijkl");
        rig.run();
        while !rig.jobs.is_empty() {
            rig.finish_job(0);
        }
        let counters = rig.sender.counters();
        assert_eq!((counters.failed, counters.never_sent), (records as u64, records as u64));
        assert_eq!(counters.compressed_batches, 1, "none that was purged was worth an estimate");
        rig.accept_all();
        assert_eq!((rig.verdict(later), log(&rig, "t-0")), ("offset 0".into(), "ijkl".into()));
        rig.assert_nothing_left();
    }
}

#[test]
fn a_purge_of_another_topic_leaves_what_is_with_the_compressor_alone() {
    let mut rig = Rig::new(zstd(), &[1]);
    rig.holds_jobs = true;
    batch(&mut rig, "t-0", "abcd");
    rig.run();
    purge(&mut rig, "u", true);
    assert_eq!(rig.verdict(0), "pending");
    rig.finish_job(0);
    rig.accept_all();
    assert_eq!(log(&rig, "t-0"), "abcd");
    rig.assert_nothing_left();
}

#[test]
fn a_batch_that_is_purged_between_two_that_stay_leaves_no_gap() {
    let mut rig = Rig::new(zstd(), &[1, 1]);
    rig.holds_jobs = true;
    batch(&mut rig, "t-0", "abcd");
    rig.run();
    rig.finish_job(0);
    let sent = rig.produce();
    let purged = batch(&mut rig, "t-0", "efgh");
    rig.run();
    purge(&mut rig, "t", false);
    let kept = batch(&mut rig, "t-0", "ijkl");
    rig.run();
    while !rig.jobs.is_empty() {
        rig.finish_job(0);
    }
    rig.accept(&sent);
    rig.accept_all();
    assert_eq!(verdicts(&rig, purged, 4), ["purged"; 4]);
    assert_eq!((rig.verdict(kept), log(&rig, "t-0")), ("offset 4".into(), "abcdijkl".into()));
    rig.assert_nothing_left();
}

#[test]
fn a_job_that_nobody_could_run_is_sent_as_it_is() {
    let mut rig = Rig::new(zstd(), &[1]);
    rig.holds_jobs = true;
    batch(&mut rig, "t-0", "abcd");
    batch(&mut rig, "t-0", "efgh");
    rig.run();
    let mut job = rig.jobs.pop_front().unwrap();
    job.give_up();
    rig.sender.handle_compressed(job);
    rig.finish_job(0);
    let (plain, packed) = (rig.produce(), rig.produce());
    assert!(plain.batches()[0].bytes > 300 && packed.batches()[0].bytes < 200);
    rig.accept(&plain);
    rig.accept(&packed);
    assert_eq!(log(&rig, "t-0"), "abcdefgh");
    assert_eq!(rig.sender.counters().compressed_batches, 1);
    rig.assert_nothing_left();
}

#[test]
fn ack_3_a_flush_waits_for_what_is_with_the_compressor() {
    let mut rig = Rig::new(zstd().linger(ms(60_000)), &[1]);
    rig.holds_jobs = true;
    rig.append("t-0", &long('a'));
    rig.run();
    rig.sender.handle_flush(1, rig.now);
    rig.run();
    assert!(rig.done.is_empty());
    rig.finish_job(0);
    assert!(rig.done.is_empty());
    rig.accept_next();
    assert_eq!(rig.done, [1]);
    rig.assert_nothing_left();
}

#[test]
fn cls_1_a_close_waits_for_what_is_with_the_compressor() {
    let mut rig = Rig::new(zstd(), &[1]);
    rig.holds_jobs = true;
    batch(&mut rig, "t-0", "abcd");
    rig.run();
    rig.sender.handle_close(rig.now + ms(10_000), rig.now);
    rig.run();
    assert!(!rig.ended);
    rig.finish_job(0);
    rig.accept_next();
    assert_eq!(verdicts(&rig, 0, 4), ["offset 0", "offset 1", "offset 2", "offset 3"]);
    assert!(rig.ended);
    rig.assert_nothing_left();
}

#[test]
fn cls_3_a_forced_close_gives_verdicts_at_once_and_ends_when_the_compressor_is_done() {
    let mut rig = Rig::new(zstd(), &[1]);
    rig.holds_jobs = true;
    batch(&mut rig, "t-0", "abcd");
    rig.run();
    rig.sender.handle_close(rig.now, rig.now);
    rig.run();
    assert_eq!(verdicts(&rig, 0, 4), ["closed"; 4]);
    assert!(!rig.ended, "its memory is not back");
    rig.finish_job(0);
    assert!(rig.ended);
    rig.assert_nothing_left();
}

#[test]
fn a_sender_that_is_abandoned_gives_verdicts_and_reclaims_what_the_compressor_gave_up() {
    let mut rig = Rig::new(zstd(), &[1]);
    rig.holds_jobs = true;
    for _ in 0..JOBS_MAX + 1 {
        batch(&mut rig, "t-0", "abcd");
    }
    rig.run();
    rig.sender.abandon();
    rig.perform();
    assert_eq!(verdicts(&rig, 0, 4), ["sender-failed"; 4]);
    rig.jobs.clear();
    rig.sender.reclaim();
    let pool = rig.accumulator.pool();
    assert_eq!(pool.available(), pool.total());
}

#[test]
fn seq_4_a_retry_sends_the_compressed_bytes_again_as_they_were() {
    let mut rig = Rig::new(zstd(), &[1]);
    batch(&mut rig, "t-0", "abcd");
    rig.run();
    let request = rig.produce();
    rig.refuse(&request, ErrorCode::NotEnoughReplicas);
    rig.advance(ms(300));
    let again = rig.produce();
    assert_eq!(again.to_string(), request.to_string());
    assert_eq!(again.batches()[0].bytes, request.batches()[0].bytes);
    rig.accept(&again);
    assert_eq!(rig.sender.counters().compressed_batches, 1);
    rig.assert_nothing_left();
}

#[test]
fn spl_1_spl_4_a_compressed_batch_is_taken_apart_and_its_pieces_are_compressed() {
    let mut rig = Rig::new(zstd(), &[1]);
    rig.world.logs.bytes_max = Some(110);
    batch(&mut rig, "t-0", "abcd");
    batch(&mut rig, "t-0", "e");
    rig.accept_all();
    assert_eq!(log(&rig, "t-0"), "abcde");
    let offsets: Vec<_> = (0..5).map(|offset| format!("offset {offset}")).collect();
    assert_eq!(verdicts(&rig, 0, 5), offsets);
    let counters = rig.sender.counters();
    assert!(counters.splits >= 1 && counters.compressed_batches >= 4, "{counters:?}");
    assert_eq!(counters.records, 5);
    rig.assert_nothing_left();
}

#[test]
fn spl_2_a_split_takes_the_estimate_back() {
    let mut rig = Rig::new(zstd(), &[1]);
    let ring = rig.ring("t-0");
    for _ in 0..20 {
        ring.packing().observe(1_000, 100);
    }
    assert!(ring.packing().ratio() < 0.95);
    rig.holds_jobs = true;
    batch(&mut rig, "t-0", "abcd");
    rig.run();
    rig.finish_job(0);
    rig.refuse_next(ErrorCode::MessageTooLarge);
    assert_eq!(ring.packing().ratio(), 1.0);
    rig.holds_jobs = false;
    while !rig.jobs.is_empty() {
        rig.finish_job(0);
    }
    rig.accept_all();
    rig.assert_nothing_left();
}

#[test]
fn k19012_4_a_compressed_batch_that_is_split_while_it_is_lent_keeps_its_memory() {
    let mut rig = Rig::new(zstd(), &[1]);
    batch(&mut rig, "t-0", "a");
    rig.run();
    rig.accept_next();
    rig.world.stalled.insert(1);
    batch(&mut rig, "t-0", "bcde");
    rig.run();
    // The answer overtakes the end of the send. The rig compares the frame when it comes back.
    rig.refuse_next(ErrorCode::MessageTooLarge);
    rig.advance(ms(1_000));
    rig.world.stalled.clear();
    rig.world.return_frames();
    rig.accept_all();
    assert_eq!(log(&rig, "t-0"), "abcde");
    rig.assert_nothing_left();
}

#[test]
fn spl_6_batches_behind_a_piece_that_is_being_compressed_wait_for_it() {
    let mut rig = Rig::new(zstd(), &[1]);
    batch(&mut rig, "t-0", "abcd");
    batch(&mut rig, "t-0", "efgh");
    rig.run();
    rig.holds_jobs = true;
    let (first, second) = (rig.produce(), rig.produce());
    rig.refuse(&first, ErrorCode::MessageTooLarge);
    rig.refuse(&second, ErrorCode::OutOfOrderSequenceNumber);
    rig.advance(ms(500));
    assert!(rig.pending().is_empty(), "{:?}", rig.pending());
    // The second piece is back first.
    rig.finish_job(1);
    rig.advance(ms(500));
    assert!(rig.pending().is_empty());
    while !rig.jobs.is_empty() {
        rig.finish_job(0);
    }
    rig.holds_jobs = false;
    rig.accept_all();
    assert_eq!(log(&rig, "t-0"), "abcdefgh");
    rig.assert_nothing_left();
}

/// The measure: at least 80 % of `batch.size`, on average, once the estimate has come down.
#[test]
fn est_2_full_batches_come_out_near_batch_size() {
    for (codec, repeats) in [(Compression::LZ4, 3), (Compression::ZSTD, 2), (Compression::GZIP, 4)]
    {
        let config = config().compression(codec).linger(ms(60_000)).batch_bytes(4_000);
        let mut rig = Rig::new(config, &[1]);
        let (mut number, mut sizes) = (0_u64, Vec::new());
        while sizes.len() < 400 {
            number += 1;
            let digits = format!("{:020}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            rig.append("t-0", &digits.repeat(repeats));
            rig.turn();
            while rig.step() {
                rig.turn();
            }
            while !rig.pending().is_empty() {
                let request = rig.produce();
                sizes.extend(request.batches().iter().map(|batch| batch.bytes));
                rig.accept(&request);
            }
        }
        let steady = &sizes[200..];
        let average = steady.iter().sum::<usize>() / steady.len();
        assert!((3_200..=4_000).contains(&average), "{codec}: {average}");
        let above = steady.iter().filter(|bytes| **bytes > 4_000).count();
        assert!(above * 10 < steady.len(), "EST-4: {above} of {}", steady.len());
        rig.sender.handle_close(rig.now + ms(10_000), rig.now);
        rig.accept_all();
        rig.assert_nothing_left();
    }
}
