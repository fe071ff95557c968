//! What is logged: each trouble once a second, and never what a record holds.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span;

use super::rig::{Rig, config, ms};
use crate::protocol::error_code::ErrorCode;

const SECRET: &str = "the-payload-that-must-not-show";

/// Keeps each event and span as one line of its fields.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<String>>>);

impl Heard {
    fn push(&self, line: Line) {
        self.0.lock().unwrap().push(line.0);
    }

    /// The lines with this text.
    fn lines(&self, text: &str) -> Vec<String> {
        let lines = self.0.lock().unwrap();
        lines.iter().filter(|line| line.contains(text)).cloned().collect()
    }
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.push_str(&format!("{}={value:?} ", field.name()));
    }
}

impl tracing::Subscriber for Heard {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut line = Line(String::new());
        span.record(&mut line);
        self.push(line);
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(format!("{} ", event.metadata().level()));
        event.record(&mut line);
        self.push(line);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// What is heard meanwhile. No payload shows, whatever happens.
fn heard(body: impl FnOnce()) -> Heard {
    let heard = Heard::default();
    tracing::subscriber::with_default(heard.clone(), body);
    assert_eq!(heard.lines(SECRET), [""; 0]);
    assert_ne!(heard.lines(""), [""; 0]);
    heard
}

#[test]
fn a_connection_is_told_when_it_is_up_and_when_it_ends() {
    let heard = heard(|| {
        let mut rig = Rig::new(config(), &[1]);
        rig.send("t-0", SECRET);
        let request = rig.produce();
        rig.cut(request.connection);
        rig.accept_all();
    });
    let up = heard.lines("connected");
    assert!(up[0].contains("broker=") && up[0].starts_with("INFO"), "{up:?}");
    let ended = heard.lines("connection ended");
    assert!(ended.len() == 1 && ended[0].contains("why=reset by peer"), "{ended:?}");
}

#[test]
fn a_storm_of_retries_is_a_line_a_second_with_a_count() {
    let heard = heard(|| {
        let mut rig = Rig::new(config().retry_backoff(ms(10)).retry_backoff_max(ms(10)), &[1]);
        rig.send("t-0", SECRET);
        for _ in 0..300 {
            rig.refuse_next(ErrorCode::NotEnoughReplicas);
            rig.advance(ms(12));
        }
        rig.accept_all();
    });
    let lines = heard.lines("sent again");
    assert!((3..=5).contains(&lines.len()), "3.6 seconds: {lines:?}");
    let words = ["topic=\"t\"", "partition=0", "NOT_ENOUGH_REPLICAS"];
    assert!(words.iter().all(|word| lines[1].contains(word)), "{lines:?}");
    let left_out = |line: &String| {
        let rest = line.split("left_out=").nth(1).unwrap();
        rest.split(' ').next().unwrap().parse::<usize>().unwrap()
    };
    let all = lines.iter().map(left_out).sum::<usize>() + lines.len();
    assert!((200..=300).contains(&all), "{all} of 300, the last ones untold yet");
}

#[test]
fn a_record_that_expires_a_leader_that_moves_and_a_rest_are_told() {
    let heard = heard(|| {
        let config = config().delivery_timeout(ms(900)).request_timeout(ms(500));
        let mut rig = Rig::new(config.linger(ms(0)), &[1]);
        rig.send("t-0", SECRET);
        rig.world.throttle_ms = 5;
        rig.world.lead("t", 0, 2);
        rig.refuse_next(ErrorCode::NotLeaderOrFollower);
        rig.world.throttle_ms = 0;
        rig.advance(ms(2000));
    });
    let moved = heard.lines("has another leader");
    assert!(moved[0].contains("from=1") && moved[0].contains("to=2"), "{moved:?}");
    let expired = heard.lines("not acknowledged in time");
    assert!(expired[0].contains("records=1") && expired[0].starts_with("WARN"), "{expired:?}");
    let rest = heard.lines("asks for a rest");
    assert!(rest[0].contains("rest=5ms"), "{rest:?}");
}

#[test]
fn an_epoch_that_is_given_up_is_told() {
    let heard = heard(|| {
        let mut rig = Rig::new(config(), &[1]);
        rig.send("t-0", SECRET);
        rig.refuse_next(ErrorCode::PolicyViolation);
        rig.send("t-0", SECRET);
        rig.accept_all();
    });
    let bumped = heard.lines("epoch bumped");
    assert!(bumped[0].contains("producer_id=") && bumped[0].contains("epoch=0"), "{bumped:?}");
}
