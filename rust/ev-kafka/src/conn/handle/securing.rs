//! Encrypting and authenticating the connections of a handle.

use std::time::Instant;

use kafka_conn::{Salting, SaltingId, Secret, State, TokenRequestId};
use perl_xs::{call_method, Arg, Flow, Outcome, Perl, Sv};

use super::security::{Sasl, SharedTls, TokenSource};
use super::ConnHandle;
use crate::conn::tls_source::News;

/// The subject of a notice about files of certificates and keys.
const TLS_FILES: &str = "tls_files";

impl ConnHandle {
    /// See [`kafka_conn::Connection::set_tls`].
    pub fn set_tls(&self, tls: Option<SharedTls>) {
        let settings = tls.as_ref().map(|source| source.borrow().settings());
        self.connection.borrow_mut().set_tls(settings);
        self.security.borrow_mut().tls = tls;
    }

    /// A connection is about to be made: what it is encrypted with is looked at again.
    pub(super) fn renew_tls(&self) -> News {
        let Some(source) = self.security.borrow().tls.clone() else {
            return News::None;
        };
        let news = source.borrow_mut().look_again();
        let settings = source.borrow().settings();
        self.connection.borrow_mut().set_tls(Some(settings));
        news
    }

    /// Tells what the look has brought.
    pub(super) fn tell_of_tls(&self, perl: Perl, news: News) -> Flow {
        match news {
            News::None => Flow::Continue,
            News::Usable => self.notice(perl, TLS_FILES, None),
            News::Unusable(reason) => {
                let text = format!("TLS: {reason}: what was read before stays in use");
                self.notice(perl, TLS_FILES, Some(&text))
            }
        }
    }

    /// Tells of a certificate that was accepted, once however often it is met.
    pub(super) fn tell_of_certificate(&self, perl: Perl, text: String) -> Flow {
        if self.security.borrow().told == text {
            return Flow::Continue;
        }
        self.security.borrow_mut().told.clone_from(&text);
        self.notice(perl, &text, Some(&text))
    }

    /// See [`kafka_conn::Connection::set_sasl`].
    pub fn set_sasl(&self, sasl: Sasl) {
        let settings = sasl.settings.clone();
        self.connection.borrow_mut().set_sasl(settings);
        let old = std::mem::replace(&mut self.security.borrow_mut().sasl, sasl);
        // A connection takes the settings that it finds once there is a socket.
        let old_source = match self.connection.borrow().state() {
            State::Disconnected | State::Connecting => self.use_token_source(),
            _ => None,
        };
        // Freeing a closure may run Perl code: no borrow is open any more.
        drop((old, old_source));
    }

    /// What was set, to be set on another connection.
    pub fn security(&self) -> (Option<SharedTls>, Sasl) {
        let security = self.security.borrow();
        (security.tls.clone(), security.sasl.clone())
    }

    /// A connection is about to be made: its tokens come from where they come now. Gives back the
    /// source used before, which is not to be freed under a borrow.
    pub(super) fn use_token_source(&self) -> Option<TokenSource> {
        let mut security = self.security.borrow_mut();
        let source = security.sasl.token.clone();
        std::mem::replace(&mut security.token_in_use, source)
    }

    pub(super) fn ask_for_token(&self, perl: Perl, id: TokenRequestId) -> Flow {
        let source = self.security.borrow().token_in_use.clone();
        let asked = source.and_then(|TokenSource { conn, code }| {
            let object = conn.upgrade(perl)?;
            let code = Sv::new_ref(perl, &code);
            let args = [Arg::UInt(id), Arg::Sv(&code)];
            Some(call_method(perl, &object, "_ask_for_token", &args))
        });
        let reason = match asked {
            Some(Outcome::Returned) => return Flow::Continue,
            Some(Outcome::Exit) => return Flow::Exit,
            Some(Outcome::Died(error)) => match error.to_bytes(perl) {
                Ok(text) => String::from_utf8_lossy(&text.unwrap_or_default()).into_owned(),
                Err(_) => "the token callback died".into(),
            },
            None => "nobody to ask".into(),
        };
        self.provide_token(perl, id, Err(reason))
    }

    /// Has a password salted beside the loop.
    pub(super) fn salt(&self, id: SaltingId, salting: Salting) {
        let started = self.link.borrow_mut().salt(id, salting.clone());
        // Without a thread the loop has to wait; that is better than to fail.
        if started.is_err() {
            let (salted, now) = (salting.run(), Instant::now());
            self.connection
                .borrow_mut()
                .provide_salted(id, &salted, now);
        }
    }

    /// See [`kafka_conn::Connection::provide_token`].
    pub fn provide_token(
        &self,
        perl: Perl,
        id: TokenRequestId,
        token: Result<Secret, String>,
    ) -> Flow {
        if self.is_foreign() {
            return Flow::Continue;
        }
        let now = Instant::now();
        self.connection.borrow_mut().provide_token(id, token, now);
        self.settle(perl)
    }
}
