import { homedir } from 'node:os';
import { applyOutput } from '../protocol/detect/index.ts';
import { type Json, type JsonObject, limits, MeshError } from '../protocol/index.ts';
import { denialText, META_DECISION, type Paths, pathsIn } from '../protocol/mcp/index.ts';
import type { Gate, OutputRules, Verdict } from '../protocol/policy/index.ts';
import { defaultMesh } from './default-mesh.ts';
import { openLocalGate, readPolicySource } from './gate/index.ts';
import { createPaths } from './servers/paths.ts';
import { AgentIdentity } from './identity.ts';
import type { AgentMesh } from './mesh.ts';

/** What an agent calls: a named function of one object, or an object with such a method. */
export type ToolFunction<A, R> = (args: A) => R | Promise<R>;
export interface ToolObject<A, R> {
  readonly name: string;
  readonly execute: ToolFunction<A, R>;
}

export interface GovernOptions {
  /**
   * Who calls: an identity, or the name or DID of an agent of the daemon. Default: the agent of the token in the
   * environment. Without a daemon (`local`) a name.
   */
  readonly agent?: AgentIdentity | string | undefined;
  /** "strict", "moderate", "permissive" or a file: it narrows the daemon's own policies. */
  readonly policy?: string | undefined;
  /** Name of the tool; default: of the function or object. */
  readonly name?: string | undefined;
  /** What policies call the place where it runs (`tool.server`); default "sdk". */
  readonly server?: string | undefined;
  /** What kind of thing it is (`action.type`), as "export"; default "tool_call". */
  readonly action?: string | undefined;
  /** Default: the daemon that the environment names. */
  readonly mesh?: AgentMesh | undefined;
  /** How long a call is held for an approval; default 0: it is refused with the approval's id, and asked again later. */
  readonly approvalWaitMs?: number | undefined;
  /** `content` (default): a denial is the result, for a model to read; `throw`: it is a MeshError. */
  readonly denial?: 'content' | 'throw' | undefined;
  /**
   * Decides in this process by `policy` alone, without a daemon: no identity, no audit log, no approvals. Only where it
   * is asked for; a daemon that does not answer is an error otherwise.
   */
  readonly local?: { readonly logFile?: string | undefined } | undefined;
}

/** What a denied call gives: the shape of an MCP tool result. */
export interface Denied {
  readonly isError: true;
  readonly content: readonly { readonly type: 'text'; readonly text: string }[];
  readonly _meta: JsonObject;
}

export type Governed<A, R> = ((args: A) => Promise<R | Denied>) & AsyncDisposable;

/**
 * Puts a tool under policy: each call is decided and logged before it runs, its result passes the policy's output
 * rules, and how it ended is logged. Its arguments are JSON: the tool is given a copy of them, which is what was judged. Of a
 * result that is no JSON its JSON form is looked at; what that does not show, as a stream, is handed on unseen. What
 * cannot be decided does not run.
 * Errors of a call: those of the tool; with `denial: 'throw'` policy_denied, limit_exceeded, approval_pending,
 * approval_denied; not_running and others where nothing could be decided.
 */
export function govern<A extends object, R>(tool: ToolFunction<A, R>, options?: GovernOptions): Governed<A, R>;
export function govern<A extends object, R, T extends ToolObject<A, R>>(
  tool: T,
  options?: GovernOptions,
): Omit<T, 'execute'> & { readonly execute: Governed<A, R> };
export function govern<A extends object, R>(
  tool: ToolFunction<A, R> | ToolObject<A, R>,
  options: GovernOptions = {},
): unknown {
  if (typeof tool !== 'function')
    return { ...tool, execute: governed((args: A) => tool.execute(args), { name: tool.name, ...options }) };
  return governed(tool, { name: tool.name, ...options });
}

function governed<A extends object, R>(run: ToolFunction<A, R>, options: GovernOptions): Governed<A, R> {
  const { name = '', server = 'sdk', action = 'tool_call', approvalWaitMs = 0, denial = 'content' } = options;
  if (name === '')
    throw new MeshError('bad_request', 'Cannot govern a tool without a name: want "name" in the options');
  let opening: Promise<Gate> | undefined;
  let paths: Paths | undefined;
  const gate = (): Promise<Gate> => {
    opening ??= openGate(options).catch((error: unknown) => {
      opening = undefined; // the next call tries again
      throw error;
    });
    return opening;
  };

  const call = async (args: A): Promise<R | Denied> => {
    const judged = judgedArguments(name, args);
    const at = await gate();
    paths ??= createPaths({ cwd: process.cwd(), directories: [], home: homedir(), env: process.env });
    const tool = { name, server, arguments: judged, paths: pathsIn(judged, paths) };
    const verdict = await at.decide({ action, tool }, { holdMs: approvalWaitMs });
    if (verdict.effect !== 'allow') return refuse(name, verdict, denial);
    const result = await settling(at, verdict, () => run(judged as A));
    const shown = shownOf(result, verdict.output);
    if (shown.refused !== undefined) {
      at.settle(verdict, { code: 'policy_denied', labels: shown.labels });
      const reason = `its result holds "${shown.refused}", which the policy does not let through`;
      return refuse(name, { ...verdict, code: 'policy_denied', reason }, denial);
    }
    at.settle(verdict, { code: 'ok', labels: shown.labels });
    return shown.result;
  };
  return Object.assign(call, {
    [Symbol.asyncDispose]: async (): Promise<void> => {
      await (await opening)?.close();
    },
  });
}

async function settling<R>(gate: Gate, verdict: Verdict, run: () => R | Promise<R>): Promise<R> {
  try {
    return await run();
  } catch (error) {
    gate.settle(verdict, { code: 'failed' });
    throw error;
  }
}

function refuse(name: string, verdict: Verdict, how: 'content' | 'throw'): Denied {
  const { code = 'policy_denied', rule, policy, approval, reason } = verdict;
  const data = { rule, policy: policy.name, ...(approval !== undefined && { id: approval.id }) };
  if (how === 'throw') throw new MeshError(code, `Cannot call "${name}": ${reason}`, data);
  const _meta = { [META_DECISION]: { code, ...data } };
  return { isError: true, content: [{ type: 'text', text: denialText(verdict) }], _meta };
}

async function openGate({ agent, policy, mesh, local }: GovernOptions): Promise<Gate> {
  const policies = policy === undefined ? [] : [await readPolicySource(policy)];
  if (local !== undefined) {
    if (typeof agent !== 'string' || policies.length === 0)
      throw new MeshError('bad_request', 'Cannot decide without a daemon: want "policy", and "agent" as a name');
    return openLocalGate({ agent, policies, logFile: local.logFile });
  }
  if (agent instanceof AgentIdentity) return agent.mesh.openGate({ as: agent.did, policies });
  const daemon = mesh ?? (await defaultMesh({}));
  return daemon.openGate({ policies, ...(agent !== undefined && { as: await didOf(daemon, agent) }) });
}

/** Errors: not_found. */
async function didOf(mesh: AgentMesh, agent: string): Promise<string> {
  if (agent.startsWith('did:')) return agent;
  const found = (await mesh.agents.list()).find(({ name }) => name === agent);
  if (found === undefined) throw new MeshError('not_found', `Cannot find agent "${agent}": there is none of this name`);
  return found.did;
}

/**
 * A copy, taken before anything is asked: what the tool is given is what was judged, whoever changes the original
 * meanwhile. Errors: bad_request.
 */
function judgedArguments(name: string, args: object): JsonObject {
  const copied = copyOf(args);
  if (isPlain(copied) && isJson(copied, 0)) return copied;
  throw new MeshError('bad_request', `Cannot judge the arguments of "${name}": want an object of JSON values`);
}

/** Without members that are undefined, which JSON does not know; undefined for what cannot be copied. */
function copyOf(args: object): unknown {
  try {
    const copied: unknown = structuredClone(args); // getters are read once
    return isJson(copied, 0) ? copied : withoutUndefined(copied, 0);
  } catch {
    return undefined; // a function in it
  }
}

function withoutUndefined(value: unknown, depth: number): unknown {
  if (depth > limits.DECISION_JSON_DEPTH_MAX || !isPlain(value)) return value;
  const members = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(members.map(([key, member]) => [key, withoutUndefined(member, depth + 1)]));
}

interface Shown<R> {
  readonly result: R;
  readonly labels: readonly string[];
  /** What it holds that may not be shown. */
  readonly refused?: string;
}

/** In place of what is no JSON its JSON form is given where something had to be taken out of it. */
function shownOf<R>(result: R, rules: OutputRules): Shown<R> {
  try {
    const form = isJson(result, 0) ? result : jsonForm(result);
    if (form === undefined) return { result, labels: [] };
    const { result: shown, labels, changed, refused } = applyOutput(form, rules);
    if (refused !== undefined) return { result, labels, refused: refused.label };
    return { result: changed ? (shown as R) : result, labels };
  } catch {
    return { result, labels: [], refused: 'what cannot be looked at' }; // a member that throws, or without end
  }
}

/** Where an object is inside itself it ends there; undefined for what has none. */
function jsonForm(value: unknown): Json | undefined {
  const around: unknown[] = [];
  const text = JSON.stringify(value, function (this: unknown, _key, member: unknown) {
    while (around.length > 0 && around.at(-1) !== this) around.pop();
    if (typeof member === 'bigint') return String(member);
    if (typeof member !== 'object' || member === null) return member;
    if (around.includes(member)) return undefined;
    around.push(member);
    return member;
  }) as string | undefined;
  return text === undefined ? undefined : (JSON.parse(text) as Json);
}

function isPlain(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

function isJson(value: unknown, depth: number): value is Json {
  if (typeof value === 'number') return Number.isFinite(value);
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return true;
  if (depth > limits.DECISION_JSON_DEPTH_MAX) return false;
  if (Array.isArray(value)) return value.every((item) => isJson(item, depth + 1));
  return isPlain(value) && Object.values(value).every((member) => isJson(member, depth + 1));
}
