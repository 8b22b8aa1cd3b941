/**
 * How much the sockets of the egress bring in one turn of the event loop. libuv reads up to 2 MB from one before anything else has its turn, and what it brings is
 * sealed and sent in the same turn: other packets, a ping among them, would wait for milliseconds.
 */

/** Of all sockets together: some 0.3 ms with sealing and sending. */
const TURN_BYTES = 256 << 10;

export interface TurnReader {
  /** The turn in which it read last, and how much in that; kept here for `ReadTurns`. */
  turn: number;
  turnBytes: number;
  /** Its turn was over; there may be more to read. */
  readOn(): void;
}

export class ReadTurns {
  private readonly turnBytes: number;
  private readonly nextTurn: (callback: () => void) => void;
  private readBytes = 0;
  /** That read in this turn, and in the one before. */
  private readers = 0;
  private readersBefore = 1;
  private turn = 0;
  private scheduled = false;
  private waiting: TurnReader[] = [];
  private resuming: TurnReader[] = [];

  /** `nextTurn` calls back once everything of this turn of the event loop was read. */
  constructor(turnBytes = TURN_BYTES, nextTurn: (callback: () => void) => void = setImmediate) {
    this.turnBytes = turnBytes;
    this.nextTurn = nextTurn;
  }

  /** `reader` has read `bytes` more. False: it has had its share, is to stop, and is called when the next turn begins. */
  mayReadOn(reader: TurnReader, bytes: number): boolean {
    if (!this.scheduled) {
      this.scheduled = true;
      this.nextTurn(this.renew);
    }
    if (reader.turn !== this.turn) {
      reader.turn = this.turn;
      reader.turnBytes = 0;
      this.readers++;
    }
    reader.turnBytes += bytes;
    this.readBytes += bytes;
    const share = this.turnBytes / Math.max(this.readers, this.readersBefore);
    if (this.readBytes < this.turnBytes && reader.turnBytes < share) return true;
    this.waiting.push(reader);
    return false;
  }

  private readonly renew = (): void => {
    this.scheduled = false;
    this.turn++;
    this.readBytes = 0;
    this.readersBefore = this.readers;
    this.readers = 0;
    const { waiting } = this;
    this.waiting = this.resuming;
    this.resuming = waiting;
    for (const reader of waiting) reader.readOn();
    waiting.length = 0;
  };
}
