/** Runs a HostNetwork inside the namespace that it was started in, by lines on its standard input: a plan in JSON, "undo", or "who ADDRESS". */

import { createInterface } from 'node:readline';
import { HostNetwork, type HostNetworkError, type HostNetworkPlan, interfaceOfAddress } from '../../src/tun/host-network.js';

const network = new HostNetwork({ journalFile: process.argv[2]!, warn: (message) => reply({ warning: message }) });

function reply(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    if (line === 'undo') await network.undo();
    if (line === 'undo') reply({ undone: true });
    else if (line.startsWith('who ')) reply({ name: await interfaceOfAddress(line.slice(4)) });
    else reply(await network.apply(JSON.parse(line) as HostNetworkPlan));
  } catch (error) {
    reply({ code: (error as HostNetworkError).code, message: (error as Error).message });
  }
}
