//! What a run has shown, as a table for people and as JSON for programs.
#![forbid(unsafe_code)]

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::judge::{KINDS, VERDICTS};
use super::run::{Outcome, Plan};

/// The verdict table, the violations by kind, and the first of them.
pub fn text(plan: &Plan, outcome: &Outcome) -> String {
    let mut out = String::new();
    let judgement = &outcome.judgement;
    let sent: u64 = judgement.table.iter().flatten().sum();
    let _ = writeln!(
        out,
        "{sent} records sent to {} ({} partitions, run {:016x}) in {:.1} s, \
         {} read back in {:.1} s",
        plan.topic,
        outcome.partitions,
        outcome.run,
        outcome.produced_in.as_secs_f64(),
        judgement.read,
        outcome.read_in.as_secs_f64(),
    );
    let _ = writeln!(out, "\n{:<24}{:>12}{:>12}{:>12}", "verdict", "found 0", "found 1", "more");
    for (name, [none, one, more]) in VERDICTS.iter().zip(judgement.table) {
        let _ = writeln!(out, "{name:<24}{none:>12}{one:>12}{more:>12}");
    }
    out.push('\n');
    for (kind, count) in KINDS.iter().zip(judgement.violations) {
        let is_unjudged = *kind == KINDS[ROUTING] && !judgement.is_routing_judged;
        let count = if is_unjudged { "not judged".to_owned() } else { count.to_string() };
        let _ = writeln!(out, "{kind:<24}{count:>12}");
    }
    if judgement.foreign > 0 {
        let _ = writeln!(out, "{:<24}{:>12}", "records of others", judgement.foreign);
    }
    for (kind, count) in &outcome.errors {
        let _ = writeln!(out, "error {kind:<18}{count:>12}");
    }
    if let Some(error) = &outcome.stopped_by {
        let _ = writeln!(out, "\nSending ended early: {error}");
    }
    let all: u64 = judgement.violations.iter().sum();
    if all == 0 {
        out.push_str("\nNothing is violated.\n");
        return out;
    }
    let listed = judgement.listed.len();
    let _ = writeln!(out, "\n{all} violations, the first {listed}:");
    for violation in &judgement.listed {
        let _ = writeln!(out, "  {violation}");
    }
    out
}

/// The kind that needs keys.
const ROUTING: usize = 4;

/// One object: topic, run, partitions, sent, read, foreign, seconds, verdicts (each with found_0,
/// found_1, found_more), violations by kind, routing_judged, errors by kind, stopped_by, first (the
/// sentences), clean.
pub fn json(plan: &Plan, outcome: &Outcome) -> Value {
    let judgement = &outcome.judgement;
    let row =
        |[none, one, more]: [u64; 3]| json!({"found_0": none, "found_1": one, "found_more": more});
    let key = |name: &&str| name.replace(' ', "_");
    let verdicts: Map<String, Value> =
        VERDICTS.iter().map(key).zip(judgement.table.map(row)).collect();
    let violations: Map<String, Value> =
        KINDS.iter().map(key).zip(judgement.violations.map(Value::from)).collect();
    let first: Vec<String> = judgement.listed.iter().map(ToString::to_string).collect();
    json!({
        "topic": plan.topic,
        "run": format!("{:016x}", outcome.run),
        "partitions": outcome.partitions,
        "sent": judgement.table.iter().flatten().sum::<u64>(),
        "read": judgement.read,
        "foreign": judgement.foreign,
        "produce_seconds": outcome.produced_in.as_secs_f64(),
        "read_seconds": outcome.read_in.as_secs_f64(),
        "verdicts": verdicts,
        "violations": violations,
        "routing_judged": judgement.is_routing_judged,
        "errors": outcome.errors,
        "stopped_by": outcome.stopped_by,
        "first": first,
        "clean": judgement.is_clean(),
    })
}
