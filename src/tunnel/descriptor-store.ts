/**
 * Descriptors that outlive the process, at whoever starts it (control/service-manager.ts): the socket that clients send to, and the device. After a restart both are what they
 * were: nobody else has taken the port, no datagram was refused, and what hangs on the device (routes, rules, sockets) still does.
 */

export interface DescriptorStore {
  /** One that the process before left under that name; the caller owns it. undefined: none. */
  take(name: string): number | undefined;
  /** From now on it outlives us. Names: letters, digits, dots. */
  keep(name: string, descriptor: number): void;
}

export const NO_STORE: DescriptorStore = { take: () => undefined, keep: () => {} };

/** `open` adopts a descriptor, or closes it and throws; without one it opens anew, as it does when that which was left does not fit. */
export function adoptOrOpen<T>(store: DescriptorStore, name: string, open: (descriptor?: number) => T): T {
  const descriptor = store.take(name);
  if (descriptor === undefined) return open();
  try {
    return open(descriptor);
  } catch {
    // The device was deleted meanwhile, or the configuration changed.
    return open();
  }
}
