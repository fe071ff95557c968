//! What the producer logs while a fault is played, in a file that stays when something was wrong.
#![forbid(unsafe_code)]

use std::fmt::{Debug, Write as _};
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber, subscriber};

use crate::support::deadline::now;
use crate::support::jars::target;

/// The file that is written now, and since when.
static OPEN: Mutex<Option<(File, Instant)>> = Mutex::new(None);

/// From now on the producers of this process log into a file of this name.
pub(crate) fn begin(name: &str) -> PathBuf {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| subscriber::set_global_default(Scribe).expect("no other subscriber here"));
    let folder = target().join("kafka-faults");
    fs::create_dir_all(&folder).expect("the target folder can be written");
    let path = folder.join(format!("{name}.log"));
    let file = File::create(&path).expect("the target folder can be written");
    *OPEN.lock().unwrap_or_else(PoisonError::into_inner) = Some((file, now()));
    path
}

/// The fault is over, and nobody will want to read about it.
pub(crate) fn forget(path: &Path) {
    *OPEN.lock().unwrap_or_else(PoisonError::into_inner) = None;
    fs::remove_file(path).ok();
}

struct Scribe;

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").ok();
    }
}

impl Subscriber for Scribe {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::DEBUG && metadata.target().starts_with("kuring")
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(String::new());
        event.record(&mut line);
        if let Some((file, begin)) = &mut *OPEN.lock().unwrap_or_else(PoisonError::into_inner) {
            let millis = (now() - *begin).as_millis();
            let (level, place) = (event.metadata().level(), event.metadata().target());
            writeln!(file, "{millis:>7} ms {level:<5} {place}{}", line.0).ok();
        }
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
