import t from 'tap';
import { stateDirectory } from '../../src/tun/state-directory.js';

t.test('root keeps state in /var/lib, an ordinary user in the own folder, and what is given by name comes first', async (t) => {
  const [root, user] = [() => true, () => false];
  const home = { HOME: '/home/ada' };
  t.equal(stateDirectory(home, root), '/var/lib/mptunnel');
  t.equal(stateDirectory(home, user), '/home/ada/.local/state/mptunnel');
  t.equal(stateDirectory({ ...home, XDG_STATE_HOME: '/srv/state' }, user), '/srv/state/mptunnel');
  t.equal(stateDirectory({ ...home, XDG_STATE_HOME: 'relative' }, user), '/home/ada/.local/state/mptunnel', 'which XDG tells to ignore');
  t.equal(stateDirectory({}, user), '/var/lib/mptunnel');
  t.equal(stateDirectory({ ...home, STATE_DIRECTORY: '/var/lib/one:/var/lib/two' }, user), '/var/lib/one');
  t.equal(stateDirectory({ STATE_DIRECTORY: '/var/lib/one', MPTUNNEL_STATE_DIR: '/own' }, root), '/own');
});
