"""An image server over HTTPS that can misbehave.

usage: image_server.py DIRECTORY

Serves DIRECTORY/tree with DIRECTORY/server.crt and server.key on a free port of 127.0.0.1, which it
writes to DIRECTORY/port. Beside it is a proxy, on the port in DIRECTORY/proxy, through which every host
is this one. Each request is a line in DIRECTORY/log. DIRECTORY/mood says how to treat
paths that contain a text, in lines of `MOOD TEXT [VALUE]`:

  slow TEXT N       N bytes a second
  cut TEXT          half of the file, then the connection is closed
  silent TEXT       headers, and then nothing
  more TEXT         more bytes than it should be
  to TEXT URL       a redirect
  headers TEXT A=B  a further header
"""

import http.server
import os
import socket
import ssl
import sys
import threading
import time

DIRECTORY = sys.argv[1]
TREE = os.path.join(DIRECTORY, "tree")
LOCK = threading.Lock()


def moods(path):
    try:
        lines = open(os.path.join(DIRECTORY, "mood")).read().splitlines()
    except FileNotFoundError:
        return {}
    found = {}
    for line in lines:
        words = line.split(" ", 2)
        if len(words) > 1 and words[1] in path:
            found.setdefault(words[0], []).append(words[2] if len(words) > 2 else "")
    return found


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self):
        self.request.do_handshake()
        super().setup()

    def log_message(self, *arguments):
        pass

    def note(self, status):
        with LOCK, open(os.path.join(DIRECTORY, "log"), "a") as log:
            log.write(f"{self.command} {self.path} {status} {self.headers.get('User-Agent', '')}\n")

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, has_body):
        mood = moods(self.path)
        path = os.path.normpath(os.path.join(TREE, self.path.split("?")[0].lstrip("/")))
        if "to" in mood:
            self.start(302, 0, [f"Location={mood['to'][0]}"])
            return
        if not path.startswith(TREE + "/") or not os.path.isfile(path):
            self.start(404, 0, [])
            return
        content = open(path, "rb").read()
        self.start(200, len(content) + (1000 if "more" in mood else 0), mood.get("headers", []))
        if not has_body:
            return
        if "silent" in mood:
            self.wfile.flush()
            time.sleep(600)
        if "cut" in mood:
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        if "more" in mood:
            content += b"x" * 1000
        if "slow" in mood:
            rate = int(mood["slow"][0])
            for start in range(0, len(content), max(rate // 10, 1)):
                self.wfile.write(content[start : start + max(rate // 10, 1)])
                time.sleep(0.1)
            return
        self.wfile.write(content)

    def start(self, status, length, headers):
        self.note(status)
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        for header in headers:
            name, value = header.split("=", 1)
            self.send_header(name, value)
        self.end_headers()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        # Clients that go away are what tests are about.
        pass


def pump(source, target):
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
    except OSError:
        pass
    for end in source, target:
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def tunnel(client):
    head = b""
    while b"\r\n\r\n" not in head:
        piece = client.recv(65536)
        if not piece:
            return
        head += piece
    target = head.split()[1].decode()
    with LOCK, open(os.path.join(DIRECTORY, "log"), "a") as log:
        log.write(f"{head.split()[0].decode()} {target}\n")
    server = socket.create_connection(("127.0.0.1", int(target.rsplit(":", 1)[1])))
    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    threading.Thread(target=pump, args=(client, server), daemon=True).start()
    pump(server, client)


def proxy(listener):
    while True:
        client, _ = listener.accept()
        threading.Thread(target=tunnel, args=(client,), daemon=True).start()


def tell(name, port):
    path = os.path.join(DIRECTORY, name)
    with open(path + ".new", "w") as file:
        file.write(str(port))
    os.rename(path + ".new", path)


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=proxy, args=(listener,), daemon=True).start()
tell("proxy", listener.getsockname()[1])
server = Server(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(os.path.join(DIRECTORY, "server.crt"), os.path.join(DIRECTORY, "server.key"))
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
tell("port", server.server_address[1])
server.serve_forever()
