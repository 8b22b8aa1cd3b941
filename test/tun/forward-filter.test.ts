import t from 'tap';
import { chainsThatDrop } from '../../src/tun/forward-filter.js';

t.test('of what nft lists, base chains at the forward hook that drop by policy are found', async (t) => {
  const chain = (name: string, more: object = {}) => ({ chain: { family: 'ip', table: 'filter', name, handle: 1, ...more } });
  const base = { type: 'filter', prio: 0 };
  const listed = {
    nftables: [
      { metainfo: { version: '1.0.6' } },
      chain('FORWARD', { ...base, hook: 'forward', policy: 'drop' }),
      chain('INPUT', { ...base, hook: 'input', policy: 'drop' }),
      chain('other', { ...base, hook: 'forward', policy: 'accept' }),
      chain('DOCKER-USER'),
    ],
  };
  t.same(
    chainsThatDrop(JSON.stringify(listed)).map(({ name }) => name),
    ['FORWARD'],
  );
  t.same(chainsThatDrop(''), [], 'no nft, no chains');
});
