//! TLS towards Redis: whom to trust, and who we are.

use std::sync::Arc;

use fred::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use fred::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use fred::rustls::pki_types::pem::PemObject;
use fred::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use fred::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use fred::rustls_native_certs::load_native_certs;
use fred::types::config::TlsConnector;

use super::error::{ConnectionError, of_tls};
use crate::config::RedisTlsConfig;

/// The name that is expected of the server, if it can be one.
pub(super) fn check_name(name: &str) -> Result<(), ConnectionError> {
    match ServerName::try_from(name) {
        Ok(_) => Ok(()),
        Err(_) => Err(unusable("tls.servername", "no name that a certificate can have")),
    }
}

/// What fred needs for TLS. Errors name the option, never its text.
pub(super) fn connector(options: &RedisTlsConfig) -> Result<TlsConnector, ConnectionError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unfit("tls", &error))?;
    let builder = if options.insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
    } else {
        builder.with_root_certificates(trusted(options.ca.as_deref())?)
    };
    let config = match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => {
            let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes());
            let key = key.map_err(|_| unusable("tls.key", "no private key in PEM"))?;
            let own = builder.with_client_auth_cert(certificates("tls.cert", cert)?, key);
            own.map_err(|error| unfit("tls.cert", &error))?
        }
        _ => builder.with_no_client_auth(),
    };
    Ok(TlsConnector::from(config))
}

fn trusted(ca: Option<&str>) -> Result<RootCertStore, ConnectionError> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in certificates("tls.ca", pem)? {
                roots.add(certificate).map_err(|error| unfit("tls.ca", &error))?;
            }
        }
        // One unreadable certificate of the system does not make the others useless.
        None => {
            roots.add_parsable_certificates(load_native_certs().certs);
        }
    }
    Ok(roots)
}

fn certificates(option: &str, pem: &str) -> Result<Vec<CertificateDer<'static>>, ConnectionError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(unusable(option, "no certificate in PEM")),
    }
}

fn unfit(option: &str, error: &Error) -> ConnectionError {
    unusable(option, &of_tls(&format!("{error:?}")))
}

fn unusable(option: &str, text: &str) -> ConnectionError {
    ConnectionError::Options(format!("redis.{option}: {text}"))
}

/// Accepts any certificate; signatures are still checked, so the server holds the key of what it shows.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
