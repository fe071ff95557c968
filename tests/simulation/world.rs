//! One run: a producer, its application, a network and a cluster, moved by one queue of events.
//!
//! Owns:     the virtual time; whoever reads a clock reads this one.
//! Thread:   one. Whatever would be threads takes turns here.
#![forbid(unsafe_code)]

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use kuring::simulation::{self, SimulatedShard, clock};
use kuring::{Compression, Producer, TopicOptions};

use crate::agenda::{Agenda, MICROSECOND, MILLISECOND, SECOND, What};
use crate::checker;
use crate::cluster::Cluster;
use crate::faults::{Chance, Fault};
use crate::ledger::Ledger;
use crate::network::{Network, SimDriver};
use crate::random::Random;
use crate::report::Report;
use crate::scenario::{CODECS, Scenario};
use crate::trace;
use crate::wiretap::Wiretap;
use crate::workload::{Application, Task};

/// The wall clock at the start of a run: 2026-01-01.
const WALL_START_MS: i64 = 1_767_225_600_000;
/// Virtual time begins here, so that deadlines in the past can be written.
const START: u64 = SECOND;
/// What a verdict may be late by: a turn has to come, and its thread may have to wait for a while.
const SLACK: u64 = 2 * SECOND;
/// What a close may be late by: frames come back, connections end.
const CLOSE_SLACK: u64 = 12 * SECOND;
/// Turns in a row that find nothing to do and will not wait: a shard in a loop.
const IDLE_TURNS_MAX: u32 = 20_000;
/// In a cluster that is well, everything has ended after this time.
const CALM_NANOS: u64 = 4 * 3_600 * SECOND;
/// For how long probes may fail before the producer counts as stuck. A broker may have asked for a
/// rest of five minutes before it became well.
const PROBE_NANOS: u64 = 600 * SECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Things go wrong.
    Weather,
    /// Nothing goes wrong; what was begun ends.
    Calm,
    /// One record to each partition shows that the producer still works.
    Probing,
    Closing,
    Over,
}

type Running = Pin<Box<dyn Future<Output = ()>>>;

/// Wakes a task by putting its number on a list.
struct TaskWaker {
    number: usize,
    is_woken: AtomicBool,
    woken: Arc<Mutex<Vec<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        if !self.is_woken.swap(true, SeqCst) {
            self.woken.lock().unwrap_or_else(PoisonError::into_inner).push(self.number);
        }
    }
}

struct TaskSlot {
    future: Option<Running>,
    waker: Arc<TaskWaker>,
}

struct ShardSlot {
    shard: Option<SimulatedShard<SimDriver>>,
    flag: Arc<AtomicBool>,
    /// When its next turn is; `u64::MAX` when it sleeps until it is woken.
    turn_at: u64,
    idle_turns: u32,
    /// Jobs of its compressor that have an event.
    compressing: usize,
}

pub(crate) struct World {
    pub(crate) scenario: Scenario,
    agenda: Rc<Agenda>,
    pub(crate) network: Rc<RefCell<Network>>,
    shards: Vec<ShardSlot>,
    tasks: Vec<TaskSlot>,
    woken: Arc<Mutex<Vec<usize>>>,
    pub(crate) app: Rc<Application>,
    chance: Rc<RefCell<Chance>>,
    random: Random,
    phase: Phase,
    wall_offset_ms: i64,
    suspended_until: u64,
    /// When the process last came back from a suspension or a jump of its clock.
    woken_at: Cell<u64>,
    /// By when the producer has to be closed, once that was asked for.
    close_by: Option<u64>,
    pub(crate) has_panicked: bool,
    tick_at: u64,
    verdicts_seen: u64,
    /// Verdicts and offers at the last look after all became well, and when that must be over.
    calm_progress: (u64, usize),
    calm_until: u64,
    /// Completion cells that an earlier run of this thread lost by a violation.
    pub(crate) cells_before: i64,
    probe_failures: Rc<RefCell<Vec<String>>>,
    pub(crate) report: Report,
}

fn nanos_of(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX / 4)
}

impl World {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let agenda = Rc::new(Agenda::default());
        agenda.advance(START);
        let wall = WALL_START_MS;
        clock::set(Some(clock::Time { nanos: START, wall_ms: wall, ..clock::Time::default() }));
        simulation::application_thread(0, scenario.seed);
        let settings = scenario.settings.clone();
        let brokers: Vec<i32> = (1..=scenario.plan.lines.len() as i32).collect();
        let cluster = Cluster::new(&scenario.plan, scenario.random(1));
        let mut seeds = scenario.random(2);
        let addresses = cluster.bootstrap();
        let reserves = scenario.work.reserved > 0;
        let tap = Wiretap::new(settings.idempotence, settings.in_flight_max, reserves);
        let chance = Chance::new(&scenario.rates, &scenario.random(3));
        let random = scenario.random(4);
        let network = Network::new(&agenda, random, chance, cluster, tap, brokers, scenario.shards);
        let network = Rc::new(RefCell::new(network));
        let seeds: Vec<u64> = (0..scenario.shards).map(|_| seeds.next()).collect();
        let flags: Vec<Arc<AtomicBool>> = seeds.iter().map(|_| Arc::default()).collect();
        let open = |shard: usize| SimDriver {
            shard,
            network: Rc::clone(&network),
            flag: Arc::clone(&flags[shard]),
        };
        let made = simulation::producer(settings, &addresses, &seeds, open);
        let (producer, shards) = made.unwrap_or_else(|error| panic!("the producer: {error}"));
        let slot = |(shard, flag)| ShardSlot {
            shard: Some(shard),
            flag,
            turn_at: u64::MAX,
            idle_turns: 0,
            compressing: 0,
        };
        let shards = shards.into_iter().zip(flags).map(slot).collect();
        let chance = Rc::new(RefCell::new(Chance::new(&scenario.rates, &scenario.random(5))));
        let app = application(&scenario, &agenda, &chance, producer);
        let mut world = Self {
            random: scenario.random(6),
            agenda,
            network,
            shards,
            tasks: Vec::new(),
            woken: Arc::default(),
            app,
            chance,
            phase: Phase::Weather,
            wall_offset_ms: 0,
            suspended_until: 0,
            woken_at: Cell::new(0),
            close_by: None,
            has_panicked: false,
            tick_at: u64::MAX,
            verdicts_seen: 0,
            calm_progress: (0, 0),
            calm_until: u64::MAX,
            cells_before: simulation::cells_in_use(),
            probe_failures: Rc::default(),
            report: Report::default(),
            scenario,
        };
        world.begin();
        world
    }

    /// The first events.
    fn begin(&mut self) {
        for shard in 0..self.shards.len() {
            self.schedule_turn(shard, self.random.clone().below(MILLISECOND));
        }
        let work = &self.scenario.work;
        let (tasks, records) = (work.tasks, work.records / work.tasks as u32);
        for number in 0..tasks {
            let task = Task::new(number, self.scenario.random(1_000 + number as u64), &self.app);
            self.spawn(Box::pin(task.run(records.max(1))));
        }
        let heal_at = START + self.scenario.heal_at;
        self.agenda.at(heal_at, What::Heal);
        self.agenda.after(0, What::Weather);
        let mut chance = self.chance.borrow_mut();
        if chance.strikes(Fault::EarlyClose) {
            let after = chance.of(Fault::EarlyClose).magnitude(10_000, self.scenario.heal_at);
            self.agenda.after(after, What::Close);
        }
        if chance.strikes(Fault::ShardPanic) {
            let random = chance.of(Fault::ShardPanic);
            let after = random.magnitude(10_000, self.scenario.heal_at);
            self.agenda.after(after, What::Panic(random.index(self.shards.len())));
        }
    }

    fn spawn(&mut self, future: Running) {
        let number = self.tasks.len();
        let woken = Arc::clone(&self.woken);
        let waker = Arc::new(TaskWaker { number, is_woken: AtomicBool::new(false), woken });
        self.tasks.push(TaskSlot { future: Some(future), waker });
        self.agenda.after(self.random.below(MILLISECOND), What::Task(number));
    }

    /// Lets everything happen, until the producer is closed and all is checked.
    pub(crate) fn run(&mut self) {
        while self.phase != Phase::Over {
            let (at, what) = self.agenda.next().expect("a run ends before its events do");
            let is_ours =
                matches!(what, What::Turn(_) | What::Task(_) | What::Compressed(_) | What::Close);
            if is_ours && at < self.suspended_until {
                self.agenda.at(self.suspended_until, what);
                continue;
            }
            self.agenda.advance(at);
            self.report.event(at, &what);
            self.handle(what);
            self.after_step();
        }
        checker::check(self);
    }

    fn handle(&mut self, what: What) {
        match what {
            What::Turn(shard) => self.turn(shard),
            What::Compressed(shard) => self.compressed(shard),
            What::Task(task) => self.poll(task),
            What::Link(id, step) => self.network.borrow_mut().step(id, step),
            What::Tick => self.tick(),
            What::Weather => self.weather(),
            What::Clog(shard, broker, nanos) if self.phase == Phase::Weather => {
                self.network.borrow_mut().clog(shard, broker, nanos);
            }
            What::Clog(..) => {}
            What::Unclog(shard, broker) => self.network.borrow_mut().unclog(shard, broker),
            What::Close if self.phase == Phase::Weather && self.random.one_in(4) => self.abort(),
            What::Close if self.phase == Phase::Weather => {
                let patience = *self.random.pick(&[0, MILLISECOND, SECOND, 30 * SECOND]);
                self.close(patience);
            }
            What::Close => {}
            What::Panic(shard) if self.phase == Phase::Weather => self.panic(shard),
            What::Panic(_) => {}
            What::Heal => self.heal(),
            What::Deadline => self.complain_of_time(),
        }
    }

    // The clocks.

    /// Sets the clocks that the producer reads, for one turn or one call.
    fn set_clocks(&mut self) {
        let now = self.agenda.now();
        let mut time = clock::Time {
            nanos: now,
            wall_ms: WALL_START_MS + ((now - START) / MILLISECOND) as i64 + self.wall_offset_ms,
            step: self.random.below(1_000),
            ..clock::Time::default()
        };
        let mut chance = self.chance.borrow_mut();
        if chance.strikes(Fault::ClockJump) {
            let random = chance.of(Fault::ClockJump);
            time.jump_in = random.between(1, 5) as u32;
            time.jump = random.magnitude(MILLISECOND, 90 * SECOND);
        }
        clock::set(Some(time));
    }

    /// Goes on from what the clocks show after the turn or call.
    fn take_clocks(&self) {
        let time = clock::time().expect("the clocks of a run are simulated");
        if time.jump > 0 && time.jump_in == 0 {
            trace!(self.agenda, "the clock jumped by {}", time.jump);
            self.app.ledger.borrow_mut().suspended += time.jump;
            self.woken_at.set(self.woken_at.get().max(time.nanos));
        }
        self.agenda.advance(time.nanos);
    }

    // Shards.

    fn schedule_turn(&mut self, shard: usize, after: u64) {
        let slot = &mut self.shards[shard];
        let at = self.agenda.now().saturating_add(after);
        if slot.shard.is_some() && at < slot.turn_at {
            slot.turn_at = at;
            self.agenda.at(at, What::Turn(shard));
        }
    }

    fn turn(&mut self, number: usize) {
        let now = self.agenda.now();
        if self.shards[number].turn_at > now {
            return;
        }
        self.shards[number].turn_at = u64::MAX;
        let Some(mut shard) = self.shards[number].shard.take() else { return };
        self.set_clocks();
        let is_over = shard.step();
        self.take_clocks();
        self.report.turns += 1;
        if is_over {
            trace!(self.agenda, "shard {number} is closed");
            shard.end();
        } else {
            self.shards[number].shard = Some(shard);
            self.schedule_next_turn(number);
            self.schedule_compression(number);
        }
        self.look_at_verdicts();
    }

    /// Each job that the shard gave its compressor ends at a time of its own. Which one ends then
    /// is drawn too: a compressor of several threads would have them in any order.
    fn schedule_compression(&mut self, number: usize) {
        let slot = &mut self.shards[number];
        let waiting = slot.shard.as_mut().map_or(0, SimulatedShard::jobs);
        for _ in slot.compressing..waiting {
            slot.compressing += 1;
            let after = self.random.magnitude(MICROSECOND, 20 * MILLISECOND);
            self.agenda.after(after, What::Compressed(number));
        }
    }

    fn compressed(&mut self, number: usize) {
        let slot = &mut self.shards[number];
        slot.compressing -= 1;
        if let Some(shard) = slot.shard.as_mut() {
            let at = self.random.index(shard.jobs());
            shard.finish_job(at);
        }
    }

    /// The turn after a wait: at once if it reported something, else when it is due.
    fn schedule_next_turn(&mut self, number: usize) {
        let (until, was_told) = self.network.borrow().waits[number];
        let now = self.agenda.now();
        let cost = self.random.between(500, 20 * MICROSECOND);
        let mut after = match until.map(kuring::clock::to_nanos) {
            _ if was_told => cost,
            None => u64::MAX,
            Some(until) if until <= now => cost,
            Some(until) => until - now + self.random.below(50 * MICROSECOND),
        };
        let slot = &mut self.shards[number];
        let is_idle = !was_told && after == cost;
        slot.idle_turns = if is_idle { slot.idle_turns + 1 } else { 0 };
        assert!(slot.idle_turns < IDLE_TURNS_MAX, "shard {number} turns and turns for nothing");
        let mut chance = self.chance.borrow_mut();
        if after < u64::MAX && chance.strikes(Fault::SlowTurn) {
            let slow = chance.of(Fault::SlowTurn).magnitude(MILLISECOND, SECOND / 2);
            self.app.ledger.borrow_mut().suspended += slow;
            after += slow;
        }
        drop(chance);
        self.schedule_turn(number, after);
    }

    fn panic(&mut self, number: usize) {
        let Some(mut shard) = self.shards[number].shard.take() else { return };
        trace!(self.agenda, "shard {number} panics");
        self.has_panicked = true;
        self.set_clocks();
        shard.fail();
        shard.end();
        self.take_clocks();
        self.network.borrow_mut().abandon(number);
        self.look_at_verdicts();
    }

    /// Counts changed: deliveries have verdicts.
    fn look_at_verdicts(&mut self) {
        let seen = simulation::verdicts(&self.app.producer);
        let now = self.agenda.now();
        let mut ledger = self.app.ledger.borrow_mut();
        if seen != self.verdicts_seen || ledger.has_old {
            self.verdicts_seen = seen;
            for place in ledger.look() {
                let entry = &ledger.entries[place];
                trace!(self.agenda, "verdict {:?}: {:?}", entry.stamp, entry.verdict);
                checker::check_now(&self.network.borrow().cluster, &self.scenario, entry);
            }
        }
        let patience = nanos_of(self.scenario.settings.delivery_timeout) + SLACK;
        if let Some(late) = ledger.overdue(now, patience) {
            panic!("{:?} has no verdict after {patience} ns", late.stamp);
        }
    }

    // Application.

    fn poll(&mut self, number: usize) {
        let Some(mut future) = self.tasks[number].future.take() else { return };
        self.tasks[number].waker.is_woken.store(false, SeqCst);
        self.set_clocks();
        simulation::application_thread(number as u32, self.random.next());
        let waker = Waker::from(Arc::clone(&self.tasks[number].waker));
        let poll = future.as_mut().poll(&mut Context::from_waker(&waker));
        self.take_clocks();
        if poll.is_pending() {
            self.tasks[number].future = Some(future);
        } else {
            trace!(self.agenda, "task {number} is over");
        }
        if self.app.ledger.borrow().has_old {
            self.look_at_verdicts();
        }
    }

    // The cluster and the weather.

    fn tick(&mut self) {
        let now = self.agenda.now();
        if self.tick_at > now {
            return;
        }
        self.tick_at = u64::MAX;
        let mut due = Vec::new();
        let mut network = self.network.borrow_mut();
        network.cluster.tick(now, &mut due);
        for (link, _, bytes) in due {
            network.answer(link, bytes);
        }
        network.cut_by_brokers();
    }

    fn weather(&mut self) {
        if self.phase != Phase::Weather {
            return;
        }
        self.network.borrow_mut().sweep();
        let mut chance = self.chance.borrow_mut();
        let (shards, brokers) = (self.shards.len(), self.scenario.plan.lines.len());
        if chance.strikes(Fault::SwizzleClog) {
            let random = chance.of(Fault::SwizzleClog);
            let longest = random.magnitude(MILLISECOND, 30 * SECOND);
            for shard in 0..shards {
                for broker in 1..=brokers as i32 {
                    if random.one_in(2) {
                        let (begin, nanos) = (random.below(longest), random.below(longest) + 1);
                        self.agenda.after(begin, What::Clog(shard, broker, nanos));
                    }
                }
            }
        }
        if chance.strikes(Fault::BrokerPause) {
            let random = chance.of(Fault::BrokerPause);
            let broker = random.between(1, brokers as u64) as i32;
            let nanos = random.magnitude(MILLISECOND, 60 * SECOND);
            (0..shards).for_each(|it| self.agenda.after(0, What::Clog(it, broker, nanos)));
        }
        if chance.strikes(Fault::Suspend) {
            let nanos = chance.of(Fault::Suspend).magnitude(MILLISECOND, 60 * SECOND);
            trace!(self.agenda, "the process is suspended for {nanos}");
            let until = self.suspended_until.max(self.agenda.now());
            let longer = (self.agenda.now() + nanos).saturating_sub(until);
            self.suspended_until = until + longer;
            self.woken_at.set(self.woken_at.get().max(self.suspended_until));
            self.app.ledger.borrow_mut().suspended += longer;
        }
        if chance.strikes(Fault::WallJump) {
            let random = chance.of(Fault::WallJump);
            let far = random.magnitude(1, 40 * 365 * 24 * 3_600_000) as i64;
            self.wall_offset_ms = if random.one_in(2) { far } else { -far };
        }
        let next = self.random.magnitude(MILLISECOND, 4 * SECOND);
        self.agenda.after(next, What::Weather);
    }

    fn heal(&mut self) {
        if self.phase != Phase::Weather {
            return;
        }
        trace!(self.agenda, "all becomes well");
        self.phase = Phase::Calm;
        self.chance.borrow_mut().end();
        self.app.is_healed.set(true);
        let mut network = self.network.borrow_mut();
        network.cluster.heal();
        network.heal();
        network.cut_by_brokers();
        self.calm_until = self.agenda.now() + CALM_NANOS;
        self.agenda.after(self.calm_bound(), What::Deadline);
    }

    /// In a cluster that is well, something ends within this time.
    fn calm_bound(&self) -> u64 {
        let settings = &self.scenario.settings;
        let longest = settings.delivery_timeout + settings.max_block + settings.request_timeout;
        nanos_of(longest) + 60 * SECOND
    }

    // The end.

    fn abort(&mut self) {
        trace!(self.agenda, "abort");
        self.set_clocks();
        simulation::start_abort(&self.app.producer);
        self.take_clocks();
        self.close_by(self.agenda.now() + CLOSE_SLACK);
    }

    fn close(&mut self, patience: u64) {
        trace!(self.agenda, "close within {patience}");
        self.set_clocks();
        simulation::start_close(&self.app.producer, Duration::from_nanos(patience));
        self.take_clocks();
        self.close_by(self.agenda.now() + patience + CLOSE_SLACK);
    }

    fn close_by(&mut self, by: u64) {
        self.close_by = Some(by.min(self.close_by.unwrap_or(by)));
        self.agenda.at(by, What::Deadline);
    }

    /// What a time limit says that has passed.
    fn complain_of_time(&mut self) {
        let ledger = self.app.ledger.borrow();
        let is_closed = self.shards.iter().all(|slot| slot.shard.is_none());
        match self.close_by {
            Some(by) if is_closed || self.agenda.now() < by => {}
            // After a jump of the clock, or a time in which nothing ran, shards have to turn first.
            Some(_) if self.woken_at.get() + CLOSE_SLACK > self.agenda.now() => {
                self.agenda.after(CLOSE_SLACK, What::Deadline);
            }
            Some(_) => {
                let left = |slot: &ShardSlot| {
                    let accumulator = slot.shard.as_ref()?.accumulator();
                    let pool = accumulator.pool();
                    let held = pool.total() - pool.available();
                    Some(format!("{} batches, {held} bytes", accumulator.unresolved()))
                };
                let left: Vec<_> = self.shards.iter().map(left).collect();
                panic!("the producer does not close: {left:?}")
            }
            None if self.phase == Phase::Calm => {
                let busy = self.tasks.iter().filter(|task| task.future.is_some()).count();
                let open = ledger.unresolved();
                // A task goes on when its records have their verdicts, so one wait follows another.
                let done = (self.verdicts_seen, ledger.entries.len());
                if done != self.calm_progress && self.agenda.now() < self.calm_until {
                    self.calm_progress = done;
                    let bound = self.calm_bound();
                    return self.agenda.after(bound, What::Deadline);
                }
                panic!("{busy} calls and {open} records have not ended in a cluster that is well");
            }
            None => {}
        }
    }

    /// What has to follow every event.
    fn after_step(&mut self) {
        for shard in 0..self.shards.len() {
            let is_poked = std::mem::take(&mut self.network.borrow_mut().poked[shard]);
            if self.shards[shard].flag.swap(false, SeqCst) || is_poked {
                let after = self.random.magnitude(1_000, 100 * MICROSECOND);
                self.schedule_turn(shard, after);
            }
        }
        let woken = std::mem::take(&mut *self.woken.lock().unwrap_or_else(PoisonError::into_inner));
        for task in woken {
            self.agenda.after(self.random.magnitude(100, 50 * MICROSECOND), What::Task(task));
        }
        let tick = self.network.borrow().cluster.next_tick();
        if tick < self.tick_at {
            self.tick_at = tick;
            self.agenda.at(tick, What::Tick);
        }
        self.go_on();
    }

    /// The next phase, once all of this one is over.
    fn go_on(&mut self) {
        let is_idle = self.tasks.iter().all(|task| task.future.is_none());
        if !is_idle || self.phase == Phase::Over {
            return;
        }
        let is_closed = self.shards.iter().all(|slot| slot.shard.is_none());
        if is_closed {
            // What brokers have not read yet may still be written.
            self.heal();
            let mut network = self.network.borrow_mut();
            network.close_forgotten();
            network.sweep();
            if network.is_quiet() {
                self.phase = Phase::Over;
            }
            return;
        }
        match self.phase {
            Phase::Weather if self.close_by.is_none() && !self.has_panicked => self.heal(),
            Phase::Calm if self.app.ledger.borrow().unresolved() > 0 => {}
            Phase::Calm if self.close_by.is_some() || self.has_panicked => {
                self.phase = Phase::Closing;
                self.close(30 * SECOND);
            }
            Phase::Calm => self.probe(),
            Phase::Probing => {
                let failures = self.probe_failures.borrow();
                assert!(failures.is_empty(), "a producer is stuck: {}", failures.join("; "));
                drop(failures);
                self.phase = Phase::Closing;
                self.close(30 * SECOND);
            }
            _ => {}
        }
    }

    fn probe(&mut self) {
        trace!(self.agenda, "probing");
        self.phase = Phase::Probing;
        let number = self.tasks.len();
        let task = Task::new(number, self.scenario.random(999), &self.app);
        let failures = Rc::clone(&self.probe_failures);
        self.spawn(Box::pin(async move {
            let failed = task.probe(PROBE_NANOS).await;
            *failures.borrow_mut() = failed;
        }));
    }
}

fn application(
    scenario: &Scenario,
    agenda: &Rc<Agenda>,
    chance: &Rc<RefCell<Chance>>,
    producer: Producer,
) -> Rc<Application> {
    let mut random = scenario.random(7);
    let topic = |plan: &crate::cluster::TopicPlan| {
        let mut options = TopicOptions::new();
        if scenario.settings.compression != Compression::None && random.one_in(3) {
            options = options.compression(*random.pick(&CODECS));
        }
        let topic = producer.topic_with(&plan.name, &options);
        (topic.expect("nobody else has said how"), plan.partitions as u64)
    };
    let topics = scenario.plan.topics.iter().map(topic).collect();
    Rc::new(Application {
        agenda: Rc::clone(agenda),
        ledger: Rc::new(RefCell::new(Ledger::default())),
        chance: Rc::clone(chance),
        producer,
        topics,
        work: scenario.work.clone(),
        is_healed: Cell::new(false),
    })
}
