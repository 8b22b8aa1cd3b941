import t from 'tap';
import type { PeerLink } from '../../../src/tunnel/link.js';
import { NameClient, NameServer, type Resolve, type Resolved } from '../../../src/tunnel/user/name-service.js';

const PEER = { name: 'home' } as PeerLink;

/** A client and a gateway that knows some names; questions and answers may be lost. */
function joined(known: Record<string, string[]>, lose: (n: number) => boolean = () => false) {
  let messages = 0;
  const asked: string[] = [];
  const client: NameClient = new NameClient((message: Resolve) => {
    asked.push(message.name);
    if (!lose(messages++)) void server.handleQuestion(PEER, message);
    return true;
  });
  const server = new NameServer({
    permits: (address) => address[0] !== 127,
    send: (_peer, message: Resolved) => client.handleAnswer(message),
    lookup: async (name) => known[name] ?? Promise.reject(new Error('ENOTFOUND')),
  });
  return { client, asked };
}

t.test('a name is resolved at the gateway, once for all who ask, and kept for a while', async (t) => {
  const { client, asked } = joined({ 'web.example': ['198.51.100.2', '2001:db8::2'] });
  const both = await Promise.all([client.resolve('Web.Example.'), client.resolve('web.example')]);
  t.same(both, [
    ['198.51.100.2', '2001:db8::2'],
    ['198.51.100.2', '2001:db8::2'],
  ]);
  await client.resolve('web.example');
  t.same(asked, ['web.example']);
});

t.test('a name that it does not know, or whose addresses may not be reached, is none', async (t) => {
  const { client } = joined({ 'own.example': ['127.0.0.1'] });
  await t.rejects(client.resolve('nowhere.example'), { code: 'ENOTFOUND' });
  await t.rejects(client.resolve('own.example'), { code: 'ENOTFOUND' });
  await t.rejects(client.resolve(''), { code: 'ENOTFOUND' });
  await t.rejects(client.resolve('x'.repeat(300)), { code: 'ENOTFOUND' });
});

t.test('a lost question is asked again; who closes waits no longer', async (t) => {
  const { client, asked } = joined({ 'web.example': ['198.51.100.2'] }, (n) => n === 0);
  t.same(await client.resolve('web.example'), ['198.51.100.2']);
  t.equal(asked.length, 2);
  const { client: other } = joined({}, () => true);
  const waiting = other.resolve('web.example');
  other.close();
  await t.rejects(waiting, { code: 'ETIMEDOUT' });
});
