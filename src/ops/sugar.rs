//! The common ops as functions of the graph: each appends one node, or two.
//!
//! The options that a function leaves out are the op's own: push the op ([`Graph::push1`]) where they matter.

use super::add::Add;
use super::attention::Attention;
use super::constant::Constant;
use super::exp::Exp;
use super::gelu::Gelu;
use super::gemm::Gemm;
use super::l2_normalize::L2Normalize;
use super::layer_norm::LayerNorm;
use super::mul::Mul;
use super::relu::Relu;
use super::reshape::Reshape;
use super::row_dot::RowDot;
use super::scale::Scale;
use super::softmax::Softmax;
use super::stop_gradient::StopGradient;
use super::sum_all::SumAll;
use super::swap_axes::SwapAxes;
use crate::graph::{Graph, GraphError, Result, Shape, TensorId};

/// Ops as functions. Shapes must fit, or the result is [`GraphError::Shape`].
///
/// ```
/// use amcl_wgpu::prelude::*;
///
/// let mut g = Graph::new();
/// let [a, b] = ["a", "b"].map(|name| g.input(name, TensorType::f32([2, 2])));
/// let product = g.matmul(a, b)?;
/// let loss = g.mean(product)?;
/// let gradients = backward(&mut g, loss, &[a])?;
/// let wanted = [product, loss, gradients[0].ok_or("no gradient")?];
///
/// let values = |v: [f64; 4]| HostData::F64(v.to_vec());
/// let inputs = [(a, values([1.0, 2.0, 3.0, 4.0])), (b, values([5.0, 6.0, 7.0, 8.0]))];
/// let got = HostExecutor::<f64>::new().evaluate(&g, &inputs, &wanted)?;
/// assert_eq!(got[0], values([19.0, 22.0, 43.0, 50.0]));
/// assert_eq!(got[1], HostData::F64(vec![33.5]));
/// // Of a_ik: a quarter of the sum of b's row k.
/// assert_eq!(got[2], values([2.75, 3.75, 2.75, 3.75]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl Graph {
    /// a [m,k] b [k,n] -> [m,n]. Both may have a batch in front ([c,m,k]); a batch of one goes with any.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn matmul(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        self.push1(Gemm::default(), &[a, b])
    }

    /// The product with b transposed: a [m,k] b [n,k] -> [m,n], the products of a's rows with b's rows. Batches as in
    /// [`Graph::matmul`].
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn matmul_nt(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        let op = Gemm {
            trans_b: true,
            ..Gemm::default()
        };
        self.push1(op, &[a, b])
    }

    /// The product with a transposed: a [k,m] b [k,n] -> [m,n], the products of a's columns with b's columns. Batches
    /// as in [`Graph::matmul`].
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn matmul_tn(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        let op = Gemm {
            trans_a: true,
            ..Gemm::default()
        };
        self.push1(op, &[a, b])
    }

    /// a + b, of one shape.
    ///
    /// # Errors
    /// Shapes that differ.
    pub fn add(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        self.push1(Add, &[a, b])
    }

    /// a - b, of one shape: two nodes, a + (-1) b.
    ///
    /// # Errors
    /// Shapes that differ.
    pub fn sub(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        let negative = self.scale(b, -1.0)?;
        self.add(a, negative)
    }

    /// a times b, element by element, of one shape.
    ///
    /// # Errors
    /// Shapes that differ.
    pub fn mul(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        self.push1(Mul, &[a, b])
    }

    /// x times a constant.
    ///
    /// # Errors
    /// An integer tensor.
    pub fn scale(&mut self, x: TensorId, factor: f64) -> Result<TensorId> {
        self.push1(Scale { factor }, &[x])
    }

    /// The exponential of every element.
    ///
    /// # Errors
    /// An integer tensor.
    pub fn exp(&mut self, x: TensorId) -> Result<TensorId> {
        self.push1(Exp { factor: 1.0 }, &[x])
    }

    /// max(x, 0), element by element.
    ///
    /// # Errors
    /// An integer tensor.
    pub fn relu(&mut self, x: TensorId) -> Result<TensorId> {
        self.push1(Relu, &[x])
    }

    /// x [..,d] -> alike: the softmax of each row.
    ///
    /// # Errors
    /// An integer tensor.
    pub fn softmax(&mut self, x: TensorId) -> Result<TensorId> {
        self.push1(Softmax, &[x])
    }

    /// x [..,d] -> alike: each row divided by its length, or by 1e-12 if it is shorter, as
    /// `torch.nn.functional.normalize` does.
    ///
    /// # Errors
    /// An integer tensor.
    pub fn l2_normalize(&mut self, x: TensorId) -> Result<TensorId> {
        self.push1(L2Normalize { eps: 1e-12 }, &[x])
    }

    /// a, b [..,d] -> [..]: the product of each row of a with the same row of b.
    ///
    /// # Errors
    /// Shapes that differ.
    pub fn row_dot(&mut self, a: TensorId, b: TensorId) -> Result<TensorId> {
        self.push1(RowDot, &[a, b])
    }

    /// The sum of all elements, [1].
    ///
    /// # Errors
    /// An integer tensor.
    pub fn sum(&mut self, x: TensorId) -> Result<TensorId> {
        self.push1(SumAll, &[x])
    }

    /// The sum of all elements times a constant, [1]: two nodes.
    ///
    /// # Errors
    /// An integer tensor.
    pub fn scaled_sum(&mut self, x: TensorId, factor: f64) -> Result<TensorId> {
        let sum = self.sum(x)?;
        self.scale(sum, factor)
    }

    /// The mean of all elements, [1]: two nodes.
    ///
    /// # Errors
    /// An integer tensor.
    pub fn mean(&mut self, x: TensorId) -> Result<TensorId> {
        let count = self.ty(x).elements().max(1);
        self.scaled_sum(x, 1.0 / count as f64)
    }

    /// x under another shape of as many elements; nothing moves.
    ///
    /// # Errors
    /// Another number of elements.
    pub fn reshape(&mut self, x: TensorId, shape: impl Into<Shape>) -> Result<TensorId> {
        let shape = shape.into();
        self.push1(Reshape { shape }, &[x])
    }

    /// x [..,m,n] -> [..,n,m]: the last two axes exchanged.
    ///
    /// # Errors
    /// Fewer than two dimensions.
    pub fn transpose(&mut self, x: TensorId) -> Result<TensorId> {
        let mut out = self.dims(x).to_vec();
        let [front @ .., m, n] = &mut out[..] else {
            let reason = format!("transpose needs two dimensions, has {}", self.ty(x));
            return Err(GraphError::Invalid(reason));
        };
        let axes = [front.iter().product(), *m, *n, 1];
        std::mem::swap(m, n);
        let out = out.as_slice().into();
        self.push1(SwapAxes { axes, out }, &[x])
    }

    /// images [b,h,w,c] -> [b,l,p p c]: the l = (h/p)(w/p) patches of side p, row by row, each as its pixels row by row
    /// and their channels. A convolution of stride and side p is the product of these with its weights [d,p,p,c], read
    /// as a matrix.
    ///
    /// # Errors
    /// A side that the patch does not divide.
    pub fn patches(&mut self, images: TensorId, patch: usize) -> Result<TensorId> {
        let [b, h, w, c] = self
            .ty(images)
            .rank("images")
            .map_err(GraphError::Invalid)?;
        if patch == 0 || h % patch != 0 || w % patch != 0 {
            let reason = format!("a patch of {patch} pixels does not divide images of {h} x {w}");
            return Err(GraphError::Invalid(reason));
        }
        let (rows, columns) = (h / patch, w / patch);
        let axes = [b * rows, patch, columns, patch * c];
        let out = [b, rows * columns, patch * patch * c].into();
        self.push1(SwapAxes { axes, out }, &[images])
    }

    /// x/2 (1 + erf(x / sqrt 2)), element by element.
    ///
    /// # Errors
    /// An integer tensor.
    pub fn gelu(&mut self, x: TensorId) -> Result<TensorId> {
        self.push1(Gelu::default(), &[x])
    }

    /// x [..,d], w, b [d] -> as x: each row less its mean, over its deviation (`eps` is added to the variance), times
    /// w, plus b.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn layer_norm(&mut self, x: TensorId, [w, b]: [TensorId; 2], eps: f64) -> Result<TensorId> {
        Ok(self.push(LayerNorm::new(eps), &[x, w, b])?[0])
    }

    /// qkv [b,n,3d] -> [b,n,d]: softmax(q k^T / sqrt(d / heads)) v of each head. Columns of qkv: the queries of all
    /// heads, their keys, their values.
    ///
    /// # Errors
    /// A width that the heads do not divide.
    pub fn attention(&mut self, qkv: TensorId, heads: usize) -> Result<TensorId> {
        let [_, _, width] = self.ty(qkv).rank("qkv").map_err(GraphError::Invalid)?;
        Ok(self.push(Attention::new(width / 3, heads), &[qkv])?[0])
    }

    /// x, through which no gradient passes.
    ///
    /// # Errors
    /// None is expected.
    pub fn stop_gradient(&mut self, x: TensorId) -> Result<TensorId> {
        self.push1(StopGradient, &[x])
    }

    /// A tensor of one value.
    ///
    /// # Errors
    /// None is expected.
    pub fn constant(&mut self, shape: impl Into<Shape>, value: f32) -> Result<TensorId> {
        let shape = shape.into();
        self.push1(Constant { shape, value }, &[])
    }

    /// x (any shape, e elements) -> [count,e]: that many copies; their gradients add up. Two nodes beside the
    /// reshaping: a column of ones times x as a row.
    ///
    /// # Errors
    /// None is expected.
    pub fn repeat(&mut self, x: TensorId, count: usize) -> Result<TensorId> {
        let n = self.ty(x).elements();
        let row = self.reshape(x, [1, n])?;
        let ones = self.constant([count, 1], 1.0)?;
        self.matmul(ones, row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::host::HostExecutor;
    use crate::graph::{Executor, HostData, TensorType};

    /// What `build` makes of x [2,3] = 1, -2, 3, -4, 5, -6.
    fn of(build: impl FnOnce(&mut Graph, TensorId) -> Result<TensorId>) -> (Vec<usize>, Vec<f64>) {
        let mut g = Graph::new();
        let x = g.input("x", TensorType::f32([2, 3]));
        let y = build(&mut g, x).unwrap();
        let x = (x, HostData::F64(vec![1.0, -2.0, 3.0, -4.0, 5.0, -6.0]));
        let got = HostExecutor::<f64>::new().evaluate(&g, &[x], &[y]).unwrap();
        (g.dims(y).to_vec(), got[0].to_f64())
    }

    fn close(got: &[f64], want: &[f64]) -> bool {
        got.len() == want.len() && got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-12)
    }

    #[test]
    fn each_is_the_op_of_its_name() {
        let (shape, y) = of(|g, x| g.transpose(x));
        assert_eq!(
            (&shape[..], &y[..]),
            (&[3, 2][..], &[1.0, -4.0, -2.0, 5.0, 3.0, -6.0][..])
        );
        // Rows with rows, columns with columns.
        assert_eq!(of(|g, x| g.matmul_nt(x, x)).1, [14.0, -32.0, -32.0, 77.0]);
        let columns = of(|g, x| g.matmul_tn(x, x)).1;
        assert_eq!(columns[..3], [17.0, -22.0, 27.0]);
        let two = |f: fn(&mut Graph, TensorId, TensorId) -> Result<TensorId>| {
            of(|g, x| {
                let double = g.scale(x, 2.0)?;
                f(g, x, double)
            })
            .1
        };
        assert_eq!(two(Graph::add), [3.0, -6.0, 9.0, -12.0, 15.0, -18.0]);
        assert_eq!(two(Graph::sub), [-1.0, 2.0, -3.0, 4.0, -5.0, 6.0]);
        assert_eq!(two(Graph::mul), [2.0, 8.0, 18.0, 32.0, 50.0, 72.0]);
        assert_eq!(two(Graph::row_dot), [28.0, 154.0]);
        assert_eq!(of(|g, x| g.relu(x)).1, [1.0, 0.0, 3.0, 0.0, 5.0, 0.0]);
        assert_eq!(of(|g, x| g.sum(x)).1, [-3.0]);
        assert_eq!(of(|g, x| g.mean(x)).1, [-0.5]);
        let (shape, y) = of(|g, x| g.repeat(x, 2));
        assert_eq!((&shape[..], y[6]), (&[2, 6][..], 1.0));
        let exp = of(|g, x| g.exp(x)).1;
        assert!(close(&exp[..2], &[1f64.exp(), (-2f64).exp()]));
        let shares = of(|g, x| g.softmax(x)).1;
        assert!(close(&[shares[..3].iter().sum()], &[1.0]) && shares[2] > shares[0]);
        let unit = of(|g, x| g.l2_normalize(x)).1;
        assert!(close(&unit[..1], &[1.0 / 14f64.sqrt()]));
        let half = of(|g, x| g.gelu(x)).1;
        // Phi(1), and Phi(-2) = 0.0228.
        assert!((half[0] - 0.841_344_746_068_543).abs() < 1e-12 && (half[1] + 0.0455).abs() < 1e-4);
        let normed = of(|g, x| {
            let w = g.constant([3], 1.0)?;
            g.layer_norm(x, [w, w], 0.0)
        });
        // 1, -2, 3 less 2/3, over sqrt(38/9), plus 1.
        assert!((normed.1[0] - 1.0 - 1.0 / 38f64.sqrt()).abs() < 1e-12);
        // One token attends to itself.
        let (shape, y) = of(|g, x| {
            let x = g.reshape(x, [2, 1, 3])?;
            g.attention(x, 1)
        });
        assert_eq!((&shape[..], &y[..]), (&[2, 1, 1][..], &[3.0, -6.0][..]));
        let (shape, y) = of(|g, x| {
            let x = g.reshape(x, [1, 2, 3, 1])?;
            let twice = g.repeat(x, 4)?;
            let x = g.reshape(twice, [1, 4, 6, 1])?;
            g.patches(x, 2)
        });
        // Rows of six alike: a patch has two of each.
        assert_eq!(
            (&shape[..], &y[..4]),
            (&[1, 6, 4][..], &[1.0, -2.0, 1.0, -2.0][..])
        );
        assert_eq!(y[4..8], [3.0, -4.0, 3.0, -4.0]);
        let filled = of(|g, _| g.constant([3], 0.25));
        assert_eq!(filled, (vec![3], vec![0.25; 3]));
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let mut g = Graph::new();
        let [a, b] = [[2, 3], [2, 4]].map(|d| g.input("x", TensorType::f32(d)));
        assert!(g.matmul(a, b).is_err() && g.add(a, b).is_err() && g.reshape(a, [5]).is_err());
        let images = g.input("x", TensorType::f32([1, 6, 4, 3]));
        let e = g.patches(images, 4).unwrap_err().to_string();
        assert!(
            e.contains("a patch of 4 pixels does not divide images of 6 x 4"),
            "{e}"
        );
        let flat = g.input("x", TensorType::f32([4]));
        let e = g.transpose(flat).unwrap_err().to_string();
        assert!(e.contains("two dimensions") && e.contains("[4]"), "{e}");
    }
}
