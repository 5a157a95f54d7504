//! Targets in and in front of containers, as files and names say them.

use murphy_model::experiment::read;
use murphy_model::target::{Front, Protocol};
use murphy_model::{TargetRef, TargetSpec};
use std::collections::BTreeMap;

fn file(target: &str) -> String {
    format!(
        "murphy: 1\ntargets: {{it: {target}}}\nstages: [{{faults: [{{target: it, for: 1s, inject: {{latency: {{delay: 1ms}}}}}}]}}]\n"
    )
}

fn spec(target: &str) -> TargetSpec {
    let text = file(target);
    let read = read("f.yaml", &text, &BTreeMap::new()).unwrap_or_else(|p| panic!("{target}: {p}"));
    read.targets.into_iter().next().unwrap().spec
}

fn why(target: &str) -> String {
    read("f.yaml", &file(target), &BTreeMap::new()).unwrap_err().to_string()
}

#[test]
fn a_proxy_stands_in_front_of_a_containers_port() {
    let TargetSpec::Proxy(proxy) =
        spec("{proxy: {in_front_of: {compose: shop, service: db, port: 5432}, protocol: http}}")
    else {
        panic!("it is no proxy")
    };
    let front = Front { service: Some("shop/db".into()), port: 5432, ..Front::default() };
    assert_eq!((proxy.in_front_of.as_deref(), proxy.protocol), (Some(&front), Protocol::Http));
    assert_eq!(proxy.ends(), "in front of service shop/db, port 5432");
    let text = serde_json::to_string(&proxy).unwrap();
    assert_eq!(serde_json::from_str::<murphy_model::target::ProxySpec>(&text).unwrap(), proxy);
}

#[test]
fn what_does_not_go_together_is_refused() {
    for (target, says) in [
        ("{proxy: {in_front_of: {port: 5432}}}", "needs one of name, label, service"),
        ("{proxy: {in_front_of: {service: db}}}", "port"),
        ("{proxy: {in_front_of: {service: db, port: 70000}}}", "port"),
        ("{proxy: {in_front_of: {compose: shop, name: db, port: 1}}}", "compose names a project"),
        ("{proxy: {in_front_of: {compose: shop, service: shop/db, port: 1}}}", "names a project already"),
        ("{proxy: {in_front_of: {service: db, port: 1}, upstream: \"a:1\"}}", "leave listen, upstream"),
        ("{proxy: {in_front_of: {service: db, port: 1}, listen: \"a:1\"}}", "leave listen, upstream"),
        ("{proxy: {in_front_of: {service: db, port: 1, reset_open: maybe}}}", "reset_open"),
        ("{proxy: {in_front_of: {service: db, port: 1}, protocol: udp}}", "not datagrams"),
        ("{proxy: {in_front_of: {service: db, port: 1}, keep_source: true}}", "leave keep_source out"),
        ("{fs: {mount: /a, pid: 1, container: {name: web}}}", "keep one of them"),
        ("{fs: {mount: /a, in_use_passes: true}}", "for directories in containers"),
    ] {
        assert!(why(target).contains(says), "{target}: {}", why(target));
    }
}

#[test]
fn names_say_it_too() {
    let implied = |text: &str| TargetSpec::implied(&text.parse::<TargetRef>().unwrap());
    let front = |text: &str| match implied(text) {
        Some(TargetSpec::Proxy(proxy)) => proxy.in_front_of.map(|front| *front),
        _ => None,
    };
    assert_eq!(front("proxy:shop/db:5432").unwrap().service.as_deref(), Some("shop/db"));
    assert_eq!(front("proxy:shop-db-1:5432").unwrap().name.as_deref(), Some("shop-db-1"));
    assert!(["proxy:cart", "proxy:a:0", "proxy:a b:1", "proxy::1"].iter().all(|t| front(t).is_none()));
    let Some(TargetSpec::Container(container)) = implied("container:shop/web") else { panic!() };
    assert_eq!(container.service.as_deref(), Some("shop/web"));
}

#[test]
fn a_directory_is_in_a_container() {
    let TargetSpec::Fs(fs) = spec("{fs: {mount: /data, container: {compose: shop, service: web}}}") else {
        panic!("it is no directory")
    };
    assert_eq!(fs.container.unwrap().service.as_deref(), Some("shop/web"));
}
