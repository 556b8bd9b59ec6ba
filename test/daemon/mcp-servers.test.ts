import { mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { checkServer } from '../../daemon/core/calls/server-check.ts';
import { createMcpServers, type DaemonMcpServers, type McpServersOptions } from '../../daemon/mcp-servers.ts';
import type { ExposedServer, McpServerEvents } from '../../daemon/ports.ts';
import { createSystemClock } from '../../daemon/system.ts';
import { limits } from '../../protocol/index.ts';
import { type Message, parseMessage } from '../../protocol/mcp/index.ts';
import { json, upstreamWith } from '../cli/proxy/http-upstream.ts';

interface Logged {
  readonly facts: Readonly<Record<string, unknown>>;
  readonly message: string;
}

let root: string;
let servers: DaemonMcpServers;
let logged: Logged[];
beforeEach(() => {
  root = realpathSync(mkdtempSync(join(tmpdir(), 'agentmesh-servers-')));
  logged = [];
});
afterEach(async () => {
  await servers[Symbol.asyncDispose]();
  rmSync(root, { recursive: true });
});

async function open(options: McpServersOptions = {}): Promise<void> {
  const note = (facts: object, message: string): void => void logged.push({ facts: facts as Logged['facts'], message });
  const log = { debug: note, info: note, warn: note, error: note };
  servers = await createMcpServers({ log }, { graceMs: 300, ...options });
}

const sh = (script: string, more: Partial<Extract<ExposedServer, { cwd: string }>> = {}): ExposedServer => ({
  command: ['/bin/sh', '-c', script],
  cwd: root,
  ...more,
});

const textOf = (message: Uint8Array | Message): string =>
  Buffer.from(message instanceof Uint8Array ? message : message.bytes).toString();

interface Listening {
  readonly events: McpServerEvents;
  readonly messages: string[];
  readonly printed: string[];
  readonly ended: Promise<string>;
}

function listening(): Listening {
  const messages: string[] = [];
  const printed: string[] = [];
  let settle: (how: string) => void = () => {};
  const ended = new Promise<string>((resolve) => (settle = resolve));
  return {
    events: {
      message: (message) => void messages.push(textOf(message)),
      failed: () => undefined,
      lost: () => undefined,
      drained: () => undefined,
      printed: (line) => void printed.push(line),
      ended: settle,
    },
    messages,
    printed,
    ended,
  };
}

function isGone(pid: number): boolean {
  try {
    return /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')); // orphans of a container are not reaped
  } catch {
    return true; // no such process
  }
}

const PING = parseMessage(Buffer.from('{"jsonrpc":"2.0","id":1,"method":"ping"}'), 'client') as Message;
const ECHO = 'while read -r line; do echo "$line"; done';

describe('a server that is a program', () => {
  test('gets messages and gives messages, and ends with its end', async () => {
    await open();
    const { events, messages, ended } = listening();
    const end = servers.open(sh(`${ECHO}; echo '{"bye":1}'`), events);
    end.send(PING);
    await end.end();
    expect(await ended).toBe('exit code 0');
    expect(messages).toEqual([textOf(PING), '{"bye":1}']);
  });

  test('has the variables that any program needs and those that it is given, and none of the daemon', async () => {
    const env = { PATH: process.env['PATH'], HOME: '/h', AGENTMESH_PASSPHRASE: 'secret', AWS_TOKEN: 'x', LANG: 'C' };
    await open({ env });
    const { events, ended } = listening();
    servers.open(sh('env > seen', { env: { API_TOKEN: 'given', AGENTMESH_AGENT_TOKEN: 'no' } }), events);
    await ended;
    const names = readFileSync(join(root, 'seen'), 'utf8').match(/^\w+(?==)/gm) ?? [];
    expect(names.filter((name) => !['PWD', 'SHLVL', '_', 'OLDPWD'].includes(name)).sort()).toEqual([
      'API_TOKEN',
      'HOME',
      'LANG',
      'PATH',
    ]);
  });

  test.each([
    ['that is not there', { command: ['/nowhere/server'], cwd: '/' }, /no such command/],
    ['in a directory that is not there', { command: ['/bin/sh'], cwd: '/nowhere' }, /no directory "\/nowhere"/],
    ['that ends at once', { command: ['/bin/sh', '-c', 'exit 3'], cwd: '/' }, /exit code 3/],
    ['with more words than the system takes', { command: ['/bin/sh', 'x'.repeat(4_000_000)], cwd: '/' }, /E2BIG/],
  ])('%s is told as ended', async (_, server, how) => {
    await open();
    const { events, ended } = listening();
    servers.open(server, events);
    expect(await ended).toMatch(how);
  });

  test('is not started on Windows, where it could outlive the daemon', async () => {
    await open({ platform: 'win32' });
    const { events, ended } = listening();
    servers.open(sh('touch there'), events);
    expect(await ended).toMatch(/process groups/);
    expect(() => readFileSync(join(root, 'there'))).toThrow(/ENOENT/);
  });

  test('what it prints is in the log, few lines of it', async () => {
    await open();
    const { events, ended, printed } = listening();
    servers.open(sh('i=0; while [ $i -lt 500 ]; do echo "line $i \u001b[31m" >&2; i=$((i+1)); done'), events);
    await ended;
    await servers[Symbol.asyncDispose]();
    const lines = logged.filter(({ message }) => message === 'an exposed server printed');
    expect(lines).toHaveLength(limits.EXPOSED_PRINT_LINES_MAX);
    expect(lines[0]?.facts).toEqual({ program: '/bin/sh', text: 'line 0 ⟨U+001B⟩[31m' });
    expect(printed).toHaveLength(limits.EXPOSED_PRINT_LINES_MAX);
    expect(logged.find(({ facts }) => facts['lines'] !== undefined)?.facts).toEqual({
      program: '/bin/sh',
      lines: 500 - limits.EXPOSED_PRINT_LINES_MAX,
    });
  });

  test('a line without an end is not held', async () => {
    await open();
    const { events, ended, printed } = listening();
    servers.open(sh(`head -c ${4 * limits.EXPOSED_PRINT_LINE_BYTES_MAX} /dev/zero >&2`), events);
    await ended;
    expect(printed).toEqual([`a line of more than ${limits.EXPOSED_PRINT_LINE_BYTES_MAX} bytes`]);
  });

  test('ends with the daemon, and so does what it started, though it takes no notice of signals', async () => {
    await open();
    const { events, messages } = listening();
    servers.open(sh('trap \'\' TERM; (trap \'\' TERM; sleep 60) & echo "{\\"pid\\":$!}"; wait'), events);
    await expect.poll(() => messages.length).toBe(1);
    const { pid } = JSON.parse(messages[0] ?? '') as { pid: number };
    expect(isGone(pid)).toBe(false);
    await servers[Symbol.asyncDispose]();
    expect(isGone(pid)).toBe(true);
  });

  test('its paths are those of its directory, with links followed', async () => {
    await open();
    writeFileSync(join(root, 'a'), '');
    const end = servers.open(sh('cat > /dev/null'), listening().events);
    expect(end.paths.canonicalPaths(['a', '~/x'])).toContain(join(root, 'a'));
    await end.end();
  });
});

const ABOUT = { protocolVersion: '2025-11-25', capabilities: { tools: {} }, serverInfo: { name: 'x', version: '1' } };
const result = (id: number, value: object): string => JSON.stringify({ jsonrpc: '2.0', id, result: value });
const says = (...lines: string[]): string => lines.map((line) => `read -r _; printf '%s\\n' '${line}'`).join('\n');
const check = (server: ExposedServer, timeoutMs = 10_000) =>
  checkServer({ servers, clock: createSystemClock() }, server, { timeoutMs });

describe('checkServer', () => {
  test('says what tools there are, page by page, and leaves no process', async () => {
    await open();
    const tools = await check(
      sh(
        `echo $$ > pid\n${says(result(1, ABOUT))}\nread -r _\n${says(
          result(2, { tools: [{ name: 'read', description: 'Reads\u202e' }], nextCursor: '2' }),
          result(3, { tools: [{ name: 'write' }] }),
        )}\ncat > /dev/null`,
      ),
    );
    expect(tools).toEqual([
      { name: 'read', description: 'Reads⟨U+202E⟩' },
      { name: 'write', description: null },
    ]);
    expect(isGone(Number(readFileSync(join(root, 'pid'), 'utf8')))).toBe(true);
  });

  test('asks a server of the stateless era in its own way', async () => {
    await open();
    const refusal = JSON.stringify({ jsonrpc: '2.0', id: 1, error: { code: -32601, message: 'no such method' } });
    const tools = await check(
      sh(
        `${says(refusal)}\nread -r line; echo "$line" > asked\n${[
          `printf '%s\\n' '${result(2, { tools: [{ name: 'read' }], resultType: 'complete' })}'`,
          'cat > /dev/null',
        ].join('\n')}`,
      ),
    );
    expect(tools.map(({ name }) => name)).toEqual(['read']);
    expect(readFileSync(join(root, 'asked'), 'utf8')).toContain(
      '"io.modelcontextprotocol/protocolVersion":"2026-07-28"',
    );
  });

  test('answers a ping, and nothing else that a server asks', async () => {
    await open();
    const asks = ['{"jsonrpc":"2.0","id":"p","method":"ping"}', '{"jsonrpc":"2.0","id":"r","method":"roots/list"}'].map(
      (line) => `printf '%s\\n' '${line}'; read -r line; echo "$line" >> answers`,
    );
    await check(
      sh(
        `${says(result(1, ABOUT))}\nread -r _\nread -r _\n${asks.join('\n')}\nprintf '%s\\n' '${result(2, { tools: [] })}'\ncat > /dev/null`,
      ),
    );
    const [ping, roots] = readFileSync(join(root, 'answers'), 'utf8')
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(ping).toEqual({ jsonrpc: '2.0', id: 'p', result: {} });
    expect(roots).toMatchObject({ id: 'r', error: { code: -32601 } });
  });

  test('a server without tools has none', async () => {
    await open();
    expect(await check(sh(`${says(result(1, { ...ABOUT, capabilities: {} }))}\ncat > /dev/null`))).toEqual([]);
  });

  test.each([
    ['cannot be started', ['/nowhere/server'], /no such command/],
    ['ends, with what it printed last', ['/bin/sh', '-c', 'echo "no licence" >&2; exit 4'], /exit code 4.*no licence/],
    [
      'answers with an error',
      [
        '/bin/sh',
        '-c',
        says(result(1, ABOUT)) +
          '\nread -r _\n' +
          says('{"jsonrpc":"2.0","id":2,"error":{"code":-1,"message":"broken"}}') +
          '\ncat > /dev/null',
      ],
      /tools\/list" with an error: "broken"/,
    ],
    [
      'writes what is no JSON-RPC',
      ['/bin/sh', '-c', says('{"jsonrpc":"1.0"}') + '\ncat > /dev/null'],
      /Cannot use the server/,
    ],
  ])('refuses one that %s', async (_, command, message) => {
    await open();
    await expect(check({ command, cwd: root })).rejects.toMatchObject({
      code: 'failed',
      message: expect.stringMatching(message) as string,
    });
  });

  test('does not wait longer than it may', async () => {
    await open();
    await expect(check(sh('cat > /dev/null'), 200)).rejects.toMatchObject({ code: 'timeout' });
  });

  test('asks a server behind HTTP, with its headers', async () => {
    await open();
    await using up = await upstreamWith((got) => {
      const { id, method } = got.message;
      if (id === undefined) return void got.response.writeHead(202).end();
      json(got, method === 'initialize' ? ABOUT : { tools: [{ name: 'far' }] });
    });
    const tools = await check({ url: up.url, headers: { authorization: 'Bearer t' } });
    expect(tools).toEqual([{ name: 'far', description: null }]);
    expect(up.got[0]?.headers['authorization']).toBe('Bearer t');
  });

  test('says of a server behind HTTP that nothing listens there', async () => {
    await open();
    await expect(check({ url: 'http://127.0.0.1:1/mcp' })).rejects.toMatchObject({
      code: 'failed',
      message: expect.stringMatching(/nothing listens there/) as string,
    });
  });
});
