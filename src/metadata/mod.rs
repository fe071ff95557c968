//! What is known of the cluster: an immutable snapshot, its writers and its many readers.
//!
//! Owns:     the published snapshot and the topics that are in use.
//! Thread:   shard 0 writes what metadata answers say, any shard what leader hints say and that the
//!           brokers are given up, one at a time; any thread reads, registers topics and waits.
//! Bounds:   a topic is forgotten after `metadata.max.idle.ms` (MD-9).
//! Never:    takes a lock on the path of a record whose topic is known.
//! Source:   MD-1 to MD-13, LDR-1 to LDR-5, TID-3 and RBT-6 of the Java producer.
#![forbid(unsafe_code)]

pub mod cluster;
pub mod snapshot;

pub use cluster::{Cluster, Published, TopicEntry, Update};
pub use snapshot::{BrokerNode, LeaderHint, PartitionDescription, Snapshot, TopicSnapshot};
