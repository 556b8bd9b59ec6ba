/**
 * An MCP server that puts each execution on disk before it answers, and that goes neither when its input ends nor when it
 * is asked to: whoever leaves it behind is found out. As a program, over stdio:
 *
 *   tally-server.ts --tally FILE --pids FILE
 *
 * Its tools `work`, `fail` and `never` take the key under which they are called, and how long to take.
 */
import { randomBytes } from 'node:crypto';
import { appendFileSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { tally: { type: 'string' }, pids: { type: 'string' } } });
if (values.tally === undefined || values.pids === undefined) throw new Error('want --tally FILE --pids FILE');
const tally = openSync(values.tally, 'a');
appendFileSync(values.pids, `${process.pid}\n`);
process.on('SIGTERM', () => undefined);
process.stdout.on('error', () => undefined); // whoever asked is gone
setInterval(() => undefined, 60_000);

interface Asked {
  readonly id?: number | string;
  readonly method: string;
  readonly params?: {
    readonly protocolVersion?: string;
    readonly name?: string;
    readonly arguments?: { readonly key?: string; readonly ms?: number };
  };
}

const schema = { type: 'object', properties: { key: { type: 'string' }, ms: { type: 'number' } } } as const;
const tools = ['work', 'fail', 'never'].map((name) => ({ name, description: `To ${name}`, inputSchema: schema }));
const say = (id: number | string, result: object): void =>
  void process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', id, result })}\n`);

createInterface({ input: process.stdin }).on('line', (line) => {
  const { id, method, params = {} } = JSON.parse(line) as Asked;
  if (id === undefined) return;
  if (method === 'initialize') {
    const { protocolVersion } = params;
    return say(id, { protocolVersion, capabilities: { tools: {} }, serverInfo: { name: 'tally', version: '1' } });
  }
  if (method === 'tools/list') return say(id, { tools });
  if (method !== 'tools/call') return say(id, {});
  const { key = '', ms = 0 } = params.arguments ?? {};
  const nonce = randomBytes(8).toString('hex');
  writeSync(tally, `${JSON.stringify({ key, nonce, tool: params.name })}\n`);
  fsyncSync(tally);
  const result = { content: [{ type: 'text', text: nonce }], isError: params.name === 'fail' };
  if (ms === 0) say(id, result);
  else setTimeout(() => say(id, result), ms);
});
