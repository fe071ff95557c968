//! The producer's settings, by the library's own checks.
#![forbid(unsafe_code)]

use kuring::{ConfigError, Settings};

use super::Check;

const SETTINGS: &str = "settings";

pub(super) fn check(settings: &Result<Settings, ConfigError>) -> Check {
    match settings {
        Err(error) => Check::problem(
            SETTINGS,
            error.to_string(),
            "change it as the message says; the checks below assume the defaults",
        ),
        Ok(settings) if !settings.unknown_keys.is_empty() => Check::warning(
            SETTINGS,
            format!("neither Kafka nor Kuring knows {}", settings.unknown_keys.join(", ")),
            "correct the spelling: unknown properties have no effect",
        ),
        Ok(settings) if !settings.jvm_only_keys.is_empty() => Check::ok(
            SETTINGS,
            format!(
                "valid; without effect outside of a JVM: {}",
                settings.jvm_only_keys.join(", ")
            ),
        ),
        Ok(settings) => Check::ok(
            SETTINGS,
            format!(
                "valid; acks={}, idempotence {}, linger {:?}",
                settings.acks,
                if settings.idempotence { "on" } else { "off" },
                settings.linger,
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    use kuring::ConfigBuilder;

    use super::*;
    use crate::doctor::Status::{Ok as Good, Problem, Warning};

    #[test]
    fn the_library_s_verdict_on_the_settings_is_shown() {
        let judge = |properties: &[(&str, &str)]| {
            let servers = ConfigBuilder::new().bootstrap_servers("localhost:9092");
            let settings = servers
                .properties(properties.iter().copied())
                .and_then(|builder| builder.settings());
            check(&settings)
        };
        assert_eq!(judge(&[]).status, Good);
        assert_eq!(judge(&[("linger", "5")]).status, Warning);
        assert_eq!(judge(&[("key.serializer", "x")]).status, Good);
        let wrong = judge(&[("acks", "2")]);
        assert_eq!(wrong.status, Problem);
        assert!(wrong.fact.contains("acks"), "{wrong:?}");
    }
}
