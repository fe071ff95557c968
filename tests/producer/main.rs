//! The whole producer over TCP, against a broker in this process that does what the test says.
//!
//! Each test runs on every driver, as `epoll::name` and `tokio_uring::name`. No test sleeps: each
//! waits for an event, with a deadline that only a failure reaches.
//!
//! Reading order: rig → sending → the others.
#![forbid(unsafe_code)]

mod callbacks;
mod closing;
mod compression;
mod interceptors;
mod measuring;
mod memory;
mod misrouted;
mod placing;
mod purging;
mod reserve;
mod retries;
mod sending;
mod splitting;
mod starting;
#[path = "../support/mod.rs"]
mod support;
mod telemetry;
mod topics;
mod typed;
mod verdicts;

use support::rig;

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
                    bounded(Duration::from_secs(60), body);
                }
            )*
        }
    };
}

on_every_driver! {
    sending::every_way_of_sending_arrives_byte_for_byte_in_order,
    sending::a_send_that_had_to_wait_is_sent_once,
    sending::api_4_an_explicit_partition_and_a_key_choose_the_partition,
    sending::keys_choose_nothing_when_they_are_ignored,
    sending::stk_7_after_a_batch_worth_of_bytes_each_new_batch_goes_elsewhere,
    sending::unkeyed_records_fill_a_batch_before_they_go_elsewhere,
    sending::api_2_a_record_without_a_time_has_that_after_its_wait_for_metadata,
    sending::api_1_a_negative_partition_or_timestamp_is_refused,
    sending::a_record_that_can_never_fit_is_refused_at_once,
    sending::every_version_of_produce_and_of_the_greeting_works,
    sending::threads_share_a_producer_and_each_keeps_its_order,
    placing::api_4_a_partitioner_of_one_s_own_places_records_that_name_no_partition,
    placing::api_5_an_answer_beyond_the_partitions_fails_the_record_at_once,
    placing::a_partitioner_is_asked_once_however_long_the_record_waits,
    placing::a_panic_of_a_partitioner_is_the_callers_and_breaks_nothing,
    placing::round_robin_takes_the_partitions_that_have_a_leader_in_turn,
    placing::librdkafka_s_partitioners_put_keys_where_librdkafka_does,
    placing::random_places_each_keyed_record_anew,
    placing::avl_1_a_broker_that_answers_nothing_gets_no_more_unkeyed_records,
    placing::rck_1_unkeyed_records_stay_in_the_clients_rack,
    topics::an_unknown_topic_is_named_after_max_block,
    topics::a_topic_that_is_made_while_send_waits_is_found,
    topics::md_8_a_refused_topic_ends_the_wait_and_a_grant_is_noticed,
    topics::api_6_a_partition_beyond_the_count_is_waited_for,
    topics::api_6_a_partition_that_never_comes_is_named,
    topics::one_budget_serves_the_waits_for_metadata_and_for_memory,
    topics::partitions_for_describes_each_partition,
    topics::rdy_9_records_of_a_partition_without_leader_wait_for_one,
    measuring::every_metric_adds_up_over_shards_brokers_and_topics,
    measuring::buf_9_waits_for_memory_are_measured,
    measuring::without_measuring_there_are_totals_and_no_histograms,
    measuring::statistics_are_reported_until_the_reporter_is_dropped,
    measuring::a_reporter_ends_with_its_producer_and_with_a_panic,
    telemetry::tel_1_the_id_is_waited_for_and_stays_the_same,
    telemetry::tel_1_an_id_that_does_not_come_is_waited_for_until_the_timeout,
    telemetry::tel_1_without_telemetry_there_is_no_id,
    telemetry::tel_1_a_close_ends_the_wait_for_an_id,
    telemetry::ack_7_a_sender_thread_does_not_wait_for_an_id,
    telemetry::kip_1076_a_registered_metric_is_pushed_as_what_it_is,
    telemetry::kip_1076_only_metrics_that_the_subscription_selects_are_read,
    telemetry::kip_1076_an_unregistered_metric_is_pushed_no_more,
    telemetry::kip_1076_a_metric_that_fails_is_left_out_and_the_others_go_on,
    telemetry::kip_1076_the_producers_own_metrics_cannot_be_replaced,
    telemetry::ack_7_a_metric_that_would_wait_for_its_producer_does_not,
    misrouted::rbt_4_a_cluster_that_took_over_the_address_gets_the_records_and_not_by_mistake,
    memory::buf_3_the_longest_waiter_collects_and_later_ones_get_nothing_meanwhile,
    memory::buf_4_a_wait_that_ends_in_vain_gives_everything_back,
    memory::a_topic_that_floods_the_memory_leaves_some_to_the_others,
    memory::buf_4_a_send_that_is_dropped_while_it_waits_leaves_nothing_behind,
    memory::buf_6_a_wait_for_memory_ends_all_lingering,
    memory::buf_8_closing_ends_every_wait_for_memory,
    memory::many_threads_share_three_buffers,
    reserve::a_value_written_in_place_arrives_where_it_was_reserved,
    reserve::a_dropped_reservation_leaves_no_hole_no_request_and_no_gap,
    reserve::an_open_reservation_delays_nobody_for_long_and_is_sent_when_it_comes,
    reserve::a_commit_in_time_is_waited_for,
    reserve::cls_1_a_close_waits_for_no_reservation_and_what_is_open_is_refused,
    reserve::a_failed_shard_leaves_no_reservation_behind,
    reserve::spl_1_a_batch_with_holes_that_is_too_large_is_split,
    reserve::what_can_never_be_reserved_is_refused_at_once,
    reserve::threads_that_reserve_send_and_drop_at_random_lose_nothing,
    verdicts::meta_3_acks_say_when_and_whether_there_is_an_offset,
    verdicts::flush_does_not_linger_and_waits_for_what_was_before_it,
    verdicts::a_dropped_flush_goes_on_and_a_dropped_delivery_loses_nothing,
    verdicts::rdy_2_records_wait_for_the_linger_and_leave_together,
    verdicts::exp_3_a_silent_broker_leaves_records_possibly_written,
    verdicts::exp_2_what_never_left_is_certainly_not_written,
    verdicts::net_4_a_request_without_answer_is_sent_again_elsewhere,
    verdicts::a_refused_record_fails_alone_with_the_brokers_code,
    verdicts::rty_5_retries_end_and_the_last_reason_is_told,
    verdicts::a_refused_producer_id_fails_records_until_it_is_granted,
    verdicts::meta_2_the_brokers_time_is_told_where_it_counts,
    retries::ord_order_survives_not_leader_in_the_middle_of_five,
    retries::ord_order_survives_a_timeout_said_by_the_broker,
    retries::ord_order_survives_a_connection_that_is_cut_before_the_append,
    retries::ord_order_survives_a_connection_that_is_cut_after_the_append,
    retries::ord_order_survives_an_answer_that_never_comes,
    retries::order_survives_a_storm_of_faults,
    retries::without_idempotence_and_one_in_flight_order_survives_too,
    splitting::spl_1_batches_above_the_topics_limit_arrive_once_in_order_with_true_offsets,
    splitting::spl_1_a_record_above_the_topics_limit_fails_and_its_neighbours_arrive,
    splitting::spl_7_a_flush_and_a_close_wait_for_the_last_piece,
    splitting::kip_467_named_records_fail_for_their_own_reason,
    compression::cmp_1_every_codec_arrives_byte_for_byte_in_order,
    compression::a_codec_that_panics_costs_its_batches_their_size_and_no_record,
    compression::a_topic_has_one_codec_from_its_first_record_on,
    compression::a_failed_shard_leaves_no_compressed_record_without_a_verdict,
    closing::cls_1_a_graceful_close_sends_everything_and_refuses_more,
    closing::cls_3_a_forced_close_resolves_every_delivery,
    closing::cls_3_a_close_without_patience_and_without_broker_ends_at_once,
    closing::cls_4_threads_that_close_at_once_agree,
    closing::cls_4_a_thread_that_waits_for_metadata_is_released,
    closing::close_while_threads_send_counts_what_was_accepted,
    closing::dropping_the_last_handle_sends_what_was_accepted,
    closing::dropping_the_last_handle_does_not_wait_for_a_silent_broker_for_ever,
    purging::purged_records_are_not_written_and_their_memory_is_free,
    purging::records_that_are_being_compressed_are_purged_once_and_leave_no_memory,
    purging::records_in_flight_are_purged_and_their_memory_waits_for_the_connection,
    purging::a_purge_makes_room_for_those_who_wait_for_memory,
    purging::a_paused_topic_is_held_back_and_the_others_go_on,
    purging::cls_1_a_close_sends_what_was_paused,
    purging::cls_3_an_abort_sends_nothing_more,
    purging::cls_4_an_abort_ends_a_close_that_waits,
    purging::ack_3_a_flush_is_over_after_the_wakers_of_its_records,
    starting::after_a_warm_up_records_wait_for_nothing,
    starting::a_warm_up_waits_for_a_leader_that_is_down,
    starting::a_producer_built_before_its_broker_delivers_when_it_is_there,
    starting::rbt_7_names_may_be_resolved_after_the_start,
    starting::bootstrap_servers_may_go_by_the_names_of_their_addresses,
    starting::one_bootstrap_server_that_answers_is_enough,
    starting::net_10_every_address_of_a_name_is_tried,
    starting::a_lost_connection_is_made_again_when_it_is_needed,
    starting::metrics_tell_what_happened,
    callbacks::ack_1_calls_of_a_partition_are_made_in_the_order_of_its_records,
    callbacks::ack_2_deliveries_come_after_all_calls_of_their_batch,
    callbacks::ack_3_a_flush_and_a_close_mean_that_calls_have_returned,
    callbacks::ack_4_a_call_that_panics_is_survived_by_all_others,
    callbacks::ack_5_a_batch_s_memory_is_free_when_its_calls_are_made,
    callbacks::ack_6_a_failure_is_told_with_topic_and_partition,
    callbacks::ack_7_a_call_may_send_flush_and_close,
    callbacks::ack_7_a_call_on_expiry_may_send,
    callbacks::api_7_every_accepted_record_is_told_once_however_it_ends,
    callbacks::with_a_handler_the_queue_has_nothing,
    callbacks::a_record_that_is_not_taken_drops_its_closure_uncalled,
    callbacks::a_handler_goes_with_its_producer,
    callbacks::a_failed_shard_calls_everyone,
    interceptors::every_way_of_sending_comes_by_the_interceptors,
    interceptors::what_interceptors_change_is_sent_in_their_order,
    interceptors::a_record_that_is_not_taken_is_told_once_and_on_this_thread,
    interceptors::api_3_a_record_that_was_not_taken_is_sent_again_as_it_was,
    interceptors::ack_6_the_partition_is_told_where_it_was_chosen,
    interceptors::ack_8_interceptors_are_told_before_the_handler_with_the_headers,
    interceptors::an_interceptor_that_fails_is_skipped,
    typed::every_way_of_sending_typed_records_arrives,
    typed::typed_records_have_closures_too,
    typed::the_bytes_of_a_typed_key_choose_the_partition,
    typed::none_is_a_null_and_no_value_is_a_tombstone,
    typed::a_serializer_that_fails_fails_its_record_only,
    typed::a_serializer_that_panics_leaves_no_hole,
    typed::a_serializer_may_send_records_itself,
    typed::serializers_add_headers_behind_the_records_own,
    typed::interceptors_see_the_headers_of_serializers_with_the_verdict,
    typed::what_the_plain_call_refuses_is_told_as_it_is,
}
