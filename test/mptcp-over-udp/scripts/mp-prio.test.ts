/** RFC 8684, 3.3.8: MP_PRIO and backup subflows. */

import { ack, data, FULL, rst, type ScriptHost, script } from './script-host.js';

const TWO = { paths: 2, cwndSegments: 2 };

function setBackup(s: ScriptHost, atMs: number, pathId: number, backup: boolean): void {
  s.act(atMs, `path ${pathId} backup ${backup}`, () => {
    const subflow = s.connection.subflows.find((known) => known.pathId === pathId);
    if (subflow === undefined) s.fail(`no subflow on path ${pathId}`);
    subflow.setBackup(backup);
  });
}

// RFC 8684 (3.3.8): asks the other side to change its sending; on the subflow that it speaks of.
script('MP_PRIO is sent on the subflow that it speaks of', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  setBackup(s, 30, 1, true);
  flow.expect(30, ack({ prio: { backup: true } }));
  setBackup(s, 40, 1, false);
  flow.expect(40, ack({ prio: { backup: false } }));
  s.expectNothing(5_000);
});

script('MP_PRIO of the peer makes the subflow a backup', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  flow.inject(30, ack({ prio: { backup: true } }));
  s.equal(s.events[1], 'sub_priority path 1 backup true', 'event');
  s.write(40, 4 * FULL);
  s.expect(40, data(FULL));
  s.expect(40, data(FULL));
  flow.expectNothing(55);
  s.inject(60, ack());
  s.expect(60, data(FULL));
  s.expect(60, data(FULL));
  s.inject(80, ack());
});

script('MP_PRIO of the peer makes a backup regular again', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0, 1, true);
  flow.inject(30, ack({ prio: { backup: false } }));
  s.write(40, 4 * FULL);
  s.expect(40, data(FULL));
  s.expect(40, data(FULL));
  flow.expect(40, data(FULL));
  flow.expect(40, data(FULL));
  s.inject(60, ack());
  flow.inject(60, ack());
});

script('MP_PRIO for the initial subflow moves data to the other', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  s.inject(30, ack({ prio: { backup: true } }));
  s.write(40, FULL);
  flow.expect(40, data(FULL, { dss: { dsn: 1 } }));
  s.expectNothing(55);
  flow.inject(60, ack());
});

script('backups carry data where there is nothing else', TWO, (s) => {
  s.server();
  s.inject(0, ack({ prio: { backup: true } }));
  s.write(10, FULL);
  s.expect(10, data(FULL));
  s.inject(30, ack());
});

script('a backup takes over when the regular subflow is reset', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0, 1, true);
  s.write(30, FULL);
  s.expect(30, data(FULL));
  s.inject(40, rst());
  flow.expect(40, data(FULL, { dss: { dsn: 1, ssn: 1 } }));
  flow.inject(60, ack());
});

script('a backup takes over when the path of the regular subflow goes down', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0, 1, true);
  s.write(30, FULL);
  s.expect(30, data(FULL));
  s.setPathUsable(40, 0, false);
  flow.expect(40, data(FULL, { dss: { dsn: 1, ssn: 1 } }));
  flow.inject(60, ack());
});

script('the regular subflow takes over again when its path is back', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0, 1, true);
  s.setPathUsable(30, 0, false);
  s.write(40, FULL);
  flow.expect(40, data(FULL));
  flow.inject(60, ack());
  s.setPathUsable(70, 0, true);
  s.write(80, FULL);
  s.expect(80, data(FULL));
  s.inject(100, ack());
});

// RFC 8684 (3.3.8): it says what the peer should do, nothing about the own sending.
script('own MP_PRIO does not change the own sending', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  setBackup(s, 30, 0, true);
  s.expect(30, ack({ prio: { backup: true } }));
  s.write(40, 2 * FULL);
  s.expect(40, data(FULL));
  s.expect(40, data(FULL));
  flow.expectNothing(55);
  s.inject(60, ack());
});

script('MP_PRIO that says nothing new is not reported', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  flow.inject(30, ack({ prio: { backup: false } }));
  s.equal(s.events.length, 1, 'events');
  s.expectNothing(1_000);
});

script('MP_PRIO on data is taken, and the data read', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0);
  flow.inject(30, data(100, { dss: { ack: 1, dsn: 1 }, prio: { backup: true } }));
  flow.expect(55, ack({ dss: { ack: 101 } }));
  s.equal(s.app.readBytes, 100, 'bytes read');
  s.equal(s.events[1], 'sub_priority path 1 backup true', 'event');
});

script('a backup still receives', TWO, (s) => {
  s.server();
  const flow = s.peerJoins(0, 1, true);
  flow.inject(30, data(FULL));
  flow.expect(55, ack({ dss: { ack: FULL + 1 } }));
  s.equal(s.app.readBytes, FULL, 'bytes read');
});
