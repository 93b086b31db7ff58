//! Twin of `shaders/attention_row.wgsl`.

use super::Scalar;
use super::attention::Heads;
use super::softmax::softmax;

impl<T: Scalar> Heads<T> {
    /// `w` [images,heads,tokens]: the weights that token number `token` has for all tokens, of qkv
    /// [images,tokens,3,heads,width].
    pub fn attention_row(&self, token: usize, qkv: &[T], w: &mut [T]) {
        let (n, d) = (self.tokens, self.dim());
        let mut logits = vec![T::zero(); w.len()];
        let images = logits.chunks_mut(self.heads * n).zip(qkv.chunks(n * 3 * d));
        for (logits, qkv) in images {
            for (head, s) in logits.chunks_mut(n).enumerate() {
                self.logits(qkv, head, token..token + 1, s);
            }
        }
        softmax(n, &logits, w);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Weighted with the values they give what the attention gives for that token.
    #[test]
    fn the_weights_are_those_of_the_attention() {
        let (images, n, heads, width) = (2, 5, 3, 4);
        let d = heads * width;
        let h = Heads {
            tokens: n,
            heads,
            width,
            scale: 0.6,
        };
        let qkv: Vec<f64> = (0..images * n * 3 * d)
            .map(|i| (i as f64 * 0.61).sin())
            .collect();
        let (mut o, mut lse) = (vec![0.0; images * n * d], vec![0.0; images * heads * n]);
        h.attention(&qkv, &mut o, &mut lse);
        let mut w = vec![0.0; images * heads * n];
        for token in [0, 3] {
            h.attention_row(token, &qkv, &mut w);
            for (row, weights) in w.chunks(n).enumerate() {
                let (image, head) = (row / heads, row % heads);
                for c in 0..width {
                    let value = |j: usize| qkv[((image * n + j) * 3 + 2) * d + head * width + c];
                    let got: f64 = (0..n).map(|j| weights[j] * value(j)).sum();
                    let want = o[(image * n + token) * d + head * width + c];
                    assert!((got - want).abs() < 1e-12, "{got} {want}");
                }
            }
        }
        // The control: another token's weights are others.
        let last = w.clone();
        h.attention_row(0, &qkv, &mut w);
        assert!(w.iter().zip(&last).any(|(a, b)| (a - b).abs() > 1e-3));
    }
}
