import { randomBytes } from 'node:crypto';
import type {
  Agent,
  DelegateBody,
  DelegationAnswer,
  LogAppendBody,
  LogAppended,
  LogEntryView,
  RevocationAnswer,
} from '../protocol/control/index.ts';
import { type Capability, isCapabilityWithin, type JsonObject, MeshError } from '../protocol/index.ts';
import { capabilitiesOf, type CapabilityInput } from './capability-input.ts';
import { createEntry, createUuid7, wireTypeOf } from '../protocol/log/index.ts';
import { defaultMesh } from './default-mesh.ts';
import type { EntryQuery } from './log-entries.ts';
import type { CallOptions } from './calls.ts';
import { AgentMesh } from './mesh.ts';
import { signChecked, verifyCredential, verifyDelegation, verifyGenesis } from './payloads.ts';
import { Renewal } from './renewal.ts';
import { createSigner, publicKeyText, type Signer, textOfBytes } from './signer.ts';

interface KeyOptions {
  /** 'daemon' (default): the daemon holds the agent's key. 'own': a new key in this process, which ends with it. */
  readonly key?: 'daemon' | 'own' | undefined;
  /** A key that is kept elsewhere than in the daemon; implies 'own'. */
  readonly signer?: Signer | undefined;
  /** Told when a credential could not be renewed, which is tried again; default: a process warning. */
  readonly onRenewalError?: ((error: unknown) => void) | undefined;
}

export interface CreateIdentityOptions extends KeyOptions, CallOptions {
  /** Local name, unique among this organisation's agents. */
  readonly name: string;
  /** Who answers for it: an e-mail address, which stays on the daemon's machine, or the DID of a sponsor. */
  readonly sponsor: string;
  readonly capabilities: readonly CapabilityInput[];
  /** Default: the daemon that the environment names. */
  readonly mesh?: AgentMesh | undefined;
}

export interface OpenIdentityOptions extends Omit<KeyOptions, 'key'>, CallOptions {
  /** Default: the agent of the token. With `signer`: the DID of the agent that has this key. */
  readonly did?: string | undefined;
  readonly mesh?: AgentMesh | undefined;
}

type Terms = Omit<DelegateBody, 'to' | 'capabilities' | 'as' | 'sponsor'> & {
  readonly capabilities: readonly CapabilityInput[];
};

/** To a new agent under this one's sponsor. */
export interface DelegateToNewOptions extends Terms, KeyOptions, CallOptions {
  readonly name: string;
}

/** To a DID that exists: an agent of any organisation, or a did:key. */
export interface DelegateToOptions extends Terms, CallOptions {
  readonly to: string;
}

/**
 * What an agent does or did. `in` and `out` are commitments (createCommitment): what they commit to stays outside the
 * log, which is for ever; `facts` are in it, so they hold no personal data.
 */
export interface Action extends Omit<LogAppendBody, 'as' | 'entry'>, CallOptions {}

/** An agent of the daemon's organisation: what it may do, whom it lets do it too. */
export class AgentIdentity {
  readonly did: string;
  readonly name: string;
  /** DID of the person who answers for it. */
  readonly sponsor: string;
  readonly organisation: string;
  readonly capabilities: readonly Capability[];
  /** The link that ends the chain by which it holds them: its root link, or the one its parent made. */
  readonly leaf: string | undefined;
  readonly mesh: AgentMesh;
  readonly #signer: Signer | undefined;
  readonly #renewal: Renewal | undefined;

  private constructor(
    agent: Agent,
    mesh: AgentMesh,
    organisation: string,
    leaf: string | undefined,
    { signer, onRenewalError }: KeyOptions,
  ) {
    this.did = agent.did;
    this.name = agent.name;
    this.sponsor = agent.sponsor.did;
    this.capabilities = agent.capabilities;
    this.organisation = organisation;
    this.leaf = leaf;
    this.mesh = mesh;
    this.#signer = signer;
    if (signer === undefined) return;
    this.#renewal = new Renewal({
      renew: (signal) => this.#renewCredential(signer, signal),
      onError: onRenewalError ?? warn,
    });
  }

  /**
   * Makes an agent and registers it; the caller must be the operator. With a key of one's own its credential is renewed
   * until `close`.
   * Errors: conflict (the name is taken), sponsor_full, malformed (a capability), forbidden, not_running.
   */
  static async create(options: CreateIdentityOptions): Promise<AgentIdentity> {
    const { sponsor, signal } = options;
    const mesh = options.mesh ?? (await defaultMesh({ signal }));
    const { agent, organisation, signer } = await register(mesh, { ...options, sponsor });
    return AgentIdentity.#start(agent, mesh, organisation, agent.rootLink ?? undefined, { ...options, signer });
  }

  /** An agent that is there already. Errors: not_found, unauthorized, forbidden, not_running. */
  static async open({
    did,
    mesh: given,
    signer,
    signal,
    onRenewalError,
  }: OpenIdentityOptions = {}): Promise<AgentIdentity> {
    const mesh =
      given ??
      (signer !== undefined && did !== undefined
        ? await AgentMesh.connect({ login: { did, signer }, signal })
        : await defaultMesh({ signal }));
    const agent = await mesh.agents.show(did ?? (await ownDid(mesh, signal)), { signal });
    return AgentIdentity.#start(agent, mesh, await mesh.organisationDid({ signal }), agent.rootLink ?? undefined, {
      signer,
      onRenewalError,
    });
  }

  static async #start(
    agent: Agent,
    mesh: AgentMesh,
    organisation: string,
    leaf: string | undefined,
    options: KeyOptions,
  ): Promise<AgentIdentity> {
    const identity = new AgentIdentity(agent, mesh, organisation, leaf, options);
    await identity.#renewal?.start();
    return identity;
  }

  /**
   * Hands on part of what this agent may do: by name to a new agent of the same sponsor (the operator's business), by
   * DID to one that exists.
   * Errors: widened (more than this agent may do: nothing is made then), and those of create.
   */
  delegate(options: DelegateToNewOptions): Promise<AgentIdentity>;
  delegate(options: DelegateToOptions): Promise<DelegationAnswer>;
  async delegate(options: DelegateToNewOptions | DelegateToOptions): Promise<AgentIdentity | DelegationAnswer> {
    const capabilities = capabilitiesOf(options.capabilities);
    this.#verifyNarrower(capabilities);
    if ('to' in options) return this.#delegateTo(options.to, capabilities, options);
    const { agent, signer } = await register(this.mesh, { ...options, parent: this.did });
    try {
      const { link } = await this.#delegateTo(agent.did, capabilities, options);
      return await AgentIdentity.#start(agent, this.mesh, this.organisation, link.id, { ...options, signer });
    } catch (error) {
      // Without its link it would be an agent that nobody asked for.
      await this.mesh.agents.revoke(agent.did, 'its delegation failed');
      throw error;
    }
  }

  /** Revokes this agent's DID, for ever and everywhere, and names the links that fall with it. Errors: revoked, forbidden. */
  async revoke(reason = 'revoked by its owner', options?: CallOptions): Promise<RevocationAnswer> {
    const answer = await this.mesh.agents.revoke(this.did, reason, options);
    this.close();
    return { revocation: answer.revocation, cascade: answer.cascade, sessionsEnded: answer.sessionsEnded };
  }

  /**
   * Makes a chain that was given to this agent fit to be presented (`grant` of a handshake): an agent that keeps its own
   * key continues it with the key of its present credential; for others the daemon does. TrustBridge calls it.
   */
  async bindGrant(leaf: string, { signal }: CallOptions = {}): Promise<void> {
    if (this.#signer !== undefined) await this.#credential(this.#signer, { grant: leaf, signal });
  }

  /** As the daemon has it now. */
  show(options?: CallOptions): Promise<Agent> {
    return this.mesh.agents.show(this.did, options);
  }

  /** Bytes by which anybody can check this agent's chain without asking this daemon: see verifyChain. */
  async bundle(options?: CallOptions): Promise<Uint8Array> {
    if (this.leaf === undefined)
      throw new MeshError('conflict', `Cannot bundle the chain of "${this.name}": it has none until it is registered`);
    return this.mesh.chains.bundle(this.leaf, options);
  }

  /**
   * Logs what this agent does: on disk when it resolves, with `witnessed` cosigned by so many witnesses. An intent is
   * logged before the deed, and its outcome names it. An agent that keeps its own key signs the entry with it, here;
   * its daemon could log for it with the key of its credential alone, which the entry would name.
   * Errors: log_halted, busy, quorum, timeout; suspended, revoked.
   */
  async append({ signal, ...action }: Action): Promise<LogAppended> {
    const signer = this.#signer;
    if (signer === undefined) return this.mesh.log.append({ as: this.did, ...action }, { signal });
    const { type = wireTypeOf('agent.action'), subject, witnessed, phase = 'outcome', facts, ...data } = action;
    const timeMs = Date.now();
    const { bytes } = createEntry(
      {
        id: createUuid7(timeMs, randomBytes(16)),
        source: this.organisation,
        timeMs,
        type,
        ...(subject !== undefined && { subject }),
        // What JSON cannot hold canonically (floats, undefined) is refused where the entry is written.
        data: { actor: this.did, phase, ...data, ...(facts !== undefined && { facts: facts as JsonObject }) },
      },
      signer,
    );
    const entry = textOfBytes(bytes);
    return this.mesh.log.append({ as: this.did, entry, ...(witnessed !== undefined && { witnessed }) }, { signal });
  }

  /** What the audit log has of this agent. */
  audit(query: Omit<EntryQuery, 'actor'> = {}, options?: CallOptions): AsyncGenerator<LogEntryView, void, undefined> {
    return this.mesh.log.entries({ ...query, actor: this.did }, options);
  }

  /** Renews its credential no longer; the agent stays. */
  close(): void {
    this.#renewal?.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #delegateTo(
    to: string,
    capabilities: readonly Capability[],
    { from, ttlSeconds, depth, stalenessSeconds, rates, purposes, at, minScore, signal, ...rest }: Terms & CallOptions,
  ): Promise<DelegationAnswer> {
    const parent = from ?? this.leaf;
    const body: DelegateBody = {
      to,
      capabilities,
      as: this.did,
      ...(parent !== undefined && { from: parent }),
      ...(ttlSeconds !== undefined && { ttlSeconds }),
      ...(depth !== undefined && { depth }),
      ...(stalenessSeconds !== undefined && { stalenessSeconds }),
      ...(rates !== undefined && { rates }),
      ...(purposes !== undefined && { purposes }),
      ...(at !== undefined && { at }),
      ...(minScore !== undefined && { minScore }),
      ...(rest.private !== undefined && { private: rest.private }),
    };
    const answer = await this.mesh.delegations.create(body, { signal });
    const signer = this.#signer;
    if (answer.toSign.length === 0) return answer;
    if (signer === undefined)
      throw new MeshError(
        'key_missing',
        `Cannot sign a link of "${this.name}": the agent keeps its own key, and it was not given here`,
      );
    const asked = { id: answer.link.id, did: this.did, publicKey: signer.publicKey, body, nowSeconds: nowSeconds() };
    const signatures = answer.toSign.map((toSign) =>
      signChecked(toSign, 'delegation', signer, (statement) => verifyDelegation(statement, asked)),
    );
    return this.mesh.delegations.complete(answer.link.id, signatures, { signal });
  }

  /** As the daemon would refuse it, before anything is made. */
  #verifyNarrower(capabilities: readonly Capability[]): void {
    const extra = capabilities.find((narrow) => !this.capabilities.some((wide) => isCapabilityWithin(narrow, wide)));
    if (extra === undefined) return;
    throw new MeshError('widened', `Cannot delegate "${extra.can}": "${this.name}" may not do it`, {
      dimension: 'capability',
      is: extra.can,
    });
  }

  async #renewCredential(signer: Signer, signal: AbortSignal): Promise<string> {
    return this.#credential(signer, { signal });
  }

  /** When it expires. */
  async #credential(signer: Signer, { grant, signal }: CallOptions & { readonly grant?: string }): Promise<string> {
    const prepared = await this.mesh.agents.prepareCredential(this.did, grant === undefined ? {} : { grant }, {
      signal,
    });
    const { id, holderKey, toSign } = prepared;
    const limit = grant === undefined ? { capabilities: this.capabilities } : { grant };
    const asked = { id, did: this.did, publicKey: signer.publicKey, holderKey, nowSeconds: nowSeconds(), ...limit };
    const signatures = toSign.map((one) =>
      signChecked(one, 'credential', signer, (statement) => verifyCredential(statement, asked)),
    );
    const credential = await this.mesh.agents.completeCredential(this.did, { id, signatures }, { signal });
    if (credential === null)
      throw new MeshError('internal', `Cannot use the credential of "${this.name}": the daemon kept none`);
    return credential.expiresAt;
  }
}

type RegisterOptions = Pick<CreateIdentityOptions, 'name' | 'capabilities'> &
  KeyOptions &
  CallOptions &
  ({ readonly sponsor: string } | { readonly parent: string });

async function register(
  mesh: AgentMesh,
  options: RegisterOptions,
): Promise<{ agent: Agent; organisation: string; signer: Signer | undefined }> {
  const { name, signal } = options;
  const capabilities = capabilitiesOf(options.capabilities);
  const signer = options.signer ?? (options.key === 'own' ? createSigner() : undefined);
  const under = 'parent' in options ? { parent: options.parent } : { sponsor: options.sponsor };
  const organisation = await mesh.organisationDid({ signal });
  const { agent, toSign } = await mesh.agents.create(
    { name, ...under, capabilities, ...(signer && { publicKey: publicKeyText(signer) }) },
    { signal },
  );
  if (signer === undefined) return { agent, organisation, signer };
  const asked = { did: agent.did, organisation, publicKey: signer.publicKey, nowSeconds: nowSeconds() };
  const signatures = toSign.map((one) =>
    signChecked(one, 'genesis', signer, (statement) => verifyGenesis(statement, asked)),
  );
  return { agent: (await mesh.agents.complete(agent.did, signatures, { signal })).agent, organisation, signer };
}

/** The agent whose token this is. Errors: bad_request. */
async function ownDid(mesh: AgentMesh, signal: AbortSignal | undefined): Promise<string> {
  const { did } = await mesh.caller({ signal });
  if (did !== null) return did;
  throw new MeshError(
    'bad_request',
    'Cannot open an identity as the operator: want the DID of an agent, or its token in AGENTMESH_AGENT_TOKEN',
    {
      field: 'did',
    },
  );
}

const nowSeconds = (): number => Math.floor(Date.now() / 1000);
const warn = (error: unknown): void =>
  process.emitWarning(error instanceof Error ? error : String(error), { type: 'AgentMeshWarning' });
