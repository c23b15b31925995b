//! What is read, what is left, and that no bytes make it panic.

use millrace_json::{Batch, Field, Input, Kind, Plan};
use proptest::prelude::*;

fn field(name: &str, input: usize, place: usize, shape: &[usize], nullable: bool) -> Field {
    Field { name: name.into(), input, place, shape: shape.into(), nullable }
}

/// One of everything: `{"a":1,"b":2,"m":[[1,2],[3,4]],"i":1,"l":2,"f":true,"id":"x"}`.
fn plan() -> Plan {
    let fields = vec![
        field("a", 0, 0, &[], false),
        field("b", 0, 1, &[], true),
        field("m", 1, 0, &[2, 2], false),
        field("i", 2, 0, &[], false),
        field("l", 3, 0, &[], false),
        field("f", 4, 0, &[], false),
    ];
    let inputs = [(Kind::Float32, 2), (Kind::Float64, 4), (Kind::Int32, 1), (Kind::Int64, 1), (Kind::Bool, 1)];
    let inputs = inputs.map(|(kind, width)| Input { kind, width }).to_vec();
    Plan::new(fields, inputs, Some("id".into())).limit(1000, 8)
}

/// Plans of one feature.
fn single(kind: Kind, shape: &[usize], nullable: bool) -> Plan {
    let width = shape.iter().product();
    Plan::new(vec![field("x", 0, 0, shape, nullable)], vec![Input { kind, width }], None)
}

fn read<'a>(plan: &Plan, widths: &[usize], records: &[Option<&'a [u8]>]) -> (Batch<'a>, Vec<Vec<u8>>) {
    let mut tensors: Vec<_> = widths.iter().map(|width| vec![0xAB; width * records.len()]).collect();
    let batch = plan.read(records.iter().copied(), tensors.iter_mut().map(Vec::as_mut_slice));
    for (tensor, width) in tensors.iter_mut().zip(widths) {
        tensor.truncate(width * batch.taken.len());
    }
    (batch, tensors)
}

fn doubles(plan: &Plan, width: usize, record: &str) -> Option<Vec<f64>> {
    let (batch, tensors) = read(plan, &[width * 8], &[Some(record.as_bytes())]);
    let bytes = tensors[0].chunks_exact(8).map(|bytes| f64::from_ne_bytes(bytes.try_into().expect("eight")));
    (batch.left.is_empty()).then(|| bytes.collect())
}

#[test]
fn good_records_are_rows_and_the_others_are_left() {
    let good = br#" {"a":1,"b":2.5,"m":[[1,2],[3,4]],"i":-7,"l":8,"f":true,"id":"x"} "#;
    let other = br#"{"f":false,"l":0,"i":1,"m":[5,6,7,8],"a":-0.5,"more":{"a":[1,"\u00e9"]}}"#;
    let (batch, tensors) = read(&plan(), &[8, 32, 4, 8, 1], &[Some(good), None, Some(b"{}"), Some(other)]);
    assert_eq!(batch, Batch { taken: vec![0, 3], left: vec![1, 2], ids: vec![Some("x"), None] });
    let floats = [1f32, 2.5, -0.5, f32::NAN].map(f32::to_ne_bytes).concat();
    let numbers = [1f64, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0].map(f64::to_ne_bytes).concat();
    assert_eq!(tensors[0], floats);
    assert_eq!(tensors[1], numbers);
    assert_eq!(tensors[2], [-7i32, 1].map(i32::to_ne_bytes).concat());
    assert_eq!(tensors[3], [8i64, 0].map(i64::to_ne_bytes).concat());
    assert_eq!(tensors[4], [1, 0]);
}

#[test]
fn what_is_not_plainly_good_is_left() {
    let plan = single(Kind::Float64, &[], false);
    for value in [
        "", "null", "true", "\"1\"", "[1]", "01", "1.", ".5", "-", "+1", "1e", "1e+", "NaN", "Infinity", "1e999",
        "-01", "1_0", "0x1", "1,", "1}{", "1 1",
    ] {
        assert_eq!(doubles(&plan, 1, &format!("{{\"x\":{value}}}")), None, "{value}");
    }
    for record in
        [r#"{"x":1,"x":1}"#, r#"{"x":1,}"#, r#"{"\u0078":1}"#, r#"{"x":1}}"#, r#"[{"x":1}]"#, "\u{feff}{\"x\":1}"]
    {
        assert_eq!(doubles(&plan, 1, record), None, "{record}");
    }
}

#[test]
fn other_fields_are_passed_over_or_refused() {
    let plan = || single(Kind::Float64, &[], false).limit(1000, 3);
    for value in [r#""\n\\\u0041 é""#, "[]", "{}", "[{}]", "[[1]]", "-0", "1E+5", "null", r#"{"x":2}"#] {
        let record = format!("{{\"x\":1,\"y\":{value}}}");
        assert_eq!(doubles(&plan(), 1, &record), Some(vec![1.0]), "{value}");
        assert_eq!(doubles(&plan().refuse_others(true), 1, &record), None, "{value}");
    }
    for value in [r#""\ud800""#, r#""\q""#, "\"\t\"", "[[[]]]", "1e999", "tru", "[1,]", "{1:2}", r#""\u12"#] {
        assert_eq!(doubles(&plan(), 1, &format!("{{\"x\":1,\"y\":{value}}}")), None, "{value}");
    }
}

#[test]
fn a_record_beyond_a_limit_is_left() {
    let record = r#"{"x":[[1,2]]}"#;
    let plan = |bytes, depth| single(Kind::Float64, &[1, 2], false).limit(bytes, depth);
    assert_eq!(doubles(&plan(record.len(), 3), 2, record), Some(vec![1.0, 2.0]));
    assert_eq!(doubles(&plan(record.len() - 1, 3), 2, record), None);
    assert_eq!(doubles(&plan(record.len(), 2), 2, record), None);
    assert_eq!(doubles(&plan(record.len(), 2), 2, r#"{"x":[1,2]}"#), Some(vec![1.0, 2.0]));
}

#[test]
fn a_row_that_was_given_up_leaves_no_trace() {
    let plan = single(Kind::Float64, &[2], true);
    let records = [r#"{"x":[1,2"#, "{}", r#"{"x":null}"#].map(|record| Some(record.as_bytes()));
    let (batch, tensors) = read(&plan, &[16], &records);
    assert_eq!(batch.taken, [1, 2]);
    assert_eq!(tensors[0], [f64::NAN; 4].map(f64::to_ne_bytes).concat());
}

#[test]
fn minus_zero_is_zero_where_it_is_whole() {
    let plan = single(Kind::Float64, &[2], false);
    let read = doubles(&plan, 2, r#"{"x":[-0,-0.0]}"#).expect("good");
    assert_eq!(read.iter().map(|number| number.is_sign_negative()).collect::<Vec<_>>(), [false, true]);
}

/// Text that is almost a record, so that cases get past the first token.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let tokens = [
        "{", "}", "[", "]", ",", ":", "\"a\"", "\"b\"", "\"m\"", "\"i\"", "\"l\"", "\"f\"", "\"id\"", "\"", "\\",
        "\\u", "d800", "1", "-", "0", ".", "5", "e", "999", "true", "false", "null", " ", "\u{e9}",
    ];
    let token = prop_oneof![
        8 => prop::sample::select(tokens.to_vec()).prop_map(|token| token.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..3),
    ];
    prop::collection::vec(token, 0..40).prop_map(|tokens| tokens.concat())
}

/// A good record of `plan` with some bytes changed, inserted or cut off.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let good = br#"{"a":1.5,"b":null,"m":[[1,2],[3,4e-3]],"i":-7,"l":8,"f":true,"id":"x","y":{"z":["\u00e9"]}}"#;
    (prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), any::<prop::sample::Index>()).prop_map(
        move |(changes, end)| {
            let mut bytes = good.to_vec();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(end.index(2 * bytes.len()).max(1));
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_taken_or_left_like_alone(records in prop::collection::vec(prop_oneof![nearly(), damaged()], 1..5)) {
        let plan = plan();
        let widths = [8, 32, 4, 8, 1];
        let together: Vec<_> = records.iter().map(|record| Some(record.as_slice())).collect();
        let (batch, tensors) = read(&plan, &widths, &together);
        let mut all: Vec<_> = batch.taken.iter().chain(&batch.left).copied().collect();
        all.sort_unstable();
        prop_assert_eq!(all, (0..records.len() as u32).collect::<Vec<_>>());
        for (row, &record) in batch.taken.iter().enumerate() {
            let (alone, bytes) = read(&plan, &widths, &together[record as usize..=record as usize]);
            prop_assert_eq!(&alone.ids[0], &batch.ids[row]);
            for ((bytes, tensor), width) in bytes.iter().zip(&tensors).zip(widths) {
                prop_assert_eq!(bytes.as_slice(), &tensor[row * width..(row + 1) * width]);
            }
        }
    }

    #[test]
    fn doubles_come_back_to_the_bit(number in any::<f64>().prop_filter("finite", |number| number.is_finite())) {
        let plan = single(Kind::Float64, &[3], false);
        let record = format!("{{\"x\":[{number:?},{number:e},{number:.30}]}}");
        let read = doubles(&plan, 3, &record).expect("good");
        prop_assert_eq!(read[0].to_bits(), number.to_bits());
        prop_assert_eq!(read[1], number);
        prop_assert_eq!(read[2], format!("{number:.30}").parse::<f64>().expect("a number"));
    }
}
