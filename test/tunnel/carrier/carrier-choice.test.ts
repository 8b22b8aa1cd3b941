/** When a path leaves its carrier, on a virtual clock; how it finds one is in link-layer-carriers.test.ts. */

import t from 'tap';
import type { Carrier } from '../../../src/tunnel/carrier/carrier.js';
import { CARRIER_TIMES, type CarriedPath, CarrierChoice } from '../../../src/tunnel/carrier/carrier-choice.js';
import type { Transport, TransportEvents } from '../../../src/tunnel/carrier/transport.js';
import type { TransportCarrier } from '../../../src/tunnel/carrier/transport-carrier.js';

const STEP_MS = 50;

class FakePath implements CarriedPath {
  isUp = false;
  carrier: Carrier | undefined;
  readonly used: string[] = [];
  use(carrier: Carrier | undefined): void {
    this.carrier = carrier;
    this.used.push(carrier?.kind ?? 'none');
  }
  tryBeside = (): boolean => false;
  giveUpBeside(): void {}
}

/** A path that works over WebTransport and not over UDP. */
function start() {
  const path = new FakePath();
  let nowMs = 0;
  const carrier = (kind: string) => ({ kind, close: () => undefined, handleDatagrams: () => undefined }) as unknown as TransportCarrier;
  const [udp, web] = [carrier('udp'), carrier('webtransport')];
  const dialled: TransportEvents[] = [];
  const choice = new CarrierChoice(
    {
      ...{
        path,
        kinds: ['udp', 'webtransport'],
        udp: () => udp,
        carry: () => web,
        times: CARRIER_TIMES,
        now: () => nowMs,
        wake: () => undefined,
      },
      dial: (_, events) => {
        dialled.push(events);
        return { close: () => undefined } as Transport;
      },
    },
    0,
  );
  const run = (forMs: number): void => {
    for (const endMs = nowMs + forMs; nowMs < endMs; nowMs += STEP_MS) choice.handleTimeout(nowMs);
  };
  choice.handleLinkBack(0);
  run(CARRIER_TIMES.patienceMs + 2 * STEP_MS);
  dialled[0]!.onOpen();
  path.isUp = true;
  run(60_000);
  return { path, run };
}

t.test('a link that falls silent for a while is no reason to leave the carrier that works', async (t) => {
  const { path, run } = start();
  t.same(path.used, ['udp', 'webtransport']);
  for (let i = 0; i < 3; i++) {
    path.isUp = false;
    run(CARRIER_TIMES.trialMs - 2 * STEP_MS);
    path.isUp = true;
    run(1000);
  }
  t.same(path.used, ['udp', 'webtransport']);
});

t.test('one that stays silent is', async (t) => {
  const { path, run } = start();
  path.isUp = false;
  run(CARRIER_TIMES.trialMs + 2 * STEP_MS);
  t.same(path.used, ['udp', 'webtransport', 'udp']);
  run(CARRIER_TIMES.trialMs + 2 * STEP_MS);
  t.same(path.used, ['udp', 'webtransport', 'udp', 'webtransport'], 'and has its turn again');
});
