"""As much of an API server as is asked here: a stand-in, not the real thing.

apiserver.py PORT STATE.json

STATE.json has {"token": ..., "pods": [...], "ports": {POD: PORT ON THIS MACHINE}}; it is read anew for each request, and
what is patched is written back.
"""

import asyncio
import base64
import hashlib
import json
import re
import struct
import sys
import urllib.parse

STATE = sys.argv[2]


def load():
    with open(STATE) as file:
        return json.load(file)


def store(state):
    with open(STATE, "w") as file:
        json.dump(state, file)


def matches(labels, selector):
    for part in filter(None, selector.split(",")):
        key, value = part.split("=")
        if labels.get(key) != value:
            return False
    return True


async def answer(writer, status, body):
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\nconnection: close\r\n\r\n"
    writer.write(head.encode() + data)
    await writer.drain()


def refusal(code, message):
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message}


def frame(opcode, data):
    head = bytes([0x80 | opcode])
    if len(data) < 126:
        head += bytes([len(data)])
    elif len(data) < 65536:
        head += bytes([126]) + struct.pack(">H", len(data))
    else:
        head += bytes([127]) + struct.pack(">Q", len(data))
    return head + data


async def read_frame(reader):
    first, second = await reader.readexactly(2)
    length = second & 0x7F
    if length == 126:
        (length,) = struct.unpack(">H", await reader.readexactly(2))
    elif length == 127:
        (length,) = struct.unpack(">Q", await reader.readexactly(8))
    assert second & 0x80, "clients mask"
    mask = await reader.readexactly(4)
    data = await reader.readexactly(length)
    return first & 0x0F, bytes(b ^ mask[i % 4] for i, b in enumerate(data))


async def forward(reader, writer, headers, port, to):
    assert "v4.channel.k8s.io" in headers["sec-websocket-protocol"]
    accept = hashlib.sha1((headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    writer.write(
        (
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
            f"sec-websocket-accept: {base64.b64encode(accept).decode()}\r\nsec-websocket-protocol: v4.channel.k8s.io\r\n\r\n"
        ).encode()
    )
    # As the kubelet does: both channels begin with the port, low byte first.
    writer.write(frame(2, b"\x00" + struct.pack("<H", port)))
    writer.write(frame(2, b"\x01" + struct.pack("<H", port)))
    writer.write(frame(9, b"there?"))
    await writer.drain()
    try:
        there, back = await asyncio.open_connection("127.0.0.1", to)
    except OSError as error:
        writer.write(frame(2, b"\x01" + f"error forwarding port {port}: {error}".encode()))
        writer.write(frame(8, struct.pack(">H", 1000)))
        await writer.drain()
        return

    async def down():
        while data := await there.read(16384):
            writer.write(frame(2, b"\x00" + data))
            await writer.drain()
        writer.write(frame(8, struct.pack(">H", 1000)))
        await writer.drain()

    task = asyncio.create_task(down())
    try:
        while True:
            opcode, data = await read_frame(reader)
            if opcode == 8:
                break
            if opcode == 10:
                assert data == b"there?"
            if opcode == 2 and data[:1] == b"\x00":
                back.write(data[1:])
                await back.drain()
    finally:
        task.cancel()
        back.close()


async def serve(reader, writer):
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        url = urllib.parse.urlparse(target)
        query = urllib.parse.parse_qs(url.query)
        state = load()
        if headers.get("authorization") != f"Bearer {state['token']}":
            return await answer(writer, 401, refusal(401, "Unauthorized"))
        if not (found := re.fullmatch(r"/api/v1/namespaces/([^/]+)/pods(?:/([^/]+)(?:/([a-z]+))?)?", url.path)):
            return await answer(writer, 404, refusal(404, f"the server could not find {url.path}"))
        namespace, name, part = found.groups()
        pods = [p for p in state["pods"] if p["metadata"]["namespace"] == namespace]
        if name is None:
            selector = query.get("labelSelector", [""])[0]
            pods = [p for p in pods if matches(p["metadata"].get("labels", {}), selector)]
            return await answer(writer, 200, {"kind": "PodList", "apiVersion": "v1", "items": pods})
        pod = next((p for p in pods if p["metadata"]["name"] == name), None)
        if pod is None:
            return await answer(writer, 404, refusal(404, f'pods "{name}" not found'))
        if part == "portforward":
            # As a kubelet does: its routes say nothing of what they produce.
            if headers.get("accept", "*/*") != "*/*":
                return await answer(writer, 406, refusal(406, "406: Not Acceptable"))
            if name in state.get("forbidden", []):
                return await answer(writer, 403, refusal(403, f'pods "{name}" is forbidden: cannot create pods/portforward'))
            return await forward(reader, writer, headers, int(query["ports"][0]), state["ports"].get(name, 1))
        if part == "ephemeralcontainers" and method == "PATCH":
            assert headers["content-type"] == "application/strategic-merge-patch+json", headers
            patch = json.loads(body)
            if state.get("old") == "refuses" and "ephemeralContainers" in patch:
                return await answer(writer, 422, refusal(422, "securityContext: Forbidden: cannot be set"))
            if state.get("old"):
                # Before 1.22 the list is an object of its own, and what such an object has not is dropped.
                more = patch.get("ephemeralContainers", [])
            else:
                more = patch["spec"]["ephemeralContainers"]
            pod["spec"].setdefault("ephemeralContainers", []).extend(more)
            statuses = pod["status"].setdefault("ephemeralContainerStatuses", [])
            for container in more:
                bad = container["image"].endswith("missing")
                waiting = {"waiting": {"reason": "ErrImagePull", "message": "not found"}}
                statuses.append({"name": container["name"], "state": waiting if bad else {"running": {}}})
            store(state)
            kind = "EphemeralContainers" if state.get("old") else "Pod"
            return await answer(writer, 200, {**pod, "kind": kind})
        if part is None and method == "GET":
            return await answer(writer, 200, pod)
        await answer(writer, 405, refusal(405, "not here"))
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    async with server:
        await server.serve_forever()


asyncio.run(main())
