//! Services that clients name themselves: where a redirected connection was going.

use crate::dial::Dial;
use crate::front::Resident;
use crate::net::Address;
use crate::route::{Chosen, Member};
use crate::tls::Originate;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// More services than these are kept only while someone is connected to them.
const KEEP: usize = 256;

/// The services of a proxy that goes where its clients were going.
pub(crate) struct Originals {
    tls: Option<Arc<Originate>>,
    /// With layer 7, where requests of several clients share connections: one pool a service.
    http: Option<Http>,
}

/// An address, and who sees it when that is not this namespace.
type Spot = (SocketAddr, Option<u64>);

struct Http {
    how: Dial,
    known: Mutex<HashMap<Spot, Arc<Member>>>,
    /// For requests of clients that came to us directly: it is never reached, and says why.
    nowhere: Arc<Member>,
}

impl Originals {
    /// None known yet. `http`: how layer 7 dials, where it is spoken.
    pub(crate) fn new(http: Option<Dial>, tls: Option<Arc<Originate>>) -> Originals {
        let http = http.map(|how| {
            let nowhere = Arc::new(Member::new(Address::Nowhere, Some(how), tls.as_ref()));
            Http { how, known: Mutex::default(), nowhere }
        });
        Originals { tls, http }
    }

    /// The service there, as it is seen by `inside` where that is given. A connection that was meant for us has none; with layer 7 it is told so.
    pub(crate) fn at(
        &self,
        destination: Option<SocketAddr>,
        inside: Option<&Arc<Resident>>,
    ) -> Option<Chosen> {
        let Some(http) = &self.http else {
            return destination.map(|there| Chosen::new(Arc::new(self.member(there, inside, None))));
        };
        let Some(there) = destination else { return Some(Chosen::new(http.nowhere.clone())) };
        let mut known = http.known.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (there, inside.map(|resident| resident.number()));
        if known.len() >= KEEP && !known.contains_key(&key) {
            known.retain(|_, member| member.is_in_use());
        }
        let make = || Arc::new(self.member(there, inside, Some(http.how)));
        let member = known.entry(key).or_insert_with(make);
        Some(Chosen::new(member.clone()))
    }

    /// Forgets the services that were seen by that one: its namespace is given up.
    pub(crate) fn forget(&self, resident: &Resident) {
        let Some(http) = &self.http else { return };
        let mut known = http.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|(_, inside), _| *inside != Some(resident.number()));
    }

    fn member(&self, there: SocketAddr, inside: Option<&Arc<Resident>>, http: Option<Dial>) -> Member {
        let address = match inside {
            Some(resident) => Address::Inside(there, resident.clone()),
            None => Address::Tcp { host: there.ip().to_string(), port: there.port() },
        };
        Member::new(address, http, self.tls.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::target::ProxySpec;

    #[test]
    fn services_share_what_requests_share_and_are_forgotten_unused() {
        let all = Originals::new(Some(Dial::new(&ProxySpec::default())), None);
        let at = |port: u16| all.at(Some(([10, 0, 0, 1], port).into()), None).unwrap();
        let held = at(1);
        assert!(Arc::ptr_eq(held.pool.as_ref().unwrap(), at(1).pool.as_ref().unwrap()));
        for port in 2..2000 {
            drop(at(port));
        }
        assert!(Arc::ptr_eq(held.pool.as_ref().unwrap(), at(1).pool.as_ref().unwrap()));
        assert!(all.http.as_ref().unwrap().known.lock().unwrap().len() <= KEEP);
        assert_eq!(&*all.at(None, None).unwrap().name, "nowhere");
        assert!(Originals::new(None, None).at(None, None).is_none());
    }
}
