/** What a server elsewhere would say over a link: a few tools, by the book of MCP 2025-11-25. */
import type { FakeLink } from './fake-links.ts';

interface Request {
  readonly id?: number;
  readonly method?: string;
  readonly params?: {
    readonly name?: string;
    readonly arguments?: Readonly<Record<string, unknown>>;
    readonly cursor?: string;
    readonly _meta?: { readonly progressToken?: number; readonly 'agentmesh/idempotency-key'?: string };
  };
}

const denied = (code: string, text: string, facts: object = {}): object => ({
  content: [{ type: 'text', text }],
  isError: true,
  _meta: { 'agentmesh/decision': { effect: 'deny', code, ...facts } },
});

/** Answers a message of the client; `tools/call` by the tool's name. */
export function serveFake(line: string, link: FakeLink): void {
  const { id, method, params = {} } = JSON.parse(line) as Request;
  if (id === undefined || method === undefined) return;
  const answer = (result: object): void => link.say({ jsonrpc: '2.0', id, result });
  const fail = (code: number, message: string, data?: object): void =>
    link.say({ jsonrpc: '2.0', id, error: { code, message, ...(data && { data }) } });
  const receipt = (out: string): void =>
    link.events.control({ type: 'receipt', request: id, id: RECEIPT, sid: link.info.sid, n: 1, out, half: false });
  if (method === 'initialize')
    return answer({
      protocolVersion: '2025-11-25',
      capabilities: { tools: {} },
      serverInfo: { name: 'fake', version: '1' },
    });
  if (method === 'tools/list')
    return answer(
      params.cursor === undefined ? { tools: [{ name: 'a' }], nextCursor: '2' } : { tools: [{ name: 'b' }] },
    );
  if (method === 'resources/read')
    return fail(-32001, 'AgentMesh did not let this through', { effect: 'deny', code: 'policy_denied' });
  if (method !== 'tools/call') return fail(-32601, 'Method not found');
  const { progressToken, 'agentmesh/idempotency-key': key } = params._meta ?? {};
  switch (params.name ?? '') {
    case 'echo':
      receipt('ok');
      return answer({
        content: [{ type: 'text', text: String(params.arguments?.['text']) }],
        structuredContent: { key },
      });
    case 'late_receipt':
      answer({ content: [] });
      return receipt('ok');
    case 'broken':
      receipt('error');
      return answer({ content: [{ type: 'text', text: 'no such file' }], isError: true });
    case 'slow':
      link.say({
        jsonrpc: '2.0',
        method: 'notifications/progress',
        params: { progressToken, progress: 1, total: 2, message: 'half' },
      });
      return;
    case 'denied':
      return answer(denied('policy_denied', 'AgentMesh did not let this through: no', { rule: 'none', id: ENTRY }));
    case 'waiting': {
      const approval = { id: '0123456789abcdef', approvers: [], quorum: 1, expiresAt: '2026-11-23T12:00:00Z' };
      const who =
        params.arguments?.['ours'] === true ? 'agentmesh approvals approve 0123456789abcdef --reason WHY' : 'somebody';
      return answer(denied('approval_pending', `It waits for ${who}`, { approval }));
    }
    case 'unknown_outcome':
      return answer(denied('outcome_unknown', 'AgentMesh does not know whether this was done', { key }));
    case 'asks':
      link.say({ jsonrpc: '2.0', id: 'q1', method: 'elicitation/create', params: { message: 'sure?' } });
      return;
    case 'ends':
      return link.events.ended('revoked', 'Cannot go on: the chain was revoked');
    default:
      return fail(-32602, 'Unknown tool');
  }
}

export const RECEIPT = 'bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy';
export const ENTRY = '01980000-0000-7000-8000-000000000001';
