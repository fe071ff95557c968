//! Kuring against real Apache Kafka brokers, which these tests fetch, start and stop themselves.
//!
//! Each test runs on every version of `support/jars.rs`, as `v4_3_1::name` and `v3_9_2::name`.
//! Nothing is skipped silently: without Java they fail and say what to install.
//!
//! Reading order: content (what is sent) → traffic (who sends it) → ledger (what must be in the
//! log) → the tests: volume, placement, sending, completions, compression, reserving, typed,
//! refusals, splitting, outages, closing, telemetry.
#![forbid(unsafe_code)]

mod closing;
mod completions;
mod compression;
mod content;
mod ledger;
mod outages;
mod placement;
mod refusals;
mod reserving;
mod sending;
mod splitting;
#[path = "../support/mod.rs"]
mod support;
mod telemetry;
mod traffic;
mod typed;
mod volume;

/// One module per version, with each test in it.
macro_rules! on_every_version {
    ($($file:ident :: $name:ident),* $(,)?) => {
        on_every_version!(@version v4_3_1 V4_3_1 $($file $name)*);
        on_every_version!(@version v3_9_2 V3_9_2 $($file $name)*);
    };
    (@version $module:ident $version:ident $($file:ident $name:ident)*) => {
        mod $module {
            use std::time::Duration;

            use crate::support::deadline::bounded;
            use crate::support::jars::Version;

            $(
                #[test]
                fn $name() {
                    bounded(Duration::from_secs(400), || crate::$file::$name(Version::$version));
                }
            )*
        }
    };
}

on_every_version! {
    volume::a_million_mixed_records_from_four_threads_are_in_the_log_one_by_one,
    placement::prt_2_keyed_records_go_where_the_java_producer_puts_them,
    placement::rck_1_records_without_a_key_stay_in_a_rack_that_leads_partitions,
    placement::api_6_a_running_producer_picks_up_new_partitions,
    sending::acks_0_records_are_in_the_log_and_have_no_offset,
    sending::acks_1_records_are_in_the_log_where_the_verdict_says,
    sending::acks_all_records_are_what_the_java_consumer_and_the_dump_tool_read,
    sending::every_driver_delivers,
    sending::a_topic_with_the_brokers_clock_tells_that_time,
    completions::every_submitted_record_is_where_its_completion_says,
    completions::an_embedded_producer_delivers,
    typed::typed_records_are_what_java_s_deserializers_read,
    typed::headers_that_serializers_add_are_read_by_java,
    typed::what_an_interceptor_changes_is_in_the_log,
    reserving::a_batch_goes_without_its_dropped_first_record,
    reserving::a_batch_goes_without_its_late_first_record_which_comes_behind_it,
    compression::cmp_1_every_codec_is_read_back_record_by_record,
    compression::cmp_1_every_codec_and_level_is_read_by_the_java_consumer,
    compression::spl_1_compressed_batches_above_max_message_bytes_arrive_once_in_order,
    compression::an_embedded_producer_compresses_in_its_turns,
    refusals::an_unknown_topic_is_named_within_max_block,
    refusals::a_topic_created_while_send_waits_is_found,
    refusals::an_invalid_topic_name_is_refused,
    refusals::a_record_above_max_request_size_is_refused_before_it_is_sent,
    refusals::a_record_the_broker_finds_too_large_fails_alone,
    splitting::spl_1_batches_above_max_message_bytes_arrive_once_in_order,
    splitting::kip_467_a_record_without_key_in_a_compacted_topic_is_named,
    outages::a_producer_built_before_its_broker_runs_delivers_when_it_does,
    outages::records_survive_a_restart_of_the_only_broker_once_and_in_order,
    outages::records_survive_killed_leaders_once_and_in_order,
    outages::records_survive_a_rolling_restart_once_and_in_order,
    closing::close_while_sending_resolves_every_delivery_and_adds_up,
    closing::close_with_a_silent_broker_ends_in_time_and_resolves_every_delivery,
    telemetry::tel_6_a_cluster_that_asks_is_pushed_metrics_until_the_last_one,
    telemetry::tel_3_names_and_kinds_are_those_of_the_java_producer,
    telemetry::kip_1076_an_applications_metrics_reach_the_broker_under_the_id_it_gave,
}
