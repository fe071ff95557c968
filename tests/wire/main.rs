//! The wire codec against an independent one, and against bytes that nobody should send.
//!
//! The oracle is the `kafka-protocol` crate. Every version of every API is compared in both
//! directions: our requests decode there to the values we meant and are the bytes it would have
//! written; its responses decode here to the values it holds; whatever a mutated response still
//! says to us, it says to the oracle too.

mod allocation;
mod batches;
mod hostile;
mod requests;
mod responses;
mod seed;
