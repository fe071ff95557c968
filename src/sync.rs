//! What threads meet in: the standard library's primitives, or loom's where models run.
//!
//! Every file whose correctness rests on the order of atomic operations takes them from here, so
//! that the models (`tools/loom`) run the code itself and not a copy of it. A normal build gets the
//! standard library's types under another name, and nothing else: `Watched` is empty then, and
//! [`shared_static`] is a plain static.
//!
//! The cfg is our own, since `--cfg loom` changes our dependencies too.
#![forbid(unsafe_code)]

#[cfg(not(kuring_loom))]
pub(crate) use std::{
    sync::{Mutex, MutexGuard, atomic},
    thread, thread_local,
};

#[cfg(kuring_loom)]
pub(crate) use loom::{
    sync::{Mutex, MutexGuard, atomic},
    thread_local,
};

/// Threads of a model. Loom's own `park` loses a wake that comes while the thread is at a lock
/// (0.7.3), so parking goes through a `Notify` of each thread, which may wake too often as well.
#[cfg(kuring_loom)]
pub(crate) mod thread {
    use std::sync::Arc;

    use loom::sync::Notify;
    #[cfg(test)]
    pub(crate) use loom::thread::{JoinHandle, spawn, yield_now};

    #[derive(Clone, Debug)]
    pub(crate) struct Thread(Arc<Notify>);

    loom::thread_local! {
        static OWN: Thread = Thread(Arc::new(Notify::new()));
    }

    pub(crate) fn current() -> Thread {
        OWN.with(Clone::clone)
    }

    pub(crate) fn park() {
        current().0.wait();
    }

    /// Models have no time: it is as if the thread were always woken before.
    pub(crate) fn park_timeout(_: std::time::Duration) {
        park();
    }

    impl Thread {
        pub(crate) fn unpark(&self) {
            self.0.notify();
        }
    }
}

/// A static that is made anew for each execution of a model.
macro_rules! shared_static {
    ($(#[$attribute:meta])* static $name:ident: $type:ty = $value:expr;) => {
        #[cfg(not(kuring_loom))]
        $(#[$attribute])*
        static $name: $type = $value;
        #[cfg(kuring_loom)]
        loom::lazy_static! {
            $(#[$attribute])*
            static ref $name: $type = $value;
        }
    };
}
pub(crate) use shared_static;

/// What a model is told of memory that loom does not see: who reads and who writes the arena. Two
/// accesses that nothing orders, one of them a write, fail the model, as they would be a data race.
///
/// Eight bytes are watched as one, and the limits between them are where a batch's header ends. A
/// model's records have to have a multiple of eight bytes, then no two of them share a limit.
#[derive(Debug)]
pub(crate) struct Watched {
    #[cfg(kuring_loom)]
    cells: Box<[loom::cell::UnsafeCell<()>]>,
}

#[cfg(not(kuring_loom))]
impl Watched {
    #[inline]
    pub(crate) fn new(_bytes: usize) -> Self {
        Self {}
    }

    #[inline]
    pub(crate) fn read(&self, _start: usize, _bytes: usize) {}

    #[inline]
    pub(crate) fn written(&self, _start: usize, _bytes: usize) {}
}

#[cfg(kuring_loom)]
impl Watched {
    const LIMIT: usize = 8;
    /// Moves the limits to byte 61 of a batch.
    const SHIFT: usize = 3;

    pub(crate) fn new(bytes: usize) -> Self {
        let cells = 0..=(bytes + Self::SHIFT) / Self::LIMIT;
        Self { cells: cells.map(|_| loom::cell::UnsafeCell::new(())).collect() }
    }

    fn cells(&self, start: usize, bytes: usize) -> &[loom::cell::UnsafeCell<()>] {
        // The last bytes of a buffer lie with the first of the next one, and are not watched.
        let end = (start + bytes + Self::SHIFT) / Self::LIMIT;
        &self.cells[(start + Self::SHIFT) / Self::LIMIT..end]
    }

    pub(crate) fn read(&self, start: usize, bytes: usize) {
        self.cells(start, bytes).iter().for_each(|cell| cell.with(|_| ()));
    }

    pub(crate) fn written(&self, start: usize, bytes: usize) {
        self.cells(start, bytes).iter().for_each(|cell| cell.with_mut(|_| ()));
    }
}

/// Runs a model in every interleaving that three preemptions allow, and with every value that each
/// load may see. `LOOM_MAX_PREEMPTIONS` and loom's other variables are obeyed.
#[cfg(all(test, kuring_loom))]
pub(crate) fn explore(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound.get_or_insert(3);
    builder.max_branches = builder.max_branches.max(10_000);
    let executions = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = std::sync::Arc::clone(&executions);
    builder.check(move || {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        model();
    });
    let executions = executions.load(std::sync::atomic::Ordering::Relaxed);
    println!("{executions} executions");
}
