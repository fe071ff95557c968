//! The partitions that unkeyed records may go to, and how likely each of them is.
//!
//! Source: ADP-1 to ADP-4, AVL-2 and RCK-1 of the Java producer; KIP-794, KIP-1123.
#![forbid(unsafe_code)]

use super::sticky::random_below;

/// What is known of one partition.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// It has a leader.
    pub is_led: bool,
    /// Its leader is in the client's rack, which is asked for.
    pub is_near: bool,
    /// Its leader has not taken what is there for it for too long (AVL-1).
    pub is_blocked: bool,
    /// Batches that wait to be sent; None when there never was one.
    pub queued: Option<u32>,
}

/// A choice of partitions with weights. Its memory is used again when it is filled again.
#[derive(Debug, Default)]
pub struct Table {
    /// What it was made of.
    made_of: Version,
    /// Until when it counts (nanoseconds on the process's clock).
    good_until: u64,
    partitions: Vec<i32>,
    /// Weights added up; empty where all partitions are alike.
    sums: Vec<u64>,
}

/// Which metadata a table is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Version {
    /// The number of the snapshot.
    pub generation: u64,
    /// How many partitions the topic has.
    pub count: u32,
}

/// What a partition is good for; only the best ones are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Grade {
    Leaderless,
    Blocked,
    Available,
    Near,
}

impl Candidate {
    fn grade(self) -> Grade {
        match self {
            Self { is_led: false, .. } => Grade::Leaderless,
            Self { is_blocked: true, .. } => Grade::Blocked,
            Self { is_near: false, .. } => Grade::Available,
            _ => Grade::Near,
        }
    }
}

impl Table {
    /// Whether it was made of this metadata, and counts yet.
    pub fn is_current(&self, version: Version, now: u64) -> bool {
        self.made_of == version && now < self.good_until
    }

    /// Fills it: with the partitions near by, or else those that can be had, or else those that
    /// have a leader, or else all. `candidates` are those of all partitions, in order. With
    /// `is_adaptive`, and once each had a batch, weighted by how short their queues are.
    pub fn fill(
        &mut self,
        version: Version,
        good_until: u64,
        is_adaptive: bool,
        candidates: impl Iterator<Item = Candidate>,
    ) {
        (self.made_of, self.good_until) = (version, good_until);
        self.partitions.clear();
        self.sums.clear();
        self.partitions.reserve(version.count as usize);
        self.sums.reserve(version.count as usize);
        let (mut best, mut is_complete) = (Grade::Leaderless, true);
        for (candidate, partition) in candidates.zip(0_i32..) {
            is_complete &= candidate.queued.is_some();
            let grade = candidate.grade();
            if grade > best {
                best = grade;
                self.partitions.clear();
                self.sums.clear();
            }
            if grade == best {
                self.partitions.push(partition);
                self.sums.push(u64::from(candidate.queued.unwrap_or(0)));
            }
        }
        // ADP-1, ADP-3, AVL-2.
        if is_adaptive && is_complete && best >= Grade::Available {
            self.weigh();
        } else {
            self.sums.clear();
        }
    }

    /// ADP-2: from queue lengths to sums of weights; ADP-3: equal queues need none.
    fn weigh(&mut self) {
        let longest = self.sums.iter().copied().max().unwrap_or(0);
        if self.sums.iter().all(|queued| *queued == longest) {
            return self.sums.clear();
        }
        let mut sum = 0;
        for entry in &mut self.sums {
            sum += longest + 1 - *entry;
            *entry = sum;
        }
    }

    /// A partition by chance; None from a table that was made for another number of partitions.
    pub fn draw(&self, count: u32) -> Option<i32> {
        if self.made_of.count != count {
            return None;
        }
        let at = match self.sums.last() {
            None => random_below(self.partitions.len() as u64) as usize,
            Some(total) => self.at(random_below(*total)),
        };
        self.partitions.get(at).copied()
    }

    /// The place of a number below the sum of the weights.
    fn at(&self, number: u64) -> usize {
        self.sums.partition_point(|sum| *sum <= number)
    }

    /// The partition of a turn, all being equal; None as for [`draw`](Self::draw).
    pub fn in_turn(&self, turn: u32, count: u32) -> Option<i32> {
        if self.made_of.count != count {
            return None;
        }
        let at = (turn as usize).checked_rem(self.partitions.len())?;
        self.partitions.get(at).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: Version = Version { generation: 1, count: 0 };

    fn queued(batches: u32) -> Candidate {
        Candidate { is_led: true, is_near: false, is_blocked: false, queued: Some(batches) }
    }

    fn filled(candidates: &[Candidate]) -> Table {
        let mut table = Table::default();
        let version = Version { count: candidates.len() as u32, ..VERSION };
        table.fill(version, 1, true, candidates.iter().copied());
        table
    }

    fn sums_of(queues: &[u32]) -> Vec<u64> {
        filled(&queues.iter().map(|length| queued(*length)).collect::<Vec<_>>()).sums
    }

    /// How often each partition is drawn, over all numbers.
    fn frequencies(table: &Table, count: usize) -> Vec<u64> {
        let mut drawn = vec![0; count];
        for number in 0..*table.sums.last().unwrap() {
            drawn[table.partitions[table.at(number)] as usize] += 1;
        }
        drawn
    }

    #[test]
    fn adp_2_weights_are_those_of_the_upstream_examples() {
        assert_eq!(sums_of(&[0, 3, 1]), [4, 5, 8]);
        let tests: [(&[u32], &[u64]); 3] = [
            (&[0, 3, 1], &[4, 1, 3]),
            (&[5, 0, 3, 0, 1], &[1, 6, 3, 6, 5]),
            (&[1, 7, 2], &[7, 1, 6]),
        ];
        for (queues, weights) in tests {
            let candidates: Vec<_> = queues.iter().map(|length| queued(*length)).collect();
            assert_eq!(frequencies(&filled(&candidates), queues.len()), weights, "{queues:?}");
        }
    }

    #[test]
    fn adp_2_draws_follow_the_weights() {
        let table = filled(&[5, 0, 3, 0, 1].map(queued));
        let mut drawn = [0_u32; 5];
        (0..21_000).for_each(|_| drawn[table.draw(5).unwrap() as usize] += 1);
        for (found, weight) in drawn.into_iter().zip([1, 6, 3, 6, 5]) {
            assert!(found.abs_diff(weight * 1000) < 400, "{drawn:?}");
        }
    }

    #[test]
    fn adp_3_equal_queues_and_single_partitions_are_drawn_alike() {
        assert!(sums_of(&[4, 4, 4]).is_empty());
        assert!(sums_of(&[9]).is_empty());
        let table = filled(&[queued(4); 3]);
        let mut drawn = [0_u32; 3];
        (0..9000).for_each(|_| drawn[table.draw(3).unwrap() as usize] += 1);
        assert!(drawn.iter().all(|found| found.abs_diff(3000) < 400), "{drawn:?}");
    }

    #[test]
    fn adp_1_without_a_batch_in_each_partition_queues_do_not_count() {
        let fresh = Candidate { queued: None, ..queued(0) };
        let table = filled(&[queued(9), fresh, queued(0)]);
        assert!(table.sums.is_empty() && table.partitions == [0, 1, 2]);
        let mut plain = Table::default();
        let version = Version { count: 2, ..VERSION };
        plain.fill(version, 1, false, [queued(9), queued(0)].into_iter());
        assert!(plain.sums.is_empty(), "adaptive partitioning is off");
    }

    #[test]
    fn adp_4_leaderless_partitions_are_not_in_the_table() {
        let lost = Candidate { is_led: false, ..queued(0) };
        let table = filled(&[queued(0), lost, queued(3), queued(1)]);
        assert_eq!(table.partitions, [0, 2, 3]);
        assert_eq!(frequencies(&table, 4), [4, 0, 1, 3]);
        assert_eq!(filled(&[lost, lost]).partitions, [0, 1], "STK-1: all if none has one");
    }

    #[test]
    fn avl_2_blocked_partitions_are_left_out_unless_nothing_is_left() {
        let blocked = Candidate { is_blocked: true, ..queued(9) };
        let table = filled(&[blocked, queued(2), blocked]);
        assert_eq!((&table.partitions[..], table.draw(3)), (&[1][..], Some(1)));
        let all = filled(&[blocked, Candidate { queued: Some(1), ..blocked }]);
        assert!(all.partitions == [0, 1] && all.sums.is_empty(), "uniform over all");
        let lost = Candidate { is_led: false, ..queued(0) };
        assert_eq!(filled(&[lost, blocked]).partitions, [1], "a leader is better than none");
    }

    #[test]
    fn rck_1_leaders_in_the_rack_go_first_with_weights_of_their_own() {
        let near = |batches| Candidate { is_near: true, ..queued(batches) };
        let table = filled(&[near(2), queued(9), near(0), queued(0)]);
        assert_eq!(table.partitions, [0, 2]);
        assert_eq!(table.sums, [1, 4], "the long queue elsewhere does not count");
        let blocked = Candidate { is_blocked: true, ..near(0) };
        let lost = Candidate { is_led: false, ..near(0) };
        assert_eq!(filled(&[blocked, queued(0), lost]).partitions, [1], "nobody near by is there");
    }

    #[test]
    fn turns_go_round_the_partitions_that_have_a_leader() {
        let lost = Candidate { is_led: false, ..queued(0) };
        let table = filled(&[queued(0), lost, queued(0)]);
        let turns: Vec<_> = (0..4).map(|turn| table.in_turn(turn, 3)).collect();
        assert_eq!(turns, [Some(0), Some(2), Some(0), Some(2)]);
        assert_eq!((table.in_turn(0, 4), table.draw(4)), (None, None), "made for three");
        assert_eq!(Table::default().draw(0), None);
    }
}
