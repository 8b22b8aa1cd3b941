/** [[forward]]: what of this host's ports leads to a peer. Form and sense of single entries; config-file.ts puts file and line to what is wrong. */

import { isIP } from 'node:net';
import { z } from 'zod';
import { formatIp, parseIp } from '../../tun/ip-prefix.js';
import type { ForwardConfig } from '../config.js';
import type { ConfigErrorCode } from '../config-error.js';
import type { KeyPath } from '../toml-lines.js';

const FORWARD_PROTOCOLS = ['tcp', 'udp'] as const;

/** "laptop", "laptop:22", "10.77.0.2", "10.77.0.2:22", "fd77::2", "[fd77::2]:22"; undefined: none of these. */
export function parseForwardTarget(text: string): { peer?: string; address?: string; port?: number } | undefined {
  const bracketed = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(text);
  if (bracketed !== null) return withPort(isIP(bracketed[1]!) === 6 ? { address: canonical(bracketed[1]!) } : undefined, bracketed[2]);
  if (isIP(text) === 6 && !text.includes('%')) return { address: canonical(text) };
  const match = /^(\w[\w.-]*)(?::(\d{1,5}))?$/.exec(text);
  if (match === null) return undefined;
  const host = match[1]!;
  if (isIP(host) === 4) return withPort({ address: canonical(host) }, match[2]);
  // What looks like an address and is none is a slip, not the name of a peer.
  return withPort(/^[\d.]+$/.test(host) ? undefined : { peer: host }, match[2]);
}

function withPort<T extends object>(target: T | undefined, digits: string | undefined): (T & { port?: number }) | undefined {
  if (target === undefined || digits === undefined) return target;
  const port = Number(digits);
  return port >= 1 && port <= 65_535 ? { ...target, port } : undefined;
}

function canonical(address: string): string {
  return formatIp(parseIp(address)!);
}

const target = z.string().superRefine((value, context) => {
  if (parseForwardTarget(value) !== undefined) return;
  const message = `"${value}" is neither a peer nor an address: write it as laptop, laptop:22, 10.77.0.2:22 or [fd77::2]:22`;
  context.addIssue({ code: 'custom', message });
});

const publicAddress = z.string().superRefine((value, context) => {
  if (isIP(value) !== 0 && !value.includes('%')) return;
  context.addIssue({
    code: 'custom',
    message: `"${value}" is no IP address: give one of this host's, or leave the key out for all of them`,
  });
});

/** `ports`: of config-schema.ts, so that a port is written in the same way everywhere. */
export function forwardSchema<P extends z.ZodType>(ports: P) {
  return z.strictObject({ protocol: z.enum(FORWARD_PROTOCOLS), port: ports, to: target, address: publicAddress.optional() });
}

export interface ForwardTable {
  readonly protocol: 'tcp' | 'udp';
  /** As forwardSchema's `ports` lets it pass. */
  readonly port?: unknown;
  readonly to: string;
  readonly address?: string | undefined;
}

export interface ForwardContext {
  readonly listenPort: number | undefined;
  readonly parsePorts: (value: unknown) => readonly [first: number, last: number] | undefined;
  readonly fault: (code: ConfigErrorCode, path: KeyPath, what: string) => Error;
  readonly warn: (message: string) => void;
}

/** Throws what `fault` makes. */
export function readForwards(tables: readonly ForwardTable[], { listenPort, parsePorts, fault, warn }: ForwardContext): ForwardConfig[] {
  if (listenPort === undefined)
    throw fault('conflict', ['forward'], 'is for a server: this side has no listen_port, so nobody dials in whom a port could lead to');
  const forwards: ForwardConfig[] = [];
  tables.forEach((table, index) => {
    const ports = parsePorts(table.port);
    if (ports === undefined)
      throw fault('missing-key', ['forward', index, 'port'], 'is missing: give the port that is open here, as port = 8080');
    const { peer, address, port } = parseForwardTarget(table.to)!;
    const [first, last] = ports;
    if (port !== undefined && last > first)
      throw fault(
        'conflict',
        ['forward', index, 'to'],
        `names one port for ${last - first + 1}: leave it out, and each port leads to its like`,
      );
    if (table.protocol === 'udp' && first <= listenPort && listenPort <= last)
      throw fault('conflict', ['forward', index, 'port'], `takes ${listenPort}, which is listen_port: peers could not reach this server`);
    if (table.address !== undefined && address !== undefined && isIP(table.address) !== isIP(address))
      throw fault('conflict', ['forward', index, 'address'], `and \`to\` are of different IP versions`);
    const forward: ForwardConfig = {
      protocol: table.protocol,
      ports,
      ...(table.address === undefined ? {} : { address: canonical(table.address) }),
      to: { ...(peer === undefined ? { address: address! } : { peer }), ...(port === undefined ? {} : { port }) },
    };
    const other = forwards.findIndex((one) => overlap(one, forward));
    if (other >= 0)
      throw fault('conflict', ['forward', index, 'port'], `is taken by [[forward]] ${other + 1} already: a port leads to one place`);
    if (table.protocol === 'tcp' && first <= 22 && 22 <= last)
      warn(`[[forward]] ${index + 1} takes TCP port 22: you cannot log in to this host by SSH on that port any more`);
    forwards.push(forward);
  });
  return forwards;
}

/** One IP version each is no overlap: an address decides it. */
function overlap(a: ForwardConfig, b: ForwardConfig): boolean {
  if (a.protocol !== b.protocol || a.ports[1] < b.ports[0] || b.ports[1] < a.ports[0]) return false;
  if (a.address !== undefined && b.address !== undefined) return a.address === b.address;
  const [first, second] = [familyOf(a), familyOf(b)];
  return first === undefined || second === undefined || first === second;
}

/** undefined: both. */
function familyOf({ address, to }: ForwardConfig): number | undefined {
  const text = address ?? to.address;
  return text === undefined ? undefined : isIP(text);
}
