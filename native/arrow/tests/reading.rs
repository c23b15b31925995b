//! What is read, what is left, and that no bytes make it panic.

use millrace_arrow::{Batch, Feature, Id, IdKind, Layout, Leaf, Limits, List, Reader, Spots};
use millrace_json::{Input, Kind, Place};
use proptest::prelude::*;

const NODES: usize = 6;
const BUFFERS: usize = 13;
/// Between the numbers stand bytes that are always the same.
const SPOTS: Spots = Spots { body: 4, rows: 16, nodes: (28, NODES), buffers: (28 + 16 * NODES + 4, BUFFERS) };
const HEAD: usize = 28 + 16 * NODES + 4 + 16 * BUFFERS + 4;
const LIMITS: Limits = Limits { record_bytes: 2_000, rows: 100, expanded_bytes: 1_000 };
const END: [u8; 8] = [0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];

fn place(input: usize, start: usize, elements: usize) -> Place {
    Place { input, start, elements }
}

fn feature(node: usize, buffer: usize, lists: Vec<List>, leaf: Leaf, place: Place) -> Feature {
    Feature { node, buffer, lists, leaf, nullable: leaf == Leaf::Float64, place }
}

/// Two floats of which one may be null, two integers in a list, two truths in a row, a feature that is absent, an id.
fn layout() -> Layout {
    let features = vec![
        feature(0, 0, vec![], Leaf::Float64, place(0, 1, 1)),
        feature(1, 2, vec![List::Narrow(2)], Leaf::Int8, place(1, 0, 2)),
        feature(3, 6, vec![List::Fixed(2)], Leaf::Bool, place(2, 0, 2)),
    ];
    let id = Id { kind: IdKind::NarrowText, node: 5, buffer: 9 };
    Layout::new(vec![0xEE; HEAD], SPOTS, features, vec![place(0, 0, 1)], Some(id)).expect("it fits")
}

fn reader(finite: bool) -> Reader {
    let inputs = [(Kind::Float32, 2), (Kind::Int64, 2), (Kind::Bool, 2)];
    let inputs = inputs.map(|(kind, width)| Input { kind, width }).to_vec();
    Reader::new(inputs, vec![layout()], LIMITS, finite)
}

fn put(head: &mut [u8], at: usize, number: usize) {
    head[at..at + 8].copy_from_slice(&(number as u64).to_le_bytes());
}

/// A record of two rows, of which the first is null where it may be.
fn good(double: f64) -> Vec<u8> {
    let mut head = vec![0xEE; HEAD];
    let offsets = |ends: [i32; 3]| ends.map(i32::to_le_bytes).concat();
    let buffers: [Vec<u8>; BUFFERS] = [
        vec![0b10],
        [f64::NAN, double].map(f64::to_le_bytes).concat(),
        vec![],
        offsets([0, 2, 4]),
        vec![],
        vec![1, 2, 0xFF, 4],
        vec![],
        vec![],
        vec![0b0110],
        vec![],
        offsets([0, 1, 1]),
        b"x".to_vec(),
        vec![],
    ];
    let mut body = Vec::new();
    for (number, buffer) in buffers.iter().enumerate() {
        put(&mut head, SPOTS.buffers.0 + 16 * number, body.len());
        put(&mut head, SPOTS.buffers.0 + 16 * number + 8, buffer.len());
        body.extend(buffer);
        body.resize(body.len().next_multiple_of(8), 0);
    }
    for (number, (len, nulls)) in [(2, 1), (2, 0), (4, 0), (2, 0), (4, 0), (2, 0)].into_iter().enumerate() {
        put(&mut head, SPOTS.nodes.0 + 16 * number, len);
        put(&mut head, SPOTS.nodes.0 + 16 * number + 8, nulls);
    }
    put(&mut head, SPOTS.body, body.len());
    put(&mut head, SPOTS.rows, 2);
    [head, body, END.to_vec()].concat()
}

fn read<'a>(reader: &Reader, records: &[Option<&'a [u8]>]) -> (Batch<'a>, Vec<Vec<u8>>) {
    let rows = reader.most_rows(records.iter().copied());
    let mut tensors = [8, 16, 2].map(|width| vec![0xAB; width * rows]);
    let batch = reader.read(records.iter().copied(), tensors.iter_mut().map(Vec::as_mut_slice));
    (batch, tensors.into())
}

fn is_left(record: &[u8]) -> bool {
    read(&reader(true), &[Some(record)]).0.left == [0]
}

#[test]
fn good_records_are_rows_and_the_others_are_left() {
    let (first, file) = (good(0.1), [b"ARROW1\0\0", &good(0.2)[..], b"an index"].concat());
    let (batch, tensors) = read(&reader(true), &[Some(&first), None, Some(&[]), Some(&file), Some(&first[1..])]);
    assert_eq!((&batch.taken[..], &batch.rows[..], &batch.left[..]), (&[0, 3][..], &[2, 2][..], &[1, 2, 4][..]));
    assert_eq!(batch.ids, [Some("x".into()), None, Some("x".into()), None]);
    let nan = f32::NAN;
    assert_eq!(tensors[0], [nan, nan, nan, 0.1, nan, nan, nan, 0.2].map(f32::to_ne_bytes).concat());
    assert_eq!(tensors[1], [1i64, 2, -1, 4].map(i64::to_ne_bytes).concat().repeat(2));
    assert_eq!(tensors[2], [0, 1, 1, 0].repeat(2));
}

#[test]
fn a_record_that_is_cut_followed_or_begins_otherwise_is_left() {
    let whole = good(1.5);
    assert!(!is_left(&whole));
    for end in 0..whole.len() {
        assert!(is_left(&whole[..end]), "{end}");
    }
    assert!(is_left(&[&whole[..], &[0]].concat()));
    for fixed in [0, 3, 12, 15, 24, 27, HEAD - 1] {
        let mut other = whole.clone();
        other[fixed] ^= 1;
        assert!(is_left(&other), "{fixed}");
    }
}

#[test]
fn numbers_that_do_not_fit_one_another_are_left() {
    let node = |number: usize| SPOTS.nodes.0 + 16 * number;
    let buffer = |number: usize| SPOTS.buffers.0 + 16 * number;
    let wrong = [
        (SPOTS.rows, 0),
        (SPOTS.rows, 3),
        (SPOTS.rows, 1 << 40),
        (SPOTS.body, 8),
        (SPOTS.body, usize::MAX),
        (node(0) + 8, 0x80),
        (node(0) + 8, 2),
        (node(1), 3),
        (node(1) + 8, 1),
        (node(2), 5),
        (buffer(1), 9),
        (buffer(1), 1 << 60),
        (buffer(1) + 8, 8),
        (buffer(3) + 8, 8),
        (buffer(3), 0),
        (buffer(12) + 8, usize::MAX / 2),
    ];
    for (at, number) in wrong {
        let mut record = good(1.5);
        put(&mut record, at, number);
        assert!(is_left(&record), "{number} at {at}");
    }
}

#[test]
fn a_record_beyond_the_limits_is_left() {
    let whole = good(1.5);
    for limits in [
        Limits { record_bytes: whole.len() - 1, ..LIMITS },
        Limits { rows: 1, ..LIMITS },
        Limits { expanded_bytes: 16, ..LIMITS },
    ] {
        let inputs = vec![Input { kind: Kind::Float32, width: 2 }];
        let reader = Reader::new(inputs, vec![layout()], limits, true);
        assert_eq!(reader.most_rows([Some(&whole[..])].into_iter()), 0, "{limits:?}");
    }
}

#[test]
fn numbers_that_are_not_finite_are_read_where_they_are_wanted() {
    for (double, is_finite) in [(1e38, true), (1e39, false), (f64::INFINITY, false), (f64::NAN, false)] {
        let record = good(double);
        assert_eq!(is_left(&record), !is_finite, "{double}");
        let (_, tensors) = read(&reader(false), &[Some(&record)]);
        assert_eq!(tensors[0][12..], (double as f32).to_ne_bytes(), "{double}");
    }
}

#[test]
fn a_layout_that_does_not_fit_is_refused() {
    let made = |spots, features| Layout::new(vec![0; HEAD], spots, features, vec![], None).is_some();
    let plain = |node, buffer, elements| vec![feature(node, buffer, vec![], Leaf::Float32, place(0, 0, elements))];
    assert!(made(SPOTS, plain(NODES - 1, BUFFERS - 2, 1)));
    assert!(!made(SPOTS, plain(NODES, 0, 1)));
    assert!(!made(SPOTS, plain(0, BUFFERS - 1, 1)));
    assert!(!made(SPOTS, plain(0, 0, 2)));
    assert!(!made(Spots { rows: SPOTS.body + 7, ..SPOTS }, vec![]));
    assert!(!made(Spots { buffers: (SPOTS.buffers.0 + 5, BUFFERS), ..SPOTS }, vec![]));
    assert!(!made(Spots { nodes: (SPOTS.nodes.0, usize::MAX), ..SPOTS }, vec![]));
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(damage in proptest::collection::vec((0..800usize, any::<u8>()), 0..6)) {
        let mut record = good(1.5);
        for (at, byte) in damage {
            let at = at % record.len();
            record[at] = byte;
        }
        read(&reader(true), &[Some(&record), None, Some(&record[5..])]);
    }
}
