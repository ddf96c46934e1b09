// SPDX-License-Identifier: GPL-2.0

//! A small deterministic random number generator (xoshiro256**, seeded with splitmix64).
//!
//! The same seed gives the same images, mutations and orders on every machine, so that a failure
//! can be named by its seed.

/// State of the generator.
#[derive(Clone)]
pub struct Rng([u64; 4]);

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// A generator for `seed`.
    pub fn new(seed: u64) -> Self {
        let mut s = seed;
        Rng([(); 4].map(|()| splitmix(&mut s)))
    }

    /// An independent generator for a named part of the work, so that adding a part does not
    /// change the others.
    pub fn part(seed: u64, name: &str) -> Self {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)
        });
        Self::new(seed ^ hash)
    }

    /// The next 64 random bits.
    pub fn u64(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[1].wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// A number below `bound` (0 when `bound` is 0).
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            return 0;
        }
        ((u128::from(self.u64()) * u128::from(bound)) >> 64) as u64
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number of `range` (end excluded).
    pub fn range(&mut self, range: std::ops::Range<u64>) -> u64 {
        range.start + self.below(range.end - range.start)
    }

    /// One of `items`, which are not none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }

    /// True once in `n` calls on average.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// Fills `buf` with random bytes.
    pub fn fill(&mut self, buf: &mut [u8]) {
        for chunk in buf.chunks_mut(8) {
            let bytes = self.u64().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }

    /// Fills `buf` with words, which every compressor shrinks to about a third.
    pub fn fill_text(&mut self, buf: &mut [u8]) {
        const WORDS: [&[u8]; 12] = [
            b"extent ",
            b"inode ",
            b"chunk ",
            b"stripe ",
            b"mirror ",
            b"checksum ",
            b"snapshot ",
            b"leaf ",
            b"node ",
            b"transaction ",
            b"0x00000000 ",
            b"\n",
        ];
        let mut at = 0;
        while at < buf.len() {
            let word = WORDS[self.index(WORDS.len())];
            let n = word.len().min(buf.len() - at);
            buf[at..at + n].copy_from_slice(&word[..n]);
            at += n;
            if self.one_in(6) && at < buf.len() {
                buf[at] = b'a' + self.below(26) as u8;
                at += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn same_seed_same_numbers() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        assert!((0..100).all(|_| a.u64() == b.u64()));
        assert_ne!(Rng::new(7).u64(), Rng::new(8).u64());
        assert_ne!(Rng::part(7, "x").u64(), Rng::part(7, "y").u64());
    }

    #[test]
    fn below_stays_below() {
        let mut rng = Rng::new(1);
        assert!((0..1000).all(|_| rng.below(7) < 7));
        assert_eq!(rng.below(0), 0);
    }
}
