//! Statistics as librdkafka's users know them: a JSON object, asked for or reported every so often.
//!
//! Thread:   whoever asks, or the reporter's own, `kuring-stats`.
//! Source:   STATISTICS.md of librdkafka 2.x. `docs/statistics.md` lists the fields that are here.
#![forbid(unsafe_code)]

mod json;
mod report;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle, ThreadId};
use std::time::Duration;

use crate::clock;
use crate::metrics::Metrics;
use crate::producer::{Inner, Producer, Stop};

use report::Moment;

impl Producer {
    /// What librdkafka calls statistics: a JSON object with the fields of `docs/statistics.md`.
    /// Counts and latencies are since the producer's start; those of a [`StatsReporter`] have the
    /// latencies of each interval. Costs as [`metrics`](Self::metrics). Allocates the text.
    #[must_use]
    pub fn statistics_json(&self) -> String {
        render(self.inner(), &self.metrics(), None)
    }
}

fn render(inner: &Inner, metrics: &Metrics, before: Option<&Metrics>) -> String {
    let snapshot = inner.cluster.snapshot();
    let leader = |topic: &str, partition: i32| {
        let known = snapshot.topic(topic)?.partitions.get(usize::try_from(partition).ok()?)?;
        Some(known.leader?.0)
    };
    let when = Moment { nanos: clock::now_nanos(), wall_ms: clock::wall_ms() };
    report::render(metrics, before, &leader, when)
}

/// Reports a producer's statistics every so often, from a thread of its own, until it is dropped or
/// the producer is closed. librdkafka's `statistics.interval.ms` is the `interval` here.
///
/// ```no_run
/// use std::time::Duration;
///
/// use kuring::{Producer, StatsReporter};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let producer = Producer::builder().bootstrap_servers("localhost:9092").build()?;
/// let every = Duration::from_secs(5);
/// let _reporter = StatsReporter::start(&producer, every, |json| println!("{json}"))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct StatsReporter {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
    id: ThreadId,
}

impl StatsReporter {
    /// Starts reporting: `report` gets the first object after one `interval`, at least a
    /// millisecond, and the latencies in each are those of its interval. The reporter does not keep
    /// the producer open. A `report` that panics ends the reporting, with a line in the log.
    ///
    /// # Errors
    /// The thread could not be started.
    pub fn start(
        producer: &Producer,
        interval: Duration,
        mut report: impl FnMut(&str) + Send + 'static,
    ) -> io::Result<Self> {
        let stop = Arc::<Stop>::default();
        let (inner, waiting) = (Arc::clone(producer.inner()), Arc::clone(&stop));
        inner.stop_at_close(&stop);
        let interval = interval.max(Duration::from_millis(1));
        let thread = thread::Builder::new().name("kuring-stats".to_owned()).spawn(move || {
            let reported = catch_unwind(AssertUnwindSafe(|| {
                let mut before = inner.metrics();
                while !waiting.wait(interval) {
                    let metrics = inner.metrics();
                    report(&render(&inner, &metrics, Some(&before)));
                    before = metrics;
                }
            }));
            if reported.is_err() {
                tracing::error!("the callback for statistics panicked; nothing more is reported");
            }
        })?;
        let id = thread.thread().id();
        Ok(Self { stop, thread: Some(thread), id })
    }
}

/// Ends the reporting. Waits for a report that is being made, unless it is its own.
impl Drop for StatsReporter {
    fn drop(&mut self) {
        self.stop.stop();
        if thread::current().id() != self.id
            && let Some(thread) = self.thread.take()
        {
            // A panic was logged already.
            let _ = thread.join();
        }
    }
}
