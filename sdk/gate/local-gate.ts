import { type FileHandle, open } from 'node:fs/promises';
import { labelsOfRequest } from '../../protocol/detect/index.ts';
import { MeshError } from '../../protocol/errors.ts';
import { definitionHash, diffDefinitions } from '../../protocol/mcp/index.ts';
import {
  approvalDigest,
  compilePolicies,
  contextOf,
  type Decision,
  type Gate,
  type GateDescription,
  type GateRequest,
  type LimitState,
  type LimitUse,
  isFree,
  type Outcome,
  parseSource,
  type Policy,
  type PolicyContext,
  type PolicySet,
  type PolicySource,
  take,
  type ToolDefinition,
  type ToolState,
  type Verdict,
  withholding,
} from '../../protocol/policy/index.ts';

export interface LocalGateOptions {
  /** How policies and the log call it; nothing proves that it is that one. */
  readonly agent: string;
  readonly policies: readonly PolicySource[];
  /** Decisions are appended to it, a line of JSON each, and synced before they take effect. Default: none are kept. */
  readonly logFile?: string | undefined;
}

const MISSING = [
  'no identity: the agent is who it says it is',
  'no audit log: decisions are not signed, and nobody would notice a change to them',
  'no approvals: what needs one is refused',
  'limits count from the start of this process',
  'tool definitions are compared from the start of this process',
];

/**
 * Decisions in this process, for whoever has no daemon and says so. Errors: policy_invalid (also a policy that asks
 * external decision points), permissions.
 */
export async function openLocalGate({ agent, policies, logFile }: LocalGateOptions): Promise<Gate> {
  const parsed = policies.map(parseLocal);
  const set = compilePolicies(parsed);
  const log = logFile === undefined ? undefined : await openLog(logFile);
  return new LocalGate(agent, parsed, set, log);
}

function parseLocal(source: PolicySource): Policy {
  const policy = parseSource(source);
  if (policy.external.length === 0) return policy;
  const message = `Cannot use policy "${policy.name}" without a daemon: it asks decision point "${policy.external[0]?.name}"`;
  throw new MeshError('policy_invalid', message, { field: 'external' });
}

async function openLog(file: string): Promise<FileHandle> {
  try {
    return await open(file, 'a', 0o600);
  } catch (cause) {
    throw new MeshError('permissions', `Cannot append to "${file}"`, { path: file }, { cause });
  }
}

/** A definition that was seen first. */
interface Pin {
  readonly hash: string;
  readonly definition: ToolDefinition;
}
interface Pins {
  /** All of a server's tools have been listed once. */
  isWhole: boolean;
  readonly tools: Map<string, Pin>;
}

class LocalGate implements Gate {
  readonly description: GateDescription;
  readonly #agent: PolicyContext['agent'];
  readonly #policies: PolicySet;
  readonly #log: FileHandle | undefined;
  readonly #limits = new Map<string, LimitState>();
  readonly #pins = new Map<string, Pins>();
  #isClosed = false;
  /** One line after the other. */
  #written: Promise<unknown> = Promise.resolve();

  constructor(agent: string, policies: readonly Policy[], set: PolicySet, log: FileHandle | undefined) {
    this.#agent = { did: agent, name: agent, organisation: '' };
    this.#policies = set;
    this.#log = log;
    const refs = policies.map(({ name, digest }) => ({ name, digest }));
    const missing = log === undefined ? [...MISSING, 'no record: nothing says afterwards what was done'] : MISSING;
    this.description = { mode: 'local', agent, organisation: null, policies: refs, missing };
  }

  async decide(request: GateRequest): Promise<Verdict> {
    if (this.#isClosed) throw new MeshError('closed', 'Cannot decide: the gate is closed');
    const nowMs = Date.now();
    const said = this.#policies.decide(this.#contextOf(request, nowMs), this.#free(nowMs));
    const decision = this.#withLimits(withholding(said, request.withheld), nowMs);
    // With its log only: importing node:crypto is as if half of the process were for it.
    const id = this.#log === undefined ? null : process.getBuiltinModule('node:crypto').randomUUID();
    await this.#note({ id, ...this.#factsOf(request, decision) });
    return verdictOf(decision, id);
  }

  async filter(requests: readonly GateRequest[]): Promise<readonly boolean[]> {
    const nowMs = Date.now();
    return requests.map((request) => {
      const options = { mode: 'possible', ...this.#free(nowMs) } as const;
      const { effect } = this.#policies.decide(this.#contextOf(request, nowMs, false), options);
      return effect === 'allow'; // nobody is there to approve
    });
  }

  settle({ id, effect }: Verdict, { code, labels = [] }: Outcome): void {
    if (id === null || effect !== 'allow') return;
    this.#note({ id, at: new Date().toISOString(), result: code, ...(labels.length > 0 && { labels }) }).catch(
      () => {},
    ); // the next decision meets it too
  }

  async checkTools(
    server: string,
    tools: readonly ToolDefinition[],
    { isComplete }: { readonly isComplete: boolean },
  ): Promise<readonly ToolState[]> {
    const known = this.#pins.get(server) ?? { isWhole: false, tools: new Map<string, Pin>() };
    this.#pins.set(server, known);
    const { changes } = this.#policies.pins(this.#agent);
    const seen = tools.map((definition) => ({
      name: nameOf(definition),
      hash: definitionHash(definition),
      definition,
    }));
    const { isWhole } = known;
    known.isWhole = isWhole || isComplete;
    return seen.map(({ name, hash, definition }): ToolState => {
      const before = known.tools.get(name);
      if (before === undefined && !isWhole) {
        known.tools.set(name, { hash, definition });
        return { name, state: 'pinned', action: 'ignore' };
      }
      if (before?.hash === hash) return { name, state: 'pinned', action: 'ignore' };
      const action = changes === 'approve' ? 'deny' : changes; // nobody is there to approve
      if (before === undefined) return { name, state: 'new', action };
      return { name, state: 'changed', action, diff: diffDefinitions(before.definition, definition) };
    });
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#written.catch(() => {}); // whoever waited for the line was told
    await this.#log?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #contextOf(request: GateRequest, nowMs: number, isLooked = true): PolicyContext {
    return contextOf(request, {
      agent: this.#agent,
      nowMs,
      ...(isLooked && { detected: labelsOfRequest(request) }),
    });
  }

  #free(nowMs: number): { readonly isLimitFree: (use: LimitUse) => boolean } {
    return { isLimitFree: (use) => isFree(this.#limits.get(keyOf(use)), nowMs, use) };
  }

  /** Approvals cannot be had here; limits are used up by what goes ahead. */
  #withLimits(decision: Decision, nowMs: number): Decision {
    if (decision.effect === 'require_approval') {
      const reason = `${decision.reason}; without a daemon nobody can give it`;
      return { ...decision, effect: 'deny', code: 'policy_denied', reason };
    }
    if (decision.effect === 'allow')
      for (const use of decision.limits) this.#limits.set(keyOf(use), take(this.#limits.get(keyOf(use)), nowMs, use));
    return decision;
  }

  #factsOf(request: GateRequest, { effect, code, rule, policy }: Decision): object {
    const { did } = this.#agent;
    return {
      at: new Date().toISOString(),
      agent: did,
      action: request.action,
      ...(request.tool && { tool: request.tool.name, server: request.tool.server }),
      digest: approvalDigest(did, request), // of the arguments too, which stay out of it
      effect,
      ...(code !== undefined && { code }),
      rule,
      policy,
    };
  }

  /** On disk when it resolves. Errors: read_only. */
  #note(line: object): Promise<void> {
    const log = this.#log;
    if (log === undefined) return Promise.resolve();
    const written = this.#written.then(async () => {
      try {
        await log.appendFile(`${JSON.stringify(line)}\n`);
        await log.datasync();
      } catch (cause) {
        throw new MeshError('read_only', 'Cannot allow anything: the decision cannot be written', {}, { cause });
      }
    });
    this.#written = written;
    return written;
  }
}

const keyOf = ({ policy, rule }: LimitUse): string => JSON.stringify([policy, rule]);

const nameOf = ({ name }: ToolDefinition): string => (typeof name === 'string' ? name : '');

const verdictOf = ({ effect, code, rule, policy, matched, output, reason }: Decision, id: string | null): Verdict => ({
  id,
  index: null,
  effect,
  ...(code !== undefined && { code }),
  rule,
  policy,
  matched,
  output,
  reason,
});
