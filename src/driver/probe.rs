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

use rustix::io::Errno;

use super::epoll::EpollDriver;
use super::tokio_uring::TokioUringDriver;
use super::{Driver, Event, Frame, SocketOptions, Waker, memlock};
use crate::accumulator::buffer_pool::BufferPool;
use crate::ids::ConnectionId;

/// What `kuring.driver` may ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// io_uring if this process may use it, else epoll.
    #[default]
    Auto,
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
                "this kernel has no io_uring that suffices: run Linux 5.7 or later"
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
    /// The driver that was asked for cannot be used here; `kuring.driver=auto` would use epoll.
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
pub fn open(choice: Choice, pool: &Arc<BufferPool>) -> Result<AnyDriver, OpenError> {
    open_with(choice, || TokioUringDriver::open(pool), EpollDriver::new)
}

fn open_with(
    choice: Choice,
    open_tokio_uring: impl FnOnce() -> io::Result<TokioUringDriver>,
    open_epoll: impl FnOnce() -> io::Result<EpollDriver>,
) -> Result<AnyDriver, OpenError> {
    const TOKIO_URING: &str = "tokio-uring";
    let mut refused = None;
    if choice != Choice::Epoll {
        match open_tokio_uring() {
            Ok(driver) => {
                log(TOKIO_URING, choice, None);
                return Ok(AnyDriver::TokioUring(driver));
            }
            Err(error) => match remedy(&error, is_disabled(), memlock::limit().is_some()) {
                None => return Err(OpenError::Exhausted { driver: TOKIO_URING, error }),
                Some(remedy) if choice == Choice::TokioUring => {
                    return Err(OpenError::Unavailable { driver: TOKIO_URING, error, remedy });
                }
                Some(remedy) => refused = Some((error, remedy)),
            },
        }
    }
    let driver = open_epoll().map_err(|error| OpenError::Exhausted { driver: "epoll", error })?;
    log("epoll", choice, refused);
    Ok(AnyDriver::Epoll(driver))
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

fn log(driver: &'static str, choice: Choice, refused: Option<(io::Error, Remedy)>) {
    static LOGGED: Once = Once::new();
    LOGGED.call_once(|| match refused {
        None => tracing::info!(driver, ?choice, "I/O driver chosen"),
        Some((error, remedy)) => tracing::info!(
            driver, ?choice, %error, %remedy,
            "I/O driver chosen, because this process cannot use io_uring"
        ),
    });
}

impl AnyDriver {
    fn inner(&self) -> &dyn Driver {
        match self {
            Self::TokioUring(driver) => driver,
            Self::Epoll(driver) => driver,
        }
    }

    fn inner_mut(&mut self) -> &mut dyn Driver {
        match self {
            Self::TokioUring(driver) => driver,
            Self::Epoll(driver) => driver,
        }
    }
}

impl Driver for AnyDriver {
    fn name(&self) -> &'static str {
        self.inner().name()
    }

    fn connect(&mut self, connection: ConnectionId, address: SocketAddr, options: &SocketOptions) {
        self.inner_mut().connect(connection, address, options);
    }

    fn send(&mut self, connection: ConnectionId, frame: Frame) {
        self.inner_mut().send(connection, frame);
    }

    fn shutdown(&mut self, connection: ConnectionId) {
        self.inner_mut().shutdown(connection);
    }

    fn waker(&self) -> Waker {
        self.inner().waker()
    }

    fn wait(&mut self, until: Option<Instant>, handle: &mut dyn FnMut(Event<'_>)) {
        self.inner_mut().wait(until, handle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(errno: Errno) -> io::Error {
        errno.into()
    }

    fn open_refused(choice: Choice, error: Errno) -> Result<AnyDriver, OpenError> {
        open_with(choice, || Err(errno(error)), EpollDriver::new)
    }

    #[test]
    fn the_probe_opens_a_ring_or_says_why_not() {
        let pool = BufferPool::new(1 << 16, 1000).unwrap();
        match open(Choice::TokioUring, &pool) {
            Ok(driver) => assert_eq!(driver.name(), "tokio-uring"),
            Err(OpenError::Unavailable { remedy, .. }) => assert_ne!(remedy, Remedy::Unknown),
            Err(error) => panic!("{error}"),
        }
        assert_eq!(open(Choice::Epoll, &pool).unwrap_or_else(|_| panic!()).name(), "epoll");
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
            assert!(matches!(result, Err(OpenError::Exhausted { driver: "tokio-uring", .. })));
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
