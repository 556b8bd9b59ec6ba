/** What bin.js starts. A proxy is one of many that a client starts and waits for, so it loads no other command. */
import { parseProxyLine } from './proxy/options.ts';

const line = parseProxyLine(process.argv.slice(2));
if (line === undefined) await (await import('./process.ts')).runProcess();
else await (await import('./proxy/process.ts')).runProxyProcess(line);
