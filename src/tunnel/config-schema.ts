/** Shape of a configuration file: names, types and the form of single values. What values mean to one another is checked in config-file.ts. */

import { isIP } from 'node:net';
import { z } from 'zod';
import { parseKey } from '../crypto/keys.js';
import { CONGESTION_CONTROLS, type CongestionControlName } from '../mptcp-over-udp/congestion/congestion-controls.js';
import { SCHEDULERS, type SchedulerName } from '../mptcp-over-udp/scheduler/schedulers.js';
import { parsePrefix } from '../tun/ip-prefix.js';
import { CARRIER_KINDS } from './carrier/carrier.js';
import { forwardSchema } from './gateway/forward-config.js';
import { budgetFault, rateFault } from './path-policy.js';
import { parseRelay } from './relay/relay-config.js';
import { ports, ruleSchema } from './rule-schema.js';

export const NAME_MAX_CHARACTERS = 32;
/** IFNAMSIZ less its NUL. */
export const INTERFACE_NAME_MAX_BYTES = 15;
export const DEFAULT_MTU_BYTES = 1420;

/** undefined when `value` is no key; the fault is worded here, where the key's place in the file is known. */
export function decodeKey(value: string): Uint8Array | undefined {
  try {
    return parseKey(value, 'key');
  } catch {
    return undefined;
  }
}

/** A string with a check that returns what is wrong with it, or undefined. */
const text = (fault: (value: string) => string | undefined) =>
  z.string().superRefine((value, context) => {
    const message = fault(value);
    if (message !== undefined) context.addIssue({ code: 'custom', message });
  });

const integer = (minimum: number, maximum: number) =>
  z.number().superRefine((value, context) => {
    if (!Number.isInteger(value) || value < minimum || value > maximum)
      context.addIssue({ code: 'custom', message: `must be a whole number from ${minimum} to ${maximum}, not ${value}` });
  });

export const PRIVATE_KEY_FAULT = 'is not a key (32 bytes in base64, 44 characters): make one with `mptunnel genkey`';
const privateKey = text((value) => (decodeKey(value) === undefined ? PRIVATE_KEY_FAULT : undefined));
const publicKey = text((value) =>
  decodeKey(value) === undefined
    ? "is not a key (32 bytes in base64, 44 characters): print the peer's with `mptunnel pubkey < ITS_PRIVATE_KEY` there"
    : undefined,
);
const presharedKey = text((value) =>
  decodeKey(value) === undefined
    ? 'is not a key (32 bytes in base64, 44 characters): make one with `mptunnel genpsk` and give it to both sides'
    : undefined,
);

export function interfaceNameFault(value: string): string | undefined {
  if (value === '') return 'is empty';
  if (Buffer.byteLength(value) > INTERFACE_NAME_MAX_BYTES)
    return `"${value}" is longer than the ${INTERFACE_NAME_MAX_BYTES} characters that Linux allows`;
  if (!/^[A-Za-z0-9_.@=+-]+$/.test(value) || value === '.' || value === '..' || value.startsWith('-'))
    return `"${value}" is no name of a network interface: use letters, digits, "-", "_" and "."`;
  return undefined;
}

const name = text((value) => {
  if (value === '') return 'is empty';
  if (value.length > NAME_MAX_CHARACTERS) return `"${value}" is longer than ${NAME_MAX_CHARACTERS} characters`;
  return /^[\w.-]+$/.test(value) ? undefined : `"${value}" may hold only letters, digits, "-", "_" and "."`;
});

const prefix = text((value) =>
  parsePrefix(value) === undefined ? `"${value}" is no IP prefix: write it as 198.51.100.0/24 or 2001:db8::/32` : undefined,
);
const interfaceAddress = text((value) =>
  parsePrefix(value) === undefined ? `"${value}" is no address: write it with its prefix length, as 10.77.0.2/24 or fd77::2/64` : undefined,
);
const address = text((value) =>
  isIP(value) === 0 || value.includes('%') ? `"${value}" is no IP address (write it without a prefix length)` : undefined,
);

const searchDomain = text((value) =>
  /^(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$/.test(value)
    ? undefined
    : `"${value}" is no domain: write it as corp.example.org`,
);

/** "host:port" or "[v6]:port" taken apart, or undefined. */
export function parseEndpoint(value: string): { host: string; port: number } | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]\s]+)):(\d{1,5})$/.exec(value);
  if (match === null) return undefined;
  const [, bracketed, plain, digits] = match;
  const port = Number(digits);
  if (port < 1 || port > 65_535) return undefined;
  if (bracketed !== undefined) return isIP(bracketed) === 6 ? { host: bracketed, port } : undefined;
  const host = plain ?? '';
  const looksNumeric = /^[\d.]+$/.test(host);
  const valid = looksNumeric ? isIP(host) === 4 : /^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?$/.test(host);
  return valid ? { host, port } : undefined;
}

const endpoint = text((value) =>
  parseEndpoint(value) === undefined
    ? `"${value}" is no endpoint: write it as 203.0.113.1:5180, [2001:db8::1]:5180 or vpn.example.org:5180`
    : undefined,
);

const relay = text((value) =>
  parseRelay(value, (place) => parseEndpoint(place) !== undefined) === undefined
    ? `"${value}" is no relay: write it as relay.example.org:5181#KEY, as \`mptunnel relay\` prints it`
    : undefined,
);

/** A literal address: what a name stands for could change from local to public. */
const listenAddress = text((value) => {
  const host = parseEndpoint(value)?.host;
  return host === undefined || isIP(host) === 0 ? `"${value}" is no address and port: write it as 127.0.0.1:9150 or [::1]:9150` : undefined;
});

const publicEndpoint = text((value) =>
  parseEndpoint(value) === undefined && parseEndpoint(isIP(value) === 6 ? `[${value}]:1` : `${value}:1`) === undefined
    ? `"${value}" is no address that clients could reach: write it as vpn.example.org, 203.0.113.1 or vpn.example.org:5180`
    : undefined,
);

const serverName = text((value) =>
  parseEndpoint(isIP(value) === 6 ? `[${value}]:1` : `${value}:1`) === undefined
    ? `"${value}" is no name of a host: write it as vpn.example.org`
    : undefined,
);

/** As tools print it, with or without colons. */
const sha256 = text((value) =>
  /^([0-9a-fA-F]{2}:?){31}[0-9a-fA-F]{2}$/.test(value)
    ? undefined
    : 'is no SHA-256 of a certificate: write its 32 bytes in hexadecimal, as the server prints them when it starts',
);

/** "wwan*" */
const interfacePattern = text((value) => {
  const fault = interfaceNameFault(value.replaceAll('*', ''));
  return value === '*' || fault === undefined || (value.includes('*') && value.replaceAll('*', '') === '') ? undefined : fault;
});

/** How a path is used; what can be changed of it while it is. */
export const policySchema = z.strictObject({
  priority: integer(0, 255).optional(),
  backup: z.boolean().optional(),
  cost: integer(0, 255).optional(),
  limit_up: text(rateFault).optional(),
  limit_down: text(rateFault).optional(),
  budget: text(budgetFault).optional(),
  budget_spent: z.enum(['backup', 'off']).optional(),
});

export const pathSchema = z.strictObject({
  name,
  interface: text(interfaceNameFault).optional(),
  address: address.optional(),
  via: relay.optional(),
  carrier: z.enum(['auto', ...CARRIER_KINDS]).optional(),
  ...policySchema.shape,
});
/** A [[path]] table, checked. */
export type PathTable = z.infer<typeof pathSchema>;

/** What a peer may carry; what can be changed of it while it is there. */
export const peerLimitsSchema = z.strictObject({
  limit_up: text(rateFault).optional(),
  limit_down: text(rateFault).optional(),
});
/** Such a table, checked. */
export type PeerLimitsTable = z.infer<typeof peerLimitsSchema>;

/** A [[peer]]; also the whole of a file in the peers' folder. */
export const peerSchema = z.strictObject({
  name: name.optional(),
  public_key: publicKey,
  preshared_key: presharedKey.optional(),
  endpoint: endpoint.optional(),
  allowed_ips: z.array(prefix).optional(),
  quic_port: integer(1, 65_535).optional(),
  webtransport_port: integer(1, 65_535).optional(),
  server_name: serverName.optional(),
  certificate_sha256: sha256.optional(),
  accept_forwards: z.boolean().optional(),
  ...peerLimitsSchema.shape,
});

const forward = forwardSchema(ports.optional());

export const configSchema = z.strictObject({
  interface: z.strictObject({
    name: text(interfaceNameFault).optional(),
    device: z.enum(['tun', 'none']).optional(),
    private_key: privateKey.optional(),
    private_key_file: z.string().optional(),
    address: z.array(interfaceAddress),
    listen_port: integer(1, 65_535).optional(),
    relays: z.array(relay).optional(),
    endpoint: publicEndpoint.optional(),
    mtu: integer(576, 65_535).optional(),
    native_mptcp: z.boolean().optional(),
    native_mptcp_addresses: z.array(address).optional(),
    kill_switch: z.boolean().optional(),
    kill_switch_allow: z.array(prefix).optional(),
  }),
  path: z.array(pathSchema).optional(),
  /** paths = "auto" is short for a table with auto = true. */
  paths: z
    .preprocess(
      (value) => (value === 'auto' ? { auto: true } : value),
      z.strictObject({
        auto: z.boolean(),
        include: z.array(interfacePattern).optional(),
        exclude: z.array(interfacePattern).optional(),
        metered: z.enum(['backup', 'exclude', 'use']).optional(),
        metered_interfaces: z.array(interfacePattern).optional(),
      }),
    )
    .optional(),
  peer: z.array(peerSchema).optional(),
  egress: z
    .strictObject({
      mode: z.enum(['socket', 'tun']).optional(),
      allow: z.array(prefix).optional(),
      deny: z.array(prefix).optional(),
      nat: z.boolean().optional(),
    })
    .optional(),
  forward: z.array(forward).optional(),
  stream: z
    .strictObject({
      scheduler: z.enum(Object.keys(SCHEDULERS) as SchedulerName[]).optional(),
      congestion_control: z.enum(Object.keys(CONGESTION_CONTROLS) as CongestionControlName[]).optional(),
      steer: z.enum(['aggregate', 'datagram']).optional(),
      header_compression: z.boolean().optional(),
    })
    .optional(),
  metrics: z
    .strictObject({ listen: listenAddress.optional(), socket: z.string().optional(), allow_remote: z.boolean().optional() })
    .optional(),
  rule: z.array(ruleSchema).optional(),
  carriers: z
    .strictObject({
      quic_port: integer(1, 65_535).optional(),
      webtransport_port: integer(1, 65_535).optional(),
      certificate: z.string().optional(),
      private_key: z.string().optional(),
      web_folder: z.string().optional(),
    })
    .optional(),
  dns: z.strictObject({ servers: z.array(address), search: z.array(searchDomain).optional() }).optional(),
  lan: z.strictObject({ interfaces: z.array(text(interfaceNameFault)), masquerade: z.boolean().optional() }).optional(),
});

export type ConfigDocument = z.infer<typeof configSchema>;

/** Keys that a table of the document knows, by the table's name ("" is the document). */
export const KNOWN_KEYS: Readonly<Record<string, readonly string[]>> = {
  '': Object.keys(configSchema.shape),
  interface: Object.keys(configSchema.shape.interface.shape),
  path: Object.keys(pathSchema.shape),
  paths: ['auto', 'include', 'exclude', 'metered', 'metered_interfaces'],
  peer: Object.keys(peerSchema.shape),
  egress: Object.keys(configSchema.shape.egress.unwrap().shape),
  stream: Object.keys(configSchema.shape.stream.unwrap().shape),
  metrics: Object.keys(configSchema.shape.metrics.unwrap().shape),
  forward: Object.keys(forward.shape),
  carriers: Object.keys(configSchema.shape.carriers.unwrap().shape),
  dns: Object.keys(configSchema.shape.dns.unwrap().shape),
  lan: Object.keys(configSchema.shape.lan.unwrap().shape),
  rule: Object.keys(ruleSchema.shape),
};
