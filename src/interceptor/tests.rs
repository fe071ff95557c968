//! What interceptors may do to a record, and what becomes of their mistakes.
#![forbid(unsafe_code)]

use std::sync::Mutex;

use super::*;
use crate::record::Header;

const HEADERS: [Header<'_>; 1] = [Header { key: "old", value: None }];

/// An interceptor that is a function.
struct OnSend<F>(F);

impl<F: Fn(&mut Outgoing<'_>) -> Result<(), OnSendError> + Send + Sync> Interceptor for OnSend<F> {
    fn on_send(&self, record: &mut Outgoing<'_>) -> Result<(), OnSendError> {
        (self.0)(record)
    }
}

fn link(
    on_send: impl Fn(&mut Outgoing<'_>) -> Result<(), OnSendError> + Send + Sync + 'static,
) -> Arc<dyn Interceptor> {
    Arc::new(OnSend(on_send))
}

/// Key, value, headers, timestamp and partition of a record that came through.
type Seen = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<String>, Option<i64>, Option<i32>);

fn through(links: Vec<Arc<dyn Interceptor>>) -> Result<Seen, SendError> {
    let record = Record::new().key("k").value("v").headers(&HEADERS).partition(1);
    let mut draft = Draft::default();
    Chain::new(links).on_send(&"t".into(), &record, &mut draft)?;
    Ok(draft.with_record(&record, |record| {
        let headers = record.headers.iter().map(|header| header.key.to_owned()).collect();
        let bytes = |field: Option<&[u8]>| field.map(<[u8]>::to_vec);
        (bytes(record.key), bytes(record.value), headers, record.timestamp, record.partition)
    }))
}

fn untouched() -> Seen {
    (Some(b"k".to_vec()), Some(b"v".to_vec()), vec!["old".to_owned()], None, Some(1))
}

#[test]
fn each_sees_what_the_ones_before_it_changed() {
    let first = link(|record| {
        assert_eq!((&**record.topic(), record.key()), ("t", Some(&b"k"[..])));
        assert!(record.headers().eq(HEADERS));
        record.set_key(None);
        record.set_value(Some(b"first".to_vec()));
        record.headers_mut().push("first", Some(b"1"));
        record.set_timestamp(7);
        assert_eq!((record.key(), record.value()), (None, Some(&b"first"[..])), "its own, too");
        Ok(())
    });
    let second = link(|record| {
        assert_eq!((record.key(), record.value()), (None, Some(&b"first"[..])));
        assert_eq!((record.timestamp(), record.partition()), (Some(7), Some(1)));
        assert_eq!(record.headers().count(), 2);
        record.headers_mut().remove("old");
        record.headers_mut().push("second", None);
        record.set_partition(None);
        Ok(())
    });
    let (key, value, headers, timestamp, partition) = through(vec![first, second]).unwrap();
    assert_eq!((key, value.as_deref()), (None, Some(&b"first"[..])));
    assert_eq!(
        (headers, timestamp, partition),
        (vec!["first".into(), "second".into()], Some(7), None)
    );
}

#[test]
fn what_nobody_changes_is_sent_as_it_is() {
    assert_eq!(through(vec![link(|_| Ok(()))]).unwrap(), untouched());
}

#[test]
fn one_that_fails_is_skipped_and_what_it_changed_is_undone() {
    let spoil = |record: &mut Outgoing<'_>| {
        record.set_key(Some(b"spoilt".to_vec()));
        record.set_partition(Some(9));
        record.headers_mut().clear();
    };
    let failing = link(move |record| {
        spoil(record);
        // `?` takes every error.
        let number: u8 = "x".parse()?;
        unreachable!("{number}")
    });
    let said = link(move |record| {
        spoil(record);
        Err(OnSendError::failed("no connection to the audit service"))
    });
    let panicking = link(move |record| {
        spoil(record);
        panic!("on purpose: this test's interceptor panics");
    });
    let last = link(|record| {
        record.headers_mut().push("last", None);
        Ok(())
    });
    let seen = through(vec![failing, said, panicking, last]).unwrap();
    let (_, _, headers, ..) = &seen;
    assert_eq!(*headers, ["old", "last"]);
    assert_eq!((seen.0, seen.4), (untouched().0, untouched().4));
}

#[test]
fn a_rejected_record_is_seen_by_no_later_one() {
    let reject = link(|_| Err(OnSendError::reject("no key")));
    let never = link(|_| unreachable!("the record was rejected"));
    let error = through(vec![reject, never]).unwrap_err();
    assert_eq!(error, SendError::Intercepted { reason: "no key".into() });
    assert_eq!(error.to_string(), "an interceptor rejected the record: no key");
    assert!(!error.possibly_written());
}

#[test]
fn many_headers_are_sent_too() {
    let many = link(|record| {
        (0..100).for_each(|number| record.headers_mut().push(&number.to_string(), None));
        Ok(())
    });
    let (_, _, headers, ..) = through(vec![many]).unwrap();
    assert_eq!((headers.len(), &*headers[0], &*headers[100]), (101, "old", "99"));
}

#[test]
fn headers_of_serializers_are_not_seen_and_come_behind_all_others() {
    let added = ["own", "id", "id"].map(|key| Header { key, value: None });
    let mut record = Record::new().headers(&added);
    record.added_headers = 2;
    let keys = |links| {
        let mut draft = Draft::default();
        Chain::new(links).on_send(&"t".into(), &record, &mut draft).unwrap();
        let keys =
            |record: &Record<'_>| record.headers.iter().map(|it| it.key.to_owned()).collect();
        draft.with_record::<Vec<_>>(&record, keys)
    };
    let looking = || {
        link(|record| {
            assert!(record.headers().map(|header| header.key).eq(["own"]));
            Ok(())
        })
    };
    assert_eq!(keys(vec![looking()]), ["own", "id", "id"]);
    let adding = link(|record| {
        record.headers_mut().push("mine", None);
        assert!(record.headers().map(|header| header.key).eq(["own", "mine"]));
        Ok(())
    });
    assert_eq!(keys(vec![looking(), adding]), ["own", "mine", "id", "id"]);
    let clearing = link(|record| {
        record.headers_mut().clear();
        (0..100).for_each(|number| record.headers_mut().push(&number.to_string(), None));
        Ok(())
    });
    let keys = keys(vec![clearing]);
    assert_eq!((keys.len(), &*keys[99], &*keys[100], &*keys[101]), (102, "99", "id", "id"));
}

#[test]
fn ack_4_every_interceptor_is_told_although_one_panics() {
    struct Told(Arc<Mutex<Vec<usize>>>, usize);
    impl Interceptor for Told {
        fn on_acknowledgement(&self, report: &DeliveryReport<'_>, headers: &HeaderList) {
            assert_eq!((report.partition, headers.len()), (None, 1));
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(self.1);
            assert_ne!(self.1, 1, "on purpose: this test's interceptor panics");
        }
    }
    let told = Arc::<Mutex<Vec<usize>>>::default();
    let links = (0..3).map(|number| Arc::new(Told(Arc::clone(&told), number)) as _);
    let mut headers = HeaderList::new();
    headers.replace(&HEADERS);
    let (topic, error) = ("t".into(), SendError::Cancelled);
    let report = DeliveryReport { topic: &topic, partition: None, verdict: Err(&error) };
    Chain::new(links.collect()).on_acknowledgement(&report, &headers);
    assert_eq!(*told.lock().unwrap(), [0, 1, 2]);
}
