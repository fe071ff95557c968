//! The floors of a round trip: no client, one prepared produce request over one socket.
//!
//! Blocking, the thread sleeps until the answer is there; busy, it reads again and again. What a
//! client adds to the one or the other is its own.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use compare_measure::{Outcome, Plan, Sender, cost, value};

use crate::wire::{self, Batch};

/// Larger than any answer to one batch.
const ANSWER_BYTES_MAX: usize = 4_096;

/// How long the first record may be refused.
const FIRST_MAX: Duration = Duration::from_secs(10);

/// One connection, one request at a time.
pub(crate) struct Floor {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
    busy: bool,
    acknowledged: u64,
}

impl Floor {
    pub(crate) fn connect(plan: &Plan, busy: bool) -> Outcome<Self> {
        let stream = TcpStream::connect(&plan.bootstrap)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(busy)?;
        // No producer id: a broker that looks at sequences takes the same batch for ever.
        let mut batch = Batch::new(0, plan.size);
        batch.append(&value(plan.size));
        batch.seal_anonymous(0, cost::timestamp_ms());
        let batches = [batch];
        let mut request = wire::produce_head(0, &plan.topic, &batches);
        request.extend_from_slice(batches[0].bytes());
        Ok(Self { stream, request, answer: vec![0; ANSWER_BYTES_MAX], busy, acknowledged: 0 })
    }

    /// Fills `answer[from..to]`; waits as the floor waits.
    fn fill(&mut self, mut from: usize, to: usize) -> Outcome<()> {
        while from < to {
            match self.stream.read(&mut self.answer[from..to]) {
                Ok(0) => return Err("the broker closed the connection".into()),
                Ok(bytes) => from += bytes,
                Err(error) if self.busy && error.kind() == ErrorKind::WouldBlock => {
                    std::hint::spin_loop();
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Reads until the frame whose size comes first is there; in one call if it all is.
    fn read_answer(&mut self) -> Outcome<usize> {
        let mut have = 0;
        loop {
            let room = self.answer.len();
            match self.stream.read(&mut self.answer[have..room]) {
                Ok(0) => return Err("the broker closed the connection".into()),
                Ok(bytes) => have += bytes,
                Err(error) if self.busy && error.kind() == ErrorKind::WouldBlock => {
                    std::hint::spin_loop();
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            if have >= 4 {
                let size = i32::from_be_bytes(self.answer[..4].try_into()?);
                let whole = 4 + usize::try_from(size)?;
                if whole > room {
                    return Err(format!("an answer of {whole} bytes").into());
                }
                self.fill(have, whole)?;
                return Ok(whole);
            }
        }
    }
}

impl Sender for Floor {
    fn send(&mut self, count: u64) -> Outcome<()> {
        for _ in 0..count {
            self.round_trip()?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Outcome<()> {
        Ok(())
    }

    fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    fn requests(&self) -> Option<u64> {
        Some(self.acknowledged)
    }

    fn round_trip(&mut self) -> Outcome<()> {
        let began = cost::now();
        loop {
            // The request is far smaller than the socket's buffer, which is empty by now.
            self.stream.write_all(&self.request)?;
            let whole = self.read_answer()?;
            match wire::check_produce_answer(&self.answer[4..whole], 0) {
                Ok(()) => break,
                // A topic that was just created may not be known to its leader yet.
                Err(_) if self.acknowledged == 0 && began.elapsed() < FIRST_MAX => {}
                Err(error) => return Err(error),
            }
        }
        self.acknowledged += 1;
        Ok(())
    }
}
