//! Which calls a verdict makes, in which order, and what they are told.
#![forbid(unsafe_code)]

use super::*;
use crate::delivery::Delivery;
use crate::delivery::completion::{Completion, Completions, Run};
use crate::delivery::tags::{Kept, NoTag, Tag, UserData};

type Heard = Arc<Mutex<Vec<(u64, Result<Option<i64>, SendError>)>>>;

fn offset(report: &DeliveryReport<'_>) -> Result<Option<i64>, SendError> {
    assert_eq!((&**report.topic, report.partition), ("t", Some(3)));
    report.to_result().map(|place| place.offset)
}

/// A batch, and what its verdict calls.
struct Rig {
    cell: CellIndex,
    callbacks: Arc<Callbacks>,
    caller: Caller,
    heard: Heard,
    interceptors: usize,
}

impl Rig {
    fn new(handled: bool, interceptors: Vec<Arc<dyn Interceptor>>) -> Self {
        let count = interceptors.len();
        let (heard, callbacks) = (Heard::default(), Arc::new(Callbacks::new(interceptors)));
        let hearing = Arc::clone(&heard);
        let handler = move |number, report: &DeliveryReport<'_>| {
            hearing.lock().unwrap().push((number, offset(report)));
        };
        let handler = handled.then(|| Arc::new(handler) as Arc<Handler>);
        let caller = Caller::new(Arc::clone(&callbacks), handler);
        let cell = CellIndex::claim(&"t".into(), 3).unwrap();
        Self { cell, callbacks, caller, heard, interceptors: count }
    }

    fn leave(&self, ordinal: u32, tag: impl Tag) -> Delivery {
        tag.reserve(|| self.cell, ordinal);
        tag.leave(self.cell, ordinal, 7);
        self.cell.delivery(ordinal, 7)
    }

    fn closure(&self, ordinal: u32) {
        let hearing = Arc::clone(&self.heard);
        let call = move |report: &DeliveryReport<'_>| {
            hearing.lock().unwrap().push((u64::from(ordinal) + 1000, offset(report)));
        };
        let number = self.callbacks.keep(Owner::Closure(Box::new(call)));
        self.leave(ordinal, Kept::<false>(number)).leave_to_queue();
    }

    fn tell(&mut self, span: Span, outcome: Result<Written, &SendError>) {
        if self.caller.is_due(self.cell) {
            let has_holes = span.of != 5;
            self.caller.tell(Told { cell: self.cell, span, has_holes, outcome });
        }
    }

    fn acknowledge(&mut self) -> Option<Run> {
        let place = Written { base_offset: 50, log_append_time: -1 };
        self.tell(Span::whole(5), Ok(place));
        let run = Run::of(self.cell, Span::whole(5));
        self.cell.acknowledge(50, -1, 5, &mut Vec::new());
        run
    }

    fn heard(&self) -> Vec<(u64, Option<i64>)> {
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        heard.into_iter().map(|(number, offset)| (number, offset.unwrap())).collect()
    }
}

#[test]
fn ack_1_the_calls_of_a_batch_are_made_in_the_order_of_its_records() {
    let mut rig = Rig::new(true, Vec::new());
    let sent = [rig.leave(0, NoTag), rig.leave(3, NoTag)];
    rig.closure(1);
    rig.leave(2, UserData(2)).leave_to_queue();
    rig.closure(4);
    assert!(rig.acknowledge().is_some(), "the flag stays; the queue is not asked");
    assert_eq!(rig.heard(), [(1001, Some(51)), (2, Some(52)), (1004, Some(54))]);
    assert_eq!(rig.callbacks.entries.count(), 0);
    assert_eq!(sent.map(|delivery| delivery.wait().unwrap().offset), [Some(50), Some(53)]);
    assert_eq!(rig.interceptors, 0);
}

#[test]
fn without_calls_nothing_is_due() {
    let mut rig = Rig::new(true, Vec::new());
    let sent: Vec<_> = (0..5).map(|ordinal| rig.leave(ordinal, NoTag)).collect();
    assert!(!rig.caller.is_due(rig.cell));
    assert!(rig.acknowledge().is_none());
    drop(sent);
    let mut rig = Rig::new(false, Vec::new());
    (0..5).for_each(|ordinal| rig.leave(ordinal, UserData(1)).leave_to_queue());
    assert!(!rig.caller.is_due(rig.cell) && !rig.caller.handles_submitted());
    let queue = Completions::new(1);
    queue.add(&mut rig.acknowledge().into_iter().collect());
    assert_eq!(queue.poll(&mut [const { Completion::EMPTY }; 9]), 5);
}

#[test]
fn ack_4_a_call_that_panics_is_survived_and_the_next_is_made() {
    let mut rig = Rig::new(false, Vec::new());
    let call = |_: &DeliveryReport<'_>| panic!("on purpose: this test's callback panics");
    let number = rig.callbacks.keep(Owner::Closure(Box::new(call)));
    rig.leave(0, Kept::<false>(number)).leave_to_queue();
    (1..5).for_each(|ordinal| rig.closure(ordinal));
    rig.acknowledge();
    let expected = (1..5).map(|n| (1000 + n, Some(50 + n as i64)));
    assert_eq!(rig.heard(), expected.collect::<Vec<_>>());
    assert_eq!(rig.callbacks.entries.count(), 0);
}

#[test]
fn meta_1_meta_4_without_a_base_offset_no_record_has_one() {
    let mut rig = Rig::new(false, Vec::new());
    (0..5).for_each(|ordinal| rig.closure(ordinal));
    rig.tell(Span::whole(5), Ok(Written { base_offset: -1, log_append_time: -1 }));
    rig.cell.acknowledge(-1, -1, 5, &mut Vec::new());
    assert!(rig.heard().iter().all(|(_, offset)| offset.is_none()));
}

#[test]
fn meta_5_the_pieces_of_a_batch_and_its_holes_have_their_own_places() {
    let mut rig = Rig::new(false, Vec::new());
    // Of six places the second is left out; the last two records are a piece of their own.
    for ordinal in [0, 2, 3, 4, 5] {
        rig.closure(ordinal);
    }
    rig.cell.leave_out(vec![1]);
    let piece = Span { first: 3, records: 2, of: 5 };
    let place = Written { base_offset: 80, log_append_time: -1 };
    let told = Told { cell: rig.cell, span: piece, has_holes: true, outcome: Ok(place) };
    rig.caller.tell(told);
    rig.cell.acknowledge_part(piece, 80, -1, &mut Vec::new());
    assert_eq!(rig.heard(), [(1004, Some(80)), (1005, Some(81))]);
    let first = Span { first: 0, records: 3, of: 5 };
    let error = SendError::Closed { possibly_written: true };
    rig.caller.tell(Told { cell: rig.cell, span: first, has_holes: true, outcome: Err(&error) });
    rig.cell.fail_part(first, [(3, error.clone())], &mut Vec::new());
    let heard = std::mem::take(&mut *rig.heard.lock().unwrap());
    let failed = |number| (number, Err(error.clone()));
    assert_eq!(heard, [failed(1000), failed(1002), failed(1003)]);
}

/// Notes what it is told, and how many headers came along.
struct Noting(Heard);

impl Interceptor for Noting {
    fn on_acknowledgement(&self, report: &DeliveryReport<'_>, headers: &HeaderList) {
        self.0.lock().unwrap().push((headers.len() as u64, offset(report)));
    }
}

#[test]
fn ack_8_interceptors_are_told_just_before_the_record_s_own_call() {
    let heard = Heard::default();
    let mut rig = Rig::new(false, vec![Arc::new(Noting(Arc::clone(&heard)))]);
    rig.heard = heard;
    let headers = [crate::record::Header { key: "h", value: None }; 2];
    let keep = |rig: &Rig, owner| {
        let number = rig.callbacks.keep(owner);
        rig.callbacks.keep_headers(number, &Record::new().headers(&headers));
        Kept::<true>(number)
    };
    let delivery = rig.leave(0, keep(&rig, Owner::Delivery));
    rig.leave(1, keep(&rig, Owner::Number(9))).leave_to_queue();
    (2..5).for_each(|ordinal| rig.closure(ordinal));
    let run = rig.acknowledge();
    let told = rig.heard();
    assert_eq!(told[..4], [(2, Some(50)), (2, Some(51)), (0, Some(52)), (1002, Some(52))]);
    assert_eq!(told.len(), 8);
    // One goes to the queue as if nobody had looked; the other has its delivery.
    let queue = Completions::new(1);
    queue.add(&mut run.into_iter().collect());
    let mut completions = [const { Completion::EMPTY }; 5];
    assert_eq!(queue.poll(&mut completions), 1);
    assert_eq!(
        (completions[0].user_data, &completions[0].verdict),
        (
            9,
            &Ok(Acknowledged {
                at: completions[0].verdict.as_ref().unwrap().at,
                partition: 3,
                offset: Some(51),
                timestamp: 7
            }),
        )
    );
    assert_eq!(delivery.wait().unwrap().offset, Some(50));
}

#[test]
fn hooks_are_equal_when_they_call_the_same() {
    let interceptor = Arc::new(Noting(Heard::default()));
    let handler: Arc<Handler> = Arc::new(|_, _| {});
    let hooks = Hooks { interceptors: vec![interceptor], handler: Some(handler) };
    assert_eq!(hooks, hooks.clone());
    assert_ne!(hooks, Hooks { handler: None, ..hooks.clone() });
    let other = Hooks { handler: Some(Arc::new(|_, _| {})), ..hooks.clone() };
    // Closures that hold nothing may share an address.
    assert!(other.interceptors.len() == 1 && hooks != Hooks::default());
    assert_eq!(format!("{hooks:?}"), "Hooks { interceptors: 1, delivery_handler: true }");
}
