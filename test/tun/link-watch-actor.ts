/** Prints what a link watch reports inside the namespace that it was started in. */

import { createLinkWatch } from '../../src/tun/link-watch.js';

createLinkWatch((name, up) => process.stdout.write(`${name} ${up ? 'up' : 'down'}\n`));
