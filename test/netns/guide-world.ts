/** The world of the guide beside its hosts: interfaces with the names that a laptop or a router has, and a web server with a name. */

import type { NamespaceHost } from '../../src/lab/namespaces.js';
import { type Lab, SERVER_PUBLIC_ADDRESS, WEB_ADDRESS } from '../../src/lab/topology.js';
import { inside, type Remote } from './tunnel-remote.js';

/** Lines of `ip`, in one process. */
export async function ip(host: NamespaceHost, ...lines: string[]): Promise<void> {
  await host.run('ip', ['-batch', '-'], { input: `${lines.join('\n')}\n` });
}

/** The client's end of a link by another name; IPv4 alone, as many mobile networks are. */
export async function nameUplink(lab: Lab, index: number, name: string): Promise<void> {
  await ip(lab.client, `link set wan${index} down`, `link set wan${index} name ${name}`);
  await raiseUplink(lab, index, name);
}

/** What a DHCP client does when the uplink is back. */
export async function raiseUplink(lab: Lab, index: number, name: string): Promise<void> {
  await lab.client.run('sh', ['-c', `echo 1 > /proc/sys/net/ipv6/conf/${name}/disable_ipv6`]);
  await ip(
    lab.client,
    `link set ${name} up`,
    `address replace 10.90.${index}.1/24 dev ${name}`,
    `route replace default via 10.90.${index}.2 dev ${name} metric ${100 + index}`,
  );
}

/** The server answers the world from the address that the guide calls its own, and begins without forwarding. */
export async function settleServer(lab: Lab): Promise<void> {
  await ip(lab.server, `route replace 198.51.100.0/24 dev lan0 src ${SERVER_PUBLIC_ADDRESS}`);
  await ip(lab.web, `route replace ${SERVER_PUBLIC_ADDRESS} via 198.51.100.1`);
  for (const host of [lab.server, lab.client])
    await host.run('sh', ['-c', 'for f in /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding; do echo 0 > $f; done']);
}

/** http://ADDRESS/ip tells who asks, /20MB is so many bytes. */
export async function startWeb(host: NamespaceHost, address: string = WEB_ADDRESS): Promise<Remote<void>> {
  const web = inside(
    host,
    async ({ address }, say) => {
      const { createServer } = await import('node:http');
      const chunk = Buffer.alloc(50_000, 'mptunnel ');
      const server = createServer((request, response) => {
        if (request.url === '/ip') return void response.end(`${request.socket.remoteAddress}\n`);
        const bytes = 1e6 * Number(/^\/(\d+)MB$/.exec(request.url ?? '')?.[1] ?? 0);
        if (bytes === 0) return void response.writeHead(404).end('not here\n');
        response.writeHead(200, { 'content-length': bytes });
        let left = bytes;
        const fill = (): void => {
          while (left > 0) {
            left -= chunk.length;
            if (!response.write(chunk)) return;
          }
          response.end();
        };
        response.on('drain', fill);
        fill();
      });
      await new Promise<void>((resolve) => server.listen(80, address, resolve));
      say('listening');
      await new Promise(() => {});
    },
    { address },
  );
  await web.said;
  return web;
}
