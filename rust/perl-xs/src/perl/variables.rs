//! Package variables.

use super::Perl;
use crate::croak::Croak;
use crate::ffi;
use crate::sv::Sv;

impl Perl {
    /// The package variable with this full name (such as `My::Module::VERSION`), if it exists.
    pub fn package_scalar(self, name: &str) -> Option<Sv> {
        let name = std::ffi::CString::new(name).ok()?;
        unsafe { Sv::from_raw(ffi::pxs_package_var(self.raw, name.as_ptr())) }
    }

    /// Fails unless the package's `$VERSION` is this one: a library left over from another version of its module is found
    /// out when it is loaded.
    pub fn check_version(self, package: &str, version: &str) -> Result<(), Croak> {
        let found = match self.package_scalar(&format!("{package}::VERSION")) {
            Some(sv) => sv.to_bytes(self)?,
            None => None,
        };
        let found = found
            .as_deref()
            .map_or("undef".into(), String::from_utf8_lossy);
        if found == version {
            return Ok(());
        }
        Err(Croak::from(format!(
            "{package}: the compiled part is of version {version}, the Perl part of {found}"
        )))
    }
}
