/**
 * A source, sink and echo for lab traffic: `node traffic-server.js PORT`, on TCP and UDP, IPv4 and IPv6. A TCP client says in its first line
 * what it wants:
 *
 *   DOWNLOAD n   n bytes of the pattern, then FIN (0: until the client closes)
 *   UPLOAD       the client sends pattern bytes and FIN; we tell every 100 ms the count so far ("123\n"), at the end a JSON summary
 *   ECHO         everything comes back
 *
 * UDP datagrams come back as they are. Prints "listening" once it is.
 */

import { createSocket } from 'node:dgram';
import { createServer, type Socket } from 'node:net';
import { ReceiveMeter } from './receive-meter.js';
import { MAX_PATTERN_CHUNK_BYTES, patternAt } from './traffic-pattern.js';

const REPORT_INTERVAL_MS = 100;
const MAX_REQUEST_BYTES = 64;

function onConnection(socket: Socket): void {
  let head = Buffer.alloc(0);
  socket.setNoDelay(true);
  // The client may end a connection as it likes; that is no fault of the server.
  socket.on('error', () => socket.destroy());
  const onEarlyEnd = () => socket.end();
  const onHead = (chunk: Buffer) => {
    head = Buffer.concat([head, chunk]);
    const end = head.indexOf(0x0a);
    if (end < 0 && head.length < MAX_REQUEST_BYTES) return;
    socket.off('data', onHead);
    socket.off('end', onEarlyEnd);
    socket.pause();
    const [verb, count] = head.subarray(0, Math.max(0, end)).toString().split(' ');
    const rest = head.subarray(end + 1);
    if (verb === 'DOWNLOAD') send(socket, Number(count));
    else if (verb === 'UPLOAD') receive(socket, rest);
    else if (verb === 'ECHO') echo(socket, rest);
    else socket.destroy();
  };
  socket.on('data', onHead);
  socket.on('end', onEarlyEnd);
}

function send(socket: Socket, count: number): void {
  const total = count > 0 ? count : Number.POSITIVE_INFINITY;
  let sent = 0;
  const pump = () => {
    while (sent < total && !socket.destroyed) {
      const piece = patternAt(sent, Math.min(MAX_PATTERN_CHUNK_BYTES, total - sent));
      sent += piece.length;
      if (!socket.write(piece)) return;
    }
    if (sent >= total && !socket.writableEnded) socket.end();
  };
  socket.on('drain', pump);
  // Its FIN and its reset are heard only by one who reads.
  socket.resume();
  pump();
}

function receive(socket: Socket, rest: Buffer): void {
  const meter = new ReceiveMeter();
  if (rest.length > 0) meter.add(rest);
  const timer = setInterval(() => socket.write(`${meter.bytes}\n`), REPORT_INTERVAL_MS);
  socket.on('data', (chunk) => meter.add(chunk));
  socket.on('end', () => {
    clearInterval(timer);
    socket.end(`${JSON.stringify(meter.summary(true))}\n`);
  });
  socket.on('close', () => clearInterval(timer));
  socket.resume();
}

function echo(socket: Socket, rest: Buffer): void {
  if (rest.length > 0) socket.write(rest);
  socket.pipe(socket);
}

const port = Number(process.argv[2]);
const udp = createSocket({ type: 'udp6', ipv6Only: false });
udp.on('message', (message, from) => udp.send(message, from.port, from.address));
udp.on('error', () => undefined);
createServer({ allowHalfOpen: true }, onConnection).listen({ port, host: '::', backlog: 4096 }, () => {
  udp.bind(port, '::', () => process.stdout.write('listening\n'));
});
