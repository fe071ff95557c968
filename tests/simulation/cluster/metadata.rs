//! Metadata, ApiVersions and InitProducerId requests.
#![forbid(unsafe_code)]

use std::rc::Rc;

use super::answers::{self, Described};
use super::images::Image;
use super::links::Step;
use super::plan::FaultKind;
use super::requests::{Header, Metadata, TopicRef};
use super::{Cluster, codes};

impl Cluster {
    pub(super) fn api_versions(
        &mut self,
        connection: u64,
        broker: i32,
        ticket: u64,
        header: &Header,
    ) -> Step {
        let line = self.broker(broker).line;
        let throttle_ms = self.throttle();
        let answer = answers::api_versions(header, line, throttle_ms);
        self.conclude(connection, ticket, answer)
    }

    pub(super) fn init_producer_id(
        &mut self,
        connection: u64,
        ticket: u64,
        header: &Header,
    ) -> Step {
        let said = if self.faults.strikes(FaultKind::InitRetriable) {
            Err(*self.faults.of(FaultKind::InitRetriable).pick(codes::INIT_RETRIABLE))
        } else if self.faults.strikes(FaultKind::InitDenied) {
            Err(codes::CLUSTER_DENIED)
        } else {
            let id = 1_000 * (1 + self.producer_ids.len() as i64);
            self.producer_ids.push(id);
            Ok(id)
        };
        let throttle_ms = self.throttle();
        self.conclude(connection, ticket, answers::init_producer_id(header, throttle_ms, said))
    }

    pub(super) fn metadata(
        &mut self,
        connection: u64,
        broker: i32,
        ticket: u64,
        header: &Header,
        asked: &Metadata<'_>,
    ) -> Step {
        let throttle_ms = self.throttle();
        if asked.topics.is_none() {
            self.account.violation("a producer asks for all topics".into());
        }
        if header.version >= 13 && self.faults.strikes(FaultKind::Rebootstrap) {
            let code = codes::REBOOTSTRAP_REQUIRED;
            let answer = answers::metadata(header, throttle_ms, &[], &[], code);
            return self.conclude(connection, ticket, answer);
        }
        if asked.may_create {
            self.create_wanted(broker, asked);
        }
        let image = if self.faults.strikes(FaultKind::MetadataStale) {
            let choice = self.faults.of(FaultKind::MetadataStale).next();
            self.old_image(choice)
        } else {
            self.image_of(broker)
        };
        let wanted: Vec<TopicRef<'_>> = match &asked.topics {
            Some(topics) => topics.clone(),
            None => image.topics.keys().map(|name| TopicRef::Name(name)).collect(),
        };
        let topics: Vec<_> = wanted.iter().filter_map(|it| self.describe(&image, *it)).collect();
        let is_empty = self.faults.strikes(FaultKind::MetadataEmpty);
        let brokers = if is_empty { &[][..] } else { answers::endpoints(&image) };
        let answer = answers::metadata(header, throttle_ms, brokers, &topics, codes::NONE);
        self.conclude(connection, ticket, answer)
    }

    /// Creates those topics that the plan has and the cluster does not. A broker that is cut off
    /// cannot.
    fn create_wanted(&mut self, broker: i32, asked: &Metadata<'_>) {
        if !self.is_linked(broker) {
            return;
        }
        for topic in asked.topics.iter().flatten() {
            if let TopicRef::Name(name) = topic
                && let Some(planned) = self.topic_plan(name)
                && self.plan.topics[planned].is_automatic
            {
                self.create(planned, self.plan.topics[planned].partitions);
            }
        }
    }

    /// A topic as the image has it, or as a fault does; None leaves it out.
    fn describe<'a>(
        &mut self,
        image: &'a Rc<Image>,
        wanted: TopicRef<'a>,
    ) -> Option<Described<'a>> {
        if self.faults.strikes(FaultKind::MetadataPartial) {
            return None;
        }
        let found = match wanted {
            TopicRef::Name(name) => image.topics.get_key_value(name),
            TopicRef::Id(id) => image.topics.iter().find(|(_, topic)| topic.id == id),
        };
        let name = match wanted {
            TopicRef::Name(name) => Some(name),
            TopicRef::Id(_) => found.map(|(name, _)| &**name),
        };
        let refused = |code| Some(Described { code, name, image: None, broken: None });
        if self.faults.strikes(FaultKind::MetadataTopicError) {
            let codes = [codes::UNKNOWN_TOPIC, codes::LEADER_NOT_AVAILABLE];
            return refused(*self.faults.of(FaultKind::MetadataTopicError).pick(&codes));
        }
        if self.faults.strikes(FaultKind::MetadataDenied) {
            let codes = [codes::TOPIC_DENIED, codes::INVALID_TOPIC];
            return refused(*self.faults.of(FaultKind::MetadataDenied).pick(&codes));
        }
        let Some((_, topic)) = found else {
            return match wanted {
                TopicRef::Name(_) => refused(codes::UNKNOWN_TOPIC),
                TopicRef::Id(_) => refused(codes::UNKNOWN_TOPIC_ID),
            };
        };
        if !topic.is_ready {
            return refused(codes::LEADER_NOT_AVAILABLE);
        }
        let mut broken = None;
        if self.faults.strikes(FaultKind::MetadataPartitionError) {
            let random = self.faults.of(FaultKind::MetadataPartitionError);
            let codes = [
                codes::LEADER_NOT_AVAILABLE,
                codes::REPLICA_NOT_AVAILABLE,
                codes::LISTENER_NOT_FOUND,
            ];
            broken = Some((random.index(topic.partitions.len()), *random.pick(&codes)));
        }
        Some(Described { code: codes::NONE, name, image: Some(topic), broken })
    }
}
