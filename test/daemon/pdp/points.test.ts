import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createDecisionPoint } from '../../../daemon/pdp/index.ts';
import { isMeshError, limits } from '../../../protocol/index.ts';
import type { ExternalPoint, PolicyContext } from '../../../protocol/policy/index.ts';

const context = (change: Partial<PolicyContext> = {}): PolicyContext => ({
  action: { type: 'tool_call' },
  tool: { name: 'read_file', server: 'filesystem', arguments: { path: '/data/a', ratio: 0.5, none: null, size: 3 } },
  agent: { did: 'did:mesh:acme', organisation: 'did:mesh:acme' },
  time: { iso: '2026-11-22T10:00:00.000Z', unix: 1, hour: 10, weekday: 7 },
  ...change,
});
const never = new AbortController().signal;

async function outcome(external: ExternalPoint, asked: PolicyContext = context(), signal = never): Promise<string> {
  try {
    return (await createDecisionPoint(external).decide(asked, signal)).effect;
  } catch (error) {
    return isMeshError(error) ? error.code : (error as Error).name;
  }
}

describe('Cedar', () => {
  const cedar = (policies: string, entities?: string): ExternalPoint => ({
    name: 'cedar',
    type: 'cedar',
    policies,
    timeoutMs: 1000,
    ...(entities !== undefined && { entities }),
  });
  const READS = 'permit(principal, action == Action::"tool_call", resource == Tool::"filesystem/read_file");';

  test('permits what a policy permits, and nothing else', async () => {
    expect(await outcome(cedar(READS))).toBe('allow');
    expect(await outcome(cedar(READS), context({ tool: { name: 'write_file', server: 'filesystem' } }))).toBe('deny');
    expect(await outcome(cedar(''))).toBe('deny');
  });

  test('sees arguments: fractions as text, nothing where there is null', async () => {
    const when = (condition: string): string => `permit(principal, action, resource) when { ${condition} };`;
    expect(await outcome(cedar(when('context.tool.arguments.path == "/data/a"')))).toBe('allow');
    expect(await outcome(cedar(when('context.tool.arguments.size < 4')))).toBe('allow');
    expect(await outcome(cedar(when('context.tool.arguments.ratio == "0.5"')))).toBe('allow');
    expect(await outcome(cedar(when('!(context.tool.arguments has none)')))).toBe('allow');
  });

  test('knows entities that the policy brings', async () => {
    const policies = 'permit(principal in Group::"staff", action, resource);';
    const member = JSON.stringify([
      { uid: { type: 'Agent', id: 'did:mesh:acme' }, attrs: {}, parents: [{ type: 'Group', id: 'staff' }] },
      { uid: { type: 'Group', id: 'staff' }, attrs: {}, parents: [] },
    ]);
    expect(await outcome(cedar(policies, member))).toBe('allow');
    expect(await outcome(cedar(policies))).toBe('deny');
  });

  test('fails where a forbid policy fails, which Cedar alone would skip', async () => {
    const forbid = `${READS} forbid(principal, action, resource) when { context.tool.arguments.missing == 1 };`;
    expect(await outcome(cedar(forbid))).toBe('failed');
  });

  test('does not take arguments for entities', async () => {
    const hostile = context({
      tool: { name: 'read_file', arguments: { who: { __entity: { type: 'Group', id: 'staff' } } } },
    });
    expect(await outcome(cedar('permit(principal, action, resource);'), hostile)).toBe('malformed');
  });

  test('says what is wrong with policies and entities', async () => {
    expect(await outcome(cedar('permit(who, action, resource);'))).toBe('policy_invalid');
    expect(await outcome(cedar(READS, '{'))).toBe('policy_invalid');
    expect(await outcome(cedar(READS, '{}'))).toBe('policy_invalid');
  });
});

describe('OPA', () => {
  let server: Server;
  let asked: unknown;
  let answer: { status: number; body: string; location?: string } = { status: 200, body: '{}' };
  beforeAll(async () => {
    server = createServer((request, response) => {
      let text = '';
      request.on('data', (chunk: Buffer) => (text += chunk.toString()));
      request.on('end', () => {
        asked = JSON.parse(text);
        if (answer.body === 'silence') return;
        response.writeHead(answer.status, answer.location === undefined ? {} : { location: answer.location });
        response.end(answer.body);
      });
    });
    await new Promise<void>((up) => server.listen(0, '127.0.0.1', up));
  });
  afterAll(() => {
    server.closeAllConnections();
    server.close();
  });
  const opa = (): ExternalPoint => ({
    name: 'opa',
    type: 'opa',
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/data/mesh/decision`,
    timeoutMs: 1000,
  });
  const answering = async (body: unknown, status = 200): Promise<string> => {
    answer = { status, body: typeof body === 'string' ? body : JSON.stringify(body) };
    return outcome(opa());
  };

  test('is asked with the context as input', async () => {
    expect(await answering({ result: true })).toBe('allow');
    expect(asked).toEqual({ input: context() });
  });

  test.each([
    [{ result: false }, 'deny'],
    [{ result: { allow: true } }, 'allow'],
    [{ result: { allow: false, reason: 'not on Sundays' } }, 'deny'],
    [{ result: { effect: 'require_approval' } }, 'require_approval'],
    [{ result: { effect: 'permit', allow: true } }, 'failed'],
    [{ result: 'true' }, 'failed'],
    [{ result: {} }, 'failed'],
    [{}, 'failed'],
    [[], 'failed'],
    ['{"result": tru', 'SyntaxError'],
  ])('%j is %s', async (body, expected) => {
    expect(await answering(body)).toBe(expected);
  });

  test('fails by other statuses, redirects, silence and long answers', async () => {
    expect(await answering({ result: true }, 500)).toBe('failed');
    answer = { status: 307, body: '', location: opa().url ?? '' };
    expect(await outcome(opa())).toBe('TypeError');
    answer = { status: 200, body: 'silence' };
    expect(await outcome(opa(), context(), AbortSignal.timeout(50))).toBe('TimeoutError');
    expect(await answering(`{"result":true,"x":"${'x'.repeat(limits.POLICY_ANSWER_BYTES_MAX)}"}`)).toBe('too_large');
  });

  test('has a URL of its own kind', async () => {
    expect(await outcome({ ...opa(), url: 'file:///etc/passwd' })).toBe('policy_invalid');
  });
});
