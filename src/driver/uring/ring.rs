//! The ring itself: set-up, submission, waiting. Knows operations, and nothing of connections.
//!
//! Owns:     the two queues, and entries that found no room in the submission queue.
//! Thread:   the one that opened it: the kernel refuses submissions from any other.
//! Bounds:   one system call per [`Ring::enter`]; none in `push`.
//! Never:    loses a completion: what finds no room in the queue is kept by the kernel.
//!
//! # Why unsafe
//! The kernel follows addresses in entries and registrations later, when no borrow can say so. The
//! views of the queues want to be the only ones; each lives for one call.

#![expect(unsafe_code, reason = "the kernel keeps addresses; see `Why unsafe`")]

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::ManuallyDrop;
use std::os::fd::RawFd;
use std::ptr::NonNull;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use io_uring::opcode::{AsyncCancel2, PollAdd, RecvMulti, SendMsgZc, SendZc};
use io_uring::squeue::{self, Flags};
use io_uring::types::{CancelBuilder, Fd, Fixed, SubmitArgs, Timespec};
use io_uring::{CompletionQueue, IoUring, Probe, SubmissionQueue, Submitter, cqueue};
use rustix::io::Errno;

use super::input::{self, Input};
use super::{Modes, UringOptions};
use crate::accumulator::buffer_pool::BufferPool;

/// Submission entries. More of them in one turn wait in `backlog`, for another submission.
const ENTRIES: u32 = 128;
/// Completion entries, 16 KiB. A connection has at most four completions out that no buffer of the
/// [`Input`] stands for: a send, its notification, the end of a receive, a cancel (the connect is
/// over before the others begin). A received piece takes a buffer, of which there are 64, and the
/// waker one entry: 239 connections can never fill the queue. With more of them, what does not fit
/// is kept by the kernel (`IORING_FEAT_NODROP`), in order, until the next `enter` has room.
const COMPLETIONS: u32 = 1024;
/// Registered descriptors. Connections of higher slots use theirs unregistered.
const FILES: u32 = 64;
/// `POLLIN` and `POLLOUT`.
const READABLE: u32 = 1;
const WRITABLE: u32 = 4;

/// A descriptor as an entry names it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    number: i32,
    registered: bool,
}

impl Target {
    pub(super) fn plain(descriptor: RawFd) -> Self {
        Self { number: descriptor, registered: false }
    }

    pub(super) fn fd(self) -> Fd {
        Fd(self.number)
    }

    /// To be added to each entry that was built with [`Self::fd`].
    pub(super) fn flags(self) -> Flags {
        if self.registered { Flags::FIXED_FILE } else { Flags::empty() }
    }

    fn canceller(self) -> CancelBuilder {
        if self.registered {
            CancelBuilder::fd(Fixed(self.number as u32)).all()
        } else {
            CancelBuilder::fd(self.fd()).all()
        }
    }
}

/// Operations that name no memory of ours.
#[derive(Clone, Copy, Debug)]
pub(super) enum Plain {
    /// Completes once, when the socket's connect is over.
    PollConnect,
    /// Completes each time the descriptor becomes readable.
    PollReadable,
    /// Completes for each piece that arrives, in a buffer of the registered input.
    Receive,
    /// Ends all operations on the descriptor.
    Cancel,
}

/// An io_uring.
pub(super) struct Ring {
    /// From a box; freed in drop.
    memory: NonNull<IoUring>,
    /// The same, for as long as the value lives.
    ring: &'static IoUring,
    /// Refers to `ring`: the registered descriptor of the ring is known to this value only.
    submitter: ManuallyDrop<Submitter<'static>>,
    backlog: VecDeque<squeue::Entry>,
    sqpoll: bool,
    /// Never read: keeps the registered memory good.
    _input: Rc<Input>,
    _arena: Option<Arc<BufferPool>>,
}

impl Ring {
    /// Sets a ring up, as good as this kernel has it.
    pub(super) fn open(
        options: &UringOptions,
        input: &Rc<Input>,
        modes: &mut Modes,
    ) -> io::Result<Self> {
        let ring = build(options, modes)?;
        let mut known = Probe::new();
        ring.submitter().register_probe(&mut known)?;
        // Multishot receives have no mark of their own; zero-copy sends came with the same kernel.
        let params = ring.params();
        if !params.is_feature_nodrop() || !params.is_feature_ext_arg() {
            return Err(Errno::NOSYS.into());
        }
        if !known.is_supported(SendZc::CODE) {
            return Err(Errno::NOSYS.into());
        }
        modes.can_send_zero_copy = known.is_supported(SendMsgZc::CODE);
        let memory = NonNull::from(Box::leak(Box::new(ring)));
        // SAFETY: obligation: the value outlives the reference, and is not used mutably. `memory`
        // is freed by drop only, after the submitter, and everything goes through this reference.
        // Test: `descriptors_return_to_their_count`.
        let ring: &'static IoUring = unsafe { memory.as_ref() };
        let mut opened = Self {
            memory,
            ring,
            submitter: ManuallyDrop::new(ring.submitter()),
            backlog: VecDeque::with_capacity(ENTRIES as usize),
            sqpoll: modes.sqpoll,
            _input: Rc::clone(input),
            _arena: None,
        };
        opened.register_input(input)?;
        modes.registered_ring = opened.submitter.register_ring_fd().is_ok();
        modes.registered_files = opened.submitter.register_files_sparse(FILES).is_ok();
        Ok(opened)
    }

    fn register_input(&self, input: &Input) -> io::Result<()> {
        let (address, entries) = input.address();
        // SAFETY: obligation: the memory stays good until the ring is gone. `_input` holds it.
        // Test: `a_dropped_driver_leaves_the_memory_of_frames_intact`.
        unsafe { self.submitter.register_buf_ring_with_flags(address, entries, input::GROUP, 0) }
    }

    /// Registers the pool's arena as buffer index 0.
    pub(super) fn register_arena(&mut self, pool: &Arc<BufferPool>) -> io::Result<()> {
        let arena = pool.arena();
        // SAFETY: obligation: the bytes are good to read. The arena is one mapping of this length;
        // the slice is not looked into, and gone before anyone writes. Test: as below.
        let bytes = unsafe { std::slice::from_raw_parts(arena.base().as_ptr(), arena.bytes()) };
        let slices = [IoSlice::new(bytes)];
        // SAFETY: obligation: the view is of as many `iovec`. `IoSlice` is one, by its promise.
        // Test: `with_locked_memory_the_arena_is_registered_once_and_let_go`.
        let vectors = unsafe { std::slice::from_raw_parts(slices.as_ptr().cast(), 1) };
        // SAFETY: obligation: the memory stays good until the ring is gone. `_arena` holds it.
        // Test: as above.
        unsafe { self.submitter.register_buffers(vectors) }?;
        self._arena = Some(Arc::clone(pool));
        Ok(())
    }

    /// The kernel writes to this eventfd when it has work for the next [`Self::enter`], and when a
    /// completion is there.
    pub(super) fn register_signal(&self, event: RawFd) -> io::Result<()> {
        self.submitter.register_eventfd(event)
    }

    /// Registers a socket's descriptor under `slot`, if there is room for it.
    pub(super) fn register(&self, slot: u32, descriptor: RawFd) -> Target {
        let done =
            slot < FILES && self.submitter.register_files_update(slot, &[descriptor]).is_ok();
        if done {
            Target { number: slot as i32, registered: true }
        } else {
            Target::plain(descriptor)
        }
    }

    /// Lets the descriptor go; no operation on it is under way.
    pub(super) fn unregister(&self, target: Target) {
        if target.registered {
            let result = self.submitter.register_files_update(target.number as u32, &[-1]);
            debug_assert!(result.is_ok(), "{target:?}: {result:?}");
        }
    }

    fn submission(&mut self) -> SubmissionQueue<'_> {
        // SAFETY: obligation: there is no other view of the queue. Each is gone before the method
        // that made it returns, and `&mut self` keeps them apart.
        // Test: `a_gather_frame_arrives_unchanged`.
        unsafe { self.ring.submission_shared() }
    }

    fn completion(&mut self) -> CompletionQueue<'_> {
        // SAFETY: as for `submission`. Test: as there.
        unsafe { self.ring.completion_shared() }
    }

    /// Queues an operation; the next [`Self::enter`] submits it.
    ///
    /// # Safety
    /// What the entry names stays where it is, good and unchanged, until the last completion of the
    /// entry has been taken.
    pub(super) unsafe fn push(&mut self, entry: squeue::Entry) {
        if self.backlog.is_empty() {
            // SAFETY: obligation: the caller's. Passed on. Test: as there.
            if unsafe { self.submission().push(&entry) }.is_ok() {
                return;
            }
        }
        self.backlog.push_back(entry);
    }

    /// Queues an operation that names no memory of ours.
    pub(super) fn push_plain(&mut self, operation: Plain, target: Target, mark: u64) {
        let entry = match operation {
            Plain::PollConnect => PollAdd::new(target.fd(), WRITABLE).build(),
            Plain::PollReadable => PollAdd::new(target.fd(), READABLE).multi(true).build(),
            Plain::Receive => RecvMulti::new(target.fd(), input::GROUP).build(),
            // The descriptor is in the builder, which says itself what kind it is.
            Plain::Cancel => AsyncCancel2::new(target.canceller()).build(),
        };
        let flags = match operation {
            Plain::Cancel => Flags::empty(),
            _ => target.flags(),
        };
        // SAFETY: obligation: what the entry names stays good. These name a descriptor, and buffers
        // of the input, which the ring holds.
        // Test: `a_flood_on_one_connection_does_not_starve_another`.
        unsafe { self.push(entry.flags(flags).user_data(mark)) };
    }

    /// Whether what is queued is submitted by [`Self::enter`], and by nothing else.
    pub(super) fn submits_itself(&self) -> bool {
        !self.sqpoll
    }

    /// Whether an operation waits for being submitted.
    pub(super) fn has_queued(&mut self) -> bool {
        !self.submission().is_empty() || !self.backlog.is_empty()
    }

    /// Whether the kernel has work of ours that it only does in an [`Self::enter`]. Set by the
    /// kernel in shared memory: finding out costs no system call.
    pub(super) fn has_deferred(&mut self) -> bool {
        let queue = self.submission();
        queue.taskrun() || queue.cq_overflow()
    }

    /// Submits what is queued, and waits until `want` completions are there, at most for `rest`.
    pub(super) fn enter(&mut self, want: usize, rest: Option<Duration>) {
        while let Some(entry) = self.backlog.pop_front() {
            // SAFETY: obligation: that of `push`. Promised by whoever pushed it there.
            // Test: `more_operations_than_the_queue_holds_are_all_submitted`.
            if unsafe { self.submission().push(&entry) }.is_err() {
                self.backlog.push_front(entry);
                break;
            }
        }
        let want = if self.backlog.is_empty() { want } else { 0 };
        let result = match rest {
            Some(rest) if want > 0 => {
                let rest = Timespec::from(rest);
                self.submitter.submit_with_args(want, &SubmitArgs::new().timespec(&rest))
            }
            _ => self.submitter.submit_and_wait(want),
        };
        let Err(error) = result else { return };
        match Errno::from_io_error(&error) {
            // The time is over, or a signal handler ran; the caller looks at its deadline.
            Some(Errno::TIME | Errno::INTR) => {}
            // Out of memory for a moment, or completions have to be taken first.
            Some(Errno::AGAIN | Errno::BUSY | Errno::NOMEM) => rustix::thread::sched_yield(),
            // Completions were dropped, which NODROP rules out, or the ring is not one.
            _ => panic!("io_uring_enter on a ring of its own: {error}"),
        }
    }

    /// Whether everything that was queued has been looked at by the kernel, and all that it had to
    /// say about it is in the queue.
    pub(super) fn is_settled(&mut self) -> bool {
        !self.has_queued() && !self.submission().cq_overflow()
    }

    /// Whether an operation is left that the last [`Self::enter`] could not submit, so that there
    /// has to be another one.
    pub(super) fn is_stuck(&mut self) -> bool {
        !self.backlog.is_empty() || self.submits_itself() && !self.submission().is_empty()
    }

    /// Completions that are there.
    pub(super) fn ready(&mut self) -> usize {
        self.completion().len()
    }

    /// Takes the oldest completion.
    pub(super) fn take(&mut self) -> Option<cqueue::Entry> {
        let mut queue = self.completion();
        debug_assert_eq!(queue.overflow(), 0, "the kernel has dropped completions");
        queue.next()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // The thread's table would hold the ring open otherwise.
        let _ = self.submitter.unregister_ring_fd();
        // SAFETY: obligation: it is not used again. The value is being dropped.
        // Test: `descriptors_return_to_their_count`.
        unsafe { ManuallyDrop::drop(&mut self.submitter) };
        // SAFETY: obligation: the address came from a box, and nobody else frees it. `open` leaked
        // it, and the views of it are gone. Test: as above.
        drop(unsafe { Box::from_raw(self.memory.as_ptr()) });
    }
}

/// The best set-up that the kernel takes: work for this thread is deferred to its own waits (6.1),
/// or at least does not interrupt it (5.19). With a polling thread of the kernel, neither.
fn build(options: &UringOptions, modes: &mut Modes) -> io::Result<IoUring> {
    let mut builder = IoUring::builder();
    builder.dontfork().setup_submit_all().setup_single_issuer();
    builder.setup_cqsize(options.completions.unwrap_or(COMPLETIONS));
    if let Some(idle) = options.sqpoll {
        let idle = u32::try_from(idle.as_millis()).unwrap_or(u32::MAX).max(1);
        builder.setup_sqpoll(idle);
        modes.sqpoll = true;
        return builder.build(ENTRIES);
    }
    let mut deferring = builder.clone();
    deferring.setup_defer_taskrun().setup_taskrun_flag();
    match deferring.build(ENTRIES) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
            modes.coop_taskrun = true;
            builder.setup_coop_taskrun().setup_taskrun_flag().build(ENTRIES)
        }
        result => {
            modes.defer_taskrun = result.is_ok();
            result
        }
    }
}
