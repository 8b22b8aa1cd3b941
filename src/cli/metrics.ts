import type { Command } from 'commander';
import { ControlClient } from '../control/control-client.js';
import { findInstance } from '../control/instance.js';
import { formatMetrics } from '../control/metrics-text.js';
import { runFiles } from '../tun/run-directory.js';

export function addMetrics(program: Command): void {
  program
    .command('metrics')
    .description("print metrics of a running tunnel once, in Prometheus' text format")
    .argument('<name>', 'the name of the tunnel')
    .addHelpText(
      'after',
      '\nThe same is served at http://127.0.0.1:9150/metrics with, in the configuration:\n  [metrics]\n  listen = "127.0.0.1:9150"\nExample:\n  sudo mptunnel metrics home > /var/lib/node_exporter/mptunnel.prom',
    )
    .action(async (name: string) => {
      const client = await ControlClient.connect(runFiles(findInstance(name).name).socket);
      try {
        process.stdout.write(formatMetrics(await client.status()));
      } finally {
        client.close();
      }
    });
}
