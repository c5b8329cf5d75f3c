"""wire.py - a RESP2 connection for tests: one socket, no retry, no magic, so that what a test sees is what the node said."""
import socket


class ReplyError(Exception):
    """An error reply; code is its first word."""

    def __init__(self, text):
        super().__init__(text)
        self.code = text.split(" ", 1)[0]


class Lost(Exception):
    """The connection ended, or an answer did not come in time."""


def encode(args):
    parts = [b"*%d\r\n" % len(args)]
    for arg in args:
        if isinstance(arg, str):
            arg = arg.encode()
        elif not isinstance(arg, bytes):
            arg = str(arg).encode()
        parts.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(parts)


class Wire:
    def __init__(self, port, timeout=10.0, host="127.0.0.1"):
        try:
            self.sock = socket.create_connection((host, port), timeout=timeout)
        except OSError as e:
            raise Lost(str(e)) from e
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.sock.makefile("rb")

    def close(self):
        self.file.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def send_raw(self, data):
        try:
            self.sock.sendall(data)
        except OSError as e:
            raise Lost(str(e)) from e

    def _line(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise Lost("end of the stream")
        return line[:-2]

    def _value(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return ReplyError(rest.decode("utf-8", "replace"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            n = int(rest)
            if n < 0:
                return None
            data = self.file.read(n + 2)
            if len(data) != n + 2:
                raise Lost("end of the stream")
            return data[:-2]
        if kind == b"*":
            n = int(rest)
            return None if n < 0 else [self._value() for _ in range(n)]
        raise Lost("not RESP2: %r" % line[:80])

    def reply(self):
        """The next reply; an error reply is returned, not raised."""
        try:
            return self._value()
        except (OSError, ValueError) as e:
            raise Lost(str(e)) from e

    def send(self, *args):
        self.send_raw(encode(args))

    def call(self, *args):
        """One command; raises ReplyError on an error reply, Lost when there is no answer."""
        self.send(*args)
        value = self.reply()
        if isinstance(value, ReplyError):
            raise value
        return value

    def pipeline(self, commands):
        """All commands at once; their replies, errors among them."""
        self.send_raw(b"".join(encode(c) for c in commands))
        return [self.reply() for _ in commands]

    def at_eof(self, timeout):
        """True when the other end has closed (within timeout)."""
        self.sock.settimeout(timeout)
        try:
            return self.file.read(1) == b""
        except OSError as e:
            return isinstance(e, ConnectionError)
