import t from 'tap';
import { Learned, readGuide } from './netns/guide-reader.js';

const KEY = `${'A'.repeat(43)}=`;
const OTHER_KEY = `${'B'.repeat(43)}=`;
const GUIDE = `# Guide

## One

\`\`\`console
server$ show
up for 6 s, key ${KEY}
\`\`\`

<!-- it rains -->

\`\`\`toml
# laptop: /etc/x.toml, under [interface]
a = 1
\`\`\`

\`\`\`toml
not = "for a host"
\`\`\`

## Two
`;

t.test('commands with their output, files and stage directions of one section, in order', async (t) => {
  t.same(readGuide('One', GUIDE), [
    { kind: 'command', line: 6, host: 'server', command: 'show', output: [`up for 6 s, key ${KEY}`] },
    { kind: 'direction', line: 10, text: 'it rains' },
    { kind: 'file', line: 13, host: 'laptop', path: '/etc/x.toml', place: 'under [interface]', text: 'a = 1\n' },
  ]);
  t.same(readGuide('Two', GUIDE), []);
  t.throws(() => readGuide('Three', GUIDE), /no section "Three"/);
});

t.test('a key is learned where it is printed, and must be the same from then on', async (t) => {
  const learned = new Learned();
  t.ok(learned.matches([`key ${KEY}`], `key ${OTHER_KEY}\n`));
  t.equal(learned.apply(`public_key = "${KEY}"`), `public_key = "${OTHER_KEY}"`);
  t.ok(learned.matches([KEY], OTHER_KEY));
  t.notOk(learned.matches([KEY], `${'C'.repeat(43)}=`));
});

t.test('figures may be others; states, names, addresses and further lines may not', async (t) => {
  const shown = ['mpt0: up for 6 s, 1 connection, process 19', '  wlan0  up  10.0.0.1:40000  203.0.113.1:5180  35 ms  0.0 %  1.4 kB'];
  const matches = (...lines: string[]): boolean => new Learned().matches(shown, `${lines.join('\n')}\n`);
  const path = '  wlan0  up   10.9.0.2:51111  203.0.113.1:5180   - 3.1 %  7 MB';
  t.ok(matches('mpt0: up for 3 min 57 s, 12 connections, process 7', path));
  t.notOk(matches('mpt0: up for 6 s, 1 connection, process 19', path.replace('up ', 'down')));
  t.notOk(matches('mpt0: up for 6 s, 1 connection, process 19', path.replace('203.0.113.1', '203.0.113.2')));
  t.notOk(matches('mpt0: up for 6 s, 1 connection, process 19', path.replace('wlan0', 'wlan1')));
  t.notOk(matches('mpt0: up for 6 s, 1 connection, process 19', path, 'wlan0 is benched'));
  t.notOk(matches('mpt0: up for 6 s, 1 connection, process 19'));
  t.ok(new Learned().matches(['a', '...', 'b'], 'a\nx\ny\nb\n'));
  t.notOk(new Learned().matches([], 'a warning\n'), 'nothing shown means that nothing comes out');
});
