//! The regular expression by which a member subscribes to topics.

use regex::bytes::{Regex, RegexBuilder};

/// It matches whole names.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(Regex);

impl Pattern {
    /// `None` for what is no regular expression.
    pub fn new(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        // By itself first: a parenthesis too many must not close ours.
        let compiled = |text: &str| RegexBuilder::new(text).unicode(false).build().ok();
        compiled(text)?;
        compiled(&format!("^(?:{text})$")).map(Self)
    }

    pub fn matches(&self, name: &[u8]) -> bool {
        self.0.is_match(name)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    #[test]
    fn it_matches_whole_names() {
        let pattern = Pattern::new(b"a|orders-.*").unwrap();
        assert!(pattern.matches(b"orders-1"));
        assert!(pattern.matches(b"a"));
        assert!(!pattern.matches(b"my-orders-1"));
        assert!(!pattern.matches(b"ab"));
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [&b"("[..], b"a)(b", b"[", b"(?=a)", b"\xff"] {
            assert!(Pattern::new(text).is_none(), "{text:?}");
        }
    }
}
