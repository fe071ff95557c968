//! Bad input: wrong configurations, and peers that do not speak the protocol or lie in it.
//!
//! Each ends in a typed error or in retries within the configured times; memory stays bounded;
//! nothing panics or hangs; and the same producer delivers once the peer has come to its senses.
//!
//! Reading order: survival (what every test asks of the producer) → bootstrap → frames → counts →
//! cuts → answers.

mod answers;
mod bootstrap;
#[path = "../support/counting.rs"]
mod counting;
mod counts;
mod cuts;
mod frames;
#[path = "../support/mod.rs"]
mod support;
mod survival;

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
                    bounded(Duration::from_secs(120), body);
                    crate::survival::check_memory();
                }
            )*
        }
    };
}

on_every_driver! {
    bootstrap::a_closed_port_is_a_typed_error_and_then_a_broker,
    frames::text_of_another_protocol,
    frames::garbage,
    frames::silence,
    frames::a_negative_length,
    frames::a_length_of_two_gibibytes,
    frames::a_length_that_is_never_filled,
    frames::frames_too_short_for_a_header,
    frames::a_peer_that_hangs_up,
    counts::a_count_of_two_billion_in_the_old_encoding,
    counts::a_count_of_two_billion_in_the_compact_encoding,
    cuts::api_versions_cut_at_each_byte,
    cuts::metadata_cut_at_each_byte,
    cuts::init_producer_id_cut_at_each_byte,
    cuts::produce_cut_at_each_byte,
    answers::a_correlation_id_that_was_never_sent,
    answers::every_answer_twice,
    answers::an_answer_for_a_partition_that_was_not_asked,
    answers::an_answer_for_a_topic_that_was_not_asked,
    answers::an_answer_without_the_partition_that_was_asked,
    answers::an_answer_with_the_partition_twice,
    answers::error_codes_that_do_not_exist,
    answers::metadata_that_names_no_broker,
    answers::metadata_that_names_unreachable_brokers,
}
