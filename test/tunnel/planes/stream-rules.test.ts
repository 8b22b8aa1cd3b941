import t from 'tap';
import type { MptcpConnection } from '../../../src/mptcp-over-udp/mptcp/connection.js';
import { emitIpHeader, patchIpLength } from '../../../src/mptcp-over-udp/wire/ip-header.js';
import { parseIp } from '../../../src/tun/ip-prefix.js';
import type { RuleConfig } from '../../../src/tunnel/config.js';
import type { PathLink } from '../../../src/tunnel/link.js';
import { StreamRules } from '../../../src/tunnel/planes/stream-rules.js';
import { FlowRules, type RuleKnowledge } from '../../../src/tunnel/steering/flow-rules.js';

const CLIENT = '10.77.0.2';
const WEB = '198.51.100.2';
const LINKS = ['dsl', 'lte', 'sat'].map((name, id) => ({ id, name })) as PathLink[];

function syn(port: number, dscp = 0): Uint8Array {
  const packet = new Uint8Array(40);
  emitIpHeader(packet, 0, 4, parseIp(CLIENT)!, parseIp(WEB)!, 64, 0, 6);
  packet[1] = dscp << 2;
  const view = new DataView(packet.buffer);
  view.setUint16(20, 40_000);
  view.setUint16(22, port);
  packet[32] = 5 << 4;
  packet[33] = 0x02;
  patchIpLength(packet, 0, 40);
  return packet;
}

/** As the stream plane sees its connection, opened by us or by the peer. */
const connectionTo = (port: number): MptcpConnection =>
  ({
    tuple: { ipVersion: 4, localAddress: parseIp(CLIENT)!, localPort: 40_000, remoteAddress: parseIp(WEB)!, remotePort: port },
  }) as unknown as MptcpConnection;

function setUp(rules: readonly RuleConfig[], steer: 'aggregate' | 'datagram' = 'aggregate', held: readonly number[] = []) {
  const knowledge: RuleKnowledge = { holds: (condition) => held.includes(condition), hasAddress: () => false };
  const flowRules = new FlowRules(rules, knowledge);
  const streamRules = new StreamRules(flowRules, steer);
  const judge = (port: number, dscp = 0) => streamRules.judgeSyn(syn(port, dscp), 0, 40);
  const order = () => {
    const policy = streamRules.routeOfSyn(LINKS).pathPolicy;
    return policy === undefined ? 'any' : LINKS.map(({ id }) => policy.rank(id)).join();
  };
  return { flowRules, streamRules, judge, order };
}

t.test('a rule says in which plane TCP goes; without one [stream] does', async (t) => {
  const rules: RuleConfig[] = [
    { ports: [22, 22], plane: 'datagram', protocols: [6] },
    { ports: [80, 80], plane: 'stream', protocols: [6] },
    { mode: 'redundant' },
  ];
  const [usual, packets] = [setUp(rules), setUp(rules, 'datagram')];
  t.same(
    [22, 80, 443].map((port) => usual.judge(port)),
    ['datagram', 'stream', 'stream'],
  );
  t.same(
    [22, 80, 443].map((port) => packets.judge(port)),
    ['datagram', 'stream', 'datagram'],
  );
  t.equal(setUp([{ bypass: true }]).judge(22), 'stream', 'what is in the tunnel has not gone by');
  t.equal(setUp([], 'datagram').streamRules.mayTerminate, false);
  t.equal(packets.streamRules.mayTerminate, true);
});

t.test('paths restrict and order a connection, pin and active-standby too; other modes choose its scheduler', async (t) => {
  const cases: [RuleConfig, order: string, oneAtATime: boolean | undefined, scheduler: string | undefined][] = [
    [{ paths: ['lte', 'dsl'] }, '1,0,-1', false, undefined],
    [{ mode: 'pin', paths: ['sat'] }, '-1,-1,0', false, undefined],
    [{ mode: 'active-standby', paths: ['sat', 'dsl'] }, '1,-1,0', true, undefined],
    [{ mode: 'active-standby' }, '0,1,2', true, undefined],
    [{ mode: 'redundant' }, 'any', undefined, 'redundant'],
    [{ mode: 'priority', paths: ['dsl', 'lte'] }, '0,1,-1', false, 'priority'],
    [{ mode: 'min-delay' }, 'any', undefined, undefined],
    [{ mode: 'aggregate' }, 'any', undefined, undefined],
  ];
  for (const [rule, expected, oneAtATime, scheduler] of cases) {
    const { streamRules, judge, order } = setUp([rule]);
    judge(443);
    const what = JSON.stringify(rule);
    t.equal(order(), expected, what);
    const route = streamRules.routeOfSyn(LINKS);
    t.equal(route.pathPolicy?.oneAtATime, oneAtATime, what);
    t.equal(route.scheduler?.name, scheduler, what);
  }
});

t.test('when rules change, a connection is asked about by what was known of its first packet', async (t) => {
  const user: RuleConfig = { users: [1000], dscp: 10, paths: ['lte'] };
  const { flowRules, streamRules, judge } = setUp([user], 'aggregate', [0]);
  judge(443, 10);
  const route = streamRules.routeOfSyn(LINKS);
  t.equal(route.rule, 0);
  const [noted, stranger] = [connectionTo(443), connectionTo(443)];
  streamRules.note(noted, route);
  flowRules.replace([
    { ports: [80, 80], mode: 'redundant' },
    { ...user, paths: ['sat'] },
  ]);
  const after = streamRules.routeOf(noted, LINKS);
  t.equal(after.rule, 1, 'owner and DSCP are known still');
  t.same(
    LINKS.map(({ id }) => after.pathPolicy!.rank(id)),
    [-1, -1, 0],
  );
  t.equal(streamRules.ruleNumber(noted), 1);
  t.equal(streamRules.routeOf(stranger, LINKS).rule, -1, 'of one that the peer opened nothing is');
  t.equal(streamRules.routeOf(connectionTo(80), LINKS).rule, 0);
  flowRules.replace([]);
  t.equal(streamRules.routeOf(noted, LINKS).rule, -1);
});
