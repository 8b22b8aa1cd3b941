/**
 * Runs a HostNetwork inside the namespace that it was started in, by lines on its standard input: a plan in JSON, "undo", "refresh", "who ADDRESS", "table TABLE" in JSON,
 * "no-table FAMILY PURPOSE", or "bypass".
 */

import { createInterface } from 'node:readline';
import { HostNetwork, type HostNetworkError, type HostNetworkPlan, interfaceOfAddress } from '../../src/tun/host-network.js';
import type { NftFamily, NftTable } from '../../src/tun/nft-table.js';

const network = new HostNetwork({ journalFile: process.argv[2]!, warn: (message) => reply({ warning: message }) });

function reply(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

async function applyTable(table: NftTable): Promise<string> {
  await network.tables.apply(table);
  return network.tables.nameOf(table.purpose);
}

async function removeTable([, family, purpose]: string[]): Promise<boolean> {
  await network.tables.remove(family as NftFamily, purpose!);
  return true;
}

for await (const line of createInterface({ input: process.stdin })) {
  try {
    if (line === 'undo') await network.undo();
    if (line === 'refresh') await network.refresh();
    if (line === 'undo') reply({ undone: true });
    else if (line === 'refresh') reply({ refreshed: true });
    else if (line === 'bypass') reply({ mark: await network.makeBypassable() });
    else if (line.startsWith('table ')) reply({ table: await applyTable(JSON.parse(line.slice(6)) as NftTable) });
    else if (line.startsWith('no-table ')) reply({ removed: await removeTable(line.split(' ')) });
    else if (line.startsWith('who ')) reply({ name: await interfaceOfAddress(line.slice(4)) });
    else reply(await network.apply(JSON.parse(line) as HostNetworkPlan));
  } catch (error) {
    reply({ code: (error as HostNetworkError).code, message: (error as Error).message });
  }
}
