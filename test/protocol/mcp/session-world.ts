/** A session between two records of what it sent, under a gate that a test answers. */
import type { Json, JsonObject } from '../../../protocol/encoding/jcs.ts';
import { MeshError } from '../../../protocol/errors.ts';
import {
  type ClientRoute,
  createSession,
  type KnownTools,
  type Session,
  type SessionOptions,
} from '../../../protocol/mcp/index.ts';
import { OPEN_OUTPUT } from '../../../protocol/policy/index.ts';
import type {
  DecideOptions,
  GateRequest,
  Outcome,
  PendingApproval,
  ToolDefinition,
  ToolState,
  Verdict,
} from '../../../protocol/policy/index.ts';

export const APPROVAL: PendingApproval = {
  id: '0123456789abcdef',
  approvers: ['security'],
  quorum: 1,
  expiresAt: '2026-11-22T12:00:00Z',
};

export const verdictOf = (fields: Partial<Verdict> = {}): Verdict => ({
  id: null,
  effect: 'allow',
  rule: 'some-rule',
  policy: { name: 'test', digest: 'ab'.repeat(32) },
  matched: [],
  output: OPEN_OUTPUT,
  reason: 'Because the test says so',
  index: null,
  ...fields,
});
export const denied = verdictOf({ effect: 'deny', code: 'policy_denied' });

type Answer = Verdict | Promise<Verdict>;

/** What was asked of the gate, and what it says. */
export class TestGate {
  readonly asked: GateRequest[] = [];
  readonly settled: [rule: string | null, code: Outcome['code']][] = [];
  readonly outcomes: Outcome[] = [];
  readonly checked: { names: string[]; isComplete: boolean }[] = [];
  decideBy: (request: GateRequest, options: DecideOptions) => Answer = () => verdictOf();
  shows: (request: GateRequest) => boolean = () => true;
  statesOf: (tools: readonly ToolDefinition[]) => readonly ToolState[] = (tools) =>
    tools.map(({ name }) => ({ name: textOf(name), state: 'pinned', action: 'ignore' }));
  readonly description = { mode: 'local', agent: 'tester', organisation: null, policies: [], missing: [] } as const;

  async decide(request: GateRequest, options: DecideOptions = {}): Promise<Verdict> {
    this.asked.push(request);
    return this.decideBy(request, options);
  }
  async filter(requests: readonly GateRequest[]): Promise<readonly boolean[]> {
    return requests.map((request) => this.shows(request));
  }
  settle(verdict: Verdict, outcome: Outcome): void {
    this.settled.push([verdict.rule, outcome.code]);
    this.outcomes.push(outcome);
  }
  async checkTools(
    _server: string,
    tools: readonly ToolDefinition[],
    { isComplete }: { readonly isComplete: boolean },
  ): Promise<readonly ToolState[]> {
    this.checked.push({ names: tools.map(({ name }) => textOf(name)), isComplete });
    return this.statesOf(tools);
  }
}

/** A decision that comes when the test says so, or never where nobody wants it any more. */
export function later(): {
  decide: (request: GateRequest, options: DecideOptions) => Promise<Verdict>;
  give: (verdict: Verdict) => void;
} {
  const given = Promise.withResolvers<Verdict>();
  return {
    decide: (_, { signal }) => {
      signal?.addEventListener('abort', () => given.reject(new MeshError('cancelled', 'Cannot decide: cancelled')));
      return given.promise;
    },
    give: given.resolve,
  };
}

export class World {
  readonly gate = new TestGate();
  readonly client: JsonObject[] = [];
  readonly server: JsonObject[] = [];
  readonly clientTexts: string[] = [];
  readonly serverTexts: string[] = [];
  readonly routes: ClientRoute<string>[] = [];
  readonly reports: string[] = [];
  readonly dropped: string[] = [];
  readonly timers = new Set<() => void>();
  readonly session: Session<string>;
  /** Tools that the server lists by itself when it is asked; undefined: the test answers. */
  tools: readonly Json[] | undefined = [];

  constructor(options: Partial<SessionOptions> = {}, tools?: KnownTools) {
    this.session = createSession<string>(
      {
        gate: this.gate,
        toClient: ({ bytes }, route) => {
          const text = Buffer.from(bytes).toString();
          this.clientTexts.push(text);
          this.client.push(JSON.parse(text) as JsonObject);
          this.routes.push(route);
        },
        toServer: ({ bytes }) => this.#toServer(Buffer.from(bytes).toString()),
        paths: { canonicalPaths: (texts) => texts.filter((text) => text.startsWith('/')) },
        after: (_, run) => {
          this.timers.add(run);
          return () => this.timers.delete(run);
        },
        report: (level, text) => this.reports.push(`${level}: ${text}`),
        onDropped: (origin) => this.dropped.push(origin),
        ...(tools !== undefined && { tools }),
      },
      { server: 'files', approvalWaitMs: 1_000, ...options },
    );
  }

  #toServer(text: string): void {
    const message = JSON.parse(text) as JsonObject;
    const { id, method } = message;
    if (typeof id === 'string' && id.startsWith('agentmesh/') && method === 'tools/list' && this.tools !== undefined) {
      const result = { tools: this.tools };
      this.fromServer({ id, result });
      return;
    }
    this.serverTexts.push(text);
    this.server.push(message);
  }

  fromClient(message: JsonObject | string, origin?: string): void {
    this.session.fromClient(bytesOf(message), origin);
  }
  fromServer(message: JsonObject | string, relatedTo?: string | number): void {
    this.session.fromServer(bytesOf(message), relatedTo);
  }

  /** One that the server answers. */
  call(id: number | string, name = 'read_file', args: JsonObject = {}, meta?: JsonObject): void {
    this.fromClient(
      { id, method: 'tools/call', params: { name, arguments: args, ...(meta && { _meta: meta }) } },
      `call ${id}`,
    );
  }
}

function bytesOf(message: JsonObject | string): Uint8Array {
  return Buffer.from(typeof message === 'string' ? message : JSON.stringify({ jsonrpc: '2.0', ...message }));
}

/** Until nothing more happens by itself. */
export const quiet = (): Promise<void> => new Promise((settle) => setImmediate(() => setImmediate(settle)));

export const INITIALIZE = (capabilities: JsonObject = {}): JsonObject => ({
  id: 0,
  method: 'initialize',
  params: { protocolVersion: '2025-11-25', capabilities, clientInfo: { name: 'test', version: '1' } },
});
export const STATELESS = (capabilities: JsonObject = {}): JsonObject => ({
  'io.modelcontextprotocol/protocolVersion': '2026-07-28',
  'io.modelcontextprotocol/clientInfo': { name: 'test', version: '1' },
  'io.modelcontextprotocol/clientCapabilities': capabilities,
});
export const textResult = (text: string): JsonObject => ({ content: [{ type: 'text', text }] });

/** What is known to be a text. */
export function textOf(value: unknown): string {
  if (typeof value !== 'string') throw new TypeError(`not a text: ${JSON.stringify(value)}`);
  return value;
}
