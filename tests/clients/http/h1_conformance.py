"""Cases of HTTP/1.1 for servers: bytes over TCP, and what a server must make of them. Each is named after the section of
RFC 9112 (syntax) or RFC 9110 (semantics) that it is about. How it is run: suite.py.

To refuse is a status of 4xx, 501 or 505, or the end of the connection without words.
"""
import socket
import time

from suite import case, main


class Closed(Exception):
    pass


class Peer:
    def __init__(self, port, patience):
        self.patience = patience
        self.socket = socket.create_connection(("127.0.0.1", port), patience)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.input = b""

    def send(self, data):
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # The end is seen when reading.

    def more(self):
        self.socket.settimeout(max(self.deadline - time.monotonic(), 0.001))
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            raise Closed from None
        if not data:
            raise Closed
        self.input += data

    def take(self, count):
        while len(self.input) < count:
            self.more()
        taken, self.input = self.input[:count], self.input[count:]
        return taken

    def line(self):
        while b"\r\n" not in self.input:
            self.more()
        return self.take(self.input.index(b"\r\n") + 2)[:-2]

    def answer(self, method="GET"):
        """The next response: its status, its fields, its body. Raises Closed when the connection ends before it is whole."""
        self.deadline = time.monotonic() + self.patience
        version, status, *_ = self.line().split(b" ", 2)
        if version not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise AssertionError(f"no status line: {version!r}")
        fields = {}
        while line := self.line():
            name, _, value = line.partition(b":")
            fields[name.lower().decode()] = value.strip().decode("latin-1")
        status, body = int(status), b""
        if method == "HEAD" or status < 200 or status in (204, 304):
            pass
        elif fields.get("transfer-encoding"):
            while size := int(self.line(), 16):
                body += self.take(size + 2)[:-2]
            while self.line():
                pass
        elif "content-length" in fields:
            body = self.take(int(fields["content-length"]))
        else:
            try:
                while True:
                    self.more()
            except Closed:
                body, self.input = self.input, b""
        return status, fields, body

    def ends(self):
        """None, when the connection ends and nothing came before."""
        self.deadline = time.monotonic() + self.patience
        try:
            while not self.input:
                self.more()
            return f"there is more: {self.input[:60]}"
        except Closed:
            return None
        except TimeoutError:
            return "the connection stays open"


def h1(name):
    def add(function):
        def whole(port, patience):
            peer = Peer(port, patience)
            try:
                return function(peer)
            except Closed:
                return "the connection ended"
            except TimeoutError:
                return "no answer"
            finally:
                peer.socket.close()
        case(name)(whole)
    return add


def is_refusal(status):
    return 400 <= status < 500 or status in (501, 505)


def answers(c, method="GET", body=None):
    status, _, got = c.answer(method)
    if not 200 <= status < 300:
        return f"the status {status}"
    # Only the service that says what it was asked shows what came of a body.
    if body is not None and got.startswith(b"POST ") and not got.endswith(b"\n\n" + body):
        return f"the body is {got!r}"


def refuses(c):
    try:
        status = c.answer()[0]
    except Closed:
        return None
    return None if is_refusal(status) else f"the status {status}"


def either(c):
    """What may be refused and may be understood, but must come to something."""
    try:
        status = c.answer()[0]
    except Closed:
        return None
    return None if is_refusal(status) or 200 <= status < 300 else f"the status {status}"


def refuses_or_ends(c):
    """Refused, or understood and the last on its connection, so that nothing behind it is taken for a request."""
    try:
        status = c.answer()[0]
    except Closed:
        return None
    return None if is_refusal(status) else c.ends()


def simple(name, sends, demands):
    data = sends if isinstance(sends, bytes) else sends.encode("latin-1")
    h1(name)(lambda c: (c.send(data), demands(c))[1])


def get(*fields, line="GET /a HTTP/1.1", host="Host: test"):
    return "".join(f"{text}\r\n" for text in (line, *([host] if host else []), *fields)) + "\r\n"


def post(*fields, body=""):
    return get(*fields, line="POST /a HTTP/1.1") + body


def chunked(body, coding="chunked"):
    return post(f"Transfer-Encoding: {coding}", body=body)


def gives(body, method="GET"):
    return lambda c: answers(c, method, body)


# RFC 9112, section 2: messages.

simple("2.1/1 a request", get(), answers)
simple("2.2/1 an empty line before the request", "\r\n" + get(), answers)
simple("2.2/2 lines that end with a line feed alone", get().replace("\r\n", "\n"), either)
simple("2.2/3 a carriage return alone in a value", get("X-Test: a\rb"), refuses)
simple("2.2/4 a space before the first field", get(host=" X-Test: a\r\nHost: test"), refuses)
simple("2.2/5 something that is not HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", refuses)
simple("2.3/1 a higher minor version", get(line="GET /a HTTP/1.2"), answers)
simple("2.3/2 a higher major version", get(line="GET /a HTTP/3.0"), refuses)
simple("2.3/3 a version in lower case", get(line="GET /a http/1.1"), refuses)
simple("2.3/4 a version of two digits", get(line="GET /a HTTP/1.10"), refuses)

# Section 3: the request line.

simple("3/1 no version", "GET /a\r\n\r\n", either)
simple("3/2 two spaces", get(line="GET  /a HTTP/1.1"), either)
simple("3/3 a space in the target", get(line="GET /a b HTTP/1.1"), refuses)
simple("3/4 a line that is too long", get(line=f"GET /{'a' * 200_000} HTTP/1.1"), refuses)
simple("3/5 a line of 7000 bytes", get(line=f"GET /{'a' * 7000} HTTP/1.1"), answers)
simple("3/6 a control character in the target", get(line="GET /\x01a HTTP/1.1"), refuses)


@h1("3.1/1 methods are told apart by case")
def _(c):
    c.send(get(line="get /a HTTP/1.1").encode())
    try:
        status, _, body = c.answer()
    except Closed:
        return None
    return None if is_refusal(status) or body.startswith(b"get ") else f"the status {status}"


simple("3.1/2 an unknown method comes to something", get(line="BREW /a HTTP/1.1"), either)
simple("3.1/3 a method with characters that it cannot have", get(line="G(T /a HTTP/1.1"), refuses)
simple("3.2.1/1 a query", get(line="GET /a?b=c&d=/?e HTTP/1.1"), answers)
simple("3.2.2/1 the absolute form", get(line="GET http://test/a HTTP/1.1"), answers)
simple("3.2.2/2 the absolute form goes before Host", get(line="GET http://test/a HTTP/1.1", host="Host: other"), answers)
simple("3.2.3/1 the authority form without CONNECT", get(line="GET test:80 HTTP/1.1"), refuses)
simple("3.2.4/1 the asterisk form", get(line="OPTIONS * HTTP/1.1"), either)
simple("3.2.4/2 the asterisk form without OPTIONS", get(line="GET * HTTP/1.1"), refuses)
simple("3.2/1 no Host", get(host=None), refuses)
simple("3.2/2 two Host", get("Host: test"), refuses)
simple("3.2/3 two Host that differ", get("Host: other"), refuses)
simple("3.2/4 a Host that cannot be one", get(host="Host: te st/a"), refuses)
simple("3.2/5 HTTP/1.0 without Host", get(line="GET /a HTTP/1.0", host=None), answers)

# Section 5: fields.

simple("5/1 names in any case", get(host="hOsT: test"), answers)
simple("5/2 spaces around a value", get("X-Test: \t a b \t "), answers)
simple("5/3 an empty value", get("X-Test:"), answers)
simple("5/4 a value with bytes above ASCII", get("X-Test: \xe4\xf6"), answers)
simple("5/5 a line without a colon", get("X-Test"), refuses)
simple("5/6 an empty name", get(": a"), refuses)
simple("5/7 a name with characters that it cannot have", get("X(Test): a"), refuses)
simple("5/8 a value with a zero byte", get("X-Test: a\0b"), refuses)
simple("5/9 more than can be kept", get(*(f"X-Test-{i}: {'a' * 1000}" for i in range(300))), refuses)
simple("5/10 a value of 6000 bytes", get("X-Test: " + "a" * 6000), answers)
simple("5.1/1 a space before the colon", get("X-Test : a"), refuses)
simple("5.1/2 a space before the colon of Content-Length", post("Content-Length : 5", body="hello"), refuses)
simple("5.2/1 a value that goes on in the next line", get("X-Test: a\r\n b"), either)
simple("5.2/2 a Transfer-Encoding that goes on in the next line", post("Transfer-Encoding:\r\n chunked", body="0\r\n\r\n"), either)

# Section 6: bodies.

simple("6.1/1 chunked in any case", chunked("5\r\nhello\r\n0\r\n\r\n", "CHUNKED"), either)
simple("6.1/2 an unknown coding", chunked("5\r\nhello\r\n0\r\n\r\n", "xchunked"), refuses_or_ends)
simple("6.1/3 chunked is not the last", chunked("5\r\nhello\r\n0\r\n\r\n", "chunked, gzip"), refuses_or_ends)
simple("6.1/4 Transfer-Encoding and Content-Length",
       post("Content-Length: 5", "Transfer-Encoding: chunked", body="0\r\n\r\n" + get()), refuses_or_ends)
simple("6.1/5 Transfer-Encoding in HTTP/1.0",
       get("Transfer-Encoding: chunked", line="POST /a HTTP/1.0") + "0\r\n\r\n" + get(), refuses_or_ends)
simple("6.1/6 two Transfer-Encoding",
       post("Transfer-Encoding: chunked", "Transfer-Encoding: identity", body="0\r\n\r\n"), refuses_or_ends)
simple("6.2/1 Content-Length", post("Content-Length: 5", body="hello"), gives(b"hello"))
simple("6.2/2 Content-Length of nothing", post("Content-Length: 0"), gives(b""))
for i, text in enumerate(["-5", "+5", "0x5", "5x", "5 5", "5, 6", "99999999999999999999", "5.0"], 1):
    simple(f"6.2/{i + 2} Content-Length: {text}", post(f"Content-Length: {text}", body="hello"), refuses)
simple("6.3/1 two Content-Length that differ", post("Content-Length: 5", "Content-Length: 6", body="hello!"), refuses)
simple("6.3/2 two Content-Length that are the same", post("Content-Length: 5", "Content-Length: 5", body="hello"), either)
simple("6.3/3 neither: there is no body", post() + get(), gives(b"", "POST"))

# Section 7: chunks.

simple("7.1/1 chunks", chunked("5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n"), gives(b"hello0123456789"))
simple("7.1/2 sizes in lower case, with zeros", chunked("00a\r\n0123456789\r\n000\r\n\r\n"), gives(b"0123456789"))
simple("7.1/3 no chunks", chunked("0\r\n\r\n"), gives(b""))
simple("7.1/4 a size that is none", chunked("g\r\nhello\r\n0\r\n\r\n"), refuses)
simple("7.1/5 a size with a sign", chunked("-5\r\nhello\r\n0\r\n\r\n"), refuses)
simple("7.1/6 a size with a prefix", chunked("0x5\r\nhello\r\n0\r\n\r\n"), refuses)
simple("7.1/7 a size above all bounds", chunked("fffffffffffffffff\r\nhello\r\n0\r\n\r\n"), refuses)
simple("7.1/8 a chunk that is longer than its size", chunked("3\r\nhello\r\n0\r\n\r\n"), refuses)
simple("7.1/9 a size that is missing", chunked("\r\nhello\r\n0\r\n\r\n"), refuses)
simple("7.1.1/1 extensions", chunked("5;a=b\r\nhello\r\n0;c=\"d e\";f\r\n\r\n"), gives(b"hello"))
simple("7.1.1/2 a line feed in an extension", chunked("5;a\nb\r\nhello\r\n0\r\n\r\n"), refuses)
simple("7.1.2/1 trailers", chunked("5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n"), gives(b"hello"))


def cut_off(name, sent):
    @h1(name)
    def _(c):
        c.send(sent.encode())
        c.socket.shutdown(socket.SHUT_WR)
        return refuses(c)


# Section 8: what is not whole.

cut_off("8/1 a head that is cut off", "GET /a HTTP/1.1\r\nHost: te")
cut_off("8/2 chunks that are cut off", chunked("5\r\nhel"))
cut_off("8/3 the last chunk is missing", chunked("5\r\nhello\r\n"))
cut_off("8/4 a body that is cut off", post("Content-Length: 10", body="hello"))

# Section 9: connections.


@h1("9.3/1 a connection has several requests")
def _(c):
    for _ in range(5):
        c.send(get().encode())
        if wrong := answers(c):
            return wrong


@h1("9.3/2 HTTP/1.0 ends the connection")
def _(c):
    c.send(get(line="GET /a HTTP/1.0").encode())
    return answers(c) or c.ends()


@h1("9.3/3 HTTP/1.0 with keep-alive")
def _(c):
    c.send(get("Connection: keep-alive", line="GET /a HTTP/1.0").encode())
    status, fields, _ = c.answer()
    if status != 200:
        return f"the status {status}"
    if fields.get("connection", "").lower() != "keep-alive":
        return c.ends()
    c.send(get().encode())
    return answers(c)


@h1("9.3.2/1 requests that do not wait are answered in their order")
def _(c):
    c.send("".join(get(line=f"GET /{i} HTTP/1.1") for i in range(10)).encode())
    for i in range(10):
        status, _, body = c.answer()
        if status != 200 or body.startswith(b"GET ") and not body.startswith(f"GET /{i}\n".encode()):
            return f"{i}: {status} {body[:20]}"


@h1("9.3.2/2 a body is not taken for a request")
def _(c):
    inner = get(line="GET /inner HTTP/1.1")
    c.send((post(f"Content-Length: {len(inner)}", body=inner) + chunked(f"{len(inner):x}\r\n{inner}\r\n0\r\n\r\n")
            + get(line="GET /last HTTP/1.1")).encode())
    for _ in range(3):
        status, _, body = c.answer()
        if status != 200 or body.startswith(b"GET /inner"):
            return f"{status} {body[:20]}"


for word in ("close", "Close", "x, close"):
    @h1(f"9.6/1 Connection: {word}")
    def _(c, word=word):
        c.send((get(f"Connection: {word}") + get()).encode())
        return answers(c) or c.ends()


# RFC 9110: semantics.


@h1("9110 9.3.2/1 HEAD has no body")
def _(c):
    c.send((get(line="HEAD /a HTTP/1.1") + get()).encode())
    return answers(c, "HEAD") or answers(c)


@h1("9110 10.1.1/1 Expect: 100-continue")
def _(c):
    c.send(post("Content-Length: 5", "Expect: 100-continue").encode())
    status = c.answer("POST")[0]
    if status == 100:
        c.send(b"hello")
        return answers(c, "POST", b"hello")
    return None if status >= 200 else f"the status {status}"


@h1("9110 10.1.1/2 Expect: 100-continue, and a body that does not wait")
def _(c):
    c.send(post("Content-Length: 5", "Expect: 100-continue", body="hello").encode())
    status = c.answer("POST")[0]
    if status == 100:
        return answers(c, "POST", b"hello")
    return None if status < 300 else f"the status {status}"


@h1("9110 10.1.1/3 Expect: 100-continue in HTTP/1.0 is not answered with 100")
def _(c):
    c.send(get("Content-Length: 5", "Expect: 100-continue", line="POST /a HTTP/1.0").encode() + b"hello")
    return answers(c)


simple("9110 7.8/1 an Upgrade to what nobody knows", get("Connection: upgrade", "Upgrade: tea/1"), answers)
simple("9110 7.8/2 an Upgrade to h2c", get("Connection: upgrade, http2-settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
       answers)
simple("9110 9.3.8/1 TRACE with Max-Forwards", get("Max-Forwards: 0", line="TRACE /a HTTP/1.1"), either)
simple("9110 9.3.7/1 OPTIONS with Max-Forwards", get("Max-Forwards: 0", line="OPTIONS /a HTTP/1.1"), either)


@h1("9110 6.6.1/1 an answer has a Date")
def _(c):
    c.send(get().encode())
    return None if "date" in c.answer()[1] else "it has none"


if __name__ == "__main__":
    main()
