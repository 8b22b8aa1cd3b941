import t from 'tap';
import { ReadTurns, type TurnReader } from '../../src/tunnel/planes/read-turns.js';

/** A socket that always has more, read in chunks as libuv does until it is told to stop. */
class Socket implements TurnReader {
  turn = -1;
  turnBytes = 0;
  reading = true;
  read = 0;

  readOn(): void {
    this.reading = true;
  }

  drain(turns: ReadTurns, chunkBytes: number, chunks: number): void {
    for (let i = 0; i < chunks && this.reading; i++) {
      this.read += chunkBytes;
      this.reading = turns.mayReadOn(this, chunkBytes);
    }
  }
}

class Loop {
  private next: (() => void)[] = [];
  readonly turns = new ReadTurns(256, (callback) => this.next.push(callback));

  turn(sockets: Socket[], chunkBytes = 64): void {
    for (const socket of sockets) socket.drain(this.turns, chunkBytes, 32);
    for (const callback of this.next.splice(0)) callback();
  }
}

t.test('one socket brings its share in a turn and goes on in the next', async (t) => {
  const loop = new Loop();
  const socket = new Socket();
  loop.turn([socket]);
  t.equal(socket.read, 256);
  t.ok(socket.reading);
  loop.turn([socket]);
  t.equal(socket.read, 512);
});

t.test('several share a turn alike, whoever comes first', async (t) => {
  const loop = new Loop();
  const sockets = [new Socket(), new Socket(), new Socket(), new Socket()];
  for (let i = 0; i < 10; i++) loop.turn(sockets);
  // In the first turn nobody knows yet how many there are.
  t.strictSame(
    sockets.map(({ read }) => read),
    [256 + 9 * 64, 640, 640, 640],
  );
});

t.test('small reads never wait', async (t) => {
  const loop = new Loop();
  const sockets = [new Socket(), new Socket()];
  for (const socket of sockets) socket.drain(loop.turns, 10, 3);
  t.ok(sockets.every(({ reading }) => reading));
});
