//! Benjamini and Hochberg's correction for looking at many things at once.

/// For each of `p`, the smallest share of false discoveries at which it is one: calling everything
/// at or below *q* significant is wrong for a share *q* of it at most, on average. For tests that
/// are independent or go up and down together.
pub fn corrected(p: &[f64]) -> Vec<f64> {
    let count = p.len();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by(|&a, &b| p[b].total_cmp(&p[a]));
    let mut q = vec![1.0; count];
    let mut least: f64 = 1.0;
    // From the greatest down: q(i) = min over j >= i of p(j) * count / j.
    for (from_top, &index) in order.iter().enumerate() {
        let rank = u32::try_from(count - from_top).unwrap_or(u32::MAX);
        let all = u32::try_from(count).unwrap_or(u32::MAX);
        least = least.min(p[index] * f64::from(all) / f64::from(rank));
        q[index] = least;
    }
    q
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_worked_example_of_the_method() {
        // Benjamini and Hochberg 1995, section 3.2: four of fifteen are rejected at 0.05.
        let p = [
            0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262,
            0.5719, 0.6528, 0.7590, 1.0,
        ];
        let rejected = corrected(&p).iter().filter(|&&q| q <= 0.05).count();
        assert_eq!(rejected, 4);
    }

    proptest! {
        #[test]
        fn it_only_raises_and_keeps_the_order(p in proptest::collection::vec(0.0f64..=1.0, 0..40)) {
            let q = corrected(&p);
            for (i, (&p_i, &q_i)) in p.iter().zip(&q).enumerate() {
                prop_assert!(q_i >= p_i - 1e-12 && q_i <= 1.0);
                for (&p_j, &q_j) in p.iter().zip(&q).skip(i) {
                    prop_assert!((p_i < p_j) <= (q_i <= q_j));
                }
            }
        }
    }
}
