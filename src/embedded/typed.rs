//! Typed topics that stay on the thread of their shard: those of a producer with threads, without
//! the calls that would block the loop.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;

use super::{Embedded, Local, LocalTopic};
use crate::callback::DeliveryReport;
use crate::delivery::Delivery;
use crate::error::TrySendError;
use crate::serializer::Serializer;
use crate::typed::{TypedRecord, TypedSendError, TypedTopic};

/// A topic of an [`Embedded`] producer whose keys are `K` and whose values are `V`. Cheap to clone;
/// stays on its thread.
///
/// As [`TypedTopic`]. For the calls that block there, see [`Embedded::block_on`].
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use kuring::Producer;
/// use kuring::serializer::{Double, Text};
///
/// let producer = Producer::builder().bootstrap_servers("127.0.0.1:9092").embedded()?;
/// let prices = producer.typed_topic::<str, f64>("prices", Text, Double);
/// let delivery = producer.block_on(prices.send(("gold", &1893.25)))?;
/// println!("{:?}", producer.block_on(delivery)?.offset);
/// # Ok(())
/// # }
/// ```
///
/// Its futures stay there too:
///
/// ```compile_fail,E0277
/// # use kuring::serializer::Text;
/// fn moves<T: Send>(_: T) {}
/// let producer = kuring::Producer::builder().embedded().unwrap();
/// let topic = producer.typed_topic::<str, str>("events", Text, Text);
/// moves(topic.send(("key", "value")));
/// ```
pub struct LocalTypedTopic<K: ?Sized, V: ?Sized> {
    topic: Local<TypedTopic<K, V>>,
}

impl<K: ?Sized, V: ?Sized> Clone for LocalTypedTopic<K, V> {
    fn clone(&self) -> Self {
        Self { topic: Local::new(self.topic.inner.clone()) }
    }
}

impl<K: ?Sized, V: ?Sized> fmt::Debug for LocalTypedTopic<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topic = self.topic.inner.plain();
        f.debug_struct("LocalTypedTopic").field("topic", topic).finish_non_exhaustive()
    }
}

impl Embedded {
    /// A handle to a topic that serializes keys and values. Otherwise as [`topic`](Self::topic).
    #[must_use]
    pub fn typed_topic<K: ?Sized, V: ?Sized>(
        &self,
        name: &str,
        key: impl Serializer<K> + 'static,
        value: impl Serializer<V> + 'static,
    ) -> LocalTypedTopic<K, V> {
        LocalTypedTopic::new(self.topic(name), key, value)
    }
}

impl<K: ?Sized, V: ?Sized> LocalTypedTopic<K, V> {
    /// A topic with these serializers.
    #[must_use]
    pub fn new(
        topic: LocalTopic,
        key: impl Serializer<K> + 'static,
        value: impl Serializer<V> + 'static,
    ) -> Self {
        Self { topic: Local::new(TypedTopic::new(topic.topic, key, value)) }
    }

    /// The topic, for records that are bytes already.
    #[must_use]
    pub fn plain(&self) -> LocalTopic {
        LocalTopic::new(self.topic.inner.plain().clone())
    }

    /// The topic's name.
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        self.topic.inner.name()
    }

    /// Serializes a record and sends it without ever waiting: [`LocalTopic::try_send`].
    ///
    /// # Errors
    /// As [`TypedTopic::try_send`].
    pub fn try_send<'a>(
        &self,
        record: impl Into<TypedRecord<'a, K, V>>,
    ) -> Result<Local<Delivery>, TypedSendError<TrySendError>>
    where
        K: 'a,
        V: 'a,
    {
        self.topic.inner.try_send(record).map(Local::new)
    }

    /// Serializes a record and submits it without ever waiting: [`LocalTopic::try_submit`].
    ///
    /// # Errors
    /// As [`TypedTopic::try_submit`].
    pub fn try_submit<'a>(
        &self,
        record: impl Into<TypedRecord<'a, K, V>>,
        user_data: u64,
    ) -> Result<(), TypedSendError<TrySendError>>
    where
        K: 'a,
        V: 'a,
    {
        self.topic.inner.try_submit(record, user_data)
    }

    /// Serializes a record and sends it with a closure, which a turn calls, without ever waiting:
    /// [`LocalTopic::try_send_with`].
    ///
    /// # Errors
    /// As [`TypedTopic::try_send_with`].
    pub fn try_send_with<'a>(
        &self,
        record: impl Into<TypedRecord<'a, K, V>>,
        call: impl FnOnce(&DeliveryReport<'_>) + Send + 'static,
    ) -> Result<(), TypedSendError<TrySendError>>
    where
        K: 'a,
        V: 'a,
    {
        self.topic.inner.try_send_with(record, call)
    }

    /// Serializes a record and sends it: [`LocalTopic::send`]. Where it has to wait, something else
    /// has to run the turns. Cancel-safe. The serializers run when the future is polled first.
    ///
    /// # Errors
    /// As [`TypedTopic::send`].
    pub async fn send<'a>(
        &self,
        record: impl Into<TypedRecord<'a, K, V>>,
    ) -> Result<Local<Delivery>, TypedSendError>
    where
        K: 'a,
        V: 'a,
    {
        self.topic.inner.send(record).await.map(Local::new)
    }

    /// [`send`](Self::send) with a completion instead of a delivery: [`LocalTopic::submit`].
    ///
    /// # Errors
    /// As [`TypedTopic::submit`].
    pub async fn submit<'a>(
        &self,
        record: impl Into<TypedRecord<'a, K, V>>,
        user_data: u64,
    ) -> Result<(), TypedSendError>
    where
        K: 'a,
        V: 'a,
    {
        self.topic.inner.submit(record, user_data).await
    }

    /// [`send`](Self::send) with a closure instead of a delivery, which a turn calls:
    /// [`LocalTopic::send_with`].
    ///
    /// # Errors
    /// As [`TypedTopic::send_with`].
    pub async fn send_with<'a>(
        &self,
        record: impl Into<TypedRecord<'a, K, V>>,
        call: impl FnOnce(&DeliveryReport<'_>) + Send + 'static,
    ) -> Result<(), TypedSendError>
    where
        K: 'a,
        V: 'a,
    {
        self.topic.inner.send_with(record, call).await
    }

    /// Serializes many records and sends them, several at once: [`TypedTopic::send_batch`]. Where
    /// it has to wait, something else has to run the turns.
    ///
    /// # Errors
    /// As [`TypedTopic::send_batch`].
    pub async fn send_batch(
        &self,
        records: &[TypedRecord<'_, K, V>],
        deliveries: &mut Vec<Local<Delivery>>,
    ) -> Result<(), TypedSendError> {
        self.topic.inner.send_batch_as(records, deliveries).await
    }
}
