//! What ends a wait: which connections have news, the waker's eventfd, and the deadline.
//!
//! Thread:   the shard's; the wake functions of [`Mark`] are safe from any.
//! Never:    reads a descriptor: both are watched for edges, and each write or expiry is one.
#![forbid(unsafe_code)]

use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::AcqRel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The slots whose operations have news: a turn costs what is active, not what is connected.
#[derive(Debug, Default)]
pub(super) struct Board {
    inner: Mutex<BoardInner>,
}

#[derive(Debug, Default)]
struct BoardInner {
    slots: Vec<u32>,
    /// The task that reads the board.
    reader: Option<Waker>,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, BoardInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a slot, from outside a turn: the next one sees it without being woken.
    pub(super) fn put(&self, slot: u32) {
        self.lock().slots.push(slot);
    }

    fn put_and_wake(&self, slot: u32) {
        let mut inner = self.lock();
        inner.slots.push(slot);
        if let Some(reader) = &inner.reader {
            reader.wake_by_ref();
        }
    }

    /// Exchanges the slots with news for the emptied `slots`, and says who is woken by more.
    pub(super) fn swap(&self, waker: &Waker, slots: &mut Vec<u32>) {
        slots.clear();
        let mut inner = self.lock();
        mem::swap(&mut inner.slots, slots);
        match &inner.reader {
            Some(reader) if reader.will_wake(waker) => {}
            _ => inner.reader = Some(waker.clone()),
        }
    }
}

/// The waker of one connection's operations.
#[derive(Debug)]
pub(super) struct Mark {
    slot: u32,
    /// It is on the board already.
    put: AtomicBool,
    board: Arc<Board>,
}

impl Mark {
    pub(super) fn new(slot: u32, board: &Arc<Board>) -> Arc<Self> {
        Arc::new(Self { slot, put: AtomicBool::new(false), board: Arc::clone(board) })
    }

    /// Before the operations are looked at: what happens from here on is news again.
    pub(super) fn clear(&self) {
        // AcqRel pairs with the swap in `wake_by_ref`: one of the two sides sees the other.
        self.put.swap(false, AcqRel);
    }
}

impl Wake for Mark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.put.swap(true, AcqRel) {
            self.board.put_and_wake(self.slot);
        }
    }
}

/// The deadline of a wait, to the precision of the kernel's timers; tokio's own count whole
/// milliseconds, which is a fifth of a usual linger time.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: AsyncFd<OwnedFd>,
    /// When it rings next. It is not set back when a deadline moves away: ringing early once costs
    /// less than a system call for each wait.
    set: Option<Instant>,
}

impl Alarm {
    /// Inside the runtime.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self { timer: watch(timer)?, set: None })
    }

    /// Whether it rang and `until` has passed. If not, the task is woken when it has, also when it
    /// has already.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, until: Instant) -> bool {
        let mut over = false;
        if drain_edges(&self.timer, cx) {
            self.set = None;
            over = crate::clock::now() >= until;
        }
        if self.set.is_none_or(|set| until < set) {
            let rest = until.saturating_duration_since(crate::clock::now());
            let it_value = Timespec {
                tv_sec: i64::try_from(rest.as_secs()).unwrap_or(i64::MAX),
                // Zero would switch the timer off.
                tv_nsec: rest.subsec_nanos().max(1).into(),
            };
            let timer = Itimerspec { it_interval: Timespec::default(), it_value };
            timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &timer)
                .expect("a timer descriptor of its own takes any time in range");
            self.set = Some(until);
        }
        over
    }
}

/// Watches a descriptor for edges, inside the runtime.
#[expect(
    deprecated,
    reason = "the successor is an unsafe function of recent versions, to say what holds here: both \
              kinds of descriptor are owned and never exchanged"
)]
pub(super) fn watch<D: AsRawFd>(descriptor: D) -> io::Result<AsyncFd<D>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

/// Whether the descriptor had an edge since the last look; asks to be woken by the next one.
pub(super) fn drain_edges<D: AsRawFd>(descriptor: &AsyncFd<D>, cx: &mut Context<'_>) -> bool {
    let mut seen = false;
    while let Poll::Ready(Ok(mut guard)) = descriptor.poll_read_ready(cx) {
        guard.clear_ready();
        seen = true;
    }
    seen
}
