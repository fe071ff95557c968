//! How a producer is configured: a typed builder and Kafka's property names, one set of checks.
//!
//! Uses: `partitioner`, `callback` and `interceptor`, to take these with everything else.
//!
//! Both roads lead to the same [`Settings`]. A wrong value is a [`ConfigError`] that names the
//! property, the value and what is accepted. A property that Kafka has and this version does not
//! carry out is an error, unless it is set to Kafka's default; one that only means something in a
//! JVM is logged and ignored; one that nobody knows is logged and ignored (CFG-10).
//!
//! Our own properties, beside Kafka's:
//!
//! | property | values | default |
//! | --- | --- | --- |
//! | `kuring.affinity` | `auto`, `none`, CPUs (`2,3`, `4-7`), a NUMA node (`numa:0`) | `auto` |
//! | `kuring.shards` | number of senders, 1 to 1,024 | by the rule of [`Placement`] |
//! | `kuring.spin` | `0`, or a number with its unit: `50us`, `1ms`, `200ns`, `1s` | `0` |
//! | `kuring.driver` | `auto`, `uring`, `tokio-uring`, `epoll` | `auto` |
//! | `kuring.zerocopy` | `off`, `auto`; for the `uring` driver | `off` |
//! | `kuring.sqpoll` | `0`, or a time as for `kuring.spin`; for the `uring` driver | `0` |
//! | `kuring.reserve.max.ms` | milliseconds, 0 to `i32::MAX` | 10 |
#![forbid(unsafe_code)]

mod affinity;
mod bootstrap;
mod builder;
mod catalog;
mod compression;
mod cpus;
mod effective;
mod error;
mod hooks;
mod keys;
mod machine;
mod origin;
mod properties;
mod settings;
mod validate;
mod value;

pub use crate::protocol::compression::Compression;
pub use affinity::{Affinity, Placement, pin_current_thread, resolve, unpin_current_thread};
pub use bootstrap::HostPort;
pub use builder::ConfigBuilder;
pub use catalog::{Property, ValueType, Verdict, every_property, property};
pub(crate) use compression::checked;
pub use cpus::CpuList;
pub use effective::Setting;
pub use error::{BootstrapProblem, ConfigError, PropertiesProblem};
pub use machine::Machine;
pub use origin::Origin;
pub use properties::FileProperty;
pub use settings::{
    Acks, AllocationStrategy, Backoff, DnsLookup, DriverChoice, FOREVER, MetadataRecovery,
    RecordingLevel, Settings, ZeroCopy,
};
