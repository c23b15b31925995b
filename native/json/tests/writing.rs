//! What is written of columns, and what is refused.

use millrace_json::{Column, Texts, fill};
use proptest::prelude::*;

type Columns<'a> = Column<'a, String, Vec<u8>>;

fn single(column: Columns<'_>, rows: usize) -> Option<Texts> {
    fill(&[b"<".to_vec(), b">".to_vec()], &[column], rows)
}

fn texts(column: Columns<'_>, rows: usize) -> Vec<String> {
    let texts = single(column, rows).expect("it fits");
    (0..texts.len()).map(|row| String::from_utf8(texts.text(row).into()).expect("UTF-8")).collect()
}

#[test]
fn every_kind_of_column_is_written() {
    assert_eq!(texts(Column::Integers(&[0, i64::MIN, 12]), 3), ["<0>", "<-9223372036854775808>", "<12>"]);
    let floats = [1.0, -0.0, 0.1, 1e20, f32::NAN, f32::INFINITY];
    assert_eq!(texts(Column::Floats(&floats), 6), ["<1.0>", "<-0.0>", "<0.1>", "<1e+20>", "<null>", "<null>"]);
    let choices = [b"yes".to_vec(), b"no".to_vec()];
    assert_eq!(texts(Column::Choices(&choices, &[1, 0]), 2), ["<no>", "<yes>"]);
    assert_eq!(texts(Column::Texts(&["a\"\\\n\u{1f}é".into()]), 1), ["<\"a\\\"\\\\\\n\\u001fé\">"]);
    assert_eq!(texts(Column::Bytes(&choices), 2), ["<yes>", "<no>"]);
}

#[test]
fn every_kind_of_avro_column_is_written() {
    let bytes = |column, rows| {
        let texts = fill(&[b"<".to_vec(), b">".to_vec()], &[column], rows).expect("it fits");
        (0..rows).map(|row| texts.text(row)[1..texts.text(row).len() - 1].to_vec()).collect::<Vec<_>>()
    };
    let longs: [&[u8]; 5] =
        [&[0], &[1], &[0x7F], &[0x80, 1], &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]];
    assert_eq!(bytes(Columns::Longs(&[0, -1, -64, 64, i64::MIN]), 5), longs);
    assert_eq!(bytes(Columns::Doubles(&[1.0]), 1), [1f64.to_le_bytes()]);
    let long = vec![vec![b'x'; 70]];
    let pieces = [b"a".to_vec(), b"b".to_vec(), vec![]];
    let sized = Columns::Sized(&pieces, vec![Column::Integers(&[12]), Column::Bytes(&long)]);
    assert_eq!(bytes(sized, 1), [[&[0x94, 1], &b"a12b"[..], &long[0]].concat()]);
    assert_eq!(single(Columns::Sized(&pieces, vec![Column::Integers(&[12])]), 1), None);
    assert_eq!(single(Columns::Sized(&pieces[..2], vec![Column::Integers(&[12])]), 2), None);
}

#[test]
fn no_rows_are_no_texts() {
    assert!(single(Column::Integers(&[]), 0).expect("it fits").is_empty());
}

#[test]
fn what_does_not_fit_is_refused() {
    assert_eq!(single(Column::Integers(&[1]), 2), None);
    assert_eq!(single(Column::Choices(&[b"a".to_vec()], &[1]), 1), None);
    assert_eq!(single(Column::Choices(&[b"a".to_vec()], &[-1]), 1), None);
    assert_eq!(fill(&[b"".to_vec()], &[Columns::Integers(&[1])], 1), None);
    assert_eq!(fill(&[], &[] as &[Columns<'_>], 0), None);
}

proptest! {
    #[test]
    fn numbers_read_back_as_what_they_were(bits in any::<u32>(), whole in any::<i64>()) {
        let float = f32::from_bits(bits);
        let written = &texts(Column::Floats(&[float]), 1)[0];
        let read = written[1..written.len() - 1].parse::<f32>().map(f32::to_bits);
        prop_assert_eq!(read.ok(), float.is_finite().then_some(bits));
        prop_assert_eq!(&texts(Column::Integers(&[whole]), 1)[0], &format!("<{whole}>"));
    }
}
