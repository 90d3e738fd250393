//! Makes an input that fails as short as it can be while it still fails in the same way.

use std::time::{Duration, Instant};

use crate::{
    attempt::{attempt, outline},
    targets::Target,
};

/// How long to go on.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Leaves away chunk after chunk, halving them, for as long as what is left fails alike.
pub(crate) fn shrunk(target: &Target, input: &[u8], what: &str) -> Vec<u8> {
    let begun = Instant::now();
    let alike = outline(what);
    let fails = |input: &[u8]| attempt(target, input).is_err_and(|what| outline(&what) == alike);
    let mut best = input.to_vec();
    let mut chunk = best.len().div_ceil(2);
    while chunk > 0 {
        let before = best.len();
        let mut at = 0;
        while at < best.len() {
            if begun.elapsed() > TIME_MAX {
                return best;
            }
            let end = (at + chunk).min(best.len());
            let less = [&best[..at], &best[end..]].concat();
            if fails(&less) {
                best = less;
            } else {
                at = end;
            }
        }
        // Bytes that only together can go may be neighbours now.
        if chunk > 1 || best.len() == before {
            chunk /= 2;
        }
    }
    best
}
