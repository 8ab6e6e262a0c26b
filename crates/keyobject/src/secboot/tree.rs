//! The tree of `PolicyOR`: from the leaves, one for each branch, to the root, whose digest is approved.
//!
//! `PolicyOR` takes eight digests at most. So the leaves are cut into groups of eight, in order; each group is
//! a *node*, and its `PolicyOR` digest is a digest of its parent, in which the values of the level are grouped
//! in the same way, until one node is left. In the file all leaf nodes come first, then the next level, the root
//! last; `next` is the distance to the parent, 0 for the root. A lone last node is not lifted past its level.
//!
//! [`Tree::read`] takes this shape and no other. It says nothing of the digests: only those on the way of a
//! branch are looked at by a reader.

use super::Error;
use base::number::{fitting, to_usize};
use tpm::{Cursor, Marshal, Policy};

/// Digests of a node: what `PolicyOR` takes.
const ARITY: usize = 8;
/// Leaves of a tree of four levels, which is what readers take.
pub const MAX_LEAVES: usize = 4096;
const MAX_NODES: u32 = 1024;
/// Leaf nodes of a tree of four levels; also the farthest that a parent may be from its child.
const MAX_LEAF_NODES: usize = MAX_LEAVES / ARITY;

/// A list for `PolicyOR`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Distance to the parent in the list of nodes; 0 for the root.
    pub next: u32,
    /// 1 to 8 digests; a lone one is named twice to the TPM.
    pub digests: Vec<[u8; 32]>,
}

/// The tree, never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    nodes: Vec<Node>,
}

/// One level of the tree: where it starts in the list, and how many nodes it has.
struct Level {
    start: usize,
    nodes: usize,
}

impl Level {
    /// The level above; `None` for the root's.
    fn parents(&self) -> Option<Self> {
        (self.nodes > 1).then(|| Self {
            start: self.start.saturating_add(self.nodes),
            nodes: self.nodes.div_ceil(ARITY),
        })
    }

    /// Index of the parent of its node `place`; its own for the root.
    fn parent(&self, place: usize) -> usize {
        let above = self.parents();
        above.map_or(self.start, |above| {
            above.start.saturating_add(place.wrapping_div(ARITY))
        })
    }
}

impl Tree {
    /// The tree over these leaves, of which there is at least one.
    pub(super) fn over(leaves: &[[u8; 32]]) -> Self {
        let mut nodes: Vec<Node> = Vec::new();
        let mut digests = leaves.to_vec();
        loop {
            let level = Level {
                start: nodes.len(),
                nodes: digests.len().div_ceil(ARITY),
            };
            let mut above = Vec::new();
            for (place, group) in digests.chunks(ARITY).enumerate() {
                let own = level.start.saturating_add(place);
                let next = level.parent(place).saturating_sub(own);
                above.push(Policy::or(group).digest());
                nodes.push(Node {
                    next: fitting(next), // at most 512
                    digests: group.to_vec(),
                });
            }
            if level.nodes <= 1 {
                return Self { nodes };
            }
            digests = above;
        }
    }

    /// Reads the count of nodes and the nodes.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self, Error> {
        let count = cursor.long("count of policy nodes")?;
        if !(1..=MAX_NODES).contains(&count) {
            return Err(Error::Nodes { nodes: count });
        }
        let mut nodes = Vec::new();
        for node in 0..count {
            let node = to_usize(node.into()); // at most 1023
            let next = cursor.long("next of a policy node")?;
            let count = cursor.long("count of policy digests")?;
            if !(1..=8).contains(&count) {
                return Err(Error::Digests {
                    node,
                    digests: count,
                });
            }
            let mut digests = Vec::new();
            for _ in 0..count {
                digests.push(super::body::digest(cursor, "policy digest")?);
            }
            nodes.push(Node { next, digests });
        }
        let tree = Self { nodes };
        tree.check_shape()?;
        Ok(tree)
    }

    /// Appends the count of nodes and the nodes.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.put_long(fitting(self.nodes.len()));
        for node in &self.nodes {
            bytes.put_long(node.next);
            bytes.put_long(fitting(node.digests.len()));
            for digest in &node.digests {
                bytes.put_sized(digest);
            }
        }
    }

    fn check_shape(&self) -> Result<(), Error> {
        let nodes = self.nodes.len();
        for (node, next) in self.nodes.iter().map(|node| node.next).enumerate() {
            let parent = u64::from(next).saturating_add(node as u64);
            if parent >= nodes as u64 {
                return Err(Error::NoParent {
                    node,
                    parent,
                    nodes,
                });
            }
        }
        let mut level = self.leaf_level();
        if level.nodes > MAX_LEAF_NODES {
            return Err(Error::TooDeep {
                leaf_nodes: level.nodes,
            });
        }
        let mut wanted_digests = None;
        loop {
            for place in 0..level.nodes {
                let node = level.start.saturating_add(place);
                let wanted = level.parent(place);
                let is_last = place.saturating_add(1) == level.nodes;
                self.check_node(node, wanted, wanted_digests, is_last)?;
            }
            wanted_digests = Some(level.nodes);
            match level.parents() {
                Some(above) => level = above,
                None => break,
            }
        }
        let end = level.start.saturating_add(level.nodes);
        if end < nodes {
            return Err(Error::Unreachable { node: end });
        }
        Ok(())
    }

    /// `children` is the number of nodes below this node's level; none for leaf nodes.
    fn check_node(
        &self,
        node: usize,
        wanted_parent: usize,
        children: Option<usize>,
        is_last: bool,
    ) -> Result<(), Error> {
        let Some(Node { next, digests }) = self.nodes.get(node) else {
            let nodes = self.nodes.len();
            let parent = node as u64;
            return Err(Error::NoParent {
                node: node.saturating_sub(1),
                parent,
                nodes,
            });
        };
        let parent = u64::from(*next).saturating_add(node as u64);
        if parent != wanted_parent as u64 {
            return Err(Error::Parent {
                node,
                parent,
                wanted: wanted_parent,
            });
        }
        let wanted = match (is_last, children) {
            (false, _) => ARITY,
            (true, None) => digests.len(),
            (true, Some(children)) => children
                .saturating_sub(1)
                .wrapping_rem(ARITY)
                .saturating_add(1),
        };
        if digests.len() != wanted {
            return Err(Error::Fill {
                node,
                digests: digests.len(),
                wanted,
            });
        }
        Ok(())
    }

    /// The distance from node 0 to its parent is the number of leaf nodes; one where it is the root.
    fn leaf_level(&self) -> Level {
        let next = self.nodes.first().map_or(0, |node| node.next);
        Level {
            start: 0,
            nodes: to_usize(next.into()).max(1),
        }
    }

    /// The nodes as they stand in the file.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The leaves, in order.
    pub fn leaves(&self) -> impl Iterator<Item = &[u8; 32]> {
        let nodes = self.nodes.iter().take(self.leaf_level().nodes);
        nodes.flat_map(|node| &node.digests)
    }

    /// The digest of the root.
    pub(super) fn root_digest(&self) -> [u8; 32] {
        let root = self.nodes.last();
        root.map_or(Policy::START, |root| Policy::or(&root.digests))
            .digest()
    }

    /// The nodes from that of `leaf` to the root, in the order in which a reader names them to the TPM.
    ///
    /// Fails with [`Error::NotABranch`] and [`Error::BrokenNode`].
    pub fn path(&self, leaf: &[u8; 32]) -> Result<Vec<&Node>, Error> {
        let leaf_nodes = self.leaf_level().nodes;
        let holds = |node: &&Node| node.digests.contains(leaf);
        let node = self
            .nodes
            .iter()
            .take(leaf_nodes)
            .position(|node| holds(&node));
        let mut at = node.ok_or_else(|| Error::NotABranch {
            leaves: self.leaves().count(),
        })?;
        let mut path = Vec::new();
        while let Some(node) = self.nodes.get(at) {
            path.push(node);
            if node.next == 0 {
                break;
            }
            at = self.check_link(at, node)?;
        }
        Ok(path)
    }

    /// Every digest of an inner node is that of its child.
    pub(super) fn check(&self) -> Result<(), Error> {
        let inner = self.nodes.iter().enumerate();
        for (at, node) in inner.filter(|(_, node)| node.next != 0) {
            self.check_link(at, node)?;
        }
        Ok(())
    }

    /// The index of the parent of `node`, which must hold its digest.
    fn check_link(&self, at: usize, node: &Node) -> Result<usize, Error> {
        let next = to_usize(node.next.into());
        let parent = at.saturating_add(next);
        let digest = Policy::or(&node.digests).digest();
        let above = self.nodes.get(parent);
        match above {
            Some(above) if above.digests.contains(&digest) => Ok(parent),
            _ => Err(Error::BrokenNode { node: at }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tree over so many leaves, written and read again.
    fn read(leaves: usize) -> Result<Tree, Error> {
        let leaves: Vec<[u8; 32]> = (0..leaves as u64)
            .map(|number| {
                let mut leaf = [0; 32];
                leaf[..8].copy_from_slice(&number.to_be_bytes());
                leaf
            })
            .collect();
        let mut bytes = Vec::new();
        Tree::over(&leaves).write(&mut bytes);
        let tree = Tree::read(&mut Cursor::new(&bytes))?;
        assert!(tree.leaves().eq(&leaves));
        tree.check()?;
        Ok(tree)
    }

    #[test]
    fn nodes_stand_as_the_specification_lists_them() {
        for (leaves, wanted) in [
            (1, "0:1"),
            (8, "0:8"),
            (9, "2:8 1:1 0:2"),
            (10, "2:8 1:2 0:2"),
            (64, "8:8 7:8 6:8 5:8 4:8 3:8 2:8 1:8 0:8"),
            (65, "9:8 8:8 7:8 6:8 5:8 4:8 3:8 2:8 2:1 2:8 1:1 0:2"),
        ] {
            let tree = read(leaves).unwrap();
            let nodes: Vec<String> = tree
                .nodes()
                .iter()
                .map(|node| format!("{}:{}", node.next, node.digests.len()))
                .collect();
            assert_eq!(nodes.join(" "), wanted, "{leaves}");
        }
    }

    #[test]
    fn a_tree_has_four_levels_at_most() {
        let tree = read(MAX_LEAVES).unwrap();
        let last = *tree.leaves().last().unwrap();
        assert_eq!(
            (tree.nodes().len(), tree.path(&last).unwrap().len()),
            (585, 4)
        );
        assert_eq!(
            read(MAX_LEAVES + 1).unwrap_err().to_string(),
            "the policy tree has 513 leaf nodes; readers take at most 512, in four levels"
        );
    }

    #[test]
    fn counts_are_checked_before_anything_is_read() {
        for (count, digests, message) in [
            (0, 1, "the policy tree has 0 nodes; it must have 1 to 1024"),
            (
                1025,
                1,
                "the policy tree has 1025 nodes; it must have 1 to 1024",
            ),
            (
                u32::MAX,
                1,
                "the policy tree has 4294967295 nodes; it must have 1 to 1024",
            ),
            (
                1,
                0,
                "node 0 of the policy tree has 0 digests; it must have 1 to 8",
            ),
            (
                1,
                9,
                "node 0 of the policy tree has 9 digests; it must have 1 to 8",
            ),
        ] {
            let mut bytes = Vec::new();
            bytes.put_long(count);
            bytes.put_long(0);
            bytes.put_long(digests);
            let refused = Tree::read(&mut Cursor::new(&bytes)).unwrap_err();
            assert_eq!(refused.to_string(), message);
        }
    }

    #[test]
    fn next_leads_to_the_parent_that_the_order_gives() {
        let mut bytes = Vec::new();
        Tree::over(&[[7; 32]; 9]).write(&mut bytes);
        let second = 4 + 8 + 8 * 34;
        for (at, next, message) in [
            (4, 2, None),
            (
                4,
                1,
                Some("node 0 of the policy tree names node 1 as its parent; it must be 0"),
            ),
            (
                4,
                3,
                Some("node 0 of the policy tree names node 3 as its parent; there are 3"),
            ),
            (
                4,
                u32::MAX,
                Some("node 0 of the policy tree names node 4294967295 as its parent; there are 3"),
            ),
            (
                second,
                0,
                Some("node 1 of the policy tree names node 1 as its parent; it must be 2"),
            ),
        ] {
            let mut changed = bytes.clone();
            changed[at..at + 4].copy_from_slice(&u32::to_be_bytes(next));
            let read = Tree::read(&mut Cursor::new(&changed));
            let refused = read.err().map(|error| error.to_string());
            assert_eq!(refused.as_deref(), message);
        }
    }
}
