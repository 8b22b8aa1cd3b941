/** What the commands that change a running tunnel have in common: ask its daemon, and print what it did. */

import type { ChangeMessage, ChangeReply } from '../control/change-requests.js';
import { findInstance, isAlive } from '../control/instance.js';
import { withInstance } from './daemon-client.js';
import { CliError, reportWarning } from './report.js';

/** Throws ControlError or CliError. `json`: the reply as one line; else what differs and waits for a restart goes to standard error. */
export async function changeTunnel(nameOrConfig: string, request: ChangeMessage, json = false): Promise<void> {
  const reply = await ask(nameOrConfig, request);
  if (json) {
    process.stdout.write(`${JSON.stringify(reply)}\n`);
    return;
  }
  for (const line of reply.done) process.stdout.write(`${line}\n`);
  for (const what of reply.left) reportWarning(`${what} differs, and is in force only after a restart`);
  if (reply.done.length === 0 && reply.left.length === 0) process.stdout.write('nothing has changed\n');
}

async function ask(nameOrConfig: string, request: ChangeMessage): Promise<ChangeReply> {
  const instance = findInstance(nameOrConfig);
  if (!isAlive(instance)) throw new CliError('crashed', `${instance.name} has crashed: \`mptunnel down ${instance.name}\` cleans up`);
  return withInstance(instance, (client) => client.change(request));
}
