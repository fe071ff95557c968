//! A producer inside the caller's own single-threaded loop or runtime: no thread, no wake-up.
//!
//! Owns:     the shard's turn, which the loop runs, and what tells the loop that it is due.
//! Thread:   one: whoever started it drives it. Its handles do not leave the thread.
//! Bounds:   as [`Producer`]; what is sent waits for the next turn.
//! Never:    makes a system call to wake itself; pins the thread, which is the caller's.
//!
//! Everything below the handles is what a producer with threads has: the same batches, the same
//! sender, the same drivers. Only the loop is another's. Host names are still resolved by a thread
//! of their own, since the system's resolver blocks; addresses need none.
//!
//! Batches of compressed topics are compressed in the turn that takes them, which then lasts some
//! microseconds (lz4) to milliseconds (zstd at high levels) longer for each. A producer with
//! threads has one more for that.
//!
//! # Whose turn
//!
//! Something has to run the shard, in one of three ways, which may be mixed:
//!
//! - [`drive`](Embedded::drive) as a task of a tokio runtime: current-thread, `LocalSet`,
//!   tokio-uring. Sends, flushes and deliveries are then awaited by other tasks as usual.
//! - [`turn`](Embedded::turn) in a loop of one's own: with a time to wait until, or without waiting
//!   when [`as_fd`](Embedded::as_fd) is readable or [`next_deadline`](Embedded::next_deadline) has
//!   come.
//! - The blocking calls: they run turns until what they are about is done.
//!
//! What is awaited without any of these never comes.
//!
//! # The driver, and its descriptor
//!
//! `auto` takes a ring of its own (`uring`) where this process may have one, and epoll elsewhere.
//! `tokio-uring` blocks its thread in a runtime of its own, so it is refused. The kernel binds a
//! ring to the thread that made it; that an embedded producer is not `Send` sees to the same.
//!
//! When a turn returns, everything that it began is handed to the kernel: with a ring, by one
//! system call that does not wait. What the kernel then has to tell makes the
//! [descriptor](Embedded::as_fd) readable: connects, answers, ends of connections, and whatever
//! another thread has to say (the resolver, a waker of a [`block_on`](Embedded::block_on)). With
//! epoll it is the set of sockets; with a ring it is an eventfd that the kernel signals, since a
//! ring's own descriptor does not tell of work that it leaves to the next turn. It may be watched
//! level-triggered (`poll`, `epoll`) and edge-triggered (tokio's `AsyncFd`). Only turns read from
//! it, and once it is watched each turn that looked at a ring takes one system call more
//! to do so.
//!
//! What this thread itself sends makes nothing readable, and costs no wake-up: it is due at once,
//! which [`next_deadline`](Embedded::next_deadline) says.
#![forbid(unsafe_code)]

mod drive;
mod local;
mod typed;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::Rc;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

pub use drive::Drive;
pub use local::{Local, LocalSending, LocalTopic};
pub use typed::LocalTypedTopic;

use crate::clock;
use crate::config::{ConfigBuilder, ConfigError, Settings};
use crate::delivery::completion::{Completion, Deliveries};
use crate::driver::probe::AnyDriver;
use crate::error::SendError;
use crate::ids::ClientInstanceId;
use crate::metrics::Metrics;
use crate::park;
use crate::producer::{
    ClientInstanceIdError, DROP_PATIENCE, Inner, Producer, Purge, StartError, Summary,
    resolve_bootstrap,
};
use crate::shard::{self, Finished, Look, Step, Turn};
use crate::sync::atomic::AtomicBool;
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use crate::sync::{Mutex, MutexGuard};
use crate::telemetry::ApplicationMetric;
use crate::topic::TopicOptions;

/// What a [`turn`](Embedded::turn) leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// There is more to do at once: call again.
    Again,
    /// There is nothing to do until the descriptor is readable, the deadline has come, or something
    /// is sent, flushed or closed.
    Idle,
    /// The producer is closed. Further turns do nothing.
    Ended,
}

/// Tells the loop about news that the shard has not seen. All on one thread: atomic and locked only
/// because wakers have to be.
#[derive(Debug, Default)]
struct Signal {
    raised: AtomicBool,
    tasks: Mutex<Vec<Waker>>,
}

impl Signal {
    fn raise(&self) {
        if !self.raised.swap(true, AcqRel) {
            self.wake();
        }
    }

    /// Wakes the tasks that drive: not because something is due, but to look at the deadline again.
    fn wake(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks());
        // Wakers are foreign code: not under the lock.
        if tasks.is_empty() {
            return;
        }
        tasks.drain(..).for_each(park::wake);
        let mut now = self.tasks();
        if now.is_empty() {
            // Kept for its memory.
            *now = tasks;
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_raised(&self) -> bool {
        self.raised.load(Acquire)
    }

    /// Wakes this task when it is raised the next time.
    fn register(&self, waker: &Waker) {
        let mut tasks = self.tasks();
        if !tasks.iter().any(|task| task.will_wake(waker)) {
            tasks.push(waker.clone());
        }
    }
}

/// What the handle and the tasks that drive it share.
struct Core {
    producer: Producer,
    /// None once it has ended.
    turn: RefCell<Option<Turn<AnyDriver>>>,
    signal: Arc<Signal>,
    /// How the last step ended.
    stepped: Cell<Step>,
    /// The last turn looked at the sockets.
    looked: Cell<bool>,
    /// Somebody was given the descriptor, and may wait for it.
    watched: Cell<bool>,
    /// Another name of the driver's descriptor.
    descriptor: OwnedFd,
    /// A time that is over.
    started: Instant,
}

impl Core {
    fn inner(&self) -> &Arc<Inner> {
        self.producer.inner()
    }

    /// Whether a waker calls that this very shard runs.
    fn is_busy(&self) -> bool {
        self.turn.try_borrow_mut().is_err()
    }

    fn is_due(&self) -> bool {
        !matches!(self.stepped.get(), Step::Asleep(_)) || self.signal.is_raised()
    }

    /// The descriptor, for somebody who waits for it.
    fn watched(&self) -> BorrowedFd<'_> {
        self.watched.set(true);
        self.descriptor.as_fd()
    }

    fn step(&self, look: Look) -> Progress {
        if self.inner().is_copy() {
            return Progress::Ended;
        }
        let Ok(mut turn) = self.turn.try_borrow_mut() else { return Progress::Idle };
        if turn.is_none() {
            return Progress::Ended;
        }
        self.signal.raised.store(false, Release);
        let owner = shard::owner(&self.inner().shards);
        // While it runs, this thread is a sender's: its wakers wait for nothing (ACK-7).
        let step = park::as_sender_of(owner, || run(&mut turn, look, self.watched.get()));
        self.stepped.set(step);
        match step {
            Step::Again => Progress::Again,
            Step::Asleep(_) => Progress::Idle,
            Step::Ended => {
                self.signal.wake();
                Progress::Ended
            }
        }
    }

    /// When a step is due by the shard's own clock.
    fn deadline(&self) -> Option<Instant> {
        match self.stepped.get() {
            Step::Asleep(until) => until,
            Step::Again | Step::Ended => None,
        }
    }
}

/// One step; after it has panicked, and after the last one, what a sender's thread does at its end.
fn run(turn: &mut Option<Turn<AnyDriver>>, look: Look, watched: bool) -> Step {
    let Some(running) = turn else { return Step::Ended };
    let stepped = catch_unwind(AssertUnwindSafe(|| running.step(look, watched)));
    if stepped.is_err() {
        running.fail();
    }
    let step = stepped.unwrap_or(Step::Ended);
    if step == Step::Ended
        && let Some(ended) = turn.take()
    {
        ended.end();
    }
    step
}

/// A producer that runs inside the caller's loop: no thread, no wake-up. Does not leave its thread,
/// and neither do its handles.
///
/// Dropping it closes it, with turns on this thread for at most five seconds, and logs what was
/// left; [`close`](Self::close) and [`shutdown`](Self::shutdown) say what became of it. In the
/// child of a `fork` it is inert, as a [`Producer`] is.
///
/// ```no_run
/// use kuring::{Completion, Producer, Record};
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let producer = Producer::builder().bootstrap_servers("127.0.0.1:9092").embedded()?;
/// producer.blocking_warm_up(&["events"])?;
/// let topic = producer.topic("events");
/// let mut completions = [const { Completion::EMPTY }; 64];
/// for number in 0..1000 {
///     topic.try_submit(Record::new().value("clicked"), number)?;
///     producer.turn(Some(std::time::Instant::now()));
///     let count = producer.poll_deliveries(&mut completions);
///     for completion in &completions[..count] {
///         println!("{} is {:?}", completion.user_data, completion.verdict);
///     }
/// }
/// producer.close(std::time::Duration::from_secs(5));
/// # Ok(())
/// # }
/// ```
///
/// It stays where it was made:
///
/// ```compile_fail,E0277
/// let producer = kuring::Producer::builder().embedded().unwrap();
/// std::thread::spawn(move || drop(producer));
/// ```
///
/// Its topics, and the futures that they make, do too:
///
/// ```compile_fail,E0277
/// fn moves<T: Send>(_: T) {}
/// let producer = kuring::Producer::builder().embedded().unwrap();
/// moves(producer.topic("events"));
/// ```
///
/// ```compile_fail,E0277
/// fn moves<T: Send>(_: T) {}
/// let producer = kuring::Producer::builder().embedded().unwrap();
/// let topic = producer.topic("events");
/// moves(topic.send(kuring::Record::new()));
/// ```
pub struct Embedded {
    core: Rc<Core>,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").field("producer", &self.core.producer).finish_non_exhaustive()
    }
}

impl ConfigBuilder {
    /// Starts a producer inside the calling thread's loop: resolves the bootstrap servers (blocks
    /// for DNS) and maps the memory, all of `buffer.memory` for its one shard. Connects in its
    /// turns. `kuring.affinity` and `kuring.spin` are ignored: the thread is the caller's.
    ///
    /// # Errors
    /// As [`build`](Self::build); `kuring.shards` above 1; `kuring.driver=tokio-uring`, which needs
    /// a thread of its own.
    pub fn embedded(self) -> Result<Embedded, StartError> {
        Embedded::start(self.settings()?)
    }
}

impl Embedded {
    /// An embedded producer from validated settings.
    ///
    /// # Errors
    /// As [`embedded`](ConfigBuilder::embedded).
    pub fn start(settings: Settings) -> Result<Self, StartError> {
        if let Some(shards) = settings.shards.filter(|shards| *shards > 1) {
            return Err(StartError::EmbeddedShards { shards });
        }
        let bootstrap = resolve_bootstrap(&settings)?;
        let placement = vec![(None, clock::now_nanos())];
        let (mut inner, mut starts) = Inner::new(settings, bootstrap, placement)?;
        let start = starts.pop().expect("one placement makes one shard");
        let signal = Arc::<Signal>::default();
        let raised = Arc::clone(&signal);
        let turn = shard::embed(start, move || raised.raise()).map_err(StartError::Driver)?;
        inner.driver = turn.driver_name();
        let descriptor = turn.descriptor().expect("an embeddable driver has a descriptor");
        let descriptor = descriptor.try_clone_to_owned().map_err(StartError::Thread)?;
        let core = Core {
            producer: Producer::of(inner),
            turn: RefCell::new(Some(turn)),
            signal,
            stepped: Cell::new(Step::Again),
            looked: Cell::new(false),
            watched: Cell::new(false),
            descriptor,
            started: clock::now(),
        };
        Ok(Self { core: Rc::new(core) })
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        self.core.producer.settings()
    }

    /// A handle to a topic, which stays on this thread. As [`Producer::topic`].
    #[must_use]
    pub fn topic(&self, name: &str) -> LocalTopic {
        LocalTopic::new(self.core.producer.topic(name))
    }

    /// A handle to a topic that does some things in another way than the settings say. As
    /// [`Producer::topic_with`]. An embedded producer has no thread to compress on: it does it in
    /// its turns, which take so much longer.
    ///
    /// # Errors
    /// As [`Producer::topic_with`].
    pub fn topic_with(
        &self,
        name: &str,
        options: &TopicOptions,
    ) -> Result<LocalTopic, ConfigError> {
        self.core.producer.topic_with(name, options).map(LocalTopic::new)
    }

    /// One turn: looks at the sockets, takes what was sent, sends requests, resolves deliveries.
    /// Waits for something to do until `until`, or without limit; a time that is over only looks.
    /// Does not wait where something is due: what was sent since the last turn, which then goes out
    /// first, or [`Progress::Again`]. Runs the wakers of deliveries. Allocates nothing once it has
    /// been busy for a while.
    ///
    /// From a waker that a turn runs it does nothing.
    pub fn turn(&self, until: Option<Instant>) -> Progress {
        let core = &self.core;
        let told = core.signal.is_raised() && core.stepped.get() != Step::Again;
        // What was just sent goes out without a look first, but no two turns go without one.
        let look = if told && core.looked.get() {
            Look::No
        } else if core.is_due() {
            Look::Until(Some(core.started))
        } else {
            Look::Until([until, core.deadline()].into_iter().flatten().min())
        };
        core.looked.set(!matches!(look, Look::No));
        let progress = core.step(look);
        // A task that drives has a timer for the deadline before this turn.
        self.core.signal.wake();
        progress
    }

    /// When the next turn is due even if the descriptor is not readable: at a time that is over if
    /// something was sent since the last turn. None: not before the descriptor is readable. Ask
    /// after the last send, before waiting. Neither blocks nor allocates.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.core.is_due() { Some(self.core.started) } else { self.core.deadline() }
    }

    /// Runs the shard until the producer is closed: a task for a tokio runtime on this thread with
    /// I/O and time enabled, as `tokio::task::spawn_local(producer.drive())`. It sleeps in the
    /// runtime's own wait; its deadlines are as exact as the runtime's timers (1 ms). Several at
    /// once share the work. Dropping it stops nothing; what was begun goes on with the next turn.
    pub fn drive(&self) -> Drive {
        Drive::new(Rc::clone(&self.core))
    }

    /// Runs turns on this thread until `future` is ready, and waits between them. For loops without
    /// a runtime. Allocates once per call.
    ///
    /// # Panics
    /// From a waker that a turn runs, which would wait for itself, unless `future` is ready.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let mut future = pin!(future);
        let interrupt = Arc::new(Interrupt::new(&self.core));
        let waker = Waker::from(Arc::clone(&interrupt));
        let mut context = Context::from_waker(&waker);
        loop {
            interrupt.raised.store(false, Release);
            if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
                return output;
            }
            assert!(!self.core.is_busy(), "a waker on a sender thread may not wait (ACK-7)");
            let until = interrupt.raised.load(Acquire).then_some(self.core.started);
            if self.turn(until) == Progress::Ended && !interrupt.raised.load(Acquire) {
                // Nothing of ours is left to wait for; it is somebody else's that it waits for.
                let output = park::block_on(future.as_mut());
                return output.expect("checked above: this thread is nobody's sender");
            }
        }
    }

    /// Takes completions of [submitted](LocalTopic::submit) records, as
    /// [`Producer::poll_deliveries`]. They come with the turns.
    pub fn poll_deliveries(&self, completions: &mut [Completion]) -> usize {
        self.core.producer.poll_deliveries(completions)
    }

    /// Waits until [`poll_deliveries`](Self::poll_deliveries) is worth a call, as
    /// [`Producer::deliveries`]. Something else has to run the turns.
    pub fn deliveries(&self) -> Local<Deliveries> {
        Local::new(self.core.producer.deliveries())
    }

    /// Starts to send everything that was accepted before this call, without linger; the future is
    /// ready when all of it has its verdict. Something else has to run the turns. Cancel-safe.
    pub fn flush(&self) -> Local<impl Future<Output = ()> + Unpin + use<>> {
        let flushed: Finished = self.core.producer.start_flush();
        Local::new(flushed)
    }

    /// [`flush`](Self::flush), with turns on this thread until it is done.
    pub fn blocking_flush(&self) {
        self.block_on(self.flush());
    }

    /// As [`Producer::warm_up`]. Something else has to run the turns.
    ///
    /// # Errors
    /// As [`Producer::warm_up`].
    pub async fn warm_up(&self, topics: &[&str]) -> Result<(), SendError> {
        self.core.producer.warm_up(topics).await
    }

    /// [`warm_up`](Self::warm_up), with turns on this thread until it is done.
    ///
    /// # Errors
    /// As [`Producer::warm_up`].
    pub fn blocking_warm_up(&self, topics: &[&str]) -> Result<(), SendError> {
        self.block_on(self.warm_up(topics))
    }

    /// Totals since the start, as [`Producer::metrics`].
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.core.producer.metrics()
    }

    /// As [`Producer::client_instance_id`]. Something else has to run the turns.
    ///
    /// # Errors
    /// As [`Producer::client_instance_id`].
    pub async fn client_instance_id(
        &self,
        timeout: Duration,
    ) -> Result<ClientInstanceId, ClientInstanceIdError> {
        self.core.producer.client_instance_id(timeout).await
    }

    /// [`client_instance_id`](Self::client_instance_id), with turns on this thread until it is
    /// there.
    ///
    /// # Errors
    /// As [`Producer::client_instance_id`].
    pub fn blocking_client_instance_id(
        &self,
        timeout: Duration,
    ) -> Result<ClientInstanceId, ClientInstanceIdError> {
        self.block_on(self.client_instance_id(timeout))
    }

    /// As [`Producer::register_metric_for_subscription`]. The closure runs in the turns.
    pub fn register_metric_for_subscription(&self, metric: ApplicationMetric) {
        self.core.producer.register_metric_for_subscription(metric);
    }

    /// As [`Producer::unregister_metric_from_subscription`].
    pub fn unregister_metric_from_subscription(
        &self,
        group: &str,
        name: &str,
        attributes: &[(&str, &str)],
    ) {
        self.core.producer.unregister_metric_from_subscription(group, name, attributes);
    }

    /// Closes, with turns on this thread until it is done: refuses new records, sends what was
    /// accepted until `patience` is over, fails the rest. Blocks the loop so long. Every record has
    /// its verdict when it returns. Closing again returns the same totals.
    ///
    /// From a waker that a turn runs it waits for nothing, has no patience, and the totals are
    /// those of the moment (ACK-7). In a fork's child it does nothing, and counts nothing.
    pub fn close(&self, patience: Duration) -> Summary {
        if !self.core.inner().is_copy() && !self.core.is_busy() {
            self.core.inner().start_close(patience);
            while self.turn(None) != Progress::Ended {}
        }
        self.core.producer.close(patience)
    }

    /// As [`Producer::purge`]. Something else has to run the turns.
    pub fn purge(&self, purge: Purge<'_>) -> Local<impl Future<Output = ()> + Unpin + use<>> {
        Local::new(self.core.producer.purge(purge))
    }

    /// [`purge`](Self::purge), with turns on this thread until it is done.
    pub fn blocking_purge(&self, purge: Purge<'_>) {
        self.block_on(self.purge(purge));
    }

    /// Closes at once, with turns on this thread until the kernel has given back what it was
    /// sending from: as [`Producer::abort`], and [`close`](Self::close).
    pub fn abort(&self) -> Summary {
        if !self.core.inner().is_copy() && !self.core.is_busy() {
            self.core.inner().start_abort();
            while self.turn(None) != Progress::Ended {}
        }
        self.core.producer.abort()
    }

    /// [`close`](Self::close) that does not block the loop: it [drives](Self::drive) as a task
    /// does. Dropped before it is ready, it has begun the close, which goes on with the next turn.
    ///
    /// # Errors
    /// The descriptor could not be watched by the runtime.
    pub async fn shutdown(&self, patience: Duration) -> std::io::Result<Summary> {
        if !self.core.inner().is_copy() {
            self.core.inner().start_close(patience);
            self.drive().await?;
        }
        Ok(self.core.producer.close(patience))
    }

    /// Makes the next turn panic: for tests of what is left then.
    #[doc(hidden)]
    pub fn break_shard(&self) {
        self.core.producer.break_shard(0);
    }
}

/// Polls readable while the kernel has something for a [`turn`](Embedded::turn) to do, on its own
/// and in an epoll set, level- or edge-triggered. What this thread sends does not show there: see
/// [`next_deadline`](Embedded::next_deadline). Not to be read from or written to. One and the same
/// until the producer is gone.
impl AsFd for Embedded {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.core.watched()
    }
}

impl AsRawFd for Embedded {
    fn as_raw_fd(&self) -> RawFd {
        self.core.watched().as_raw_fd()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        let inner = self.core.inner();
        if inner.is_copy() {
            // The sockets are the parent's; there is nothing to shut down.
            std::mem::forget(self.core.turn.take());
            return;
        }
        if self.core.is_busy() {
            // It went with a waker of its own. Whoever runs this turn runs the others.
            return inner.start_close(DROP_PATIENCE);
        }
        let closed = inner.is_closed();
        let summary = self.close(DROP_PATIENCE);
        if !closed {
            summary.log_lost();
        }
    }
}

/// Wakes a `block_on`.
struct Interrupt {
    raised: AtomicBool,
    /// Ends the wait of a turn.
    driver: Option<crate::driver::Waker>,
    thread: usize,
}

impl Interrupt {
    fn new(core: &Core) -> Self {
        let turn = core.turn.try_borrow().ok();
        let driver = turn.and_then(|turn| turn.as_ref().map(Turn::waker));
        Self { raised: AtomicBool::new(false), driver, thread: park::this_thread() }
    }
}

impl Wake for Interrupt {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.raised.store(true, Release);
        // This thread looks at the flag before it waits.
        if park::this_thread() != self.thread
            && let Some(driver) = &self.driver
        {
            driver.wake();
        }
    }
}
