//! rskafka, in the two ways that it offers: batches that the application makes, and its own
//! `BatchProducer`. It has no idempotence.
//!
//! It never sets TCP_NODELAY and writes a large request in two pieces. With few requests
//! outstanding Nagle's algorithm then waits for delayed acknowledgements, 40 ms a round; several
//! outstanding for each partition avoid most of that.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use compare_measure::{Latencies, Outcome, Plan, Schedule, Sender, cost, value};
use futures::stream::{self, FuturesUnordered};
use futures::{StreamExt, TryStreamExt};
use rskafka::client::ClientBuilder;
use rskafka::client::partition::{Compression, PartitionClient, UnknownTopicHandling};
use rskafka::client::producer::aggregator::RecordAggregator;
use rskafka::client::producer::{BatchProducer, BatchProducerBuilder};
use rskafka::record::Record;
use tokio::runtime::Runtime;

use crate::paced;

/// Kafka's default batch.size; rskafka has none of its own.
const BATCH_BYTES: usize = 16_384;

/// A batch must fit the broker's message.max.bytes with its head.
const BATCH_BYTES_MAX: usize = 1_000_000;

/// What a record takes beside its value, by rskafka's own reckoning and the format's.
const RECORD_OVERHEAD: usize = 16;

/// Requests of one partition that are outstanding at once, where there are few partitions.
const OUTSTANDING_MAX: usize = 8;

/// Batches outstanding in all, where there are many.
const OUTSTANDING_IN_ALL: usize = 80;

/// Partitions whose clients are made at the same time.
const CONNECTING_MAX: usize = 100;

type Verdicts = FuturesUnordered<Pin<Box<dyn Future<Output = u64>>>>;

fn batch_bytes(plan: &Plan) -> usize {
    plan.batch_size.unwrap_or(BATCH_BYTES).min(BATCH_BYTES_MAX)
}

fn batch_records(plan: &Plan) -> usize {
    (batch_bytes(plan) / (plan.size + RECORD_OVERHEAD)).max(1)
}

fn outstanding_batches(plan: &Plan) -> usize {
    let partitions = plan.partitions as usize;
    partitions * (OUTSTANDING_IN_ALL / partitions).clamp(1, OUTSTANDING_MAX)
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(cost::timestamp_ms()).unwrap_or_default()
}

fn record(value: &[u8], timestamp: DateTime<Utc>) -> Record {
    Record { key: None, value: Some(value.to_vec()), headers: BTreeMap::new(), timestamp }
}

async fn clients(plan: &Plan) -> Outcome<Vec<Arc<PartitionClient>>> {
    if !plan.properties.is_empty() || plan.acks != "all" {
        return Err("rskafka has no properties, and acks is always all".into());
    }
    let client = ClientBuilder::new(vec![plan.bootstrap.clone()]).build().await?;
    let connect =
        |partition| client.partition_client(&plan.topic, partition, UnknownTopicHandling::Retry);
    // One after the other takes it 40 ms each, which a thousand partitions would notice.
    let clients = stream::iter(0..plan.partitions as i32).map(connect).buffered(CONNECTING_MAX);
    Ok(clients.map_ok(Arc::new).try_collect().await?)
}

/// Batches made by the application, partition after partition.
pub(crate) struct Batches {
    runtime: Runtime,
    clients: Vec<Arc<PartitionClient>>,
    turn: usize,
    value: Vec<u8>,
    batch_records: u64,
    outstanding: Verdicts,
    outstanding_max: usize,
    acknowledged: u64,
}

impl Batches {
    pub(crate) fn connect(plan: &Plan, runtime: Runtime) -> Outcome<Self> {
        let clients = runtime.block_on(clients(plan))?;
        Ok(Self {
            runtime,
            clients,
            turn: 0,
            value: value(plan.size),
            batch_records: batch_records(plan) as u64,
            outstanding: FuturesUnordered::new(),
            outstanding_max: outstanding_batches(plan),
            acknowledged: 0,
        })
    }

    fn begin(&mut self, count: u64) {
        let client = Arc::clone(&self.clients[self.turn]);
        self.turn = (self.turn + 1) % self.clients.len();
        let timestamp = now();
        let records = (0..count).map(|_| record(&self.value, timestamp)).collect();
        self.outstanding.push(Box::pin(async move {
            match client.produce(records, Compression::NoCompression).await {
                Ok(offsets) => offsets.len() as u64,
                Err(_) => 0,
            }
        }));
    }

    fn wait_for_one(&mut self) {
        let Self { runtime, outstanding, .. } = self;
        self.acknowledged += runtime.block_on(outstanding.next()).unwrap_or(0);
    }
}

impl Sender for Batches {
    fn send(&mut self, count: u64) -> Outcome<()> {
        let mut rest = count;
        while rest > 0 {
            if self.outstanding.len() == self.outstanding_max {
                self.wait_for_one();
            }
            let batch = rest.min(self.batch_records);
            self.begin(batch);
            rest -= batch;
        }
        Ok(())
    }

    fn settle(&mut self) -> Outcome<()> {
        while !self.outstanding.is_empty() {
            self.wait_for_one();
        }
        Ok(())
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    fn round_trip(&mut self) -> Outcome<()> {
        let before = self.acknowledged;
        self.begin(1);
        self.wait_for_one();
        match self.acknowledged - before {
            1 => Ok(()),
            _ => Err("a record failed".into()),
        }
    }
}

/// `BatchProducer`, one for each partition; a partition gets a batch's worth, then the next.
pub(crate) struct Batching {
    runtime: Runtime,
    producers: Vec<Arc<BatchProducer<RecordAggregator>>>,
    sent: usize,
    value: Vec<u8>,
    batch_records: usize,
    outstanding: Verdicts,
    outstanding_max: usize,
    acknowledged: Arc<AtomicU64>,
}

impl Batching {
    pub(crate) fn connect(plan: &Plan, runtime: Runtime) -> Outcome<Self> {
        let linger = Duration::from_millis(plan.linger());
        let bytes = batch_bytes(plan);
        let producer = |client| {
            let builder = BatchProducerBuilder::new(client).with_linger(linger);
            Arc::new(builder.build(RecordAggregator::new(bytes)))
        };
        // Building one spawns tasks.
        let producers = runtime.block_on(async {
            Outcome::Ok(clients(plan).await?.into_iter().map(producer).collect())
        })?;
        let batch_records = batch_records(plan);
        Ok(Self {
            runtime,
            producers,
            sent: 0,
            value: value(plan.size),
            batch_records,
            outstanding: FuturesUnordered::new(),
            outstanding_max: outstanding_batches(plan) * batch_records,
            acknowledged: Arc::default(),
        })
    }

    fn turn(&mut self) -> Arc<BatchProducer<RecordAggregator>> {
        let index = self.sent / self.batch_records % self.producers.len();
        self.sent += 1;
        Arc::clone(&self.producers[index])
    }
}

impl Sender for Batching {
    fn send(&mut self, count: u64) -> Outcome<()> {
        for _ in 0..count {
            let producer = self.turn();
            let record = record(&self.value, now());
            self.outstanding
                .push(Box::pin(async move { u64::from(producer.produce(record).await.is_ok()) }));
            if self.outstanding.len() == self.outstanding_max {
                // Nothing of these was looked at before; half may be done by the time of one.
                let Self { runtime, outstanding, acknowledged, .. } = self;
                let half = outstanding.len() / 2;
                let done = outstanding.take(half).fold(0, |sum, one| async move { sum + one });
                acknowledged.fetch_add(runtime.block_on(done), Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn settle(&mut self) -> Outcome<()> {
        let Self { runtime, outstanding, acknowledged, .. } = self;
        let done = outstanding.fold(0, |sum, one| async move { sum + one });
        acknowledged.fetch_add(runtime.block_on(done), Ordering::Relaxed);
        Ok(())
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    fn open_loop(&mut self, schedule: Schedule, latencies: &Arc<Latencies>) -> Outcome<()> {
        let producers = self.producers.clone();
        let (value, batch_records) = (self.value.clone(), self.batch_records);
        let mut sent = 0;
        paced::run(&self.runtime, schedule, latencies, &self.acknowledged, move || {
            let producer = Arc::clone(&producers[sent / batch_records % producers.len()]);
            sent += 1;
            let record = record(&value, now());
            Ok(async move { producer.produce(record).await.is_ok() })
        })
    }
}
