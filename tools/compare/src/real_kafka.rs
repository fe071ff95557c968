//! Topics of a real cluster: made before a run, counted after it, deleted.
//!
//! The count is the truth: end offsets say what the broker has, not what the client believes.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use compare_measure::Outcome;

/// Longest wait for one answer of the cluster.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// A real cluster, as its operator sees it.
pub(crate) struct Cluster {
    admin: AdminClient<DefaultClientContext>,
    consumer: BaseConsumer,
}

impl Cluster {
    pub(crate) fn connect(bootstrap: &str) -> Outcome<Self> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", bootstrap);
        Ok(Self { admin: config.create()?, consumer: config.create()? })
    }

    pub(crate) fn create(&self, name: &str, partitions: u32) -> Outcome<()> {
        let topic = NewTopic::new(name, partitions as i32, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_MAX));
        for result in wait(self.admin.create_topics(&[topic], &options))? {
            result.map_err(|(topic, code)| format!("topic {topic} was not created: {code}"))?;
        }
        Ok(())
    }

    /// Records in the topic, by the partitions' end offsets.
    pub(crate) fn count(&self, topic: &str, partitions: u32) -> Outcome<u64> {
        let mut count = 0;
        for partition in 0..partitions as i32 {
            let (low, high) = self.consumer.fetch_watermarks(topic, partition, ANSWER_MAX)?;
            count += u64::try_from(high - low)?;
        }
        Ok(count)
    }

    pub(crate) fn delete(&self, topic: &str) -> Outcome<()> {
        let options = AdminOptions::new().operation_timeout(Some(ANSWER_MAX));
        for result in wait(self.admin.delete_topics(&[topic], &options))? {
            result.map_err(|(topic, code)| format!("topic {topic} was not deleted: {code}"))?;
        }
        Ok(())
    }
}

/// Wakes a thread that is parked until a future moves.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn wait<F: Future>(future: F) -> F::Output {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}
