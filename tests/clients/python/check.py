"""Everything that toxiproxy-python (PyPI, unchanged) can do, against the server at the port given."""

import json
import socket
import sys
import threading
import time

from toxiproxy import Proxy, Toxiproxy
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists


def echo():
    """Gives back what it gets, on a port of its own."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(conn):
        with conn:
            while data := conn.recv(65536):
                conn.sendall(data)

    def accept():
        while True:
            conn, _ = listener.accept()
            threading.Thread(target=serve, args=(conn,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def connect(proxy):
    host, port = proxy.listen.rsplit(":", 1)
    return socket.create_connection((host, int(port)), timeout=20)


def ping(conn):
    begin = time.monotonic()
    conn.sendall(b"ping")
    got = b""
    while len(got) < 4:
        data = conn.recv(4 - len(got))
        assert data, "the connection ended"
        got += data
    assert got == b"ping"
    return time.monotonic() - begin


def raises(kind, call, text):
    try:
        call()
    except kind as e:
        assert text in str(e), str(e)
        return
    raise AssertionError("no " + kind.__name__)


CHECKS = []


def check(test):
    CHECKS.append(test)
    return test


server = Toxiproxy()
upstream = "127.0.0.1:%d" % echo()


@check
def the_server_runs():
    assert server.running() is True
    assert json.loads(server.version())["version"]
    server.update_api_consumer("127.0.0.1", 1)
    assert server.running() is False and server.version() is None
    server.update_api_consumer("127.0.0.1", PORT)


@check
def proxies_come_and_go():
    assert server.proxies() == {} and server.get_proxy("a") is None
    a = server.create(name="a", upstream=upstream)
    assert isinstance(a, Proxy) and a.enabled and a.upstream == upstream
    assert a.listen.startswith("127.0.0.1:") and not a.listen.endswith(":0")
    b = server.create(name="b", upstream="localhost:1", listen="localhost:0", enabled=False)
    assert not b.enabled and b.listen == "localhost:0"
    assert sorted(server.proxies()) == ["a", "b"]
    assert server.get_proxy("a").listen == a.listen
    raises(ProxyExists, lambda: server.create(name="a", upstream=upstream), "already exists")
    ping(connect(a))
    assert server.destroy(b) is True and server.destroy("b") is False
    raises(NotFound, b.destroy, "proxy not found")
    server.destroy_all()
    assert server.proxies() == {}


@check
def a_proxy_is_down_for_a_while():
    proxy = server.create(name="a", upstream=upstream, listen=LISTEN)
    held = connect(proxy)
    ping(held)
    with proxy.down():
        assert held.recv(1) == b"", "open connections are closed"
        assert server.get_proxy("a").enabled is False
        raises(ConnectionRefusedError, lambda: connect(proxy), "")
    assert server.get_proxy("a").enabled is True
    ping(connect(proxy))
    proxy.disable()
    assert proxy.enabled is False and server.get_proxy("a").enabled is False
    proxy.enable()
    assert proxy.enabled is True and server.get_proxy("a").enabled is True
    server.destroy_all()


@check
def every_kind_of_toxic():
    proxy = server.create(name="a", upstream=upstream, listen=LISTEN)
    kinds = {
        "latency": {"latency": 100, "jitter": 10},
        "bandwidth": {"rate": 1000},
        "slow_close": {"delay": 100},
        "timeout": {"timeout": 1000},
        "reset_peer": {"timeout": 100},
        "slicer": {"average_size": 100, "size_variation": 10, "delay": 100},
        "limit_data": {"bytes": 1000},
        "noop": {},
    }
    for kind, attributes in kinds.items():
        for stream in ["upstream", "downstream"]:
            proxy.add_toxic(type=kind, stream=stream, attributes=attributes, toxicity=0.5)
            toxic = proxy.get_toxic("%s_%s" % (kind, stream))
            assert (toxic.type, toxic.stream, toxic.toxicity) == (kind, stream, 0.5)
            assert toxic.attributes == attributes, toxic.attributes
    toxics = list(proxy.toxics())
    assert len(toxics) == 16 and all(name.endswith("_upstream") for name in toxics[:8])
    assert proxy.get_toxic("none") is None
    for name in toxics:
        assert proxy.destroy_toxic(name) is True
    assert proxy.toxics() == {}
    server.destroy_all()


@check
def toxics_do_what_they_say():
    proxy = server.create(name="a", upstream=upstream, listen=LISTEN)
    conn = connect(proxy)
    ping(conn)
    proxy.add_toxic(name="late", type="latency", attributes={"latency": 80})
    assert ping(conn) >= 0.08
    proxy.destroy_toxic("late")
    proxy.add_toxic(type="limit_data", attributes={"bytes": 2})
    conn.sendall(b"ping")
    assert conn.recv(8) == b"pi" and conn.recv(8) == b""
    server.reset()
    assert proxy.toxics() == {}
    ping(connect(proxy))
    server.destroy_all()


@check
def mistakes():
    proxy = server.create(name="a", upstream=upstream, listen=LISTEN)
    raises(InvalidToxic, lambda: proxy.add_toxic(type="sloth"), "invalid toxic type")
    raises(InvalidToxic, lambda: proxy.add_toxic(type="latency", stream="sideways"), "stream was invalid")
    raises(
        InvalidToxic,
        lambda: proxy.add_toxic(type="latency", attributes={"latency": "x"}),
        "bad request body",
    )
    proxy.add_toxic(type="latency")
    raises(ProxyExists, lambda: proxy.add_toxic(type="latency"), "toxic already exists")
    raises(NotFound, lambda: proxy.destroy_toxic("none"), "toxic not found")
    server.destroy_all()


@check
def populate():
    some = [
        {"name": "a", "upstream": upstream, "listen": LISTEN},
        {"name": "b", "upstream": upstream, "listen": LISTEN},
    ]
    made = server.populate(some)
    assert [p.name for p in made] == ["a", "b"]
    same = [{"name": p.name, "upstream": p.upstream, "listen": p.listen} for p in made]
    assert server.populate(same) == []
    same[0]["upstream"] = "localhost:1"
    assert [p.upstream for p in server.populate(same)] == ["localhost:1"]
    server.destroy_all()


@check
def reset():
    proxy = server.create(name="a", upstream=upstream, listen=LISTEN)
    proxy.add_toxic(type="latency")
    proxy.disable()
    assert list(proxy.toxics()) == ["latency_downstream"]
    assert server.reset() is True
    assert server.get_proxy("a").enabled is True and proxy.toxics() == {}
    server.destroy_all()


if __name__ == "__main__":
    PORT = int(sys.argv[1])
    # Any port of an address that is free for us: one that is let go is there again.
    LISTEN = sys.argv[2]
    server.update_api_consumer("127.0.0.1", PORT)
    for test in CHECKS:
        test()
        print("ok", test.__name__)
    print(len(CHECKS), "checks passed")
