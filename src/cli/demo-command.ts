import type { Command } from 'commander';

export function addDemo(program: Command): void {
  program
    .command('demo')
    .description('watch one download use two links at once, and go on when one is cut (needs root; touches only namespaces of its own)')
    .option('--json', 'print the figures as JSON')
    .action(async (options: { json?: boolean }) => {
      const { runDemo } = await import('./demo.js');
      process.exitCode = await runDemo(options);
    });
}
