#!/usr/bin/env python3
"""The kernel's side of an interop test: one socket, plain or MPTCP, as a client or a server. Prints one JSON line per event.

  kernel-peer.py (mptcp|tcp) (listen ADDRESS PORT | connect ADDRESS PORT [--bind ADDRESS]) SERVICE [--size N] [--seed N] [--close HOW] [--pause S]
                 [--fast-open]

SERVICE: echo, discard (reads to the end), chargen (writes --size bytes), duplex (writes --size bytes and reads to the end at once),
half (reads to the end, then writes --size bytes), hold (nothing until stdin says "close", "abort" or "send N").
--fast-open: a listener takes data with the SYN (TCP_FASTOPEN), a client's first write connects (MSG_FASTOPEN; duplex only).
Bytes are a pattern of position and seed; the sha256 of what was read and of what was written is reported.
"""
import argparse
import hashlib
import json
import socket
import struct
import sys
import threading
import time

IPPROTO_MPTCP = 262
SOL_MPTCP = 284
MPTCP_INFO = 1
TCP_FASTOPEN = 23
MSG_FASTOPEN = 0x20000000
INFO_FIELDS = (
    "subflows add_addr_signal add_addr_accepted subflows_max add_addr_signal_max add_addr_accepted_max"
).split()


def say(**event):
    print(json.dumps(event), flush=True)


def pattern(seed, size):
    """size bytes that depend on the seed: blocks of SHA-256 in counter mode, 64 KB at a time."""
    sent = 0
    block = b"".join(hashlib.sha256(b"%d %d" % (seed, i)).digest() for i in range(2048))
    while sent < size:
        shift = (sent // len(block)) * 7 % len(block)
        piece = (block[shift:] + block[:shift])[: size - sent]
        yield piece
        sent += len(piece)


def mptcp_info(sock):
    """The first fields of struct mptcp_info; None when the connection is plain TCP."""
    try:
        raw = sock.getsockopt(SOL_MPTCP, MPTCP_INFO, 256)
    except OSError:
        return None
    info = dict(zip(INFO_FIELDS, raw[:6]))
    flags, token, write_seq, snd_una, rcv_nxt = struct.unpack_from("=IIQQQ", raw, 8)
    info.update(fallback=bool(flags & 1), remote_key=bool(flags & 2), token=token, local_addr_used=raw[40], local_addr_max=raw[41], csum_enabled=raw[42])
    if len(raw) >= 81:
        names = "retransmits bytes_retrans bytes_sent bytes_received bytes_acked subflows_total".split()
        info.update(zip(names, struct.unpack_from("=IQQQQB", raw, 44)))
    return info


class Peer:
    def __init__(self, args, sock, address=None):
        # Not connected yet: the first write does that.
        self.address = address
        self.args = args
        self.sock = sock
        self.read_bytes = 0
        self.read_hash = hashlib.sha256()
        self.written = 0
        self.write_hash = hashlib.sha256()
        self.info = None
        self.error = None

    def read_all(self, keep=None):
        while True:
            data = self.sock.recv(1 << 18)
            if not data:
                break
            self.read_bytes += len(data)
            self.read_hash.update(data)
            if keep is not None:
                keep(data)
            if self.args.pause:
                time.sleep(self.args.pause)

    def write(self, data):
        sent = 0
        if self.address is not None:
            sent = self.sock.sendto(data, MSG_FASTOPEN, self.address)
            self.address = None
        self.sock.sendall(data[sent:])
        self.written += len(data)
        self.write_hash.update(data)

    def write_pattern(self, pieces=None):
        for piece in pieces or pattern(self.args.seed, self.args.size):
            self.write(piece)

    def run(self):
        try:
            getattr(self, self.args.service)()
        except OSError as error:
            self.error = error.strerror
        # Subflows as they were before the end, sums of bytes as they are at last: what was written may still be on its way.
        last = mptcp_info(self.sock)
        deadline = time.monotonic() + 10
        # What a client's SYN carried is not in the kernel's sum.
        with_syn = 1500 if self.args.fast_open and self.args.role == "connect" else 0
        while self.args.service != "hold" and last is not None and last["bytes_sent"] < self.written - with_syn and time.monotonic() < deadline:
            time.sleep(0.01)
            last = mptcp_info(self.sock)
        if self.info is None:
            self.info = last
        elif last is not None:
            self.info.update((name, last[name]) for name in last if name.startswith("bytes_"))
        self.sock.close()
        say(event="done", read=self.read_bytes, read_sha256=self.read_hash.hexdigest(), written=self.written,
            write_sha256=self.write_hash.hexdigest(), error=self.error, info=self.info)

    def echo(self):
        self.read_all(self.write)
        self.info = mptcp_info(self.sock)
        self.sock.shutdown(socket.SHUT_WR)

    def discard(self):
        self.read_all()

    def chargen(self):
        self.write_pattern()
        self.info = mptcp_info(self.sock)
        self.sock.shutdown(socket.SHUT_WR)
        self.read_all()

    def half(self):
        self.read_all()
        self.write_pattern()
        self.info = mptcp_info(self.sock)

    def duplex(self):
        failures = []
        pieces = pattern(self.args.seed, self.args.size)
        if self.address is not None:
            self.write(next(pieces))

        def writing():
            try:
                self.write_pattern(pieces)
                self.info = mptcp_info(self.sock)
                self.sock.shutdown(socket.SHUT_WR)
            except OSError as error:
                failures.append(error)

        writer = threading.Thread(target=writing)
        writer.start()
        try:
            self.read_all()
        finally:
            writer.join()
        if failures:
            raise failures[0]

    def hold(self):
        for line in sys.stdin:
            words = line.split()
            if words[0] == "send":
                for piece in pattern(self.args.seed, int(words[1])):
                    self.write(piece)
            elif words[0] == "read":
                left = int(words[1])
                while left > 0:
                    data = self.sock.recv(min(left, 1 << 18))
                    if not data:
                        break
                    left -= len(data)
                    self.read_bytes += len(data)
                    self.read_hash.update(data)
            elif words[0] == "read-all":
                self.read_all()
            elif words[0] == "shutdown":
                self.sock.shutdown(socket.SHUT_WR)
            elif words[0] == "abort":
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.info = mptcp_info(self.sock)
                return
            elif words[0] == "close":
                self.info = mptcp_info(self.sock)
                return
            say(event=words[0], read=self.read_bytes, written=self.written, info=mptcp_info(self.sock))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("protocol", choices=["mptcp", "tcp"])
    parser.add_argument("role", choices=["listen", "connect"])
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("service", choices=["echo", "discard", "chargen", "duplex", "half", "hold"])
    parser.add_argument("--bind")
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0)
    parser.add_argument("--timeout", type=float, default=40)
    parser.add_argument("--fast-open", action="store_true")
    args = parser.parse_args()
    family = socket.AF_INET6 if ":" in args.address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM, IPPROTO_MPTCP if args.protocol == "mptcp" else socket.IPPROTO_TCP)
    sock.settimeout(args.timeout)
    if args.role == "listen":
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # On all addresses: a join may come to any of them.
        sock.bind(("::" if family == socket.AF_INET6 else "0.0.0.0", args.port))
        if args.fast_open:
            sock.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN, 16)
        sock.listen(16)
        say(event="listening")
        connection, _ = sock.accept()
        connection.settimeout(args.timeout)
        say(event="connected")
        Peer(args, connection).run()
    else:
        if args.bind:
            sock.bind((args.bind, 0))
        if args.fast_open:
            # With a timeout the socket does not block, and without a cookie MSG_FASTOPEN would not wait for the handshake.
            sock.settimeout(None)
            Peer(args, sock, (args.address, args.port)).run()
            return
        try:
            sock.connect((args.address, args.port))
        except OSError as error:
            say(event="done", error=error.strerror, read=0, written=0, read_sha256="", write_sha256="", info=None)
            return
        say(event="connected")
        Peer(args, sock).run()


main()
