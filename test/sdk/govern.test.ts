import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { AgentIdentity, AgentMesh, govern, type GovernOptions } from '../../sdk/index.ts';
import { startServer, type Started, until } from '../daemon/control/start.ts';

const POLICY = `version: "1.0"
name: own
default: deny
rules:
  - { name: reads, condition: "tool.name == 'read_file'", action: allow }
  - { name: exports, condition: "action.type == 'export'", action: allow }
  - { name: no-pii-export, condition: "action.type == 'export' && data.contains_pii", action: deny }
  - { name: deletes, condition: "tool.name == 'delete_file'", action: require_approval }
output: { secrets: refuse, pii: redact }
`;
const EMAIL = 'ann@example.com';
const SECRET = 'AKIAIOSFODNN7EXAMPLA';

let started: Started;
let mesh: AgentMesh;
let clerk: AgentIdentity;
let directory: string;
let policy: string;
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'agentmesh-govern-'));
  policy = join(directory, 'own.yaml');
  await writeFile(policy, POLICY);
  started = await startServer();
  mesh = await AgentMesh.connect({ socket: started.socketPath, token: null });
  clerk = await AgentIdentity.create({ name: 'clerk', sponsor: EMAIL, capabilities: ['read:data'], mesh });
});
afterEach(async () => {
  vi.unstubAllEnvs();
  await started[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});
const options = (more: GovernOptions = {}): GovernOptions => ({ agent: clerk, policy, ...more });
/** A tool that remembers what it was called with. */
function tool<R>(result: (args: { path?: string }) => R) {
  const calls: unknown[] = [];
  const read_file = (args: { path?: string }): R => {
    calls.push(structuredClone(args));
    return result(args);
  };
  return { calls, read_file };
}
const entries = async (type: string): Promise<Record<string, unknown>[]> => {
  const found: Record<string, unknown>[] = [];
  for await (const { entry } of mesh.log.entries({ types: [`agentmesh.${type}`] })) found.push(entry.data as never);
  return found;
};

describe('govern()', () => {
  test('runs what is allowed, as the agent, and logs it with how it ended', async () => {
    const { calls, read_file } = tool(({ path }) => `text of ${path}`);
    await using read = govern(read_file, options());
    expect(await read({ path: '/a' })).toBe('text of /a');
    expect(calls).toEqual([{ path: '/a' }]);
    await read[Symbol.asyncDispose]();
    const [allowed] = await entries('action.allowed');
    expect(allowed).toMatchObject({ actor: clerk.did, action: 'tool_call', tool: 'read_file', server: 'sdk' });
    await until(() => started.fake.calls.some(({ operationId }) => operationId === 'decisionSettle'));
    expect(await entries('intent.settled')).toMatchObject([{ actor: clerk.did, result: { code: 'ok' } }]);
  });

  test('does not run what is denied; the model reads why, and what decided', async () => {
    const { calls, read_file } = tool(() => 'done');
    await using write = govern(read_file, options({ name: 'write_file' }));
    const denied = await write({ path: '/a' });
    expect(denied).toMatchObject({
      isError: true,
      content: [{ type: 'text', text: expect.stringContaining('policy "own"') as string }],
      _meta: { 'agentmesh/decision': { code: 'policy_denied', rule: null, policy: 'own' } },
    });
    expect(JSON.stringify(denied)).not.toContain('action.type =='); // never the condition
    await using throwing = govern(read_file, options({ name: 'write_file', denial: 'throw' }));
    await expect(throwing({})).rejects.toMatchObject({ code: 'policy_denied', data: { policy: 'own' } });
    expect(calls).toEqual([]);
  });

  test('knows a tool by the name of the function or object, or as it is told, and what kind of thing it is', async () => {
    const { read_file } = tool(() => 'done');
    const object = { name: 'read_file', description: 'reads', execute: read_file };
    const governed = govern(object, options());
    expect(governed).toMatchObject({ name: 'read_file', description: 'reads' });
    expect(await governed.execute({})).toBe('done');
    await governed.execute[Symbol.asyncDispose]();
    await using exporting = govern(
      (_args: { to: string }) => 'sent',
      options({ name: 'send', action: 'export', server: 'mail' }),
    );
    expect(await exporting({ to: 'nobody' })).toBe('sent');
    expect(await exporting({ to: EMAIL })).toMatchObject({ isError: true });
    expect((await entries('action.allowed'))[0]).toMatchObject({ action: 'export', tool: 'send', server: 'mail' });
    expect(() => govern(() => 'x', options())).toThrow(expect.objectContaining({ code: 'bad_request' }) as Error);
    const self = {
      name: 'read_file',
      text: 'mine',
      async execute(this: { text: string }, _args: object) {
        return this.text;
      },
    };
    const own = govern(self, options());
    expect(await own.execute({})).toBe('mine');
    await own.execute[Symbol.asyncDispose]();
  });

  test('judges what the tool is given: a copy, of JSON', async () => {
    const { calls, read_file } = tool(() => 'done');
    await using read = govern(read_file, options());
    const args = { path: '/a', deep: { to: 'x' }, none: undefined };
    const reading = read(args);
    args.path = '/etc/shadow';
    args.deep.to = 'y';
    expect(await reading).toBe('done');
    expect(calls).toEqual([{ path: '/a', deep: { to: 'x' } }]);
    let times = 0;
    const shifting = {
      get path(): string {
        return times++ === 0 ? '/a' : '/etc/shadow';
      },
    };
    await read(shifting);
    expect(calls.at(-1)).toEqual({ path: '/a' });
    const around: Record<string, unknown> = {};
    around['self'] = around;
    for (const odd of [
      { at: new Date(0) },
      { f: () => 1 },
      { n: Number.NaN },
      { n: 1n },
      { m: new Map() },
      { toJSON: () => ({ path: '/a' }), path: '/etc/shadow' },
      around,
      ['/a'],
      new (class {
        path = Symbol('x');
      })(),
    ])
      await expect(read(odd as object), Object.keys(odd).join()).rejects.toMatchObject({ code: 'bad_request' });
    expect(calls).toHaveLength(2);
    expect(await entries('action.allowed')).toHaveLength(2);
  });

  test('takes out of a result what the policy says, whatever the result is', async () => {
    class Row {
      readonly mail = EMAIL;
    }
    const around: Record<string, unknown> = { mail: EMAIL };
    around['self'] = around;
    const results: readonly unknown[] = [
      `mail ${EMAIL}`,
      { rows: [{ mail: EMAIL }] },
      { rows: [EMAIL], next: undefined },
      { at: new Date(0), mail: EMAIL },
      [new Row()],
      { count: 1n, mail: EMAIL },
      around,
    ];
    for (const result of results) {
      await using read = govern(tool(() => result).read_file, options());
      const shown = JSON.stringify(await read({}));
      expect(shown).not.toContain(EMAIL);
      expect(shown).toContain('[redacted: pii.email]');
    }
  });

  test('refuses a result that holds what it must not, or that cannot be looked at, and logs it so', async () => {
    const deep: { inner?: object } = {};
    for (let i = 0, at = deep; i < 20_000; i++) at = at.inner = {};
    const thrower = {
      get text(): string {
        throw new Error('no');
      },
    };
    for (const result of [SECRET, { at: new Date(0), key: SECRET }, deep, thrower]) {
      await using read = govern(tool(() => result as unknown).read_file, options());
      const shown = await read({});
      expect(shown).toMatchObject({ isError: true, _meta: { 'agentmesh/decision': { code: 'policy_denied' } } });
      expect(JSON.stringify(shown)).not.toContain(SECRET);
    }
    await using throwing = govern(tool(() => SECRET).read_file, options({ denial: 'throw' }));
    await expect(throwing({})).rejects.toMatchObject({ code: 'policy_denied' });
    await until(() => started.fake.calls.filter(({ operationId }) => operationId === 'decisionSettle').length >= 4);
    expect((await entries('intent.settled')).map(({ result }) => (result as { code: string }).code)).not.toContain(
      'ok',
    );
  });

  test('hands on as it is what needs no change, and what has no JSON', async () => {
    const rows = { at: new Date(0), list: [1, undefined], text: 'plain' };
    const handle = () => 'a function';
    for (const result of [rows, undefined, null, 7, handle, new Map([['a', 1]]), new Uint8Array(3)]) {
      await using read = govern(tool(() => result as unknown).read_file, options());
      expect(await read({})).toBe(result);
    }
  });

  test('hands on what the tool throws, and logs that it failed', async () => {
    const fault = new TypeError('of the tool');
    await using read = govern(
      tool((): string => {
        throw fault;
      }).read_file,
      options(),
    );
    await expect(read({})).rejects.toBe(fault);
    await read[Symbol.asyncDispose]();
    await until(() => started.fake.calls.some(({ operationId }) => operationId === 'decisionSettle'));
    expect(await entries('intent.settled')).toMatchObject([{ result: { code: 'failed' } }]);
  });

  test('says which approval it waits for, and runs once it is given', async () => {
    const { calls, read_file } = tool(() => 'gone');
    await using remove = govern(read_file, options({ name: 'delete_file' }));
    const denied = await remove({ path: '/a' });
    const [waiting] = await mesh.approvals.list();
    const id = waiting?.id ?? 'none';
    expect(denied).toMatchObject({ _meta: { 'agentmesh/decision': { code: 'approval_pending', id } } });
    expect(JSON.stringify(denied)).toContain(`approve ${id}`);
    const [sponsor] = await mesh.sponsors.list();
    const judge = (of: string, decision: 'approve' | 'deny') =>
      mesh.approvals.decide(of, { decision, approver: sponsor?.did ?? '', reason: 'looked' });
    await judge(id, 'approve');
    expect(await remove({ path: '/b' })).toMatchObject({ isError: true });
    expect(await remove({ path: '/a' })).toBe('gone');
    await using holding = govern(read_file, options({ name: 'delete_file', approvalWaitMs: 20_000 }));
    const held = holding({ path: '/c' });
    await until(() => started.fake.calls.some(({ operationId }) => operationId === 'approvalShow'));
    const pending = (await mesh.approvals.list()).find(({ request }) => JSON.stringify(request).includes('/c'));
    await judge(pending?.id ?? '', 'deny');
    const refused = JSON.stringify(await held);
    expect(refused).toContain('approval_denied');
    expect(refused).not.toContain(`approve ${pending?.id}`);
    expect(calls).toEqual([{ path: '/a' }]);
  });

  test('is by name or DID of an agent, or by its token, and never for an agent that is not there', async () => {
    const { calls, read_file } = tool(() => 'done');
    const as = async (agent: string | undefined, of = mesh): Promise<unknown> => {
      await using read = govern(read_file, { policy, agent, mesh: of });
      return await read({});
    };
    expect(await as('clerk')).toBe('done');
    expect(await as(clerk.did)).toBe('done');
    const { token } = await mesh.agents.token(clerk.did);
    const own = await AgentMesh.connect({ socket: started.socketPath, token });
    expect(await as(undefined, own)).toBe('done');
    expect((await entries('action.allowed')).map(({ actor }) => actor)).toEqual(Array(3).fill(clerk.did));
    await expect(as('nobody')).rejects.toMatchObject({ code: 'not_found' });
    const other = await AgentIdentity.create({ name: 'other', sponsor: EMAIL, capabilities: ['read:data'], mesh });
    await expect(as(other.did, own)).rejects.toMatchObject({ code: 'forbidden' });
    expect(calls).toHaveLength(3);
  });

  test('a daemon that is not there is an error, and the next call tries again', async () => {
    const { calls, read_file } = tool(() => 'done');
    await using read = govern(read_file, options());
    const { socketPath, fake } = started;
    await started.server.close();
    await expect(read({})).rejects.toMatchObject({ code: 'not_running' });
    expect(calls).toEqual([]);
    const again = await startServer({ fake, socketPath });
    try {
      expect(await read({})).toBe('done');
      await again.server.close();
      await expect(read({})).rejects.toMatchObject({ code: expect.stringMatching(/^(not_running|closed)$/) as string });
      expect(calls).toHaveLength(1);
    } finally {
      await again[Symbol.asyncDispose]();
    }
  });
});

describe('govern() without a daemon', () => {
  test('decides in this process where that is asked for, and only there', async () => {
    await started.server.close();
    vi.stubEnv('AGENTMESH_SOCKET', join(directory, 'none.sock'));
    const { calls, read_file } = tool(() => `mail ${EMAIL}`);
    const logFile = join(directory, 'log');
    await using read = govern(read_file, { agent: 'clerk', policy, local: { logFile } });
    expect(await read({})).toBe('mail [redacted: pii.email]');
    await using remove = govern(read_file, { agent: 'clerk', policy, local: { logFile }, name: 'delete_file' });
    expect(await remove({})).toMatchObject({ _meta: { 'agentmesh/decision': { code: 'policy_denied' } } });
    expect((await readFile(logFile, 'utf8')).trimEnd().split('\n').length).toBeGreaterThanOrEqual(2);
    await using daemon = govern(read_file, { agent: 'clerk', policy });
    await expect(daemon({})).rejects.toMatchObject({ code: 'not_running' });
    await using broken = govern(read_file, { agent: 'clerk', policy, local: { logFile: '/dev/full' } });
    await expect(broken({})).rejects.toMatchObject({ code: 'read_only' });
    expect(calls).toHaveLength(1);
  });

  test('wants a policy and a name', async () => {
    const { calls, read_file } = tool(() => 'done');
    for (const more of [{ policy }, { agent: 'clerk' }, { policy, agent: clerk }]) {
      await using read = govern(read_file, { ...more, local: {} });
      await expect(read({})).rejects.toMatchObject({ code: 'bad_request' });
    }
    await using read = govern(read_file, { agent: 'clerk', policy: join(directory, 'none.yaml'), local: {} });
    await expect(read({})).rejects.toMatchObject({ code: 'policy_invalid' });
    expect(calls).toEqual([]);
  });
});
