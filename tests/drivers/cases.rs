//! The promises of the seam, each as a test that any driver must pass.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use kuring::driver::{Driver, Event, Frame, SocketOptions, Step};
use socket2::{Domain, SockRef, Socket, Type};

use crate::Open;
use crate::rig::{Built, PATIENCE, Rig, Seen, gather, now, pattern, single};

/// Buffers so small that a large frame goes out in many steps.
const TINY: SocketOptions = SocketOptions { send_buffer: Some(4096), receive_buffer: Some(4096) };

/// Sends what it receives back, until the end.
fn echo(mut peer: TcpStream) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut room = [0; 4096];
        while let Ok(bytes @ 1..) = peer.read(&mut room) {
            if peer.write_all(&room[..bytes]).is_err() {
                return;
            }
        }
    })
}

/// Reads everything, a few bytes at a time, through a tiny window.
fn read_slowly(mut peer: TcpStream, bytes: usize) -> thread::JoinHandle<Vec<u8>> {
    SockRef::from(&peer).set_recv_buffer_size(4096).unwrap();
    thread::spawn(move || {
        let mut all = Vec::with_capacity(bytes);
        let mut room = [0; 1009];
        while all.len() < bytes {
            match peer.read(&mut room) {
                Ok(0) | Err(_) => break,
                Ok(bytes) => all.extend_from_slice(&room[..bytes]),
            }
        }
        all
    })
}

/// Closes with a reset instead of an orderly end.
fn reset(peer: TcpStream) {
    SockRef::from(&peer).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Sends the frame, and checks that it comes back whole from the driver and from an echoing peer.
fn round_trip<D: Driver>(rig: &mut Rig<D>, id: kuring::ids::ConnectionId, built: Built) {
    let slot = id.slot as usize;
    rig.received[slot].clear();
    rig.driver.send(id, built.frame);
    let (mut frame, complete) = rig.frame_back(id);
    assert!(complete);
    rig.received_at_least(slot, built.wire.len());
    assert!(rig.received[slot] == built.wire, "the bytes came back changed");
    assert!(built.buffers.iter().all(|index| rig.pool.loans(*index) > 0), "loans are the frame's");
    frame.clear();
    built.buffers.into_iter().for_each(|index| rig.release(index));
}

pub(crate) fn a_refused_connect_is_one_closed<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let id = rig.connect(0, port);
    assert_eq!(rig.closed(id), (Step::Connect, ErrorKind::ConnectionRefused));
    assert_eq!(rig.seen.len(), 1);
}

pub(crate) fn shutdown_ends_a_connect_that_is_under_way<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    // A listener that accepts nobody: its queue fills up, and further handshakes go unanswered.
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let fill = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).unwrap();
        let _ = socket.connect(&address.into());
        socket
    };
    let _queue: Vec<_> = (0..4).map(|_| fill()).collect();
    let id = rig.connect(0, address);
    let waiting = Built::default().head(&rig, b"never sent");
    rig.driver.send(id, waiting.frame);
    for _ in 0..3 {
        rig.turn(Some(now()));
    }
    assert!(rig.seen.is_empty(), "the connect is not over: {:?}", rig.seen);
    rig.driver.shutdown(id);
    let (_, complete) = rig.frame_back(id);
    assert!(!complete);
    assert_eq!(rig.closed(id).0, Step::Shutdown);
    assert_eq!(rig.seen.len(), 1);
}

pub(crate) fn a_frame_of_one_piece_of_the_arena_arrives_unchanged<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    let (id, peer) = rig.pair(0, &SocketOptions::default());
    let peer = echo(peer);
    for (seed, bytes) in [1, 2, 100, 4095, 4096, 16_000].into_iter().enumerate() {
        let built = single(&rig, seed as u64, bytes);
        round_trip(&mut rig, id, built);
    }
    rig.driver.shutdown(id);
    rig.closed(id);
    peer.join().unwrap();
}

pub(crate) fn a_gather_frame_arrives_unchanged<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    let (id, peer) = rig.pair(0, &SocketOptions::default());
    let peer = echo(peer);
    for count in [0, 1, 2, 3, 10, 63, 64, 65, 80, 130, 200] {
        let built = gather(&rig, count, 60_000);
        round_trip(&mut rig, id, built);
    }
    rig.driver.shutdown(id);
    rig.closed(id);
    peer.join().unwrap();
}

pub(crate) fn a_frame_that_waits_for_the_connect_is_sent_then<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let id = rig.connect(0, listener.local_addr().unwrap());
    let built = single(&rig, 1, 1000);
    rig.driver.send(id, built.frame);
    let (mut peer, _) = listener.accept().unwrap();
    assert!(rig.frame_back(id).1);
    let mut read = vec![0; built.wire.len()];
    peer.read_exact(&mut read).unwrap();
    assert!(read == built.wire);
    assert!(matches!(rig.seen[..], [Seen::Connected(_)]));
}

fn slow_peer<D: Driver>(open: Open<D>, build: impl Fn(&Rig<D>) -> Built) {
    let mut rig = Rig::new(open);
    let (id, peer) = rig.pair(0, &TINY);
    let built = build(&rig);
    let reader = read_slowly(peer, built.wire.len());
    rig.driver.send(id, built.frame);
    let (frame, complete) = rig.frame_back(id);
    assert!(complete);
    assert!(reader.join().unwrap() == built.wire, "the bytes arrived changed");
    drop(frame);
    built.buffers.into_iter().for_each(|index| rig.release(index));
    assert_eq!(rig.pool.available(), rig.pool.total());
}

pub(crate) fn a_slow_peer_gets_every_byte_of_a_large_frame_in_order<D: Driver>(open: Open<D>) {
    slow_peer(open, |rig| gather(rig, 150, 2_400_000));
}

pub(crate) fn a_slow_peer_gets_every_byte_of_a_large_single_piece<D: Driver>(open: Open<D>) {
    slow_peer(open, |rig| single(rig, 5, 16_384));
    slow_peer(open, |rig| single(rig, 6, 2_000_000));
}

pub(crate) fn a_peer_that_stops_reading_keeps_the_frame_lent_until_shutdown<D: Driver>(
    open: Open<D>,
) {
    let mut rig = Rig::new(open);
    let (id, _peer) = rig.pair(0, &TINY);
    for built in [gather(&rig, 150, 2_400_000), single(&rig, 1, 10)] {
        rig.driver.send(id, built.frame);
        if built.buffers.len() == 1 {
            // The connection has ended with the first frame; this one comes back at once.
            assert!(!rig.frame_back(id).1);
            rig.release(built.buffers[0]);
            continue;
        }
        for _ in 0..20 {
            rig.turn(Some(now()));
        }
        assert!(!rig.seen.iter().any(|seen| matches!(seen, Seen::Sent(..))));
        let last = *built.buffers.last().unwrap();
        assert_eq!(rig.pool.loans(last), 1, "the kernel still has to read it");
        rig.driver.shutdown(id);
        let (frame, complete) = rig.frame_back(id);
        assert!(!complete);
        assert_eq!(rig.closed(id).0, Step::Shutdown);
        drop(frame);
        built.buffers.into_iter().for_each(|index| rig.release(index));
    }
    assert_eq!(rig.pool.available(), rig.pool.total());
}

pub(crate) fn a_reset_while_sending_gives_the_frame_back<D: Driver>(open: Open<D>) {
    for seed in 0..10 {
        let mut rig = Rig::new(open);
        let (id, mut peer) = rig.pair(0, &TINY);
        let built = if seed % 2 == 0 {
            gather(&rig, 150, 2_400_000)
        } else {
            single(&rig, seed, 2_000_000)
        };
        rig.driver.send(id, built.frame);
        let breaker = thread::spawn(move || {
            peer.read_exact(&mut [0; 5000]).unwrap();
            reset(peer);
        });
        let (frame, complete) = rig.frame_back(id);
        assert!(!complete);
        // The first operation that meets the reset takes its error out of the socket; the other one
        // sees a plain end.
        assert!(matches!(rig.closed(id).0, Step::Send | Step::Receive | Step::PeerClosed));
        breaker.join().unwrap();
        drop(frame);
        built.buffers.into_iter().for_each(|index| rig.release(index));
        assert_eq!(rig.closed_count(id), 1);
    }
}

pub(crate) fn a_reset_while_receiving_is_one_closed<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    let (id, mut peer) = rig.pair(0, &SocketOptions::default());
    peer.write_all(b"half an ans").unwrap();
    rig.received_at_least(0, 11);
    reset(peer);
    assert_eq!(rig.closed(id), (Step::Receive, ErrorKind::ConnectionReset));
    assert_eq!(rig.closed_count(id), 1);
}

pub(crate) fn an_orderly_close_by_the_peer_is_told_from_a_reset<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    let (id, mut peer) = rig.pair(0, &SocketOptions::default());
    peer.write_all(b"good bye").unwrap();
    drop(peer);
    assert_eq!(rig.closed(id).0, Step::PeerClosed);
    assert_eq!(rig.received[0], b"good bye");
}

pub(crate) fn what_arrived_before_the_peer_broke_the_connection_is_still_received<D: Driver>(
    open: Open<D>,
) {
    let mut rig = Rig::new(open);
    let (id, mut peer) = rig.pair(0, &TINY);
    let answer = pattern(9, 2000);
    let built = gather(&rig, 150, 2_400_000);
    rig.driver.send(id, built.frame);
    peer.write_all(&answer).unwrap();
    // Closing with unread bytes resets the connection, as a broker does that rejects a request.
    peer.shutdown(Shutdown::Write).unwrap();
    drop(peer);
    assert!(!rig.frame_back(id).1);
    rig.closed(id);
    assert!(rig.received[0] == answer);
}

pub(crate) fn a_late_answer_is_received<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    let (id, mut peer) = rig.pair(0, &SocketOptions::default());
    let (go, gone) = mpsc::channel::<()>();
    let peer = thread::spawn(move || {
        let mut request = [0; 1000];
        peer.read_exact(&mut request).unwrap();
        gone.recv().unwrap();
        peer.write_all(&request).unwrap();
        peer
    });
    let built = single(&rig, 3, 1000);
    rig.driver.send(id, built.frame);
    assert!(rig.frame_back(id).1);
    rig.turn(Some(now() + Duration::from_millis(1)));
    assert!(rig.received[0].is_empty());
    go.send(()).unwrap();
    rig.received_at_least(0, 1000);
    assert!(rig.received[0] == built.wire);
    drop(peer.join().unwrap());
}

pub(crate) fn a_waker_on_another_thread_ends_the_wait<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    // Twice: the first wake must not use up the second.
    for _ in 0..2 {
        let waker = rig.driver.waker();
        let thread = thread::spawn(move || waker.wake());
        rig.turn(None);
        thread.join().unwrap();
    }
    assert!(rig.seen.is_empty());
}

pub(crate) fn a_wake_before_the_wait_is_not_lost<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    for wakes in 1..4 {
        (0..wakes).for_each(|_| rig.driver.waker().wake());
        rig.turn(None);
    }
    // Several wakes are one: the next wait lasts until its deadline.
    let until = now() + Duration::from_millis(2);
    rig.turn(Some(until));
    assert!(now() >= until);
}

pub(crate) fn a_wait_ends_at_its_deadline_and_not_before<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    for micros in [0, 300, 1000, 7300, 2500, 10, 1, 0, 900, 12_345] {
        let until = now() + Duration::from_micros(micros);
        rig.turn(Some(until));
        assert!(now() >= until, "a wait of {micros} us ended early");
    }
    // The alarm of a wait that ended early must not end a later one.
    rig.driver.waker().wake();
    rig.turn(Some(now() + Duration::from_millis(1)));
    let until = now() + Duration::from_millis(5);
    rig.turn(Some(until));
    assert!(now() >= until);
    rig.turn(Some(now() - Duration::from_millis(1)));
    assert!(rig.seen.is_empty());
}

pub(crate) fn a_near_deadline_after_a_far_one_is_met<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    rig.driver.waker().wake();
    rig.turn(Some(now() + Duration::from_secs(7200)));
    let (ended, end) = mpsc::channel::<()>();
    let waker = rig.driver.waker();
    let watchdog = thread::spawn(move || {
        let in_time = end.recv_timeout(PATIENCE).is_ok();
        waker.wake();
        in_time
    });
    rig.turn(Some(now() + Duration::from_micros(2700)));
    ended.send(()).unwrap();
    assert!(watchdog.join().unwrap(), "the deadline of an earlier wait was waited for");
}

pub(crate) fn reports_of_its_own_do_not_keep_a_driver_from_the_kernel<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    let (id, peer) = rig.pair(0, &SocketOptions::default());
    let peer = echo(peer);
    let unknown = rig.id(1);
    let built = single(&rig, 1, 1000);
    rig.driver.send(id, built.frame);
    let until = now() + PATIENCE;
    while rig.received[0].len() < 1000 {
        assert!(now() < until, "the kernel was never asked");
        rig.driver.send(unknown, Frame::default());
        rig.turn(None);
    }
    rig.driver.shutdown(id);
    rig.closed(id);
    peer.join().unwrap();
}

pub(crate) fn an_ended_connection_is_silent_and_gives_frames_back<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    let (id, mut peer) = rig.pair(0, &SocketOptions::default());
    rig.seen.clear();
    peer.write_all(b"unread").unwrap();
    rig.driver.shutdown(id);
    rig.driver.shutdown(id);
    rig.driver.send(id, Frame { token: 7, ..Frame::default() });
    let (frame, complete) = rig.frame_back(id);
    assert_eq!((frame.token, complete), (7, false));
    assert_eq!(rig.closed(id).0, Step::Shutdown);
    rig.driver.shutdown(id);
    rig.driver.send(id, Frame { token: 8, ..Frame::default() });
    assert!(!rig.frame_back(id).1);
    rig.turn(Some(now() + Duration::from_millis(1)));
    assert!(matches!(rig.seen[..], [Seen::Closed(..)]), "{:?}", rig.seen);
    assert_eq!(rig.received[0], b"");
}

pub(crate) fn a_slot_can_be_connected_again_after_its_end<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    for _ in 0..20 {
        let (id, peer) = rig.pair(3, &SocketOptions::default());
        let peer = echo(peer);
        let built = single(&rig, 4, 500);
        round_trip(&mut rig, id, built);
        rig.driver.shutdown(id);
        rig.closed(id);
        peer.join().unwrap();
    }
}

pub(crate) fn a_flood_on_one_connection_does_not_starve_another<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    let (flooded, mut flood) = rig.pair(0, &SocketOptions::default());
    let (id, peer) = rig.pair(1, &SocketOptions::default());
    let peer = echo(peer);
    let flood = thread::spawn(move || while flood.write_all(&[0; 65536]).is_ok() {});
    rig.received_at_least(0, 1 << 20);
    for seed in 0..100 {
        let built = single(&rig, seed, 1000);
        round_trip(&mut rig, id, built);
        rig.received[0].clear();
    }
    rig.driver.shutdown(flooded);
    rig.driver.shutdown(id);
    rig.closed(flooded);
    rig.closed(id);
    flood.join().unwrap();
    peer.join().unwrap();
}

pub(crate) fn a_panic_while_events_are_handled_loses_no_frame<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    let (id, mut peer) = rig.pair(0, &TINY);
    let built = gather(&rig, 150, 2_400_000);
    rig.driver.send(id, built.frame);
    peer.write_all(b"boo").unwrap();
    let Rig { mut driver, pool, .. } = rig;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        loop {
            driver.wait(Some(now() + PATIENCE), &mut |event| panic!("as planned: {event:?}"));
        }
    }));
    assert!(panicked.is_err());
    // The driver goes on.
    driver.shutdown(id);
    let (mut frames, mut ended) = (Vec::new(), false);
    while !ended {
        driver.wait(Some(now() + PATIENCE), &mut |event| match event {
            Event::Sent { frame, .. } => frames.push(frame),
            Event::Closed(..) => ended = true,
            _ => {}
        });
    }
    assert_eq!(frames.len(), 1);
    assert!(built.buffers.iter().all(|index| pool.loans(*index) == 1));
    drop(driver);
    drop(frames);
    built.buffers.into_iter().for_each(|index| pool.unreserve(pool.release(index)));
}

pub(crate) fn a_dropped_driver_leaves_the_memory_of_frames_intact<D: Driver>(open: Open<D>) {
    let mut rig = Rig::new(open);
    let (id, mut peer) = rig.pair(0, &TINY);
    let (_connecting, _other) = rig.pair(1, &TINY);
    let built = gather(&rig, 150, 2_400_000);
    let loan = rig.pool.lend(built.buffers[40], 0, 1);
    rig.driver.send(id, built.frame);
    for _ in 0..5 {
        rig.turn(Some(now()));
    }
    // Where a thread of the kernel submits, it does so when it likes.
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    peer.peek(&mut [0]).unwrap();
    let Rig { driver, pool, .. } = rig;
    drop(driver);
    for index in &built.buffers[..40] {
        assert_eq!(pool.loans(*index), 0, "the kernel handed it back");
    }
    assert_eq!(loan.bytes().len(), 1);
    let mut sent = Vec::new();
    // An orderly end or a reset; what was sent before is a prefix of the frame either way.
    let _ = peer.read_to_end(&mut sent);
    assert!(!sent.is_empty() && built.wire.starts_with(&sent));
    drop(loan);
    for index in built.buffers {
        pool.unreserve(pool.release(index));
    }
    assert_eq!(pool.available(), pool.total());
}
