/** Where tunnels keep what shall outlive them and the machine's next start. */

import { accessSync, constants } from 'node:fs';
import { join, resolve } from 'node:path';

const SYSTEM = '/var/lib/mptunnel';

/** /var/lib/mptunnel, or an ordinary user's own; systemd's StateDirectory= and MPTUNNEL_STATE_DIR replace it. */
export function stateDirectory(environment: NodeJS.ProcessEnv = process.env, isSystem: () => boolean = ownsSystem): string {
  const { MPTUNNEL_STATE_DIR: own, XDG_STATE_HOME: users, HOME: home } = environment;
  if (own) return resolve(own);
  const given = environment.STATE_DIRECTORY?.split(':')[0];
  if (given) return given;
  if (isSystem()) return SYSTEM;
  if (users?.startsWith('/')) return join(users, 'mptunnel');
  return home ? join(home, '.local/state/mptunnel') : SYSTEM;
}

/** Also of a service without root whose administrator made the folder, and not of the "root" of a user namespace. */
function ownsSystem(): boolean {
  return isWritable(SYSTEM) || (process.geteuid?.() === 0 && isWritable('/var/lib'));
}

function isWritable(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}
