/** Requests about invites and peers: one command of the control socket, with an action. */

import { z } from 'zod';
import { parsePrefix } from '../tun/ip-prefix.js';
import type { Enrolment } from '../tunnel/gateway/enrolment.js';

/** Thirty days. */
const EXPIRY_MAX_MS = 30 * 86_400_000;
const name = z.string().min(1).max(64);

const schema = z.discriminatedUnion('action', [
  z.object({
    action: z.literal('invite'),
    peer: name,
    expiresInMs: z.number().min(1000).max(EXPIRY_MAX_MS),
    endpoint: z.string().max(256).optional(),
    routes: z
      .array(z.string().refine((text) => parsePrefix(text) !== undefined))
      .max(64)
      .optional(),
  }),
  z.object({ action: z.literal('list-invites') }),
  z.object({ action: z.literal('revoke'), peer: name }),
  z.object({ action: z.literal('list-peers') }),
  z.object({ action: z.literal('remove-peer'), peer: name }),
]);

export type PeerRequest = z.infer<typeof schema>;

/** undefined: not well formed. */
export function parsePeerRequest(value: unknown): PeerRequest | undefined {
  return schema.safeParse(value).data;
}

/** What the reply carries as `result`. Rejects with errors whose message is for the user. */
export async function servePeerRequest(enrolment: Enrolment, request: PeerRequest): Promise<unknown> {
  switch (request.action) {
    case 'invite': {
      const { peer, expiresInMs, endpoint, routes } = request;
      return enrolment.invite({
        peer,
        expiresInMs,
        ...(endpoint === undefined ? {} : { endpoint }),
        ...(routes === undefined ? {} : { routes }),
      });
    }
    case 'list-invites':
      return enrolment.listInvites();
    case 'revoke':
      return enrolment.revoke(request.peer);
    case 'list-peers':
      return enrolment.listPeers();
    case 'remove-peer':
      return enrolment.removePeer(request.peer);
  }
}
