//! Which driver: the one that was asked for, or the best that this process may use.
//!
//! `auto` finds out by doing it: a ring is set up and an operation goes through it. What a kernel
//! or a container forbids cannot be told from versions.
#![forbid(unsafe_code)]

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Once};
use std::time::Instant;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use super::epoll::EpollDriver;
use super::tokio_uring::TokioUringDriver;
use super::uring::{UringDriver, UringOptions};
use super::{Driver, Event, Frame, SocketOptions, Waker, memlock};
use crate::accumulator::buffer_pool::BufferPool;
use crate::ids::ConnectionId;

/// What `kuring.driver` may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The first of the others that this process may use.
    #[default]
    Auto,
    /// io_uring as of Linux 6.0, or an error.
    Uring,
    /// io_uring through tokio-uring, or an error.
    TokioUring,
    /// epoll.
    Epoll,
}

/// What to do so that io_uring can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// `kernel.io_uring_disabled` is 2: nobody may.
    EnableForAll,
    /// `kernel.io_uring_disabled` is 1: only members of `kernel.io_uring_group` may.
    JoinGroup,
    /// A system call filter or a security module refuses it.
    AllowSystemCalls,
    /// The kernel does not have it.
    NewerKernel,
    /// Rings count as locked memory, and the limit is reached.
    RaiseMemlock,
    /// Not known.
    Unknown,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EnableForAll => {
                "kernel.io_uring_disabled is 2: `sysctl kernel.io_uring_disabled=0`"
            }
            Self::JoinGroup => {
                "kernel.io_uring_disabled is 1: run as a member of kernel.io_uring_group, or \
                 `sysctl kernel.io_uring_disabled=0`"
            }
            Self::AllowSystemCalls => {
                "a system call filter refuses it, as the default one of container engines does: \
                 allow io_uring_setup, io_uring_enter and io_uring_register in the seccomp profile"
            }
            Self::NewerKernel => {
                "this kernel has no io_uring that suffices: run Linux 6.0 or later (5.7 for \
                 kuring.driver=tokio-uring)"
            }
            Self::RaiseMemlock => {
                "the limit on locked memory is reached: raise it (`ulimit -l`, LimitMEMLOCK= of \
                 the systemd unit), or `setcap cap_ipc_lock=ep`"
            }
            Self::Unknown => "no remedy is known for this error",
        })
    }
}

/// Why no driver could be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The driver that was asked for cannot be used here; `kuring.driver=auto` would use another.
    #[error("kuring.driver={driver} cannot be used: {error}. {remedy}; or set kuring.driver=auto")]
    Unavailable {
        /// The driver's name.
        driver: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
        /// What would help.
        remedy: Remedy,
    },
    /// The driver that was asked for blocks its thread in a runtime of its own, so it cannot run
    /// inside another loop. `kuring.driver=auto` chooses one that can.
    #[error("kuring.driver={driver} cannot be embedded: set kuring.driver=auto")]
    NotEmbeddable {
        /// The driver's name.
        driver: &'static str,
    },
    /// The process or the system has no descriptor or no memory left; another driver would fare no
    /// better.
    #[error("the {driver} driver cannot be opened, descriptors or memory ran out: {error}")]
    Exhausted {
        /// The driver's name.
        driver: &'static str,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

/// The drivers as one type.
pub enum AnyDriver {
    /// io_uring.
    Uring(UringDriver),
    /// io_uring through tokio-uring.
    TokioUring(TokioUringDriver),
    /// epoll.
    Epoll(EpollDriver),
}

/// Opens a driver, on the thread that will use it. The first call of the process logs what was
/// chosen and why.
///
/// # Errors
/// The driver that was asked for is not to be had (then the error says what would help), or the
/// process is out of descriptors or memory.
pub fn open(
    choice: Choice,
    pool: &Arc<BufferPool>,
    options: &UringOptions,
) -> Result<AnyDriver, OpenError> {
    open_with(
        choice,
        || UringDriver::open(pool, options),
        || TokioUringDriver::open(pool),
        EpollDriver::new,
    )
}

/// Opens a driver for somebody else's loop, on the loop's thread: one that has a descriptor.
///
/// # Errors
/// As [`open`]; and where the driver that was asked for needs a thread of its own.
pub fn open_embedded(
    choice: Choice,
    pool: &Arc<BufferPool>,
    options: &UringOptions,
) -> Result<AnyDriver, OpenError> {
    if choice == Choice::TokioUring {
        return Err(OpenError::NotEmbeddable { driver: "tokio-uring" });
    }
    let options = UringOptions { descriptor: true, ..*options };
    open_embedded_with(choice, || UringDriver::open(pool, &options), EpollDriver::new)
}

fn open_embedded_with(
    choice: Choice,
    open_uring: impl FnOnce() -> io::Result<UringDriver>,
    open_epoll: impl FnOnce() -> io::Result<EpollDriver>,
) -> Result<AnyDriver, OpenError> {
    let opened = match choice {
        Choice::Uring | Choice::Auto => attempt(choice, "uring", open_uring)?,
        Choice::TokioUring | Choice::Epoll => None,
    };
    match opened {
        Some(driver) => Ok(AnyDriver::Uring(driver)),
        None => the_last(choice, open_epoll),
    }
}

fn open_with(
    choice: Choice,
    open_uring: impl FnOnce() -> io::Result<UringDriver>,
    open_tokio_uring: impl FnOnce() -> io::Result<TokioUringDriver>,
    open_epoll: impl FnOnce() -> io::Result<EpollDriver>,
) -> Result<AnyDriver, OpenError> {
    let opened = match choice {
        Choice::Uring | Choice::Auto => attempt(choice, "uring", open_uring)?,
        _ => None,
    };
    if let Some(driver) = opened {
        return Ok(AnyDriver::Uring(driver));
    }
    let opened = match choice {
        Choice::TokioUring | Choice::Auto => attempt(choice, "tokio-uring", open_tokio_uring)?,
        _ => None,
    };
    if let Some(driver) = opened {
        return Ok(AnyDriver::TokioUring(driver));
    }
    the_last(choice, open_epoll)
}

/// Opens the driver that nobody is refused.
fn the_last(
    choice: Choice,
    open_epoll: impl FnOnce() -> io::Result<EpollDriver>,
) -> Result<AnyDriver, OpenError> {
    let driver = open_epoll().map_err(|error| OpenError::Exhausted { driver: "epoll", error })?;
    log_chosen("epoll", choice);
    Ok(AnyDriver::Epoll(driver))
}

/// Opens an io_uring driver. None when it is refused and the choice was left to us.
fn attempt<D>(
    choice: Choice,
    driver: &'static str,
    open: impl FnOnce() -> io::Result<D>,
) -> Result<Option<D>, OpenError> {
    let error = match open() {
        Ok(opened) => {
            log_chosen(driver, choice);
            return Ok(Some(opened));
        }
        Err(error) => error,
    };
    match remedy(&error, is_disabled(), memlock::limit().is_some()) {
        None => Err(OpenError::Exhausted { driver, error }),
        Some(remedy) if choice == Choice::Auto => {
            log_refused(driver, &error, remedy);
            Ok(None)
        }
        Some(remedy) => Err(OpenError::Unavailable { driver, error, remedy }),
    }
}

/// What would help against `error`; None when it says that the process ran out of something.
/// `disabled` is `kernel.io_uring_disabled`, `limited` whether locked memory is.
fn remedy(error: &io::Error, disabled: Option<u8>, limited: bool) -> Option<Remedy> {
    Some(match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::PERM | Errno::ACCESS) => match disabled {
            Some(2) => Remedy::EnableForAll,
            Some(1) => Remedy::JoinGroup,
            _ => Remedy::AllowSystemCalls,
        },
        Some(Errno::NOSYS | Errno::INVAL | Errno::OPNOTSUPP) => Remedy::NewerKernel,
        // The kernel answers the same when memory ran out and when too much of it would be locked.
        // With a limit in force, epoll is worth a try: without memory it will not open either.
        Some(Errno::NOMEM) if limited => Remedy::RaiseMemlock,
        Some(Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::NOBUFS) => return None,
        _ if error.kind() == io::ErrorKind::OutOfMemory => return None,
        _ => Remedy::Unknown,
    })
}

/// `kernel.io_uring_disabled`, on kernels that have it (6.6).
fn is_disabled() -> Option<u8> {
    std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?.trim().parse().ok()
}

/// Once per process: all shards come to the same.
fn log_chosen(driver: &'static str, choice: Choice) {
    static LOGGED: Once = Once::new();
    LOGGED.call_once(|| tracing::info!(driver, ?choice, "I/O driver chosen"));
}

/// Once per process and driver: the others are then tried in turn.
fn log_refused(driver: &'static str, error: &io::Error, remedy: Remedy) {
    static URING: Once = Once::new();
    static TOKIO_URING: Once = Once::new();
    let once = if driver == "uring" { &URING } else { &TOKIO_URING };
    once.call_once(|| {
        tracing::info!(
            driver, %error, %remedy,
            "this process cannot use the I/O driver; the next one is tried"
        );
    });
}

/// Calls the driver that there is.
macro_rules! with_driver {
    ($any:expr, $driver:ident => $call:expr) => {
        match $any {
            AnyDriver::Uring($driver) => $call,
            AnyDriver::TokioUring($driver) => $call,
            AnyDriver::Epoll($driver) => $call,
        }
    };
}

impl Driver for AnyDriver {
    fn name(&self) -> &'static str {
        with_driver!(self, driver => driver.name())
    }

    fn connect(&mut self, connection: ConnectionId, address: SocketAddr, options: &SocketOptions) {
        with_driver!(self, driver => driver.connect(connection, address, options));
    }

    fn send(&mut self, connection: ConnectionId, frame: Frame) {
        with_driver!(self, driver => driver.send(connection, frame));
    }

    fn shutdown(&mut self, connection: ConnectionId) {
        with_driver!(self, driver => driver.shutdown(connection));
    }

    fn waker(&self) -> Waker {
        with_driver!(self, driver => driver.waker())
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        with_driver!(self, driver => driver.descriptor())
    }

    fn hand_over(&mut self, watched: bool) -> bool {
        with_driver!(self, driver => driver.hand_over(watched))
    }

    fn holds_back(&self) -> bool {
        with_driver!(self, driver => driver.holds_back())
    }

    fn wait(&mut self, until: Option<Instant>, handle: &mut dyn FnMut(Event<'_>)) {
        with_driver!(self, driver => driver.wait(until, handle));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(errno: Errno) -> io::Error {
        errno.into()
    }

    fn open_refused(choice: Choice, error: Errno) -> Result<AnyDriver, OpenError> {
        open_with(choice, || Err(errno(error)), || Err(errno(error)), EpollDriver::new)
    }

    fn pool() -> Arc<BufferPool> {
        BufferPool::new(1 << 16, 1000).unwrap()
    }

    #[test]
    fn the_probe_opens_a_ring_or_says_why_not() {
        let (pool, options) = (pool(), UringOptions::default());
        for (choice, name) in [(Choice::Uring, "uring"), (Choice::TokioUring, "tokio-uring")] {
            match open(choice, &pool, &options) {
                Ok(driver) => assert_eq!(driver.name(), name),
                Err(OpenError::Unavailable { remedy, .. }) => assert_ne!(remedy, Remedy::Unknown),
                Err(error) => panic!("{error}"),
            }
        }
        let epoll = open(Choice::Epoll, &pool, &options).unwrap_or_else(|_| panic!());
        assert_eq!(epoll.name(), "epoll");
    }

    #[test]
    fn auto_prefers_the_raw_ring_and_then_the_ring_of_tokio_uring() {
        let pool = pool();
        let (options, tokio_uring) = (UringOptions::default(), || TokioUringDriver::open(&pool));
        if open(Choice::Uring, &pool, &options).is_err() {
            return;
        }
        let best = open(Choice::Auto, &pool, &options).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(best.name(), "uring");
        // As Linux 5.19 answers.
        let old = || Err(errno(Errno::NOSYS));
        let next = open_with(Choice::Auto, old, tokio_uring, EpollDriver::new);
        assert_eq!(next.unwrap_or_else(|error| panic!("{error}")).name(), "tokio-uring");
        let refused = open_with(Choice::Uring, old, tokio_uring, EpollDriver::new);
        assert!(matches!(refused, Err(OpenError::Unavailable { driver: "uring", .. })));
    }

    #[test]
    fn embedded_prefers_the_raw_ring_and_then_epoll() {
        let (pool, options) = (pool(), UringOptions::default());
        for choice in [Choice::Auto, Choice::Uring, Choice::Epoll] {
            match open_embedded(choice, &pool, &options) {
                Ok(driver) => {
                    assert!(driver.descriptor().is_some());
                    assert!(driver.name() == "epoll" || choice != Choice::Epoll);
                }
                Err(error) => assert!(matches!(error, OpenError::Unavailable { .. }), "{error}"),
            }
        }
        for error in [Errno::PERM, Errno::NOSYS, Errno::INVAL] {
            let refused = || Err(errno(error));
            let next = open_embedded_with(Choice::Auto, refused, EpollDriver::new);
            assert_eq!(next.unwrap_or_else(|error| panic!("{error}")).name(), "epoll");
            let refused = open_embedded_with(Choice::Uring, refused, EpollDriver::new);
            assert!(matches!(refused, Err(OpenError::Unavailable { driver: "uring", .. })));
        }
        let refused = open_embedded(Choice::TokioUring, &pool, &options);
        assert!(matches!(refused, Err(OpenError::NotEmbeddable { driver: "tokio-uring" })));
    }

    #[test]
    fn auto_falls_back_to_epoll_where_io_uring_is_refused() {
        for error in [Errno::PERM, Errno::ACCESS, Errno::NOSYS, Errno::INVAL, Errno::IO] {
            let driver = open_refused(Choice::Auto, error).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(driver.name(), "epoll");
        }
    }

    #[test]
    fn auto_does_not_fall_back_when_descriptors_ran_out() {
        for error in [Errno::MFILE, Errno::NFILE] {
            let result = open_refused(Choice::Auto, error);
            assert!(matches!(result, Err(OpenError::Exhausted { driver: "uring", .. })));
        }
    }

    #[test]
    fn an_explicit_choice_that_cannot_be_had_says_what_would_help() {
        let Err(error) = open_refused(Choice::TokioUring, Errno::NOSYS) else { panic!() };
        let OpenError::Unavailable { remedy: Remedy::NewerKernel, .. } = &error else { panic!() };
        let text = error.to_string();
        assert!(text.contains("kuring.driver=tokio-uring") && text.contains("5.7"), "{text}");
    }

    #[test]
    fn each_refusal_has_its_remedy() {
        let of = |error, disabled, limited| remedy(&errno(error), disabled, limited);
        assert_eq!(of(Errno::PERM, Some(2), false), Some(Remedy::EnableForAll));
        assert_eq!(of(Errno::PERM, Some(1), false), Some(Remedy::JoinGroup));
        assert_eq!(of(Errno::PERM, Some(0), false), Some(Remedy::AllowSystemCalls));
        assert_eq!(of(Errno::PERM, None, false), Some(Remedy::AllowSystemCalls));
        assert_eq!(of(Errno::NOSYS, None, false), Some(Remedy::NewerKernel));
        assert_eq!(of(Errno::NOMEM, None, true), Some(Remedy::RaiseMemlock));
        assert_eq!(of(Errno::NOMEM, None, false), None);
        assert_eq!(of(Errno::MFILE, None, true), None);
        assert_eq!(of(Errno::IO, None, false), Some(Remedy::Unknown));
    }
}
