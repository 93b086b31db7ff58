//! Twin of `shaders/attention_grad.wgsl`.

use super::Scalar;
use super::attention::{Heads, matrix, transposed};
use super::elementwise::vectorized;
use super::gemm::{Mat, product};
use super::scratch::{self, split};
use rayon::prelude::*;

/// What the forward pass left, and the upstream gradient.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a, T> {
    /// [images,tokens,3,heads,width].
    pub qkv: &'a [T],
    /// Results [images,tokens,heads,width].
    pub o: &'a [T],
    /// Log-sum-exps [images,heads,tokens].
    pub lse: &'a [T],
    /// Gradient of `o`.
    pub dout: &'a [T],
}

impl<T: Scalar> Heads<T> {
    /// `dqkv`, alike to qkv. A task takes an image, and adds the strips of its queries in order.
    pub fn attention_grad(&self, x: &Kept<'_, T>, dqkv: &mut [T]) {
        let (n, d) = (self.tokens, self.dim());
        let images = dqkv.par_chunks_mut(n * 3 * d).enumerate();
        images.for_each(|(b, dqkv)| {
            let of_image = Kept {
                qkv: &x.qkv[b * n * 3 * d..][..n * 3 * d],
                o: &x.o[b * n * d..][..n * d],
                lse: &x.lse[b * self.heads * n..][..self.heads * n],
                dout: &x.dout[b * n * d..][..n * d],
            };
            let mut memory = scratch::local::<T>(2 * self.strip());
            for head in 0..self.heads {
                self.head_grad(&of_image, head, &mut memory, dqkv);
            }
        });
    }

    fn head_grad(&self, x: &Kept<'_, T>, head: usize, memory: &mut [T], dqkv: &mut [T]) {
        let (n, d, width) = (self.tokens, self.dim(), self.width);
        let of_head = |data: &'_ [T], first: usize| -> usize {
            debug_assert!(data.len() == n * d);
            first * d + head * width
        };
        let place = |which: usize, first: usize| first * 3 * d + which * d + head * width;
        for rows in self.strips() {
            let (first, m) = (rows.start, rows.len());
            let [p, ds] = split(memory, [m * n, m * n]);
            self.logits(x.qkv, head, rows.clone(), p);
            let g = Mat {
                data: &x.dout[of_head(x.dout, first)..],
                rs: d,
                cs: 1,
            };
            let v = transposed(self.operand(x.qkv, 2, head, 0));
            product(m, n, width, T::one(), g, v, ds, n, false);
            vectorized(|| {
                for (i, (p, ds)) in p
                    .chunks_exact_mut(n)
                    .zip(ds.chunks_exact_mut(n))
                    .enumerate()
                {
                    let row = of_head(x.o, first + i);
                    let (o, g) = (&x.o[row..][..width], &x.dout[row..][..width]);
                    let inner: T = o.iter().zip(g).map(|(o, g)| *o * *g).sum();
                    let lse = x.lse[head * n + first + i];
                    for (p, ds) in p.iter_mut().zip(ds) {
                        *p = (*p - lse).exp_of_many();
                        *ds = *p * (*ds - inner);
                    }
                }
            });
            let (p, ds) = (matrix(p, n), matrix(ds, n));
            let k = self.operand(x.qkv, 1, head, 0);
            let dq = &mut dqkv[place(0, first)..];
            product(m, width, n, self.scale, ds, k, dq, 3 * d, false);
            let (q, add) = (self.operand(x.qkv, 0, head, first), first > 0);
            let dk = &mut dqkv[place(1, 0)..];
            product(n, width, m, self.scale, transposed(ds), q, dk, 3 * d, add);
            let dv = &mut dqkv[place(2, 0)..];
            product(n, width, m, T::one(), transposed(p), g, dv, 3 * d, add);
        }
    }
}
