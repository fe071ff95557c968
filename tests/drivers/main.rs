//! One body of tests for every driver, over loopback sockets: the seam's promises, one by one.
//!
//! No test sleeps: each waits for an event, with a deadline that only a failure reaches.

mod cases;
mod limits;
mod log;
mod rig;
mod uring;
mod watched;

use kuring::accumulator::buffer_pool::BufferPool;
use kuring::driver::epoll::EpollDriver;
use kuring::driver::tokio_uring::TokioUringDriver;
use kuring::driver::uring::{UringDriver, UringOptions};
use std::sync::Arc;

/// How a case gets its driver.
type Open<D> = fn(&Arc<BufferPool>) -> D;

fn open_epoll(_: &Arc<BufferPool>) -> EpollDriver {
    EpollDriver::new().expect("epoll is there")
}

fn open_tokio_uring(pool: &Arc<BufferPool>) -> TokioUringDriver {
    TokioUringDriver::open(pool).expect("this test needs a kernel that allows io_uring")
}

fn open_uring(pool: &Arc<BufferPool>) -> UringDriver {
    open_uring_with(pool, &UringOptions::default())
}

fn open_uring_zero_copy(pool: &Arc<BufferPool>) -> UringDriver {
    open_uring_with(pool, &UringOptions { zero_copy: true, ..UringOptions::default() })
}

fn open_uring_with(pool: &Arc<BufferPool>, options: &UringOptions) -> UringDriver {
    UringDriver::open(pool, options).expect("this test needs io_uring of Linux 6.0")
}

macro_rules! on_every_driver {
    ($($case:ident,)*) => {
        mod epoll {
            $(#[test] fn $case() { crate::cases::$case(crate::open_epoll); })*
        }
        mod tokio_uring {
            $(#[test] fn $case() { crate::cases::$case(crate::open_tokio_uring); })*
        }
        mod raw_uring {
            $(#[test] fn $case() { crate::cases::$case(crate::open_uring); })*
        }
        mod uring_patient {
            $(#[test] fn $case() { crate::cases::$case(crate::uring::open_patient); })*
        }
        mod watched_epoll {
            $(#[test] fn $case() { crate::cases::$case(crate::watched::open_level_epoll); })*
        }
        mod watched_epoll_edge {
            $(#[test] fn $case() { crate::cases::$case(crate::watched::open_edge_epoll); })*
        }
        mod watched_uring {
            $(#[test] fn $case() { crate::cases::$case(crate::watched::open_level_uring); })*
        }
        mod watched_uring_edge {
            $(#[test] fn $case() { crate::cases::$case(crate::watched::open_edge_uring); })*
        }
        mod uring_zero_copy {
            $(#[test] fn $case() { crate::cases::$case(crate::open_uring_zero_copy); })*
        }
    };
}

on_every_driver! {
    a_refused_connect_is_one_closed,
    shutdown_ends_a_connect_that_is_under_way,
    a_frame_of_one_piece_of_the_arena_arrives_unchanged,
    a_gather_frame_arrives_unchanged,
    a_frame_that_waits_for_the_connect_is_sent_then,
    a_slow_peer_gets_every_byte_of_a_large_frame_in_order,
    a_slow_peer_gets_every_byte_of_a_large_single_piece,
    a_peer_that_stops_reading_keeps_the_frame_lent_until_shutdown,
    a_reset_while_sending_gives_the_frame_back,
    a_reset_while_receiving_is_one_closed,
    an_orderly_close_by_the_peer_is_told_from_a_reset,
    what_arrived_before_the_peer_broke_the_connection_is_still_received,
    a_late_answer_is_received,
    a_waker_on_another_thread_ends_the_wait,
    a_wake_before_the_wait_is_not_lost,
    a_wait_ends_at_its_deadline_and_not_before,
    a_near_deadline_after_a_far_one_is_met,
    reports_of_its_own_do_not_keep_a_driver_from_the_kernel,
    an_ended_connection_is_silent_and_gives_frames_back,
    a_slot_can_be_connected_again_after_its_end,
    a_flood_on_one_connection_does_not_starve_another,
    a_panic_while_events_are_handled_loses_no_frame,
    a_dropped_driver_leaves_the_memory_of_frames_intact,
}
