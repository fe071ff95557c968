//! Compressed batches are kept as they came, and their records are shown, whoever packed them.
#![forbid(unsafe_code)]

use bytes::BytesMut;
use kafka_protocol::records::Compression as Packing;
use kuring::testing::{ClusterError, Codec};
use kuring::{Compression, DriverChoice, Record};

use crate::reading::fetch;
use crate::rig::{Writer, batch, connect, one, packed, produce, values};
use crate::support::rig::{builder_for, offsets};

/// A batch with other attributes, and its checksum made right again.
fn claiming(codec: u8, mut bytes: BytesMut) -> BytesMut {
    bytes[22] = codec;
    let crc = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// Text of some hundred kilobytes, so that it takes several blocks of each format.
fn text() -> Vec<String> {
    (0..3000)
        .map(|number| format!("{number} {}", "lorem ipsum dolor ".repeat(number % 13)))
        .collect()
}

#[test]
fn cmp_1_batches_of_another_implementation_are_read_in_every_codec() {
    let text = text();
    let text: Vec<_> = text.iter().map(String::as_str).collect();
    for packing in [Packing::Gzip, Packing::Snappy, Packing::Lz4, Packing::Zstd] {
        let cluster = one();
        let bytes = packed(Writer::NOBODY, &text, packing);
        assert_eq!(produce(&mut connect(&cluster), bytes.clone()), (0, 0));
        assert_eq!(values(&cluster.records("t").unwrap()), text, "{packing:?}");
        let fetched = fetch(&mut connect(&cluster), 12, 0);
        assert_eq!(fetched[16..], bytes[16..], "kept as it came");
        assert_eq!(cluster.complaints(), [""; 0]);
    }
}

#[test]
fn cmp_1_our_own_batches_are_read_in_every_codec() {
    let codecs = [Compression::GZIP, Compression::Snappy, Compression::LZ4, Compression::ZSTD];
    for codec in codecs {
        let cluster = one();
        let producer = builder_for(cluster.bootstrap_servers(), DriverChoice::Epoll)
            .compression(codec)
            .batch_bytes(100_000)
            .build()
            .unwrap();
        let topic = producer.topic("t");
        let text = text();
        let send = |value| topic.blocking_send(Record::new().value(value)).unwrap();
        let deliveries: Vec<_> = text.iter().map(send).collect();
        producer.blocking_flush();
        assert_eq!(offsets(deliveries), (0..text.len() as i64).collect::<Vec<_>>());
        assert_eq!(values(&cluster.records("t").unwrap()), text, "{codec:?}");
        assert_eq!(cluster.complaints(), [""; 0]);
    }
}

#[test]
fn what_is_not_what_its_batch_says_is_named_with_its_place() {
    let codecs = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];
    for codec in codecs {
        let cluster = one();
        let mut connection = connect(&cluster);
        assert_eq!(produce(&mut connection, batch(Writer::NOBODY, &["a"])), (0, 0));
        let plain = batch(Writer::NOBODY, &["b", "c"]);
        // Brokers look at the header of a batch, not at compressed records.
        assert_eq!(produce(&mut connection, claiming(codec as u8, plain)), (0, 1));
        let error = cluster.records("t").unwrap_err();
        let ClusterError::Undecodable { partition: 0, offset: 1, codec: told, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(told, codec);
    }
}

/// A batch whose records were damaged before it was packed up never does harm.
#[test]
fn every_flipped_byte_of_compressed_records_is_survived() {
    for (packing, codec) in
        [(Packing::Gzip, 1), (Packing::Snappy, 2), (Packing::Lz4, 3), (Packing::Zstd, 4)]
    {
        let golden = packed(Writer::NOBODY, &["value one", "value two"], packing);
        for index in 61..golden.len() {
            let cluster = one();
            let mut connection = connect(&cluster);
            for flip in [0x01, 0x10, 0x80, 0xff] {
                let mut bytes = golden.clone();
                bytes[index] ^= flip;
                assert_eq!(produce(&mut connection, claiming(codec, bytes)).0, 0);
            }
            // Whether there is an error is the codec's to say; an answer there is.
            drop(cluster.records("t"));
        }
    }
}
