/** The frame of the cases about subflows: two links, data both ways before and after what the case does, and the verdict at the end. */

import t, { type Test } from 'tap';
import { type Conversation, confirmed, converse } from './conversation.js';
import { createKernelRig, type KernelRig, type KernelRigOptions, missingForInterop, reportFailure } from './kernel-rig.js';
import { conclude, type Verdict } from './kernel-verdict.js';
import { until } from './payload.js';

const missing = missingForInterop();
export const SOME = 300_000;

/** Addresses of ours, for a case whose joins are not to come from the second by themselves. */
export const NO_JOIN_FROM_SECOND = [{}, { subflow: false }];

export interface Scenario extends KernelRigOptions, Verdict {
  role: 'client' | 'server';
  /** After the first exchange of data. */
  during: (t: Test, talk: Conversation, rig: KernelRig) => Promise<void>;
}

export function scenario(name: string, options: Scenario): void {
  t.test(name, { skip: missing, timeout: 30_000 }, async (t) => {
    const rig = await createKernelRig({ links: 2, limits: 'subflows 8 add_addr_accepted 8', ...options });
    t.teardown(async () => {
      await reportFailure(t, rig, name);
      await rig.close();
    });
    const talk = await converse(rig, options.role);
    await talk.up(SOME);
    await talk.down(SOME);
    await options.during(t, talk, rig);
    await talk.up(SOME);
    await talk.down(SOME);
    await conclude(t, talk, options);
  });
}

export async function subflowsReach(talk: Conversation, count: number): Promise<void> {
  await until(`${count} subflows`, () => confirmed(talk) === count);
}

/** Long enough for a join that must not come, at round trips of a millisecond. */
export async function quiet(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 300));
}
