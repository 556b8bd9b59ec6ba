/** What bin.js starts. A proxy is one of many that a client starts and waits for, so it loads no other command. */
import { setFlagsFromString } from 'node:v8';
import { parseProxyLine } from './proxy/options.ts';

const line = parseProxyLine(process.argv.slice(2));
if (line === undefined) await (await import('./process.ts')).runProcess();
else {
  // It holds next to nothing for long: letting the young generation grow costs some 6 MB of 80, and saves no time.
  setFlagsFromString('--semi-space-growth-factor=1');
  await (await import('./proxy/process.ts')).runProxyProcess(line);
}
