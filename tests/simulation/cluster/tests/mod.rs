//! The model against what real brokers are known to do. The client's codec is the other end here.
#![forbid(unsafe_code)]

mod answers;
mod elections;
mod endings;
mod faults;
mod rig;
mod sequences;
