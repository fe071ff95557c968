//! Addresses at which somebody else answers than before (KIP-1242).
#![forbid(unsafe_code)]

use std::net::SocketAddr;

use kafka_protocol::messages::ApiKey;
use kuring::{DriverChoice, Record};
use socket2::{Domain, Socket, Type};

use crate::rig::{builder, offsets};
use crate::support::fake_broker::{FakeBroker, Seen, Turn};

/// A socket at an address that others may have as well: bytes go to who listens.
fn shared(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

/// What the new cluster's producer ids begin above.
const OTHER_IDS: i64 = 500;

pub(crate) fn rbt_4_a_cluster_that_took_over_the_address_gets_the_records_and_not_by_mistake(
    driver: DriverChoice,
) {
    for shards in [1, 2] {
        let first = shared(([127, 0, 0, 1], 0).into());
        let second = shared(first.local_addr().unwrap().as_socket().unwrap());
        // Node ids, topic ids and leader epochs are the same in both.
        let old = FakeBroker::over(vec![first], "127.0.0.1", &[("t", 4)]);
        let new = FakeBroker::over(vec![second], "127.0.0.1", &[("t", 4)]);
        new.state(|state| {
            state.cluster_id = "another".to_owned();
            state.producer_ids = OTHER_IDS;
        });
        // The bootstrap server is asked as well while its node cannot be reached (RBT-1), and would
        // tell of the new cluster first. It tells nothing before somebody looked for the old one.
        let mut looked_for = false;
        new.script(move |seen| {
            looked_for |= seen.api == ApiKey::ApiVersions && seen.version == 5;
            if seen.api == ApiKey::Metadata && !looked_for { Turn::HangUp } else { Turn::Serve }
        });
        old.listen(0);
        let producer = builder(&old, driver).shards(shards).build().unwrap();
        let topic = producer.topic("t");
        let send = |partition| topic.blocking_send(Record::new().partition(partition)).unwrap();
        assert_eq!(offsets((0..4).map(send).collect()), [0; 4]);
        drop(old);
        let deliveries: Vec<_> = (0..4).map(send).collect();
        new.listen(0);
        assert_eq!(offsets(deliveries), [0; 4]);
        new.state(|state| {
            let produced = state.seen.iter().filter(|seen| seen.api == ApiKey::Produce);
            let mut batches = produced.flat_map(|seen| &seen.batches);
            assert!(
                batches.all(|batch| batch.head.producer_id > 1000 + OTHER_IDS),
                "nothing was sent to it as to the old one"
            );
            let named = |seen: &&Seen| seen.api == ApiKey::ApiVersions && seen.version == 5;
            assert!(
                state.seen.iter().filter(named).count() > 1,
                "it was greeted as the old one, and then as itself"
            );
        });
    }
}
