/**
 * The policies that decide here: those of the configuration, candidates that run beside them, and those that callers
 * bring and name by digest. The configured ones are read all or not at all: while the newest cannot be, the last good
 * ones stay in force. A brought one outlives a restart, since its caller does not know of that.
 */
import { fromHex, isMeshError, limits, MeshError, toHex } from '../../../protocol/index.ts';
import {
  compilePolicies,
  parsePolicy,
  parseSource,
  type Policy,
  type PolicyFile,
  type PolicyRef,
  type PolicySet,
  type ResolvePolicy,
} from '../../../protocol/policy/index.ts';
import type { Clock, Logger, Store, StoreWrite } from '../../ports.ts';
import { Serial } from '../serial.ts';
import { idOfRow, jsonRow, parseJsonRow, rowKey, rowRange } from './rows.ts';

/** A policy of the configuration, as it was read. */
export interface ConfiguredPolicy {
  /** As people know it. */
  readonly file: string;
  /** Where the text has no name of its own. */
  readonly name: string;
  readonly text: string;
  /** Reads what it extends. Default: nothing but built-in policies can be. */
  readonly resolve?: ResolvePolicy;
  /**
   * `shadow`: it decides nothing, and is compared with what does. `exposed`: it decides beside the live ones for calls of
   * others to servers exposed under it.
   */
  readonly use: 'live' | 'shadow' | 'exposed';
}

/** All policies of the configuration, the first to name approvers first. Errors: whatever they cannot be read for. */
export type LoadPolicies = () => Promise<readonly ConfiguredPolicy[]>;

export interface PolicyLibraryComponents {
  readonly store: Store;
  readonly clock: Clock;
  readonly log: Logger;
  readonly load: LoadPolicies;
  /** A caller brought one that was not held. */
  readonly onBrought?: (policy: PolicyRef) => void;
}

export interface PolicyLibraryOptions {
  /** Policies of callers that are kept; the one used longest ago goes. Default POLICIES_BROUGHT_KEPT_MAX. */
  readonly broughtMax?: number;
  /** Of their texts. Default POLICIES_BROUGHT_BYTES_MAX. */
  readonly broughtBytesMax?: number;
}

/** A policy that runs beside those in force. */
export interface Candidate {
  readonly policy: Policy;
  /**
   * The configured policies with it in place of the one of its name, or those that a caller brought with it in place of
   * one of theirs; where none has its name, it alone.
   */
  readonly policies: PolicySet;
}

export interface ListedPolicy extends PolicyRef {
  readonly source: 'configuration' | 'shadow' | 'exposed' | 'caller';
  readonly file: string | null;
  /** Names and DIDs; empty: every agent. */
  readonly agents: readonly string[];
  /** How many, with those that it extends. */
  readonly rules: number;
}

export interface LibraryStatus {
  /** When those in force were read. */
  readonly loadedMs: number;
  /** Why newer ones are not in force. */
  readonly problem: { readonly error: MeshError; readonly sinceMs: number } | undefined;
}

interface Configured {
  readonly live: readonly Policy[];
  readonly policies: PolicySet;
  readonly candidates: readonly Candidate[];
  readonly exposed: readonly Policy[];
}

interface BroughtRow {
  readonly name: string;
  readonly digest: string;
  readonly files: readonly PolicyFile[];
  readonly agents: readonly string[];
  readonly rules: number;
  readonly usedMs: number;
}

interface Brought {
  row: BroughtRow;
  readonly bytes: number;
  /** Once it was needed. */
  policy: Policy | undefined;
}

const USED_MS = 3_600_000; // which one was used longest ago need not be known closer after a restart

export class PolicyLibrary {
  readonly #components: PolicyLibraryComponents;
  readonly #broughtMax: number;
  readonly #broughtBytesMax: number;
  readonly #changes = new Serial();
  readonly #listeners = new Set<() => void>();
  /** By digest; the one used last is last. */
  readonly #brought = new Map<string, Brought>();
  /** By digests of what is brought; the one asked for last is last. */
  readonly #sets = new Map<string, PolicySet>();
  /** As #sets. */
  readonly #candidates = new Map<string, readonly Candidate[]>();
  /** Digests of brought ones that never go, and how often that was asked. */
  readonly #kept = new Map<string, number>();
  #configured: Configured;
  #status: LibraryStatus;

  private constructor(components: PolicyLibraryComponents, options: PolicyLibraryOptions, configured: Configured) {
    this.#components = components;
    this.#broughtMax = options.broughtMax ?? limits.POLICIES_BROUGHT_KEPT_MAX;
    this.#broughtBytesMax = options.broughtBytesMax ?? limits.POLICIES_BROUGHT_BYTES_MAX;
    this.#configured = configured;
    this.#status = { loadedMs: components.clock.nowMs(), problem: undefined };
  }

  /**
   * Errors: store_corrupt, and those of the configured policies: with nothing in force before, there is nothing to go on
   * with, and an empty list would leave undecided what they decide.
   */
  static async open(components: PolicyLibraryComponents, options: PolicyLibraryOptions = {}): Promise<PolicyLibrary> {
    const configured = configuredOf(await components.load());
    const library = new PolicyLibrary(components, options, configured);
    const rows: BroughtRow[] = [];
    for await (const [key, value] of components.store.range(...rowRange('policy'))) rows.push(readRow(key, value));
    for (const row of rows.sort((a, b) => a.usedMs - b.usedMs)) library.#hold(row, undefined);
    return library;
  }

  /** Those of the configuration that are in force. */
  get configured(): PolicySet {
    return this.#configured.policies;
  }

  get candidates(): readonly Candidate[] {
    return this.#configured.candidates;
  }

  /** Candidates beside the policies of a request. Errors: as policiesFor. */
  candidatesFor(brought: readonly string[]): readonly Candidate[] {
    if (brought.length === 0) return this.candidates;
    const name = brought.join(' ');
    const held = this.#candidates.get(name);
    if (held !== undefined) return held;
    const own = [...this.#configured.live, ...brought.map((digest) => this.#use(digest))];
    const found = this.candidates.map(({ policy }) => candidateOf(policy, own));
    if (this.#candidates.size >= limits.POLICY_SETS_CACHED_MAX) this.#candidates.clear();
    this.#candidates.set(name, found);
    return found;
  }

  status(): LibraryStatus {
    return this.#status;
  }

  /**
   * The configured policies first, then those that a caller brought, by digest. Errors: not_found (data.field is
   * "policies": bring it again), policy_invalid (too many).
   */
  policiesFor(brought: readonly string[]): PolicySet {
    const policies = brought.map((digest) => this.#use(digest));
    const name = brought.join(' ');
    const set =
      this.#sets.get(name) ??
      (brought.length === 0 ? this.configured : compilePolicies([...this.#configured.live, ...policies]));
    this.#sets.delete(name);
    this.#sets.set(name, set);
    for (const oldest of this.#sets.keys()) {
      if (this.#sets.size <= limits.POLICY_SETS_CACHED_MAX) break;
      this.#sets.delete(oldest);
    }
    return set;
  }

  /**
   * Keeps a policy that a caller brings, with all that it extends; the first file is the policy. On disk when it
   * resolves. Errors: policy_invalid, too_large, full, read_only.
   */
  load(name: string, files: readonly PolicyFile[]): Promise<PolicyRef> {
    return this.#changes.run(async () => {
      const policy = parseBrought(name, files);
      const held = this.#brought.get(policy.digest);
      if (held !== undefined) return refOf(this.#touch(held).row);
      const row = rowOf(policy, files, Math.floor(this.#components.clock.nowMs()));
      if (bytesOf(row) > this.#broughtBytesMax)
        throw new MeshError(
          'too_large',
          `Cannot keep policy "${policy.name}": it has ${bytesOf(row)} bytes, want at most ${this.#broughtBytesMax}`,
          { is: bytesOf(row), want: this.#broughtBytesMax },
        );
      const gone = this.#surplus(bytesOf(row));
      await this.#components.store.batch([putRow(row), ...gone.map(({ digest }) => delRow(digest))], { sync: true });
      for (const { digest } of gone) this.#brought.delete(digest);
      this.#hold(row, policy);
      this.#components.onBrought?.(refOf(row));
      return refOf(row);
    });
  }

  /** Of the file that exposes something under it, as it was read last. Undefined: none was. */
  exposedDigest(file: string): string | undefined {
    return this.#configured.exposed.find((policy) => policy.file === file)?.digest;
  }

  /** A brought one stays, however long it is not used: something rests on it. Errors: not_found. */
  keep(digest: string): void {
    this.#find(digest);
    this.#kept.set(digest, (this.#kept.get(digest) ?? 0) + 1);
  }

  /** Takes back one `keep`. */
  release(digest: string): void {
    const count = (this.#kept.get(digest) ?? 0) - 1;
    if (count > 0) this.#kept.set(digest, count);
    else this.#kept.delete(digest);
  }

  /** Reads the configuration again: all of it, or none. Errors: policy_invalid, and why it cannot be read. */
  reload(): Promise<void> {
    return this.#changes.run(async () => {
      const { clock, log, load } = this.#components;
      try {
        this.#configured = configuredOf(await load());
        this.#sets.clear();
        this.#candidates.clear();
        this.#status = { loadedMs: clock.nowMs(), problem: undefined };
      } catch (cause) {
        const error = isMeshError(cause) ? cause : unreadable(cause);
        this.#status = { ...this.#status, problem: { error, sinceMs: this.#status.problem?.sinceMs ?? clock.nowMs() } };
        log.warn({ code: error.code, reason: error.message }, 'policies stay as they were: the newest cannot be read');
        throw error;
      } finally {
        for (const listener of this.#listeners) listener();
      }
    });
  }

  /** Called after each reading, with success or not; must not throw. Returns what ends it. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  list(): ListedPolicy[] {
    const { live, candidates, exposed } = this.#configured;
    return [
      ...live.map((policy) => listed(policy, 'configuration')),
      ...candidates.map(({ policy }) => listed(policy, 'shadow')),
      ...exposed.map((policy) => listed(policy, 'exposed')),
      ...[...this.#brought.values()].map(({ row: { name, digest, agents, rules } }): ListedPolicy => {
        return { name, digest, source: 'caller', file: null, agents, rules };
      }),
    ];
  }

  /** As it was read, with all documents that it extends. Errors: not_found. */
  show(digest: string): { readonly policy: PolicyRef; readonly files: readonly PolicyFile[] } {
    const { live, candidates, exposed } = this.#configured;
    const policy = [...live, ...candidates.map((candidate) => candidate.policy), ...exposed].find(
      (each) => each.digest === digest,
    );
    if (policy !== undefined)
      return { policy: refOf(policy), files: policy.documents.map(({ file, text }) => ({ path: file, text })) };
    const { row } = this.#find(digest);
    return { policy: refOf(row), files: row.files };
  }

  /** For a policy that is only looked at: what deciding by it would be. Errors: policy_invalid. */
  candidateOf(name: string, files: readonly PolicyFile[]): Candidate {
    return candidateOf(parseSource({ name, files }), this.#configured.live);
  }

  /** Resolves when nothing is under way any more. */
  async close(): Promise<void> {
    await this.#changes.run(async () => {});
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #use(digest: string): Policy {
    const exposed = this.#configured.exposed.find((policy) => policy.digest === digest);
    if (exposed !== undefined) return exposed;
    const held = this.#touch(this.#find(digest));
    held.policy ??= parseBrought(held.row.name, held.row.files);
    return held.policy;
  }

  #find(digest: string): Brought {
    const held = this.#brought.get(digest);
    if (held !== undefined) return held;
    const message = `Cannot find policy "${digest.slice(0, 64)}": none of this digest is held, bring it again`;
    throw new MeshError('not_found', message, { field: 'policies', id: digest.slice(0, 64) });
  }

  #touch(held: Brought): Brought {
    const { store, clock, log } = this.#components;
    const { digest, usedMs } = held.row;
    this.#brought.delete(digest);
    this.#brought.set(digest, held);
    const nowMs = Math.floor(clock.nowMs());
    if (nowMs - usedMs < USED_MS) return held;
    held.row = { ...held.row, usedMs: nowMs };
    store
      .batch([putRow(held.row)], { sync: false })
      .catch((error: unknown) => log.warn({ digest, error }, 'when a policy was used last cannot be written'));
    return held;
  }

  #hold(row: BroughtRow, policy: Policy | undefined): void {
    this.#brought.set(row.digest, { row, bytes: bytesOf(row), policy });
  }

  /** Those used longest ago that make room for so many bytes more. Errors: full. */
  #surplus(bytesMore: number): readonly BroughtRow[] {
    const held = [...this.#brought.values()];
    let bytes = held.reduce((sum, each) => sum + each.bytes, bytesMore);
    let count = held.length + 1;
    const gone: BroughtRow[] = [];
    for (const each of held) {
      if (count <= this.#broughtMax && bytes <= this.#broughtBytesMax) break;
      if (this.#kept.has(each.row.digest)) continue;
      gone.push(each.row);
      bytes -= each.bytes;
      count -= 1;
    }
    if (count > this.#broughtMax || bytes > this.#broughtBytesMax)
      throw new MeshError('full', 'Cannot keep another policy: exposed servers hold as many as are kept', {
        is: count,
        want: this.#broughtMax,
      });
    return gone;
  }
}

function configuredOf(sources: readonly ConfiguredPolicy[]): Configured {
  const parsed = sources.map(({ text, use, ...options }) => ({ use, policy: parsePolicy(text, options) }));
  const live = parsed.filter(({ use }) => use === 'live').map(({ policy }) => policy);
  const shadows = parsed.filter(({ use }) => use === 'shadow').map(({ policy }) => policy);
  return {
    live,
    policies: compilePolicies(live),
    candidates: shadows.map((policy) => candidateOf(policy, live)),
    exposed: parsed.filter(({ use }) => use === 'exposed').map(({ policy }) => policy),
  };
}

function candidateOf(policy: Policy, live: readonly Policy[]): Candidate {
  const isNamed = live.some(({ name }) => name === policy.name);
  const together = isNamed ? live.map((each) => (each.name === policy.name ? policy : each)) : [policy];
  return { policy, policies: compilePolicies(together) };
}

/** Errors: policy_invalid. */
function parseBrought(name: string, files: readonly PolicyFile[]): Policy {
  const policy = parseSource({ name, files });
  const [external] = policy.external;
  if (external === undefined) return policy;
  // The daemon would ask whatever address an agent names.
  const message = `Cannot take policy "${policy.name}": it asks decision point "${external.name}", which only the configuration may`;
  throw new MeshError('policy_invalid', message, { field: 'external' });
}

const refOf = ({ name, digest }: PolicyRef): PolicyRef => ({ name, digest });

const rowOf = (policy: Policy, files: readonly PolicyFile[], usedMs: number): BroughtRow => ({
  ...refOf(policy),
  files: files.map(({ path, text }) => ({ path, text })),
  agents: policy.agents ?? [],
  rules: policy.rules.length,
  usedMs,
});

const listed = (policy: Policy, source: ListedPolicy['source']): ListedPolicy => ({
  ...refOf(policy),
  source,
  file: policy.file,
  agents: policy.agents ?? [],
  rules: policy.rules.length,
});

const bytesOf = (row: BroughtRow): number => jsonRow(row).length;

function keyOf(digest: string): Uint8Array {
  const bytes = fromHex(digest);
  if (bytes === undefined) throw new MeshError('internal', `Cannot name a row: "${digest}" is no digest`);
  return rowKey('policy', bytes);
}
const putRow = (row: BroughtRow): StoreWrite => ({ type: 'put', key: keyOf(row.digest), value: jsonRow(row) });
const delRow = (digest: string): StoreWrite => ({ type: 'del', key: keyOf(digest) });

function readRow(key: Uint8Array, value: Uint8Array): BroughtRow {
  const row = parseJsonRow('policy', value) as BroughtRow;
  const digest = toHex(idOfRow(key));
  if (row.digest !== digest)
    throw new MeshError('store_corrupt', `Cannot read policy "${digest}": its row is of another`, { id: digest });
  return row;
}

const unreadable = (cause: unknown): MeshError =>
  new MeshError(
    'policy_invalid',
    `Cannot read the policies: ${cause instanceof Error ? cause.message : String(cause)}`,
    {},
    { cause },
  );
