//! The threads of a fake broker: who accepts, who reads requests, who writes answers.
#![forbid(unsafe_code)]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread;

use kafka_protocol::messages::ApiKey;

use super::answers::{self, Answer, Asked};
use super::{Gate, Shared, Turn};

/// No request of a test is longer.
const REQUEST_BYTES_MAX: u32 = 64 << 20;

/// An answer on its way out.
struct Outgoing {
    bytes: Vec<u8>,
    gate: Option<Gate>,
    /// Close the connection afterwards.
    last: bool,
}

/// Accepts connections until the socket is shut down.
pub(super) fn accept(node: i32, listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        let (Ok(kept), Ok(reading)) = (stream.try_clone(), stream.try_clone()) else { return };
        let number = {
            let mut state = shared.state();
            if state.stopped {
                return;
            }
            state.streams.push(kept);
            state.connections += 1;
            state.open += 1;
            state.connections - 1
        };
        shared.changed.notify_all();
        let (outgoing, answers) = channel();
        let connection = Connection { node, number, outgoing, shared: Arc::clone(shared) };
        thread::Builder::new().spawn(move || connection.read(reading)).unwrap();
        thread::Builder::new().spawn(move || write(stream, &answers)).unwrap();
    }
}

/// Writes answers in their order, each when its gate is open.
fn write(mut stream: TcpStream, answers: &Receiver<Outgoing>) {
    for answer in answers {
        if let Some(gate) = answer.gate {
            gate.wait();
        }
        if stream.write_all(&answer.bytes).is_err() || answer.last {
            break;
        }
    }
    drop(stream.shutdown(Shutdown::Both));
}

struct Connection {
    node: i32,
    number: usize,
    outgoing: Sender<Outgoing>,
    shared: Arc<Shared>,
}

impl Connection {
    fn read(self, mut stream: TcpStream) {
        let mut length = [0; 4];
        while stream.read_exact(&mut length).is_ok() {
            let length = u32::from_be_bytes(length);
            if length > REQUEST_BYTES_MAX {
                self.complain(format!("a request of {length} bytes"));
                break;
            }
            let mut frame = vec![0; length as usize];
            if stream.read_exact(&mut frame).is_err() {
                break;
            }
            let asked = answers::decode(frame.into(), &self.shared.state());
            match asked {
                Ok(asked) => {
                    if let Some(gate) = self.handle(asked) {
                        gate.wait();
                    }
                }
                Err(complaint) => {
                    self.complain(complaint);
                    break;
                }
            }
        }
        drop(stream.shutdown(Shutdown::Read));
        self.shared.state().open -= 1;
        self.shared.changed.notify_all();
    }

    fn complain(&self, complaint: String) {
        self.shared.state().complaints.push(complaint);
        self.shared.changed.notify_all();
    }

    /// Returns what reading on has to wait for.
    fn handle(&self, mut asked: Asked) -> Option<Gate> {
        asked.seen.node = self.node;
        asked.seen.connection = self.number;
        // The script's lock is held until the request is served: requests of several connections
        // are carried out in the order in which the script saw them.
        let mut script = self.shared.script.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = script(&asked.seen);
        let mut state = self.shared.state();
        if !state.forgetful {
            state.seen.push(asked.seen.clone());
        }
        let (mut gate, mut last, mut stalled) = (None, false, None);
        let bytes = match turn {
            Turn::Serve => Some(asked.encode(&asked.serve(&mut state, None))),
            Turn::Hold(closed) => {
                gate = Some(closed);
                Some(asked.encode(&asked.serve(&mut state, None)))
            }
            Turn::Cut(count) => {
                let mut bytes = asked.encode(&asked.serve(&mut state, None));
                bytes.truncate(count);
                last = true;
                Some(bytes)
            }
            Turn::Mute => {
                asked.serve(&mut state, None);
                None
            }
            Turn::Stall(closed) => {
                asked.serve(&mut state, None);
                stalled = Some(closed);
                None
            }
            Turn::Deaf(closed) => {
                stalled = Some(closed);
                Some(asked.encode(&asked.serve(&mut state, None)))
            }
            Turn::Mangle(change) => {
                let mut bytes = asked.encode(&asked.serve(&mut state, None));
                change(&mut bytes);
                Some(bytes)
            }
            Turn::Edit(change) => {
                let mut answer = asked.serve(&mut state, None);
                if let Answer::Produce(answer) = &mut answer {
                    change(answer);
                }
                Some(asked.encode(&answer))
            }
            Turn::Refuse(code) => Some(asked.encode(&asked.serve(&mut state, Some(code)))),
            Turn::Raw(bytes) => Some(bytes),
            Turn::Ignore => None,
            Turn::HangUp => {
                last = true;
                Some(Vec::new())
            }
        };
        let silent = asked.seen.api == ApiKey::Produce && asked.seen.acks == 0 && !last;
        if let Some(bytes) = bytes.filter(|_| !silent) {
            // A writer that is gone has its connection closed already.
            drop(self.outgoing.send(Outgoing { bytes, gate, last }));
        }
        drop((state, script));
        self.shared.changed.notify_all();
        stalled
    }
}
