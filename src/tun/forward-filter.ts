/** Firewalls of the host that drop what is forwarded: a table of ours that accepts a packet overrules none of them. */

import { queryNft } from './nft-command.js';

interface ListedChain {
  readonly family: string;
  readonly table: string;
  readonly name: string;
  readonly hook?: string;
  readonly policy?: string;
}

/** "table ip filter, chain FORWARD": chains that drop what no rule accepts, in tables that do not so much as name the device. */
export async function findForwardBlockers(device: string): Promise<string[]> {
  const blockers: string[] = [];
  for (const { family, table, name } of chainsThatDrop(await queryNft(['-j', 'list', 'chains']))) {
    const text = await queryNft(['list', 'table', family, table]);
    if (!text.includes(JSON.stringify(device))) blockers.push(`table ${family} ${table}, chain ${name}`);
  }
  return blockers;
}

/** `listed`: what `nft -j list chains` printed. */
export function chainsThatDrop(listed: string): ListedChain[] {
  try {
    const { nftables } = JSON.parse(listed) as { nftables: { chain?: ListedChain }[] };
    return nftables.flatMap(({ chain }) => (chain?.hook === 'forward' && chain.policy === 'drop' ? [chain] : []));
  } catch {
    return [];
  }
}
