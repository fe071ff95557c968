//! Sets of CPUs in the kernel's list form: `0-3,8`.
#![forbid(unsafe_code)]

use std::fmt;

/// One more than the highest CPU number a list may hold: what `sched_setaffinity` takes here.
pub(super) const CPU_COUNT_MAX: usize = rustix::thread::CpuSet::MAX_CPU;

/// CPU numbers in the order they were given; printed as the kernel prints them, `0-3,8`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuList(pub Vec<usize>);

impl CpuList {
    /// Reads `2`, `2,3`, `4-7`, `0,4-7`; no CPU twice, none at `CPU_COUNT_MAX` or above. `None`
    /// when the text is anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut cpus = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (cpu_number(first)?, cpu_number(last)?);
            if first > last || (first..=last).any(|cpu| cpus.contains(&cpu)) {
                return None;
            }
            cpus.extend(first..=last);
        }
        Some(Self(cpus))
    }
}

fn cpu_number(text: &str) -> Option<usize> {
    let text = text.trim();
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let cpu: usize = if all_digits { text.parse().ok()? } else { return None };
    (cpu < CPU_COUNT_MAX).then_some(cpu)
}

impl fmt::Display for CpuList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        let mut rest = self.0.as_slice();
        let mut separator = "";
        while let [first, ..] = rest {
            let run =
                rest.iter().zip(*first..).take_while(|(cpu, wanted)| **cpu == *wanted).count();
            match run {
                1 => write!(f, "{separator}{first}")?,
                _ => write!(f, "{separator}{first}-{}", first + run - 1)?,
            }
            rest = &rest[run..];
            separator = ",";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_ranges_are_read_in_the_order_given() {
        assert_eq!(CpuList::parse("2"), Some(CpuList(vec![2])));
        assert_eq!(CpuList::parse("3,2"), Some(CpuList(vec![3, 2])));
        assert_eq!(CpuList::parse("0, 4-6"), Some(CpuList(vec![0, 4, 5, 6])));
        assert_eq!(CpuList::parse("7-7"), Some(CpuList(vec![7])));
    }

    #[test]
    fn anything_else_is_no_list() {
        for text in ["", ",", "1,", "a", "-1", "1-", "3-1", "1,1", "0-3,2", "1024", "0-99999", "+1"]
        {
            assert_eq!(CpuList::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn lists_are_printed_with_runs_folded() {
        assert_eq!(CpuList(vec![0, 1, 2, 5, 7, 8]).to_string(), "0-2,5,7-8");
        assert_eq!(CpuList(vec![3, 2]).to_string(), "3,2");
        assert_eq!(CpuList::default().to_string(), "none");
    }
}
