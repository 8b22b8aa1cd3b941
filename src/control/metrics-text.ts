/** A tunnel's status in Prometheus' text exposition format, version 0.0.4. Base units: seconds, bytes, ratios. */

import type { PathStatus, PeerStatus, TunnelStatus } from '../tunnel/status.js';

export const METRICS_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

type Labels = Readonly<Record<string, string>>;

/** Samples of one name stand together, after what is said of them once (the format demands it). */
class Family {
  readonly #lines: string[] = [];
  readonly #name: string;
  readonly #head: string;

  constructor(name: string, type: 'gauge' | 'counter', help: string) {
    this.#name = name;
    this.#head = `# HELP ${name} ${escapeHelp(help)}\n# TYPE ${name} ${type}\n`;
  }

  add(labels: Labels, value: number): this {
    const inner = Object.entries(labels).map(([key, text]) => `${key}="${escapeLabel(text)}"`);
    this.#lines.push(`${this.#name}${inner.length === 0 ? '' : `{${inner.join(',')}}`} ${formatValue(value)}\n`);
    return this;
  }

  toString(): string {
    return this.#lines.length === 0 ? '' : this.#head + this.#lines.join('');
  }
}

interface PathFamily {
  name: string;
  type: 'gauge' | 'counter';
  help: string;
  /** undefined: not known, so there is no sample. */
  value: (path: PathStatus) => number | undefined;
}

const PATH_FAMILIES: readonly PathFamily[] = [
  { name: 'path_up', type: 'gauge', help: 'Whether the path is proven and answers.', value: ({ state }) => Number(state === 'up') },
  {
    name: 'path_benched',
    type: 'gauge',
    help: 'Whether streams leave the path alone because it harmed them.',
    value: ({ benched }) => Number(benched !== undefined),
  },
  { name: 'path_backup', type: 'gauge', help: 'Whether the path waits until no other is up.', value: ({ backup }) => Number(backup) },
  { name: 'path_cost', type: 'gauge', help: 'Cheaper paths go first.', value: ({ cost = 0 }) => cost },
  {
    name: 'path_send_limit_bytes_per_second',
    type: 'gauge',
    help: 'The most that this side sends there.',
    value: ({ limitUpBytesPerSec }) => limitUpBytesPerSec,
  },
  {
    name: 'path_receive_limit_bytes_per_second',
    type: 'gauge',
    help: 'The most that the peer was asked to send there.',
    value: ({ limitDownBytesPerSec }) => limitDownBytesPerSec,
  },
  { name: 'path_budget_bytes', type: 'gauge', help: 'What the path may carry in its period.', value: ({ budget }) => budget?.bytes },
  {
    name: 'path_budget_used_bytes',
    type: 'gauge',
    help: 'What it has carried of that, both directions.',
    value: ({ budget }) => budget?.usedBytes,
  },
  {
    name: 'path_budget_due_bytes',
    type: 'gauge',
    help: 'What it may have carried by now, if used evenly.',
    value: ({ budget }) => budget?.dueBytes,
  },
  { name: 'path_rtt_seconds', type: 'gauge', help: 'Smoothed round-trip time.', value: ({ rttMs }) => seconds(rttMs) },
  { name: 'path_min_rtt_seconds', type: 'gauge', help: 'Least round-trip time.', value: ({ minRttMs }) => seconds(minRttMs) },
  { name: 'path_loss_ratio', type: 'gauge', help: 'Lost of what was sent, over the last seconds.', value: ({ lossRatio }) => lossRatio },
  {
    name: 'path_delivery_rate_bytes_per_second',
    type: 'gauge',
    help: 'What the peer acknowledged lately.',
    value: ({ deliveryRateBytesPerSec }) => deliveryRateBytesPerSec,
  },
  {
    name: 'path_inner_mtu_bytes',
    type: 'gauge',
    help: 'Largest inner packet of one datagram.',
    value: ({ innerMtuBytes }) => innerMtuBytes,
  },
  { name: 'path_received_bytes_total', type: 'counter', help: 'UDP payload that came in.', value: ({ rxBytes }) => rxBytes },
  { name: 'path_sent_bytes_total', type: 'counter', help: 'UDP payload that went out.', value: ({ txBytes }) => txBytes },
];

/** Beside whether it is there and what is open now. */
const PEER_FAMILIES: readonly { name: string; help: string; value: (peer: PeerStatus) => number | undefined }[] = [
  { name: 'peer_received_bytes_total', help: 'UDP payload that came in, on all paths.', value: ({ traffic }) => traffic?.rxBytes },
  { name: 'peer_sent_bytes_total', help: 'UDP payload that went out, on all paths.', value: ({ traffic }) => traffic?.txBytes },
  { name: 'peer_received_packets_total', help: 'UDP datagrams that came in, on all paths.', value: ({ traffic }) => traffic?.rxPackets },
  { name: 'peer_sent_packets_total', help: 'UDP datagrams that went out, on all paths.', value: ({ traffic }) => traffic?.txPackets },
  {
    name: 'peer_accepted_connections_total',
    help: 'TCP connections that the peer opened.',
    value: ({ traffic }) => traffic?.rxConnections,
  },
  {
    name: 'peer_opened_connections_total',
    help: 'TCP connections that were opened to the peer.',
    value: ({ traffic }) => traffic?.txConnections,
  },
  {
    name: 'peer_limit_up_bytes_per_second',
    help: 'What may come from the side that dials, over all paths.',
    value: ({ limitUpBytesPerSec }) => limitUpBytesPerSec,
  },
  {
    name: 'peer_limit_down_bytes_per_second',
    help: 'What may go to the side that dials, over all paths.',
    value: ({ limitDownBytesPerSec }) => limitDownBytesPerSec,
  },
];

/** Every name begins with mptunnel_, every sample has the label `tunnel`. */
export function formatMetrics(status: TunnelStatus): string {
  const tunnel = { tunnel: status.name };
  return [
    new Family('mptunnel_up', 'gauge', 'Whether the tunnel runs.').add(tunnel, Number(status.state === 'up')),
    new Family('mptunnel_uptime_seconds', 'gauge', 'Since the start of the tunnel.').add(tunnel, status.uptimeMs / 1000),
    ...peerFamilies(status.peers, tunnel),
    ...PATH_FAMILIES.map((family) => pathFamily(family, status.peers, tunnel)),
    ...datagramFamilies(status, tunnel),
    countFamily(status.counters, tunnel),
  ].join('');
}

function peerFamilies(peers: readonly PeerStatus[], tunnel: Labels): Family[] {
  const up = new Family('mptunnel_peer_up', 'gauge', 'Whether the peer is there.');
  const connections = new Family('mptunnel_connections', 'gauge', 'TCP connections with the peer, open now.');
  for (const peer of peers) {
    up.add({ ...tunnel, peer: peer.name }, Number(peer.state === 'up'));
    connections.add({ ...tunnel, peer: peer.name }, peer.connections);
  }
  return [up, connections, ...PEER_FAMILIES.map(({ name, help, value }) => peerFamily(name, help, value, peers, tunnel))];
}

/** undefined: not known, so there is no sample. */
function peerFamily(
  name: string,
  help: string,
  value: (peer: PeerStatus) => number | undefined,
  peers: readonly PeerStatus[],
  tunnel: Labels,
): Family {
  const family = new Family(`mptunnel_${name}`, name.endsWith('_total') ? 'counter' : 'gauge', help);
  for (const peer of peers) {
    const known = value(peer);
    if (known !== undefined) family.add({ ...tunnel, peer: peer.name }, known);
  }
  return family;
}

function pathFamily({ name, type, help, value }: PathFamily, peers: readonly PeerStatus[], tunnel: Labels): Family {
  const family = new Family(`mptunnel_${name}`, type, help);
  for (const peer of peers) {
    // A peer chooses the names of its paths, and could give one twice; a sample must not stand twice.
    const seen = new Set<string>();
    for (const path of peer.paths) {
      const known = value(path);
      if (known === undefined) continue;
      const label = seen.has(path.name) ? `${path.name}#${path.id}` : path.name;
      seen.add(path.name);
      family.add({ ...tunnel, peer: peer.name, path: label }, known);
    }
  }
  return family;
}

function datagramFamilies({ datagrams }: TunnelStatus, tunnel: Labels): Family[] {
  if (datagrams === undefined) return [];
  const flows = new Family('mptunnel_datagram_flows', 'gauge', 'Flows under way that this side sends.');
  for (const [mode, count] of Object.entries(datagrams.flows)) flows.add({ ...tunnel, mode }, count);
  const held = new Family('mptunnel_resequencing_held_packets', 'gauge', 'Packets that wait for those before them.');
  return [flows, held.add(tunnel, datagrams.resequencing.heldPackets)];
}

/** One family for all of them: what is worth counting changes from version to version. */
function countFamily(counters: Readonly<Record<string, number>>, tunnel: Labels): Family {
  const family = new Family('mptunnel_count_total', 'counter', 'What was dropped, refused, retried and the like, by name.');
  for (const [name, value] of Object.entries(counters)) family.add({ ...tunnel, name }, value);
  return family;
}

/** undefined before the first sample. */
function seconds(milliseconds: number): number | undefined {
  return milliseconds < 0 ? undefined : milliseconds / 1000;
}

function formatValue(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (!Number.isFinite(value)) return value > 0 ? '+Inf' : '-Inf';
  return String(value);
}

function escapeLabel(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');
}

function escapeHelp(text: string): string {
  return text.replaceAll('\\', '\\\\').replaceAll('\n', '\\n');
}
