//! How much a frame changed, as a colour and in words.

/// Samples are counted by chance: a difference of fewer standard deviations is none.
const DEVIATIONS: f64 = 2.0;

/// Factor at which a colour is full.
const FULL: f64 = 2.0;

/// What can happen to a frame.
pub(super) const SAME: [u8; 3] = [238, 238, 238];
pub(super) const GREW: [u8; 3] = [236, 92, 72];
pub(super) const SHRANK: [u8; 3] = [86, 138, 232];
pub(super) const NEW: [u8; 3] = [236, 150, 210];
pub(super) const GONE: [u8; 3] = [176, 172, 206];

/// Totals of two pictures, which count as equally long, and how their values came about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    pub(super) before: u64,
    pub(super) after: u64,
    /// Values are counts of samples, and not exact.
    pub(super) sampled: bool,
}

impl Scale {
    /// Colour and words of a frame with these values.
    pub(super) fn change(self, before: u64, after: u64) -> ([u8; 3], String) {
        let (was, is) = (share(before, self.before), share(after, self.after));
        let mut text = format!("before {:.2} %, after {:.2} %", was * 100.0, is * 100.0);
        if self.is_chance(before, after) {
            text.push_str(", no more than chance");
            return (SAME, text);
        }
        if before == 0 {
            text.push_str(", new");
            return (NEW, text);
        }
        (blend(was, is), text)
    }

    /// A value of the first picture as one of the second.
    pub(super) fn as_after(self, before: u64) -> u64 {
        // Where there is nothing after, what was before keeps its own width.
        if self.after == 0 || self.before == 0 {
            return before;
        }
        let scaled = u128::from(before) * u128::from(self.after) / u128::from(self.before);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }

    /// Two Poisson counts differ by no more than their standard deviations allow.
    #[expect(clippy::cast_precision_loss, reason = "a threshold")]
    pub(super) fn is_chance(self, before: u64, after: u64) -> bool {
        if !self.sampled || self.before == 0 || self.after == 0 {
            return false;
        }
        let (all_before, all_after) = (self.before as f64, self.after as f64);
        let difference = after as f64 / all_after - before as f64 / all_before;
        let variance = after as f64 / all_after.powi(2) + before as f64 / all_before.powi(2);
        difference.abs() <= DEVIATIONS * variance.sqrt()
    }
}

/// Between white and full red or blue, by the logarithm of the factor.
fn blend(was: f64, is: f64) -> [u8; 3] {
    let factor = (is / was).log(FULL);
    let (full, part) = if factor >= 0.0 { (GREW, factor) } else { (SHRANK, -factor) };
    let part = part.min(1.0);
    let mix = |from: u8, to: u8| {
        let mixed = f64::from(from) + (f64::from(to) - f64::from(from)) * part;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between two bytes"
        )]
        let byte = mixed.round() as u8;
        byte
    };
    [mix(SAME[0], full[0]), mix(SAME[1], full[1]), mix(SAME[2], full[2])]
}

#[expect(clippy::cast_precision_loss, reason = "shown with two decimals")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXACT: Scale = Scale { before: 1_000, after: 2_000, sampled: false };
    const SAMPLED: Scale = Scale { sampled: true, ..EXACT };

    #[test]
    fn equal_shares_are_white_whatever_the_totals() {
        let (colour, text) = EXACT.change(100, 200);
        assert_eq!((colour, text.as_str()), (SAME, "before 10.00 %, after 10.00 %"));
    }

    #[test]
    fn a_factor_of_two_is_full_red_or_blue_and_less_is_paler() {
        assert_eq!(EXACT.change(100, 400).0, GREW);
        assert_eq!(EXACT.change(100, 2_000).0, GREW);
        assert_eq!(EXACT.change(400, 400).0, SHRANK);
        let [red, green, _] = EXACT.change(100, 280).0;
        assert!(red >= GREW[0] && (GREW[1]..SAME[1]).contains(&green), "{green}");
    }

    #[test]
    fn what_was_not_there_is_new() {
        assert_eq!(EXACT.change(0, 10), (NEW, "before 0.00 %, after 0.50 %, new".to_owned()));
    }

    #[test]
    fn a_few_samples_more_are_chance_and_many_are_not() {
        let (colour, text) = SAMPLED.change(10, 26);
        assert_eq!(
            (colour, text.as_str()),
            (SAME, "before 1.00 %, after 1.30 %, no more than chance")
        );
        assert_ne!(SAMPLED.change(100, 300).0, SAME);
        // One sample of a new stack.
        assert_eq!(SAMPLED.change(0, 1).0, SAME);
        assert_eq!(SAMPLED.change(0, 100).0, NEW);
    }

    #[test]
    fn values_are_scaled_to_the_later_total() {
        assert_eq!((EXACT.as_after(7), Scale { after: 0, ..EXACT }.as_after(7)), (14, 7));
        assert_eq!(Scale { before: 1, after: u64::MAX, sampled: false }.as_after(2), u64::MAX);
    }
}
