//! Clocks: the one that deadlines are read from, and the one that records are stamped with.
#![forbid(unsafe_code)]

use std::time::Duration;

use super::{Check, System};

const SOURCE: &str = "clock-source";
const WALL: &str = "wall-clock";

/// Reading these is a system call and a slow bus access; all others are read by the program itself.
const SLOW: &[&str] = &["hpet", "acpi_pm", "jiffies", "refined-jiffies", "pit"];
/// 2025-01-01. No machine that runs this has an earlier time, unless its clock was never set.
const EARLIEST: Duration = Duration::from_secs(1_735_689_600);

pub(super) fn check(system: &System) -> Vec<Check> {
    vec![source(system), wall(system)]
}

fn source(system: &System) -> Check {
    const FOLDER: &str = "sys/devices/system/clocksource/clocksource0";
    let available = system.text(&format!("{FOLDER}/available_clocksource")).unwrap_or_default();
    match system.text(&format!("{FOLDER}/current_clocksource")) {
        None => Check::ok(SOURCE, "not known"),
        Some(name) if SLOW.contains(&name.as_str()) => {
            let mut fast = available.split_ascii_whitespace().filter(|name| !SLOW.contains(name));
            let remedy = match fast.next() {
                Some(fast) => format!("$ echo {fast} > /{FOLDER}/current_clocksource"),
                None => "boot with tsc=reliable if the machine's TSC is (dmesg tells)".to_owned(),
            };
            Check::warning(SOURCE, format!("{name}: each reading costs a system call"), remedy)
        }
        Some(name) => Check::ok(SOURCE, name),
    }
}

fn wall(system: &System) -> Check {
    let date = date(system.wall);
    if system.wall < EARLIEST {
        Check::problem(
            WALL,
            format!("it is {date} here: the clock was never set; brokers refuse such timestamps"),
            "$ timedatectl set-ntp true",
        )
    } else if system.exists("run/systemd/timesync/synchronized") {
        Check::ok(WALL, format!("{date}, synchronised by systemd-timesyncd"))
    } else {
        Check::ok(WALL, format!("{date}; whether it is synchronised cannot be seen from here"))
    }
}

/// `2026-01-31 12:00:00 UTC`, by the calendar of 400 years that starts on 1 March 0000.
fn date(since_1970: Duration) -> String {
    let seconds = since_1970.as_secs();
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Status::{Ok as Good, Problem, Warning};
    use crate::doctor::tests::Planted;

    #[test]
    fn slow_clock_sources_are_a_warning_with_the_fast_one_named() {
        let folder = "sys/devices/system/clocksource/clocksource0";
        let (current, available) =
            (format!("{folder}/current_clocksource"), format!("{folder}/available_clocksource"));
        let judge = |one, all| source(&Planted::new(&[(&current, one), (&available, all)]).system);
        assert_eq!(judge("tsc\n", "tsc hpet").status, Good);
        assert_eq!(judge("kvm-clock", "").status, Good);
        assert_eq!(judge("", "").status, Good);
        let slow = judge("hpet\n", "hpet acpi_pm tsc\n");
        assert_eq!(slow.status, Warning);
        assert!(slow.remedy.unwrap().starts_with("$ echo tsc > /sys"));
        assert!(judge("hpet", "hpet acpi_pm").remedy.unwrap().contains("tsc=reliable"));
    }

    #[test]
    fn a_clock_that_was_never_set_is_a_problem() {
        let mut planted = Planted::new(&[("run/systemd/timesync/synchronized", "")]);
        let check = wall(&planted.system);
        assert_eq!(check.status, Good);
        assert!(check.fact.contains("timesyncd"), "{check:?}");
        planted.system.wall = Duration::from_secs(5);
        assert_eq!(wall(&planted.system).status, Problem);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        let of = |seconds| date(Duration::from_secs(seconds));
        assert_eq!(of(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(of(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(of(1_735_689_599), "2024-12-31 23:59:59 UTC");
        assert_eq!(of(4_107_542_400), "2100-03-01 00:00:00 UTC");
        assert!(!date(Duration::MAX / 2).is_empty());
    }
}
