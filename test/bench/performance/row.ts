/** What a row of the table is, and what measures a group of rows. Data and types; nothing here runs. */

import type { Carrier, CarrierSetup } from './carrier.js';

/** Who carries the traffic between the same two hosts. `raw`: nobody, the bare veth or emulated link. */
export const CARRIERS = ['ours', 'raw', 'wireguard-go', 'openvpn'] as const;
export type CarrierName = (typeof CARRIERS)[number];

/** As the daemons of a carrier are in order. */
export const SIDES = ['client', 'gateway'] as const;

/** Two paths without a limit. */
export const TWO_WIRES: CarrierSetup = { links: [{}, {}], wires: true };

export interface Row {
  /** Unique; what --only takes. */
  name: string;
  title: string;
  unit: string;
  /** What must and what shall be reached; without them the row only informs. */
  bar?: number;
  aim?: number;
  /** What the bounds are about; default: the figure itself. */
  boundsAre?: 'ratio to raw';
  better: 'more' | 'less';
  /** Digits behind the point. */
  digits: number;
}

/** One run's figures, by the row's name. */
export type Figures = Readonly<Record<string, number>>;

export interface MeasureOptions {
  /** Of each transfer, without its warm-up. */
  seconds: number;
}

/** Rows that one measurement gives together. */
export interface Group {
  /** Unique; --only takes it too. */
  name: string;
  rows: readonly Row[];
  /** Those that the figure makes sense for. */
  carriers: readonly CarrierName[];
  setup: CarrierSetup;
  /** The carriers are made anew for each run: for figures about memory. */
  fresh?: boolean;
  measure(carrier: Carrier, options: MeasureOptions): Promise<Figures>;
}
