//! Our record batches: the oracle's decoder finds the records, its encoder writes the same bytes.
#![forbid(unsafe_code)]

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{
    Compression, Record, RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

use kuring::ids::{ProducerIdentity, Sequence};
use kuring::protocol::record_batch::{
    Attributes, BatchHeader, HEADER_BYTES, Header, encode_record, record_bytes, stamp_checksum,
};
use kuring::protocol::split;

use crate::seed::Seed;

fn nullable_bytes(seed: &mut Seed) -> Option<Bytes> {
    let count = match seed.below(8) {
        0 => return None,
        1 => [0, 63, 64, 8191, 8192][seed.below(5)],
        _ => seed.below(120),
    };
    Some(Bytes::from(seed.bytes(count)))
}

/// Records as the oracle holds them. The oracle takes the smallest timestamp as the base, we the
/// first one (RBF-6): `ascending` makes the two the same.
fn records(seed: &mut Seed, ascending: bool) -> Vec<Record> {
    let count = 1 + seed.below(70) as i64;
    let transactional = seed.flag();
    let first = seed.below(1 << 40) as i64;
    let identity = match seed.flag() || transactional {
        true => ProducerIdentity { id: seed.below(1 << 40) as i64, epoch: seed.below(9) as i16 },
        false => ProducerIdentity::NONE,
    };
    // Near the wrap in some batches; the oracle counts on into the negative there, so below it.
    let base_sequence =
        if identity == ProducerIdentity::NONE { -1 } else { seed.below(1 << 30) as i32 };
    let record = |ordinal: i64| {
        let step = [0, 1, 63, 64, 8191, 8192, 1 << 33][seed.below(7)] * i64::from(ordinal > 0);
        let timestamp = if ascending || seed.flag() { first + step } else { first - step };
        let headers = (0..seed.below(4))
            .map(|number| {
                let key = format!("{number}{}", seed.text(9));
                (StrBytes::from_string(key), nullable_bytes(seed))
            })
            .collect();
        Record {
            transactional,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: identity.id,
            producer_epoch: identity.epoch,
            timestamp_type: TimestampType::Creation,
            offset: ordinal,
            sequence: base_sequence + ordinal as i32,
            timestamp,
            key: nullable_bytes(seed),
            value: nullable_bytes(seed),
            headers,
        }
    };
    (0..count).map(record).collect()
}

fn ours(records: &[Record]) -> Vec<u8> {
    let first = &records[0];
    let mut batch = vec![0; HEADER_BYTES];
    for (ordinal, record) in records.iter().enumerate() {
        let headers: Vec<Header<'_>> = record
            .headers
            .iter()
            .map(|(key, value)| Header { key, value: value.as_deref() })
            .collect();
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let delta = record.timestamp - first.timestamp;
        let (key_bytes, value_bytes) = (key.map(<[u8]>::len), value.map(<[u8]>::len));
        let size = record_bytes(ordinal as u32, delta, key_bytes, value_bytes, &headers);
        let start = batch.len();
        batch.resize(start + size, 0);
        encode_record(&mut batch[start..], ordinal as u32, delta, key, value, &headers);
    }
    let header = BatchHeader {
        attributes: match first.transactional {
            true => Attributes::NONE.transactional(),
            false => Attributes::NONE,
        },
        record_count: records.len() as u32,
        base_timestamp: first.timestamp,
        max_timestamp: records.iter().map(|record| record.timestamp).max().unwrap(),
        producer: ProducerIdentity { id: first.producer_id, epoch: first.producer_epoch },
        base_sequence: (first.sequence >= 0).then(|| Sequence::new(first.sequence)),
    };
    let records_bytes = batch.len() - HEADER_BYTES;
    header.write(&mut batch, records_bytes);
    stamp_checksum(&mut batch);
    batch
}

#[test]
fn rbf_5_the_oracle_reads_every_record_back() {
    let mut seed = Seed(1);
    for round in 0..300 {
        let records = records(&mut seed, round % 2 == 0);
        let mut batch = Bytes::from(ours(&records));
        let read = RecordBatchDecoder::decode(&mut batch).expect("a batch with a right checksum");
        assert!(batch.is_empty(), "the length covers the batch");
        assert_eq!((read.version, read.compression), (2, Compression::None));
        assert_eq!(read.records, records, "round {round}");
    }
}

/// What a consumer would read is the same, but for the places in the batch.
#[test]
fn spl_4_the_oracle_reads_the_same_records_from_the_pieces_of_a_batch() {
    let mut seed = Seed(3);
    let mut cuts = 0;
    for round in 0..300 {
        let records = records(&mut seed, false);
        let batch = ours(&records);
        let limit = [100, 1_000, 16_384][seed.below(3)];
        let Some(pieces) = split::cut(&batch, limit) else {
            assert_eq!(records.len(), 1, "round {round}");
            continue;
        };
        cuts += 1;
        let first = &records[0];
        let mut expected = records.iter();
        let half = batch.len() - (batch.len() - HEADER_BYTES) / 2;
        for piece in &pieces {
            let mut out = vec![0xee; piece.bytes];
            piece.write_records(&batch, &mut out);
            let sequence = first.sequence + piece.first as i32;
            let header = BatchHeader {
                attributes: match first.transactional {
                    true => Attributes::NONE.transactional(),
                    false => Attributes::NONE,
                },
                record_count: piece.records,
                base_timestamp: piece.base_timestamp,
                max_timestamp: piece.max_timestamp,
                producer: ProducerIdentity { id: first.producer_id, epoch: first.producer_epoch },
                base_sequence: (first.sequence >= 0).then(|| Sequence::new(sequence)),
            };
            let records_bytes = out.len() - HEADER_BYTES;
            header.write(&mut out, records_bytes);
            stamp_checksum(&mut out);
            assert!(piece.records == 1 || out.len() <= half, "round {round}: {piece:?}");
            let read = RecordBatchDecoder::decode(&mut Bytes::from(out)).expect("a batch");
            let wanted: Vec<_> = expected
                .by_ref()
                .take(piece.records as usize)
                .zip(0..)
                .map(|(record, place)| Record {
                    offset: place,
                    sequence: if first.sequence < 0 { place as i32 - 1 } else { record.sequence },
                    ..record.clone()
                })
                .collect();
            assert_eq!(read.records, wanted, "round {round}");
            let latest = wanted.iter().map(|record| record.timestamp).max();
            assert_eq!(
                (wanted[0].timestamp, latest),
                (piece.base_timestamp, Some(piece.max_timestamp))
            );
        }
        assert_eq!(expected.next(), None, "round {round}: every record is in a piece");
    }
    assert!(cuts > 200);
}

#[test]
fn the_oracle_would_have_written_the_same_bytes() {
    let mut seed = Seed(2);
    for round in 0..300 {
        let records = records(&mut seed, true);
        let mut written = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        // Without a producer id the oracle cuts batches at each record unless sequences count on
        // from -1, as they do here.
        RecordBatchEncoder::encode(&mut written, &records, &options).expect("a batch");
        assert_eq!(ours(&records), &written[..], "round {round}");
    }
}

#[test]
fn the_same_header_key_may_stand_twice() {
    let headers = [Header { key: "k", value: Some(b"1") }, Header { key: "k", value: Some(b"2") }];
    let mut record = vec![0; record_bytes(0, 0, None, None, &headers)];
    encode_record(&mut record, 0, 0, None, None, &headers);
    assert_eq!(record, b"\x1c\0\0\0\x01\x01\x04\x02k\x021\x02k\x022");
}
