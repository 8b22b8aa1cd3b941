import t, { type Test } from 'tap';
import { ClientSocket } from '../../../src/client/client-socket.js';
import { StreamSocket } from '../../../src/tunnel/user/stream-socket.js';
import { VirtualTimers } from './virtual-timers.js';

/** A connection whose far side takes `room` bytes. */
function open(t: Test) {
  const timers = new VirtualTimers();
  t.teardown(() => timers.restore());
  const socket = new StreamSocket({ remoteAddress: '192.0.2.1', remotePort: 80, allowHalfOpen: false, wake: () => {} });
  const far = { room: Number.POSITIVE_INFINITY };
  socket.attach({
    write: (_bytes, _at, length) => {
      const taken = Math.min(far.room, length);
      far.room -= taken;
      return taken;
    },
    finish: () => {},
    abort: () => socket.onClosed('aborted'),
    resumeReading: () => {},
  });
  const seen = { timeouts: 0 };
  socket.on('timeout', () => seen.timeouts++);
  socket.on('error', () => {});
  socket.resume();
  return { timers, socket, far, seen };
}

t.test('`timeout` comes after so long without a byte, once until there is further use', async (t) => {
  const { timers, socket, seen } = open(t);
  t.equal(socket.timeout, undefined);
  let called = 0;
  t.equal(
    socket.setTimeout(100, () => called++),
    socket,
  );
  t.equal(socket.timeout, 100);
  t.ok(
    timers.all.every(({ hasRef }) => !hasRef),
    'it keeps no program alive',
  );
  timers.advance(99);
  t.equal(seen.timeouts, 0);
  timers.advance(1);
  t.same([seen.timeouts, called], [1, 1]);
  t.notOk(socket.destroyed, 'nothing else happens');
  timers.advance(1000);
  t.equal(seen.timeouts, 1);
  socket.onEstablished();
  timers.advance(100);
  t.same([seen.timeouts, called], [2, 1], 'the callback hears it once');
});

t.test('what is read and what is written puts it off', async (t) => {
  const { timers, socket, far, seen } = open(t);
  socket.setTimeout(100);
  socket.onEstablished();
  for (let i = 0; i < 5; i++) {
    timers.advance(80);
    socket.onData(Buffer.alloc(10), 0, 10);
    timers.advance(80);
    socket.write('x');
  }
  t.equal(seen.timeouts, 0);
  far.room = 10;
  socket.write(Buffer.alloc(30));
  timers.advance(80);
  far.room = 10;
  socket.onWritable();
  timers.advance(80);
  t.equal(seen.timeouts, 0, 'a write that goes on');
  socket.onWritable();
  timers.advance(20);
  t.equal(seen.timeouts, 1, 'one that does not');
});

t.test('0 ends it and takes the callback away; another time begins anew', async (t) => {
  const { timers, socket, seen } = open(t);
  let called = 0;
  const onTimeout = (): void => void called++;
  socket.setTimeout(100, onTimeout);
  timers.advance(90);
  socket.setTimeout(0, onTimeout);
  timers.advance(1000);
  t.same([seen.timeouts, called, timers.armedCount], [0, 0, 0]);
  socket.onData(Buffer.alloc(1), 0, 1);
  t.equal(timers.armedCount, 0, 'use does not bring it back');
  socket.setTimeout(50);
  timers.advance(40);
  socket.setTimeout(100);
  timers.advance(90);
  t.equal(seen.timeouts, 0);
  timers.advance(10);
  t.same([seen.timeouts, called], [1, 0]);
});

t.test('nothing is left of it after the end', async (t) => {
  const { timers, socket, seen } = open(t);
  socket.setTimeout(100);
  socket.destroy();
  t.equal(timers.armedCount, 0);
  socket.setTimeout(100);
  timers.advance(1000);
  t.equal(seen.timeouts, 0);
});

t.test('what is no time or no function is refused with the codes of Node.js', async (t) => {
  const { socket } = open(t);
  t.throws(() => socket.setTimeout('5' as never), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });
  for (const bad of [-1, Number.NaN, Number.POSITIVE_INFINITY])
    t.throws(() => socket.setTimeout(bad), { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' });
  t.throws(() => socket.setTimeout(5, 'x' as never), { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' });
  t.equal(socket.timeout, undefined);
});

t.test('the socket of the library does the same, from before it stands', async (t) => {
  const { timers, socket: stream } = open(t);
  let opened: (stream: StreamSocket) => void = () => {};
  const socket = new ClientSocket(new Promise((resolve) => (opened = resolve)), { host: '192.0.2.1', port: 80 });
  let timeouts = 0;
  socket.setTimeout(100, () => timeouts++);
  timers.advance(90);
  opened(stream);
  stream.onEstablished();
  await new Promise((resolve) => socket.once('connect', resolve));
  timers.advance(90);
  t.equal(timeouts, 0, 'the answer of the far side is use');
  stream.onData(Buffer.from('hello'), 0, 5);
  await new Promise((resolve) => socket.once('data', resolve));
  timers.advance(90);
  t.equal(timeouts, 0);
  timers.advance(10);
  t.equal(timeouts, 1);
  socket.destroy();
  t.equal(timers.armedCount - timers.all.filter(({ atMs }) => atMs > timers.nowMs + 1000).length, 0, 'but for the stream that lingers');
});
