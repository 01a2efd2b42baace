//! TLS by rustls with libpq's `sslmode` semantics.
//!
//! `prefer` and `require` encrypt without checking who answers; `require` with a root file, and
//! `verify-ca`, check the chain; `verify-full` also checks the name.

use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{self, CryptoProvider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::config::{RootCert, Settings, SslMode};
use super::error::{Error, Result};

/// How far a server's certificate is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    Nothing,
    Chain,
    ChainAndName,
}

/// TLS for these settings.
pub(crate) fn connector(settings: &Settings) -> Result<MakeRustlsConnect> {
    let provider = Arc::new(crypto::ring::default_provider());
    let check = match (settings.sslmode, &settings.root_cert) {
        (SslMode::VerifyFull, _) => Check::ChainAndName,
        (SslMode::VerifyCa, _) => Check::Chain,
        (SslMode::Require, RootCert::File(_)) => Check::Chain,
        _ => Check::Nothing,
    };
    let inner = match check {
        Check::Nothing => None,
        _ => Some(
            WebPkiServerVerifier::builder_with_provider(
                Arc::new(roots(&settings.root_cert)?),
                provider.clone(),
            )
            .build()
            .map_err(|error| Error::config(format!("cannot use sslrootcert: {error}")))?,
        ),
    };
    let pinned = match (&settings.root_cert, check) {
        (RootCert::File(file), Check::Chain | Check::ChainAndName) => {
            certificates(file, "sslrootcert")?
        }
        _ => Vec::new(),
    };
    let verifier = Verifier {
        check,
        inner,
        pinned,
        provider: provider.clone(),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::config(format!("cannot set up TLS: {error}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match &settings.client_cert {
        Some((cert, key)) => {
            let chain = certificates(cert, "sslcert")?;
            let key_der = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| file_error("sslkey", key, &error.to_string()))?;
            builder
                .with_client_auth_cert(chain, key_der)
                .map_err(|error| file_error("sslkey", key, &error.to_string()))?
        }
        None => builder.with_no_client_auth(),
    };
    if settings.ssl_direct {
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    Ok(MakeRustlsConnect::new(config))
}

fn file_error(key: &str, file: &Path, reason: &str) -> Error {
    Error::config(format!("cannot use {key} {}: {reason}", file.display()))
}

fn certificates(file: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>> {
    let list: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(|items| items.collect::<std::result::Result<_, _>>())
        .map_err(|error| file_error(key, file, &error.to_string()))?;
    if list.is_empty() {
        return Err(file_error(key, file, "it holds no certificate"));
    }
    Ok(list)
}

fn roots(source: &RootCert) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    match source {
        RootCert::Missing(file) => {
            return Err(Error::config_hint(
                format!("root certificate file {} does not exist", file.display()),
                "set sslrootcert to the CA's file, or sslrootcert=system for public CAs",
            ));
        }
        RootCert::System => {
            let (added, _) =
                store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if added == 0 {
                return Err(Error::config(
                    "this machine has no trusted certificates (sslrootcert=system)",
                ));
            }
        }
        RootCert::File(file) => {
            let (added, _) = store.add_parsable_certificates(certificates(file, "sslrootcert")?);
            if added == 0 {
                return Err(file_error(
                    "sslrootcert",
                    file,
                    "no certificate in it can be read",
                ));
            }
        }
    }
    Ok(store)
}

#[derive(Debug)]
struct Verifier {
    check: Check,
    inner: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates of the root file: a self-signed server certificate is listed there itself.
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        let Some(inner) = &self.inner else {
            return Ok(ServerCertVerified::assertion());
        };
        let result =
            inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match result {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.check == Check::Chain => Ok(ServerCertVerified::assertion()),
            // The usual self-signed certificate is its own CA, which webpki refuses as a server
            // certificate although the user trusts exactly these bytes.
            Err(error @ rustls::Error::InvalidCertificate(_))
                if self.pinned.iter().any(|root| root == end_entity) =>
            {
                match self.check {
                    _ if !is_ca_misuse(&error) => Err(error),
                    Check::ChainAndName => {
                        let parsed = rustls::server::ParsedCertificate::try_from(end_entity)?;
                        rustls::client::verify_server_name(&parsed, server_name)?;
                        Ok(ServerCertVerified::assertion())
                    }
                    _ => Ok(ServerCertVerified::assertion()),
                }
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls12_signature(
            message,
            cert,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        crypto::verify_tls13_signature(
            message,
            cert,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// webpki has no public name for this refusal: it arrives as an opaque inner error.
fn is_ca_misuse(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidCertificate(CertificateError::Other(other))
        if other.to_string().contains("CaUsedAsEndEntity"))
}

/// Advice for a failed handshake.
pub(crate) fn advice(error: &rustls::Error) -> Option<String> {
    let rustls::Error::InvalidCertificate(reason) = error else {
        return None;
    };
    Some(match reason {
        CertificateError::UnknownIssuer => {
            "the server's certificate is not signed by a CA in sslrootcert".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "connect by a name that the certificate lists as subjectAltName, or use sslmode=verify-ca".into()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "renew the server's certificate".into()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// A self-signed certificate as the usual tutorials make it: its own CA.
    fn self_signed(name: &str) -> CertificateDer<'static> {
        let directory = tempfile::tempdir().unwrap();
        let (key, cert) = (directory.path().join("key"), directory.path().join("crt"));
        let output = Command::new("openssl")
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            ])
            .args([
                "-subj",
                &format!("/CN={name}"),
                "-addext",
                &format!("subjectAltName=DNS:{name}"),
            ])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&cert)
            .output()
            .unwrap();
        assert!(output.status.success());
        certificates(&cert, "sslrootcert").unwrap().remove(0)
    }

    fn verify(
        check: Check,
        root: &CertificateDer<'static>,
        server: &CertificateDer<'static>,
        name: &str,
    ) -> bool {
        let provider = Arc::new(crypto::ring::default_provider());
        let mut store = RootCertStore::empty();
        store.add(root.clone()).unwrap();
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
            .build()
            .unwrap();
        let verifier = Verifier {
            check,
            inner: Some(inner),
            pinned: vec![root.clone()],
            provider,
        };
        let name = ServerName::try_from(name.to_string()).unwrap();
        verifier
            .verify_server_cert(server, &[], &name, &[], UnixTime::now())
            .is_ok()
    }

    #[test]
    fn a_self_signed_certificate_can_be_its_own_root() {
        let (mine, other) = (self_signed("db.test"), self_signed("db.test"));
        assert!(verify(Check::ChainAndName, &mine, &mine, "db.test"));
        assert!(!verify(Check::ChainAndName, &mine, &mine, "wrong.test"));
        assert!(verify(Check::Chain, &mine, &mine, "wrong.test"));
        assert!(!verify(Check::Chain, &mine, &other, "db.test"));
    }
}
