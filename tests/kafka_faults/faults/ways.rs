//! Links between the client and the brokers that are slow, cut, silent or down.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::scene::{REQUEST_TIMEOUT, Scene};
use crate::support::deadline::Deadline;
use crate::support::proxy::{Proxy, Weather};

/// Long and uneven round trips.
pub(super) fn delay(scene: &mut Scene<'_>) {
    scene.progress();
    for ms in [20, 300, 80] {
        scene.stage.weather(Weather::Delay(Duration::from_millis(ms)));
        scene.hold(Duration::from_secs(3));
    }
    scene.stage.weather(Weather::Clear);
    scene.progress();
}

/// First about what the traffic needs, then far too little.
pub(super) fn throttle(scene: &mut Scene<'_>) {
    scene.progress();
    for bytes_per_second in [300_000, 20_000] {
        scene.stage.weather(Weather::Throttle(bytes_per_second));
        scene.hold(Duration::from_secs(4));
    }
    scene.stage.weather(Weather::Clear);
    scene.progress();
}

/// Connections that live for some kilobytes, and die in the middle of a request or an answer.
pub(super) fn cut(scene: &mut Scene<'_>) {
    scene.progress();
    for bytes_max in [200_000, 20_000, 2_000] {
        scene.stage.weather(Weather::Cut(bytes_max));
        scene.hold(Duration::from_secs(4));
        scene.stage.weather(Weather::Clear);
        scene.stage.proxies[0].cut_all();
        scene.progress();
    }
    let cuts: u64 = scene.stage.proxies.iter().map(|proxy| proxy.cuts()).sum();
    scene.note = format!("{cuts} connections cut so far on this line");
}

/// Answers that come late, and answers that come too late: each request was carried out.
pub(super) fn hold_answers(scene: &mut Scene<'_>) {
    for time in [REQUEST_TIMEOUT / 4, REQUEST_TIMEOUT * 2] {
        scene.progress();
        scene.stage.weather(Weather::HoldAnswers);
        scene.hold(time);
        scene.stage.weather(Weather::Clear);
    }
    scene.progress();
}

/// Records expire, though all were written; the answers come when nobody waits for them.
pub(super) fn hold_answers_while_records_expire(scene: &mut Scene<'_>) {
    scene.progress();
    scene.stage.weather(Weather::HoldAnswers);
    scene.hold(Duration::from_secs(9));
    scene.stage.weather(Weather::Clear);
    scene.progress();
}

/// Nobody reads any more: the receive windows close, requests stay half sent, and records expire
/// while the kernel holds their bytes. What was in the windows gets through in the end.
pub(super) fn close_windows_while_records_expire(scene: &mut Scene<'_>) {
    scene.progress();
    scene.stage.weather(Weather::HoldAll);
    let mut closed = Vec::new();
    let deadline = Deadline::after(Duration::from_secs(10));
    while closed.len() < scene.stage.proxies.len() {
        deadline.check(|| format!("three closed windows: {closed:?}"));
        scene.hold(Duration::from_millis(100));
        closed = scene.stage.proxies.iter().flat_map(Proxy::unsent).collect();
    }
    let (bytes, connections) = (closed.iter().sum::<usize>(), closed.len());
    scene.note = format!("{connections} windows closed before {bytes} bytes");
    scene.hold(Duration::from_secs(11));
    scene.stage.weather(Weather::Clear);
    scene.progress();
}

/// One way after the other is stopped, in its own manner, and they are released in another order.
pub(super) fn stop_one_after_the_other(scene: &mut Scene<'_>) {
    let manners = [Weather::HoldAll, Weather::HoldAnswers, Weather::Cut(5_000)];
    for round in 0..3 {
        scene.progress();
        let proxies = &scene.stage.proxies;
        for index in 0..proxies.len() {
            proxies[(index + round) % proxies.len()].set(manners[index]);
            scene.hold(Duration::from_secs(1));
        }
        for index in 0..proxies.len() {
            proxies[(index * 2 + round) % proxies.len()].set(Weather::Clear);
            scene.hold(Duration::from_secs(1));
        }
    }
    scene.progress();
}

/// No reset and no end of stream: bytes are lost on the way, shorter and longer than
/// request.timeout.ms.
pub(super) fn take_the_link_down(scene: &mut Scene<'_>) {
    for time in [REQUEST_TIMEOUT / 2, REQUEST_TIMEOUT * 2] {
        scene.progress();
        let link = scene.stage.link.as_ref().expect("played only where there is one");
        link.take_down();
        scene.hold(time);
        link.bring_up();
    }
    scene.progress();
}
