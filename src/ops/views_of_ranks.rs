//! `views_of_ranks`: what all ranks have of their images' views, in the order of a loss over all of them. It has no
//! kernel: numbers go through the host.

use crate::comm::World;
use crate::device::recording::Recorder;
use crate::graph::op::{HostMut, HostRef};
use crate::graph::{Bindings, Class, Graph, HostIo, NodeId, Op, Result, TensorId, TensorType};
use crate::reference::Scalar;
use crate::twin;

/// x [c,own,..] of each rank, whose rows are those of one view and then of the other -> [c,all,..]: the first view of
/// all ranks' images, those of rank 0 first, and then the second. So of several tensors, of floats (in one exchange)
/// or of integers.
///
/// No gradient comes back through it: it is for ops whose rule accounts for the other ranks by itself
/// ([`super::amcl_stream_of_ranks::AmclStreamOfRanks`]).
#[derive(Clone, Debug)]
pub struct ViewsOfRanks {
    /// This rank among the others.
    pub world: World,
    /// What is gathered, in words.
    pub what: &'static str,
}

impl Op for ViewsOfRanks {
    fn name(&self) -> &'static str {
        "views_of_ranks"
    }
    fn class(&self) -> Class {
        Class::Exchange
    }
    fn on_host(&self) -> bool {
        true
    }
    fn infer(&self, inputs: &[&TensorType]) -> std::result::Result<Vec<TensorType>, String> {
        let of_all = |x: &&TensorType| {
            let mut dims = x.dims().to_vec();
            match dims.get_mut(1).filter(|own| own.is_multiple_of(2)) {
                Some(own) => *own *= self.world.ranks(),
                None => return Err("needs rows of two views".to_string()),
            }
            Ok(x.with_shape(dims.as_slice()))
        };
        inputs.iter().map(of_all).collect()
    }
    fn gradient(
        &self,
        _g: &mut Graph,
        _node: NodeId,
        dy: &[Option<TensorId>],
    ) -> Result<Vec<Option<TensorId>>> {
        Ok(vec![None; dy.len()])
    }
    fn record(&self, _rec: &mut Recorder<'_>, _io: &Bindings) -> Result<()> {
        super::hosts_alone(self.name())
    }
    twin!();
}

/// Of `count` numbers of each rank those from `first` on, to y in the views' order.
fn place<T: Copy>((all, count): (&[T], usize), first: usize, heads: usize, y: &mut [T]) {
    let ranks = all.len() / count;
    let run = y.len() / ranks / heads / 2;
    for (rank, own) in all.chunks(count).enumerate() {
        let own = &own[first..first + y.len() / ranks];
        for (of, piece) in own.chunks(run).enumerate() {
            let at = (of * ranks + rank) * run;
            y[at..at + run].copy_from_slice(piece);
        }
    }
}

impl ViewsOfRanks {
    fn twin<T: Scalar>(&self, io: &mut HostIo<'_, T>) {
        let floats = io.inputs.iter().filter_map(|x| match x {
            HostRef::Float(x) => Some(*x),
            HostRef::U32(_) => None,
        });
        let own = floats.collect::<Vec<_>>().concat();
        let gathered = self.world.all_gather(self.what, &own);
        let mut first = 0;
        let tensors = io.inputs.iter().zip(&mut io.outputs).zip(io.input_types);
        for ((x, y), ty) in tensors {
            let heads = ty.dims()[0];
            match (x, y) {
                (HostRef::Float(x), HostMut::Float(y)) => {
                    match &gathered {
                        Ok(all) => place((all, own.len()), first, heads, y),
                        Err(_) => y.fill(T::nan()),
                    }
                    first += x.len();
                }
                (HostRef::U32(x), HostMut::U32(y)) => {
                    let bytes = bytemuck::cast_slice(x).to_vec();
                    match self.world.all_gather_bytes(self.what, bytes) {
                        Ok(all) => {
                            let words = bytemuck::pod_collect_to_vec::<u8, u32>(&all.concat());
                            place((&words, x.len()), 0, heads, y);
                        }
                        Err(_) => y.fill(0),
                    }
                }
                _ => unreachable!("a result has its input's type"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::place;

    /// Two ranks with two heads and three images: view by view, and within it rank by rank.
    #[test]
    fn rows_stand_view_by_view() {
        // rank, head, view, image; the second of two tensors.
        let own = |rank: u32| {
            let of = |head: u32| move |i: u32| 1000 * rank + 100 * head + 10 * (i / 3) + i % 3;
            let rows = (0..2).flat_map(|head| (0..6).map(of(head)));
            [vec![7; 5], rows.collect()].concat()
        };
        let all = [own(0), own(1)].concat();
        let mut y = [0u32; 24];
        place((&all, 17), 5, 2, &mut y);
        let of_head = |h: u32| {
            let of = |v: u32| {
                let rows = (0..6).map(move |i| 1000 * (i / 3) + 100 * h + 10 * v + i % 3);
                rows.collect::<Vec<u32>>()
            };
            [of(0), of(1)].concat()
        };
        assert_eq!(y.to_vec(), [of_head(0), of_head(1)].concat());
    }
}
