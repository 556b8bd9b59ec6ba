/**
 * This organisation's people and agents: sponsors, agents with their root links, short-lived credentials and tokens.
 * Contact data and names stay in the registry; what agents may do comes from links, never from their genesis.
 */
import {
  assembleStatement,
  type Capability,
  createCredential,
  createRootLink,
  didOfGenesis,
  digestOf,
  encodePayload,
  equalBytes,
  fromBase64url,
  type IsSignatureValid,
  isCapabilityWithin,
  isEntitled,
  isMeshError,
  isOfKind,
  type KeyUse,
  limits,
  Link,
  MeshError,
  parseStatement,
  signingInput,
  signStatement,
  type Statement,
  toBase64url,
  toHex,
  verifySignatures,
} from '../../protocol/index.ts';
import type { Clock, Logger, Random, Signer } from '../ports.ts';
import { Drafts } from './drafts.ts';
import { afterWritten, UNRECORDED, type WriteAhead } from './log/write-ahead.ts';
import type { Organisation } from './organisation.ts';
import type { OwnSigners } from './own-signers.ts';
import type { Pipeline } from './pipeline.ts';
import type { AgentRow, Registry, SponsorRow } from './registry.ts';
import { Serial } from './serial.ts';

export interface AgentsComponents {
  readonly organisation: Organisation;
  readonly pipeline: Pipeline;
  readonly registry: Registry;
  readonly signers: OwnSigners;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Logger;
  readonly isSignatureValid: IsSignatureValid;
  /** A new key pair in memory only, for credentials. */
  readonly ephemeralSigner: () => Signer;
  readonly events: AgentEvents;
  /** What is granted here is in the log first. Default: there is no log. */
  readonly ahead?: WriteAhead;
}

export interface AgentEvents {
  registered(agent: AgentRow): void;
  changed(agent: AgentRow): void;
  credentialRotated(did: string, credential: Statement<'delegation/v1'>): void;
  credentialLapsed(did: string, credential: Statement<'delegation/v1'>): void;
}

export interface AgentsOptions {
  /** Default 10. */
  readonly agentsPerSponsorMax?: number;
  /** Life of a credential, seconds, at most 900; renewed at half of it. Default 900. */
  readonly credentialSeconds?: number;
}

export interface NewAgent {
  readonly name: string;
  /** Not together with parent. */
  readonly sponsor?: string;
  readonly parent?: string;
  readonly capabilities: readonly Capability[];
  /** Multikey of an agent that keeps its own key. */
  readonly publicKey?: Uint8Array;
  readonly publish: boolean;
}

/** What an agent that keeps its own key is asked to sign. */
export interface SigningRequest {
  readonly purpose: 'genesis' | 'credential';
  readonly key: Uint8Array;
  readonly payload: Uint8Array;
}

export interface HeldCredential {
  readonly link: Statement<'delegation/v1'>;
  /** Of the ephemeral key that the link binds. */
  readonly signer: Signer;
}

const ALL_USES: readonly KeyUse[] = ['auth', 'delegate', 'sign'];
const ROOT_LINK_SECONDS = 7 * 86_400; // renewed at half of it, so an organisation may be away for three days
const GRANTS_MAX = 256; // credentials over grants and login challenges held at once; the oldest goes
const LOOK_MS = 5_000; // well below half of the shortest life worth having

interface AgentDraft {
  readonly agent: NewAgent & { readonly sponsor: string };
  readonly payload: Uint8Array;
}
interface CredentialDraft {
  readonly agent: string;
  readonly payload: Uint8Array;
  readonly signer: Signer;
  /** Key among the credentials over grants, for one that continues a grant. */
  readonly over: string | undefined;
}

export class Agents {
  readonly #components: AgentsComponents;
  readonly #ahead: WriteAhead;
  readonly #agentsPerSponsorMax: number;
  readonly #credentialSeconds: number;
  readonly #serial = new Serial();
  readonly #credentials = new Map<string, HeldCredential>();
  /** By agent, leaf of the grant and credential whose key it binds. */
  readonly #grantCredentials = new Map<string, Statement<'delegation/v1'>>();
  readonly #agentDrafts: Drafts<AgentDraft>;
  readonly #credentialDrafts: Drafts<CredentialDraft>;
  readonly #tokens = new Map<string, { readonly did: string; readonly untilMs: number | undefined }>();
  readonly #challenges = new Map<string, { readonly did: string; readonly untilMs: number }>();
  /** Why an agent could not be renewed, so that it is said once. */
  readonly #notRenewed = new Map<string, string>();
  #timer: { cancel(): void } | undefined;
  #isClosed = false;

  constructor(components: AgentsComponents, options: AgentsOptions = {}) {
    this.#components = components;
    this.#ahead = components.ahead ?? UNRECORDED;
    this.#agentDrafts = new Drafts(components.clock, { what: 'agent' });
    this.#credentialDrafts = new Drafts(components.clock, { what: 'credential' });
    this.#agentsPerSponsorMax = options.agentsPerSponsorMax ?? 10;
    this.#credentialSeconds = Math.min(
      options.credentialSeconds ?? limits.CREDENTIAL_SECONDS_MAX,
      limits.CREDENTIAL_SECONDS_MAX,
    );
    for (const { did, tokens } of components.registry.agents())
      for (const hash of tokens) this.#tokens.set(hash, { did, untilMs: undefined });
  }

  get agentsPerSponsorMax(): number {
    return this.#agentsPerSponsorMax;
  }

  async start(): Promise<void> {
    const { pipeline, organisation } = this.#components;
    // What a retired key signed ends at once, or with its grace.
    pipeline.listen({
      accepted: ({ payload }) => {
        if (payload.t === 'didop/v1' && payload.op !== 'genesis' && payload.iss === organisation.did)
          void this.#renewInBackground();
      },
    });
    await this.#renewAll();
    this.#look();
  }

  #look(): void {
    if (this.#isClosed) return;
    this.#timer = this.#components.clock.after(LOOK_MS, () => void this.#renewInBackground().then(() => this.#look()));
  }

  /** Begins nothing more, and lets what was begun end. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#serial.run(async () => {});
  }

  // Sponsors

  sponsors(): SponsorRow[] {
    return this.#components.registry.sponsors();
  }

  /** Errors: not_found. */
  sponsor(did: string): SponsorRow {
    const row = this.#components.registry.sponsor(did);
    if (row === undefined)
      throw new MeshError('not_found', `Cannot find sponsor "${did}": no such person here`, { did });
    return row;
  }

  /** Errors: not_found, revoked. */
  requireSponsor(did: string): SponsorRow {
    const row = this.sponsor(did);
    if (this.isRevoked(did))
      throw new MeshError('revoked', `Cannot sign root links as sponsor "${did}": this person is revoked`, { did });
    return row;
  }

  /** Agents of a sponsor that are not revoked. */
  agentsOf(sponsor: string): AgentRow[] {
    return this.#components.registry
      .agents()
      .filter((agent) => agent.sponsor === sponsor && !this.isRevoked(agent.did));
  }

  /** Makes a person DID. Errors: conflict, key_missing, the door's codes. */
  async createSponsor(contact: string, name: string | null): Promise<SponsorRow> {
    return this.#serial.run(() => this.#createSponsor(contact, name));
  }

  async #createSponsor(contact: string, name: string | null): Promise<SponsorRow> {
    const { registry, signers, organisation, random, clock, pipeline } = this.#components;
    this.#ahead.verifyOpen();
    if (registry.sponsors().some((row) => sameContact(row.contact, contact))) {
      throw new MeshError('conflict', `Cannot make sponsor "${contact}": there is one already`, { is: contact });
    }
    const own = await signers.create(`person-${toHex(random.bytes(8))}`);
    const genesis = signStatement<'didop/v1'>(this.#genesisPayload('person', own.publicKey), [
      own,
      organisation.signer('sign'),
    ]);
    await pipeline.submit([genesis]);
    const row = { did: didOfGenesis(genesis.id), contact, name, createdMs: clock.nowMs() };
    await afterWritten(this.#ahead.sponsor(row.did), () => registry.saveSponsor(row));
    return row;
  }

  /** By e-mail (made if unknown) or DID. */
  async #sponsorFor(sponsor: string | undefined): Promise<SponsorRow> {
    const rows = this.#components.registry.sponsors();
    if (sponsor === undefined)
      throw new MeshError('bad_request', 'Cannot make an agent without a sponsor: name one by e-mail or DID', {
        field: 'sponsor',
      });
    if (sponsor.startsWith('did:')) return this.sponsor(sponsor);
    return rows.find((row) => sameContact(row.contact, sponsor)) ?? (await this.#createSponsor(sponsor, null));
  }

  // Agents

  agents(): AgentRow[] {
    return this.#components.registry.agents();
  }

  /** Errors: not_found. */
  agent(did: string): AgentRow {
    const row = this.#components.registry.agent(did);
    if (row === undefined)
      throw new MeshError('not_found', `Cannot find agent "${did}": no such agent of this organisation`, { did });
    return row;
  }

  /** Of an agent or sponsor: whether the organisation revoked its DID. */
  isRevoked(did: string): boolean {
    const { pipeline, organisation } = this.#components;
    return pipeline.state.revocationsOf({ did }).some(({ payload }) => payload.iss === organisation.did);
  }

  /** Whether the organisation, or the agent itself, revoked one of its keys. */
  isKeyRevoked(did: string, key: Uint8Array): boolean {
    const { pipeline, organisation } = this.#components;
    return pipeline.state
      .revocationsOf({ did, key })
      .some(({ payload }) => payload.iss === organisation.did || payload.iss === did);
  }

  status(agent: AgentRow): 'active' | 'suspended' | 'revoked' | 'unregistered' {
    if (this.isRevoked(agent.did)) return 'revoked';
    if (agent.isSuspended) return 'suspended';
    return agent.isRegistered ? 'active' : 'unregistered';
  }

  /** Errors: suspended, revoked, conflict (not registered). */
  requireActive(agent: AgentRow): void {
    const status = this.status(agent);
    if (status === 'active') return;
    const code = status === 'unregistered' ? 'conflict' : status;
    throw new MeshError(code, `Cannot act as agent "${agent.name}": it is ${status}`, { did: agent.did });
  }

  /** Errors: not_found, conflict, sponsor_full, widened, suspended, revoked, key_missing, the door's codes. */
  async create(
    agent: NewAgent,
  ): Promise<{ readonly agent: AgentRow; readonly token: string | null; readonly toSign: readonly SigningRequest[] }> {
    return this.#serial.run(async () => {
      this.#ahead.verifyOpen(); // before keys and rows are made that nobody could use
      const sponsor =
        agent.parent === undefined
          ? (await this.#sponsorFor(agent.sponsor)).did
          : this.#sponsorOfParent(agent.parent, agent.capabilities);
      this.#requirePlace(agent.name, sponsor);
      const complete = { ...agent, sponsor };
      return agent.publicKey === undefined ? this.#createHeld(complete) : this.#draftAgent(complete, agent.publicKey);
    });
  }

  /**
   * The signature of an agent that keeps its own key. Errors: not_found, bad_signature, expired, conflict, sponsor_full,
   * revoked, the door's codes.
   */
  async complete(
    did: string,
    signatures: readonly Uint8Array[],
  ): Promise<{ readonly agent: AgentRow; readonly token: string | null }> {
    return this.#serial.run(async () => {
      const draft = this.#agentDrafts.take(did);
      const own = this.#components.organisation.signer('sign');
      const genesis = assembleStatement(draft.payload, [
        ...signatures,
        own.sign(signingInput('didop/v1', draft.payload)),
      ]);
      verifySignatures(genesis, this.#components.isSignatureValid);
      this.#requirePlace(draft.agent.name, draft.agent.sponsor); // another may have taken it since
      return this.#add(draft.agent, genesis, 'agent');
    });
  }

  /** Publishes an agent made before, and issues a token. Errors: not_found, suspended, revoked, the door's codes. */
  async register(did: string): Promise<{ readonly agent: AgentRow; readonly token: string }> {
    return this.#serial.run(async () => {
      const agent = this.agent(did);
      const status = this.status(agent);
      if (status === 'suspended' || status === 'revoked') this.requireActive(agent);
      const registered = agent.isRegistered ? agent : await this.#publish(agent);
      return { agent: registered, token: await this.#issueToken(did) };
    });
  }

  /** Local: no new credential, the current one revoked, tokens void. Errors: not_found, revoked. */
  async suspend(did: string): Promise<AgentRow> {
    return this.#serial.run(async () => {
      const agent = this.agent(did);
      if (this.isRevoked(did)) this.requireActive(agent);
      const row = { ...agent, isSuspended: true, tokens: [] };
      if (!agent.isSuspended) await this.#components.registry.saveAgent(row);
      this.#forgetTokens(did);
      const credential = this.credential(did);
      if (credential !== undefined) {
        await this.#components.organisation.revoke({ link: Link.parse(credential.link.id) }, 'suspended', undefined);
      }
      this.#dropCredentials(did); // not before its revocation is out: who asks again brings it out then
      if (!agent.isSuspended) this.#components.events.changed(row);
      return row;
    });
  }

  /** Errors: not_found, revoked. */
  async resume(did: string): Promise<AgentRow> {
    return this.#serial.run(async () => {
      const agent = this.agent(did);
      if (this.isRevoked(did)) this.requireActive(agent);
      if (!agent.isSuspended) return agent;
      const row = { ...agent, isSuspended: false };
      await afterWritten(this.#ahead.resumed(agent), async () => {
        await this.#components.registry.saveAgent(row);
        if (row.isRegistered) await this.#renew(row);
      });
      this.#components.events.changed(row);
      return this.agent(did);
    });
  }

  /** Revokes its DID for ever. Errors: not_found, revoked. */
  async revoke(did: string, reason: string): Promise<Statement<'revocation/v1'>> {
    return this.#serial.run(async () => {
      const agent = this.agent(did);
      if (this.isRevoked(did))
        throw new MeshError('revoked', `Cannot revoke agent "${agent.name}": it is revoked already`, { did });
      if (!agent.isRegistered) await this.#publish(agent); // what nobody knows cannot be revoked for anyone
      const revocation = await this.#components.organisation.revoke({ did }, reason, undefined);
      this.#forgetTokens(did);
      this.#dropCredentials(did);
      const row = { ...this.agent(did), tokens: [] };
      await this.#components.registry.saveAgent(row);
      this.#components.events.changed(row);
      return revocation;
    });
  }

  // Tokens

  /** The agent that a token acts as, if it is good and the agent may act. */
  agentOfToken(token: string): string | undefined {
    const known = this.#tokens.get(hashOf(token));
    if (known === undefined || (known.untilMs !== undefined && this.#components.clock.nowMs() >= known.untilMs))
      return undefined;
    const agent = this.#components.registry.agent(known.did);
    return agent !== undefined && this.status(agent) === 'active' ? known.did : undefined;
  }

  /** Errors: not_found, conflict, suspended, revoked. */
  async issueToken(did: string): Promise<string> {
    return this.#serial.run(async () => {
      this.requireActive(this.agent(did));
      return this.#issueToken(did);
    });
  }

  async #issueToken(did: string): Promise<string> {
    const agent = this.agent(did);
    const token = toBase64url(this.#components.random.bytes(32));
    const tokens = [...agent.tokens, hashOf(token)];
    await afterWritten(this.#ahead.token(did, undefined), async () => {
      for (const old of tokens.slice(0, -limits.TOKENS_PER_AGENT_MAX)) this.#tokens.delete(old);
      await this.#components.registry.saveAgent({ ...agent, tokens: tokens.slice(-limits.TOKENS_PER_AGENT_MAX) });
      this.#tokens.set(hashOf(token), { did, untilMs: undefined });
    });
    return token;
  }

  /** A nonce for an agent that keeps its own key. Errors: not_found, conflict. */
  loginChallenge(did: string): { readonly nonce: Uint8Array; readonly untilMs: number } {
    const agent = this.agent(did);
    if (agent.keyHeldBy !== 'agent')
      throw new MeshError('conflict', `Cannot log in as "${agent.name}": the daemon holds its key, so use its token`, {
        did,
      });
    const nonce = this.#components.random.bytes(limits.LOGIN_NONCE_BYTES);
    const untilMs = this.#components.clock.nowMs() + limits.LOGIN_CHALLENGE_SECONDS * 1000;
    bounded(this.#challenges, limits.LOGIN_CHALLENGES_PENDING_MAX);
    this.#challenges.set(toHex(nonce), { did, untilMs });
    return { nonce, untilMs };
  }

  /** Uses up a challenge. Errors: expired. */
  takeChallenge(did: string, nonce: Uint8Array): void {
    const key = toHex(nonce);
    const challenge = this.#challenges.get(key);
    this.#challenges.delete(key);
    if (challenge === undefined || challenge.did !== did || this.#components.clock.nowMs() >= challenge.untilMs) {
      throw new MeshError('expired', 'Cannot log in: the nonce is unknown, used or too old', { did });
    }
  }

  /** A token for 15 minutes, in memory only; of one agent the newest 16 are good. Errors: suspended, revoked, conflict. */
  async loginToken(did: string): Promise<{ readonly token: string; readonly untilMs: number }> {
    this.requireActive(this.agent(did));
    const token = toBase64url(this.#components.random.bytes(32));
    const untilMs = this.#components.clock.nowMs() + limits.LOGIN_TOKEN_SECONDS * 1000;
    await afterWritten(this.#ahead.token(did, untilMs), () => {
      this.requireActive(this.agent(did)); // it may have been suspended meanwhile
      this.#keepLoginToken(did, token, untilMs);
    });
    return { token, untilMs };
  }

  #keepLoginToken(did: string, token: string, untilMs: number): void {
    const nowMs = this.#components.clock.nowMs();
    const own: string[] = [];
    for (const [hash, known] of this.#tokens) {
      if (known.untilMs === undefined) continue;
      if (known.untilMs <= nowMs) this.#tokens.delete(hash);
      else if (known.did === did) own.push(hash);
    }
    if (own.length >= limits.TOKENS_PER_AGENT_MAX) this.#tokens.delete(own[0] as string);
    this.#tokens.set(hashOf(token), { did, untilMs });
  }

  #forgetTokens(did: string): void {
    for (const [hash, known] of this.#tokens) if (known.did === did) this.#tokens.delete(hash);
  }

  // Credentials

  credential(did: string): HeldCredential | undefined {
    const held = this.#credentials.get(did);
    return held !== undefined && held.link.payload.exp > this.#nowSeconds() ? held : undefined;
  }

  /** In force. */
  credentials(): Statement<'delegation/v1'>[] {
    return this.agents().flatMap(({ did }) => this.credential(did)?.link ?? []);
  }

  /**
   * Continues another organisation's grant to this agent with the key of its present credential, so that one signature
   * proves both. Errors: key_missing, suspended, revoked, as createCredential.
   */
  async credentialOver(did: string, grant: readonly Statement<'delegation/v1'>[]): Promise<Statement<'delegation/v1'>> {
    const { pipeline, signers } = this.#components;
    const { credential, key } = this.#overGrant(did, grant);
    const known = this.#grantCredentials.get(key);
    if (known !== undefined && known.payload.exp > this.#nowSeconds()) return known;
    const own = signers.signerFor(pipeline.state.didState(did), did, 'delegate');
    const link = signStatement<'delegation/v1'>(
      this.#credentialPayload(grant, own.publicKey, credential.signer.publicKey),
      [own],
    );
    await afterWritten(this.#ahead.credential(link), () => {
      this.requireActive(this.agent(did)); // it may have been suspended meanwhile
      this.#keepOverGrant(key, link);
    });
    return link;
  }

  #keepOverGrant(key: string, link: Statement<'delegation/v1'>): void {
    bounded(this.#grantCredentials, GRANTS_MAX);
    this.#grantCredentials.set(key, link);
  }

  /** Errors: key_missing. */
  #overGrant(did: string, grant: readonly Statement<'delegation/v1'>[]): { credential: HeldCredential; key: string } {
    const leaf = grant.at(-1);
    const credential = this.credential(did);
    if (leaf === undefined || credential === undefined) {
      throw new MeshError('key_missing', `Cannot continue a grant to "${did}": it has no credential in force`, { did });
    }
    return { credential, key: `${did} ${leaf.id} ${credential.link.id}` };
  }

  /**
   * A credential for an agent that keeps its own key, to be signed by it; with `grant` one that continues that chain by
   * the key of its present credential, as `credentialOver` makes for other agents.
   * Errors: not_found, conflict, suspended, revoked, key_missing, as createCredential.
   */
  prepareCredential(
    did: string,
    grant?: readonly Statement<'delegation/v1'>[],
  ): {
    readonly id: string;
    readonly holderKey: Uint8Array;
    readonly request: SigningRequest;
  } {
    const agent = this.agent(did);
    this.requireActive(agent);
    if (agent.keyHeldBy !== 'agent')
      throw new MeshError(
        'conflict',
        `Cannot prepare a credential of "${agent.name}": the daemon holds its key and renews it`,
        { did },
      );
    const over = grant === undefined ? undefined : this.#overGrant(did, grant);
    const signer = over?.credential.signer ?? this.#components.ephemeralSigner();
    const key = this.#agentKey(did);
    const payload = encodePayload<'delegation/v1'>(
      this.#credentialPayload(grant ?? [this.#rootLink(agent)], key, signer.publicKey),
    );
    const id = Link.ofDigest(digestOf(payload)).text;
    this.#credentialDrafts.put(id, { agent: did, payload, signer, over: over?.key });
    return { id, holderKey: signer.publicKey, request: { purpose: 'credential', key, payload } };
  }

  /** Errors: not_found, bad_signature, expired, suspended, revoked, the door's codes. */
  async completeCredential(did: string, id: string, signatures: readonly Uint8Array[]): Promise<HeldCredential> {
    return this.#serial.run(() => this.#completeCredential(did, id, signatures));
  }

  async #completeCredential(did: string, id: string, signatures: readonly Uint8Array[]): Promise<HeldCredential> {
    this.requireActive(this.agent(did));
    const draft = this.#credentialDrafts.take(id, ({ agent }) => agent === did);
    const link = assembleStatement(draft.payload, signatures);
    if (!isOfKind(link, 'delegation/v1'))
      throw new MeshError('internal', 'Cannot complete a credential: its draft is no link');
    if (draft.over !== undefined) {
      const { over } = draft;
      verifySignatures(link, this.#components.isSignatureValid);
      await afterWritten(this.#ahead.credential(link), () => this.#keepOverGrant(over, link));
      return { link, signer: draft.signer };
    }
    await this.#components.pipeline.submit([link]);
    return this.#setCredential(did, { link, signer: draft.signer });
  }

  #setCredential(did: string, held: HeldCredential): HeldCredential {
    this.#credentials.set(did, held);
    this.#components.events.credentialRotated(did, held.link);
    return held;
  }

  #dropCredentials(did: string): void {
    this.#credentials.delete(did);
    for (const key of this.#grantCredentials.keys()) if (key.startsWith(`${did} `)) this.#grantCredentials.delete(key);
  }

  #makeCredential(did: string, chain: readonly Statement<'delegation/v1'>[]): HeldCredential {
    const { pipeline, signers, ephemeralSigner } = this.#components;
    const own = signers.signerFor(pipeline.state.didState(did), did, 'delegate');
    const signer = ephemeralSigner();
    const link = signStatement<'delegation/v1'>(this.#credentialPayload(chain, own.publicKey, signer.publicKey), [own]);
    return { link, signer };
  }

  #credentialPayload(
    chain: readonly Statement<'delegation/v1'>[],
    key: Uint8Array,
    boundKey: Uint8Array,
  ): ReturnType<typeof createCredential> {
    const { pipeline, random } = this.#components;
    return createCredential({ boundKey, seconds: this.#credentialSeconds }, chain, key, {
      nonce: random.bytes(limits.NONCE_BYTES),
      nowSeconds: this.#nowSeconds(),
      view: pipeline.state,
    });
  }

  /** Also where the clock was set back, so that it is not valid yet. */
  #isHalfOver({ payload: { iat, exp } }: Statement<'delegation/v1'>): boolean {
    const nowSeconds = this.#nowSeconds();
    return nowSeconds >= iat + (exp - iat) / 2 || nowSeconds < iat - limits.SKEW_SECONDS;
  }

  /** Whether the organisation still has the key that signed a root link: one in its grace will not do for long. */
  #isByCurrentKey({ payload }: Statement<'delegation/v1'>): boolean {
    return this.#components.organisation.state.keys.some(([key]) => equalBytes(key, payload.by[0] as Uint8Array));
  }

  /** Errors: revoked, by somebody who may: what was taken away on purpose does not come back by itself. */
  #requireNotRevoked(link: Statement<'delegation/v1'>, agent: AgentRow): void {
    const { state } = this.#components.pipeline;
    const by = state.revocationsOf({ link: link.id }).find(({ payload }) => isEntitled(payload.iss, link, state));
    if (by !== undefined)
      throw new MeshError('revoked', `Cannot renew agent "${agent.name}": its root link was revoked`, {
        id: link.id,
        by: by.payload.iss,
      });
  }

  #renewInBackground(): Promise<void> {
    return this.#renewAll().catch((error: unknown) =>
      this.#components.log.error({ error }, 'credentials cannot be renewed'),
    );
  }

  /** Each by itself: that one cannot be renewed is no reason for the others to lapse. */
  async #renewAll(): Promise<void> {
    const { organisation, log } = this.#components;
    for (const { did } of this.agents()) {
      if (this.#isClosed || organisation.state.status !== 'active') return;
      await this.#serial.run(async () => {
        const agent = this.agent(did);
        try {
          if (this.status(agent) === 'active') await this.#renew(agent);
          else if (this.isRevoked(did)) this.#dropCredentials(did);
          this.#notRenewed.delete(did);
        } catch (error) {
          if (!isMeshError(error)) throw error;
          if (this.#notRenewed.get(did) !== error.code)
            log.warn({ did, code: error.code, reason: error.message }, 'an agent cannot be renewed');
          this.#notRenewed.set(did, error.code);
        }
      });
    }
  }

  /** Root link and credential, each where half of its life is over or a key it stands on is retired. */
  async #renew(agent: AgentRow): Promise<void> {
    const { pipeline, registry } = this.#components;
    const current = pipeline.state.link(agent.rootLink);
    let row = agent;
    if (current !== undefined) this.#requireNotRevoked(current, agent);
    if (current === undefined || this.#isHalfOver(current) || !this.#isByCurrentKey(current)) {
      const link = this.#makeRootLink(agent.did, agent.sponsor, agent.capabilities);
      await pipeline.submit([link]);
      row = { ...agent, rootLink: link.id };
      await registry.saveAgent(row);
    }
    const credential = this.#credentials.get(row.did);
    const root = pipeline.state.link(credential?.link.payload.prf?.text ?? '');
    const isStanding = root !== undefined && this.#isByCurrentKey(root);
    if (credential !== undefined && isStanding && !this.#isHalfOver(credential.link)) return;
    if (row.keyHeldBy === 'agent') {
      if (credential !== undefined && (!isStanding || credential.link.payload.exp <= this.#nowSeconds())) {
        this.#dropCredentials(row.did);
        this.#components.events.credentialLapsed(row.did, credential.link);
      }
      return;
    }
    const held = this.#makeCredential(row.did, [this.#rootLink(row)]);
    await this.#components.pipeline.submit([held.link]);
    this.#setCredential(row.did, held);
  }

  // Making

  async #createHeld(
    agent: NewAgent & { readonly sponsor: string },
  ): Promise<{ agent: AgentRow; token: string | null; toSign: readonly SigningRequest[] }> {
    const { signers, random, organisation } = this.#components;
    const own = await signers.create(`agent-${toHex(random.bytes(8))}`);
    const genesis = signStatement<'didop/v1'>(this.#genesisPayload('agent', own.publicKey), [
      own,
      organisation.signer('sign'),
    ]);
    return { ...(await this.#add(agent, genesis, 'daemon')), toSign: [] };
  }

  #draftAgent(
    agent: NewAgent & { readonly sponsor: string },
    publicKey: Uint8Array,
  ): { agent: AgentRow; token: null; toSign: readonly SigningRequest[] } {
    const own = this.#components.organisation.signer('sign');
    const payload = encodePayload<'didop/v1'>({
      ...this.#genesisPayload('agent', publicKey),
      by: [publicKey, own.publicKey],
    });
    const did = didOfGenesis(Link.ofDigest(digestOf(payload)).text);
    this.#agentDrafts.put(did, { agent, payload });
    const row = this.#row(did, agent, '', 'agent', this.#components.clock.nowMs());
    return { agent: row, token: null, toSign: [{ purpose: 'genesis', key: publicKey, payload }] };
  }

  async #add(
    agent: NewAgent & { readonly sponsor: string },
    genesis: Statement,
    keyHeldBy: 'daemon' | 'agent',
  ): Promise<{ agent: AgentRow; token: string | null }> {
    const did = didOfGenesis(genesis.id);
    const link = this.#makeRootLink(did, agent.sponsor, agent.capabilities);
    const drafts = [genesis, link].map(({ envelope }) => toBase64url(envelope));
    const row = { ...this.#row(did, agent, link.id, keyHeldBy, this.#components.clock.nowMs()), drafts };
    await this.#components.registry.saveAgent(row);
    if (!agent.publish) return { agent: row, token: null };
    const published = await this.#publish(row);
    return { agent: published, token: await this.#issueToken(did) };
  }

  #row(
    did: string,
    agent: NewAgent & { readonly sponsor: string },
    rootLink: string,
    keyHeldBy: 'daemon' | 'agent',
    createdMs: number,
  ): AgentRow {
    const { name, sponsor, parent = null, capabilities } = agent;
    return {
      did,
      name,
      sponsor,
      parent,
      capabilities,
      rootLink,
      keyHeldBy,
      isRegistered: false,
      isSuspended: false,
      createdMs,
      tokens: [],
      drafts: [],
    };
  }

  async #publish(agent: AgentRow): Promise<AgentRow> {
    const { pipeline, registry, events } = this.#components;
    const [genesis, link] = agent.drafts.map((draft) => parseStatement(fromBase64url(draft) as Uint8Array));
    if (genesis === undefined || link === undefined)
      throw new MeshError('store_corrupt', `Cannot publish agent "${agent.name}": its drafts are gone`, {
        did: agent.did,
      });
    // A draft may have waited for weeks: what is stale is made anew.
    const fresh =
      isOfKind(link, 'delegation/v1') && !this.#isHalfOver(link) && this.#isByCurrentKey(link)
        ? link
        : this.#makeRootLink(agent.did, agent.sponsor, agent.capabilities);
    await pipeline.submit([genesis, fresh]);
    const row = { ...agent, rootLink: fresh.id, isRegistered: true, drafts: [] };
    await registry.saveAgent(row);
    await this.#renew(row);
    events.registered(row);
    return row;
  }

  #makeRootLink(did: string, sponsor: string, capabilities: readonly Capability[]): Statement<'delegation/v1'> {
    const { organisation, pipeline, signers, random } = this.#components;
    const own = organisation.signer('delegate');
    this.requireSponsor(sponsor);
    const person = signers.signerFor(pipeline.state.didState(sponsor), sponsor, 'delegate');
    const nowSeconds = this.#nowSeconds();
    const payload = createRootLink(
      { audience: did, capabilities, expiresSeconds: nowSeconds + ROOT_LINK_SECONDS },
      { organisation: { did: organisation.did, key: own.publicKey }, sponsor: { did: sponsor, key: person.publicKey } },
      { nonce: random.bytes(limits.NONCE_BYTES), nowSeconds },
    );
    return signStatement<'delegation/v1'>(payload, [own, person]);
  }

  #genesisPayload(kind: 'agent' | 'person', publicKey: Uint8Array) {
    return {
      t: 'didop/v1' as const,
      op: 'genesis' as const,
      kind,
      iat: this.#nowSeconds(),
      keys: [[publicKey, ALL_USES] as const],
      nxt: [],
      nthr: 0,
      rec: [],
      rthr: 0,
      peer: [],
      ctl: this.#components.organisation.did,
      nce: this.#components.random.bytes(limits.NONCE_BYTES),
    };
  }

  /** Errors: conflict. */
  #rootLink(agent: AgentRow): Statement<'delegation/v1'> {
    const link = this.#components.pipeline.state.link(agent.rootLink);
    if (link === undefined)
      throw new MeshError('conflict', `Cannot act as agent "${agent.name}": its root link is not held`, {
        did: agent.did,
      });
    return link;
  }

  #agentKey(did: string): Uint8Array {
    const key = this.#components.pipeline.state.didState(did)?.keys.find(([, uses]) => uses.includes('delegate'))?.[0];
    if (key === undefined)
      throw new MeshError('key_missing', `Cannot make a credential for "${did}": it lists no key of use "delegate"`, {
        did,
      });
    return key;
  }

  #sponsorOfParent(parent: string, capabilities: readonly Capability[]): string {
    const agent = this.agent(parent);
    this.requireActive(agent);
    for (const capability of capabilities) {
      if (!agent.capabilities.some((wide) => isCapabilityWithin(capability, wide))) {
        throw new MeshError(
          'widened',
          `Cannot give "${capability.can}" to an agent of "${agent.name}": its root link does not cover it`,
          { dimension: 'capability', is: capability.can },
        );
      }
    }
    return agent.sponsor;
  }

  /** Errors: conflict (the name is taken), revoked (the sponsor is), sponsor_full. */
  #requirePlace(name: string, sponsor: string): void {
    if (this.agents().some((agent) => agent.name === name && !this.isRevoked(agent.did)))
      throw new MeshError('conflict', `Cannot make agent "${name}": there is one of this name already`, { is: name });
    this.requireSponsor(sponsor);
    const count = this.agentsOf(sponsor).length;
    if (count < this.#agentsPerSponsorMax) return;
    throw new MeshError(
      'sponsor_full',
      `Cannot give "${sponsor}" another agent: it sponsors ${count}, at most ${this.#agentsPerSponsorMax} are allowed`,
      {
        did: sponsor,
        is: count,
        want: this.#agentsPerSponsorMax,
      },
    );
  }

  #nowSeconds(): number {
    return Math.floor(this.#components.clock.nowMs() / 1000);
  }
}

const sameContact = (a: string, b: string): boolean => a.toLowerCase() === b.toLowerCase();

const hashOf = (token: string): string => toHex(digestOf(new TextEncoder().encode(token)));

/** Makes room for one more; the oldest goes. */
function bounded(map: Map<string, unknown>, max: number): void {
  if (map.size >= max) map.delete(map.keys().next().value as string);
}
