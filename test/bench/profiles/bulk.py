"""Bulk traffic for the benchmarks; the same program for plain TCP, the kernel's MPTCP and TCP through a tunnel.

    bulk.py serve PORT [mptcp]
    bulk.py download|upload HOST PORT SECONDS CONNECTIONS [mptcp]
    bulk.py objects HOST PORT PARALLEL BYTES,BYTES,...
    bulk.py udp-echo ADDRESS PORT
    bulk.py udp-call HOST PORT SECONDS PACKETS_PER_SEC PAYLOAD_BYTES
    bulk.py udp-serve ADDRESS PORT
    bulk.py udp-send HOST PORT SECONDS BITS_PER_SEC PAYLOAD_BYTES
    bulk.py udp-fetch HOST PORT SECONDS BITS_PER_SEC PAYLOAD_BYTES

Python since its sockets can speak MPTCP (protocol 262). Whoever receives prints [connection, monotonic seconds, bytes so far] as JSON
lines, at most every 20 ms and on the end; all hosts of a lab share the monotonic clock. A client prints {"start": s} before its first
connect and {"connected": s} after the last; it ends hard, so that nothing stays queued. A client of objects opens a connection for each
and prints [number, seconds from the connect to the first byte, to the last]. A call prints [sequence, sent, at the far side, back] for
each datagram that came back.
"""

import json
import socket
import struct
import sys
import threading
import time

IPPROTO_MPTCP = 262
CHUNK_BYTES = 262144
SAMPLE_SECONDS = 0.02
REQUEST_BYTES = 16
ZEROS = bytes(CHUNK_BYTES)
output_lock = threading.Lock()


def say(value):
    with output_lock:
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()


def receive(sock, number, until=None):
    buffer = bytearray(CHUNK_BYTES)
    total = 0
    last = 0.0
    try:
        while True:
            if until is not None:
                left = until - time.monotonic()
                if left <= 0:
                    break
                sock.settimeout(left)
            count = sock.recv_into(buffer)
            now = time.monotonic()
            if count == 0:
                break
            total += count
            if now - last >= SAMPLE_SECONDS:
                last = now
                say([number, now, total])
    except OSError:
        pass
    say([number, time.monotonic(), total])


def send(sock, until=None):
    try:
        while until is None or time.monotonic() < until:
            if until is not None:
                sock.settimeout(max(0.001, until - time.monotonic()))
            sock.send(ZEROS)
    except OSError:
        pass


def end_hard(sock):
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    sock.close()


def send_object(sock, size):
    for at in range(0, size, CHUNK_BYTES):
        sock.sendall(ZEROS[: min(CHUNK_BYTES, size - at)])
    sock.shutdown(socket.SHUT_WR)
    sock.recv(1)


def new_socket(mptcp):
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP if mptcp else 0)


def serve_one(sock):
    request = b""
    try:
        while len(request) < REQUEST_BYTES:
            part = sock.recv(REQUEST_BYTES - len(request))
            if not part:
                return
            request += part
        verb, number = request.split()
        if verb == b"D":
            send(sock)
        elif verb == b"O":
            send_object(sock, int(number))
        else:
            receive(sock, int(number))
    except OSError:
        pass
    finally:
        end_hard(sock)


def serve(port, mptcp):
    listener = new_socket(mptcp)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("0.0.0.0", port))
    listener.listen(512)
    say({"listening": port})
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=serve_one, args=(sock,), daemon=True).start()


def transfer(verb, host, port, seconds, connections, mptcp):
    say({"start": time.monotonic()})
    socks = []
    for number in range(connections):
        sock = new_socket(mptcp)
        sock.settimeout(20)
        sock.connect((host, port))
        sock.sendall(request_line(verb, number))
        socks.append(sock)
    connected = time.monotonic()
    say({"connected": connected})
    until = connected + seconds
    threads = [
        threading.Thread(target=receive, args=(sock, number, until)) if verb == b"D" else threading.Thread(target=send, args=(sock, until))
        for number, sock in enumerate(socks)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for sock in socks:
        end_hard(sock)
    say({"end": time.monotonic()})


def request_line(verb, number):
    return (b"%s %d" % (verb, number)).ljust(REQUEST_BYTES)


def fetch_objects(host, port, sizes, numbers):
    buffer = bytearray(CHUNK_BYTES)
    while True:
        number = next(numbers, None)
        if number is None:
            return
        start = time.monotonic()
        first = None
        left = sizes[number]
        try:
            sock = new_socket(False)
            sock.settimeout(30)
            sock.connect((host, port))
            sock.sendall(request_line(b"O", left))
            while left > 0:
                count = sock.recv_into(buffer)
                if count == 0:
                    break
                first = first or time.monotonic()
                left -= count
            sock.close()
        except OSError as error:
            say({"error": "object %d: %s" % (number, error)})
            continue
        if left > 0:
            say({"error": "object %d ended %d bytes early" % (number, left)})
        else:
            say([number, first - start, time.monotonic() - start])


def objects(host, port, parallel, sizes):
    numbers = iter(range(len(sizes)))
    # next() of a range's iterator is one step of the interpreter: threads may share it.
    threads = [threading.Thread(target=fetch_objects, args=(host, port, sizes, numbers)) for _ in range(parallel)]
    say({"start": time.monotonic()})
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say({"end": time.monotonic()})


def udp_echo(address, port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, port))
    say({"listening": port})
    while True:
        packet, peer = sock.recvfrom(2048)
        if len(packet) >= 16:
            sock.sendto(packet[:8] + struct.pack("d", time.monotonic()) + packet[16:], peer)


def udp_call(host, port, seconds, packets_per_sec, payload_bytes):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    sock.connect((host, port))
    sent = []
    start = time.monotonic()
    say({"start": start})
    listener = threading.Thread(target=udp_call_listen, args=(sock, sent, start + seconds + 2))
    listener.start()
    filler = bytes(max(0, payload_bytes - 16))
    for sequence in range(int(seconds * packets_per_sec)):
        wait = start + sequence / packets_per_sec - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        sent.append(time.monotonic())
        try:
            sock.send(struct.pack("Qd", sequence, 0) + filler)
        except OSError:
            pass
    listener.join()
    say({"sent": len(sent), "end": time.monotonic()})


def udp_call_listen(sock, sent, until):
    while True:
        left = until - time.monotonic()
        if left <= 0:
            return
        sock.settimeout(left)
        try:
            packet = sock.recv(2048)
        except OSError:
            continue
        sequence, far = struct.unpack("Qd", packet[:16])
        say([sequence, sent[sequence], far, time.monotonic()])


def udp_flood(sock, seconds, bits_per_sec, payload_bytes):
    payload = bytes(payload_bytes)
    gap = (payload_bytes + 28) * 8 / bits_per_sec
    start = time.monotonic()
    sent = 0
    while True:
        now = time.monotonic()
        if now - start >= seconds:
            return
        due = int((now - start) / gap)
        # After a long pause of this process a burst would only fill the sender's own queue.
        if due - sent > 256:
            sent = due - 256
        while sent < due:
            try:
                sock.send(payload)
            except OSError:
                pass
            sent += 1
        time.sleep(0.0005)


def udp_count(sock, until, number=0):
    buffer = bytearray(65536)
    total = 0
    last = 0.0
    try:
        while True:
            left = until - time.monotonic()
            if left <= 0:
                break
            sock.settimeout(left)
            count = sock.recv_into(buffer)
            now = time.monotonic()
            total += count + 28
            if now - last >= SAMPLE_SECONDS:
                last = now
                say([number, now, total])
    except OSError:
        pass
    say([number, time.monotonic(), total])


def udp_serve(address, port):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    sock.bind((address, port))
    say({"listening": port})
    while True:
        sock.settimeout(None)
        request, peer = sock.recvfrom(2048)
        if request.startswith(b"FETCH "):
            _, seconds, bits_per_sec, payload_bytes = request.split()
            sock.connect(peer)
            udp_flood(sock, float(seconds), float(bits_per_sec), int(payload_bytes))
            # A new socket: what is left of the requests goes with the old one.
            sock.close()
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            sock.bind((address, port))
        elif request.startswith(b"TAKE "):
            udp_count(sock, time.monotonic() + float(request.split()[1]) + 0.5)


def udp_client(verb, host, port, seconds, bits_per_sec, payload_bytes):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    sock.connect((host, port))
    say({"start": time.monotonic()})
    if verb == "udp-send":
        # Said more than once: the link may be lossy.
        for _ in range(3):
            sock.send(b"TAKE %f" % seconds)
        udp_flood(sock, seconds, bits_per_sec, payload_bytes)
    else:
        for _ in range(3):
            sock.send(b"FETCH %f %f %d" % (seconds, bits_per_sec, payload_bytes))
        udp_count(sock, time.monotonic() + seconds + 1)
    say({"end": time.monotonic()})


def main(args):
    verb = args[0]
    if verb == "serve":
        serve(int(args[1]), "mptcp" in args[2:])
    elif verb == "objects":
        objects(args[1], int(args[2]), int(args[3]), [int(size) for size in args[4].split(",")])
    elif verb == "udp-echo":
        udp_echo(args[1], int(args[2]))
    elif verb == "udp-call":
        udp_call(args[1], int(args[2]), float(args[3]), float(args[4]), int(args[5]))
    elif verb == "udp-serve":
        udp_serve(args[1], int(args[2]))
    elif verb in ("udp-send", "udp-fetch"):
        udp_client(verb, args[1], int(args[2]), float(args[3]), float(args[4]), int(args[5]))
    else:
        transfer(b"D" if verb == "download" else b"U", args[1], int(args[2]), float(args[3]), int(args[4]), "mptcp" in args[5:])


main(sys.argv[1:])
