//! Which acknowledgements of a COMMIT are lost.

/// Which ones. The choice depends on the seed and on how many there were before, on nothing else.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AckLoss {
    pub seed: u64,
    /// From 0 to 1.
    pub probability: f64,
    /// Every n-th one, besides; 0 for none.
    pub every: u64,
    /// At most so many.
    pub most: u64,
}

/// The acknowledgements an edge has seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Acks {
    pub seen: u64,
    pub lost: u64,
}

impl Acks {
    /// Counts one; whether it is lost. `since` is what was there when the fault began.
    pub fn next(&mut self, loss: Option<AckLoss>, since: Acks) -> bool {
        self.seen += 1;
        let Some(loss) = loss else { return false };
        let number = self.seen - since.seen;
        let unlucky = fraction(loss.seed, number) < loss.probability
            || (loss.every > 0 && number.is_multiple_of(loss.every));
        let lost = unlucky && self.lost - since.lost < loss.most;
        self.lost += u64::from(lost);
        lost
    }
}

/// A number from 0 to 1 that depends on both arguments alone (splitmix64).
fn fraction(seed: u64, index: u64) -> f64 {
    let mut z = seed.wrapping_add(index.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(loss: AckLoss, count: u64) -> Vec<u64> {
        let mut acks = Acks::default();
        (1..=count)
            .filter(|_| acks.next(Some(loss), Acks::default()))
            .collect()
    }

    #[test]
    fn the_same_seed_loses_the_same_ones() {
        let loss = AckLoss {
            seed: 7,
            probability: 0.1,
            every: 0,
            most: u64::MAX,
        };
        let found = lost(loss, 1000);
        assert_eq!(found, lost(loss, 1000));
        assert!((50..200).contains(&found.len()), "{}", found.len());
        assert_ne!(found, lost(AckLoss { seed: 8, ..loss }, 1000));
        assert_eq!(lost(AckLoss { most: 3, ..loss }, 1000), found[..3]);
    }

    #[test]
    fn every_nth() {
        let loss = AckLoss {
            seed: 0,
            probability: 0.0,
            every: 4,
            most: 2,
        };
        assert_eq!(lost(loss, 100), [4, 8]);
    }
}
