//! What is wrong with PEM files, said when the settings are made.

mod support;

use kafka_conn::{TlsOptions, TlsSettings};
use support::tls::*;

fn error(options: &TlsOptions) -> String {
    TlsSettings::new(options)
        .expect_err("bad options")
        .to_string()
}

fn with_key(certificate: &str, key: &str) -> TlsOptions {
    TlsOptions {
        certificate: Some(pem("client.pem", certificate)),
        key: Some(pem("client.key", key)),
        ..TlsOptions::default()
    }
}

#[test]
fn a_ca_file_without_a_usable_certificate_is_named() {
    for contents in ["", "# nothing here", &Authority::usual().issue(&["x"]).key] {
        assert_eq!(error(&trusting(contents)), "TLS: no certificate in ca.pem");
    }
    let whole = &Authority::usual().certificate;
    let text = error(&trusting(&whole[..whole.len() / 2]));
    assert_eq!(text, "TLS: ca.pem: malformed PEM: a section has no end");
    let text = error(&trusting(&whole.replace("MII", "***")));
    assert_eq!(text, "TLS: ca.pem: malformed PEM: not Base64");
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let text = error(&trusting(garbage));
    assert!(text.starts_with("TLS: CA file ca.pem: "), "{text}");
}

#[test]
fn a_client_certificate_needs_its_key() {
    let client = Authority::usual().issue(&["client"]);
    let other = Authority::usual().issue(&["other"]);
    assert_eq!(
        error(&with_key(&client.certificate, &other.key)),
        "TLS: client certificate client.pem: the private key belongs to another one"
    );
    assert_eq!(
        error(&with_key(&client.certificate, &other.certificate)),
        "TLS: no private key in client.key"
    );
    assert_eq!(
        error(&with_key(&client.key, &client.key)),
        "TLS: no certificate in client.pem"
    );
    let encrypted = client.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    assert_eq!(
        error(&with_key(&client.certificate, &encrypted)),
        "TLS: the private key in client.key is encrypted, and no tls_key_password is given"
    );
    let alone = TlsOptions {
        certificate: Some(pem("client.pem", &client.certificate)),
        ..TlsOptions::default()
    };
    assert_eq!(error(&alone), "TLS: no private key in client.pem");
    let keyless = TlsOptions {
        key: Some(pem("client.key", &client.key)),
        ..TlsOptions::default()
    };
    assert_eq!(
        error(&keyless),
        "TLS: key file client.key without a client certificate"
    );
}

#[test]
fn keys_of_every_form_are_read() {
    for name in ["rsa-pkcs1", "rsa-pkcs8", "ec-sec1", "ec-pkcs8"] {
        let (kind, _) = name.split_once('-').expect("a form");
        TlsSettings::new(&with_key(&fixture(kind), &fixture(name))).expect(name);
    }
}

fn with_password(key: &str, password: &str) -> TlsOptions {
    TlsOptions {
        key_password: Some(password.into()),
        ..with_key(&fixture("ec"), &fixture(key))
    }
}

#[test]
fn keys_behind_a_password_are_read_with_it() {
    for key in [
        "ec-aes",
        "ec-des3",
        "ec-scrypt",
        "ec-proc-type",
        "rsa-proc-type",
    ] {
        let options = |password| TlsOptions {
            certificate: Some(pem(
                "client.pem",
                &fixture(&key[..key.find('-').expect("a kind")]),
            )),
            ..with_password(key, password)
        };
        TlsSettings::new(&options("s3cret")).expect(key);
        for wrong in ["", "s3cre", "S3CRET"] {
            assert_eq!(
                error(&options(wrong)),
                "TLS: the private key in client.key cannot be decrypted: the tls_key_password is wrong"
            );
        }
    }
    let plain = with_password("ec-pkcs8", "unneeded");
    TlsSettings::new(&plain).expect("a key without a password needs none");
}

#[test]
fn one_that_knows_no_password_does_not_profit_from_one_that_does() {
    let known = TlsSettings::new(&with_password("ec-aes", "s3cret")).expect("the password");
    error(&with_password("ec-aes", "wrong"));
    error(&with_key(&fixture("ec"), &fixture("ec-aes")));
    drop(known);
}

#[test]
fn keys_that_cannot_be_decrypted_say_what_to_do() {
    let text = error(&with_password("ec-pbes1", "s3cret"));
    assert_eq!(
        text,
        "TLS: the private key in client.key is encrypted by a method that is not known here: \
         write it anew by openssl pkcs8 -topk8 -v2 aes256"
    );
    let whole = fixture("ec-aes");
    for (damaged, reason) in [
        (whole.replace("MI", "**"), "is malformed PEM: not Base64"),
        (
            whole.replace("MI", "MA"),
            "is malformed: not an encrypted PKCS#8 key",
        ),
        (
            whole
                .lines()
                .take(1)
                .chain(["MAA="])
                .chain(whole.lines().last())
                .collect::<Vec<_>>()
                .join("\n"),
            "is malformed: not an encrypted PKCS#8 key",
        ),
    ] {
        let options = TlsOptions {
            key: Some(pem("client.key", &damaged)),
            ..with_password("ec-aes", "s3cret")
        };
        let text = error(&options);
        assert_eq!(text, format!("TLS: the private key in client.key {reason}"));
    }
}

#[test]
fn keys_in_openssls_older_form_that_cannot_be_decrypted_say_why() {
    let whole = fixture("ec-proc-type");
    assert_eq!(
        error(&with_key(&fixture("ec"), &whole)),
        "TLS: the private key in client.key is encrypted, and no tls_key_password is given"
    );
    let info = whole.lines().nth(2).expect("DEK-Info");
    let no_method = "is malformed PEM: it does not say how it is encrypted";
    let wrong = "cannot be decrypted: the tls_key_password is wrong";
    for (damaged, reason) in [
        (whole.replace(info, ""), no_method),
        (whole.replace(info, "DEK-Info: AES-256-CBC"), no_method),
        (whole.replace(info, "DEK-Info: AES-256-CBC,XYZ"), no_method),
        (whole.replace(info, &format!("{info}{info}")), no_method),
        (whole.replace(info, "DEK-Info: AES-256-CBC,00"), wrong),
        (whole.replace(info, &info[..info.len() - 2]), wrong),
        (whole.replace("256", "128"), wrong),
        (
            whole.replace("AES", "CAMELLIA"),
            "is encrypted by CAMELLIA-256-CBC, which is not known here: write it anew by \
             openssl pkcs8 -topk8 -v2 aes256",
        ),
        (whole.replace("=\n", "*\n"), "is malformed PEM: not Base64"),
        (whole.lines().take(4).collect::<Vec<_>>().join("\n"), wrong),
        (
            whole.lines().take(2).collect::<Vec<_>>().join("\n"),
            no_method,
        ),
    ] {
        let options = TlsOptions {
            key: Some(pem("client.key", &damaged)),
            ..with_password("ec-aes", "s3cret")
        };
        let text = error(&options);
        assert_eq!(
            text,
            format!("TLS: the private key in client.key {reason}"),
            "{damaged}"
        );
    }
    let both = TlsOptions {
        certificate: Some(pem("client.pem", &format!("{}{whole}", fixture("ec")))),
        key: None,
        ..with_password("ec-aes", "s3cret")
    };
    TlsSettings::new(&both).expect("in one file with the certificate");
    let crlf = TlsOptions {
        key: Some(pem("client.key", &whole.replace('\n', "\r\n"))),
        ..with_password("ec-aes", "s3cret")
    };
    TlsSettings::new(&crlf).expect("with CRLF");
}

#[test]
fn a_server_name_has_to_be_one() {
    for name in ["", "a b", "one,two", "-"] {
        let options = TlsOptions {
            server_name: Some(name.into()),
            ..TlsOptions::default()
        };
        let text = error(&options);
        assert!(
            text.starts_with("TLS: server name: not a host name"),
            "{text}"
        );
    }
}

#[test]
fn nothing_that_is_printed_shows_a_key() {
    let client = Authority::usual().issue(&["client"]);
    let options = with_key(&client.certificate, &client.key);
    let settings = TlsSettings::new(&options).expect("good");
    let printed = format!("{options:?} {settings:?}");
    let line = client.key.lines().nth(1).expect("a line");
    assert!(!printed.contains(line));
    assert!(printed.contains("client.key"));
}
