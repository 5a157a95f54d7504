"""A shop that bends and does not break: orders go to PostgreSQL, the list of articles is cached in Redis, and for each
order a receipt is written to /var/lib/shop.

It gives a slow database half a second, a slow cache a tenth; without the cache it asks the database, and receipts that
cannot be written wait in memory until they can."""

import collections
import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2
import redis

RECEIPTS = "/var/lib/shop"
# Connections are made anew this often: whatever comes between the services is met within that time.
LIFE = 3.0


class Database:
    """A pool of connections that are used by one request at a time and do not get old."""

    def __init__(self):
        self.idle, self.lock = [], threading.Lock()

    def take(self):
        with self.lock:
            while self.idle:
                born, connection = self.idle.pop()
                if time.monotonic() - born < LIFE:
                    return born, connection
                connection.close()
        connection = psycopg2.connect(
            host="db", user="postgres", connect_timeout=2, options="-c statement_timeout=2000"
        )
        connection.autocommit = True
        return time.monotonic(), connection

    def ask(self, statement, values=()):
        """Asks once, and once more on a new connection when the first one turns out to be dead."""
        for last in (False, True):
            try:
                born, connection = self.take()
                with connection.cursor() as cursor:
                    cursor.execute(statement, values)
                    rows = cursor.fetchall()
            except (psycopg2.OperationalError, psycopg2.InterfaceError):
                if last:
                    raise
                # The others died with it, as a rule.
                with self.lock:
                    self.idle.clear()
                continue
            with self.lock:
                self.idle.append((born, connection))
            return rows


class Cache:
    """Redis, as long as it answers within a tenth of a second."""

    def __init__(self):
        self.lock, self.born, self.client = threading.Lock(), 0.0, None
        self.misses = 0

    def now(self):
        with self.lock:
            if time.monotonic() - self.born > LIFE:
                self.born = time.monotonic()
                self.client = redis.Redis(host="cache", socket_timeout=0.1, socket_connect_timeout=0.1)
            return self.client

    def articles(self, otherwise):
        try:
            known = self.now().get("articles")
            if known:
                return known
        except redis.RedisError:
            self.misses += 1
        fresh = otherwise()
        try:
            self.now().set("articles", fresh, ex=1)
        except redis.RedisError:
            self.misses += 1
        return fresh


class Receipts:
    """Files, one for each order; those that the disk does not take wait here."""

    def __init__(self):
        self.waiting, self.lock, self.late = collections.deque(), threading.Lock(), 0
        threading.Thread(target=self.catch_up, daemon=True).start()

    @staticmethod
    def store(order):
        path = f"{RECEIPTS}/{order}.json"
        with open(path + ".new", "w") as file:
            file.write(json.dumps({"order": order, "at": time.time()}) + "\n" * 2000)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".new", path)

    def write(self, order):
        try:
            self.store(order)
        except OSError:
            with self.lock:
                self.waiting.append(order)
                self.late += 1

    def catch_up(self):
        while True:
            time.sleep(0.5)
            while self.waiting:
                try:
                    self.store(self.waiting[0])
                except OSError:
                    break
                with self.lock:
                    self.waiting.popleft()


database, cache, receipts = Database(), Cache(), Receipts()


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/health":
            behind = len(receipts.waiting)
            state = {"behind": behind, "late": receipts.late, "cache_misses": cache.misses}
            return self.answer(200, json.dumps(state).encode())
        select = "select json_agg(json_build_object('name', name, 'left', in_stock)) from articles"
        self.safely(lambda: cache.articles(lambda: json.dumps(database.ask(select)[0][0]).encode()))

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))

        def order():
            [(number,)] = database.ask("insert into orders default values returning id")
            receipts.write(number)
            return json.dumps({"order": number}).encode()

        self.safely(order)

    def safely(self, work):
        try:
            self.answer(200, work())
        except psycopg2.Error as error:
            self.answer(503, json.dumps({"error": str(error).strip()}).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def prepare():
    for statement in (
        "create table if not exists orders (id serial primary key, at timestamptz default now())",
        "create table if not exists articles (name text primary key, in_stock int)",
        "insert into articles values ('umbrella', 7), ('lantern', 3) on conflict do nothing",
    ):
        database.ask(statement + "; select 1")


for attempt in range(60):
    try:
        prepare()
        break
    except psycopg2.Error:
        time.sleep(1)
print("open for business", flush=True)
Server(("", 8080), Shop).serve_forever()
