//! Tensors that live across runs: parameters, gradients, optimiser moments, running statistics.
//!
//! States are grouped. A group is one flat buffer of one element type, so an optimiser updates all parameters with one
//! dispatch.
//! Every entry starts at a multiple of [`ALIGN`] elements (256 bytes, WebGPU's largest required binding
//! alignment), so any entry can be bound alone. Padding is zero and stays zero.

use super::tensor::{DType, TensorType};

/// Alignment of entries within a group, in elements.
pub const ALIGN: usize = 64;

/// Names a group of states. Whoever owns a group declares it as a constant, so that a misspelt group does not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    name: &'static str,
    number: Option<u32>,
    saved: bool,
}

impl Group {
    /// A group that is part of a checkpoint, under this name.
    pub const fn saved(name: &'static str) -> Self {
        Self {
            name,
            number: None,
            saved: true,
        }
    }

    /// A group that no checkpoint holds: what a run can make anew, such as training images on the device.
    pub const fn transient(name: &'static str) -> Self {
        Self {
            name,
            number: None,
            saved: false,
        }
    }

    /// The group of this name and number: for states of which each needs a group of its own.
    pub const fn numbered(self, number: u32) -> Self {
        Self {
            number: Some(number),
            ..self
        }
    }

    /// Is it part of a checkpoint?
    pub const fn is_saved(self) -> bool {
        self.saved
    }

    /// The name in a checkpoint, in messages and in memory reports.
    pub fn name(self) -> String {
        match self.number {
            None => self.name.into(),
            Some(n) => format!("{} {n}", self.name),
        }
    }
}

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
    /// Which group it is.
    pub group: Group,
    /// Element type of every entry.
    pub dtype: DType,
    /// Elements, padding included.
    pub len: usize,
    /// Entries in order.
    pub entries: Vec<StateEntry>,
}

impl StateGroup {
    fn empty(group: Group, dtype: DType) -> Self {
        Self {
            group,
            dtype,
            len: 0,
            entries: Vec::new(),
        }
    }
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

    fn position(&self, group: Group) -> Option<usize> {
        self.groups.iter().position(|g| g.group == group)
    }

    /// Adds an entry to a group (made when absent, with the entry's element type).
    ///
    /// # Panics
    /// When the group holds another element type (a programming error).
    pub fn add(&mut self, group: Group, name: &str, ty: TensorType) -> StateId {
        let at = self.position(group).unwrap_or_else(|| {
            self.groups.push(StateGroup::empty(group, ty.dtype));
            self.groups.len() - 1
        });
        let grp = &mut self.groups[at];
        assert_eq!(
            grp.dtype, ty.dtype,
            "state group {group:?} holds {:?}",
            grp.dtype
        );
        let offset = grp.len;
        // A group beyond any memory counts as `usize::MAX` and is refused when it is to be allocated.
        grp.len = ty
            .elements()
            .checked_next_multiple_of(ALIGN)
            .and_then(|n| grp.len.checked_add(n))
            .unwrap_or(usize::MAX);
        grp.entries.push(StateEntry {
            name: name.to_string(),
            ty,
            offset,
        });
        StateId {
            group: at as u32,
            entry: grp.entries.len() as u32 - 1,
        }
    }

    /// Makes the group `copy` with the entries of `of` (same shapes, same offsets): gradients, moments, a momentum
    /// encoder's parameters. Returns the whole group's id.
    pub fn mirror(&mut self, of: Group, copy: Group) -> StateId {
        let mut made = match self.position(of) {
            Some(at) => self.groups[at].clone(),
            None => StateGroup::empty(of, DType::F32),
        };
        made.group = copy;
        for e in &mut made.entries {
            e.name = format!("{}.{}", copy.name(), e.name);
        }
        self.groups.push(made);
        StateId {
            group: self.groups.len() as u32 - 1,
            entry: WHOLE,
        }
    }

    /// The flat group as one tensor of shape `[len]`.
    pub fn whole(&self, group: Group) -> Option<StateId> {
        let g = self.position(group)?;
        Some(StateId {
            group: g as u32,
            entry: WHOLE,
        })
    }

    /// The entry of the same position in another group (a parameter's gradient).
    pub fn counterpart(&self, id: StateId, group: Group) -> Option<StateId> {
        let g = self.position(group)?;
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
                name: g.group.name(),
                ty,
                offset: 0,
            };
        }
        g.entries[id.entry as usize].clone()
    }

    /// Finds an entry by group and full name.
    pub fn find(&self, group: Group, name: &str) -> Option<StateId> {
        let g = self.position(group)?;
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
    pub fn entries(&self, group: Group) -> Vec<(StateId, &StateEntry)> {
        let Some(at) = self.position(group) else {
            return Vec::new();
        };
        let id = |entry: usize| StateId {
            group: at as u32,
            entry: entry as u32,
        };
        let entries = self.groups[at].entries.iter().enumerate();
        entries.map(|(e, entry)| (id(e), entry)).collect()
    }

    /// The group of a state.
    pub fn group_of(&self, id: StateId) -> Group {
        self.groups[id.group as usize].group
    }

    /// Bytes of all groups.
    pub fn bytes(&self) -> usize {
        let bytes = |g: &StateGroup| g.len.saturating_mul(g.dtype.bytes());
        self.groups.iter().map(bytes).fold(0, usize::saturating_add)
    }
}
