"""An HTTP/1.1 service that says what it was asked: echo.py PORT

/json       a JSON document
/bytes/N    N zero bytes of a stated length
/stream/N   N pieces in chunked coding, with a trailer
/status/N   that status
/served     how many requests came before, but for this path
else        the request itself: its line, its headers, an empty line, its body
"""
import itertools
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

served = itertools.count()
total = 0


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Small answers leave at once.
    disable_nagle_algorithm = True

    def handle_any(self):
        global total
        body = self.read_body()
        parts = self.path.split("?")[0].strip("/").split("/")
        n = int(parts[1]) if len(parts) > 1 and parts[1].isdigit() else 0
        if parts[0] == "served":
            return self.answer(200, str(total).encode())
        total = next(served) + 1
        if parts[0] == "json":
            return self.answer(200, b'{"price": 7, "stock": 3}', "application/json")
        if parts[0] == "bytes":
            return self.answer(200, bytes(n), "application/octet-stream")
        if parts[0] == "status":
            return self.answer(n, b"so be it\n")
        if parts[0] == "stream":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Trailer", "X-Count")
            self.end_headers()
            for i in range(n):
                piece = f"piece {i}\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\nX-Count: %d\r\n\r\n" % n)
            return
        said = f"{self.command} {self.path}\n" + "".join(f"{k}: {v}\n" for k, v in self.headers.items()) + "\n"
        self.answer(200, said.encode() + body)

    def read_body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return body
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def answer(self, status, body, kind="text/plain"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("X-Odd-Case", "Kept")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


Server(("127.0.0.1", int(sys.argv[1])), Echo).serve_forever()
