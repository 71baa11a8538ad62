//! What of a certificate (RFC 5280) webpki does not show: its common names, and whether it has
//! certain extensions. The bytes are the peer's, so nothing about them is taken for granted.

use std::ops::Range;

use super::der::{
    Der, BIT_STRING, GENERALIZED_TIME, INTEGER, OBJECT_IDENTIFIER, SEQUENCE, SET, UTC_TIME,
};

/// The tags that a certificate's optional fields have: version, and extensions.
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
/// The kinds of string that a name is written in and that hold ASCII as it is: UTF8String,
/// PrintableString, TeletexString, IA5String.
const STRINGS: [u8; 4] = [0x0c, 0x13, 0x14, 0x16];

/// id-at-commonName, 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// id-ce-subjectAltName, 2.5.29.17
pub(super) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// id-ce-nameConstraints, 2.5.29.30
pub(super) const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];

/// Parts of one certificate, as they lie in its DER.
pub(super) struct X509<'a> {
    /// What is signed.
    pub(super) signed: &'a [u8],
    /// The contents of the algorithm of the signature, and the signature.
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
    /// Whether it is of version 1, which has no extensions.
    pub(super) is_version_1: bool,
    /// The contents of the names.
    pub(super) issuer: &'a [u8],
    pub(super) subject: &'a [u8],
    /// The contents of the period of validity.
    validity: &'a [u8],
    /// The contents of what describes the key.
    pub(super) key: &'a [u8],
    /// The contents of the sequence of extensions; empty where there are none.
    extensions: &'a [u8],
}

impl<'a> X509<'a> {
    /// `None` for what is no certificate.
    pub(super) fn parse(der: &'a [u8]) -> Option<Self> {
        let mut certificate = Der(Der(der).expect(SEQUENCE)?);
        let all = certificate.0;
        let mut fields = Der(certificate.expect(SEQUENCE)?);
        let signed = &all[..all.len() - certificate.0.len()];
        let algorithm = certificate.expect(SEQUENCE)?;
        let signature = bits(certificate.expect(BIT_STRING)?)?;
        let is_version_1 = fields.expect(VERSION).is_none();
        fields.expect(INTEGER)?; // the serial number
        let algorithm_signed = fields.expect(SEQUENCE)?;
        let issuer = fields.expect(SEQUENCE)?;
        let validity = fields.expect(SEQUENCE)?;
        let subject = fields.expect(SEQUENCE)?;
        let key = fields.expect(SEQUENCE)?;
        let mut extensions: &[u8] = &[];
        while let Some((tag, contents)) = fields.next() {
            if tag == EXTENSIONS {
                extensions = Der(contents).expect(SEQUENCE)?;
            }
        }
        (fields.0.is_empty() && algorithm == algorithm_signed).then_some(X509 {
            signed,
            algorithm,
            signature,
            is_version_1,
            issuer,
            subject,
            validity,
            key,
            extensions,
        })
    }

    /// Whether it has this extension; also when what is there cannot be read.
    pub(super) fn has_extension(&self, oid: &[u8]) -> bool {
        let mut extensions = Der(self.extensions);
        while let Some((_, extension)) = extensions.next() {
            if Der(extension)
                .expect(OBJECT_IDENTIFIER)
                .is_none_or(|is| is == oid)
            {
                return true;
            }
        }
        !extensions.0.is_empty()
    }

    /// The subject's common names that are ASCII.
    pub(super) fn common_names(&self) -> impl Iterator<Item = &'a str> {
        let mut sets = Der(self.subject);
        std::iter::from_fn(move || sets.expect(SET))
            .flat_map(|set| {
                let mut attributes = Der(set);
                std::iter::from_fn(move || attributes.expect(SEQUENCE))
            })
            .filter_map(|attribute| {
                let mut attribute = Der(attribute);
                let is_common_name = attribute.expect(OBJECT_IDENTIFIER)? == COMMON_NAME;
                let (tag, text) = attribute.next()?;
                let text = std::str::from_utf8(text).ok()?;
                (is_common_name && STRINGS.contains(&tag) && text.is_ascii()).then_some(text)
            })
    }
}

/// Validity, and the key.
impl<'a> X509<'a> {
    /// The first and the last second of its validity, in seconds since 1970.
    pub(super) fn validity(&self) -> Option<(i64, i64)> {
        let mut times = Der(self.validity);
        Some((time(times.next()?)?, time(times.next()?)?))
    }

    /// The key's algorithm (its contents) and the key.
    pub(super) fn public_key(&self) -> Option<(&'a [u8], &'a [u8])> {
        public_key(self.key)
    }
}

/// The algorithm (its contents) and the key in the contents of a SubjectPublicKeyInfo.
pub(super) fn public_key(info: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut key = Der(info);
    Some((key.expect(SEQUENCE)?, bits(key.expect(BIT_STRING)?)?))
}

/// The bytes of a string of bits that is one of bytes.
fn bits(contents: &[u8]) -> Option<&[u8]> {
    match contents.split_first()? {
        (0, bytes) => Some(bytes),
        _ => None,
    }
}

/// Seconds since 1970 of a UTCTime (`YYMMDDhhmmssZ`, 1950 to 2049) or a GeneralizedTime
/// (`YYYYMMDDhhmmssZ`).
fn time((tag, text): (u8, &[u8])) -> Option<i64> {
    let digits = text.strip_suffix(b"Z")?;
    let length = match tag {
        UTC_TIME => 12,
        GENERALIZED_TIME => 14,
        _ => return None,
    };
    if digits.len() != length || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |range: Range<usize>| {
        let digits = digits[range].iter();
        digits.fold(0_i64, |sum, digit| sum * 10 + i64::from(digit - b'0'))
    };
    let year = match number(0..length - 10) {
        year @ 0..=49 if tag == UTC_TIME => 2000 + year,
        year if tag == UTC_TIME => 1900 + year,
        year => year,
    };
    let at = length - 10;
    let part = |index: usize| number(at + 2 * index..at + 2 * index + 2);
    let (month, day) = (part(0), part(1));
    let is_date = (1..=12).contains(&month) && (1..=31).contains(&day);
    is_date.then(|| {
        let seconds = (part(2) * 60 + part(3)) * 60 + part(4);
        days(year, month, day) * 86_400 + seconds
    })
}

/// Days since 1970-01-01 in the Gregorian calendar, counted in years that begin in March: then
/// the leap day is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    // 719,468 days lie between the first of March of the year 0 and 1970.
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::Index;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::CertificateDer;

    use super::*;

    #[test]
    fn times_are_seconds_since_1970() {
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "240229123456Z", Some(1_709_210_096)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (GENERALIZED_TIME, "20000301000000Z", Some(951_868_800)),
            (GENERALIZED_TIME, "20500101000000Z", Some(2_524_608_000)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "20500101000000Z", None),
            (UTC_TIME, "701301000000Z", None),
            (UTC_TIME, "70010100000Z", None),
            (UTC_TIME, "7001010000-0Z", None),
            (UTC_TIME, "700101000000", None),
            (OBJECT_IDENTIFIER, "700101000000Z", None),
        ] {
            assert_eq!(time((tag, text.as_bytes())), seconds, "{text}");
        }
    }

    /// Looks at everything.
    fn look(der: &[u8]) {
        let Some(certificate) = X509::parse(der) else {
            return;
        };
        assert!(certificate.common_names().all(str::is_ascii));
        certificate.has_extension(b"");
        certificate.validity();
        certificate.public_key();
    }

    proptest! {
        #[test]
        fn a_damaged_certificate_is_looked_at_without_harm(
            damages in vec((any::<Index>(), any::<u8>()), 0..4),
            cut in any::<Index>(),
        ) {
            let pem = include_bytes!("../../tests/certificates/v1.pem");
            let mut der = CertificateDer::from_pem_slice(pem).expect("a certificate").to_vec();
            for (at, byte) in damages {
                *at.get_mut(&mut der) = byte;
            }
            look(&der);
            look(&der[..cut.index(der.len())]);
        }
    }

    #[test]
    fn what_is_no_certificate_is_none() {
        for der in [
            &[][..],
            &[0x30],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0x80, 0, 0],
        ] {
            assert!(X509::parse(der).is_none());
        }
    }
}
