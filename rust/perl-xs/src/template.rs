//! Nested results that are built once and reused while nobody kept or changed a part of them.

use crate::{ffi, Perl, Sv};

/// The shape of a result.
#[derive(Clone, Debug)]
pub enum Node {
    /// A reference to a hash.
    Hash(Vec<(&'static str, Node)>),
    /// A reference to an array.
    Array(Vec<Node>),
    /// An integer: the leaf with this number, see [`Template::set`].
    Int(usize),
    /// A string that stays the same.
    Str(Vec<u8>),
    /// undef
    Undef,
}

/// A result of a fixed shape with integer leaves that change from use to use. Handed to a callback through
/// [`crate::Slots::template`] or [`Template::lend`]; if the callback kept the result or any part of it, or changed it (other than the values of
/// its integers), the next use builds a new one.
#[derive(Debug)]
pub struct Template {
    raw: *mut ffi::RawTemplate,
    leaves: usize,
}

fn flatten(node: &Node, key: &str, out: &mut Vec<ffi::RawNode>, leaves: &mut usize) {
    let bytes = |bytes: &[u8]| ffi::RawBytes {
        ptr: bytes.as_ptr(),
        len: bytes.len(),
    };
    let (kind, count, leaf, text): (u32, usize, usize, &[u8]) = match node {
        Node::Hash(pairs) => (ffi::NODE_HASH, pairs.len(), 0, b""),
        Node::Array(items) => (ffi::NODE_ARRAY, items.len(), 0, b""),
        Node::Int(leaf) => (ffi::NODE_INT, 0, *leaf, b""),
        Node::Str(text) => (ffi::NODE_STR, 0, 0, text),
        Node::Undef => (ffi::NODE_UNDEF, 0, 0, b""),
    };
    if kind == ffi::NODE_INT {
        *leaves = (*leaves).max(leaf + 1);
    }
    out.push(ffi::RawNode {
        kind,
        count: count as u32,
        leaf: leaf as u32,
        key: bytes(key.as_bytes()),
        text: bytes(text),
    });
    match node {
        Node::Hash(pairs) => pairs
            .iter()
            .for_each(|(key, child)| flatten(child, key, out, leaves)),
        Node::Array(items) => items
            .iter()
            .for_each(|child| flatten(child, "", out, leaves)),
        _ => {}
    }
}

impl Template {
    /// A template of this shape (the root is a hash or an array); all leaves are 0. Nothing is built yet.
    pub fn new(perl: Perl, root: &Node) -> Template {
        let (mut nodes, mut leaves) = (Vec::new(), 0);
        flatten(root, "", &mut nodes, &mut leaves);
        let raw =
            unsafe { ffi::pxs_template_new(perl.as_raw(), nodes.as_ptr(), nodes.len(), leaves) };
        Template { raw, leaves }
    }

    /// Sets a leaf for the uses to come.
    ///
    /// # Panics
    /// If the shape has no such leaf.
    #[inline]
    pub fn set(&mut self, leaf: usize, value: i64) {
        assert!(leaf < self.leaves, "the template has no leaf {leaf}");
        unsafe { *ffi::pxs_template_leaves(self.raw).add(leaf) = value };
    }

    /// A fresh result that is the caller's own, with the leaves as they are set.
    pub fn build(&self, perl: Perl) -> Sv {
        unsafe {
            Sv::from_raw(ffi::pxs_template_build(perl.as_raw(), self.raw))
                .expect("perl's allocator does not return null")
        }
    }

    /// The shared result with the leaves as they are set, to be dropped before the next use. If anybody kept or changed a
    /// part of it since the last use, it is a new one.
    pub fn lend(&mut self, perl: Perl) -> Sv {
        unsafe {
            Sv::from_raw(ffi::pxs_template_lend(perl.as_raw(), self.raw))
                .expect("perl's allocator does not return null")
        }
    }

    /// How often the shared result had to be built: 1 after the first use if nobody ever keeps it.
    pub fn builds(&self) -> usize {
        unsafe { ffi::pxs_template_rebuilds(self.raw) }
    }

    pub(crate) fn as_ptr(&mut self) -> *mut ffi::RawTemplate {
        self.raw
    }
}

impl Drop for Template {
    fn drop(&mut self) {
        unsafe { ffi::pxs_template_free(self.raw) };
    }
}
