//! How far class and kind agree with the labels, with precision and recall of each class.

use analysis::classify::{Class, Classifier};

use crate::rows::{class_of, rows, short};

/// Least share of rows whose class agrees, in thousandths. One row is known to disagree: the
/// mangled form of a weight-repacking kernel is labelled a GEMM, its readable form is not.
const CLASS_FLOOR: usize = 999;
/// Same for class and kind, where the corpus tells the kind.
const KIND_FLOOR: usize = 995;
/// Most names that no rule may match.
const UNMATCHED_MAX: usize = 3;

#[test]
fn classes_agree_with_the_corpus() {
    let Some(rows) = rows("classes_agree_with_the_corpus") else { return };
    let classifier = Classifier::default();
    let (mut class_agrees, mut kind_agrees, mut unmatched) = (0, 0, 0);
    for row in &rows {
        let found = classifier.classify(&row.name);
        unmatched += usize::from(found.is_none());
        let class = found.map_or(Class::Other, |matched| matched.class);
        let same_kind = class == row.class && row.agrees_in_kind(found);
        class_agrees += usize::from(class == row.class);
        kind_agrees += usize::from(same_kind);
        if !same_kind {
            println!("{} taken for {found:?}: {}", row.label, short(&row.name));
        }
    }
    println!(
        "classes agree for {class_agrees} of {} names, class and kind for {kind_agrees}; {unmatched} matched no rule",
        rows.len()
    );
    assert!(class_agrees * 1000 >= rows.len() * CLASS_FLOOR, "fewer classes agree than the floor");
    assert!(kind_agrees * 1000 >= rows.len() * KIND_FLOOR, "fewer kinds agree than the floor");
    assert!(unmatched <= UNMATCHED_MAX, "{unmatched} names matched no rule");
}

#[test]
fn each_class_is_precise_and_complete() {
    let Some(rows) = rows("each_class_is_precise_and_complete") else { return };
    let classifier = Classifier::default();
    for class in [Class::Attention, Class::Gemm, Class::Communication] {
        let found = |row: &&crate::rows::Row| class_of(&classifier, &row.name) == class;
        let all = rows.iter().filter(|row| row.class == class).count();
        let taken = rows.iter().filter(found).count();
        let right = rows.iter().filter(found).filter(|row| row.class == class).count();
        println!("{class}: {right} right of {taken} taken, of {all} there are");
        assert!(right * 100 >= taken * 99, "{class}: precision");
        assert!(right * 100 >= all * 99, "{class}: recall");
    }
}
