/**
 * A ControlBackend for tests of the server and the SDK: one organisation whose statements are real (signed, admitted
 * and verified by protocol/) and a network that is not there.
 */
import { randomBytes } from 'node:crypto';
import type {
  Agent,
  AgentCreated,
  AnyCaller,
  Caller,
  ControlBackend,
  DelegateBody,
  LinkView,
  OperationAnswer,
  RevocationAnswer,
  SessionShown,
  SessionView,
  ToSign,
} from '../../../protocol/control/index.ts';
import { loginMessage } from '../../../protocol/control/index.ts';
import { cascadeOf } from '../../../protocol/delegation/cascade.ts';
import { collectBundle, encodeBundle } from '../../../protocol/delegation/bundle.ts';
import { createChildLink, createCredential, createRootLink } from '../../../protocol/delegation/create.ts';
import { linksTo, verifyChain } from '../../../protocol/delegation/verify.ts';
import {
  admitAll,
  assembleStatement,
  type Capability,
  type Delegation,
  didDocumentMetadata,
  didOfGenesis,
  didResolution,
  digestOf,
  encodePayload,
  type Genesis,
  isCapabilityWithin,
  isMeshError,
  Link as LinkValue,
  limits,
  MeshError,
  MeshState,
  multikeyText,
  parseMultikeyText,
  toHex,
  type Statement,
  signedBytes,
  signStatement,
  verifySignature,
  verifySignatures,
} from '../../../protocol/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import type { Agents, HeldCredential } from '../../../daemon/core/agents.ts';
import { EventBus } from '../../../daemon/core/events.ts';
import type { ExposuresOperation } from '../../../daemon/core/calls/exposures-backend.ts';
import type { ReceiptsOperation } from '../../../daemon/core/calls/receipts-backend.ts';
import type { GovernanceOperation } from '../../../daemon/core/governance/governance-backend.ts';
import { NodeGovernance } from '../../../daemon/core/governance/node-governance.ts';
import type { Conviction } from '../../../daemon/core/log/convictions.ts';
import { createLogBackend, type LogBackend } from '../../../daemon/core/log/log-backend.ts';
import type { MirrorStatus } from '../../../daemon/core/log/mirrors.ts';
import type { MonitorStatus } from '../../../daemon/core/log/monitor.ts';
import { Recorder } from '../../../daemon/core/log/recorder.ts';
import type { MessagesOperation } from '../../../daemon/core/messages/messages-backend.ts';
import type { OwnSigners } from '../../../daemon/core/own-signers.ts';
import type { Registry, SponsorRow } from '../../../daemon/core/registry.ts';
import type { Clock } from '../../../daemon/ports.ts';
import { MemoryStore } from '../../../daemon/store/memory.ts';
import { createSystemClock, createSystemRandom } from '../../../daemon/system.ts';
import {
  createOrganisation,
  createHeartbeat,
  createPerson,
  createRevocation,
  type Identity,
  keyOf,
  type TestKey,
} from '../../builders.ts';
import { checkpointOf, createBinding, createFork, ownLog, ownWitness } from '../../protocol/log/own-log.ts';
import { signedNote } from '../../protocol/log/sample.ts';
import { fakeReceipts } from './fake-receipts.ts';
import { openFakeExposures } from './fake-exposures.ts';
import { openFakeMail } from './fake-mail.ts';
import { FakeCosigning, FakeLog, FakeRecorder, openFakeLog, recordCredential, recordOperation } from './fake-log.ts';

type LogOperation = keyof LogBackend['operations'];
type Link = Statement<'delegation/v1'>;

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
const bytesOf = (base64url: string): Uint8Array => Uint8Array.from(Buffer.from(base64url, 'base64url'));
const iso = (seconds: number): string => new Date(seconds * 1000).toISOString();

const NOTHING_WATCHED: MonitorStatus = {
  logs: 0,
  checkpoints: 0,
  asked: 0,
  agreed: 0,
  proven: 0,
  garbage: 0,
  spoiled: 0,
  withheld: [],
};

interface HeldAgent {
  view: Agent;
  /** Undefined: the agent keeps it. */
  readonly key: TestKey | undefined;
  readonly publicKey: Uint8Array;
  /** Binds its credentials. */
  readonly holderKey: TestKey;
}

interface Pending {
  readonly payloadBytes: Uint8Array;
  readonly purpose: ToSign['purpose'];
  readonly finish: (envelope: Statement) => Promise<unknown>;
  readonly more: (payload: Uint8Array) => Uint8Array[];
}

export class FakeBackend implements ControlBackend {
  readonly organisation: Identity;
  readonly auditLog: FakeLog;
  readonly recorder: FakeRecorder;
  readonly cosigning: FakeCosigning;
  readonly #log: LogBackend;
  readonly #convictions = new Map<string, Conviction>();
  readonly state = new MeshState();
  readonly events: EventBus;
  /** Every call, in order: who and what. */
  readonly calls: { operationId: string; caller: AnyCaller; signal: AbortSignal }[] = [];
  /** Grants that agents made fit to be presented. */
  readonly bound: { did: string; grant: string; link: Link }[] = [];
  readonly #tokens = new Map<string, string>();
  readonly #agents = new Map<string, HeldAgent>();
  readonly #sponsors = new Map<
    string,
    { readonly identity: Identity; readonly contact: string; readonly name: string | null }
  >();
  readonly #pending = new Map<string, Pending>();
  readonly #challenges = new Map<string, string>();
  readonly #sessions = new Map<string, SessionShown>();
  #revocations: Statement<'revocation/v1'>[] = [];
  #count = 0;
  /** What `log status` says of others' logs, and of copies kept for them. */
  watched: MonitorStatus = NOTHING_WATCHED;
  copies: MirrorStatus[] = [];
  /** Texts of the configured policies, as long as nothing was decided. */
  policies: string[] = [];
  /** Members of the groups that policies name, likewise. */
  approvers: { readonly group: string; readonly who: string }[] = [];
  #governance: Promise<NodeGovernance> | undefined;
  #mail: ReturnType<typeof openFakeMail> | undefined;
  #exposures: ReturnType<typeof openFakeExposures> | undefined;
  /** Called at the start of each call; may wait, or throw. */
  onCall: (operationId: string, signal: AbortSignal) => Promise<void> = async () => {};

  constructor(name = 'acme') {
    this.organisation = createOrganisation(name, { iat: this.#now() - 10 });
    this.events = new EventBus({ nowMs: () => Date.now() }, { run: 'ab01' });
    this.#admit(this.organisation.genesis);
    this.#beat();
    this.auditLog = new FakeLog(name);
    this.recorder = new FakeRecorder(this.auditLog, this.organisation);
    this.cosigning = new FakeCosigning(this.auditLog, [
      createOrganisation('watcher 1'),
      createOrganisation('watcher 2'),
    ]);
    void openFakeLog(this.recorder, this.organisation);
    this.#log = createLogBackend({
      auditLog: () => this.auditLog,
      append: (entry) => this.auditLog.append(entry),
      cosigning: () => this.cosigning,
      convictions: {
        list: () => [...this.#convictions.values()],
        get: (did) => this.#convictions.get(did),
        lift: async (did, reason) => this.#lift(did, reason),
      },
      monitor: { status: () => this.watched },
      mirrors: { status: () => this.copies },
      witness: {
        vkey: ownWitness(name).vkey,
        listening: () => null,
        notes: () => this.#cosignedNotes(),
      },
      actors: {
        signer: () => this.organisation.keys.sign,
        principal: (did) => this.#agents.get(did)?.view.sponsor.did,
      },
      credential: (did) => this.#heldCredential(did),
      verifyMayAct: (did) => this.#verifyMayAct(did),
      isKeyOf: (did, key) => multikeyText(this.#agent(did).publicKey) === key,
      recover: async (how) => {
        if (this.auditLog.problem === undefined) throw new MeshError('conflict', 'Cannot recover: nothing is wrong');
        this.auditLog.problem = undefined;
        return how === 'mirrors' ? 2 : undefined;
      },
      state: this.state,
      organisation: this.organisation.did,
      clock: { nowMs: () => Date.now(), monotonicMs: () => performance.now() } as Clock,
      random: { bytes: (count) => randomBytes(count), fraction: () => 0.5 },
      isSignatureValid: isSignatureValidSodium,
    });
    this.auditLog.onGrown((treeSize) => this.events.emit({ type: 'log.grown', data: { treeSize } }));
  }

  /** By two histories that it signed. */
  convict(organisation: Identity, of: 'log' | 'witness' = 'log'): void {
    const binding = createBinding(organisation);
    const log = ownLog(organisation.name);
    const signer = of === 'log' ? log : ownWitness(organisation.name);
    const proof = createFork(binding, signer, [3, 5], { log });
    const { did } = organisation;
    this.#convictions.set(did, { organisation: did, proofs: [proof], isInForce: true, lift: undefined });
    this.events.emit({ type: 'conviction.made', data: { did, of, proof: proof.id } });
  }

  readonly tokens = { agentOf: (token: string): string | undefined => this.#tokens.get(token) };

  /** A token for an agent, as `run` and `register` give. */
  issueToken(did: string): string {
    const token = text(digestOf(new TextEncoder().encode(`token ${did} ${this.#next()}`)));
    this.#tokens.set(token, did);
    return token;
  }

  forgetToken(token: string): void {
    this.#tokens.delete(token);
  }

  forgetTokens(): void {
    this.#tokens.clear();
  }

  // The daemon

  async status(_input: unknown, caller: Caller, signal: AbortSignal) {
    await this.#begin('status', caller, signal);
    return {
      version: '0.1.0',
      network: 'agentmesh',
      organisation: { did: this.organisation.did, name: this.organisation.name, status: 'active' as const },
      peerId: this.organisation.node.peerId,
      addresses: [`/ip4/127.0.0.1/tcp/4001/p2p/${this.organisation.node.peerId}`],
      listening: 'loopback' as const,
      socket: '/srv/acme/agentmeshd.sock',
      home: '/srv/acme',
      startedAt: iso(this.#now()),
      uptimeSeconds: 1.5,
      statements: { count: this.state.size, bytes: 1000, setRoot: 'ab'.repeat(32) },
      peers: { connected: 1, bound: 1 },
      agents: this.#agents.size,
      sponsors: this.#sponsors.size,
      sessions: this.#sessions.size,
      exposed: 0,
      keysEncrypted: false,
      log: await this.#log.summary(),
      warnings: [{ code: 'keys_unencrypted', message: 'Keys are not encrypted' }],
    };
  }

  async peerList(_input: unknown, caller: Caller, signal: AbortSignal) {
    await this.#begin('peerList', caller, signal);
    return { peers: [this.#peer('/ip4/127.0.0.1/tcp/4002')] };
  }

  async peerDial({ body }: { body: { address: string } }, caller: Caller, signal: AbortSignal) {
    await this.#begin('peerDial', caller, signal);
    if (body.address.includes('/tcp/1/'))
      throw new MeshError('unreachable', `Cannot dial "${body.address}": nobody answers`);
    return { peer: this.#peer(body.address) };
  }

  // Agents

  async agentList(_input: unknown, caller: Caller, signal: AbortSignal) {
    await this.#begin('agentList', caller, signal);
    return { agents: [...this.#agents.values()].map(({ view }) => view) };
  }

  async agentCreate(
    { body }: Parameters<ControlBackend['agentCreate']>[0],
    caller: Caller,
    signal: AbortSignal,
  ): Promise<AgentCreated> {
    await this.#begin('agentCreate', caller, signal);
    if ([...this.#agents.values()].some(({ view }) => view.name === body.name))
      throw new MeshError('conflict', `Cannot create agent "${body.name}": the name is taken`);
    const sponsor = this.#sponsorFor(body.sponsor, body.parent);
    this.#verifyWithinParent(body.capabilities, body.parent);
    const key = body.publicKey === undefined ? keyOf(`${this.organisation.name} agent ${body.name}`) : undefined;
    const publicKey = key?.publicKey ?? parseMultikeyText(body.publicKey ?? '');
    const payload = this.#genesis(publicKey);
    const payloadBytes = encodePayload<'didop/v1'>(payload);
    const register = async (genesis: Statement): Promise<{ agent: Agent; token: string | null }> => {
      this.#admit(genesis);
      void recordOperation(this.recorder, genesis as Statement<'didop/v1'>);
      const did = didOfGenesis(genesis.id);
      const rootLink = this.#rootLink(did, body.capabilities, sponsor);
      const view: Agent = {
        did,
        name: body.name,
        sponsor: { did: sponsor.did },
        parent: body.parent ?? null,
        status: body.publish === false ? 'unregistered' : 'active',
        capabilities: body.capabilities,
        rootLink: rootLink.id,
        keyHeldBy: key === undefined ? 'agent' : 'daemon',
        credential: null,
        createdAt: iso(payload.iat),
      };
      this.#agents.set(did, { view, key, publicKey, holderKey: keyOf(`holder ${did}`) });
      if (key !== undefined) this.#issueCredential(did);
      const { view: agent } = this.#agent(did);
      if (body.publish !== false) this.events.emit({ type: 'agent.registered', data: { did, sponsor: sponsor.did } });
      return { agent, token: body.publish === false ? null : this.issueToken(did) };
    };
    const organisationSignature = (bytes: Uint8Array): Uint8Array =>
      this.organisation.keys.sign.sign(signedBytes('didop', bytes));
    if (key !== undefined) {
      const genesis = assembleStatement(payloadBytes, [
        key.sign(signedBytes('didop', payloadBytes)),
        organisationSignature(payloadBytes),
      ]);
      return { ...(await register(genesis)), toSign: [] };
    }
    const did = didOfGenesis(assembleStatement(payloadBytes, [new Uint8Array(64), new Uint8Array(64)]).id);
    this.#pending.set(did, {
      payloadBytes,
      purpose: 'genesis',
      finish: register,
      more: (bytes) => [organisationSignature(bytes)],
    });
    const agent: Agent = {
      did,
      name: body.name,
      sponsor: { did: sponsor.did },
      parent: body.parent ?? null,
      status: 'unregistered',
      capabilities: body.capabilities,
      rootLink: null,
      keyHeldBy: 'agent',
      credential: null,
      createdAt: iso(payload.iat),
    };
    return {
      agent,
      token: null,
      toSign: [{ purpose: 'genesis', key: multikeyText(publicKey), payload: text(payloadBytes) }],
    };
  }

  async agentComplete(
    { params, body }: Parameters<ControlBackend['agentComplete']>[0],
    caller: Caller,
    signal: AbortSignal,
  ) {
    await this.#begin('agentComplete', caller, signal);
    return (await this.#complete(params.did, body.signatures)) as { agent: Agent; token: string | null };
  }

  async agentShow({ params }: Parameters<ControlBackend['agentShow']>[0], caller: Caller, signal: AbortSignal) {
    await this.#begin('agentShow', caller, signal);
    return { agent: this.#agent(params.did).view };
  }

  async agentRegister({ params }: Parameters<ControlBackend['agentRegister']>[0], caller: Caller, signal: AbortSignal) {
    await this.#begin('agentRegister', caller, signal);
    const agent = this.#change(params.did, { status: 'active' });
    return { agent, token: this.issueToken(params.did) };
  }

  async agentSuspend({ params }: Parameters<ControlBackend['agentSuspend']>[0], caller: Caller, signal: AbortSignal) {
    await this.#begin('agentSuspend', caller, signal);
    return { agent: this.#change(params.did, { status: 'suspended', credential: null }) };
  }

  async agentResume({ params }: Parameters<ControlBackend['agentResume']>[0], caller: Caller, signal: AbortSignal) {
    await this.#begin('agentResume', caller, signal);
    return { agent: this.#change(params.did, { status: 'active' }) };
  }

  async agentRevoke(
    { params, body }: Parameters<ControlBackend['agentRevoke']>[0],
    caller: Caller,
    signal: AbortSignal,
  ) {
    await this.#begin('agentRevoke', caller, signal);
    if (this.#agent(params.did).view.status === 'revoked')
      throw new MeshError('revoked', `Cannot revoke "${params.did}": it is revoked`);
    const answer = this.#revoke({ did: params.did }, body.reason);
    return { ...answer, agent: this.#change(params.did, { status: 'revoked', credential: null }) };
  }

  async agentToken({ params }: Parameters<ControlBackend['agentToken']>[0], caller: Caller, signal: AbortSignal) {
    await this.#begin('agentToken', caller, signal);
    this.#agent(params.did);
    return { did: params.did, token: this.issueToken(params.did), expiresAt: null };
  }

  async credentialShow(
    { params }: Parameters<ControlBackend['credentialShow']>[0],
    caller: Caller,
    signal: AbortSignal,
  ) {
    await this.#begin('credentialShow', caller, signal);
    return { credential: this.#credential(params.did) };
  }

  async credentialPrepare(
    { params, body }: Parameters<ControlBackend['credentialPrepare']>[0],
    caller: Caller,
    signal: AbortSignal,
  ) {
    await this.#begin('credentialPrepare', caller, signal);
    const held = this.#agent(params.did);
    const { grant } = body;
    const payload = this.#credentialPayload(held, grant);
    const payloadBytes = encodePayload<'delegation/v1'>(payload);
    const { id } = assembleStatement(payloadBytes, [new Uint8Array(64)]);
    this.#pending.set(id, {
      payloadBytes,
      purpose: 'credential',
      finish: async (link) => {
        if (grant === undefined) this.#keepCredential(params.did, link as Link);
        else this.bound.push({ did: params.did, grant, link: link as Link });
      },
      more: () => [],
    });
    const toSign: ToSign[] = [
      { purpose: 'credential', key: multikeyText(held.publicKey), payload: text(payloadBytes) },
    ];
    return { id, holderKey: held.holderKey.text, toSign };
  }

  async credentialComplete(
    { params, body }: Parameters<ControlBackend['credentialComplete']>[0],
    caller: Caller,
    signal: AbortSignal,
  ) {
    await this.#begin('credentialComplete', caller, signal);
    await this.#complete(body.id, body.signatures);
    return { credential: this.#credential(params.did) };
  }

  // Sponsors

  async sponsorList(_input: unknown, caller: Caller, signal: AbortSignal) {
    await this.#begin('sponsorList', caller, signal);
    return { sponsors: [...this.#sponsors.keys()].map((did) => this.#sponsor(did)) };
  }

  async sponsorCreate({ body }: Parameters<ControlBackend['sponsorCreate']>[0], caller: Caller, signal: AbortSignal) {
    await this.#begin('sponsorCreate', caller, signal);
    return { sponsor: this.#sponsor(this.#sponsorFor(body.contact, undefined, body.name).did) };
  }

  async sponsorShow({ params }: Parameters<ControlBackend['sponsorShow']>[0], caller: Caller, signal: AbortSignal) {
    await this.#begin('sponsorShow', caller, signal);
    return { sponsor: this.#sponsor(params.did) };
  }

  // DIDs

  async didShow({ params }: Parameters<ControlBackend['didShow']>[0], caller: Caller, signal: AbortSignal) {
    await this.#begin('didShow', caller, signal);
    return this.#did(params.did);
  }

  async didResolve({ params }: Parameters<ControlBackend['didResolve']>[0], caller: Caller, signal: AbortSignal) {
    await this.#begin('didResolve', caller, signal);
    return { resolved: this.#did(params.did), source: 'local' as const, from: null };
  }

  async didLog({ params }: Parameters<ControlBackend['didLog']>[0], caller: Caller, signal: AbortSignal) {
    await this.#begin('didLog', caller, signal);
    this.#did(params.did);
    return {
      did: params.did,
      operations: this.state.operationsOf(params.did).map(({ id, envelope }) => ({ id, envelope: text(envelope) })),
    };
  }

  async organisationRotate(_input: unknown, caller: Caller, signal: AbortSignal): Promise<OperationAnswer> {
    await this.#begin('organisationRotate', caller, signal);
    return this.#operation('rotate', true, []);
  }

  async organisationRecover(
    { body }: Parameters<ControlBackend['organisationRecover']>[0],
    caller: Caller,
    signal: AbortSignal,
  ): Promise<OperationAnswer> {
    await this.#begin('organisationRecover', caller, signal);
    const { did, genesis } = this.organisation;
    const payloadBytes = encodePayload<'didop/v1'>({
      t: 'didop/v1',
      op: 'recover',
      by: [...body.recoveryKeys.map(parseMultikeyText), this.organisation.node.publicKey],
      iat: this.#now(),
      iss: did,
      seq: 1,
      prv: linkOf(genesis),
      keys: this.organisation.keys.listed,
      ret: [],
      nxt: [digestOf(this.organisation.next.publicKey)],
      nthr: 1,
      rec: body.recovery.commitments.map(bytesOf),
      rthr: body.recovery.threshold,
      peer: [this.organisation.node.peerId],
      svc: [],
      rseq: 0,
      rhead: null,
    });
    const { id } = assembleStatement(
      payloadBytes,
      [...body.recoveryKeys, ''].map(() => new Uint8Array(64)),
    );
    this.#pending.set(id, {
      payloadBytes,
      purpose: 'recover',
      finish: async (statement) => {
        this.#admit(statement);
        return this.#operation('recover', true, []);
      },
      more: (bytes) => [this.organisation.node.sign(signedBytes('didop', bytes))],
    });
    const toSign = body.recoveryKeys.map((key): ToSign => ({ purpose: 'recover', key, payload: text(payloadBytes) }));
    return { ...this.#operation('recover', false, toSign), id };
  }

  async organisationDeactivate(
    { body }: Parameters<ControlBackend['organisationDeactivate']>[0],
    caller: Caller,
    signal: AbortSignal,
  ): Promise<OperationAnswer> {
    await this.#begin('organisationDeactivate', caller, signal);
    if (body.confirm !== this.organisation.did)
      throw new MeshError(
        'conflict',
        `Cannot deactivate: confirm is "${body.confirm}", want "${this.organisation.did}"`,
      );
    return this.#operation('deactivate', true, []);
  }

  async operationComplete(
    { params, body }: Parameters<ControlBackend['operationComplete']>[0],
    caller: Caller,
    signal: AbortSignal,
  ) {
    await this.#begin('operationComplete', caller, signal);
    return (await this.#complete(params.id, body.signatures)) as OperationAnswer;
  }

  // Delegation and chains

  async delegationCreate(
    { body }: Parameters<ControlBackend['delegationCreate']>[0],
    caller: Caller,
    signal: AbortSignal,
  ) {
    await this.#begin('delegationCreate', caller, signal);
    const nowSeconds = this.#now();
    const context = { nonce: this.#nonce(), nowSeconds, view: this.state };
    const from = body.from ?? (body.as === undefined ? undefined : (this.#agent(body.as).view.rootLink ?? undefined));
    const chain = from === undefined ? [] : this.#linksTo(from);
    const terms = termsOf(body, nowSeconds, chain.at(-1)?.payload.exp);
    if (from === undefined) {
      const sponsor = this.#sponsorFor(body.sponsor);
      const { organisation } = this;
      const payload = createRootLink(
        terms,
        {
          organisation: { did: organisation.did, key: organisation.keys.delegate.publicKey },
          sponsor: { did: sponsor.did, key: sponsor.keys.delegate.publicKey },
        },
        context,
      );
      const link = signStatement<'delegation/v1'>(payload, [organisation.keys.delegate, sponsor.keys.delegate]);
      this.#admit(link);
      return { link: viewOf(link), published: link.payload.pri !== true, toSign: [] };
    }
    const issuer = this.#agent(chain.at(-1)?.payload.aud ?? '');
    const payload = createChildLink(terms, chain, issuer.publicKey, context);
    if (issuer.key !== undefined) {
      const link = signStatement<'delegation/v1'>(payload, [issuer.key]);
      this.#admit(link);
      return { link: viewOf(link), published: link.payload.pri !== true, toSign: [] };
    }
    const payloadBytes = encodePayload<'delegation/v1'>(payload);
    const unsigned = assembleStatement(payloadBytes, [new Uint8Array(64)]) as Link;
    this.#pending.set(unsigned.id, {
      payloadBytes,
      purpose: 'delegation',
      finish: async (link) => {
        this.#admit(link);
        return { link: viewOf(link as Link), published: true, toSign: [] };
      },
      more: () => [],
    });
    const toSign: ToSign[] = [
      { purpose: 'delegation', key: multikeyText(issuer.publicKey), payload: text(payloadBytes) },
    ];
    return { link: viewOf(unsigned), published: false, toSign };
  }

  async delegationComplete(
    { params, body }: Parameters<ControlBackend['delegationComplete']>[0],
    caller: Caller,
    signal: AbortSignal,
  ) {
    await this.#begin('delegationComplete', caller, signal);
    return (await this.#complete(params.id, body.signatures)) as {
      link: LinkView;
      published: boolean;
      toSign: ToSign[];
    };
  }

  async chainList({ query }: Parameters<ControlBackend['chainList']>[0], caller: Caller, signal: AbortSignal) {
    await this.#begin('chainList', caller, signal);
    const leaves = [...this.state.links()].filter(({ payload }) => query.to === undefined || payload.aud === query.to);
    return {
      chains: leaves.map((leaf) => {
        const { verdict } = this.#judge(leaf.id);
        const { aud, sub, spo, cap, exp } = leaf.payload;
        return {
          leaf: leaf.id,
          organisation: sub,
          sponsor: spo,
          audience: aud,
          links: this.#linksTo(leaf.id).length,
          capabilities: cap,
          expiresAt: iso(exp),
          verdict,
        };
      }),
    };
  }

  async chainShow({ params }: Parameters<ControlBackend['chainShow']>[0], caller: Caller, signal: AbortSignal) {
    await this.#begin('chainShow', caller, signal);
    return { leaf: params.leaf, links: this.#linksTo(params.leaf).map(viewOf), ...this.#judge(params.leaf) };
  }

  async chainBundle({ params }: Parameters<ControlBackend['chainBundle']>[0], caller: Caller, signal: AbortSignal) {
    await this.#begin('chainBundle', caller, signal);
    this.#linksTo(params.leaf);
    this.#beat();
    const bundle = encodeBundle(collectBundle(this.state, params.leaf, Date.now()));
    return { leaf: params.leaf, bundle: text(bundle), bytes: bundle.length };
  }

  async chainVerify(
    { params, body }: Parameters<ControlBackend['chainVerify']>[0],
    caller: Caller,
    signal: AbortSignal,
  ) {
    await this.#begin('chainVerify', caller, signal);
    this.#linksTo(params.leaf);
    return this.#verify(params.leaf, body.capabilities, body.roots);
  }

  async rootList(_input: unknown, caller: Caller, signal: AbortSignal) {
    await this.#begin('rootList', caller, signal);
    return { roots: [{ did: this.organisation.did, own: true }] };
  }

  // Revocation

  async revocationCreate(
    { body }: Parameters<ControlBackend['revocationCreate']>[0],
    caller: Caller,
    signal: AbortSignal,
  ) {
    await this.#begin('revocationCreate', caller, signal);
    const target = 'link' in body.target ? this.#linksTo(body.target.link).at(-1) : { did: body.target.did };
    if (target === undefined) throw new MeshError('not_found', 'Cannot revoke: no such link');
    return this.#revoke(target, body.reason);
  }

  async revocationList(_input: unknown, caller: Caller, signal: AbortSignal) {
    await this.#begin('revocationList', caller, signal);
    return {
      revocations: this.#revocations.map((revocation) => ({ revocation: revocationView(revocation), applies: true })),
    };
  }

  // Handshakes

  async handshakeCreate(
    { body }: Parameters<ControlBackend['handshakeCreate']>[0],
    caller: Caller,
    signal: AbortSignal,
  ) {
    await this.#begin('handshakeCreate', caller, signal);
    const peer = this.state.didState(body.did);
    if (peer === undefined)
      throw new MeshError('did_unknown', `Cannot shake hands with "${body.did}": nobody knows it`, { did: body.did });
    const score = limits.NETWORK_SCORE_NEUTRAL;
    const min = body.minScore ?? limits.NETWORK_SCORE_NEUTRAL;
    if (score < min)
      throw new MeshError('score_below', `Cannot accept "${body.did}": its score is ${score}, want >= ${min}`, {
        did: body.did,
        is: score,
        min,
      });
    const sid = toHex(this.#nonce());
    const session: SessionView = {
      sid,
      as: body.as ?? this.organisation.did,
      did: body.did,
      organisation: peer.organisation,
      peerId: this.organisation.node.peerId,
      direction: 'outbound',
      granted: body.capabilities ?? [],
      rates: [],
      sponsor: null,
      score,
      scoreBasis: 'neutral default: no evidence exists yet',
      minScore: min,
      checked: ['binding', 'freshness'],
      links: [],
      use: { calls: 0, refused: 0, running: 0, bytesIn: 0, bytesOut: 0 },
      servers: [],
      openedAt: iso(this.#now()),
      expiresAt: iso(this.#now() + 900),
      durationMs: 4.2,
    };
    this.#sessions.set(sid, { session, chain: body.grant === undefined ? [] : this.#linksTo(body.grant).map(viewOf) });
    const { as, did, organisation, peerId, direction, expiresAt } = session;
    this.events.emit({ type: 'session.opened', data: { sid, as, did, organisation, peerId, direction, expiresAt } });
    return { session };
  }

  async sessionList(_input: unknown, caller: Caller, signal: AbortSignal) {
    await this.#begin('sessionList', caller, signal);
    return {
      sessions: [...this.#sessions.values()]
        .map(({ session }) => session)
        .filter(({ as }) => caller.kind === 'operator' || as === caller.did),
    };
  }

  async sessionShow({ params }: Parameters<ControlBackend['sessionShow']>[0], caller: Caller, signal: AbortSignal) {
    await this.#begin('sessionShow', caller, signal);
    return this.#sessionOf(params.sid, caller);
  }

  #sessionOf(sid: string, caller: Caller): SessionShown {
    const shown = this.#sessions.get(sid);
    if (shown === undefined || (caller.kind === 'agent' && shown.session.as !== caller.did))
      throw new MeshError('not_found', `Cannot find session "${sid}": it is not open`, { id: sid });
    return shown;
  }

  async sessionClose({ params }: Parameters<ControlBackend['sessionClose']>[0], caller: Caller, signal: AbortSignal) {
    await this.#begin('sessionClose', caller, signal);
    const { session } = this.#sessionOf(params.sid, caller);
    this.#sessions.delete(params.sid);
    this.events.emit({
      type: 'session.ended',
      data: { sid: session.sid, as: session.as, did: session.did, code: 'closed' },
    });
    return { sid: params.sid, code: 'closed' as const };
  }

  // Login

  async loginChallenge(
    { body }: Parameters<ControlBackend['loginChallenge']>[0],
    caller: AnyCaller,
    signal: AbortSignal,
  ) {
    await this.#begin('loginChallenge', caller, signal);
    this.#agent(body.did);
    const nonce = text(digestOf(this.#nonce()));
    this.#challenges.set(nonce, body.did);
    return { daemon: this.organisation.did, nonce, expiresAt: iso(this.#now() + limits.LOGIN_CHALLENGE_SECONDS) };
  }

  async login({ body }: Parameters<ControlBackend['login']>[0], caller: AnyCaller, signal: AbortSignal) {
    await this.#begin('login', caller, signal);
    if (this.#challenges.get(body.nonce) !== body.did)
      throw new MeshError('not_found', 'Cannot log in: no such challenge');
    this.#challenges.delete(body.nonce);
    const { publicKey } = this.#agent(body.did);
    verifySignature(
      isSignatureValidSodium,
      'login',
      loginMessage(this.organisation.did, bytesOf(body.nonce)),
      bytesOf(body.signature),
      publicKey,
    );
    return {
      did: body.did,
      token: this.issueToken(body.did),
      expiresAt: iso(this.#now() + limits.LOGIN_TOKEN_SECONDS),
    };
  }

  // The audit log

  #asked<K extends LogOperation>(operationId: K): ControlBackend[K] {
    const ask = async (input: never, caller: Caller, signal: AbortSignal): Promise<unknown> => {
      await this.#begin(operationId, caller, signal);
      return this.#log.operations[operationId](input, caller, signal);
    };
    return ask as unknown as ControlBackend[K];
  }
  #governed<K extends GovernanceOperation>(operationId: K): ControlBackend[K] {
    const ask = async (input: never, caller: Caller, signal: AbortSignal): Promise<unknown> => {
      await this.#begin(operationId, caller, signal);
      this.#governance ??= this.#openGovernance();
      return (await this.#governance).operations[operationId](input, caller, signal);
    };
    return ask as unknown as ControlBackend[K];
  }
  #mailed<K extends MessagesOperation>(operationId: K): ControlBackend[K] {
    const ask = async (input: never, caller: Caller, signal: AbortSignal): Promise<unknown> => {
      await this.#begin(operationId, caller, signal);
      this.#mail ??= openFakeMail({
        organisation: this.organisation.did,
        isOwn: (did) => this.#agents.has(did),
        verifyMayAct: (did) => this.#verifyMayAct(did),
      });
      return (await this.#mail)[operationId](input, caller, signal);
    };
    return ask as unknown as ControlBackend[K];
  }
  #exposed<K extends ExposuresOperation>(operationId: K): ControlBackend[K] {
    const ask = async (input: never, caller: Caller, signal: AbortSignal): Promise<unknown> => {
      await this.#begin(operationId, caller, signal);
      this.#governance ??= this.#openGovernance();
      const { library } = await this.#governance;
      this.#exposures ??= openFakeExposures({
        library,
        organisation: this.organisation.did,
        acting: (did) => did === this.organisation.did || this.#verifyMayAct(did),
      });
      return (await this.#exposures)[operationId](input, caller, signal);
    };
    return ask as unknown as ControlBackend[K];
  }
  #receipted<K extends ReceiptsOperation>(operationId: K): ControlBackend[K] {
    const ask = async (input: never, caller: Caller, signal: AbortSignal): Promise<unknown> => {
      await this.#begin(operationId, caller, signal);
      return fakeReceipts[operationId](input, caller, signal);
    };
    return ask as unknown as ControlBackend[K];
  }
  readonly logStatus = this.#asked('logStatus');
  readonly logEntries = this.#asked('logEntries');
  readonly logEntry = this.#asked('logEntry');
  readonly logAppend = this.#asked('logAppend');
  readonly logProof = this.#asked('logProof');
  readonly logFile = this.#asked('logFile');
  readonly logPolicy = this.#asked('logPolicy');
  readonly logRecover = this.#asked('logRecover');
  readonly witnessStatus = this.#asked('witnessStatus');
  readonly convictionList = this.#asked('convictionList');
  readonly convictionShow = this.#asked('convictionShow');
  readonly convictionLift = this.#asked('convictionLift');
  readonly decide = this.#governed('decide');
  readonly decisionFilter = this.#governed('decisionFilter');
  readonly decisionExplain = this.#governed('decisionExplain');
  readonly decisionSettle = this.#governed('decisionSettle');
  readonly approvalList = this.#governed('approvalList');
  readonly approvalShow = this.#governed('approvalShow');
  readonly approvalDecide = this.#governed('approvalDecide');
  readonly policyList = this.#governed('policyList');
  readonly policyShow = this.#governed('policyShow');
  readonly policyLoad = this.#governed('policyLoad');
  readonly policyReload = this.#governed('policyReload');
  readonly policyReplay = this.#governed('policyReplay');
  readonly policyShadow = this.#governed('policyShadow');
  readonly toolCheck = this.#governed('toolCheck');
  readonly receiptList = this.#receipted('receiptList');
  readonly receiptShow = this.#receipted('receiptShow');
  readonly receiptFile = this.#receipted('receiptFile');
  readonly messageSend = this.#mailed('messageSend');
  readonly outboxList = this.#mailed('outboxList');
  readonly inboxList = this.#mailed('inboxList');
  readonly inboxAck = this.#mailed('inboxAck');
  readonly exposeList = this.#exposed('exposeList');
  readonly exposeAdd = this.#exposed('exposeAdd');
  readonly exposeCheck = this.#exposed('exposeCheck');
  readonly exposeRemove = this.#exposed('exposeRemove');
  readonly services = this.#exposed('services');

  // Inside

  /** The daemon's own, over a store in memory and this log; policies are those of `policies`. */
  async #openGovernance(): Promise<NodeGovernance> {
    const clock = createSystemClock();
    const random = createSystemRandom();
    const log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };
    const sponsors = (): SponsorRow[] =>
      [...this.#sponsors].map(([did, { contact, name }]) => ({ did, contact, name, createdMs: Date.now() }));
    const governance = await NodeGovernance.open(
      {
        store: new MemoryStore(),
        clock,
        random,
        log,
        isSignatureValid: isSignatureValidSodium,
        state: this.state,
        registry: { sponsors } as unknown as Registry,
        signers: {
          signerFor: (_state: unknown, did: string) => this.#sponsors.get(did)?.identity.keys.sign,
        } as unknown as OwnSigners,
        recorder: new Recorder({
          auditLog: this.auditLog,
          actors: {
            signer: () => this.organisation.keys.sign,
            principal: (did) => this.#agents.get(did)?.view.sponsor.did,
          },
          organisation: this.organisation.did,
          clock,
          random,
          log,
        }),
        organisation: this.organisation.did,
      },
      {
        approvers: this.approvers,
        load: async () =>
          this.policies.map((policy) => ({ file: 'acme.yaml', name: 'acme', text: policy, use: 'live' })),
      },
    );
    governance.attach({
      agents: {
        agent: (did: string) => ({ name: this.#agent(did).view.name, sponsor: this.#agent(did).view.sponsor.did, did }),
        requireActive: ({ did }: { did: string }) => this.#verifyMayAct(did),
      } as unknown as Agents,
      emit: (event) => this.events.emit(event),
      policiesChanged: () => {},
    });
    return governance;
  }

  #verifyMayAct(did: string): void {
    const { status } = this.#agent(did).view;
    if (status === 'suspended' || status === 'revoked')
      throw new MeshError(status, `Cannot act for "${did}": it is ${status}`, { did });
  }

  #lift(did: string, reason: string): Conviction {
    const held = this.#convictions.get(did);
    if (held === undefined) throw new MeshError('not_found', `Cannot lift a conviction of "${did}": there is none`);
    const lifted = { ...held, isInForce: false, lift: { reason, liftedMs: Date.now() } };
    this.#convictions.set(did, lifted);
    this.events.emit({ type: 'conviction.lifted', data: { did, reason } });
    return lifted;
  }

  /** Of one log of another. */
  async *#cosignedNotes(): AsyncIterable<Uint8Array> {
    const other = ownLog('beta');
    yield signedNote(checkpointOf(other, 7), other, [ownWitness(this.organisation.name)], this.#now() - 60);
  }

  #heldCredential(did: string): HeldCredential | undefined {
    const link = this.#credentials.get(did);
    return link === undefined ? undefined : { link, signer: this.#agent(did).holderKey };
  }

  async #begin(operationId: string, caller: AnyCaller, signal: AbortSignal): Promise<void> {
    this.calls.push({ operationId, caller, signal });
    await this.onCall(operationId, signal);
  }

  #now(): number {
    return Math.floor(Date.now() / 1000);
  }

  #next(): number {
    this.#count += 1;
    return this.#count;
  }

  #nonce(): Uint8Array {
    return digestOf(new TextEncoder().encode(`${this.organisation.name} ${this.#next()}`)).slice(0, 16);
  }

  #admit(...statements: readonly Statement[]): void {
    for (const statement of statements) verifySignatures(statement, isSignatureValidSodium);
    admitAll(this.state, statements, Date.now());
    for (const { id, t, payload } of statements) {
      this.events.emit({
        type: 'statement.accepted',
        data: { id, kind: t, issuer: 'iss' in payload ? payload.iss : null, source: 'local' },
      });
    }
  }

  /** What the daemon says of its own organisation every minute. */
  #beat(): void {
    const { organisation } = this;
    admitAll(
      this.state,
      [createHeartbeat(organisation, { iat: this.#now(), rhead: this.#revocations.at(-1) ?? null })],
      Date.now(),
    );
  }

  #genesis(publicKey: Uint8Array): Genesis {
    return {
      t: 'didop/v1',
      op: 'genesis',
      kind: 'agent',
      by: [publicKey, this.organisation.keys.sign.publicKey],
      iat: this.#now(),
      keys: [[publicKey, ['auth', 'delegate', 'sign']]],
      nxt: [],
      nthr: 0,
      rec: [],
      rthr: 0,
      peer: [],
      nce: this.#nonce(),
      ctl: this.organisation.did,
    };
  }

  #rootLink(did: string, capabilities: readonly Capability[], sponsor: Identity): Link {
    const { organisation } = this;
    const nowSeconds = this.#now();
    const payload = createRootLink(
      { audience: did, capabilities, expiresSeconds: nowSeconds + 86_400 },
      {
        organisation: { did: organisation.did, key: organisation.keys.delegate.publicKey },
        sponsor: { did: sponsor.did, key: sponsor.keys.delegate.publicKey },
      },
      { nonce: this.#nonce(), nowSeconds, view: this.state },
    );
    const link = signStatement<'delegation/v1'>(payload, [organisation.keys.delegate, sponsor.keys.delegate]);
    this.#admit(link);
    return link;
  }

  #credentialPayload({ view, publicKey, holderKey }: HeldAgent, grant?: string): Delegation {
    const chain = this.#linksTo(grant ?? view.rootLink ?? '');
    return createCredential({ boundKey: holderKey.publicKey }, chain, publicKey, {
      nonce: this.#nonce(),
      nowSeconds: this.#now(),
      view: this.state,
    });
  }

  #issueCredential(did: string): void {
    const held = this.#agent(did);
    if (held.key !== undefined)
      this.#keepCredential(did, signStatement<'delegation/v1'>(this.#credentialPayload(held), [held.key]));
  }

  #keepCredential(did: string, link: Link): void {
    this.#credentials.set(did, link);
    void recordCredential(this.recorder, link);
    const expiresAt = iso(link.payload.exp);
    this.#change(did, { credential: { id: link.id, expiresAt } });
    this.events.emit({ type: 'credential.rotated', data: { did, id: link.id, expiresAt } });
  }
  readonly #credentials = new Map<string, Link>();

  #credential(did: string) {
    this.#agent(did);
    const link = this.#credentials.get(did);
    if (link === undefined) return null;
    const { cap, iat, exp, prf, cnf } = link.payload;
    return {
      id: link.id,
      did,
      parent: prf?.text ?? '',
      capabilities: cap,
      holderKey: multikeyText(cnf ?? new Uint8Array()),
      issuedAt: iso(iat),
      expiresAt: iso(exp),
    };
  }

  async #complete(id: string, signatures: readonly string[]): Promise<unknown> {
    const pending = this.#pending.get(id);
    if (pending === undefined)
      throw new MeshError('not_found', `Cannot complete "${id}": nothing waits for signatures`);
    const statement = assembleStatement(pending.payloadBytes, [
      ...signatures.map(bytesOf),
      ...pending.more(pending.payloadBytes),
    ]);
    verifySignatures(statement, isSignatureValidSodium);
    this.#pending.delete(id);
    return pending.finish(statement);
  }

  #agent(did: string): HeldAgent {
    const held = this.#agents.get(did);
    if (held === undefined)
      throw new MeshError('not_found', `Cannot find agent "${did}": it is not of this organisation`, { did });
    return held;
  }

  #change(did: string, change: Partial<Agent>): Agent {
    const held = this.#agent(did);
    held.view = { ...held.view, ...change };
    if (change.status !== undefined) this.events.emit({ type: 'agent.changed', data: { did, status: change.status } });
    return held.view;
  }

  /** By DID or e-mail, which makes one if there is none; of the parent; or the first. */
  #sponsorFor(sponsor: string | undefined, parent?: string, name?: string): Identity {
    const did = parent === undefined ? sponsor : this.#agent(parent).view.sponsor.did;
    const found = [...this.#sponsors.values()].find(
      ({ identity, contact }) => did === undefined || identity.did === did || contact === did,
    );
    if (found !== undefined) return found.identity;
    if (did === undefined || !did.includes('@'))
      throw new MeshError('not_found', 'Cannot find the sponsor: want an e-mail address or the DID of one');
    const identity = createPerson(this.organisation, did, { iat: this.#now() - 5 });
    this.#admit(identity.genesis);
    this.#sponsors.set(identity.did, { identity, contact: did, name: name ?? null });
    return identity;
  }

  #sponsor(did: string) {
    const found = this.#sponsors.get(did);
    if (found === undefined) throw new MeshError('not_found', `Cannot find sponsor "${did}"`, { did });
    const agents = [...this.#agents.values()].filter(({ view }) => view.sponsor.did === did).length;
    return {
      did,
      contact: found.contact,
      name: found.name,
      status: 'active' as const,
      agents,
      agentsMax: 10,
      createdAt: iso(this.#now()),
    };
  }

  #verifyWithinParent(capabilities: readonly Capability[], parent: string | undefined): void {
    const wide = parent === undefined ? undefined : this.#agent(parent).view.capabilities;
    const extra =
      wide === undefined
        ? undefined
        : capabilities.find((narrow) => !wide.some((one) => isCapabilityWithin(narrow, one)));
    if (extra !== undefined)
      throw new MeshError('widened', `Cannot grant "${extra.can}": its parent may not do it`, {
        dimension: 'capability',
        is: extra.can,
      });
  }

  #did(did: string) {
    const found = this.state.didState(did);
    if (found === undefined) throw new MeshError('did_unknown', `Cannot show "${did}": its log is not held`, { did });
    const keys = found.keys.map(([key, uses]) => ({
      key: multikeyText(key),
      uses: [...uses],
      standing: 'current' as const,
      until: null,
    }));
    const createdAt = iso(found.createdSeconds);
    return {
      did,
      kind: found.kind,
      organisation: found.organisation,
      status: found.status,
      revoked: null,
      seq: found.seq,
      head: found.head,
      contested: found.contested,
      keys,
      peers: [...found.peers],
      services: [],
      rotation: { threshold: found.next.threshold, commitments: found.next.commitments.length },
      recovery: { threshold: found.recovery.threshold, commitments: found.recovery.commitments.length },
      createdAt,
      updatedAt: createdAt,
      freshness: { heartbeatAt: null, ageSeconds: null, revocations: 0 },
      document: didResolution(found).didDocument,
      documentMetadata: didDocumentMetadata(found),
    };
  }

  #operation(operation: OperationAnswer['operation'], applied: boolean, toSign: ToSign[]): OperationAnswer {
    const { did, genesis } = this.organisation;
    return { id: genesis.id, did, operation, seq: 1, applied, toSign, keys: [], files: [] };
  }

  #linksTo(leaf: string): Link[] {
    if (this.state.link(leaf) === undefined)
      throw new MeshError('not_found', `Cannot find link "${leaf}"`, { id: leaf });
    return linksTo(this.state, leaf);
  }

  #verify(leaf: string, capabilities: readonly Capability[] = [], roots: readonly string[] = [this.organisation.did]) {
    this.#beat();
    const report = verifyChain(leaf, {
      view: this.state,
      roots: new Set(roots),
      nowMs: Date.now(),
      isSignatureValid: isSignatureValidSodium,
      ...(capabilities.length > 0 && { request: { capabilities } }),
    });
    return report;
  }

  #judge(leaf: string) {
    try {
      return { verdict: { ok: true, code: null, message: null, data: {} }, report: this.#verify(leaf) };
    } catch (error) {
      if (!isMeshError(error)) throw error;
      const { report, ...data } = error.data;
      return {
        verdict: { ok: false, code: error.code, message: error.message, data },
        report: report as ReturnType<typeof verifyChain>,
      };
    }
  }

  #revoke(target: Link | { readonly did: string }, reason: string): RevocationAnswer {
    const prv = this.#revocations.at(-1) ?? null;
    const revocation = createRevocation(
      this.organisation,
      'did' in target ? { ...this.organisation, did: target.did } : target,
      {
        prv,
        rsn: reason,
        iat: this.#now(),
      },
    );
    const cascade = cascadeOf(this.state.links(), revocation.payload, this.state);
    this.#admit(revocation);
    this.#revocations = [...this.#revocations, revocation];
    const view = revocationView(revocation);
    this.events.emit({
      type: 'link.revoked',
      data: {
        revocation: view.id,
        issuer: view.issuer,
        target: view.target,
        links: cascade.slice(0, 64),
        total: cascade.length,
      },
    });
    return { revocation: view, cascade, sessionsEnded: 0 };
  }

  #peer(address: string) {
    return {
      did: this.organisation.did,
      peerId: this.organisation.node.peerId,
      addresses: [address],
      direction: 'outbound' as const,
      bound: true,
      latencyMs: 0.4,
      protocols: ['/agentmesh/agentmesh/sync/1.0.0'],
      lastHeartbeatAt: iso(this.#now()),
      lastHeartbeatAgeSeconds: 1,
      agents: 1,
      connectedSince: iso(this.#now()),
    };
  }
}

const linkOf = ({ digest }: Statement): NonNullable<Delegation['prf']> => LinkValue.ofDigest(digest);

/** A life that nobody asked for is cut to the parent's. */
function termsOf(body: DelegateBody, nowSeconds: number, parentExpires = Number.POSITIVE_INFINITY) {
  const { to, capabilities, ttlSeconds, depth, stalenessSeconds, rates, purposes, at, minScore } = body;
  return {
    audience: to,
    capabilities,
    expiresSeconds: ttlSeconds === undefined ? Math.min(nowSeconds + 3600, parentExpires) : nowSeconds + ttlSeconds,
    private: body.private === true,
    ...(depth !== undefined && { depth }),
    ...(stalenessSeconds !== undefined && { stalenessSeconds }),
    ...(rates !== undefined && { rates }),
    ...(purposes !== undefined && { purposes }),
    ...(at !== undefined && { at }),
    ...(minScore !== undefined && { minScore }),
  };
}

function viewOf({ id, payload }: Link): LinkView {
  const { by, iss, aud, sub, spo, prf, cap, iat, nbf, exp, dep, rate, pur, at, mts, stl, pri, cnf } = payload;
  return {
    id,
    parent: prf?.text ?? null,
    issuer: iss,
    audience: aud,
    organisation: sub,
    sponsor: spo,
    capabilities: cap,
    issuedAt: iso(iat),
    notBefore: iso(nbf),
    expiresAt: iso(exp),
    depth: dep ?? null,
    rates: rate ?? [],
    purposes: pur ?? [],
    at: at ?? [],
    minScore: mts ?? null,
    stalenessSeconds: stl ?? null,
    private: pri === true,
    holderKey: cnf === undefined ? null : multikeyText(cnf),
    signedBy: by.map(multikeyText),
  };
}

function revocationView({ id, payload }: Statement<'revocation/v1'>): RevocationAnswer['revocation'] {
  const { seq, org, iss, tgt, rsn, iat } = payload;
  const { did = '', key, link } = tgt;
  const target =
    link !== undefined ? { link: link.text } : key === undefined ? { did } : { did, key: multikeyText(key) };
  return { id, number: seq, organisation: org, issuer: iss, target, reason: rsn, at: iso(iat) };
}
