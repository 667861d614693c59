//! What a handshake goes by: certificates with their keys, which clients must show one, versions and protocols.

use std::sync::Arc;

use rustls::{
    Error, RootCertStore, ServerConfig, SupportedProtocolVersion,
    crypto::ring::{Ticketer, default_provider},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use serde::Deserialize;
use thiserror::Error as ThisError;

use crate::config::Secret;

/// Options of TLS. Certificates and keys are PEM.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsOptions {
    /// Who we are; of several, the first that a client can check is shown to it.
    identities: Vec<Identity>,
    /// Certificates of those who may vouch for clients; clients are asked for a certificate when there are any.
    client_ca: Option<String>,
    /// Whether clients without a certificate are refused.
    refuses_strangers: bool,
    /// Protocols in the order in which they are chosen.
    alpn: Vec<String>,
    min_version: MinVersion,
}

/// A certificate with those that lead to a known one, and its key.
#[derive(Debug, Clone, Deserialize)]
struct Identity {
    cert: String,
    key: Secret,
}

#[derive(Debug, Clone, Copy, Deserialize)]
enum MinVersion {
    #[serde(rename = "TLSv1.2")]
    Tls12,
    #[serde(rename = "TLSv1.3")]
    Tls13,
}

impl MinVersion {
    fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        const ALL: &[&SupportedProtocolVersion] = &[&TLS13, &TLS12];
        const NEWEST: &[&SupportedProtocolVersion] = &[&TLS13];
        match self {
            Self::Tls12 => ALL,
            Self::Tls13 => NEWEST,
        }
    }
}

/// What is wrong with options. Names the option, and never shows what is in it.
#[derive(Debug, ThisError)]
#[error("tls.{option}: {text}")]
pub struct ContextError {
    option: &'static str,
    text: String,
}

impl ContextError {
    fn new(option: &'static str, text: impl std::fmt::Display) -> Self {
        Self {
            option,
            text: text.to_string(),
        }
    }
}

impl TlsOptions {
    /// What rustls goes by. Clients come back with tickets, which need nothing of ours; their key is made here.
    pub(in crate::transport) fn context(&self) -> Result<Arc<ServerConfig>, ContextError> {
        let provider = Arc::new(default_provider());
        let identities = self.identities.iter().map(|identity| {
            let certificates = certificates("cert", &identity.cert)?;
            let key = PrivateKeyDer::from_pem_slice(identity.key.reveal().as_bytes())
                .map_err(|_| ContextError::new("key", "no private key in PEM"))?;
            let certified = CertifiedKey::from_der(certificates, key, &provider).map_err(unfit)?;
            Ok(Arc::new(certified))
        });
        let identities = Identities(identities.collect::<Result<_, ContextError>>()?);
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(self.min_version.versions())
            .map_err(|error| ContextError::new("minVersion", error))?;
        let builder = match &self.client_ca {
            Some(ca) => builder.with_client_cert_verifier(self.verifier(ca)?),
            None => builder.with_no_client_auth(),
        };
        let mut context = builder.with_cert_resolver(Arc::new(identities));
        context.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        context.ticketer = Ticketer::new().map_err(|error| ContextError::new("key", error))?;
        Ok(Arc::new(context))
    }

    fn verifier(&self, ca: &str) -> Result<Arc<dyn ClientCertVerifier>, ContextError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates("ca", ca)? {
            roots.add(certificate).map_err(|error| ContextError::new("ca", error))?;
        }
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(default_provider()));
        let builder = if self.refuses_strangers {
            builder
        } else {
            builder.allow_unauthenticated()
        };
        builder.build().map_err(|error| ContextError::new("ca", error))
    }
}

fn certificates(option: &'static str, pem: &str) -> Result<Vec<CertificateDer<'static>>, ContextError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(ContextError::new(option, "no certificate in PEM")),
    }
}

/// Of a certificate and its key, what does not go.
fn unfit(error: Error) -> ContextError {
    match error {
        Error::InconsistentKeys(_) => ContextError::new("key", "not the key of tls.cert"),
        Error::InvalidCertificate(_) => ContextError::new("cert", error),
        error => ContextError::new("key", error),
    }
}

/// Who we are.
#[derive(Debug)]
struct Identities(Vec<Arc<CertifiedKey>>);

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let schemes = hello.signature_schemes();
        let fits = |identity: &&Arc<CertifiedKey>| identity.key.choose_scheme(schemes).is_some();
        self.0.iter().find(fits).cloned()
    }
}
