# Another server that means no good, as the source of a migration: it speaks over the websockets of a push.
# usage: peer.py SOCKET OPERATION CONTROL-SECRET FS-SECRET oversized|vanish|nonsense|twice|flood
import base64, os, socket, struct, sys, time


class Websocket:
    def __init__(self, path, operation, secret):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall((
            f"GET {operation}/websocket?secret={secret} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n").encode())
        self.reader = self.socket.makefile("rb")
        assert b" 101 " in self.reader.readline()
        while self.reader.readline() != b"\r\n":
            pass

    def send(self, data, kind=2):
        length = len(data)
        head = bytes([0x80 | kind])
        if length < 126:
            head += bytes([0x80 | length])
        elif length < 65536:
            head += struct.pack(">BH", 0x80 | 126, length)
        else:
            head += struct.pack(">BQ", 0x80 | 127, length)
        # Masked with zeros.
        self.socket.sendall(head + bytes(4) + data)

    def receive(self):
        head = self.reader.read(2)
        if len(head) < 2:
            return None
        length = head[1] & 127
        if length == 126:
            length = struct.unpack(">H", self.reader.read(2))[0]
        elif length == 127:
            length = struct.unpack(">Q", self.reader.read(8))[0]
        return head[0] & 15, self.reader.read(length)


path, operation, control, data, mood = sys.argv[1:]
control, data = Websocket(path, operation, control), Websocket(path, operation, data)
# Only that files come by rsync.
offer = b"\x08\x00\x42\x08\x08\x01\x10\x01\x18\x00\x20\x01"
if mood == "oversized":
    control.send(offer + bytes(12 << 20))
elif mood == "twice":
    # The same snapshot two times.
    one = b"\x0a\x01a\x20\x00\x30\x02\x38\x00"
    control.send(offer + 2 * (b"\x22\x01a") + 2 * (b"\x2a" + bytes([len(one)]) + one))
else:
    control.send(offer)
    assert control.receive()[0] == 2
    if mood == "nonsense":
        data.send(os.urandom(1 << 20))
    elif mood == "flood":
        # What rsync would take for a version, and then a list of files without an end.
        data.send(struct.pack("<i", 31) + 64 * b"\x01\xff")
        try:
            for _ in range(64):
                data.send(os.urandom(1 << 18))
        except OSError:
            pass
    elif mood == "vanish":
        sys.exit(0)
while control.receive() not in (None, (8, b"")):
    pass
