//! The end of a producer, however it comes: closed, forced, dropped, broken, copied by a fork or
//! stopped for a while.
//!
//! Each test runs on every driver, as `epoll::name` and `tokio_uring::name`, and in a process of
//! its own: afterwards the process has the threads and descriptors that it had before.
//!
//! Reading order: traces (what is counted) → states → callbacks → drops → broken → plug_ins →
//! compressed → forked → stopped.
#![deny(unsafe_code)]

mod broken;
mod callbacks;
mod compressed;
mod drops;
mod forked;
mod in_child;
mod plug_ins;
mod states;
mod stopped;
#[path = "../support/mod.rs"]
mod support;
mod traces;

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
            use crate::support::own_process::in_own_process;
            use crate::traces::leaves_nothing;

            $(
                #[test]
                fn $name() {
                    let name = concat!(stringify!($module), "::", stringify!($name));
                    if in_own_process(name) {
                        bounded(Duration::from_secs(100), || {
                            leaves_nothing(|| crate::$file::$name(DriverChoice::$driver));
                        });
                    }
                }
            )*
        }
    };
}

on_every_driver! {
    states::close_before_any_connection_is_made,
    states::close_while_a_connection_is_being_made,
    states::close_in_the_middle_of_the_greeting,
    states::close_in_the_middle_of_a_wait_for_metadata,
    states::close_before_there_is_a_producer_id,
    states::close_with_requests_in_flight,
    states::close_in_the_middle_of_a_wait_for_memory,
    states::close_with_a_peer_that_does_not_read,
    states::close_with_nothing_to_do,
    states::cls_4_many_threads_close_at_once_and_the_shortest_patience_counts,
    states::what_arrives_in_time_is_acknowledged_and_the_rest_is_forced,
    callbacks::ack_7_close_in_a_callback_waits_for_nothing,
    callbacks::ack_7_calls_that_would_wait_are_refused_in_a_callback,
    callbacks::ack_7_send_is_allowed_in_a_callback,
    callbacks::ack_7_the_last_handle_may_go_in_a_callback,
    callbacks::ack_7_callbacks_of_every_kind_may_call_anything,
    callbacks::ack_4_a_callback_that_panics_harms_nobody,
    drops::everything_dropped_in_every_order,
    drops::everything_dropped_with_its_runtime,
    drops::futures_dropped_at_every_await,
    broken::a_shard_that_panics_leaves_a_verdict_for_every_record,
    broken::a_shard_that_panics_lets_go_of_everyone_who_waits,
    broken::of_two_shards_the_other_one_goes_on,
    plug_ins::cls_5_a_forced_close_lets_go_of_every_plug_in,
    plug_ins::cls_5_after_a_panic_of_a_shard_every_plug_in_goes,
    plug_ins::cls_5_a_plug_in_that_panics_in_its_drop_harms_no_other,
    plug_ins::cls_5_plug_ins_outlive_a_close_as_long_as_there_are_handles,
    compressed::without_a_thread_to_compress_on_the_sender_does_it,
    compressed::a_forks_child_of_a_producer_that_compresses_is_inert_as_well,
    compressed::a_panic_of_a_shard_with_batches_at_the_compressor_leaves_nothing,
    forked::a_forks_child_has_an_inert_copy_and_the_parent_notices_nothing,
    forked::a_reservation_is_inert_in_a_forks_child_and_the_parents_own,
    forked::a_forks_copy_calls_nobody,
    forked::a_childs_copies_of_the_sockets_keep_no_connection_open,
    stopped::stopped_for_longer_than_the_request_timeout,
    stopped::stopped_for_longer_than_the_delivery_timeout,
    stopped::stopped_in_the_middle_of_a_turn,
    stopped::exp_10_times_of_24_days_work,
}
