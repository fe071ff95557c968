//! The null broker against the `kafka-protocol` crate, which knows every version, and against
//! bytes that no client sends.
#![forbid(unsafe_code)]

mod answers;
mod bounds;
mod client;
mod verify;
