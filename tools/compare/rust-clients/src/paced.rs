//! The open loop for clients that live in a tokio runtime.
//!
//! A thread of its own keeps the schedule, as an application's threads would; each record's
//! verdict is awaited by a task, which notes when it came.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use compare_measure::{Latencies, Outcome, Schedule};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

/// Sends by the schedule: `begin` hands one record over and gives what tells whether it was
/// acknowledged. Returns when all have their verdicts.
pub(crate) fn run<B, V>(
    runtime: &Runtime,
    mut schedule: Schedule,
    latencies: &Arc<Latencies>,
    acknowledged: &Arc<AtomicU64>,
    mut begin: B,
) -> Outcome<()>
where
    B: FnMut() -> Result<V, String> + Send + 'static,
    V: Future<Output = bool> + Send + 'static,
{
    // Every task holds a sender; when all are gone, all is done.
    let (alive, mut ended) = mpsc::channel::<()>(1);
    let (latencies, acknowledged) = (Arc::clone(latencies), Arc::clone(acknowledged));
    let handle = runtime.handle().clone();
    let pace = move || -> Result<(), String> {
        let _entered = handle.enter();
        while let Some(due) = schedule.wait(|| ()) {
            let verdict = begin()?;
            let (latencies, acknowledged) = (Arc::clone(&latencies), Arc::clone(&acknowledged));
            let alive = alive.clone();
            handle.spawn(async move {
                if verdict.await {
                    latencies.ends(due);
                    // Relaxed: read after everything has ended.
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                drop(alive);
            });
        }
        Ok(())
    };
    let thread = thread::Builder::new().name("pace".into()).spawn(pace)?;
    runtime.block_on(async { while ended.recv().await.is_some() {} });
    thread.join().map_err(|_| "the pacing thread panicked")??;
    Ok(())
}
