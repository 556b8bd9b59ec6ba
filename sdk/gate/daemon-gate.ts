import { API_VERSION } from '../../protocol/control/api-version.ts';
import { isMeshError, MeshError } from '../../protocol/errors.ts';
import * as limits from '../../protocol/limits.ts';
import type {
  DecideOptions,
  Gate,
  GateDescription,
  GateRequest,
  Outcome,
  PolicyRef,
  PolicySource,
  ToolDefinition,
  ToolState,
  Verdict,
} from '../../protocol/policy/index.ts';
import { decideHeld } from '../../protocol/policy/hold.ts'; // not the door, which loads the engine
import { parseAnswer, readText, send } from '../http.ts';
import type { Place } from '../place.ts';
import { bringPolicies } from './bring-policies.ts';

const { Agent } = process.getBuiltinModule('node:http'); // as in http.ts

export interface DaemonGateOptions {
  readonly place: Place;
  /** An agent's, or where it comes from; without one the caller is the operator. */
  readonly token?: string | (() => Promise<string | undefined>) | undefined;
  /** For whom the operator asks; default: the organisation. */
  readonly as?: string | undefined;
  /** They narrow what the daemon's own policies allow. Default: none. */
  readonly policies?: readonly PolicySource[] | undefined;
  readonly signal?: AbortSignal | undefined;
}

const TELL_MS = 20; // outcomes are gathered: nobody waits for them, and the next decision should not wait behind each
const SETTLE_MS = 2_000; // for outcomes under way when the gate closes

/**
 * Decisions by the daemon: in its log, under its approvals and limits. Loads no schema compiler, since it runs beside
 * each MCP server. Errors: not_running, permissions, version, unauthorized, policy_invalid.
 */
export async function openDaemonGate(options: DaemonGateOptions): Promise<Gate> {
  const gate = new DaemonGate(options);
  try {
    await gate.open();
  } catch (error) {
    await gate.close();
    throw error;
  }
  return gate;
}

class DaemonGate implements Gate {
  readonly #options: DaemonGateOptions;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: limits.GATE_CONNECTIONS_MAX });
  readonly #outcomes: { readonly id: string; readonly code: string; readonly labels?: readonly string[] }[] = [];
  #timer: NodeJS.Timeout | undefined;
  /** Outcomes that the daemon has not taken yet. */
  readonly #settling = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  #description: GateDescription = { mode: 'daemon', agent: '', organisation: null, policies: [], missing: [] };

  constructor(options: DaemonGateOptions) {
    this.#options = options;
  }

  get description(): GateDescription {
    return this.#description;
  }

  async open(): Promise<void> {
    const { as, signal } = this.#options;
    const version = await this.#get<{ version: string; api: number }>('/v1/version', signal);
    if (version.api !== API_VERSION) {
      const message = `Cannot talk to daemon ${version.version}: it speaks API version ${version.api}, want ${API_VERSION}`;
      throw new MeshError('version', message, { is: version.api, want: API_VERSION });
    }
    const caller = await this.#get<{ did: string | null }>('/v1/caller', signal);
    const { roots } = await this.#get<{ roots: readonly { did: string; own: boolean }[] }>('/v1/roots', signal);
    const organisation = roots.find(({ own }) => own)?.did ?? null;
    const agent = caller.did ?? as ?? organisation ?? '';
    this.#description = { mode: 'daemon', agent, organisation, policies: await this.#load(signal), missing: [] };
  }

  decide(request: GateRequest, options: DecideOptions = {}): Promise<Verdict> {
    return decideHeld(
      {
        decide: () => this.#decide(request, options.signal),
        wait: (approval, waitMs) => this.#wait(approval, Math.ceil(waitMs / 1000), options.signal),
        nowMs: () => performance.now(),
      },
      options,
    );
  }

  async filter(
    requests: readonly GateRequest[],
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<readonly boolean[]> {
    if (requests.length === 0) return [];
    const answer = await this.#asking<{ allowed: unknown } | null>('/v1/decisions/filter', { requests }, signal);
    const allowed = answer?.allowed;
    if (!Array.isArray(allowed) || allowed.length !== requests.length) throw unreadable('decisionFilter');
    return allowed.map((one) => one === true);
  }

  settle({ id, effect }: Verdict, { code, labels }: Outcome): void {
    if (id === null || effect !== 'allow' || this.#stop.signal.aborted) return;
    this.#outcomes.push({ id, code, ...(labels && labels.length > 0 && { labels }) });
    if (this.#outcomes.length >= limits.OUTCOMES_MAX) this.#tell();
    else this.#timer ??= setTimeout(() => this.#tell(), TELL_MS).unref();
  }

  async checkTools(
    server: string,
    tools: readonly ToolDefinition[],
    { isComplete, origin }: { readonly isComplete: boolean; readonly origin?: string | undefined },
  ): Promise<readonly ToolState[]> {
    const body = { server, complete: isComplete, tools, ...(origin !== undefined && { origin }) };
    const answer = await this.#asking<{ tools: unknown } | null>('/v1/tools/check', body, undefined);
    const states = answer?.tools;
    if (!Array.isArray(states) || !states.every(isToolState)) throw unreadable('toolCheck');
    const named = new Set(states.map(({ name }) => name));
    if (!tools.every(({ name }) => named.has(name as string))) throw unreadable('toolCheck');
    return states;
  }

  async close(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    this.#tell();
    await Promise.race([Promise.all(this.#settling), new Promise((over) => setTimeout(over, SETTLE_MS).unref())]);
    this.#stop.abort(new MeshError('closed', 'Cannot go on: the gate is closed'));
    this.#agent.destroy();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** An outcome that is lost leaves an intent without an end, which is what the log then says. */
  #tell(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const outcomes = this.#outcomes.splice(0);
    if (outcomes.length === 0) return;
    const told = this.#post('/v1/decisions/outcomes', { ...this.#as, outcomes }, undefined)
      .then(() => {})
      .catch(() => {}) // as said above
      .finally(() => this.#settling.delete(told));
    this.#settling.add(told);
  }

  get #as(): { as?: string } {
    return this.#options.as === undefined ? {} : { as: this.#options.as };
  }

  async #decide(request: GateRequest, signal: AbortSignal | undefined): Promise<Verdict> {
    const verdict = await this.#asking<unknown>('/v1/decisions', { request }, signal);
    if (!isVerdict(verdict)) throw unreadable('decide');
    return verdict;
  }

  async #wait(approval: string, seconds: number, signal: AbortSignal | undefined): Promise<string> {
    const path = `/v1/approvals/${approval}?wait=${seconds}`;
    const answer = await this.#get<{ approval?: { state?: unknown } } | null>(path, signal);
    const state = answer?.approval?.state;
    if (typeof state !== 'string') throw unreadable('approvalShow');
    return state;
  }

  /** With the policies that were brought; a daemon that no longer holds them is given them again. */
  async #asking<T>(path: string, body: object, signal: AbortSignal | undefined): Promise<T> {
    const ask = (): Promise<T> =>
      this.#post(
        path,
        { ...this.#as, policies: this.#description.policies.map(({ digest }) => digest), ...body },
        signal,
      );
    try {
      return await ask();
    } catch (error) {
      const isForgotten = isMeshError(error) && error.code === 'not_found' && error.data.field === 'policies';
      if (!isForgotten) throw error;
      // Not always of the digests that they had: a daemon of another version brings other built-in policies.
      this.#description = { ...this.#description, policies: await this.#load(signal) };
      return ask();
    }
  }

  #load(signal: AbortSignal | undefined): Promise<readonly PolicyRef[]> {
    const { policies = [] } = this.#options;
    return bringPolicies((path, body) => this.#post(path, { ...this.#as, ...body }, signal), policies);
  }

  #get<T>(path: string, signal: AbortSignal | undefined): Promise<T> {
    return this.#call<T>('GET', path, undefined, signal);
  }

  #post<T>(path: string, body: object, signal: AbortSignal | undefined): Promise<T> {
    return this.#call<T>('POST', path, body, signal);
  }

  async #call<T>(method: string, path: string, body: object | undefined, signal: AbortSignal | undefined): Promise<T> {
    const { place, token: given } = this.#options;
    const token = typeof given === 'function' ? await given() : given;
    return this.#untilStopped(signal, async (stop) => {
      const asked = {
        method,
        path,
        token,
        signal: stop,
        agent: this.#agent,
        idleMs: limits.API_CALL_MS,
        ...(body !== undefined && { body }),
      };
      return parseAnswer(await readText(await send(place, asked), stop)) as T;
    });
  }

  /** By hand: `AbortSignal.any` leaves work for the garbage collector with each call. */
  async #untilStopped<T>(signal: AbortSignal | undefined, call: (stop: AbortSignal) => Promise<T>): Promise<T> {
    const stop = this.#stop.signal;
    if (signal === undefined) return call(stop);
    const either = new AbortController();
    const abort = ({ target }: Event): void => either.abort((target as AbortSignal).reason);
    const both = [signal, stop];
    for (const each of both) {
      if (each.aborted) either.abort(each.reason);
      each.addEventListener('abort', abort);
    }
    try {
      return await call(either.signal);
    } finally {
      for (const each of both) each.removeEventListener('abort', abort);
    }
  }
}

/** What decides access is looked at, and what is written of it; the rest is for people. */
function isVerdict(value: unknown): value is Verdict {
  if (!isRecord(value)) return false;
  const { id, effect, output, policy, rule, reason, approval } = value;
  if (!isOneOf(effect, ['allow', 'deny', 'require_approval']) || typeof reason !== 'string') return false;
  if (effect === 'allow' ? typeof id !== 'string' : id !== null && typeof id !== 'string') return false;
  if (approval !== undefined && (!isRecord(approval) || !/^[0-9a-f]{16}$/.test(String(approval['id'])))) return false;
  if (!isRecord(policy) || typeof policy['name'] !== 'string' || (rule !== null && typeof rule !== 'string'))
    return false;
  if (!isRecord(output) || typeof output['bytesMax'] !== 'number') return false;
  const said = OUTPUT_KINDS.map((kind) => output[kind]);
  return said.every((action) => isOneOf(action, ['allow', 'mark', 'redact', 'refuse']));
}

const OUTPUT_KINDS = ['secrets', 'pii', 'phi', 'cards', 'instructions', 'invisible'] as const;

function isToolState(value: unknown): value is ToolState {
  if (!isRecord(value)) return false;
  const { name, state, action } = value;
  const isKnown =
    isOneOf(state, ['pinned', 'changed', 'new']) && isOneOf(action, ['ignore', 'warn', 'approve', 'deny']);
  return typeof name === 'string' && isKnown;
}

const isOneOf = (value: unknown, words: readonly string[]): boolean =>
  typeof value === 'string' && words.includes(value);

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const unreadable = (operationId: string): MeshError =>
  new MeshError('internal', `Cannot read the daemon's answer to "${operationId}": it has not the form of one`);
