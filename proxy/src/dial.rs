//! How services are dialled: for how long, and from which address.

use crate::net::{Address, Secured, Stream};
use crate::tls::Offer;
use model::target::ProxySpec;
use socket2::SockRef;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream, UnixStream};

/// How long a service has to answer when nothing else is said: three SYNs are sent again in this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a service is dialled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dial {
    /// How long it has to answer.
    within: Duration,
    /// The address that it shall see, when that is not ours.
    source: Option<IpAddr>,
    /// What is offered by ALPN where TLS is spoken.
    offer: Offer,
}

impl Dial {
    /// As the target says, from our own address.
    pub(crate) fn new(spec: &ProxySpec) -> Dial {
        Dial {
            within: spec.connect_timeout.map_or(PATIENCE, |span| span.0),
            source: None,
            offer: Offer::Nothing,
        }
    }

    /// For what it will be used.
    pub(crate) fn offering(self, offer: Offer) -> Dial {
        Dial { offer, ..self }
    }

    /// From the client's address. One that came to an IPv6 listener by IPv4 has an IPv4 address for the service, too.
    pub(crate) fn from(self, client: Option<SocketAddr>) -> Dial {
        Dial { source: client.map(|address| address.ip().to_canonical()), ..self }
    }
}

impl Address {
    /// Connects to it. The error says to where and why not.
    pub(crate) async fn dial(&self, how: Dial) -> io::Result<Stream> {
        let failed = |e: io::Error| io::Error::new(e.kind(), format!("connecting to {self} failed: {e}"));
        match tokio::time::timeout(how.within, self.connect(how)).await {
            Ok(result) => result.map_err(failed),
            Err(_) => {
                let why = format!("no answer within {:?}", how.within);
                Err(failed(io::Error::new(ErrorKind::TimedOut, why)))
            }
        }
    }

    async fn connect(&self, how: Dial) -> io::Result<Stream> {
        let stream = match (self, how.source) {
            (Address::Tls(address, Secured(tls)), _) => {
                let socket = Box::pin(address.connect(how)).await?;
                return tls.connect(socket, &address.name(), how.offer).await;
            }
            (Address::Nowhere, _) => {
                return Err(io::Error::new(
                    ErrorKind::AddrNotAvailable,
                    "this connection came to the proxy's own port and was not redirected, so it has no other destination",
                ));
            }
            (Address::Inside(address, resident), _) => resident.connect(*address).await.map(Stream::Tcp),
            (Address::Unix(path), _) => UnixStream::connect(path).await.map(Stream::Unix),
            (Address::Tcp { host, port }, None) => {
                TcpStream::connect((host.as_str(), *port)).await.map(Stream::Tcp)
            }
            (Address::Tcp { host, port }, Some(source)) => {
                connect_from(source, host, *port).await.map(Stream::Tcp)
            }
        }?;
        stream.no_delay();
        Ok(stream)
    }
}

/// Connects from an address that is not ours.
async fn connect_from(source: IpAddr, host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(
        ErrorKind::AddrNotAvailable,
        format!("the client's address is {source}, and the service has none of that family"),
    );
    for address in tokio::net::lookup_host((host, port)).await? {
        if address.is_ipv4() != source.is_ipv4() {
            continue;
        }
        let attempt = async {
            let socket = transparent(source.is_ipv4())?;
            socket.bind(SocketAddr::new(source, 0))?;
            socket.connect(address).await
        };
        match attempt.await {
            Ok(stream) => return Ok(stream),
            Err(e) => last = io::Error::new(e.kind(), format!("from the client's address {source}: {e}")),
        }
    }
    Err(last)
}

/// A socket that may have any address.
fn transparent(v4: bool) -> io::Result<TcpSocket> {
    let socket = if v4 { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if v4 {
        SockRef::from(&socket).set_ip_transparent_v4(true)?;
    } else {
        SockRef::from(&socket).set_ip_transparent_v6(true)?;
    }
    Ok(socket)
}

/// Whether we may dial from addresses that are not ours.
pub(crate) fn may_keep_source() -> io::Result<()> {
    transparent(true).map(drop)
}
