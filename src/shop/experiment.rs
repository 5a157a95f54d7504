use super::Shop;
use model::units::Span;
use std::net::SocketAddr;
use std::time::Duration;

/// Where the demo's proxies listen.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    /// In front of the web front.
    pub front: SocketAddr,
    /// In front of the payments.
    pub payments: SocketAddr,
    /// In front of the store.
    pub store: SocketAddr,
}

/// The demo's experiment as a file, as long in all as asked for: a fifth of the time before, a fifth after, and three
/// stages in between.
pub fn experiment(shop: &Shop, ports: Ports, lasts: Span, seed: Option<u64>) -> String {
    let part =
        |percent: u32| Span(Duration::from_millis(lasts.0.as_millis() as u64 * u64::from(percent) / 100));
    let window = if lasts < Span::secs(40) { "1s" } else { "2s" };
    format!(
        "\
murphy: 1
name: demo
description: A shop whose payments are slow, then fail, and whose store drops connections.
hypothesis: Customers notice nothing - 99 % of checkouts succeed, and 95 % of them within 900 ms.
seed: {seed}

targets:
  front:    {{proxy: {{listen: '{front_at}', upstream: '{front}', protocol: http}}}}
  payments: {{proxy: {{listen: '{payments_at}', upstream: '{payments}', protocol: http}}}}
  store:    {{proxy: {{listen: '{store_at}', upstream: '{store}'}}}}

steady_state:
  window: {window}
  baseline: {edge}
  cooldown: {edge}
  metrics:
    checkout_ok:
      from: {{load: {{users: success}}}}
      expect: '>= 99%'
    checkout_p95:
      from: {{proxy: {{target: front, latency: p95}}}}
      expect: '< 900ms'
    payments_errors:
      from: {{proxy: {{target: payments, errors: share}}}}
      expect: '< 5%'
      severity: inform

load:
  users:
    http: {{url: 'http://{front_at}/checkout', timeout: 3s}}
    rate: 60/s

stages:
  - name: slow
    for: {stage}
    faults:
      - {{id: slow-payments, target: payments, for: {fault}, inject: {{latency: {{delay: 120ms, jitter: 40ms, direction: down}}}}}}
  - name: errors
    for: {stage}
    faults:
      - {{id: busy-payments, target: payments, for: {fault}, percent: 30%, when: {{method: POST, path: '/charge*'}}, inject: {{abort: {{status: 503, body: busy}}}}}}
  - name: resets
    for: {stage}
    faults:
      - {{id: cut-store, target: store, for: {fault}, inject: {{cut: {{when: 150ms, how: rst}}}}}}

safety:
  abort_if:
    - {{metric: checkout_ok, is: '< 50%', for: 5s}}
",
        seed = seed.unwrap_or(7),
        front_at = ports.front,
        payments_at = ports.payments,
        store_at = ports.store,
        front = shop.front,
        payments = shop.payments,
        store = shop.store,
        edge = part(20),
        stage = part(20),
        fault = part(15),
    )
}
