"""gRPC by grpcio, without code generation: messages are bytes.

grpc_peer.py serve PORT           Upper: one message, in capitals; Count: the numbers up to the message's
grpc_peer.py call PORT METHOD TEXT    prints each message, then the status's name and its details
"""
import sys
from concurrent import futures

import grpc

SERVICE = "shop.v1.Words"


def plain(data):
    return data


def upper(request, _context):
    return request.upper()


def count(request, _context):
    for i in range(int(request)):
        yield str(i).encode()


def serve(port):
    handlers = {
        "Upper": grpc.unary_unary_rpc_method_handler(upper, plain, plain),
        "Count": grpc.unary_stream_rpc_method_handler(count, plain, plain),
    }
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if server.add_insecure_port(f"127.0.0.1:{port}") == 0:
        sys.exit("the port is taken")
    server.start()
    server.wait_for_termination()


def call(port, method, text):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        path = f"/{SERVICE}/{method}"
        try:
            if method == "Upper":
                answers = [channel.unary_unary(path, plain, plain)(text.encode(), timeout=20)]
            else:
                answers = channel.unary_stream(path, plain, plain)(text.encode(), timeout=20)
            for answer in answers:
                print(answer.decode())
            print("OK")
        except grpc.RpcError as error:
            print(error.code().name, error.details())


if sys.argv[1] == "serve":
    serve(sys.argv[2])
else:
    call(*sys.argv[2:])
