//! Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011). The generator is
//! counter-based, so that a random number depends on what it is for and on nothing else: not on thread, order, batch
//! position or vendor.

/// One block: four words from a 128-bit counter and a 64-bit key.
pub fn philox4x32(mut c: [u32; 4], mut k: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            k = [
                k[0].wrapping_add(0x9E37_79B9),
                k[1].wrapping_add(0xBB67_AE85),
            ];
        }
        let p0 = u64::from(c[0]) * 0xD251_1F53;
        let p1 = u64::from(c[2]) * 0xCD9E_8D57;
        c = [
            (p1 >> 32) as u32 ^ c[1] ^ k[0],
            p1 as u32,
            (p0 >> 32) as u32 ^ c[3] ^ k[1],
            p0 as u32,
        ];
    }
    c
}

/// What a stream is for: the purposes never share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Order of the samples in an epoch.
    Shuffle = 1,
    /// Augmentation of the first view; the second's is the next number.
    View0 = 2,
    /// Augmentation of the second view.
    View1 = 3,
    /// Initial weights.
    Init = 4,
    /// The procedural data set.
    Shapes = 5,
    /// Hold-out split.
    Split = 6,
    /// Which residual branches a sample leaves out.
    Drop = 7,
    /// How a batch is mixed.
    Mix = 8,
    /// What of a sample is erased.
    Erase = 9,
    /// The noise in its place.
    ErasedPixels = 10,
    /// Which operations change a sample's view.
    RandAugment = 11,
}

/// The stream of one (seed, epoch, sample, purpose).
#[derive(Clone, Debug)]
pub struct Stream {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    at: usize,
}

impl Stream {
    /// Starts the stream.
    pub fn new(seed: u64, epoch: u32, sample: u32, purpose: Purpose) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, sample, epoch, purpose as u32],
            block: [0; 4],
            at: 4,
        }
    }

    /// The stream of a method's own draws for a sample: `number` tells its draws apart. No [`Purpose`] shares its
    /// numbers.
    pub fn of_method(seed: u64, epoch: u32, sample: u32, number: u32) -> Self {
        const FIRST: u32 = 1 << 16;
        let mut out = Self::new(seed, epoch, sample, Purpose::Shuffle);
        out.counter[3] = FIRST + number;
        out
    }

    /// The key and the counter's words behind the first: what a kernel needs to draw this stream's numbers.
    pub fn words(&self) -> [u32; 5] {
        let ([a, b], [_, c, d, e]) = (self.key, self.counter);
        [a, b, c, d, e]
    }

    /// The next word.
    pub fn word(&mut self) -> u32 {
        if self.at == 4 {
            self.block = philox4x32(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.at = 0;
        }
        self.at += 1;
        self.block[self.at - 1]
    }

    /// Passes over `n` words.
    pub fn skip(&mut self, n: usize) {
        for _ in 0..n {
            self.word();
        }
    }

    /// Uniform in [0, 1), a multiple of 2^-24.
    pub fn uniform(&mut self) -> f32 {
        (self.word() >> 8) as f32 / (1u32 << 24) as f32
    }

    /// Uniform in [lo, hi).
    pub fn range(&mut self, lo: f32, hi: f32) -> f32 {
        lo + (hi - lo) * self.uniform()
    }

    /// Uniform integer below n (n > 0), without bias to 2^-32.
    pub fn below(&mut self, n: usize) -> usize {
        ((u64::from(self.word()) * n as u64) >> 32) as usize
    }

    /// Standard normal (Box-Muller).
    pub fn normal(&mut self) -> f32 {
        let (a, b) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * a.ln()).sqrt() * (std::f32::consts::TAU * b).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of the Random123 distribution (kat_vectors).
    #[test]
    fn known_answers() {
        assert_eq!(
            philox4x32([0; 4], [0; 2]),
            [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]
        );
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]
        );
        assert_eq!(
            philox4x32(
                [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
                [0xa4093822, 0x299f31d0]
            ),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn purposes_differ() {
        let first = |p| Stream::new(7, 1, 2, p).word();
        assert_ne!(first(Purpose::View0), first(Purpose::View1));
    }
}
