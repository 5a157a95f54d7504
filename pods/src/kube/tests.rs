use super::*;
use crate::webhook::Certificates;
use hyper::service::service_fn;
use rustls::ServerConfig;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Mutex;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a stand-in of the API server knows.
struct Known {
    token: String,
    configuration: Value,
    patches: Vec<Value>,
}

async fn respond(request: Request<hyper::body::Incoming>, known: &Mutex<Known>) -> (StatusCode, Value) {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let mut known = known.lock().unwrap();
    let shown = head.headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    if shown != format!("Bearer {}", known.token) {
        return (StatusCode::UNAUTHORIZED, serde_json::json!({"kind": "Status", "message": "Unauthorized"}));
    }
    if head.uri.path() == "/version" {
        return (
            StatusCode::OK,
            serde_json::json!({"major": "1", "minor": "28+", "gitVersion": "v1.28.3-gke.1"}),
        );
    }
    if head.uri.path() != "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/murphy-sidecar"
    {
        return (StatusCode::NOT_FOUND, serde_json::json!({"kind": "Status", "message": "not found"}));
    }
    if head.method == Method::PATCH {
        assert_eq!(head.headers[CONTENT_TYPE], "application/json-patch+json");
        let patch: Value = serde_json::from_slice(&body).unwrap();
        for op in patch.as_array().unwrap() {
            let (parent, key) = op["path"].as_str().unwrap().rsplit_once('/').unwrap();
            let parent = known.configuration.pointer_mut(parent).unwrap();
            parent.as_object_mut().unwrap().insert(key.to_owned(), op["value"].clone());
        }
        known.patches.push(patch);
    }
    (StatusCode::OK, known.configuration.clone())
}

/// Serves it over TLS whose authority is in a service account's directory; the address, and what it knows.
async fn stand_in(dir: &Path) -> (u16, Arc<Mutex<Known>>) {
    let certificates = Certificates::open(dir, &["127.0.0.1".into()], Duration::from_secs(3600)).unwrap();
    std::fs::write(dir.join("ca.crt"), certificates.authority()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_no_client_auth().with_cert_resolver(certificates)));
    let configuration = serde_json::json!({"kind": "MutatingWebhookConfiguration", "webhooks": [
        {"name": "a", "clientConfig": {"service": {"name": "murphy-webhook"}}},
        {"name": "b", "clientConfig": {"caBundle": "b2xk"}},
    ]});
    let known = Arc::new(Mutex::new(Known { token: "first".into(), configuration, patches: Vec::new() }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shared = known.clone();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, known) = (acceptor.clone(), shared.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(socket).await else { return };
                let service = service_fn(|request| {
                    let known = known.clone();
                    async move {
                        let (status, body) = respond(request, &known).await;
                        let mut response = http::Response::new(Full::new(Bytes::from(body.to_string())));
                        *response.status_mut() = status;
                        Ok::<_, Infallible>(response)
                    }
                });
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (port, known)
}

#[tokio::test]
async fn the_api_server_is_told_whom_to_believe() {
    let dir = tempfile::tempdir().unwrap();
    let (port, known) = stand_in(dir.path()).await;
    std::fs::write(dir.path().join("token"), "first\n").unwrap();
    std::fs::write(dir.path().join("namespace"), "murphy").unwrap();
    let cluster = Cluster::of_account(dir.path(), "127.0.0.1", &port.to_string()).unwrap();
    assert_eq!(cluster.namespace(), "murphy");
    assert_eq!(cluster.version().await.unwrap(), (1, 28));
    assert!(cluster.trust_webhook("murphy-sidecar", "PEM").await.unwrap());
    assert!(!cluster.trust_webhook("murphy-sidecar", "PEM").await.unwrap());
    {
        let known = known.lock().unwrap();
        assert_eq!(known.patches.len(), 1);
        for n in 0..2 {
            assert_eq!(
                known.configuration["webhooks"][n]["clientConfig"]["caBundle"],
                BASE64_STANDARD.encode(b"PEM")
            );
        }
        assert_eq!(known.configuration["webhooks"][0]["clientConfig"]["service"]["name"], "murphy-webhook");
    }
    // Tokens of service accounts change; the file has the new one.
    known.lock().unwrap().token = "second".into();
    let refused = cluster.trust_webhook("murphy-sidecar", "PEM").await.unwrap_err().to_string();
    assert!(
        refused.contains("401") && refused.contains("look at the token") && !refused.contains("first"),
        "{refused}"
    );
    std::fs::write(dir.path().join("token"), "second").unwrap();
    assert!(!cluster.trust_webhook("murphy-sidecar", "PEM").await.unwrap());
    let missing = cluster.trust_webhook("other", "PEM").await.unwrap_err().to_string();
    assert!(missing.contains("404") && missing.contains("is the name right"), "{missing}");
}

#[tokio::test]
async fn a_server_that_is_another_is_not_believed() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (port, _) = stand_in(dir.path()).await;
    let stranger = Certificates::open(other.path(), &[], Duration::from_secs(60)).unwrap();
    std::fs::write(other.path().join("ca.crt"), stranger.authority()).unwrap();
    std::fs::write(other.path().join("token"), "first").unwrap();
    let cluster = Cluster::of_account(other.path(), "127.0.0.1", &port.to_string()).unwrap();
    let why = cluster.trust_webhook("murphy-sidecar", "PEM").await.unwrap_err().to_string();
    assert!(why.contains("was not reached") && why.to_lowercase().contains("certificate"), "{why}");
}
