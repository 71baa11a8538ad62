//! SaslHandshake and SaslAuthenticate: who is there, before anything else is answered.

use super::{carry_out, received, Call, Outcome, Peer};
use crate::fault::ActiveFaults;
use crate::login::{Mechanism, Step};
use crate::state::State;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_wire::messages::sasl_authenticate::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use kafka_wire::messages::sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};
use kafka_wire::{ApiKey, ErrorCode, Request};

/// After version 0 the mechanism's messages come without request headers.
const BARE_MESSAGES: i16 = 0;

/// Whether a request may be answered to this peer; else why its connection is closed.
pub(super) fn check(state: &State, peer: &Peer, api: ApiKey, now_ms: u64) -> Result<(), String> {
    let is_sasl = matches!(api, ApiKey::SaslHandshake | ApiKey::SaslAuthenticate);
    let login = &peer.login;
    if state.config.sasl.is_none() || is_sasl || api == ApiKey::ApiVersions {
        return Ok(());
    }
    if login.user().is_none() || login.is_under_way() {
        return Err(format!("{} before authentication", api.name()));
    }
    match login.is_expired(now_ms) {
        true => Err("the session is over and was not authenticated again".into()),
        false => Ok(()),
    }
}

pub(super) fn handshake(state: &mut State, peer: &mut Peer, frame: Bytes, now_ms: u64) -> Outcome {
    let (asked, call) =
        match received::<SaslHandshakeRequest>(state, peer, frame, now_ms, rules(peer)) {
            Ok(received) => received,
            Err(why) => return Outcome::Close(why),
        };
    carry_out(state, ApiKey::SaslHandshake, call, |state, call| {
        let enabled = state.config.sasl.iter().flat_map(|sasl| &sasl.mechanisms);
        let enabled: Vec<Mechanism> = enabled.copied().collect();
        let found = enabled.iter().find(|known| asked.mechanism == known.name());
        let error = match (call.faults.error(), &state.config.sasl, found) {
            (Some(code), ..) => Some(code),
            (None, None, _) => Some(ErrorCode::IllegalSaslState.code()),
            (None, Some(_), None) => Some(ErrorCode::UnsupportedSaslMechanism.code()),
            (None, Some(_), Some(&mechanism)) => {
                peer.login.choose(mechanism, call.version == BARE_MESSAGES);
                None
            }
        };
        let names = enabled.iter().map(|known| known.name());
        let answer = call.answer::<SaslHandshakeRequest>(&SaslHandshakeResponse {
            error_code: error.unwrap_or(ErrorCode::None.code()),
            mechanisms: names
                .map(|name| Bytes::from_static(name.as_bytes()))
                .collect(),
        });
        match (error, &state.config.sasl) {
            (Some(_), Some(_)) => last(answer, "SASL handshake failed"),
            _ => answer,
        }
    })
}

pub(super) fn authenticate(
    state: &mut State,
    peer: &mut Peer,
    frame: Bytes,
    now_ms: u64,
) -> Outcome {
    type Asked = SaslAuthenticateRequest;
    let (asked, call) = match received::<Asked>(state, peer, frame, now_ms, rules(peer)) {
        Ok(received) => received,
        Err(why) => return Outcome::Close(why),
    };
    carry_out(state, ApiKey::SaslAuthenticate, call, |state, call| {
        let refused = |code: ErrorCode, text: String| SaslAuthenticateResponse {
            error_code: code.code(),
            error_message: Some(text.into()),
            ..Default::default()
        };
        let Some(config) = &state.config.sasl else {
            let text = "SaslAuthenticate request received without SASL".into();
            return call.answer::<Asked>(&refused(ErrorCode::IllegalSaslState, text));
        };
        let step = match call.faults.error() {
            Some(code) => Err(code),
            None => Ok(peer.login.hear(config, &asked.auth_bytes, call.now_ms)),
        };
        let said = |auth_bytes, session_lifetime_ms| SaslAuthenticateResponse {
            auth_bytes,
            session_lifetime_ms,
            ..Default::default()
        };
        let lifetime_ms = i64::try_from(config.session_lifetime_ms).unwrap_or(i64::MAX);
        match step {
            Ok(Step::Say(bytes)) => call.answer::<Asked>(&said(bytes, 0)),
            Ok(Step::Done(bytes)) => call.answer::<Asked>(&said(bytes, lifetime_ms)),
            Ok(Step::Refused(why)) => {
                let answer = refused(ErrorCode::SaslAuthenticationFailed, why);
                close_behind::<Asked>(&call, &answer)
            }
            Err(error_code) => {
                let answer = SaslAuthenticateResponse {
                    error_code,
                    error_message: Some(kafka_wire::error::name(error_code).into()),
                    ..Default::default()
                };
                close_behind::<Asked>(&call, &answer)
            }
        }
    })
}

/// A mechanism's message that comes without a request's header; refusing it is closing the connection.
pub(super) fn token(state: &State, peer: &mut Peer, message: &[u8], now_ms: u64) -> Outcome {
    let Some(config) = &state.config.sasl else {
        return Outcome::Close("SASL is not enabled".into());
    };
    match peer.login.hear(config, message, now_ms) {
        Step::Refused(why) => Outcome::Close(why),
        Step::Say(bytes) | Step::Done(bytes) => {
            let mut frame = BytesMut::with_capacity(4 + bytes.len());
            // Tokens are short, even those of OAUTHBEARER.
            frame.put_u32(bytes.len() as u32);
            frame.put_slice(&bytes);
            Outcome::Answer(frame.freeze())
        }
    }
}

fn rules<R: Request>(peer: &Peer) -> impl FnOnce(&R, &mut State) -> ActiveFaults {
    let broker = peer.broker;
    move |_, state| state.faults.take(broker, R::API, &[])
}

fn close_behind<R: Request>(call: &Call, answer: &R::Response) -> Outcome {
    last(call.answer::<R>(answer), "SASL authentication failed")
}

/// The answer is the last that the connection gets.
fn last(answer: Outcome, why: &str) -> Outcome {
    match answer {
        Outcome::Answer(frame) => Outcome::LastAnswer(frame, why.into()),
        other => other,
    }
}
