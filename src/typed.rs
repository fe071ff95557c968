//! Records whose keys and values are types: a topic handle with serializers.
//!
//! Owns:     nothing but the serializers: a record takes the way of every other one from here.
//! Thread:   any; serializers run on the thread that sends.
//! Never:    claims before both parts of a record are bytes, so that a serializer that fails, or
//!           panics, leaves nothing behind.
#![forbid(unsafe_code)]

mod record;
mod scratch;
mod serializers;

use std::fmt;
use std::sync::Arc;

use crate::callback::DeliveryReport;
use crate::delivery::Delivery;
use crate::error::{SendError, TrySendError};
use crate::producer::Producer;
use crate::record::Record;
use crate::serializer::{Field, SerializeError, Serializer};
use crate::topic::{self, Topic};
pub use record::TypedRecord;
use scratch::{Parts, Scratch, Slots};
use serializers::Serializers;

/// Why a typed record was not taken. `E` is what the plain call of the same name returns.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TypedSendError<E: std::error::Error + 'static = SendError> {
    /// A serializer refused the key or the value. Nothing of the record was sent; the others are
    /// not concerned.
    #[error("the record's {field} cannot be serialized: {source}")]
    Serialize {
        /// Which one.
        field: Field,
        /// What the serializer said.
        source: SerializeError,
    },
    /// As the plain call.
    #[error(transparent)]
    Send(E),
}

/// A topic whose keys are `K` and whose values are `V`. Cheap to clone, shared between threads.
///
/// Each send serializes the key and the value first, into memory of the calling thread that is used
/// again: that allocates nothing in the steady state, as far as the serializers do not and a part
/// is not above 1 MiB (64 KiB in a batch of records). A serializer that panics panics through the
/// call; nothing was sent then, and everything goes on.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use kuring::serializer::{Double, Text};
/// use kuring::{Producer, TypedRecord};
///
/// let producer = Producer::builder().bootstrap_servers("localhost:9092").build()?;
/// let prices = producer.typed_topic::<str, f64>("prices", Text, Double);
/// prices.blocking_send(("gold", &1893.25))?;
/// prices.blocking_send(TypedRecord::new().key("silver").value(&24.5).partition(3))?;
/// // A tombstone.
/// let delivery = prices.blocking_send(TypedRecord::new().key("lead"))?;
/// println!("{:?}", delivery.wait()?.offset);
/// # Ok(())
/// # }
/// ```
pub struct TypedTopic<K: ?Sized, V: ?Sized> {
    topic: Topic,
    serializers: Serializers<K, V>,
}

impl<K: ?Sized, V: ?Sized> Clone for TypedTopic<K, V> {
    fn clone(&self) -> Self {
        Self { topic: self.topic.clone(), serializers: self.serializers.clone() }
    }
}

impl<K: ?Sized, V: ?Sized> fmt::Debug for TypedTopic<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedTopic").field("topic", &self.topic).finish_non_exhaustive()
    }
}

impl Producer {
    /// A handle to a topic that serializes keys and values. Otherwise as [`topic`](Self::topic).
    #[must_use]
    pub fn typed_topic<K: ?Sized, V: ?Sized>(
        &self,
        name: &str,
        key: impl Serializer<K> + 'static,
        value: impl Serializer<V> + 'static,
    ) -> TypedTopic<K, V> {
        TypedTopic::new(self.topic(name), key, value)
    }
}

impl<K: ?Sized, V: ?Sized> TypedTopic<K, V> {
    /// A topic with these serializers.
    #[must_use]
    pub fn new(
        topic: Topic,
        key: impl Serializer<K> + 'static,
        value: impl Serializer<V> + 'static,
    ) -> Self {
        Self { topic, serializers: Serializers::new(key, value) }
    }

    /// The topic, for records that are bytes already.
    #[must_use]
    pub fn plain(&self) -> &Topic {
        &self.topic
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        self.topic.name()
    }

    /// Serializes a record and sends it: [`Topic::send`]. Cancel-safe. The serializers run when the
    /// future is polled first.
    ///
    /// # Errors
    /// Why the record was not taken; it was not written.
    pub async fn send<'a>(
        &self,
        record: impl Into<TypedRecord<'a, K, V>>,
    ) -> Result<Delivery, TypedSendError>
    where
        K: 'a,
        V: 'a,
    {
        let (record, mut scratch, mut slots) = (record.into(), Scratch::take(), Slots::EMPTY);
        let record = self.encode(record, scratch.first(), &mut slots)?;
        self.topic.send(record).await.map_err(TypedSendError::Send)
    }

    /// Serializes a record and sends it without ever waiting: [`Topic::try_send`].
    ///
    /// # Errors
    /// Why the record was not taken; it was not written.
    pub fn try_send<'a>(
        &self,
        record: impl Into<TypedRecord<'a, K, V>>,
    ) -> Result<Delivery, TypedSendError<TrySendError>>
    where
        K: 'a,
        V: 'a,
    {
        self.with(record.into(), |record| self.topic.try_send(record))
    }

    /// [`send`](Self::send) for threads without a runtime: [`Topic::blocking_send`].
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub fn blocking_send<'a>(
        &self,
        record: impl Into<TypedRecord<'a, K, V>>,
    ) -> Result<Delivery, TypedSendError>
    where
        K: 'a,
        V: 'a,
    {
        self.with(record.into(), |record| self.topic.blocking_send(record))
    }

    /// Serializes a record and submits it: [`Topic::submit`]. Cancel-safe. The serializers run when
    /// the future is polled first.
    ///
    /// # Errors
    /// As [`send`](Self::send): the record was not taken, and has no completion.
    pub async fn submit<'a>(
        &self,
        record: impl Into<TypedRecord<'a, K, V>>,
        user_data: u64,
    ) -> Result<(), TypedSendError>
    where
        K: 'a,
        V: 'a,
    {
        let (record, mut scratch, mut slots) = (record.into(), Scratch::take(), Slots::EMPTY);
        let record = self.encode(record, scratch.first(), &mut slots)?;
        self.topic.submit(record, user_data).await.map_err(TypedSendError::Send)
    }

    /// Serializes a record and submits it without ever waiting: [`Topic::try_submit`].
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send): the record was not taken, and has no completion.
    pub fn try_submit<'a>(
        &self,
        record: impl Into<TypedRecord<'a, K, V>>,
        user_data: u64,
    ) -> Result<(), TypedSendError<TrySendError>>
    where
        K: 'a,
        V: 'a,
    {
        self.with(record.into(), |record| self.topic.try_submit(record, user_data))
    }

    /// [`submit`](Self::submit) for threads without a runtime: [`Topic::blocking_submit`].
    ///
    /// # Errors
    /// As [`submit`](Self::submit).
    pub fn blocking_submit<'a>(
        &self,
        record: impl Into<TypedRecord<'a, K, V>>,
        user_data: u64,
    ) -> Result<(), TypedSendError>
    where
        K: 'a,
        V: 'a,
    {
        self.with(record.into(), |record| self.topic.blocking_submit(record, user_data))
    }

    /// Serializes a record and sends it with a closure for its verdict: [`Topic::send_with`].
    /// Cancel-safe. The serializers run when the future is polled first.
    ///
    /// # Errors
    /// As [`send`](Self::send): the record was not taken, and the closure is dropped.
    pub async fn send_with<'a>(
        &self,
        record: impl Into<TypedRecord<'a, K, V>>,
        call: impl FnOnce(&DeliveryReport<'_>) + Send + 'static,
    ) -> Result<(), TypedSendError>
    where
        K: 'a,
        V: 'a,
    {
        let (record, mut scratch, mut slots) = (record.into(), Scratch::take(), Slots::EMPTY);
        let record = self.encode(record, scratch.first(), &mut slots)?;
        self.topic.send_with(record, call).await.map_err(TypedSendError::Send)
    }

    /// Serializes a record and sends it with a closure, without ever waiting:
    /// [`Topic::try_send_with`].
    ///
    /// # Errors
    /// As [`try_send`](Self::try_send): the record was not taken, and the closure is dropped.
    pub fn try_send_with<'a>(
        &self,
        record: impl Into<TypedRecord<'a, K, V>>,
        call: impl FnOnce(&DeliveryReport<'_>) + Send + 'static,
    ) -> Result<(), TypedSendError<TrySendError>>
    where
        K: 'a,
        V: 'a,
    {
        self.with(record.into(), |record| self.topic.try_send_with(record, call))
    }

    /// [`send_with`](Self::send_with) for threads without a runtime: [`Topic::blocking_send_with`].
    ///
    /// # Errors
    /// As [`send_with`](Self::send_with).
    pub fn blocking_send_with<'a>(
        &self,
        record: impl Into<TypedRecord<'a, K, V>>,
        call: impl FnOnce(&DeliveryReport<'_>) + Send + 'static,
    ) -> Result<(), TypedSendError>
    where
        K: 'a,
        V: 'a,
    {
        self.with(record.into(), |record| self.topic.blocking_send_with(record, call))
    }

    /// Serializes many records and sends them, several at once: [`Topic::send_batch`]. One that
    /// cannot be serialized ends the call, when all before it were sent: their deliveries were
    /// pushed. Go on behind it to send the rest.
    ///
    /// # Errors
    /// Why a record was not taken. The records before it were: as many as deliveries were pushed.
    pub async fn send_batch(
        &self,
        records: &[TypedRecord<'_, K, V>],
        deliveries: &mut Vec<Delivery>,
    ) -> Result<(), TypedSendError> {
        self.send_batch_as(records, deliveries).await
    }

    /// [`send_batch`](Self::send_batch), with deliveries as the caller wants them.
    pub(crate) async fn send_batch_as<D: From<Delivery>>(
        &self,
        records: &[TypedRecord<'_, K, V>],
        deliveries: &mut Vec<D>,
    ) -> Result<(), TypedSendError> {
        let mut scratch = Scratch::take();
        for records in records.chunks(scratch::RUN) {
            let mut slots = [const { Slots::EMPTY }; scratch::RUN];
            let mut plain = [Record::new(); scratch::RUN];
            let (mut count, mut failed) = (0, None);
            for ((record, parts), slots) in records.iter().zip(scratch.run()).zip(&mut slots) {
                match self.encode(*record, parts, slots) {
                    Ok(record) => plain[count] = record,
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                }
                count += 1;
            }
            let sent = self.topic.send_batch_as(&plain[..count], deliveries).await;
            sent.map_err(TypedSendError::Send)?;
            failed.map_or(Ok(()), Err)?;
        }
        Ok(())
    }

    /// [`send_batch`](Self::send_batch) for threads without a runtime.
    ///
    /// # Errors
    /// As [`send_batch`](Self::send_batch).
    pub fn blocking_send_batch(
        &self,
        records: &[TypedRecord<'_, K, V>],
        deliveries: &mut Vec<Delivery>,
    ) -> Result<(), TypedSendError> {
        let sent = crate::park::block_on(self.send_batch(records, deliveries));
        sent.unwrap_or_else(|_| Err(TypedSendError::Send(topic::refused())))
    }

    /// Serializes a record, and hands it to a call that borrows it.
    fn with<'a, T, E: std::error::Error + 'static>(
        &self,
        record: TypedRecord<'a, K, V>,
        call: impl FnOnce(Record<'_>) -> Result<T, E>,
    ) -> Result<T, TypedSendError<E>> {
        let (mut scratch, mut slots) = (Scratch::take(), Slots::EMPTY);
        let record = self.encode(record, scratch.first(), &mut slots)?;
        call(record).map_err(TypedSendError::Send)
    }

    fn encode<'p, 's, E: std::error::Error + 'static>(
        &self,
        record: TypedRecord<'p, K, V>,
        parts: &'p mut Parts,
        slots: &'s mut Slots<'p>,
    ) -> Result<Record<'s>, TypedSendError<E>> {
        let encoded = self.serializers.encode(self.name(), record, parts, slots);
        encoded.map_err(|(field, source)| TypedSendError::Serialize { field, source })
    }
}
