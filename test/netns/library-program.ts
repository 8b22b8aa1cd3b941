/** A program that uses the library in every way: prints what came, one JSON object, and ends. */

import { get } from 'node:http';
import { Agent, request } from 'undici';
import { connectTunnel } from '../../src/index.js';

const [config, host, httpPort, echoPort, closedPort] = process.argv.slice(2) as [string, string, string, string, string];
const url = `http://${host}:${httpPort}`;
const tunnel = await connectTunnel({ config });
const seen: Record<string, unknown> = {};

seen.raw = await new Promise<string>((resolve, reject) => {
  const socket = tunnel.connect(Number(httpPort), host);
  let text = '';
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString();
  });
  socket.on('end', () => resolve(text));
  socket.on('error', reject);
  // Before it stands, as with a socket of node:net.
  socket.end(`GET /raw HTTP/1.0\r\n\r\n`);
});
const byAgent = (path: string): Promise<string> =>
  new Promise((resolve, reject) => {
    get(`${url}${path}`, { agent: tunnel.httpAgent }, async (response) => {
      let text = '';
      for await (const chunk of response) text += chunk;
      resolve(text);
    }).on('error', reject);
  });
seen.agent = [await byAgent('/a'), await byAgent('/b')];
const dispatcher = new Agent({ connect: tunnel.undiciConnect as never });
const answer = await request(`${url}/undici`, { dispatcher });
seen.undici = await answer.body.text();
const large = await request(`${url}/large`, { dispatcher });
seen.largeBytes = (await large.body.arrayBuffer()).byteLength;
await dispatcher.close();
seen.echoed = await new Promise<string>((resolve) => {
  const socket = tunnel.createUdpSocket();
  const again = setInterval(() => socket.send('hello', Number(echoPort), host), 200);
  socket.on('message', (message: Buffer, from: { address: string; port: number }) => {
    clearInterval(again);
    socket.close();
    resolve(`${message} from ${from.address}:${from.port}`);
  });
});
seen.refused = await new Promise<string>((resolve) => {
  const socket = tunnel.connect({ host, port: Number(closedPort) });
  socket.on('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? ''));
});
seen.paths = tunnel.status().peers[0]!.paths.map(({ state, rxBytes }) => ({ state, rxBytes }));
await tunnel.close();
process.stdout.write(`${JSON.stringify(seen)}\n`);
