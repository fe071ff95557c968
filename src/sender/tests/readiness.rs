//! Readiness: when a partition's first batch may go out.
#![forbid(unsafe_code)]

use super::rig::{Rig, config, ms};

#[test]
fn a_record_is_sent_acknowledged_and_leaves_nothing_behind() {
    let mut rig = Rig::new(config(), &[1]);
    let a = rig.send("t-0", "a");
    assert_eq!(rig.pending(), ["1: t-0 7000/0@0 [a]"]);
    assert_eq!(rig.verdict(a), "pending");
    rig.accept_next();
    assert_eq!(rig.verdict(a), "offset 0");
    rig.assert_nothing_left();
}

#[test]
fn rdy_2_a_batch_goes_out_when_its_linger_is_over() {
    let mut rig = Rig::new(config().linger(ms(50)), &[1]);
    rig.append("t-0", "a");
    rig.advance(ms(30));
    rig.append("t-0", "b");
    rig.advance(ms(19));
    assert!(rig.pending().is_empty());
    rig.advance(ms(1));
    assert_eq!(rig.accept_next(), "1: t-0 7000/0@0 [a b]");
    rig.assert_nothing_left();
}
