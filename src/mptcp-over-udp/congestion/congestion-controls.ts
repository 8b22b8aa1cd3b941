/** The congestion controls by the names that the configuration knows. */

import { createBalia } from './balia.js';
import { createBbr } from './bbr.js';
import type { CongestionControlFactory } from './congestion-control.js';
import { createCubic } from './cubic.js';
import { createLia } from './lia.js';
import { createOlia } from './olia.js';
import { createReno } from './reno.js';
import { createWvegas } from './wvegas.js';

export const CONGESTION_CONTROLS = {
  bbr: createBbr,
  cubic: createCubic,
  reno: createReno,
  lia: createLia,
  olia: createOlia,
  balia: createBalia,
  wvegas: createWvegas,
} as const satisfies Record<string, CongestionControlFactory>;

export type CongestionControlName = keyof typeof CONGESTION_CONTROLS;
