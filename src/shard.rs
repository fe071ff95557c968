//! One shard: the thread that joins a sender, a driver and an accumulator, and decides nothing.
//!
//! Owns:     the thread, its clock, the driver, the commands of the application threads.
//! Thread:   `kuring-<n>`, pinned as the affinity setting says.
//! Never:    blocks except in the driver's wait; runs user code other than the wakers of
//!           deliveries, and what the builder and `send_with` were given to call.
#![forbid(unsafe_code)]

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use compressor::Compressor;
use measure::Meter;
use rustix::fd::BorrowedFd;

use crate::accumulator::{Accumulator, WakeFn};
use crate::callback::{Caller, Told};
use crate::clock;
use crate::config::{DriverChoice, RecordingLevel, Settings, ZeroCopy, pin_current_thread};
use crate::delivery::completion::{Completions, ROUND, Run};
use crate::driver::dns::Resolver;
use crate::driver::probe::{self, AnyDriver, Choice, OpenError};
use crate::driver::uring::UringOptions;
use crate::driver::{self, Driver, Event, SocketOptions};
use crate::metadata::Cluster;
use crate::meters::{ShardMeters, WindowSpec, nanos};
use crate::park;
use crate::protocol::get_telemetry_subscriptions::Subscription;
use crate::sender::telemetry::{MeasureError, Payload};
use crate::sender::{Action, PurgeOrder, Sender, SenderOptions, Verdict};
use crate::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use crate::sync::atomic::{AtomicBool, AtomicUsize};
use crate::sync::{Mutex, MutexGuard};
use crate::telemetry::ApplicationMetrics;

pub(crate) mod compressor;
mod measure;
#[cfg(all(test, kuring_loom))]
mod models;

pub(crate) use measure::metrics_of;

/// A turn that begins so long after the last look at the sockets looks again before it judges.
const LATE: Duration = Duration::from_millis(10);
/// How often it looks, as long as there is something to see.
const LATE_LOOKS_MAX: usize = 64;

/// The time awake is measured in one turn of so many.
const AWAKE_EVERY: u32 = 16;

/// How long a shard that failed waits for records that are just being written.
const STRAGGLERS_MAX: Duration = Duration::from_secs(5);

/// Something that several shards finish together; a future of it ends with the last one.
#[derive(Debug)]
pub(crate) struct Ticket {
    remaining: AtomicUsize,
    wakers: Mutex<Vec<Waker>>,
}

impl Ticket {
    /// To be finished by so many shards.
    pub(crate) fn new(shards: usize) -> Arc<Self> {
        Arc::new(Self { remaining: AtomicUsize::new(shards), wakers: Mutex::default() })
    }

    fn wakers(&self) -> MutexGuard<'_, Vec<Waker>> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn finish_one(&self) {
        self.count_down().into_iter().for_each(park::wake);
    }

    /// As `finish_one`; the caller wakes, when it holds no lock any more.
    #[must_use]
    fn count_down(&self) -> Vec<Waker> {
        let last = self.remaining.fetch_sub(1, AcqRel) == 1;
        if last { std::mem::take(&mut *self.wakers()) } else { Vec::new() }
    }

    fn is_over(&self) -> bool {
        self.remaining.load(Acquire) == 0
    }
}

/// The future of a [`Ticket`]. Cancel-safe: dropping it stops nothing.
#[derive(Debug)]
pub(crate) struct Finished(pub(crate) Arc<Ticket>);

impl Future for Finished {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if !self.0.is_over() {
            let mut wakers = self.0.wakers();
            if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                wakers.push(context.waker().clone());
            }
        }
        if self.0.is_over() { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// What an application thread asks of a shard.
#[derive(Debug)]
pub(crate) enum Command {
    /// Send everything; then finish the ticket.
    Flush(Arc<Ticket>),
    /// Connect to the leaders of these partitions; then finish the ticket.
    WarmUp(Arc<Ticket>, Vec<(Arc<str>, i32)>),
    /// Give up what is meant; then finish the ticket.
    Purge(Arc<Ticket>, PurgeOrder),
    /// This topic is not paused any more.
    Resume(Arc<str>),
    /// What a push of telemetry is to carry.
    Measured(Result<Payload, MeasureError>),
    /// Close by then; the end of the thread finishes the ticket.
    Close(Instant),
    /// Close without sending anything more.
    Abort,
    /// Fail: tests want to see what is left then.
    Break(Broken),
}

/// What is to fail.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Broken {
    /// The shard's thread.
    Shard,
    /// Its codec, over so many batches.
    Codec { batches: u32 },
    /// Nothing; but the thread to compress on cannot be started.
    Compressor,
}

/// Names the producer that these shards belong to, as long as it lives.
pub(crate) fn owner(shards: &Arc<[Arc<Shared>]>) -> usize {
    Arc::as_ptr(shards).addr()
}

/// What a shard's thread and the application threads share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) accumulator: Arc<Accumulator>,
    pub(crate) meters: Arc<ShardMeters>,
    commands: Mutex<Vec<Command>>,
    /// Finished by the end of the thread.
    ended: Arc<Ticket>,
    failed: AtomicBool,
}

impl Shared {
    pub(crate) fn new(accumulator: Arc<Accumulator>, windows: WindowSpec) -> Arc<Self> {
        Arc::new(Self {
            accumulator,
            meters: Arc::new(ShardMeters::new(windows)),
            commands: Mutex::default(),
            ended: Ticket::new(1),
            failed: AtomicBool::new(false),
        })
    }

    fn commands(&self) -> MutexGuard<'_, Vec<Command>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a command to the shard and wakes it. A shard that has ended finishes it at once.
    pub(crate) fn command(&self, command: Command) {
        {
            let mut commands = self.commands();
            if !self.ended.is_over() {
                commands.push(command);
                drop(commands);
                return self.accumulator.nudge();
            }
        }
        finish(command);
    }

    /// The thread is over: what was asked of it too late. From now on commands finish at once.
    fn end(&self) -> Vec<Command> {
        let (left, woken) = {
            let mut commands = self.commands();
            let woken = self.ended.count_down();
            (std::mem::take(&mut *commands), woken)
        };
        woken.into_iter().for_each(park::wake);
        left
    }

    /// Ends when the shard's thread has.
    pub(crate) fn ended(&self) -> Finished {
        Finished(Arc::clone(&self.ended))
    }

    /// Whether the thread ended by a panic.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Acquire)
    }
}

fn finish(command: Command) {
    match command {
        Command::Flush(ticket) | Command::WarmUp(ticket, _) | Command::Purge(ticket, _) => {
            ticket.finish_one();
        }
        Command::Resume(_)
        | Command::Measured(_)
        | Command::Close(_)
        | Command::Abort
        | Command::Break(_) => {}
    }
}

/// What a shard is started with.
#[derive(Debug)]
pub(crate) struct Start {
    pub(crate) number: usize,
    pub(crate) cpu: Option<usize>,
    /// Seed of the sender's random source.
    pub(crate) seed: u64,
    pub(crate) settings: Arc<Settings>,
    pub(crate) cluster: Arc<Cluster>,
    /// Resolved bootstrap addresses, for the shard that writes the metadata.
    pub(crate) bootstrap: Vec<(Arc<str>, u16, Vec<SocketAddr>)>,
    /// All shards' shared parts, in order.
    pub(crate) shards: Arc<[Arc<Shared>]>,
    /// Where the verdicts on submitted records go.
    pub(crate) completions: Arc<Completions>,
    /// Whom verdicts call.
    pub(crate) caller: Caller,
    /// What the application has pushed beside the producer's metrics.
    pub(crate) application: Arc<ApplicationMetrics>,
}

/// Why a shard did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShardError {
    #[error(transparent)]
    Driver(#[from] OpenError),
    #[error("sender thread: {0}")]
    Thread(#[from] io::Error),
}

/// Starts a shard's thread; returns when its driver is open, with the driver's name.
pub(crate) fn start(start: Start) -> Result<(JoinHandle<()>, &'static str), ShardError> {
    let (report, opened) = sync_channel(1);
    let name = format!("kuring-{}", start.number);
    let thread = thread::Builder::new().name(name).spawn(move || {
        park::become_sender_of(owner(&start.shards));
        if let Some(cpu) = start.cpu
            && let Err(error) = pin_current_thread(cpu)
        {
            let _ = report.send(Err(ShardError::Thread(error)));
            return;
        }
        let shared = Arc::clone(&start.shards[start.number]);
        let (settings, pool) = (&start.settings, shared.accumulator.pool());
        let opened = probe::open(choice(settings.driver), pool, &uring_options(settings));
        let driver = match opened {
            Ok(driver) => driver,
            Err(error) => {
                let _ = report.send(Err(error.into()));
                return;
            }
        };
        let name = driver.name();
        // Whatever is logged on this thread says whose it is.
        let client_id = settings.client_id.clone();
        let span = tracing::info_span!("shard", %client_id, number = start.number);
        let _inside = span.enter();
        let turn = Turn::new(start, driver);
        let _ = report.send(Ok(name));
        turn.run();
    })?;
    match opened.recv() {
        Ok(Ok(name)) => Ok((thread, name)),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(ShardError::Thread(io::ErrorKind::Other.into())),
    }
}

/// A shard on the calling thread, to be stepped; `wake` tells the loop that runs it about news.
pub(crate) fn embed(
    start: Start,
    wake: impl Fn() + Send + Sync + 'static,
) -> Result<Turn<AnyDriver>, OpenError> {
    let shared = &start.shards[start.number];
    let (settings, pool) = (&start.settings, shared.accumulator.pool());
    let driver = probe::open_embedded(choice(settings.driver), pool, &uring_options(settings))?;
    Ok(Turn::with_wake(start, driver, Box::new(wake), Compressor::inline()))
}

/// The calls that a verdict causes.
#[cold]
fn call(caller: &mut Caller, verdict: &Verdict) {
    let Verdict { cell, has_holes, .. } = *verdict;
    verdict.each_run(|span, outcome| caller.tell(Told { cell, span, has_holes, outcome }));
}

fn choice(driver: DriverChoice) -> Choice {
    match driver {
        DriverChoice::Auto => Choice::Auto,
        DriverChoice::Uring => Choice::Uring,
        DriverChoice::TokioUring => Choice::TokioUring,
        DriverChoice::Epoll => Choice::Epoll,
    }
}

fn uring_options(settings: &Settings) -> UringOptions {
    UringOptions {
        zero_copy: settings.zero_copy == ZeroCopy::Auto,
        sqpoll: settings.sqpoll,
        ..UringOptions::default()
    }
}

/// Whether a step looks at the driver.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Look {
    /// The driver has nothing to report.
    No,
    /// Waits until there is something, and no longer than until then: a time that is over only
    /// looks, None waits without limit.
    Until(Option<Instant>),
}

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// There is more to do at once.
    Again,
    /// There is nothing to do until the driver's descriptor is readable, the shard is woken, or
    /// then.
    Asleep(Option<Instant>),
    /// The shard is closed: `end` is due.
    Ended,
}

/// The shard's loop and what it works with.
pub(crate) struct Turn<D> {
    number: usize,
    shared: Arc<Shared>,
    shards: Arc<[Arc<Shared>]>,
    cluster: Arc<Cluster>,
    sender: Sender,
    compressor: Compressor,
    meter: Meter,
    driver: D,
    resolver: Resolver,
    socket: SocketOptions,
    spin: Duration,
    /// Tickets by the number that the sender was given.
    tickets: Vec<(u64, Arc<Ticket>)>,
    next_ticket: u64,
    /// Actions that come after the verdicts.
    later: Vec<Action>,
    wakers: Vec<(u32, Waker)>,
    /// Verdicts on submitted records, on their way to the queue.
    runs: Vec<Run>,
    completions: Arc<Completions>,
    caller: Caller,
    commands: Vec<Command>,
    busy_at: Instant,
    /// Before the last look at the sockets began.
    looked_at: Instant,
    /// When callers that wait have to be served again at the latest.
    serve_again_at: Option<u64>,
    /// When the meters' open window is over.
    roll_at: u64,
    /// When the latest wait ended, if it ended with news.
    woken_at: Option<Instant>,
    /// When the turn began, the handling of that news included.
    began: Instant,
    turns: u32,
    /// Whether the time awake is measured.
    measures: bool,
}

impl<D: Driver> Turn<D> {
    pub(crate) fn new(start: Start, driver: D) -> Self {
        let waker = driver.waker();
        let accumulator = &start.shards[start.number].accumulator;
        let compressor = Compressor::threaded(start.number, accumulator);
        Self::with_wake(start, driver, Box::new(move || waker.wake()), compressor)
    }

    fn with_wake(start: Start, driver: D, wake: WakeFn, compressor: Compressor) -> Self {
        let now = clock::now();
        let shared = Arc::clone(&start.shards[start.number]);
        let resolver = Resolver::new(driver.waker());
        shared.accumulator.set_wake(wake);
        let settings = Arc::clone(&start.settings);
        let meter = Meter {
            settings: Arc::clone(&settings),
            shards: Arc::clone(&start.shards),
            driver: driver.name(),
            application: start.application,
            reporter: Arc::default(),
        };
        let options = SenderOptions {
            settings: start.settings,
            bootstrap: start.bootstrap,
            seed: start.seed,
            meters: Arc::clone(&shared.meters),
        };
        let accumulator = Arc::clone(&shared.accumulator);
        let sender = Sender::new(options, accumulator, Arc::clone(&start.cluster), now);
        Self {
            number: start.number,
            shared,
            shards: start.shards,
            cluster: start.cluster,
            sender,
            compressor,
            meter,
            driver,
            resolver,
            socket: SocketOptions {
                send_buffer: settings.send_buffer,
                receive_buffer: settings.receive_buffer,
            },
            spin: settings.spin,
            tickets: Vec::new(),
            next_ticket: 0,
            later: Vec::new(),
            wakers: Vec::new(),
            runs: Vec::new(),
            completions: start.completions,
            caller: start.caller,
            commands: Vec::new(),
            busy_at: now,
            looked_at: now,
            serve_again_at: None,
            roll_at: 0,
            woken_at: None,
            began: now,
            turns: 0,
            measures: settings.metrics_level != RecordingLevel::Off,
        }
    }

    fn run(mut self) {
        let ended = catch_unwind(AssertUnwindSafe(|| while !self.turn() {}));
        if ended.is_err() {
            self.fail();
        }
        self.end();
    }

    /// After a panic: every record gets its verdict.
    pub(crate) fn fail(&mut self) {
        tracing::error!(shard = self.number, "a sender thread failed; its records are resolved");
        self.shared.failed.store(true, Release);
        self.cluster.close();
        self.give_verdicts();
    }

    /// After the last turn: whoever waits for this shard waits no longer.
    pub(crate) fn end(mut self) {
        if self.shared.has_failed() {
            // The driver waits until the kernel has given everything back, the compressor ends what
            // it is at; then the pool gets it.
            let (driver, compressor, sender) = (self.driver, self.compressor, &mut self.sender);
            let _ = catch_unwind(AssertUnwindSafe(move || {
                drop(driver);
                drop(compressor);
                sender.reclaim();
            }));
        }
        self.sender.publish_verdicts();
        if self.number == 0 {
            // Nothing is pushed any more; what the closures hold is free when a close returns.
            self.meter.application.end();
        }
        let left = self.shared.end();
        self.completions.leave();
        left.into_iter().chain(self.commands.drain(..)).for_each(finish);
        self.tickets.iter().for_each(|(_, ticket)| ticket.finish_one());
    }

    /// After a panic: every record that was accepted gets its verdict. What an application thread
    /// is still writing is waited for: nothing can fail there, so it takes no time.
    fn give_verdicts(&mut self) {
        let until = clock::now() + STRAGGLERS_MAX;
        loop {
            let given = catch_unwind(AssertUnwindSafe(|| {
                self.sender.abandon();
                self.hand_out_verdicts();
            }));
            let accumulator = &self.shared.accumulator;
            if given.is_ok() && accumulator.unresolved() == 0 {
                return;
            }
            if clock::now() >= until {
                let batches = accumulator.unresolved();
                tracing::error!(shard = self.number, batches, "batches are left without a verdict");
                return;
            }
            thread::yield_now();
        }
    }

    /// One round: news, decisions, effects, sleep. True when the shard is closed.
    pub(crate) fn turn(&mut self) -> bool {
        let (closed, now) = self.round();
        if !closed {
            self.sleep(now);
        }
        closed
    }

    /// One round inside somebody else's loop: looks at the driver if told to; then news, decisions,
    /// effects. Afterwards the loop is woken for what the shard does not know of; `watched` says
    /// whether it ever waits for the driver's descriptor.
    pub(crate) fn step(&mut self, look: Look, watched: bool) -> Step {
        // What was sent patiently keeps its connection from sending on.
        if self.driver.holds_back() || !matches!(look, Look::No) {
            let now = clock::now();
            let until = if let Look::Until(until) = look { until } else { Some(now) };
            self.look(now, until);
        }
        let (closed, now) = self.round();
        if closed {
            return Step::Ended;
        }
        let until = self.next_deadline(now);
        let accumulator = &self.shared.accumulator;
        let answers_due = self.sender.in_flight_bytes() > 0;
        let again = self.driver.hand_over(watched) || until.is_some_and(|until| until <= now);
        let asleep =
            !again && accumulator.fall_asleep(until.map_or(u64::MAX, clock::to_nanos), answers_due);
        // What the host does with its thread from now on is its own affair.
        self.count_awake();
        if asleep { Step::Asleep(until) } else { Step::Again }
    }

    /// Who compresses instead of the thread that would.
    #[cfg(feature = "simulation")]
    pub(crate) fn set_compressor(&mut self, compressor: Compressor) {
        self.compressor = compressor;
    }

    /// The compressor of a simulated shard.
    #[cfg(feature = "simulation")]
    pub(crate) fn held_jobs(&mut self) -> &mut compressor::Held {
        match &mut self.compressor {
            Compressor::Held(held) => held,
            other => unreachable!("a simulated shard has {other:?}"),
        }
    }

    /// The driver's name.
    pub(crate) fn driver_name(&self) -> &'static str {
        self.driver.name()
    }

    /// See [`Driver::descriptor`].
    pub(crate) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.driver.descriptor()
    }

    /// Ends a `step` that waits, from any thread.
    pub(crate) fn waker(&self) -> driver::Waker {
        self.driver.waker()
    }

    /// News, decisions, effects. Whether the shard is closed, and the time of the round.
    fn round(&mut self) -> (bool, Instant) {
        self.shared.accumulator.awake();
        let now = clock::now();
        self.began = self.woken_at.take().unwrap_or(now);
        self.turns = self.turns.wrapping_add(1);
        let moment = clock::to_nanos(now);
        self.roll_at = self.shared.meters.turn(moment, self.roll_at);
        let is_due = || self.sender.poll_timeout().is_some_and(|at| at <= now);
        if self.sender.in_flight_bytes() > 0 && now > self.looked_at + LATE && is_due() {
            // The process may have been stopped, or this thread not run: what was answered by now
            // is taken as answered, before anything times out. A receive that was under way brings
            // no more than the first answers; the others come with the next look.
            for _ in 0..LATE_LOOKS_MAX {
                if !self.look(now, Some(now)) {
                    break;
                }
            }
        }
        // The order matters: what an application thread did before a command is in the ready list
        // when the command is seen.
        std::mem::swap(&mut self.commands, &mut *self.shared.commands());
        if self.commands.iter().any(|command| matches!(command, Command::Abort)) {
            // Before anything else, which might send something.
            self.sender.handle_abort(now);
        }
        let sender = &mut self.sender;
        self.compressor.take_done(|job| sender.handle_compressed(job));
        self.sender.handle_cluster(now);
        self.sender.handle_ready(now);
        self.handle_commands(now);
        let sender = &mut self.sender;
        self.resolver.drain(|node, found| {
            sender.handle_resolved(node as u32, &found.unwrap_or_default(), now);
        });
        self.sender.handle_timeout(now);
        (self.perform(now, moment), now)
    }

    fn handle_commands(&mut self, now: Instant) {
        // One by one: after a panic, the calls that are left are still here, and are ended.
        self.commands.reverse();
        while let Some(command) = self.commands.pop() {
            match command {
                Command::Flush(ticket) => {
                    let number = self.keep(ticket);
                    self.sender.handle_flush(number, now);
                }
                Command::WarmUp(ticket, partitions) => {
                    let number = self.keep(ticket);
                    self.sender.handle_warm_up(number, partitions, now);
                }
                Command::Purge(ticket, order) => {
                    let number = self.keep(ticket);
                    self.sender.handle_purge(number, &order, now);
                }
                Command::Resume(topic) => self.sender.handle_resume(&topic, now),
                Command::Measured(measured) => self.sender.handle_measured(measured, now),
                Command::Close(deadline) => self.sender.handle_close(deadline, now),
                Command::Abort => self.sender.handle_abort(now),
                Command::Break(Broken::Shard) => panic!("on purpose: a test broke this shard"),
                Command::Break(Broken::Codec { batches }) => self.sender.break_codec(batches),
                Command::Break(Broken::Compressor) => self.compressor.refuse_thread(),
            }
        }
    }

    fn keep(&mut self, ticket: Arc<Ticket>) -> u64 {
        self.next_ticket += 1;
        self.tickets.push((self.next_ticket, ticket));
        self.next_ticket
    }

    /// Carries out what the sender decided: first what goes on the wire, then the verdicts, then
    /// what waits for them. True at the end of a close. `moment` is `now` as atomics hold it.
    fn perform(&mut self, now: Instant, moment: u64) -> bool {
        while let Some(job) = self.sender.poll_compression() {
            if let Some(done) = self.compressor.give(job) {
                self.sender.handle_compressed(done);
            }
        }
        self.sender.place_compressed(now);
        while let Some(action) = self.sender.poll_action() {
            match action {
                Action::Connect { connection, address } => {
                    self.driver.connect(connection, address, &self.socket);
                }
                Action::Send { connection, mut frame } => {
                    frame.patient = !self.sender.is_sent_awaited(connection);
                    self.driver.send(connection, frame);
                }
                Action::Shutdown { connection } => self.driver.shutdown(connection),
                Action::Resolve { node, host, port } => {
                    self.resolver.resolve(u64::from(node), &host, port);
                }
                Action::Measure { subscription, last } => self.measure(subscription, last, now),
                Action::Published | Action::Refresh | Action::Done(_) | Action::Ended => {
                    self.later.push(action);
                }
            }
        }
        self.busy_at = if self.hand_out_verdicts() { now } else { self.busy_at };
        // Before the counters: who sees a record acknowledged finds its memory handed on.
        let accumulator = &self.shared.accumulator;
        let in_flight_bytes = self.sender.in_flight_bytes();
        self.serve_again_at = accumulator.serve_waiters(in_flight_bytes, moment);
        // Before the tickets: who waited for a flush finds its records counted.
        self.sender.publish_verdicts();
        let mut closed = false;
        for action in self.later.drain(..) {
            match action {
                Action::Published => {
                    let others = self.shards.iter().enumerate();
                    let others = others.filter(|(number, _)| *number != self.number);
                    others.for_each(|(_, shard)| shard.accumulator.nudge());
                }
                Action::Refresh => self.shards[0].accumulator.nudge(),
                Action::Done(number) => {
                    let at = self.tickets.iter().position(|(kept, _)| *kept == number);
                    if let Some(at) = at {
                        self.tickets.swap_remove(at).1.finish_one();
                    }
                }
                Action::Ended => closed = true,
                _ => {}
            }
        }
        closed
    }

    /// Has the metrics made that a push of telemetry is to carry.
    #[cold]
    fn measure(&mut self, wanted: Arc<Subscription>, last: Option<Instant>, now: Instant) {
        if self.compressor.is_inline() {
            self.sender.handle_measured(self.meter.measure(&wanted), now);
        } else {
            self.meter.start(self.number, wanted, last);
        }
    }

    /// Resolves deliveries, after the calls that are due (ACK-2); true if there were some.
    fn hand_out_verdicts(&mut self) -> bool {
        let mut any = false;
        while let Some(verdict) = self.sender.poll_verdict() {
            any = true;
            if self.caller.is_due(verdict.cell) {
                call(&mut self.caller, &verdict);
            }
            if !self.caller.handles_submitted()
                && let Some(run) = Run::of(verdict.cell, verdict.claimed())
            {
                if self.runs.capacity() == 0 {
                    self.runs.reserve(ROUND);
                }
                self.runs.push(run);
            }
            verdict.hand_out(&mut self.wakers);
        }
        if !self.runs.is_empty() {
            self.completions.add(&mut self.runs);
        }
        any
    }

    /// When the next round is due, whatever happens until then.
    fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let accumulator = &self.shared.accumulator;
        let nanos = clock::to_nanos(now);
        let waiting = accumulator.waiters.expire(nanos, accumulator.pool());
        let waiting = [
            self.serve_again_at,
            waiting,
            (self.number == 0).then(|| self.cluster.expire(nanos)).flatten(),
        ];
        let waiting = waiting.into_iter().flatten().map(clock::from_nanos).min();
        [self.sender.poll_timeout(), waiting].into_iter().flatten().min()
    }

    fn sleep(&mut self, now: Instant) {
        let until = self.next_deadline(now);
        let spinning = !self.spin.is_zero() && now < self.busy_at + self.spin;
        let answers_due = self.sender.in_flight_bytes() > 0;
        let may_sleep = !spinning
            && until.is_none_or(|until| until > now)
            && self
                .shared
                .accumulator
                .fall_asleep(until.map_or(u64::MAX, clock::to_nanos), answers_due);
        if may_sleep {
            self.count_awake();
            self.look(now, until);
        } else {
            self.look(now, Some(now));
            self.count_awake();
        }
    }

    /// The turn's work is over. One turn's time stands for those around it: to read the clock in
    /// each would cost more than all that is counted besides.
    fn count_awake(&self) {
        if self.measures && self.turns % AWAKE_EVERY == 1 {
            let awake = nanos(clock::now().saturating_duration_since(self.began));
            self.shared.meters.own.awake_nanos.add(awake * u64::from(AWAKE_EVERY));
        }
    }

    /// Waits for the driver, and tells the sender what happened. Whether anything did.
    fn look(&mut self, now: Instant, until: Option<Instant>) -> bool {
        let sender = &mut self.sender;
        let mut woken_at = None;
        self.driver.wait(until, &mut |event| {
            let now = *woken_at.get_or_insert_with(clock::now);
            match event {
                Event::Connected(connection) => sender.handle_connected(connection, now),
                Event::Sent { connection, frame, complete } => {
                    sender.handle_sent(connection, frame, complete, now);
                }
                Event::Received(connection, bytes) => {
                    sender.handle_received(connection, bytes, now);
                }
                Event::Closed(connection, error) => {
                    sender.handle_closed(connection, &error, now);
                }
            }
        });
        // Not `woken_at`: between the look and that reading the process may have been stopped.
        self.looked_at = now;
        self.shared.meters.own.looks.add(1);
        self.woken_at = woken_at;
        self.busy_at = woken_at.unwrap_or(self.busy_at);
        woken_at.is_some()
    }
}
