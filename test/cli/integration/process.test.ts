/** What a client does with the line that it finds in its configuration, with a server as it comes from npm. */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';

const ROOT = join(import.meta.dirname, '../../..');
const SERVER = join(ROOT, 'node_modules/@modelcontextprotocol/server-filesystem/dist/index.js');
const STEP_MS = 30_000;

let home: string;
beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), 'agentmesh-integration-'));
});
afterAll(() => rm(home, { recursive: true, force: true }));

/** What the program says, until it ends by itself when its input does. */
function runProgram([program = '', ...args]: readonly string[], input: readonly object[] = []): Promise<string> {
  const env = { PATH: '/usr/bin:/bin', HOME: home }; // a program with windows has no more
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'ignore'], env, cwd: home });
  const said: Buffer[] = [];
  const answers = input.filter((message) => 'id' in message).length;
  child.stdout.on('data', (chunk: Buffer) => {
    said.push(chunk);
    const ids =
      Buffer.concat(said)
        .toString('utf8')
        .match(/"id":\d+/g) ?? [];
    if (ids.length >= answers) child.stdin.end();
  });
  for (const message of input) child.stdin.write(`${JSON.stringify(message)}\n`);
  if (answers === 0) child.stdin.end();
  return new Promise((settle, fail) => {
    child.once('error', fail);
    child.once('close', () => settle(Buffer.concat(said).toString('utf8')));
  });
}

test(
  'the line in the file starts the server behind the proxy, which keeps a tool that writes from it',
  async () => {
    const file = join(home, '.config', 'Claude', 'claude_desktop_config.json');
    await mkdir(dirname(file), { recursive: true });
    const files = { command: process.execPath, args: [SERVER, home] };
    await writeFile(file, JSON.stringify({ mcpServers: { files } }));
    await runProgram([process.execPath, join(ROOT, 'cli/bin.js'), 'init-integration', '--claude']);
    const wrapped = (JSON.parse(await readFile(file, 'utf8')) as { mcpServers: { files: typeof files } }).mcpServers
      .files;
    expect(wrapped).not.toEqual(files);
    const call = (id: number, name: string, args: object): object => ({
      jsonrpc: '2.0',
      id,
      method: 'tools/call',
      params: { name, arguments: args },
    });
    const clientInfo = { name: 'client', version: '1.0.0' };
    const said = await runProgram(
      [wrapped.command, ...wrapped.args],
      [
        {
          jsonrpc: '2.0',
          id: 1,
          method: 'initialize',
          params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo },
        },
        { jsonrpc: '2.0', method: 'notifications/initialized' },
        call(2, 'list_directory', { path: home }),
        call(3, 'write_file', { path: join(home, 'made'), content: 'x' }),
      ],
    );
    const answers = said
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { id?: number; result?: { isError?: boolean; content?: { text: string }[] } });
    const answer = (id: number) => answers.find((each) => each.id === id)?.result;
    expect(answer(2)?.isError).not.toBe(true);
    expect(answer(2)?.content?.[0]?.text).toContain('.config');
    expect(answer(3)).toMatchObject({ isError: true });
    await expect(readFile(join(home, 'made'))).rejects.toThrow('ENOENT');
  },
  STEP_MS,
);
