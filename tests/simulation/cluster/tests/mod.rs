//! The model against what real brokers are known to do.
#![forbid(unsafe_code)]
