/** NAME.invites.json beside the configuration: open invites, without their secrets, and which addresses belong to which name. */

import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { writePrivateFile } from '../../tun/private-file.js';
import { ConfigError } from '../config-error.js';
import { decodeKey } from '../config-schema.js';
import { besideConfig } from '../config-values.js';

const key = z.string().refine((text) => decodeKey(text) !== undefined);
const inviteSchema = z.object({
  peer: z.string(),
  /** Derived from the secret, base64. */
  publicKey: key,
  presharedKey: key,
  /** "10.77.0.2/32" */
  addresses: z.array(z.string()),
  createdAtMs: z.number(),
  expiresAtMs: z.number(),
});
const storeSchema = z.object({
  version: z.literal(1),
  invites: z.array(inviteSchema),
  /** The oldest first. */
  leases: z.array(z.object({ peer: z.string(), addresses: z.array(z.string()) })),
});

export type StoredInvite = z.infer<typeof inviteSchema>;
type Stored = z.infer<typeof storeSchema>;

export function inviteFile(configFile: string): string {
  return besideConfig(configFile, 'invites.json');
}

export class InviteStore {
  readonly #file: string;
  #stored: Stored;

  private constructor(file: string, stored: Stored) {
    this.#file = file;
    this.#stored = stored;
  }

  /** Throws ConfigError when the file is there but cannot be understood. */
  static read(file: string): InviteStore {
    let text: string;
    try {
      text = readFileSync(file, 'utf8');
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      if (code === 'ENOENT') return new InviteStore(file, { version: 1, invites: [], leases: [] });
      throw new ConfigError('unreadable', `${file}: cannot be read: ${code}`, { cause });
    }
    try {
      return new InviteStore(file, storeSchema.parse(JSON.parse(text)));
    } catch (cause) {
      throw new ConfigError('syntax', `${file}: is damaged: move it away; open invites are void then, peers stay`, { cause });
    }
  }

  get invites(): readonly StoredInvite[] {
    return this.#stored.invites;
  }

  /** All that are kept for somebody, except for `peer`. */
  leasedAddresses(peer: string): string[] {
    return this.#stored.leases.filter((lease) => lease.peer !== peer).flatMap((lease) => lease.addresses);
  }

  lease(peer: string): readonly string[] | undefined {
    return this.#stored.leases.find((lease) => lease.peer === peer)?.addresses;
  }

  /** Throws what writing throws, with nothing changed. */
  add(invite: StoredInvite): void {
    const { invites, leases } = this.#stored;
    const lease = { peer: invite.peer, addresses: invite.addresses };
    this.#write({ version: 1, invites: [...invites, invite], leases: [...leases.filter(({ peer }) => peer !== invite.peer), lease] });
  }

  remove(invites: readonly StoredInvite[]): void {
    if (invites.length > 0) this.#write({ ...this.#stored, invites: this.#stored.invites.filter((one) => !invites.includes(one)) });
  }

  /** The network is full: what is kept for those of `peers` alone stays kept. */
  dropLeases(keep: ReadonlySet<string>): void {
    this.#write({ ...this.#stored, leases: this.#stored.leases.filter(({ peer }) => keep.has(peer)) });
  }

  #write(stored: Stored): void {
    writePrivateFile(this.#file, `${JSON.stringify(stored, undefined, 2)}\n`);
    this.#stored = stored;
  }
}
