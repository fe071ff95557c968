//! Where records wait: the arena, the batches in it, the per-partition rings over them.
#![deny(unsafe_code)]
pub mod buffer_pool;
