//! Our own properties.
#![forbid(unsafe_code)]

use super::ValueType::{Int, String, Time};
use super::{Property, row};

pub(super) static PROPERTIES: &[Property] = &[
    row(
        "kuring.affinity",
        String,
        "auto",
        "Which CPUs the senders run on: auto, none, CPUs (2,3 or 4-7), or a NUMA node (numa:0).",
    ),
    row(
        "kuring.driver",
        String,
        "auto",
        "What moves the bytes: uring, tokio-uring, epoll, or auto for the first that works here.",
    ),
    row(
        "kuring.reserve.max.ms",
        Int,
        "10",
        "How long the records of a batch wait for a value that is being written in place; a later \
         one is left out.",
    ),
    row("kuring.shards", Int, "", "How many senders, 1 to 1024; by the number of CPUs when unset."),
    row(
        "kuring.spin",
        Time,
        "0",
        "How long a sender polls for work before it sleeps; it burns its core meanwhile.",
    ),
    row(
        "kuring.sqpoll",
        Time,
        "0",
        "A thread of the kernel submits for each sender, and sleeps after so long without work; 0 \
         for none. For the uring driver.",
    ),
    row(
        "kuring.zerocopy",
        String,
        "off",
        "Whether large requests are sent without a copy: off or auto. For the uring driver.",
    ),
];
