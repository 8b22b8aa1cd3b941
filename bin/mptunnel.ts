#!/usr/bin/env node
import { fileURLToPath } from 'node:url';
import { runCli } from '../src/cli/main.js';

const code = await runCli(process.argv.slice(2), {
  entryFile: fileURLToPath(import.meta.url),
  loadStartTunnel: async () => (await import('../src/tunnel/tunnel.js')).startTunnel,
});
process.exitCode = code;
