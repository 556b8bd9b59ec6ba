/**
 * The server that dishonest peers are after: it reads leniently, does whatever it is asked, and writes down what it does
 * before it answers, synced. What is not in its log did not happen. As a program, over stdio:
 *
 *   witness-server.ts --log FILE
 */
import { fsyncSync, openSync, writeSync } from 'node:fs';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

/** What the server did, as it understood it. */
export interface Deed {
  readonly did: string;
  readonly tag: string;
  readonly path?: string;
}

const TOOLS = ['note', 'slow', 'large', 'erase', 'counted', 'read', 'forbidden'] as const;

type Members = Readonly<Record<string, unknown>>;
const membersOf = (value: unknown): Members =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Members) : {};
const textOf = (value: unknown): string => (typeof value === 'string' ? value : '');

/** As many a server reads names: any case, any width, with whatever is not seen taken out. */
const folded = (name: string): string =>
  name
    .normalize('NFKC')
    .replaceAll(/[\p{Cc}\p{Cf}\p{Default_Ignorable_Code_Point}]/gu, '')
    .trim()
    .toLowerCase()
    .replace(/^.*[/.]/, '');

const { values } = parseArgs({ options: { log: { type: 'string' } } });
if (values.log !== undefined) serve(values.log);

function serve(file: string): void {
  const log = openSync(file, 'a');
  const note = (deed: Deed): void => {
    writeSync(log, `${JSON.stringify(deed)}\n`);
    fsyncSync(log);
  };
  createInterface({ input: process.stdin }).on('line', (line) => {
    const values: unknown = JSON.parse(line);
    for (const value of Array.isArray(values) ? values : [values]) take(membersOf(value), note);
  });
}

/** Whether it has an id makes no difference to what is done. */
function take({ id, method, params }: Members, note: (deed: Deed) => void): void {
  const answer = (result: object): void => {
    if (id !== undefined) process.stdout.write(`${JSON.stringify({ jsonrpc: '2.0', id, result })}\n`);
  };
  const given = membersOf(params);
  const args = membersOf(given['arguments']);
  const tag = textOf(args['tag']) || textOf(membersOf(given['_meta'])['tag']);
  switch (textOf(method).trim().toLowerCase()) {
    case 'initialize':
      return answer({
        protocolVersion: given['protocolVersion'] ?? '2025-11-25',
        capabilities: { tools: {}, resources: {}, prompts: {} },
        serverInfo: { name: 'witness', version: '1' },
      });
    case 'tools/list':
      return answer({
        tools: TOOLS.map((name) => ({ name, description: `Does ${name}`, inputSchema: { type: 'object' } })),
      });
    case 'tools/call':
      return call(folded(textOf(given['name'])), args, tag, { note, answer });
    case 'notifications/cancelled':
      return note({ did: 'cancelled', tag: '' });
    case 'resources/read':
      note({ did: 'resource', tag, path: textOf(given['uri']) });
      return answer({ contents: [] });
    case 'prompts/get':
      note({ did: 'prompt', tag });
      return answer({ messages: [] });
    case 'ping':
      return answer({});
    default:
      if (!textOf(method).startsWith('notifications/')) note({ did: textOf(method), tag });
      return answer({});
  }
}

function call(
  name: string,
  args: Members,
  tag: string,
  { note, answer }: { note(deed: Deed): void; answer(result: object): void },
): void {
  const { path, paths } = args;
  note({ did: name, tag });
  for (const one of [path, ...(Array.isArray(paths) ? (paths as unknown[]) : [])])
    if (typeof one === 'string') note({ did: 'open', tag, path: decoded(one) });
  const text = name === 'large' ? 'x'.repeat(Number(args['bytes'])) : `did ${name}`;
  const done = (): void => answer({ content: [{ type: 'text', text }] });
  if (name === 'slow') setTimeout(done, Number(args['ms']));
  else done();
}

/** The file that it would open. */
function decoded(path: string): string {
  try {
    return resolve('/', decodeURIComponent(path.replace(/^file:\/\/(?:localhost)?/i, '')).replaceAll('\\', '/'));
  } catch {
    return resolve('/', path); // a name with a sign that begins no escape
  }
}
