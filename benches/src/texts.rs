//! Texts on which redaction is measured.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;

use lapwing_otlp::{DecodeSettings, Decoder, Encoding, Inventory, Payload};
use lapwing_telemetry::{Builders, Partition, RawCalls};

use crate::{GROUP_ROWS, NOW};

/// Texts of one kind.
pub struct Texts {
    /// What the benches call it.
    pub name: &'static str,
    /// The texts, all different unless the kind is one text again and again.
    pub texts: Vec<String>,
}

impl Texts {
    /// Bytes of all texts.
    pub fn bytes(&self) -> usize {
        self.texts.iter().map(String::len).sum()
    }
}

/// Every line of the corpus once; its clean lines; those of them in ASCII, and the same with one letter outside it.
pub fn corpus() -> Vec<Texts> {
    #[derive(serde::Deserialize)]
    struct Line {
        text: String,
        clean: bool,
    }
    let lines = include_str!("../../datasets/redaction/corpus.jsonl").lines();
    let lines = lines.map(|line| serde_json::from_str::<Line>(line).expect("the corpus has its format"));
    let all: BTreeMap<String, bool> = lines.map(|line| (line.text, line.clean)).collect();
    let clean: Vec<String> = all.iter().filter(|(_, clean)| **clean).map(|(text, _)| text.clone()).collect();
    let ascii: Vec<String> = clean.iter().filter(|text| text.is_ascii()).cloned().collect();
    let accented: Vec<String> = ascii.iter().map(|text| format!("é{text}")).collect();
    vec![
        Texts { name: "every line", texts: all.into_keys().collect() },
        Texts { name: "clean lines", texts: clean },
        Texts { name: "clean lines, ASCII", texts: ascii },
        Texts { name: "clean lines, with é", texts: accented },
    ]
}

/// Texts made to be slow, 16 KiB each.
pub fn hostile() -> Vec<Texts> {
    let cases = [
        ("prose", "the order was sent to the shop in the morning and "),
        ("password=", "password="),
        ("token space", "token "),
        ("quotes", "\"password\":\""),
        ("@", "a@"),
        ("://", "://u:p@"),
        ("percent", "%25"),
        ("digits", "4111 1111 "),
        ("colons", "ab:cd:"),
        ("base64", "YW5uQGV4YW1wbGUub3Jn"),
        ("insert", "VALUES ('a', "),
        ("names", "Dr Ann Example "),
        ("entities", "&#64;"),
        ("dots", "1.2.3."),
    ];
    let repeat = |(name, piece): (&'static str, &str)| Texts {
        name,
        texts: vec![piece.repeat(16_384 / piece.len()); 8],
    };
    cases.map(repeat).into()
}

/// Recorded access logs of the mesh in columns, with bytes of all texts of attributes in every row.
pub struct Recorded(Vec<u8>);

impl Recorded {
    /// Reads the recording.
    pub fn read() -> Recorded {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../datasets/mesh/raw/logs.otlp.pb.zst");
        let file = std::fs::File::open(path).expect("the dataset is in the repository");
        let mut stream = zstd::Decoder::new(file).expect("it is zstd");
        stream.window_log_max(27).expect("a window of 128 MiB is allowed");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("it can be read");
        Recorded(bytes)
    }

    /// The calls, in batches of a group's size.
    pub fn batches(&self) -> Vec<(Partition, RawCalls)> {
        let mut decoder = Decoder::new(DecodeSettings::default(), Arc::new(Inventory::default()));
        let mut builders = Builders::new(1);
        let (mut batches, mut rest) = (Vec::new(), &self.0[..]);
        while let Some((length, tail)) = rest.split_first_chunk() {
            let (request, tail) = tail.split_at(u32::from_be_bytes(*length) as usize);
            decoder
                .decode(Payload::Logs, Encoding::Protobuf, request, NOW, &mut builders)
                .expect("the recording can be decoded");
            if builders.rows() >= GROUP_ROWS {
                batches.extend(std::mem::replace(&mut builders, Builders::new(1)).finish());
            }
            rest = tail;
        }
        batches
    }

    /// Bytes of the texts of all attributes.
    pub fn text_bytes(batches: &[(Partition, RawCalls)]) -> usize {
        let of = |(_, raw): &(Partition, RawCalls)| {
            let attributes = raw.columns().attributes();
            (0..raw.len()).flat_map(|row| attributes.row(row)).map(|(_, value)| value.len()).sum::<usize>()
        };
        batches.iter().map(of).sum()
    }
}
