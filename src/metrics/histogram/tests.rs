use super::*;

fn exponential(schema: i32, positive: &[(i32, f64)]) -> Histogram {
    let count = positive.iter().map(|b| b.1).sum();
    Histogram { schema, count, sum: count, positive: positive.to_vec(), ..Histogram::default() }
}

#[test]
fn bounds_follow_the_schema() {
    assert_eq!(exponential_bound(0, 3), 8.0);
    assert_eq!(exponential_bound(-1, 1), 4.0);
    assert!((exponential_bound(1, 1) - 2f64.sqrt()).abs() < 1e-15);
    assert_eq!(exponential_bound(0, 1024), f64::MAX);
    assert_eq!(exponential_bound(0, 1025), f64::INFINITY);
}

#[test]
fn addition_reduces_to_the_coarser_schema() {
    let mut a = exponential(1, &[(1, 1.0), (2, 2.0), (3, 4.0)]);
    let b = exponential(0, &[(1, 10.0)]);
    assert_eq!(a.add(&b), Ok(arithmetic::Notes::default()));
    assert_eq!((a.schema, a.positive, a.count), (0, vec![(1, 13.0), (2, 4.0)], 17.0));
}

#[test]
fn zero_buckets_are_widened_but_never_cut_a_bucket() {
    let mut a = exponential(0, &[(0, 1.0), (1, 2.0)]);
    let b = Histogram { zero_threshold: 1.5, zero_count: 5.0, count: 5.0, ..exponential(0, &[]) };
    a.add(&b).unwrap();
    assert_eq!((a.zero_threshold, a.zero_count, a.positive), (2.0, 8.0, vec![]));
}

#[test]
fn custom_bounds_are_reconciled_to_the_shared_ones() {
    let custom = |bounds: &[f64], buckets: &[(i32, f64)]| Histogram {
        schema: CUSTOM_SCHEMA,
        custom: bounds.into(),
        ..exponential(CUSTOM_SCHEMA, buckets)
    };
    let mut a = custom(&[1.0, 2.0, 3.0], &[(0, 1.0), (1, 1.0), (3, 1.0)]);
    let notes = a.add(&custom(&[1.0, 3.0], &[(1, 5.0)])).unwrap();
    assert!(notes.reconciled_bounds);
    assert_eq!((&a.custom[..], a.positive), (&[1.0, 3.0][..], vec![(0, 1.0), (1, 6.0), (2, 1.0)]));
    let mut exponential = exponential(0, &[]);
    assert_eq!(exponential.add(&custom(&[1.0], &[])), Err(arithmetic::Incompatible));
}

#[test]
fn quantiles_interpolate_logarithmically() {
    let h = exponential(0, &[(1, 2.0), (2, 2.0)]);
    assert_eq!(h.quantile(0.5).0, 2.0);
    assert!((h.quantile(0.25).0 - 2f64.sqrt()).abs() < 1e-12);
    assert!((h.quantile(0.75).0 - 8f64.sqrt()).abs() < 1e-12);
    assert_eq!(h.quantile(1.0).0, 4.0);
    assert!((h.fraction(1.0, 2.0) - 0.5).abs() < 1e-12);
    let negative = Histogram { negative: h.positive.clone(), positive: vec![], ..h };
    assert!((negative.quantile(0.25).0 + 8f64.sqrt()).abs() < 1e-12);
}

#[test]
fn a_count_that_went_down_is_a_reset_unless_the_hint_says_otherwise() {
    let a = exponential(0, &[(1, 2.0), (2, 3.0)]);
    let mut b = exponential(0, &[(1, 1.0), (2, 5.0)]);
    assert!(b.is_reset_after(&a));
    b.hint = ResetHint::NotReset;
    assert!(!b.is_reset_after(&a));
    assert!(!exponential(-1, &[(1, 6.0)]).is_reset_after(&a));
    assert!(exponential(1, &[(1, 60.0)]).is_reset_after(&a));
}

#[test]
fn printed_and_json_forms() {
    let h = Histogram { zero_count: 1.0, zero_threshold: 0.5, count: 3.0, sum: 5.0, ..exponential(0, &[(1, 2.0)]) };
    assert_eq!(h.to_string(), "{count:3, sum:5, [-0.5,0.5]:1, (1,2]:2}");
    let mut json = String::new();
    h.write_json(&mut json);
    assert_eq!(json, r#"{"count":"3","sum":"5","buckets":[[3,"-0.5","0.5","1"],[0,"1","2","2"]]}"#);
    let mut empty = String::new();
    Histogram::default().write_json(&mut empty);
    assert_eq!(empty, r#"{"count":"0","sum":"0"}"#);
}

#[test]
fn trimming_keeps_part_of_a_bucket() {
    let mut h = exponential(0, &[(1, 2.0), (3, 4.0)]);
    h.trim(2.0, true);
    assert_eq!((h.count, h.positive), (2.0, vec![(1, 2.0)]));
}
