//! Some of those found, drawn from a fault's seed.

use inject::Refusal;
use model::TargetRef;
use model::draw::{self, Lane};
use model::target::Pick;

/// The stream of draws for picking.
const PICK: Lane = Lane::Other(1);

/// Which of those there a fault gets: the same seed picks the same among the same. `what` is their word in the plural.
pub(crate) fn pick<T: Clone>(
    target: &TargetRef,
    there: &[T],
    pick: Pick,
    seed: u64,
    what: &str,
    names: impl Fn(&[T]) -> String,
) -> Result<Vec<T>, Refusal> {
    let count = match pick {
        Pick::One => 1,
        Pick::All => there.len(),
        Pick::Percent(p) => ((there.len() as f64 * p.fraction()).round() as usize).max(1),
        Pick::Count(0) => {
            return Err(Refusal::new(
                format!("{target} picks none of its {what}"),
                "pick a count of 1 or more",
            ));
        }
        Pick::Count(n) if n as usize > there.len() => {
            return Err(Refusal::new(
                format!("{target} wants {n} {what}, but only {} run: {}", there.len(), names(there)),
                "lower the count, or say pick: all",
            ));
        }
        Pick::Count(n) => n as usize,
    };
    let mut order: Vec<usize> = (0..there.len()).collect();
    if count < there.len() {
        order.sort_by_key(|i| draw::bits(seed, PICK, *i as u64));
        order.truncate(count);
        order.sort_unstable();
    }
    Ok(order.into_iter().map(|i| there[i].clone()).collect())
}
