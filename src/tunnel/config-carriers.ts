/** What a configuration says of carriers: over which a path goes, where a server listens for them, and where a client finds them. */

import { dirname, resolve } from 'node:path';
import type { CarrierListenConfig, PathConfig, PeerConfig } from './config.js';
import type { ConfigDocument } from './config-schema.js';
import type { ConfigPlace } from './config-whole-host.js';
import type { KeyPath } from './toml-lines.js';

/** Throws ConfigError. */
export function readCarriers({ carriers: table, interface: { listen_port: listenPort } }: ConfigDocument, place: ConfigPlace) {
  checkPaths(place);
  if (table === undefined) return {};
  const { quic_port: quicPort, webtransport_port: webtransportPort, certificate, private_key: privateKey, web_folder: webFolder } = table;
  const error = (key: string, what: string) => place.error('conflict', ['carriers', key], what);
  if (listenPort === undefined)
    throw error('quic_port', "is for a server: give it a listen_port too, or name the server's ports in [[peer]]");
  if (quicPort === undefined && webtransportPort === undefined)
    throw place.error('missing-key', ['carriers', 'webtransport_port'], 'is missing: give it, or quic_port, as 443');
  if (quicPort === listenPort) throw error('quic_port', `is the UDP port of listen_port too: choose another, as 443`);
  if ((certificate === undefined) !== (privateKey === undefined))
    throw error(certificate === undefined ? 'private_key' : 'certificate', 'stands alone: a certificate and its private_key go together');
  if (webFolder !== undefined && webtransportPort === undefined)
    place.warn(`${place.file}: web_folder has no effect without webtransport_port`);
  const beside = (file: string): string => resolve(dirname(place.file), file);
  const carriers: CarrierListenConfig = {
    ...(quicPort === undefined ? {} : { quicPort }),
    ...(webtransportPort === undefined ? {} : { webtransportPort }),
    ...(certificate === undefined || privateKey === undefined
      ? {}
      : { tlsFiles: { certificate: beside(certificate), privateKey: beside(privateKey) } }),
    webFolder: webFolder === undefined ? undefined : beside(webFolder),
  };
  return { carriers };
}

/** A path that may go over one carrier only needs a peer that listens there. */
function checkPaths({ paths, peers, error }: ConfigPlace): void {
  paths.forEach(({ carrier = 'auto', via }: PathConfig, index) => {
    if (carrier === 'auto' || carrier === 'udp') return;
    if (via !== undefined)
      throw error('conflict', ['path', index, 'carrier'], `is "${carrier}", but a relay forwards UDP: remove one of the two`);
    const key = carrier === 'quic' ? 'quicPort' : 'webtransportPort';
    const where: KeyPath = ['path', index, 'carrier'];
    const lacks = peers.find((peer: PeerConfig) => peer.endpoint !== undefined && peer[key] === undefined);
    if (lacks === undefined) return;
    throw error('conflict', where, `is "${carrier}", but peer "${lacks.name}" has no ${carrier}_port: name the port of the server there`);
  });
}
