/**
 * The servers that this daemon exposes to other organisations: those of the configuration, which come with the process,
 * and those that somebody exposed by command, which are kept. Each has the policy that decides its calls, beside the
 * configured ones: a built-in one, a file of the configuration, which is read again when it changes, or one that was
 * brought, which stays as it was.
 */
import { type ExposureFault, exposureFault, type ExposureInput } from '../../../protocol/call/index.ts';
import { encodeCbor, isMeshError, limits, MeshError } from '../../../protocol/index.ts';
import { isPresetName, type PolicyRef, presetSource } from '../../../protocol/policy/index.ts';
import type { ExposedServer, Logger, Store } from '../../ports.ts';
import type { PolicyLibrary } from '../governance/policy-library.ts';
import { afterWritten } from '../log/write-ahead.ts';
import { Serial } from '../serial.ts';
import type { ExposureEntries } from './exposure-entries.ts';
import { decodeRow, rowKey, rowRange } from './rows.ts';

export interface Exposure {
  /** [a-z][a-z0-9._-]{0,63}: others name it so, and capabilities do: mcp:NAME/TOOL. */
  readonly name: string;
  readonly server: ExposedServer;
  /** Needed for every tool that `needs` does not name; null: what follows from the tool's name. */
  readonly capability: string | null;
  /** By tool. */
  readonly needs: Readonly<Record<string, string>>;
  /** Digest of the policy that decides beside the configured ones, as it is now. One that is gone is not held: denied. */
  readonly policy: string;
  readonly description: string | null;
  readonly origin: 'configuration' | 'command';
}

export interface ExposuresComponents {
  readonly store: Store;
  readonly log: Logger;
  readonly library: Pick<PolicyLibrary, 'load' | 'show' | 'keep' | 'release' | 'exposedDigest'>;
  readonly entries: ExposureEntries;
}

export interface ExposuresOptions {
  /** Of the configuration, with absolute paths; a policy is a built-in one's name or a file that the library reads. */
  readonly configured?: readonly ExposureInput[] | undefined;
}

const DEFAULT_POLICY = 'moderate';
const PRESET_PREFIX = 'agentmesh:';
const NONE = '0'.repeat(64); // the digest of no text

interface Held {
  readonly input: ExposureInput;
  readonly exposure: Exposure;
  /** Of a brought policy that is kept for it. */
  readonly kept: string | undefined;
  /** The log has that it is exposed. */
  isWritten: boolean;
}

export class Exposures {
  readonly #components: ExposuresComponents;
  readonly #held = new Map<string, Held>();
  readonly #changes = new Serial();
  readonly #listeners = new Set<(name: string) => void>();

  private constructor(components: ExposuresComponents) {
    this.#components = components;
  }

  /** Errors: config_invalid, store_corrupt, and those of bringing a policy. */
  static async open(components: ExposuresComponents, { configured = [] }: ExposuresOptions = {}): Promise<Exposures> {
    const exposures = new Exposures(components);
    for (const input of configured) exposures.#hold(await exposures.#prepared(input, 'configuration'));
    for await (const [key, value] of components.store.range(...rowRange('exposure'))) await exposures.#read(key, value);
    return exposures;
  }

  /**
   * Says in the log what the configuration exposes, and no more: only then is it in force. False: not all of it could be
   * written, to be tried again. Errors: store_corrupt, read_only.
   */
  begin(): Promise<boolean> {
    return this.#changes.run(async () => {
      const { store, entries, log } = this.#components;
      const value = await store.get(CONFIGURED);
      const before = value === undefined ? [] : parseNames(value);
      const configured = [...this.#held.values()].filter(({ exposure }) => exposure.origin === 'configuration');
      const gone = before.filter((name) => !configured.some(({ exposure }) => exposure.name === name));
      for (const name of gone) {
        const held = this.#held.get(name);
        if (held === undefined) (await entries.withdrawn(name, 'configuration'))(undefined);
        else held.isWritten = false; // what a command exposed under this name is in force again
      }
      const unwritten = [...this.#held.values()].filter(({ isWritten }) => !isWritten);
      const tellings = await Promise.allSettled(unwritten.map((held) => this.#tell(held)));
      const failed = tellings.find((told) => told.status === 'rejected');
      if (failed !== undefined) {
        if (!isMeshError(failed.reason)) throw failed.reason;
        const { code, message } = failed.reason;
        log.warn({ code, reason: message }, 'servers are not exposed: the audit log cannot hold that they are');
        return false;
      }
      const names = configured.map(({ exposure }) => exposure.name).sort();
      if (names.join() !== before.join())
        await store.batch([{ type: 'put', key: CONFIGURED, value: encodeCbor(names) }], { sync: true });
      return true;
    });
  }

  get(name: string): Exposure | undefined {
    const held = this.#held.get(name);
    return held?.isWritten === true ? held.exposure : undefined;
  }

  /** By name. */
  list(): Exposure[] {
    return [...this.#held.values()]
      .filter(({ isWritten }) => isWritten)
      .map(({ exposure }) => exposure)
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** Undefined: there is none that can be read. */
  policyOf({ policy }: Exposure): PolicyRef | undefined {
    try {
      return this.#components.library.show(policy).policy;
    } catch (error) {
      if (isMeshError(error) && error.code === 'not_found') return undefined;
      throw error;
    }
  }

  /** As `add` would expose it, without doing so. Errors: bad_request, not_found (the policy), policy_invalid, conflict, full. */
  async planned(input: ExposureInput): Promise<Exposure> {
    this.#verifyAddable(input);
    return (await this.#prepared(input, 'command', { isKept: false })).exposure;
  }

  /**
   * In place of the one of its name, whose links end. On disk when it resolves. Errors: bad_request, not_found (the
   * policy), policy_invalid, conflict (the configuration has one of this name), full, read_only, those of the audit log.
   */
  add(input: ExposureInput): Promise<Exposure> {
    return this.#changes.run(async () => {
      this.#verifyAddable(input);
      const next = await this.#prepared(input, 'command');
      const value = encodeCbor(rowOf(input));
      try {
        const { store, entries } = this.#components;
        await afterWritten(entries.exposed(next.exposure, this.policyOf(next.exposure)), () =>
          store.batch([{ type: 'put', key: keyOf(input.name), value }], { sync: true }),
        );
        next.isWritten = true;
      } catch (error) {
        this.#release(next);
        throw error;
      }
      this.#release(this.#held.get(input.name));
      this.#hold(next);
      this.#changed(input.name);
      return next.exposure;
    });
  }

  /** Its links end. On disk when it resolves. Errors: not_found, conflict (it is of the configuration), read_only. */
  remove(name: string): Promise<Exposure> {
    return this.#changes.run(async () => {
      const held = this.#held.get(name);
      if (held === undefined)
        throw new MeshError('not_found', `Cannot withdraw server "${name}": none of this name is exposed`, {
          id: name,
          next: 'see "agentmesh expose list"',
        });
      this.#verifyOwn(held, `Cannot withdraw server "${name}"`);
      const { store, entries } = this.#components;
      await afterWritten(entries.withdrawn(name, held.exposure.origin), () =>
        store.batch([{ type: 'del', key: keyOf(name) }], { sync: true }),
      );
      this.#held.delete(name);
      this.#release(held);
      this.#changed(name);
      return held.exposure;
    });
  }

  /** Called with the name of each that is another, or gone, from now on; must not throw. */
  onChanged(call: (name: string) => void): void {
    this.#listeners.add(call);
  }

  /** Errors: of the audit log. */
  async #tell(held: Held): Promise<void> {
    const { exposure } = held;
    const settle = await this.#components.entries.exposed(exposure, this.policyOf(exposure));
    settle(undefined);
    held.isWritten = true;
    this.#changed(exposure.name);
  }

  #changed(name: string): void {
    for (const call of this.#listeners) call(name);
  }

  #hold(held: Held): void {
    this.#held.set(held.exposure.name, held);
  }

  #release(held: Held | undefined): void {
    if (held?.kept !== undefined) this.#components.library.release(held.kept);
  }

  #verifyAddable(input: ExposureInput): void {
    const fault = exposureFault(input);
    if (fault !== undefined) throw badRequest(fault);
    if (input.url === undefined && input.cwd === undefined)
      throw badRequest({ path: ['cwd'], is: undefined, want: 'the directory in which the command starts' });
    const { name } = input;
    const held = this.#held.get(name);
    if (held !== undefined) return this.#verifyOwn(held, `Cannot expose server "${name}"`);
    if (this.#held.size < limits.EXPOSED_MAX) return;
    throw new MeshError(
      'full',
      `Cannot expose server "${name}": ${this.#held.size} are exposed, want fewer than ${limits.EXPOSED_MAX}`,
      { is: this.#held.size, want: limits.EXPOSED_MAX },
    );
  }

  #verifyOwn({ exposure: { name, origin } }: Held, attempt: string): void {
    if (origin === 'command') return;
    throw new MeshError('conflict', `${attempt}: "expose" in agentmesh.yaml has one of this name`, {
      id: name,
      next: 'change it there, and start the daemon anew',
    });
  }

  async #prepared(
    input: ExposureInput,
    origin: Exposure['origin'],
    { isKept = true }: { readonly isKept?: boolean } = {},
  ): Promise<Held> {
    const { library } = this.#components;
    const named = input.policy ?? DEFAULT_POLICY;
    const preset = named.startsWith(PRESET_PREFIX) ? named.slice(PRESET_PREFIX.length) : named;
    const isFile = origin === 'configuration' && !isPresetName(preset);
    if (isFile) return heldOf(input, origin, undefined, () => library.exposedDigest(named) ?? NONE);
    const digest = await this.#broughtDigest(preset);
    if (isKept) library.keep(digest);
    return heldOf(input, origin, isKept ? digest : undefined, () => digest);
  }

  /** Errors: not_found, policy_invalid, full, read_only. */
  async #broughtDigest(preset: string): Promise<string> {
    const { library } = this.#components;
    if (!isPresetName(preset)) return library.show(preset).policy.digest;
    const { name, files } = presetSource(preset);
    return (await library.load(name, files)).digest;
  }

  /** Errors: store_corrupt, and those of bringing a policy. */
  async #read(key: Uint8Array, value: Uint8Array): Promise<void> {
    const { log } = this.#components;
    const input = parseRow(key, value);
    if (this.#held.has(input.name))
      return log.warn({ server: input.name }, 'the configuration exposes a server in place of one exposed by command');
    try {
      this.#hold({ ...(await this.#prepared(input, 'command')), isWritten: true });
    } catch (error) {
      if (!isMeshError(error) || error.code !== 'not_found') throw error;
      log.error({ server: input.name, policy: input.policy }, 'the policy of an exposed server is gone: it is denied');
      this.#hold({ ...heldOf(input, 'command', undefined, () => NONE), isWritten: true });
    }
  }
}

function heldOf(
  input: ExposureInput,
  origin: Exposure['origin'],
  kept: string | undefined,
  policy: () => string,
): Held {
  const { name, capability = null, needs = {}, description = null } = input;
  const server = serverOf(input);
  const exposure: Exposure = {
    name,
    server,
    capability,
    needs,
    description,
    origin,
    get policy() {
      return policy(); // a file's is another once it was read again
    },
  };
  return { input, exposure, kept, isWritten: false };
}

function serverOf({ command, cwd = '/', env, url, headers }: ExposureInput): ExposedServer {
  if (url !== undefined) return { url, ...(headers !== undefined && { headers }) };
  return { command: command ?? [], cwd, ...(env !== undefined && { env }) };
}

const badRequest = ({ path, want }: ExposureFault): MeshError => {
  const field = path.join('.');
  return new MeshError('bad_request', `Cannot expose this: "${field === '' ? 'body' : field}" is wrong, want ${want}`, {
    field,
    want,
  });
};

const encoder = new TextEncoder();
const keyOf = (name: string): Uint8Array => rowKey('exposure', encoder.encode(name));

const rowOf = (input: ExposureInput): Parameters<typeof encodeCbor>[0] =>
  Object.fromEntries(Object.entries(input).filter(([, value]) => value !== undefined)) as Parameters<
    typeof encodeCbor
  >[0];

const CONFIGURED = rowKey('configured');

/** What this daemon wrote. Errors: store_corrupt. */
function parseNames(value: Uint8Array): string[] {
  const names = decodeRow('configured', value) as unknown;
  if (Array.isArray(names) && names.every((name) => typeof name === 'string')) return names;
  throw new MeshError('store_corrupt', 'Cannot read what was exposed before: its row is not what was written');
}

/** What this daemon wrote. Errors: store_corrupt. */
function parseRow(key: Uint8Array, value: Uint8Array): ExposureInput {
  const row = decodeRow('exposure', value) as unknown;
  if (exposureFault(row) === undefined) {
    const input = row as ExposureInput;
    if (keyOf(input.name).join() === key.join()) return input;
  }
  throw new MeshError('store_corrupt', 'Cannot read an exposed server: its row is not what was written');
}
