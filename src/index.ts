/** The library: an MPTCP host for programs. The tunnel is `bin/mptunnel.ts`. */

export { CONGESTION_CONTROL_NAMES, SCHEDULER_NAMES } from './host/algorithms.js';
export { type ConnectOptions, createHost, type DeviceOptions, Host, type HostOptions } from './host/host.js';
export { HostError } from './host/host-error.js';
export { HOST_EVENT_NAMES, type HostEvent, type HostEventName } from './host/host-events.js';
export type { Listener, ListenOptions } from './host/listener.js';
export type { AddressOptions } from './host/local-addresses.js';
export type { MptcpSocket, SubflowOptions, SubflowSelector } from './host/mptcp-socket.js';
export type { PacketDevice, ReceivePacket } from './host/packet-device.js';
export type { ConnectionStatistics, SubflowStatistics } from './host/statistics.js';
export { openTunDevice, type TunDeviceOptions } from './host/tun-device.js';
