use engine::run::http::{Origin, Pool, request};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// How long the front waits for a dependency before it tries once more, and then does without.
const PATIENCE: Duration = Duration::from_millis(250);

/// The web front: `/checkout` reads the cart from the store and charges the card; when either stays away it answers all
/// the same, with an order that is charged later.
pub async fn serve(listener: TcpListener, payments: SocketAddr, store: SocketAddr) {
    let front = Arc::new(Front {
        payments: Origin::plain(payments.to_string(), "/charge"),
        pool: Pool::default(),
        store,
        carts: Mutex::default(),
    });
    while let Ok((stream, _)) = listener.accept().await {
        // Small answers must not wait for more; without it they still come, later.
        let _ = stream.set_nodelay(true);
        let front = front.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| checkout(front.clone(), request));
            // A connection that breaks is what a demo of broken connections is about.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

struct Front {
    payments: Origin,
    pool: Pool,
    store: SocketAddr,
    carts: Mutex<Vec<BufReader<TcpStream>>>,
}

async fn checkout(front: Arc<Front>, _: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let cart = match front.cart().await {
        Some(cart) => cart,
        None => front.cart().await.unwrap_or_else(|| "your cart".to_owned()),
    };
    let charged = front.charge().await || front.charge().await;
    let (status, text) =
        if charged { (StatusCode::OK, "paid") } else { (StatusCode::ACCEPTED, "ordered, charged later") };
    let mut response = Response::new(Full::new(Bytes::from(format!("{cart}: {text}\n"))));
    *response.status_mut() = status;
    Ok(response)
}

impl Front {
    async fn charge(&self) -> bool {
        let Ok(request) = request(&self.payments, "POST", &[], Bytes::from_static(b"{\"amount\":42}")) else {
            return false;
        };
        matches!(timeout(PATIENCE, self.pool.send(&self.payments, request)).await, Ok(Ok((200, _))))
    }

    /// Asks the store, on a connection kept from before when there is one.
    async fn cart(&self) -> Option<String> {
        let kept = self.carts.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let asked = async {
            let mut stream = match kept {
                Some(stream) => stream,
                None => BufReader::new(TcpStream::connect(self.store).await?),
            };
            stream.get_mut().write_all(b"GET cart\n").await?;
            let mut line = String::new();
            stream.read_line(&mut line).await?;
            std::io::Result::Ok((stream, line))
        };
        match timeout(PATIENCE, asked).await {
            Ok(Ok((stream, line))) if line.starts_with("VALUE ") => {
                self.carts.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
                Some(line.trim_end().trim_start_matches("VALUE ").to_owned())
            }
            _ => None,
        }
    }
}
