//! Lists of servers that are wrong, and servers that are not there.
#![forbid(unsafe_code)]

use kuring::{ConfigError, DriverChoice, Producer, Record, SendError, StartError};

use crate::support::fake_broker::FakeBroker;
use crate::survival::{impatient, recovers};

fn refused(servers: &str) -> StartError {
    let built = Producer::builder().bootstrap_servers(servers).build();
    built.map(|_| ()).expect_err(servers)
}

#[test]
fn cfg_6_a_wrong_list_of_servers_is_an_error_that_names_the_entry() {
    for (servers, named) in [
        ("", "bootstrap.servers"),
        ("   ", "bootstrap.servers"),
        (",", "bootstrap.servers"),
        ("good:9092,,also:9092", "empty"),
        ("kafka", "\"kafka\""),
        ("kafka:", "\"kafka:\""),
        (":9092", "\":9092\""),
        ("kafka:0", "\"kafka:0\""),
        ("kafka:65536", "\"kafka:65536\""),
        ("kafka:-1", "\"kafka:-1\""),
        ("kafka:port", "\"kafka:port\""),
        ("ka fka:9092", "\"ka fka:9092\""),
        ("SSL://kafka:9092", "\"SSL://kafka:9092\""),
        ("::1:9092", "\"::1:9092\""),
        ("[::1:9092", "\"[::1:9092\""),
        ("[kafka]:9092", "\"[kafka]:9092\""),
        ("kafka:9092,kafka:9092", "twice"),
    ] {
        let error = refused(servers);
        assert!(matches!(error, StartError::Config(_)), "{servers:?}: {error:?}");
        assert!(error.to_string().contains(named), "{servers:?}: {error}");
    }
    let missing = Producer::builder().build().map(|_| ()).unwrap_err();
    assert!(matches!(missing, StartError::Config(ConfigError::Missing { .. })), "{missing:?}");
}

#[test]
fn cfg_6_names_without_an_address_are_an_error_that_lists_them() {
    let error = refused("no-such-host.invalid:9092,nor-this-one.invalid:9093");
    let StartError::Unresolved { servers, .. } = &error else { panic!("{error:?}") };
    assert_eq!(servers, "no-such-host.invalid:9092,nor-this-one.invalid:9093");
    assert!(error.to_string().contains("no-such-host.invalid:9092"), "{error}");
}

pub(crate) fn a_closed_port_is_a_typed_error_and_then_a_broker(driver: DriverChoice) {
    let broker = FakeBroker::asleep(1, &[("t", 1)]);
    let producer = impatient(&broker, driver);
    let error = producer.topic("t").blocking_send(Record::new()).unwrap_err();
    assert!(matches!(error, SendError::Unknown { cause: None, .. }), "{error:?}");
    let error = producer.blocking_partitions_for("t").unwrap_err();
    assert!(matches!(error, SendError::Unknown { .. }), "{error:?}");
    assert!(producer.metrics().disconnects > 1);
    broker.listen(0);
    recovers(&producer);
}
