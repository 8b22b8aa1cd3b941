/** Where tunnels keep what shall outlive them and the machine's next start. */

import { resolve } from 'node:path';

/** /var/lib/mptunnel; systemd's StateDirectory= and MPTUNNEL_STATE_DIR replace it. */
export function stateDirectory(environment: NodeJS.ProcessEnv = process.env): string {
  const own = environment.MPTUNNEL_STATE_DIR;
  if (own !== undefined && own !== '') return resolve(own);
  const given = environment.STATE_DIRECTORY?.split(':')[0];
  return given === undefined || given === '' ? '/var/lib/mptunnel' : given;
}
