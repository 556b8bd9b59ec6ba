/**
 * What each server's tools were when they were seen first (SPEC "Approvals", pinned tools). A tool that is defined
 * otherwise later, or is new, is told apart until a person has approved exactly that definition. Tools that are gone stay
 * pinned: what comes back otherwise has changed. Pins go by the server's name, and a server of that name that is started
 * in another way has changed altogether, whatever it says of its tools.
 */
import {
  digestOf,
  encodeJcs,
  equalBytes,
  isMeshError,
  type JsonObject,
  limits,
  MeshError,
  toHex,
} from '../../../protocol/index.ts';
import { definitionHash, diffDefinitions } from '../../../protocol/mcp/index.ts';
import type { PinAction, PolicyRef, ToolDefinition, ToolState } from '../../../protocol/policy/index.ts';
import type { Clock, Logger, Store, StoreWrite } from '../../ports.ts';
import { Serial } from '../serial.ts';
import { type Approval, type Approvals, pendingApproval } from './approvals.ts';
import { idOfRow, jsonRow, parseJsonRow, rowKey, rowRange } from './rows.ts';

/** A server's tools, or some of them. */
export interface ToolListing {
  readonly server: string;
  /** How the server is started or reached; only its digest is kept, since it may hold secrets. */
  readonly origin?: string | undefined;
  readonly tools: readonly ToolDefinition[];
  /** The server has no other tools. Until it has been so once, what is new is pinned. */
  readonly isComplete: boolean;
}

/** For whom it is checked, and what the policies say of changes. */
export interface PinTerms {
  readonly agent: string;
  readonly policy: PolicyRef;
  readonly changes: PinAction;
  /** Who may say that a change is right. Empty: any sponsor. */
  readonly approvers: readonly string[];
}

/** What of a server is not as it was seen first. */
export interface ToolChange {
  readonly server: string;
  readonly agent: string;
  readonly changes: PinAction;
  readonly states: readonly ToolState[];
}

export interface ToolPinsEvents {
  /** Seen first, or approved. */
  pinned(server: string, hashes: Readonly<Record<string, string>>, approval: Approval | undefined): void;
  /** Once for the same changes in a row. */
  changed(change: ToolChange): void;
}

export interface ToolPinsComponents {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  readonly approvals: Pick<Approvals, 'request' | 'take' | 'list'>;
  readonly events: ToolPinsEvents;
}

export interface ToolPinsOptions {
  /** Default TOOL_SERVERS_MAX. */
  readonly serversMax?: number;
  /** Of one server. Default TOOLS_PINNED_MAX. */
  readonly toolsMax?: number;
}

export interface PinnedServer {
  readonly server: string;
  /** Hashes by name. */
  readonly tools: Readonly<Record<string, string>>;
  readonly firstSeenMs: number;
}

interface Seen {
  readonly hash: string;
  /** Null where it was too large to keep. */
  readonly definition: ToolDefinition | null;
}

/** By name: names are the server's, and may be "constructor". */
type Tools = ReadonlyMap<string, Seen>;

interface Row {
  readonly server: string;
  /** SHA-256, hex. */
  readonly origin: string | null;
  /** All of its tools have been listed once. */
  readonly isWhole: boolean;
  readonly pinned: Tools;
  /** What was listed last that is not pinned. */
  readonly offered: Tools;
  /** Digest of the changes that were told of last. */
  readonly told: string | null;
  readonly firstSeenMs: number;
}

/** What an approval carries, so that it pins just this. */
interface Change extends JsonObject {
  readonly server: string;
  readonly origin: string | null;
  readonly tools: Readonly<Record<string, string>>;
}

export class ToolPins {
  readonly #components: ToolPinsComponents;
  readonly #serversMax: number;
  readonly #toolsMax: number;
  readonly #serial = new Serial();
  /** Keys of the rows, hex. */
  readonly #servers = new Set<string>();

  private constructor(components: ToolPinsComponents, options: ToolPinsOptions) {
    this.#components = components;
    this.#serversMax = options.serversMax ?? limits.TOOL_SERVERS_MAX;
    this.#toolsMax = options.toolsMax ?? limits.TOOLS_PINNED_MAX;
  }

  /** Pins what was approved and is not pinned yet. Errors: store_corrupt. */
  static async open(components: ToolPinsComponents, options: ToolPinsOptions = {}): Promise<ToolPins> {
    const pins = new ToolPins(components, options);
    for await (const [key] of components.store.range(...rowRange('tools'))) pins.#servers.add(toHex(idOfRow(key)));
    for (const approval of components.approvals.list({ all: true }))
      if (approval.state === 'approved') await pins.approved(approval);
    return pins;
  }

  /**
   * Compares with what was seen first, and pins what is seen first; on disk when it resolves. Errors: malformed (a tool
   * without a name, or one name twice), too_large (too many tools or servers), store_corrupt, read_only.
   */
  check(listing: ToolListing, terms: PinTerms): Promise<ToolState[]> {
    return this.#serial.run(() => this.#check(listing, terms));
  }

  /** To be called with every approval that is given: one of a change of tools pins exactly what was approved. */
  approved(approval: Approval): Promise<void> {
    if (approval.kind !== 'tool') return Promise.resolve();
    return this.#serial.run(async () => {
      await this.#pinApproved(approval);
    });
  }

  /** The server is seen for the first time when it comes next. False: it was not known. */
  forget(server: string): Promise<boolean> {
    return this.#serial.run(async () => {
      const key = keyOf(server);
      if (!this.#servers.has(toHex(idOfRow(key)))) return false;
      await this.#components.store.batch([{ type: 'del', key }], { sync: true });
      this.#servers.delete(toHex(idOfRow(key)));
      return true;
    });
  }

  /** Errors: store_corrupt. */
  async servers(): Promise<PinnedServer[]> {
    const found: PinnedServer[] = [];
    for await (const [, value] of this.#components.store.range(...rowRange('tools'))) {
      const { server, pinned, firstSeenMs } = readRow(value);
      found.push({ server, tools: hashesOf(pinned), firstSeenMs });
    }
    return found;
  }

  async #check(listing: ToolListing, terms: PinTerms): Promise<ToolState[]> {
    const { server, isComplete } = listing;
    const listed = this.#read(listing);
    const row = (await this.#row(server)) ?? this.#newRow(server);
    const origin = listing.origin === undefined ? row.origin : digestText(listing.origin);
    const isMoved = row.origin !== null && origin !== row.origin;
    const isFirst = (name: string): boolean => !isMoved && !row.isWhole && !row.pinned.has(name);
    const isPinned = (name: string, { hash }: Seen): boolean => !isMoved && row.pinned.get(name)?.hash === hash;
    const first = new Map([...listed].filter(([name]) => isFirst(name)));
    const other = new Map([...listed].filter(([name, seen]) => !isFirst(name) && !isPinned(name, seen)));
    // What was approved while something else was listed is kept without its definition until it is listed.
    const shown = [...listed].filter(([name, seen]) => row.pinned.get(name)?.hash === seen.hash);
    const change: Change = { server, origin, tools: hashesOf(other) };
    const digest = digestOfChange(change);
    const next: Row = {
      ...row,
      origin: isMoved ? row.origin : origin,
      isWhole: row.isWhole || (isComplete && !isMoved),
      pinned: bounded([...row.pinned, ...shown, ...first]),
      offered: bounded([...(isComplete ? [] : row.offered), ...other].slice(-this.#toolsMax)), // of several pages all
      told: other.size === 0 ? row.told : digest,
    };
    this.#verifyRoom(next);
    await this.#write(next, row);
    if (first.size > 0) this.#components.events.pinned(server, hashesOf(first), undefined);
    if (other.size === 0) return [...listed.keys()].map(pinned);
    const changed = [...other].map(([name, seen]) => this.#changedState(name, seen, row, isMoved, terms.changes));
    const judged = await this.#judge(changed, change, digest, terms);
    if (row.told !== digest && terms.changes !== 'ignore')
      this.#components.events.changed({ server, agent: terms.agent, changes: terms.changes, states: judged });
    const states = new Map(judged.map((state) => [state.name, state]));
    return [...listed.keys()].map((name) => states.get(name) ?? pinned(name));
  }

  #changedState(name: string, seen: Seen, row: Row, isMoved: boolean, action: PinAction): ToolState {
    const before = row.pinned.get(name);
    const lines: string[] = [];
    if (isMoved) lines.push(`server "${row.server}" is started in another way than when it was seen first`);
    if (before === undefined) lines.push(`tool "${name}" is new`);
    else if (before.hash === seen.hash) lines.push('its definition is the same');
    else if (before.definition === null || seen.definition === null)
      lines.push(`its definition has changed, and is too large to show how`);
    else lines.push(diffDefinitions(before.definition, seen.definition));
    const diff = lines.join('\n').slice(0, DIFF_TEXT_MAX).toWellFormed();
    return { name, state: before === undefined ? 'new' : 'changed', action, diff };
  }

  /** With the approval that it waits for; what is approved at this moment is pinned, what was just denied is refused. */
  async #judge(states: readonly ToolState[], change: Change, digest: string, terms: PinTerms): Promise<ToolState[]> {
    if (terms.changes !== 'approve') return [...states];
    const { agent, policy, approvers } = terms;
    const shown = states.map(({ name, state, diff }) => ({ name, state, diff: diff ?? '' }));
    const asked = await this.#request({
      kind: 'tool',
      digest,
      agent,
      approvers,
      quorum: 1,
      policy,
      rule: null,
      request: { action: 'tools_changed', server: change.server, tools: shown },
      expiresMs: limits.TOOL_APPROVAL_MS,
      detail: change,
    });
    if (asked === undefined) return [...states];
    if (asked.state === 'approved' && (await this.#pinApproved(asked))) return states.map(({ name }) => pinned(name));
    if (asked.state === 'denied') return states.map((state) => ({ ...state, action: 'deny' }));
    return states.map((state) => ({ ...state, approval: pendingApproval(asked) }));
  }

  /** Undefined where too many wait already: then it stays changed, without an approval to wait for. */
  async #request(wanted: Parameters<Approvals['request']>[0]): Promise<Approval | undefined> {
    try {
      return (await this.#components.approvals.request(wanted)).approval;
    } catch (error) {
      if (!isMeshError(error) || error.code !== 'busy') throw error;
      this.#components.log.warn({ reason: error.message }, 'changed tools wait for no approval: too many do');
      return undefined;
    }
  }

  /** Whether it is now. What was used for it, by a crash or by another listing, pins nothing again. */
  async #pinApproved(approval: Approval): Promise<boolean> {
    const { server, origin, tools } = approval.detail as Change;
    const row = (await this.#row(server)) ?? this.#newRow(server);
    const approved = Object.entries(tools).map(([name, hash]): [string, Seen] => {
      const offered = row.offered.get(name);
      return [name, offered?.hash === hash ? offered : { hash, definition: null }];
    });
    const next: Row = {
      ...row,
      origin,
      pinned: bounded([...row.pinned, ...approved]),
      offered: new Map([...row.offered].filter(([name]) => !Object.hasOwn(tools, name))),
      told: null,
    };
    const taken = await this.#components.approvals.take(approval, [putRow(next)]);
    if (taken === undefined) return false;
    this.#servers.add(toHex(idOfRow(keyOf(server))));
    this.#components.events.pinned(server, tools, taken.approval);
    return true;
  }

  /** By name. Errors: malformed, too_large. */
  #read({ server, tools }: ToolListing): Tools {
    const refuse = (code: 'malformed' | 'too_large', why: string): never => {
      throw new MeshError(code, `Cannot check the tools of server "${server}": ${why}`, { field: 'tools' });
    };
    if (tools.length > limits.MCP_TOOLS_MAX)
      refuse('too_large', `there are ${tools.length}, want at most ${limits.MCP_TOOLS_MAX}`);
    const listed = new Map<string, Seen>();
    for (const definition of tools) {
      const { name } = definition;
      if (typeof name !== 'string' || name === '' || name.length > limits.MCP_NAME_TEXT_MAX)
        return refuse('malformed', 'one has no name, or a longer one than is read');
      if (listed.has(name)) refuse('malformed', `"${name}" is defined twice`);
      const isKept = jsonRow(definition).length <= limits.TOOL_DEFINITION_BYTES_MAX;
      listed.set(name, { hash: definitionHash(definition), definition: isKept ? definition : null });
    }
    return listed;
  }

  async #row(server: string): Promise<Row | undefined> {
    const value = await this.#components.store.get(keyOf(server));
    return value === undefined ? undefined : readRow(value);
  }

  /** Errors: too_large. */
  #newRow(server: string): Row {
    if (this.#servers.size >= this.#serversMax)
      throw new MeshError(
        'too_large',
        `Cannot pin the tools of server "${server}": those of ${this.#servers.size} are pinned, want fewer than ${this.#serversMax}`,
        { is: this.#servers.size, want: this.#serversMax },
      );
    const firstSeenMs = Math.floor(this.#components.clock.nowMs());
    return { server, origin: null, isWhole: false, pinned: new Map(), offered: new Map(), told: null, firstSeenMs };
  }

  /** Whoever lists page by page could make a row grow without end. Errors: too_large. */
  #verifyRoom({ server, pinned: { size: is } }: Row): void {
    if (is > this.#toolsMax)
      throw new MeshError(
        'too_large',
        `Cannot pin the tools of server "${server}": they are ${is} by now, want at most ${this.#toolsMax}`,
        { is, want: this.#toolsMax },
      );
  }

  async #write(row: Row, before: Row): Promise<void> {
    const id = toHex(idOfRow(keyOf(row.server)));
    const put = putRow(row);
    if (this.#servers.has(id) && equalBytes(put.value, putRow(before).value)) return;
    await this.#components.store.batch([put], { sync: true });
    this.#servers.add(id);
  }
}

const DIFF_TEXT_MAX = 16_384; // several screens, for people; the hash is what is approved

const encoder = new TextEncoder();
const digestText = (text: string): string => toHex(digestOf(encoder.encode(text)));
const digestOfChange = (change: Change): string => toHex(digestOf(encodeJcs({ kind: 'tool', ...change })));
const keyOf = (server: string): Uint8Array => rowKey('tools', digestOf(encoder.encode(server)));

function putRow(row: Row): Extract<StoreWrite, { type: 'put' }> {
  const value = jsonRow({ ...row, pinned: [...row.pinned], offered: [...row.offered] });
  return { type: 'put', key: keyOf(row.server), value };
}

/** Errors: store_corrupt. */
function readRow(value: Uint8Array): Row {
  const row = parseJsonRow('tools', value) as Row & {
    readonly pinned: readonly [string, Seen][];
    readonly offered: readonly [string, Seen][];
  };
  return { ...row, pinned: new Map(row.pinned), offered: new Map(row.offered) };
}

const pinned = (name: string): ToolState => ({ name, state: 'pinned', action: 'ignore' });

const hashesOf = (tools: Tools): Record<string, string> =>
  Object.fromEntries([...tools].map(([name, { hash }]) => [name, hash]));

/** Definitions are for showing what changed: beyond the bound the hashes alone are kept. */
function bounded(tools: readonly (readonly [string, Seen])[]): Tools {
  let bytes = 0;
  return new Map(
    [...new Map(tools)].map(([name, { hash, definition }]): [string, Seen] => {
      bytes += definition === null ? 0 : jsonRow(definition).length;
      return [name, { hash, definition: bytes > limits.TOOL_DEFINITIONS_BYTES_MAX ? null : definition }];
    }),
  );
}
