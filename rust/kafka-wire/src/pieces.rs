//! Bytes that follow each other, wherever they lie.

use bytes::Bytes;

/// Bytes in one piece or several: large values stay where they are while what stands around them is written elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Pieces {
    first: Bytes,
    more: Vec<Bytes>,
    len: usize,
}

impl Pieces {
    /// How many bytes all pieces have.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a piece behind the others.
    pub fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        match self.first.is_empty() {
            true => self.first = piece,
            false if piece.is_empty() => {}
            false => self.more.push(piece),
        }
    }

    /// The pieces in order.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        std::iter::once(&self.first).chain(&self.more)
    }

    /// The first piece, to be replaced by one that is as long.
    pub(crate) fn first_mut(&mut self) -> &mut Bytes {
        &mut self.first
    }

    /// Everything as one piece; copies when there is more than one.
    pub fn into_bytes(self) -> Bytes {
        self.into_whole().unwrap_or_else(|pieces| {
            let mut whole = Vec::with_capacity(pieces.len);
            pieces
                .iter()
                .for_each(|piece| whole.extend_from_slice(piece));
            whole.into()
        })
    }

    /// The piece, if it is the only one.
    ///
    /// # Errors
    /// The pieces as they were.
    pub fn into_whole(self) -> Result<Bytes, Pieces> {
        match self.more.is_empty() {
            true => Ok(self.first),
            false => Err(self),
        }
    }
}

impl From<Bytes> for Pieces {
    fn from(whole: Bytes) -> Self {
        Pieces {
            len: whole.len(),
            first: whole,
            more: Vec::new(),
        }
    }
}

impl PartialEq for Pieces {
    /// Whether the bytes are the same, however they are cut.
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len && self.iter().flatten().eq(other.iter().flatten())
    }
}

impl Eq for Pieces {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_what_they_hold_however_they_are_cut() {
        let mut pieces = Pieces::default();
        assert_eq!((pieces.len(), pieces.is_empty()), (0, true));
        for piece in ["", "ab", "", "c", "def"] {
            pieces.push(Bytes::from_static(piece.as_bytes()));
        }
        assert_eq!((pieces.len(), pieces.iter().count()), (6, 3));
        assert_eq!(pieces, Bytes::from_static(b"abcdef").into());
        assert_ne!(pieces, Bytes::from_static(b"abcdeg").into());
        assert_ne!(pieces, Bytes::from_static(b"abcde").into());
        assert_eq!(&pieces.into_bytes()[..], b"abcdef");
    }

    #[test]
    fn a_single_piece_is_not_copied() {
        let whole = Bytes::from(vec![1; 10]);
        let at = whole.as_ptr();
        assert_eq!(Pieces::from(whole).into_bytes().as_ptr(), at);
    }
}
