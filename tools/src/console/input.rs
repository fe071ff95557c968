//! Where lines come from: standard input or a file, and a signal that ends either.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use rustix::event::{PollFd, PollFlags, poll};
use signal_hook::consts::{SIGINT, SIGTERM};

const BUFFER_BYTES: usize = 256 * 1024;

/// Notices SIGINT and SIGTERM. The first one ends the input, the second one the process.
#[derive(Debug)]
pub struct Interrupt {
    signalled: UnixStream,
    has_come: Arc<AtomicBool>,
}

impl Interrupt {
    /// Notices signals from now on.
    ///
    /// # Errors
    /// The handlers cannot be installed.
    pub fn new() -> io::Result<Self> {
        let (signalled, signal) = UnixStream::pair()?;
        let has_come = Arc::new(AtomicBool::new(false));
        for number in [SIGINT, SIGTERM] {
            // In this order: the default is asked about before the flag is set.
            signal_hook::flag::register_conditional_default(number, Arc::clone(&has_come))?;
            signal_hook::flag::register(number, Arc::clone(&has_come))?;
            signal_hook::low_level::pipe::register(number, signal.try_clone()?)?;
        }
        Ok(Self { signalled, has_come })
    }
}

/// Bytes until their end or a signal.
#[derive(Debug)]
pub struct Input {
    reader: BufReader<Interruptible>,
    has_come: Arc<AtomicBool>,
}

#[derive(Debug)]
struct Interruptible {
    file: File,
    signalled: UnixStream,
}

impl Read for Interruptible {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let mut watched =
            [PollFd::new(&self.file, PollFlags::IN), PollFd::new(&self.signalled, PollFlags::IN)];
        loop {
            match poll(&mut watched, None) {
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
                Ok(_) => break,
            }
        }
        // The signal comes first: a pipe that is never empty must not hide it.
        if !watched[1].revents().is_empty() { Ok(0) } else { self.file.read(bytes) }
    }
}

impl Input {
    /// Standard input, or the file.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: Option<&Path>, interrupt: Interrupt) -> io::Result<Self> {
        let file = match path {
            None => File::from(io::stdin().as_fd().try_clone_to_owned()?),
            Some(path) => File::open(path).map_err(|error| {
                io::Error::new(error.kind(), format!("--input {}: {error}", path.display()))
            })?,
        };
        let Interrupt { signalled, has_come } = interrupt;
        let reader = BufReader::with_capacity(BUFFER_BYTES, Interruptible { file, signalled });
        Ok(Self { reader, has_come })
    }

    pub(super) fn reader(&mut self) -> &mut impl BufRead {
        &mut self.reader
    }

    /// How much there is, where that is known.
    pub(super) fn bytes(&self) -> Option<u64> {
        let about = self.reader.get_ref().file.metadata().ok()?;
        about.is_file().then_some(about.len())
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.reader.get_ref().file.is_terminal()
    }

    /// Whether a signal ended it.
    pub fn is_interrupted(&self) -> bool {
        self.has_come.load(Relaxed)
    }
}
