// Everything that toxiproxy-node-client (npm, unchanged) can do, against the server at the port given.
"use strict";

const assert = require("node:assert/strict");
const net = require("node:net");
const client = require("toxiproxy-node-client");

const { Toxiproxy } = client;

// Gives back what it gets, on a port of its own.
const echo = () =>
  new Promise((ready) => {
    const server = net.createServer((socket) => {
      socket.on("error", () => {});
      socket.pipe(socket);
    });
    server.listen(0, "127.0.0.1", () => ready(server));
  });

const connect = (proxy) =>
  new Promise((resolve, reject) => {
    const at = proxy.listen.lastIndexOf(":");
    const socket = net.connect(Number(proxy.listen.slice(at + 1)), proxy.listen.slice(0, at));
    socket.once("connect", () => resolve(socket));
    socket.once("error", reject);
  });

const ping = async (socket) => {
  const begin = performance.now();
  socket.write("ping");
  const data = await new Promise((resolve, reject) => {
    socket.once("data", resolve);
    socket.once("close", () => reject(new Error("closed")));
  });
  assert.equal(data.toString(), "ping");
  return performance.now() - begin;
};

// Any port of an address that is free for us: one that is let go is there again.
const listen = process.argv[3];

// This client tells the status only.
const refused = (call, status) =>
  assert.rejects(call, { message: `Request failed with status code ${status}` });

const checks = {
  async version(server) {
    assert.match(await server.getVersion(), /^\{"version": "[^"]+"\}\n$/);
    assert.ok(server.getApi());
  },

  async proxies_come_and_go(server, upstream) {
    assert.deepEqual(await server.getAll(), {});
    const proxy = await server.createProxy({ name: "a", listen, upstream });
    assert.equal(proxy.enabled, true);
    assert.deepEqual(proxy.toJson(), { enabled: true, listen: proxy.listen, name: "a", upstream });
    assert.equal(proxy.getToxiproxy(), server);
    assert.deepEqual(Object.keys(await server.getAll()), ["a"]);
    assert.equal((await server.get("a")).listen, proxy.listen);
    await refused(server.createProxy({ name: "a", listen, upstream }), 409);
    await refused(server.createProxy({ name: "b", listen: proxy.listen, upstream }), 500);
    await refused(server.createProxy({ name: "b", listen }), 400);
    await refused(server.get("b"), 404);
    const socket = await connect(proxy);
    await ping(socket);
    const closed = new Promise((resolve) => socket.once("close", resolve));
    const down = await proxy.update({ enabled: false, listen: proxy.listen, upstream });
    assert.equal(down.enabled, false);
    await closed;
    await assert.rejects(connect(proxy), { code: "ECONNREFUSED" });
    const up = await proxy.update({ enabled: true, listen: proxy.listen, upstream: "localhost:1" });
    assert.deepEqual([up.enabled, up.upstream], [true, "localhost:1"]);
    await proxy.remove();
    await refused(proxy.remove(), 404);
    assert.deepEqual(await server.getAll(), {});
  },

  async populate(server, upstream) {
    const some = ["a", "b"].map((name) => ({ name, listen, upstream }));
    const made = await server.populate(some);
    assert.deepEqual(Object.keys(made), ["a", "b"]);
    const toxics = [{ type: "latency", attributes: { latency: 5, jitter: 0 } }];
    await server.populate([{ name: "a", listen: made.a.listen, upstream, toxics }]);
    assert.equal((await (await server.get("a")).getToxic("latency_downstream")).attributes.latency, 5);
    await refused(server.populate([{ name: "c" }]), 400);
    for (const proxy of Object.values(made)) await proxy.remove();
  },

  async every_kind_of_toxic(server, upstream) {
    const proxy = await server.createProxy({ name: "a", listen, upstream });
    const kinds = {
      latency: { latency: 100, jitter: 10 },
      bandwidth: { rate: 1000 },
      slow_close: { delay: 100 },
      timeout: { timeout: 1000 },
      reset_peer: { timeout: 100 },
      slicer: { average_size: 100, size_variation: 10, delay: 100 },
      limit_data: { bytes: 1000 },
      noop: {},
    };
    for (const [type, attributes] of Object.entries(kinds)) {
      for (const stream of ["upstream", "downstream"]) {
        const name = `${type} ${stream}`;
        const body = { attributes, name, stream, toxicity: 0.5, type };
        const toxic = await proxy.addToxic(body);
        assert.deepEqual(toxic.toJson(), body);
        assert.deepEqual((await proxy.getToxic(name)).toJson(), body);
        await refused(proxy.addToxic(body), 409);
        const changed = await toxic.update({ ...body, toxicity: 1, name: "other" });
        assert.deepEqual(changed.toJson(), { ...body, toxicity: 1 });
        await toxic.remove();
        await refused(proxy.getToxic(name), 404);
      }
    }
    await refused(proxy.addToxic({ type: "sloth", attributes: {} }), 400);
    await proxy.remove();
  },

  async toxics_do_what_they_say(server, upstream) {
    const proxy = await server.createProxy({ name: "a", listen, upstream });
    const socket = await connect(proxy);
    await ping(socket);
    const late = await proxy.addToxic({ type: "latency", attributes: { latency: 80, jitter: 0 } });
    // Their timers and ours round differently by a millisecond.
    assert.ok((await ping(socket)) >= 79);
    await late.update({ attributes: { latency: 160, jitter: 0 } });
    assert.ok((await ping(socket)) >= 159);
    await late.remove();
    await proxy.addToxic({ type: "reset_peer", attributes: { timeout: 0 } });
    const ended = new Promise((resolve) => socket.once("error", (e) => resolve(e.code)));
    socket.write("ping");
    assert.equal(await ended, "ECONNRESET");
    await server.reset();
    await refused(proxy.getToxic("reset_peer_downstream"), 404);
    const again = await connect(proxy);
    await ping(again);
    again.destroy();
    await proxy.remove();
  },
};

(async () => {
  const service = await echo();
  const upstream = `127.0.0.1:${service.address().port}`;
  const server = new Toxiproxy(`http://127.0.0.1:${process.argv[2]}`);
  for (const [name, check] of Object.entries(checks)) {
    await check(server, upstream);
    console.log("ok", name);
  }
  console.log(`${Object.keys(checks).length} checks passed`);
  process.exit(0);
})().catch((e) => {
  console.error(e);
  process.exit(1);
});
