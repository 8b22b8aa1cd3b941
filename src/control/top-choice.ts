/** What the user of `mptunnel top` chose, and how keys change it. Pure. */

import { CONNECTION_ORDERS, type ConnectionOrder } from '../tunnel/connections.js';

const PATH_ORDERS = ['configuration', 'rate', 'rtt', 'loss'] as const;

export interface TopChoice {
  view: 'paths' | 'connections' | 'events';
  pathOrder: (typeof PATH_ORDERS)[number];
  connectionOrder: ConnectionOrder;
  paused: boolean;
  /** Lines of the body that are above the screen. */
  scroll: number;
}

export type TopKey = 'up' | 'down' | 'page-up' | 'page-down' | 'home' | 'end' | 'interrupt' | (string & {});

export const FIRST_CHOICE: TopChoice = { view: 'paths', pathOrder: 'configuration', connectionOrder: 'rate', paused: false, scroll: 0 };

const PAGE_LINES = 10;
const VIEWS: Readonly<Record<string, TopChoice['view']>> = { p: 'paths', c: 'connections', e: 'events' };
/** By what follows ESC [ (ECMA-48), or ESC O where the terminal is in application mode. */
const SEQUENCES: Readonly<Record<string, TopKey>> = {
  A: 'up',
  B: 'down',
  H: 'home',
  F: 'end',
  '1~': 'home',
  '4~': 'end',
  '5~': 'page-up',
  '6~': 'page-down',
};

/** Keys in what a terminal in raw mode sent; escape sequences that mean nothing here are left out. */
export function parseKeys(text: string): TopKey[] {
  const keys: TopKey[] = [];
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what terminals send.
  for (const [match, sequence] of text.matchAll(/\u001b[[O]([0-9;]*[@-~])|./gsu)) {
    if (sequence !== undefined) {
      const key = SEQUENCES[sequence];
      if (key !== undefined) keys.push(key);
    } else if (match === '\u0003') keys.push('interrupt');
    else keys.push(match);
  }
  return keys;
}

/** `scrollMax`: how far the body that is shown can be scrolled. undefined: the user wants to leave. */
export function applyKey(choice: TopChoice, key: TopKey, scrollMax: number): TopChoice | undefined {
  const view = VIEWS[key.toLowerCase()];
  if (view !== undefined) return { ...choice, view, scroll: view === choice.view ? choice.scroll : 0 };
  const scroll = scrolled(Math.min(choice.scroll, scrollMax), key, scrollMax);
  if (scroll !== undefined) return { ...choice, scroll: Math.max(0, Math.min(scroll, scrollMax)) };
  switch (key) {
    case 'q':
    case 'Q':
    case 'interrupt':
      return undefined;
    case ' ':
      return { ...choice, paused: !choice.paused };
    case 's':
      return nextOrder(choice);
    default:
      return choice;
  }
}

function scrolled(scroll: number, key: TopKey, scrollMax: number): number | undefined {
  switch (key) {
    case 'up':
    case 'k':
      return scroll - 1;
    case 'down':
    case 'j':
      return scroll + 1;
    case 'page-up':
      return scroll - PAGE_LINES;
    case 'page-down':
      return scroll + PAGE_LINES;
    case 'home':
      return 0;
    case 'end':
      return scrollMax;
    default:
      return undefined;
  }
}

function nextOrder(choice: TopChoice): TopChoice {
  if (choice.view === 'paths') return { ...choice, pathOrder: after(PATH_ORDERS, choice.pathOrder), scroll: 0 };
  if (choice.view === 'connections') return { ...choice, connectionOrder: after(CONNECTION_ORDERS, choice.connectionOrder), scroll: 0 };
  return choice;
}

function after<T>(all: readonly T[], one: T): T {
  return all[(all.indexOf(one) + 1) % all.length]!;
}
