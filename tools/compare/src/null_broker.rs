//! A null broker of this harness's own: it acknowledges everything and keeps nothing.
//!
//! Kuring's `kuring sink` is the one the published figures use. This one exists so that they can
//! be checked against a broker that Kuring's authors could not have tuned for Kuring: the plain
//! blocking kind, a thread for each connection, a buffer, a loop.
//!
//! Bounds: one frame of at most `FRAME_BYTES_MAX` for each connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use clap::Args;

use compare_measure::{Outcome, cost};

use crate::wire::{PRODUCE, PRODUCE_VERSION, Put, Reader};

/// Larger than any client here sends.
const FRAME_BYTES_MAX: usize = 128 << 20;

const METADATA: i16 = 3;
const API_VERSIONS: i16 = 18;
const INIT_PRODUCER_ID: i16 = 22;

/// What it says it speaks. librdkafka wants to see Fetch before it writes batch format 2, and
/// the consumer APIs before it calls the broker modern; none of them is answered.
const VERSIONS: [(i16, i16, i16); 8] = [
    (PRODUCE, 3, PRODUCE_VERSION),
    (1, 4, 11),
    (2, 1, 2),
    (METADATA, 4, 4),
    (10, 0, 1),
    (API_VERSIONS, 0, 3),
    (INIT_PRODUCER_ID, 0, 1),
    (24, 0, 0),
];

/// How it runs.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// Address to listen on; port 0 takes a free one. The address is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Partitions of every topic.
    #[arg(long, default_value_t = 10)]
    partitions: u32,
    /// Pin it to this CPU.
    #[arg(long)]
    cpu: Option<usize>,
}

/// Accepts and answers until it is killed.
pub(crate) fn serve(options: &Options) -> Outcome<()> {
    if let Some(cpu) = options.cpu {
        cost::pin(cpu)?;
    }
    let listener = TcpListener::bind(options.listen)?;
    let address = listener.local_addr()?;
    println!("listening on {address}");
    for stream in listener.incoming() {
        let broker = Broker { address, partitions: options.partitions };
        let stream = stream?;
        // A connection's end is the end of its thread, and nobody's error.
        std::thread::spawn(move || drop(broker.answer_all(stream)));
    }
    Ok(())
}

struct Broker {
    address: SocketAddr,
    partitions: u32,
}

impl Broker {
    fn answer_all(&self, mut stream: TcpStream) -> Outcome<()> {
        stream.set_nodelay(true)?;
        let mut frame = Vec::new();
        loop {
            let mut size = [0; 4];
            stream.read_exact(&mut size)?;
            let size = usize::try_from(i32::from_be_bytes(size))?;
            if size > FRAME_BYTES_MAX {
                return Err("a frame too large".into());
            }
            frame.resize(size, 0);
            stream.read_exact(&mut frame)?;
            let answer = self.answer(&frame)?;
            if !answer.is_empty() {
                stream.write_all(&answer)?;
            }
        }
    }

    fn answer(&self, frame: &[u8]) -> Outcome<Vec<u8>> {
        let mut request = Reader(frame);
        let api = request.i16()?;
        let version = request.i16()?;
        let correlation = request.i32()?;
        request.text()?; // client id
        let mut answer = Vec::with_capacity(512);
        answer.i32(0); // size, below
        answer.i32(correlation);
        match api {
            PRODUCE => {
                if !answer_produce(&mut request, &mut answer)? {
                    return Ok(Vec::new());
                }
            }
            METADATA => self.answer_metadata(&mut request, &mut answer)?,
            API_VERSIONS => answer_versions(version, &mut answer),
            INIT_PRODUCER_ID => {
                answer.i32(0); // throttle
                answer.i16(0); // no error
                answer.i64(1);
                answer.i16(0);
            }
            other => return Err(format!("API {other} is not spoken here").into()),
        }
        let size = (answer.len() - 4) as i32;
        answer[..4].copy_from_slice(&size.to_be_bytes());
        Ok(answer)
    }

    fn answer_metadata(&self, request: &mut Reader<'_>, answer: &mut Vec<u8>) -> Outcome<()> {
        answer.i32(0); // throttle
        answer.i32(1);
        answer.i32(0); // node
        answer.text(&self.address.ip().to_string());
        answer.i32(self.address.port().into());
        answer.i16(-1); // rack
        answer.text("null");
        answer.i32(0); // controller
        let topics = request.i32()?.max(0);
        answer.i32(topics);
        for _ in 0..topics {
            answer.i16(0);
            answer.text(request.text()?);
            answer.put(&[0]); // not internal
            answer.i32(self.partitions as i32);
            for partition in 0..self.partitions as i32 {
                answer.i16(0);
                answer.i32(partition);
                answer.i32(0); // leader
                for _replicas_then_in_sync in 0..2 {
                    answer.i32(1);
                    answer.i32(0);
                }
            }
        }
        Ok(())
    }
}

fn answer_versions(version: i16, answer: &mut Vec<u8>) {
    let flexible = version >= 3;
    answer.i16(0);
    if flexible {
        answer.put(&[VERSIONS.len() as u8 + 1]);
    } else {
        answer.i32(VERSIONS.len() as i32);
    }
    for (api, min, max) in VERSIONS {
        answer.i16(api);
        answer.i16(min);
        answer.i16(max);
        if flexible {
            answer.put(&[0]);
        }
    }
    if version >= 1 {
        answer.i32(0); // throttle
    }
    if flexible {
        answer.put(&[0]);
    }
}

/// False when the client wants no answer (acks=0).
fn answer_produce(request: &mut Reader<'_>, answer: &mut Vec<u8>) -> Outcome<bool> {
    request.text()?; // transactional id
    let acks = request.i16()?;
    request.i32()?; // timeout
    let topics = request.i32()?;
    answer.i32(topics);
    for _ in 0..topics {
        answer.text(request.text()?);
        let partitions = request.i32()?;
        answer.i32(partitions);
        for _ in 0..partitions {
            answer.i32(request.i32()?);
            let bytes = request.i32()?.max(0) as usize;
            request.take(bytes)?;
            answer.i16(0);
            answer.i64(0); // base offset
            answer.i64(-1); // append time: the records' own
            answer.i64(0); // log start
        }
    }
    answer.i32(0); // throttle
    Ok(acks != 0)
}
