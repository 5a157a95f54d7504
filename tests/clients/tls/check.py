"""Talks TLS as Python programs do and prints what becomes of it.

check.py each PORT CA HOST...    one handshake and one request per host: a line "HOST ok" or "HOST error" each
check.py share PORT CA HOST N    N handshakes: how many succeeded
check.py hold PORT CA HOST       opens a session; for each line on standard input one request on it, answered by a line
"""
import socket
import ssl
import sys

mode, port, ca, *rest = sys.argv[1:]
context = ssl.create_default_context(cafile=ca)


def connect(host):
    raw = socket.create_connection(("127.0.0.1", int(port)), timeout=20)
    try:
        return context.wrap_socket(raw, server_hostname=host, suppress_ragged_eofs=False)
    except BaseException:
        raw.close()
        raise


def ask(session, host, last):
    end = "close" if last else "keep-alive"
    session.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: {end}\r\n\r\n".encode())
    answer = b""
    while last or not answer.endswith(b"end\n"):
        part = session.recv(65536)
        if not part:
            break
        answer += part
    return answer


def outcome(host):
    try:
        with connect(host) as session:
            answer = ask(session, host, True)
            return "ok" if answer.endswith(b"end\n") else f"cut off after {len(answer)} bytes"
    except Exception as e:
        return f"{type(e).__name__}: {e}"


if mode == "each":
    for host in rest:
        print(host, outcome(host), flush=True)
elif mode == "share":
    host, n = rest[0], int(rest[1])
    good = 0
    for _ in range(n):
        try:
            connect(host).close()
            good += 1
        except ssl.SSLError:
            pass
    print(good)
elif mode == "hold":
    with connect(rest[0]) as session:
        print("open", flush=True)
        for _ in sys.stdin:
            print("ok" if ask(session, rest[0], False).endswith(b"end\n") else "bad", flush=True)
