//! A service with one thread: each datagram that it receives becomes a record, and its sender is
//! answered when the record is acknowledged. The producer runs inside the service's own runtime: no
//! other thread, no queue between threads, no wake-up.
//!
//! `cargo run --release --example embedded -- localhost:9092 [tokio|tokio-uring]`
//!
//! Without a cluster, `kuring sink` takes everything and keeps nothing (`cargo run --release -p
//! kuring-tools -- sink`). Then `echo hello | nc -u -w1 127.0.0.1 7000` prints where the record is.
//! An empty datagram ends the service: `nc -u -z 127.0.0.1 7000`, or
//! `python3 -c 'import socket; socket.socket(2, 2).sendto(b"", ("127.0.0.1", 7000))'`.

use std::cell::RefCell;
use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use kuring::{Completion, Embedded, Producer, Record, Summary};
use tokio::task::{LocalSet, spawn_local};

const LISTEN: &str = "127.0.0.1:7000";
/// The largest datagram that is taken whole.
const DATAGRAM_BYTES: usize = 2048;

/// The service's socket, as its runtime has it.
enum Socket {
    Tokio(tokio::net::UdpSocket),
    TokioUring(tokio_uring::net::UdpSocket),
}

impl Socket {
    async fn receive(&self, mut buffer: Vec<u8>) -> io::Result<(Vec<u8>, SocketAddr)> {
        match self {
            Self::Tokio(socket) => {
                buffer.resize(DATAGRAM_BYTES, 0);
                let (bytes, client) = socket.recv_from(&mut buffer).await?;
                buffer.truncate(bytes);
                Ok((buffer, client))
            }
            Self::TokioUring(socket) => {
                buffer.clear();
                buffer.reserve(DATAGRAM_BYTES);
                let (received, buffer) = socket.recv_from(buffer).await;
                received.map(|(_, client)| (buffer, client))
            }
        }
    }

    async fn answer(&self, text: String, client: SocketAddr) -> io::Result<()> {
        match self {
            Self::Tokio(socket) => socket.send_to(text.as_bytes(), client).await.map(drop),
            Self::TokioUring(socket) => socket.send_to(text.into_bytes(), client).await.0.map(drop),
        }
    }
}

/// Who sent the record with this number.
type Clients = Rc<RefCell<HashMap<u64, SocketAddr>>>;

/// Answers the clients as their records are acknowledged, until the producer is closed.
async fn answer(producer: Rc<Embedded>, socket: Rc<Socket>, clients: Clients) -> io::Result<()> {
    let mut completions = [const { Completion::EMPTY }; 64];
    while producer.deliveries().await {
        let count = producer.poll_deliveries(&mut completions);
        for completion in &completions[..count] {
            let client = clients.borrow_mut().remove(&completion.user_data);
            let text = match &completion.verdict {
                Ok(written) => format!("{} {:?}\n", written.partition, written.offset),
                Err(error) => format!("{error}\n"),
            };
            if let Some(client) = client {
                socket.answer(text, client).await?;
            }
        }
    }
    Ok(())
}

async fn serve(producer: Embedded, socket: Socket) -> Result<Summary, Box<dyn Error>> {
    let (producer, socket) = (Rc::new(producer), Rc::new(socket));
    // The shard is one more task of this thread.
    let driving = spawn_local(producer.drive());
    producer.warm_up(&["datagrams"]).await?;
    println!("listening on {LISTEN}, driver {}", producer.metrics().driver);

    let clients = Clients::default();
    let answering =
        spawn_local(answer(Rc::clone(&producer), Rc::clone(&socket), Rc::clone(&clients)));
    let topic = producer.topic("datagrams");
    let mut buffer = Vec::new();
    for number in 0.. {
        let (datagram, client) = socket.receive(buffer).await?;
        if datagram.is_empty() {
            break;
        }
        clients.borrow_mut().insert(number, client);
        // Waits while memory is short, up to max.block.ms: then datagrams wait in the socket.
        if let Err(error) = topic.submit(Record::new().value(&datagram), number).await {
            clients.borrow_mut().remove(&number);
            socket.answer(format!("{error}\n"), client).await?;
        }
        buffer = datagram;
    }

    // The other tasks go on meanwhile: the last clients have their answers.
    let summary = producer.shutdown(Duration::from_secs(10)).await?;
    answering.await??;
    driving.await??;
    Ok(summary)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let servers = arguments.next().unwrap_or_else(|| "localhost:9092".into());
    let runtime = arguments.next().unwrap_or_else(|| "tokio".into());
    let producer = Producer::builder().bootstrap_servers(servers).embedded()?;
    let summary = match runtime.as_str() {
        "tokio" => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, async {
                serve(producer, Socket::Tokio(tokio::net::UdpSocket::bind(LISTEN).await?)).await
            })?
        }
        "tokio-uring" => tokio_uring::start(async {
            let socket = tokio_uring::net::UdpSocket::bind(LISTEN.parse()?).await?;
            serve(producer, Socket::TokioUring(socket)).await
        })?,
        other => return Err(format!("{other}: either tokio or tokio-uring").into()),
    };
    println!("{summary:?}");
    Ok(())
}
