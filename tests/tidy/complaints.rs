//! Each rule, shown to complain of what it is there for, and of nothing else.

use super::rules;
use super::source::Source;

fn one(path: &str, text: &str) -> Source {
    Source::new(path, text)
}

/// The one complaint, which has this in it.
#[track_caller]
fn complains(found: Vec<String>, part: &str) {
    assert!(found.len() == 1 && found[0].contains(part), "{part:?} is not in {found:?}");
}

#[track_caller]
fn is_content(found: Vec<String>) {
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn an_upward_import_is_found() {
    let layers = |path, text| rules::layers(&one(path, text));
    let upward = "use std::fmt;\nuse crate::driver::Frame;";
    complains(
        layers("src/sender/mod.rs", upward),
        "src/sender/mod.rs:2: sender may not use driver",
    );
    complains(layers("src/ids.rs", "fn x() -> crate::clock::Time { todo }"), "ids.rs:1");
    let tree = "use crate::{ids::BrokerId, protocol::{wire::Reader, error_code::ErrorCode}};";
    complains(
        layers("src/error.rs", "use crate::protocol::{wire::Reader, error_code::E};"),
        "wire",
    );
    assert_eq!(layers("src/error.rs", tree).len(), 2);
    complains(layers("src/driver/epoll.rs", "use super::super::sender::Sender;"), "sender");
    complains(layers("src/record.rs", "use super::delivery::Delivery;"), "delivery");
    complains(layers("src/new_thing.rs", ""), "has no layer");
}

#[test]
fn imports_of_the_own_layer_and_of_lower_ones_are_not() {
    let layers = |path, text| rules::layers(&one(path, text));
    is_content(layers("src/sender/mod.rs", "use crate::delivery::CellIndex; use super::ids::Id;"));
    is_content(layers("src/driver/tokio_uring/alarm.rs", "use super::super::Waker;"));
    is_content(layers("src/topic.rs", "use crate::producer::Inner;"));
    is_content(layers("src/ids.rs", "mod inside { use super::Id; }"));
    is_content(layers("src/ids.rs", "//! See [`crate::driver::Frame`].\n/* crate::shard::x */"));
    is_content(layers("src/ids.rs", "#[cfg(test)] mod tests { use crate::driver::Frame; }"));
    is_content(layers("src/sender/tests.rs", "use crate::driver::Frame;"));
    is_content(layers("src/sender/tests/rig.rs", "use crate::driver::Frame;"));
}

#[test]
fn unsafe_outside_the_census_or_uncounted_is_found() {
    let forbidden = "#![forbid(unsafe_code)]\n";
    let census = [("src/pool.rs", 2)];
    let check = |path, text: &str| rules::census(&[&one(path, text)], &census[..0]);
    complains(check("src/a.rs", "#![forbid(unsafe_code)] unsafe impl Send for A {}"), "not in");
    complains(check("src/a.rs", "fn safe() {}"), "write #![forbid(unsafe_code)]");
    complains(check("src/a.rs", "#![deny(unsafe_code)] fn safe() {}"), "write #![forbid");
    is_content(check("src/a.rs", forbidden));
    is_content(check("src/a.rs", "#![forbid(unsafe_code)] // unsafe\nconst X: &str = \"unsafe\";"));

    let pool = one("src/pool.rs", "fn a() { unsafe { b() }; unsafe { c() } }");
    is_content(rules::census(&[&pool], &census));
    let grown = one("src/pool.rs", "fn a() { unsafe { b() }; unsafe { c() }; unsafe { d() } }");
    complains(rules::census(&[&grown], &census), "3 times unsafe, the census says 2");
    complains(rules::census(&[], &census), "not there");
    let lib = one("src/lib.rs", "#![deny(unsafe_code)] mod pool;");
    is_content(rules::census(&[&lib, &pool], &census));
}

#[test]
fn an_import_away_from_its_home_is_found() {
    let homes = |path, text| rules::homes(&one(path, text));
    complains(homes("src/topic.rs", "use arc_swap::ArcSwap;"), "another home");
    complains(homes("src/shard.rs", "use std::{fmt, net::{SocketAddr, TcpStream}};"), "TcpStream");
    complains(homes("src/config/value.rs", "use std::net::SocketAddr;"), "SocketAddr");
    complains(homes("src/sender/mod.rs", "use std::thread;"), "std::thread");
    complains(homes("src/topic.rs", "fn f() { std::thread::spawn(|| ()); }"), "std::thread");
    complains(homes("src/shard.rs", "fn f() { let now = Instant::now(); }"), "take `now`");
    complains(homes("src/clock.rs", "fn f() { std::time::SystemTime::now(); }"), "wall_ms");
    complains(
        homes("src/sender/drain.rs", "use crate::clock; fn f() { clock::now(); }"),
        "argument",
    );
    complains(homes("src/sender/drain.rs", "use crate::clock::now_nanos;"), "argument");
    complains(homes("src/metadata/mod.rs", "use socket2;"), "socket2");
}

#[test]
fn an_import_in_its_home_is_not() {
    let homes = |path, text| rules::homes(&one(path, text));
    is_content(homes("src/metadata/cluster.rs", "use arc_swap::ArcSwap;"));
    is_content(homes("src/sender/mod.rs", "use core::net::SocketAddr;"));
    is_content(homes("src/producer.rs", "use std::thread::JoinHandle;"));
    is_content(homes("src/driver/dns.rs", "use std::thread; use super::tokio_uring;"));
    is_content(homes("src/sender/drain.rs", "fn f() { clock::from_nanos(opened); }"));
    is_content(homes("src/topic.rs", "use rustix::thread::CpuSet; use rustix::time::x;"));
    is_content(homes("src/topic.rs", "#[test] fn f() { std::thread::scope(|s| ()); }"));
}

#[test]
fn a_file_that_no_mod_line_reaches_is_found() {
    let lib = one("src/lib.rs", "mod a; pub mod b;");
    let a = one("src/a.rs", "mod deep; #[cfg(test)] mod tests;");
    let b = one("src/b/mod.rs", "");
    let (deep, tests) = (one("src/a/deep.rs", ""), one("src/a/tests.rs", ""));
    is_content(rules::unreached(&[&lib, &a, &b, &deep, &tests]));
    let lost = one("src/b/lost.rs", "");
    complains(rules::unreached(&[&lib, &b, &lost]), "src/b/lost.rs");
}

#[test]
fn what_is_left_behind_is_found() {
    let leftovers = |text: &str| rules::leftovers(&one("src/a.rs", text));
    complains(leftovers("// nothing but a comment\n"), "no code");
    complains(leftovers(&format!("fn f() {{}} // {}", "é".repeat(88))), "101 columns");
    is_content(leftovers(&format!("fn f() {{}} // {}", "é".repeat(87))));
    complains(leftovers("fn f() {\n    dbg!(1);\n}"), "src/a.rs:2: dbg!");
    complains(leftovers("fn f() { todo!() }"), "todo!");
    complains(leftovers(concat!("fn f() {} // FIX", "ME: later")), "fix it");
    complains(leftovers(concat!("fn f() {} // TO", "DO")), "why not now");
    complains(leftovers(concat!("fn f() {} // TO", "DO later")), "why not now");
    is_content(leftovers(concat!("fn f() {} // TO", "DO: sort, once the table is long")));
    is_content(leftovers("const X: &str = \"dbg!(1)\"; // dbg!(x) shows x"));
}

#[test]
fn a_name_that_says_nothing_is_found() {
    let names = |text: &str| rules::names(&one("src/a.rs", text));
    complains(names("struct BufferManager;"), "BufferManager: not manager: name what it decides");
    complains(names("fn send_helper() {}"), "not helper");
    complains(names("const COMMON_SIZE: u8 = 1;"), "not common");
    complains(names("fn do_send() {}"), "not do");
    complains(names("fn process_batch() {}"), "handle_");
    complains(names("use super::r#misc;"), "misc");
    is_content(names("fn metadata(done: Down, process: u8, random: Information) {}"));
    is_content(names("fn f() { tracing::info!(\"data\"); epoll(PhantomData, event.data.u64()); }"));
}

#[test]
fn a_function_that_grows_past_the_fence_is_found() {
    let source = |lines: usize| {
        let body = "    step();\n".repeat(lines - 3);
        one("src/a.rs", &format!("struct A;\nfn grown(\n) {{\n{body}}}\ntrait T {{ fn f(); }}\n"))
    };
    is_content(rules::ratchet(&source(70)));
    complains(rules::ratchet(&source(71)), "src/a.rs:2: fn grown has 71 lines");
    complains(rules::ratchet(&source(75)), "75");
    is_content(rules::ratchet(&source(76)));
    complains(rules::long_functions(&source(76)), "76");
    is_content(rules::long_functions(&source(75)));
}

#[test]
fn text_that_looks_like_code_is_not_code() {
    let text = r##"
        fn f<'a>(x: &'a str) -> char { let _ = ('"', '\'', '{', b'"', br#"unsafe "{"#, "\"{"); '}' }
        /* outer /* unsafe */ still a comment */ fn g() {}
    "##;
    let source = one("src/a.rs", text);
    let found: Vec<_> = rules::functions(&source).into_iter().map(|it| it.name).collect();
    assert_eq!(found, ["f", "g"]);
    assert!(source.tokens.iter().all(|token| token.text != "unsafe"));
}
