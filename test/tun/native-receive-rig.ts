/** A socket that opens what is thrown at it. */

import * as native from '../../src/tun/native.js';
import { addressRecord, type HeaderFields, openUdp, pattern, Receiver, tcpHeader } from './native-harness.js';
import { finishPacket, sealDatagram } from './native-twins.js';

export const INDEX = 0x80000001;

/** A socket with an open table, and a second socket that throws datagrams at it. */
export class Rig {
  readonly n = native.loadNative();
  readonly key = pattern(32, 7);
  readonly rx: native.UdpHandle;
  readonly tx: native.UdpHandle;
  readonly table: native.OpenTableHandle;
  readonly to: Uint8Array;
  readonly aead: native.AeadName;
  receiver: Receiver;

  constructor(aead: native.AeadName = 'aes-256-gcm', receiver = new Receiver()) {
    this.aead = aead;
    this.receiver = receiver;
    this.rx = openUdp(4, '127.0.0.1');
    this.tx = openUdp(4, '127.0.0.1');
    this.table = this.n.createOpenTable();
    this.n.addOpener(this.table, { receiverIndex: INDEX, aead, key: this.key });
    this.to = addressRecord('127.0.0.1', this.n.udpPort(this.rx));
  }

  send(datagram: Uint8Array): void {
    const sent = this.n.udpSendRaw(this.tx, this.to, datagram, 0, datagram.length);
    if (sent !== datagram.length) throw new Error(`sendmsg: ${sent}`);
  }

  seal(packetNumber: number, plaintext: Uint8Array, { type = native.TYPE_STREAM, pathId = 0, receiverIndex = INDEX } = {}): Buffer {
    return sealDatagram(this.aead, this.key, { type, pathId, receiverIndex, packetNumber }, plaintext);
  }

  counters(): native.ReceiveCounters {
    return this.n.receiveCounters(this.table);
  }

  close(): void {
    this.n.closeOpenTable(this.table);
    this.n.udpClose(this.tx);
    this.n.udpClose(this.rx);
  }
}

export function packet(family: 4 | 6, fields: HeaderFields, payload: Buffer): Buffer {
  return finishPacket(Buffer.concat([tcpHeader(family, fields), payload]), 6, family === 4 ? 20 : 40);
}
