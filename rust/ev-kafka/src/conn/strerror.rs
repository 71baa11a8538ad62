//! The system's texts for errors.

use std::io;

/// What the system says an error is, without the number that Rust puts behind it.
pub fn strerror(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" (os error ").unwrap_or(text.len());
    text[..end].to_string()
}
