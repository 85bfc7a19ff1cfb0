"""What runs in the network namespaces of the redirection test; a script of the standard library alone.

`listen HOST PORT…` answers each connection with the port that took it and the address it was meant for.
`connect HOST PORT UID GID` prints the answer it got, as that user.
"""

import os
import socket
import struct
import sys
import threading

SO_ORIGINAL_DST = 80


def meant_for(connection: socket.socket) -> str:
    try:
        if connection.family == socket.AF_INET6:
            raw = connection.getsockopt(socket.IPPROTO_IPV6, SO_ORIGINAL_DST, 28)
            return f"[{socket.inet_ntop(socket.AF_INET6, raw[8:24])}]:{struct.unpack('!H', raw[2:4])[0]}"
        raw = connection.getsockopt(socket.IPPROTO_IP, SO_ORIGINAL_DST, 16)
        return f"{socket.inet_ntoa(raw[4:8])}:{struct.unpack('!H', raw[2:4])[0]}"
    except OSError:
        host, port = connection.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def serve(server: socket.socket) -> None:
    while True:
        connection, _ = server.accept()
        with connection:
            connection.sendall(f"{server.getsockname()[1]} {meant_for(connection)}".encode())


def listen(host: str, ports: list[int]) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in ports:
        server = socket.create_server((host, port), family=family)
        threading.Thread(target=serve, args=(server,), daemon=True).start()
    print("listening", flush=True)
    threading.Event().wait()


def connect(host: str, port: int, user: int, group: int) -> None:
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as connection:
        connection.settimeout(5)
        connection.connect((host, port))
        print(connection.recv(1000).decode())


if sys.argv[1] == "listen":
    listen(sys.argv[2], [int(port) for port in sys.argv[3:]])
else:
    connect(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
