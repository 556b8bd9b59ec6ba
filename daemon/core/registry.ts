/**
 * What this daemon knows and never publishes: contact data of sponsors, names of agents, tokens, drafts. One JSON row
 * each in the store; all in memory while open, since a home has a handful to a few thousand.
 */
import { type Capability, MeshError } from '../../protocol/index.ts';
import type { Store } from '../ports.ts';

export interface OrganisationRow {
  readonly did: string;
  readonly name: string | null;
}

export interface SponsorRow {
  readonly did: string;
  readonly contact: string;
  readonly name: string | null;
  readonly createdMs: number;
}

export interface AgentRow {
  readonly did: string;
  readonly name: string;
  readonly sponsor: string;
  readonly parent: string | null;
  readonly capabilities: readonly Capability[];
  readonly rootLink: string;
  readonly keyHeldBy: 'daemon' | 'agent';
  /** Whether its genesis and root link are published. */
  readonly isRegistered: boolean;
  readonly isSuspended: boolean;
  readonly createdMs: number;
  /** SHA-256 of its tokens, hex, oldest first. */
  readonly tokens: readonly string[];
  /** Envelopes (base64url) that wait for `register`. */
  readonly drafts: readonly string[];
}

const PREFIX = 0x6c; // `l`: beside the rows of the statement store
const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

export class Registry {
  readonly #store: Store;
  #organisation: OrganisationRow | undefined;
  readonly #sponsors = new Map<string, SponsorRow>();
  readonly #agents = new Map<string, AgentRow>();

  constructor(store: Store) {
    this.#store = store;
  }

  /** Errors: store_corrupt. */
  async open(): Promise<void> {
    for await (const [key, value] of this.#store.range(Uint8Array.of(PREFIX), Uint8Array.of(PREFIX + 1))) {
      const name = decoder.decode(key.subarray(1));
      const row = readRow(name, value);
      if (name === 'organisation') this.#organisation = row as OrganisationRow;
      else if (name.startsWith('sponsor/')) this.#sponsors.set(name.slice('sponsor/'.length), row as SponsorRow);
      else if (name.startsWith('agent/')) this.#agents.set(name.slice('agent/'.length), row as AgentRow);
    }
  }

  get organisation(): OrganisationRow | undefined {
    return this.#organisation;
  }

  sponsors(): SponsorRow[] {
    return [...this.#sponsors.values()];
  }

  sponsor(did: string): SponsorRow | undefined {
    return this.#sponsors.get(did);
  }

  agents(): AgentRow[] {
    return [...this.#agents.values()];
  }

  agent(did: string): AgentRow | undefined {
    return this.#agents.get(did);
  }

  async saveOrganisation(row: OrganisationRow): Promise<void> {
    await this.#write('organisation', row);
    this.#organisation = row;
  }

  async saveSponsor(row: SponsorRow): Promise<void> {
    await this.#write(`sponsor/${row.did}`, row);
    this.#sponsors.set(row.did, row);
  }

  async saveAgent(row: AgentRow): Promise<void> {
    await this.#write(`agent/${row.did}`, row);
    this.#agents.set(row.did, row);
  }

  async #write(name: string, row: object): Promise<void> {
    const key = Uint8Array.of(PREFIX, ...encoder.encode(name));
    await this.#store.batch([{ type: 'put', key, value: encoder.encode(JSON.stringify(row)) }], { sync: true });
  }
}

function readRow(name: string, value: Uint8Array): unknown {
  try {
    return JSON.parse(decoder.decode(value));
  } catch (cause) {
    throw new MeshError(
      'store_corrupt',
      `Cannot read row "${name}" of the registry: it is not JSON`,
      { id: name },
      { cause },
    );
  }
}
