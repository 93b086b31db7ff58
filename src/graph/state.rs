//! Tensors that live across runs: parameters, gradients, optimiser moments, running statistics.
//!
//! States are grouped; a group is ONE flat buffer of one element type, so an optimiser updates all parameters with one dispatch.
//! Every entry starts at a multiple of [`ALIGN`] elements (256 bytes, WebGPU's largest required binding
//! alignment), so any entry can be bound alone. Padding is zero and stays zero.

use super::tensor::{DType, TensorType};

/// Alignment of entries within a group, in elements.
pub const ALIGN: usize = 64;

/// A state entry, or a whole group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateId {
    pub(crate) group: u32,
    /// Entry within the group; `WHOLE` for the flat group itself.
    pub(crate) entry: u32,
}

const WHOLE: u32 = u32::MAX;

impl StateId {
    /// Do both lie in the same memory: one entry, or a group and one of its entries?
    pub(crate) fn overlaps(self, o: Self) -> bool {
        let whole = self.entry == WHOLE || o.entry == WHOLE;
        self.group == o.group && (whole || self.entry == o.entry)
    }
}

/// One named state.
#[derive(Clone, Debug)]
pub struct StateEntry {
    /// Full name (`layer1.0.conv1.weight`).
    pub name: String,
    /// Shape and type.
    pub ty: TensorType,
    /// First element within the group.
    pub offset: usize,
}

/// One flat buffer of states.
#[derive(Clone, Debug)]
pub struct StateGroup {
    /// Name (`params`, `grads`, `momentum`, `bn_stats`).
    pub name: String,
    /// Element type of every entry.
    pub dtype: DType,
    /// Elements, padding included.
    pub len: usize,
    /// Entries in order.
    pub entries: Vec<StateEntry>,
    /// Part of a checkpoint (training data on the device is not).
    pub saved: bool,
}

/// The registry of all states of a run. Executors allocate it; graphs refer to it.
#[derive(Clone, Debug, Default)]
pub struct States {
    groups: Vec<StateGroup>,
}

impl States {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The group called `name`, made when absent. Returns its index.
    pub fn group(&mut self, name: &str, dtype: DType) -> usize {
        if let Some(i) = self.groups.iter().position(|g| g.name == name) {
            return i;
        }
        self.groups.push(StateGroup {
            name: name.to_string(),
            dtype,
            len: 0,
            entries: Vec::new(),
            saved: true,
        });
        self.groups.len() - 1
    }

    /// Adds an entry to the group called `group` (made when absent, with the entry's element type).
    ///
    /// # Panics
    /// When the group holds another element type (a programming error).
    pub fn add(&mut self, group: &str, name: &str, ty: TensorType) -> StateId {
        let g = self.group(group, ty.dtype);
        let grp = &mut self.groups[g];
        assert_eq!(
            grp.dtype, ty.dtype,
            "state group {group} holds {:?}",
            grp.dtype
        );
        let offset = grp.len;
        grp.len += ty.elements().div_ceil(ALIGN) * ALIGN;
        grp.entries.push(StateEntry {
            name: name.to_string(),
            ty,
            offset,
        });
        StateId {
            group: g as u32,
            entry: grp.entries.len() as u32 - 1,
        }
    }

    /// Leaves a group out of checkpoints.
    pub fn transient(&mut self, group: &str) {
        for g in self.groups.iter_mut().filter(|g| g.name == group) {
            g.saved = false;
        }
    }

    /// A group with the same entries (shapes, offsets) as `of`, under another name: gradients, moments, EMA copies.
    /// Returns the whole group's id.
    pub fn mirror(&mut self, of: &str, name: &str) -> StateId {
        let mut copy = self
            .groups
            .iter()
            .find(|g| g.name == of)
            .cloned()
            .unwrap_or_else(|| StateGroup {
                name: of.to_string(),
                dtype: DType::F32,
                len: 0,
                entries: Vec::new(),
                saved: true,
            });
        copy.name = name.to_string();
        for e in &mut copy.entries {
            e.name = format!("{name}.{}", e.name);
        }
        self.groups.push(copy);
        StateId {
            group: self.groups.len() as u32 - 1,
            entry: WHOLE,
        }
    }

    /// The flat group as one tensor of shape `[len]`.
    pub fn whole(&self, group: &str) -> Option<StateId> {
        let g = self.groups.iter().position(|g| g.name == group)?;
        Some(StateId {
            group: g as u32,
            entry: WHOLE,
        })
    }

    /// The entry of the same position in another group (a parameter's gradient).
    pub fn counterpart(&self, id: StateId, group: &str) -> Option<StateId> {
        let g = self.groups.iter().position(|g| g.name == group)?;
        Some(StateId {
            group: g as u32,
            entry: id.entry,
        })
    }

    /// An entry's record (for a whole group: name of the group, offset 0).
    pub fn entry(&self, id: StateId) -> StateEntry {
        let g = &self.groups[id.group as usize];
        if id.entry == WHOLE {
            let ty = TensorType {
                shape: [g.len].into(),
                dtype: g.dtype,
            };
            return StateEntry {
                name: g.name.clone(),
                ty,
                offset: 0,
            };
        }
        g.entries[id.entry as usize].clone()
    }

    /// Finds an entry by group and full name.
    pub fn find(&self, group: &str, name: &str) -> Option<StateId> {
        let g = self.groups.iter().position(|g| g.name == group)?;
        let e = self.groups[g].entries.iter().position(|e| e.name == name)?;
        Some(StateId {
            group: g as u32,
            entry: e as u32,
        })
    }

    /// All groups.
    pub fn groups(&self) -> &[StateGroup] {
        &self.groups
    }

    /// All entries of a group with their ids.
    pub fn entries(&self, group: &str) -> Vec<(StateId, &StateEntry)> {
        self.groups
            .iter()
            .enumerate()
            .filter(|(_, g)| g.name == group)
            .flat_map(|(gi, g)| {
                g.entries.iter().enumerate().map(move |(i, e)| {
                    (
                        StateId {
                            group: gi as u32,
                            entry: i as u32,
                        },
                        e,
                    )
                })
            })
            .collect()
    }

    /// Bytes of all groups.
    pub fn bytes(&self) -> usize {
        self.groups.iter().map(|g| g.len * g.dtype.bytes()).sum()
    }
}
