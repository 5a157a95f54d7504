"""WebSockets by the websockets package.

ws_peer.py serve PORT     echoes every message
ws_peer.py talk PORT      sends each line of its input as a message and prints what comes back before the next one:
                          the message with the milliseconds that it took, `nothing` after 400 ms, or `closed CODE REASON`
"""
import asyncio
import sys
import time

import websockets
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def served(port):
    async with serve(echo, "127.0.0.1", port):
        await asyncio.get_running_loop().create_future()


async def talk(port):
    loop = asyncio.get_running_loop()
    async with connect(f"ws://127.0.0.1:{port}/chat", proxy=None) as socket:
        print("open", flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            try:
                begun = time.perf_counter()
                await socket.send(line.strip())
                answer = await asyncio.wait_for(socket.recv(), 0.4)
                print(answer, round((time.perf_counter() - begun) * 1000), flush=True)
            except TimeoutError:
                print("nothing", flush=True)
            except websockets.ConnectionClosed as closed:
                got = closed.rcvd
                print("closed", got.code if got else 1006, got.reason if got else "", flush=True)
                return


asyncio.run(served(int(sys.argv[2])) if sys.argv[1] == "serve" else talk(int(sys.argv[2])))
