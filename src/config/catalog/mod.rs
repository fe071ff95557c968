//! What each property means: every one of Kafka's producer, and ours, with type and default.
//!
//! What this version does with a property is not written here: [`Property::verdict`] asks
//! `keys.rs`, the one place that decides.
//!
//! Source: Apache Kafka 4.4's `ProducerConfig` and what it inherits; the words are ours.
#![forbid(unsafe_code)]

mod kafka;
mod ours;
mod security;

use std::fmt;

use super::keys::{self, Lookup};

/// A property's type, by Kafka's names for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValueType {
    /// Any text, or one of a few words.
    String,
    /// Text with commas between its entries.
    List,
    /// `true` or `false`, in any case.
    Boolean,
    /// A whole number up to 2,147,483,647.
    Int,
    /// A whole number up to 9,223,372,036,854,775,807.
    Long,
    /// A number that may have a fraction.
    Double,
    /// Text that is never shown.
    Password,
    /// The name of a class.
    Class,
    /// `0`, or a whole number with its unit: `ns`, `us`, `ms` or `s`.
    Time,
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::String => "string",
            Self::List => "list",
            Self::Boolean => "boolean",
            Self::Int => "int",
            Self::Long => "long",
            Self::Double => "double",
            Self::Password => "password",
            Self::Class => "class",
            Self::Time => "time",
        })
    }
}

/// What this version does with a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It is carried out.
    Supported,
    /// It is not carried out yet: its default is accepted, every other value is refused.
    NotYet,
    /// It only means something in a JVM, or not on a producer's side: any value is accepted, and
    /// ignored with a warning.
    Ignored {
        /// What takes its place.
        instead: &'static str,
    },
}

/// A property and its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Property {
    /// Its name, Kafka's or one that begins with `kuring.`.
    pub name: &'static str,
    /// What its values are.
    pub value_type: ValueType,
    /// The value that counts when it is not set; empty when there is none. Kafka's, but for the
    /// few whose meaning says otherwise.
    pub default: &'static str,
    /// What it does, in a sentence or two.
    pub meaning: &'static str,
}

impl Property {
    /// What this version does with it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match keys::lookup(self.name) {
            Lookup::Supported => Verdict::Supported,
            Lookup::JvmOnly(_, instead) => Verdict::Ignored { instead },
            Lookup::NotYet(_) | Lookup::Transactions | Lookup::Unknown => Verdict::NotYet,
        }
    }

    /// Whether it is one of our own, which Kafka does not know.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.name.starts_with("kuring.")
    }
}

/// Every property: Kafka's in alphabetical order within delivery, connection, metadata and
/// observation, then its security ones, then ours.
pub fn every_property() -> impl Iterator<Item = &'static Property> {
    kafka::PROPERTIES.iter().chain(security::PROPERTIES).chain(ours::PROPERTIES)
}

/// The property of this name, or the one that stands for its family (`config.providers.*`,
/// `metrics.context.*`); None when nobody knows it.
#[must_use]
pub fn property(name: &str) -> Option<&'static Property> {
    let family = keys::family(name);
    every_property().find(|property| property.name == family)
}

/// A line of the tables.
const fn row(
    name: &'static str,
    value_type: ValueType,
    default: &'static str,
    meaning: &'static str,
) -> Property {
    Property { name, value_type, default, meaning }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_property_of_the_key_table_has_its_meaning_and_no_other_one_has() {
        let described: Vec<&str> = every_property().map(|property| property.name).collect();
        let names: BTreeSet<&str> = described.iter().copied().collect();
        assert_eq!(names.len(), described.len(), "one is there twice");
        let known: BTreeSet<&str> = keys::every_name().collect();
        let lost: Vec<_> = known.symmetric_difference(&names).collect();
        assert!(lost.is_empty(), "not both in keys.rs and in src/config/catalog: {lost:?}");
    }

    #[test]
    fn the_defaults_are_those_of_the_key_table() {
        for property in every_property() {
            if let Lookup::NotYet(key) = keys::lookup(property.name) {
                assert!(
                    key.require_harmless(property.name, property.default).is_ok(),
                    "{}: {:?} is not its default in keys.rs",
                    property.name,
                    property.default
                );
            }
        }
    }

    #[test]
    fn a_default_is_of_its_property_s_type() {
        for Property { name, value_type, default, meaning } in every_property() {
            let fits = match value_type {
                ValueType::Boolean => ["true", "false"].contains(default),
                ValueType::Int => default.is_empty() || default.parse::<i32>().is_ok(),
                ValueType::Long => default.is_empty() || default.parse::<i64>().is_ok(),
                ValueType::Double => default.parse::<f64>().is_ok(),
                ValueType::Password => default.is_empty(),
                ValueType::String | ValueType::List | ValueType::Class | ValueType::Time => true,
            };
            assert!(fits, "{name}: {default:?} is no {value_type}");
            assert!(meaning.ends_with('.') && !meaning.contains('|'), "{name}: {meaning}");
        }
    }

    #[test]
    fn what_is_ignored_says_what_to_use_instead() {
        let verdict = |name| property(name).expect("it is there").verdict();
        assert_eq!(verdict("acks"), Verdict::Supported);
        assert_eq!(verdict("kuring.spin"), Verdict::Supported);
        assert_eq!(verdict("transactional.id"), Verdict::NotYet);
        assert!(
            matches!(verdict("key.serializer"), Verdict::Ignored { instead } if instead.len() > 5)
        );
        assert_eq!(property("no.such.key"), None);
        assert_eq!(property("metrics.context.service"), property("metric.reporters"));
    }
}
