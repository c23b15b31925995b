//! What is read, what is left, and that no bytes make it panic.

use std::collections::HashMap;

use millrace_avro::{Batch, Node, Program, Reader, Step, Target};
use millrace_json::{Input, Kind, Place};
use proptest::prelude::*;

fn place(input: usize, start: usize, elements: usize) -> Target {
    Target::Feature(Place { input, start, elements })
}

/// An id, two floats of which one is absent, a matrix, an integer, and one of everything that nobody wants.
fn reader(finite: bool) -> Reader {
    let maybe = |node| Node::Union(vec![Node::Null, node]);
    let unwanted = vec![
        Node::Null,
        Node::Float,
        Node::Double,
        Node::Integer,
        Node::Boolean,
        Node::Text,
        Node::Fixed(2),
        Node::Symbol(2),
        Node::Empty,
        maybe(Node::Foreign),
    ];
    let steps = vec![
        Step { node: Node::Union(vec![Node::Null, Node::Text, Node::Integer]), target: Target::Id },
        Step { node: maybe(Node::Double), target: place(0, 1, 1) },
        Step { node: Node::Array(Box::new(Node::Array(Box::new(Node::Float), 2)), 2), target: place(1, 0, 4) },
        Step { node: Node::Integer, target: place(2, 0, 1) },
        Step { node: Node::Boolean, target: place(3, 0, 1) },
        Step { node: Node::Record(unwanted), target: Target::Unwanted },
    ];
    let inputs = [(Kind::Float32, 2), (Kind::Float64, 4), (Kind::Int32, 1), (Kind::Bool, 1)];
    let program = Program { steps, absent: vec![Place { input: 0, start: 0, elements: 1 }] };
    let inputs = inputs.map(|(kind, width)| Input { kind, width }).to_vec();
    Reader::new(inputs, HashMap::from([(7, program)]), 200, finite)
}

fn read<'a>(reader: &Reader, records: &[Option<&'a [u8]>]) -> (Batch<'a>, Vec<Vec<u8>>) {
    let widths = [8, 32, 4, 1];
    let mut tensors = widths.map(|width| vec![0xAB; width * records.len()]);
    let batch = reader.read(records.iter().copied(), tensors.iter_mut().map(Vec::as_mut_slice));
    let taken = tensors.into_iter().zip(widths).map(|(mut tensor, width)| {
        tensor.truncate(width * batch.taken.len());
        tensor
    });
    let taken = taken.collect();
    (batch, taken)
}

fn good(double: f64) -> Vec<u8> {
    let floats: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|float| float.to_le_bytes()).collect();
    let [first, second] = [&floats[..8], &floats[8..]];
    let mut record = vec![0, 0, 0, 0, 7, 2, 2, b'x', 2];
    record.extend(double.to_le_bytes());
    for part in [&[4, 4][..], first, &[0, 4], second, &[0, 0, 0x8F, 2, 1]] {
        record.extend(part);
    }
    record.extend([0; 12]); // a float and a double
    record.extend([0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]); // the greatest integer
    record.extend([1, 2, 0xFF, 9, 9, 2, 0, 0]);
    record
}

#[test]
fn good_records_are_rows_and_the_others_are_left() {
    let (first, unknown) = (good(0.1), vec![0, 0, 0, 0, 8]);
    let mut second = vec![0, 0, 0, 0, 7, 4, 3];
    second.extend([&[0][..], &first[17..]].concat());
    let records = [Some(&first[..]), None, Some(&unknown), Some(&second), Some(&[]), Some(&first[1..])];
    let (batch, tensors) = read(&reader(true), &records);
    assert_eq!((&batch.taken[..], &batch.left[..]), (&[0, 3][..], &[1, 2, 4, 5][..]));
    assert_eq!(batch.ids, [Some("x".into()), Some("-2".into())]);
    assert_eq!(tensors[0], [f32::NAN, 0.1, f32::NAN, f32::NAN].map(f32::to_ne_bytes).concat());
    assert_eq!(tensors[1], [1f64, 2.0, 3.0, 4.0].map(f64::to_ne_bytes).concat().repeat(2));
    assert_eq!(tensors[2], (-136i32).to_ne_bytes().repeat(2));
    assert_eq!(tensors[3], [1, 1]);
}

#[test]
fn a_record_that_is_cut_or_too_long_is_left() {
    let whole = good(1.5);
    for end in 0..whole.len() {
        assert_eq!(read(&reader(true), &[Some(&whole[..end])]).0.left, [0], "{end}");
    }
    assert_eq!(read(&reader(true), &[Some(&[&whole[..], &[0]].concat())]).0.left, [0]);
    assert_eq!(read(&reader(true), &[Some(&[&whole[..], &[0; 200]].concat())]).0.left, [0]);
}

#[test]
fn numbers_that_are_not_finite_are_read_where_they_are_wanted() {
    for (double, is_finite) in [(1e38, true), (1e39, false), (f64::INFINITY, false), (f64::NAN, false)] {
        let record = good(double);
        assert_eq!(read(&reader(true), &[Some(&record)]).0.taken.len(), usize::from(is_finite), "{double}");
        let (_, tensors) = read(&reader(false), &[Some(&record)]);
        assert_eq!(tensors[0][4..], (double as f32).to_ne_bytes(), "{double}");
    }
    // What becomes of a NaN that is not the usual one is left to Python.
    assert_eq!(read(&reader(false), &[Some(&good(-f64::NAN))]).0.left, [0]);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), at in 5..70usize) {
        let mut record = good(1.5);
        record.splice(at.min(record.len())..record.len(), bytes);
        read(&reader(true), &[Some(&record), None, Some(&record[5..])]);
    }
}
