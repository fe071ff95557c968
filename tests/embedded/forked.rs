//! Fork without exec: the child's copy of an embedded producer is inert, and the parent goes on.
#![expect(unsafe_code, reason = "a fork takes its thread's things along, which are not `Send`")]

use std::rc::Rc;

use kuring::{Completion, DriverChoice, Embedded, Progress, Record, SendError, TrySendError};

use crate::ending::settled;
use crate::in_child::in_child;
use crate::loops::embedded;
use crate::support::fake_broker::{FakeBroker, PATIENCE};
use crate::support::rig::builder_for;

/// Something of this thread, for the same thread's copy in the child.
struct SameThread<T>(T);

// SAFETY: obligation: the content is used by the thread that it belongs to. The body of a child of
// a fork runs on the copy of the thread that forked, and the parent's drop runs on that thread.
unsafe impl<T> Send for SameThread<T> {}
// SAFETY: as for Send.
unsafe impl<T> Sync for SameThread<T> {}

fn check_copy(producer: &Embedded) {
    let refused = SendError::Forked { possibly_written: false };
    let topic = producer.topic("t");
    assert_eq!(topic.try_send(Record::new()).unwrap_err(), TrySendError::Rejected(refused.clone()));
    assert_eq!(topic.try_submit(Record::new(), 7), Err(TrySendError::Rejected(refused.clone())));
    assert_eq!(producer.block_on(topic.send(Record::new())).unwrap_err(), refused);
    assert_eq!(producer.turn(None), Progress::Ended);
    assert_eq!(producer.poll_deliveries(&mut [Completion::EMPTY]), 0);
    assert!(!producer.block_on(producer.deliveries()));
    producer.blocking_flush();
    assert_eq!(producer.close(PATIENCE), kuring::Summary::default());
}

pub(crate) fn a_forks_child_has_an_inert_copy_and_the_parent_notices_nothing(driver: DriverChoice) {
    let broker = FakeBroker::start(&[("t", 1)]);
    let producer = Rc::new(embedded(&broker, driver));
    let topic = producer.topic("t");
    let deliveries = vec![topic.try_send(Record::new().value("before")).unwrap()];
    topic.try_submit(Record::new().value("before"), 1).unwrap();
    producer.turn(Some(crate::support::deadline::now()));
    let copy = SameThread(Some(Rc::clone(&producer)));
    let mut copy = copy;
    let bootstrap = broker.bootstrap();
    in_child(move || {
        let copy = &mut copy;
        let producer = copy.0.take().unwrap();
        check_copy(&producer);
        // The parent's handle is copied as well; this makes it the last one.
        let producer = SameThread(producer);
        // SAFETY: obligation: one more handle exists in this process, which nobody drops: the
        // child ends without unwinding the parent's frames. So the count may be taken down.
        unsafe { Rc::decrement_strong_count(Rc::as_ptr(&producer.0)) };
        drop(producer);
        let own = builder_for(bootstrap.clone(), driver).embedded().unwrap();
        own.blocking_warm_up(&["t"]).unwrap();
        let sent = own.topic("t").try_send(Record::new().value("from the child")).unwrap();
        assert!(own.block_on(sent).is_ok());
        assert_eq!(own.close(PATIENCE).acknowledged, 1);
    });
    producer.blocking_flush();
    let summary = producer.close(PATIENCE);
    assert_eq!(summary.acknowledged, 2);
    settled(&producer, summary, &deliveries, 1);
    assert_eq!(broker.state(|state| state.stored("t")), 3);
}
