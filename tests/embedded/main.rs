//! A producer inside somebody else's loop, and verdicts that are polled.
//!
//! Each test runs on every driver that has a descriptor, as `epoll::name`, and on the one that is
//! chosen by itself, as `auto::name`; those of `queue` on the drivers of producers with threads.
//!
//! Reading order: loops → runtimes → pressure → typed → telemetry → ending → forked → queue.
#![deny(unsafe_code)]

mod ending;
mod forked;
#[path = "../ending/in_child.rs"]
mod in_child;
mod loops;
mod pressure;
mod queue;
mod runtimes;
#[path = "../support/mod.rs"]
mod support;
mod telemetry;
mod typed;

/// One module per driver, with each test in it.
macro_rules! on_drivers {
    ([$($module:ident $driver:ident),*] $tests:tt) => {
        $(on_drivers!(@driver $module $driver $tests);)*
    };
    (@driver $module:ident $driver:ident { $($file:ident :: $name:ident,)* }) => {
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

on_drivers! { [epoll Epoll, uring Uring, auto Auto] {
    loops::a_bare_loop_gets_one_completion_per_record_in_order,
    loops::a_loop_that_waits_on_the_descriptor_is_told_of_everything,
    loops::a_future_of_somebody_else_is_waited_for_as_well,
    loops::what_is_sent_is_due_at_once_and_what_lingers_is_due_then,
    loops::two_on_two_threads_do_not_meet,
    loops::it_has_no_thread_and_ignores_the_affinity,
    runtimes::a_current_thread_runtime_drives_it,
    runtimes::tokio_urings_runtime_drives_it,
    runtimes::a_linger_ends_while_the_runtime_sleeps,
    runtimes::two_in_one_runtime_share_a_thread,
    pressure::tasks_that_wait_for_memory_all_get_it,
    pressure::a_bare_loop_sends_more_than_its_memory_holds,
    pressure::a_dropped_wait_for_memory_leaves_nothing_behind,
    ending::close_before_any_connection_is_made,
    ending::close_with_requests_in_flight,
    ending::an_abort_sends_nothing_more,
    ending::records_are_held_back_purged_and_let_go,
    ending::close_in_the_middle_of_waits,
    ending::close_with_nothing_to_do,
    ending::a_shutdown_leaves_the_other_tasks_running,
    ending::dropping_it_sends_what_was_accepted,
    ending::dropped_with_its_runtime_it_sends_what_was_accepted,
    ending::a_turn_that_panics_leaves_a_verdict_for_every_record,
    ending::ack_7_a_waker_may_call_anything,
    ending::calls_are_made_in_the_turns,
    typed::every_way_of_sending_typed_records_arrives,
    typed::a_serializer_that_fails_fails_its_record_only,
    typed::awaited_closures_and_batches_wait_for_memory_and_leave_nothing_behind,
    telemetry::tel_1_the_id_comes_with_the_turns,
    telemetry::kip_1076_a_registered_metric_is_read_in_the_turns,
    forked::a_forks_child_has_an_inert_copy_and_the_parent_notices_nothing,
} }

on_drivers! { [threads_epoll Epoll, threads_auto Auto] {
    queue::completions_come_in_the_order_of_the_records,
    queue::each_submitted_record_has_one_completion,
    queue::completions_of_split_batches_have_true_offsets,
    queue::a_forced_close_leaves_each_partitions_completions_in_order,
    queue::a_shard_that_panics_leaves_a_completion_for_every_record,
    queue::what_was_not_polled_goes_with_the_producer,
    queue::a_refused_record_has_no_completion,
} }

#[test]
fn what_cannot_be_embedded_is_refused() {
    use kuring::{DriverChoice, OpenError, Producer, StartError};
    let builder = || Producer::builder().bootstrap_servers("127.0.0.1:1");
    let refused = builder().shards(2).embedded().unwrap_err();
    assert!(matches!(refused, StartError::EmbeddedShards { shards: 2 }), "{refused}");
    let refused = builder().driver(DriverChoice::TokioUring).embedded().unwrap_err();
    let StartError::Driver(OpenError::NotEmbeddable { driver: "tokio-uring" }) = refused else {
        panic!("{refused}")
    };
}
