import t from 'tap';
import { RefusedSources } from '../../../src/tunnel/gateway/refused-sources.js';

const LAN = Uint8Array.of(192, 168, 5, 10);

t.test('it is told at once, then once a minute and peer, with how many there were', async (t) => {
  const told: string[] = [];
  const refused = new RefusedSources((message) => told.push(message));
  for (let ms = 0; ms <= 59_999; ms += 1000) refused.refuse('home', LAN, ms);
  t.equal(told.length, 1);
  t.match(told[0], /^peer home sends from 192\.168\.5\.10, which is not in its allowed_ips: refused \(1 so far\)/);
  refused.refuse('home', Uint8Array.of(192, 168, 5, 11), 60_000);
  t.match(told[1], /192\.168\.5\.11.*\(61 so far\)/);
  refused.refuse('other', LAN, 60_001);
  t.equal(told.length, 3);
  t.strictSame(refused.of('home'), { address: '192.168.5.11', packets: 61 });
  refused.forget('home');
  t.equal(refused.of('home'), undefined);
});
