/** The library: a tunnel for programs without root (`connectTunnel`), and an MPTCP host. The program is `bin/mptunnel.ts`. */

export type { ClientSocket } from './client/client-socket.js';
export { type ClientTunnel, type ConnectTunnelOptions, connectTunnel } from './client/connect-tunnel.js';
export type { DatagramSource, UdpSocket } from './client/udp-socket.js';
export type { ConnectForUndici } from './client/undici-connector.js';
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
