/** An HTTP request over all links, without root:   node dist/examples/fetch-through-tunnel.js ./home.toml http://example.org/ */

import { get } from 'node:http';
import { connectTunnel } from '../src/index.js';

const [config = '', url = ''] = process.argv.slice(2);
const tunnel = await connectTunnel({ config });
get(url, { agent: tunnel.httpAgent }, async (response) => {
  for await (const chunk of response) process.stdout.write(chunk);
  for (const { name, state, rxBytes } of tunnel.status().peers[0]!.paths) console.error(`${name}: ${state}, ${rxBytes} bytes`);
  await tunnel.close();
}).on('error', async (error) => {
  console.error(`${url}: ${error.message}`);
  await tunnel.close();
});
