import type { Command } from 'commander';
import { formatMetrics } from '../control/metrics-text.js';
import { withDaemon } from './daemon-client.js';

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
      process.stdout.write(formatMetrics(await withDaemon(name, (client) => client.status())));
    });
}
