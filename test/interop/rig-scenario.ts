/** The frame of a case that does all by itself: a rig that is taken down whatever happens, and reports when the case has failed. */

import t, { type Test } from 'tap';
import { createKernelRig, type KernelRig, type KernelRigOptions, missingForInterop, reportFailure } from './kernel-rig.js';
import { joinedByKernel, joinedByUs } from './kernel-verdict.js';

const missing = missingForInterop();
export const SOME = 300_000;

export function scenario(name: string, options: KernelRigOptions, run: (t: Test, rig: KernelRig) => Promise<void>): void {
  t.test(name, { skip: missing, timeout: 40_000 }, async (t) => {
    const rig = await createKernelRig(options);
    t.teardown(async () => {
      await reportFailure(t, rig, name);
      await rig.close();
    });
    await run(t, rig);
  });
}

/** Of one join, by who opened the connection, by our role. */
export const JOINED = {
  client: { joins: 1, counters: joinedByUs() },
  server: { joins: 1, counters: joinedByKernel() },
} as const;
