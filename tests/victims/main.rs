//! Defects that other producers had, each with a test that would show it here.
//!
//! Named by the project and, where it has one, the number of its report. Those that need
//! transactions, TLS or SASL are left out. Where a test elsewhere holds one already, it is named:
//! `u:` a unit test in `src/`, else the file below `tests/` and the test.
//!
//! | victim | what went wrong | held by |
//! |---|---|---|
//! | KAFKA-19012, CVE-2026-35554 | memory reused while in a socket | `reuse`, `u: k19012_*` |
//! | netty #17238 | memory freed before its completion | `reuse::*forced_close*`, `drivers` |
//! | sarama #2619, #2860, #2943 | a retry behind newer batches | `producer/retries: ord_*` |
//! | librdkafka #1092 | one in flight, and reordered | `producer/retries: without_idempotence_*` |
//! | librdkafka 1.9 | a topic that returns reuses sequences | `order::librdkafka_1_9_*` |
//! | librdkafka #4438, #3584 | possibly written taken for written | `order::librdkafka_4438_*` |
//! | librdkafka #4750 | a retry with other bytes | `u: seq_4_a_retry_has_the_same_bytes` |
//! | franz-go #1217 | timed out taken for not written | `producer/verdicts: exp_3_*` |
//! | krafka 0.27 | acknowledged behind a failure, and not written | `order::krafka_0_27_*` |
//! | krafka 0.19 | an unreadable answer taken for a refusal | `hostile/cuts`, `hostile/answers` |
//! | krafka | a batch without producer id after a reset | `order::krafka_a_reset_*` |
//! | franz-go 1.17.1, 1.18 | deadlocks at full memory | `hangs::franz_go_1_17_*` |
//! | franz-go 1.5.3, 1.9.0 | sequences that wrap to below 0 | `u: seq_3_sequences_wrap_to_zero` |
//! | franz-go 1.13.1 | a topic re-created in haste hangs | `hangs::franz_go_1_13_1_*` |
//! | krafka | a dropped flush leaves the producer stuck | `ending/drops: futures_dropped_*` |
//! | librdkafka #4103 | a flush is over with records left | `ending`, `producer/closing` |
//! | rust-rdkafka #518 | a drop without verdicts | `ending/drops`, `producer/closing` |
//! | librdkafka #2912 | lost wakes, a second each | `u: ready`, `hangs::librdkafka_2912_*` |
//! | zio #494, #503 | a waker armed too late | `u: a_waiting_thread_is_woken_*` |
//! | librdkafka | retried for ever, or not at all | `u: recovery`, `producer/verdicts: rty_5_*` |
//! | krafka | a throttle taken for a timeout | `u: net_4_throttle_*`, `u: net_5_*` |
//! | librdkafka | a leader of an older epoch | `u: md_7_*` |
//! | franz-go | a producer id that the broker forgot | `order::franz_go_an_unknown_*` |
//! | librdkafka | a split that uses a sequence twice | `u: spl_*` |
//! | krafka | an answer to another request, or partition | `hostile/answers`, `u: net_2_*` |
//! | librdkafka | acks=0 holds its slots in flight | `u: net_7_*`, `producer/verdicts: acks_*` |
//! | librdkafka 0149 | an IPv6 listener, an address that moves | `hangs::librdkafka_0149_*` |
//! | many | a clock that jumps | `tidy` (one wall clock, for timestamps), `ending/stopped` |
//! | librdkafka 0079 | fork in the host process | `ending/forked` |
#![forbid(unsafe_code)]

mod hangs;
mod order;
mod reuse;
#[path = "../support/mod.rs"]
mod support;

/// One module per driver, with each test in it.
macro_rules! on_every_driver {
    ($($file:ident :: $name:ident,)*) => {
        on_every_driver!(@driver epoll Epoll $($file $name)*);
        on_every_driver!(@driver tokio_uring TokioUring $($file $name)*);
        on_every_driver!(@driver uring Uring $($file $name)*);
    };
    (@driver $module:ident $driver:ident $($file:ident $name:ident)*) => {
        mod $module {
            use std::time::Duration;

            use kuring::DriverChoice;

            use crate::support::deadline::bounded;

            $(
                #[test]
                fn $name() {
                    let body = || crate::$file::$name(DriverChoice::$driver);
                    bounded(Duration::from_secs(100), body);
                }
            )*
        }
    };
}

on_every_driver! {
    reuse::kafka_19012_the_broker_reads_on_after_the_records_expired,
    reuse::kafka_19012_the_connection_is_cut_after_the_records_expired,
    reuse::kafka_19012_forced_close_while_the_broker_does_not_read,
    order::librdkafka_1_9_a_topic_that_vanishes_and_returns_goes_on_where_it_was,
    order::librdkafka_4438_one_to_five_requests_cut_after_the_append,
    order::krafka_0_27_what_follows_a_refused_batch_is_written_when_it_is_acknowledged,
    order::krafka_a_reset_sends_no_batch_without_a_producer_id,
    order::franz_go_an_unknown_producer_id_costs_no_record,
    hangs::franz_go_1_17_full_memory_cancelled_sends_and_unknown_topics,
    hangs::franz_go_1_13_1_a_topic_that_is_made_anew_again_and_again,
    hangs::librdkafka_2912_records_that_come_alone_are_sent_at_once,
    hangs::librdkafka_0149_an_ipv6_listener_and_an_address_that_moves,
}
