/**
 * This daemon's own organisation: its DID, its revocation log, its heartbeats. One daemon writes for an organisation,
 * so numbers and operations are made one after the other.
 */
import {
  digestOf,
  didOfGenesis,
  type DidOperation,
  type DidState,
  equalBytes,
  type KeyUse,
  Link,
  MeshError,
  multikeyText,
  peerIdOfKey,
  type RevocationTarget,
  signStatement,
  targetKeyOf,
  toHex,
  type Statement,
  type StatementSigner,
} from '../../protocol/index.ts';
import type { Clock, Random, Signer } from '../ports.ts';
import type { OwnSigners } from './own-signers.ts';
import type { Pipeline } from './pipeline.ts';
import type { Registry } from './registry.ts';
import { Serial } from './serial.ts';

export const ORGANISATION_KEY = 'organisation';
export const ROTATION_KEY = 'rotation-1';
const ALL_USES: readonly KeyUse[] = ['auth', 'delegate', 'sign'];
const RECOVERY_KEYS = 3;
const RECOVERY_THRESHOLD = 2; // 2 of 3: one may be lost, one alone is no use to a thief

export interface OrganisationComponents {
  readonly pipeline: Pipeline;
  readonly signers: OwnSigners;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly random: Random;
  /** The node key, whose PeerId the organisation lists. */
  readonly node: Signer;
  /**
   * Keeps new recovery keys where their owner finds them and can take them offline; on disk when it resolves. Returns
   * their public keys. Called once, when the organisation is made.
   */
  readonly makeRecoveryKeys: (count: number) => Promise<readonly Uint8Array[]>;
  /** Asks neighbours for statements of this organisation, so that a restored daemon numbers nothing twice. */
  readonly learnOwn: () => Promise<void>;
}

/** What one key of the organisation becomes in a rotation. */
export interface Retirement {
  readonly key: Uint8Array;
  /** Seconds from now for which what it signed still counts; null: dead at once. */
  readonly graceSeconds: number | null;
  readonly keep: readonly string[];
}

/** An operation that waits for signatures of keys kept elsewhere. */
export interface PreparedOperation {
  readonly payload: DidOperation;
  readonly signers: readonly (StatementSigner | { readonly publicKey: Uint8Array })[];
}

export class Organisation {
  readonly did: string;
  readonly #components: OrganisationComponents;
  readonly #serial = new Serial();
  #hasLearntOwn = false;

  private constructor(did: string, components: OrganisationComponents) {
    this.did = did;
    this.#components = components;
  }

  /** Opens the home's organisation, and makes it first in an empty home. Errors: as Pipeline.submit. */
  static async open(
    components: OrganisationComponents,
    { name }: { readonly name: string | null },
  ): Promise<Organisation> {
    const { registry, pipeline } = components;
    const { organisation: known } = registry;
    const did = known?.did ?? (await findUnfinished(components)) ?? (await makeGenesis(components));
    const row = { did, name: name ?? known?.name ?? null };
    if (known?.did !== row.did || known.name !== row.name) await registry.saveOrganisation(row);
    pipeline.setInUse(did, true);
    return new Organisation(did, components);
  }

  get name(): string | null {
    return this.#components.registry.organisation?.name ?? null;
  }

  /** Errors: did_unknown, when its log is not in the store. */
  get state(): DidState {
    const state = this.#components.pipeline.state.didState(this.did);
    if (state === undefined)
      throw new MeshError('did_unknown', `Cannot act for "${this.did}": its log is not held`, { did: this.did });
    return state;
  }

  /** Errors: key_missing. */
  signer(use: KeyUse): Signer {
    return this.#components.signers.signerFor(this.state, this.did, use);
  }

  /** Highest number of the own revocation log, and its id. What a key retired as dead numbered later is no part of it. */
  revocationHead(): { readonly seq: number; readonly id: string | null } {
    const { state } = this.#components.pipeline;
    const last = state
      .revocationsBy(this.did)
      .findLast(
        (revocation) =>
          state.holdsRevocations(this.did, revocation.payload.seq, revocation.id) &&
          state.revocationsOf(targetKeyOf(revocation.payload.tgt)).includes(revocation),
      );
    return last === undefined ? { seq: 0, id: null } : { seq: last.payload.seq, id: last.id };
  }

  /** Does work that numbers or orders something after whatever else does so has ended. */
  inTurn<T>(work: () => Promise<T>): Promise<T> {
    return this.#serial.run(work);
  }

  /**
   * An operation that was prepared earlier still continues what is held: a second one on the same head would be a fork,
   * and a key retired as dead takes with it what it revoked since. Errors: conflict.
   */
  verifyCurrent(payload: PreparedOperation['payload']): void {
    const { seq, id } = this.revocationHead();
    const isHead = 'prv' in payload && payload.prv.text === this.state.head;
    const standsByAll = !('rseq' in payload) || (payload.rseq === seq && (payload.rhead?.text ?? null) === id);
    if (isHead && standsByAll) return;
    throw new MeshError(
      'conflict',
      `Cannot complete a "${payload.op}": ${isHead ? 'something was revoked' : 'the DID changed'} since it was prepared, ask anew`,
      { did: this.did },
    );
  }

  /** Says where the DID log and the revocation log end, as of now. Errors: key_missing. */
  heartbeat(nonce?: Uint8Array): Statement<'heartbeat/v1'> {
    const { seq, head } = this.state;
    return signStatement<'heartbeat/v1'>(
      {
        t: 'heartbeat/v1',
        iss: this.did,
        iat: this.#nowSeconds(),
        dseq: seq,
        head: Link.parse(head),
        ...this.#standing(),
        ...(nonce === undefined ? {} : { non: nonce }),
      },
      [this.signer('sign')],
    );
  }

  /**
   * Numbers, signs and publishes a revocation; on disk when it resolves. Errors: key_missing, conflict (others brought
   * one of this organisation meanwhile: ask again), the door's codes.
   */
  async revoke(
    target: RevocationTarget,
    reason: string,
    issuer: { readonly did: string; readonly signer: Signer } | undefined,
  ): Promise<Statement<'revocation/v1'>> {
    return this.#serial.run(async () => {
      await this.#learnOwnOnce();
      const head = this.revocationHead();
      const own = this.signer('sign');
      const revocation = signStatement<'revocation/v1'>(
        {
          t: 'revocation/v1',
          iat: this.#nowSeconds(),
          iss: issuer?.did ?? this.did,
          org: this.did,
          seq: head.seq + 1,
          prv: head.id === null ? null : Link.parse(head.id),
          tgt: target,
          rsn: reason,
        },
        issuer === undefined ? [own] : [issuer.signer, own],
      );
      await this.#components.pipeline.submit([revocation], () => {
        const { seq, id } = this.revocationHead();
        if (seq === head.seq && id === head.id) return;
        throw new MeshError('conflict', `Cannot revoke as number ${head.seq + 1}: ${seq} revocations are held now`, {
          is: seq,
          want: head.seq,
        });
      });
      return revocation;
    });
  }

  /**
   * New keys for the retired ones, of the same uses; the others stay. The next rotation key is made too, unless the
   * commitments are given. Nothing is in force before it is published.
   * Errors: did_forked, did_deactivated, not_found (a key not listed), key_missing.
   */
  async prepareRotate(
    retire: readonly Retirement[],
    elsewhere: readonly Uint8Array[] | undefined,
    next: Commitments | undefined,
  ): Promise<PreparedOperation> {
    const state = this.#changeable();
    if (state.status === 'frozen')
      throw new MeshError(
        'did_forked',
        `Cannot rotate "${this.did}": it is frozen, only a recovery goes on from there`,
        {
          did: this.did,
        },
      );
    const generation = state.seq + 1;
    const signers = elsewhere?.map((publicKey) => ({ publicKey })) ?? this.#heldRotationKeys(state);
    const { keys, ret } = await this.#replaceKeys(state, retire, generation);
    const committed = next ?? (await this.#nextRotation(generation));
    const payload = {
      op: 'rotate' as const,
      by: signers.map(({ publicKey }) => publicKey),
      ...this.#following(state),
      keys,
      ret,
      nxt: committed.commitments,
      nthr: committed.threshold,
      ...this.#standing(),
    };
    return { payload, signers };
  }

  /** As prepareRotate, signed by recovery keys, which are kept elsewhere, and by this node. */
  async prepareRecover(
    recoveryKeys: readonly Uint8Array[],
    retire: readonly Retirement[],
    next: Commitments | undefined,
    recovery: Commitments,
  ): Promise<PreparedOperation> {
    const state = this.#changeable();
    const generation = state.seq + 1;
    const { keys, ret } = await this.#replaceKeys(state, retire, generation);
    const committed = next ?? (await this.#nextRotation(generation));
    const { node } = this.#components;
    const signers = [...recoveryKeys.map((publicKey) => ({ publicKey })), node];
    const payload = {
      op: 'recover' as const,
      by: signers.map(({ publicKey }) => publicKey),
      ...this.#following(state),
      keys,
      ret,
      nxt: committed.commitments,
      nthr: committed.threshold,
      rec: recovery.commitments,
      rthr: recovery.threshold,
      peer: [peerIdOfKey(node.publicKey)],
      svc: state.services,
      ...this.#standing(),
    };
    return { payload, signers };
  }

  /** Errors: did_deactivated, key_missing. */
  prepareDeactivate(elsewhere: readonly Uint8Array[] | undefined): PreparedOperation {
    const state = this.#changeable();
    const signers = elsewhere?.map((publicKey) => ({ publicKey })) ?? this.#heldRotationKeys(state);
    const payload = {
      op: 'deactivate' as const,
      by: signers.map(({ publicKey }) => publicKey),
      ...this.#following(state),
    };
    return { payload, signers };
  }

  /** Errors: did_deactivated. */
  #changeable(): DidState {
    const { state } = this;
    if (state.status !== 'deactivated') return state;
    throw new MeshError('did_deactivated', `Cannot change "${this.did}": it is deactivated, for ever`, {
      did: this.did,
    });
  }

  /** What every operation on top of this state says. */
  #following(state: DidState) {
    return {
      t: 'didop/v1' as const,
      iat: this.#nowSeconds(),
      iss: this.did,
      seq: state.seq + 1,
      prv: Link.parse(state.head),
    };
  }

  /** The revocation log that an operation or a heartbeat stands by. */
  #standing(): { readonly rseq: number; readonly rhead: Link | null } {
    const { seq, id } = this.revocationHead();
    return { rseq: seq, rhead: id === null ? null : Link.parse(id) };
  }

  #nowSeconds(): number {
    return Math.floor(this.#components.clock.nowMs() / 1000);
  }

  async #learnOwnOnce(): Promise<void> {
    if (this.#hasLearntOwn) return;
    await this.#components.learnOwn();
    this.#hasLearntOwn = true;
  }

  /** As many of the committed rotation keys as are needed. Errors: key_missing. */
  #heldRotationKeys(state: DidState): Signer[] {
    const { signers } = this.#components;
    const held = signers
      .names()
      .filter((name) => name.startsWith('rotation-'))
      .map((name) => signers.byName(name))
      .filter(({ publicKey }) =>
        state.next.commitments.some((committed) => equalBytes(committed, digestOf(publicKey))),
      );
    if (held.length < Math.max(1, state.next.threshold)) {
      throw new MeshError(
        'key_missing',
        `Cannot rotate "${this.did}": ${held.length} of its rotation keys are held here, want ${Math.max(1, state.next.threshold)}`,
        {
          did: this.did,
          is: held.length,
          want: state.next.threshold,
        },
      );
    }
    return held.slice(0, state.next.threshold);
  }

  async #replaceKeys(
    state: DidState,
    retire: readonly Retirement[],
    generation: number,
  ): Promise<Pick<RotateFields, 'keys' | 'ret'>> {
    const nowSeconds = this.#nowSeconds();
    const keys: (readonly [Uint8Array, readonly KeyUse[]])[] = state.keys.filter(
      ([key]) => !retire.some((entry) => equalBytes(entry.key, key)),
    );
    const ret: (readonly [Uint8Array, number | null, readonly Link[]])[] = [];
    for (const [i, { key, graceSeconds, keep }] of retire.entries()) {
      const listed = state.keys.find(([current]) => equalBytes(current, key));
      if (listed === undefined)
        throw new MeshError('not_found', `Cannot retire key "${multikeyText(key)}": it is not in use`, {
          key: multikeyText(key),
        });
      const fresh = await this.#obtain(
        `${ORGANISATION_KEY}-${generation}-${i}`,
        ({ publicKey }) => !state.listed.has(toHex(publicKey)),
      );
      keys.push([fresh.publicKey, listed[1]]);
      ret.push([key, graceSeconds === null ? null : nowSeconds + graceSeconds, keep.map((id) => Link.parse(id))]);
    }
    return { keys, ret };
  }

  /** A key that no operation names yet: beside a fork there may be one for the same place, and a thief may have it. */
  async #obtain(name: string, isUnused: (signer: Signer) => boolean): Promise<Signer> {
    for (let i = 1; ; i++) {
      const signer = await this.#components.signers.obtain(i === 1 ? name : `${name}.${i}`);
      if (isUnused(signer)) return signer;
    }
  }

  async #nextRotation(generation: number): Promise<Commitments> {
    const committed = this.#components.pipeline.state
      .operationsOf(this.did)
      .flatMap(({ payload }) => ('nxt' in payload ? payload.nxt : []));
    const next = await this.#obtain(
      `rotation-${generation + 1}`,
      ({ publicKey }) => !committed.some((digest) => equalBytes(digest, digestOf(publicKey))),
    );
    return { commitments: [digestOf(next.publicKey)], threshold: 1 };
  }
}

export interface Commitments {
  /** SHA-256 of the multikey bytes of each key. */
  readonly commitments: readonly Uint8Array[];
  readonly threshold: number;
}
interface RotateFields {
  readonly keys: readonly (readonly [Uint8Array, readonly KeyUse[]])[];
  readonly ret: readonly (readonly [Uint8Array, number | null, readonly Link[]])[];
}

/** A genesis that was stored before a crash kept its row from being written. */
async function findUnfinished({ pipeline, signers }: OrganisationComponents): Promise<string | undefined> {
  const key = (await signers.obtain(ORGANISATION_KEY)).publicKey;
  for (const did of pipeline.state.dids()) {
    const state = pipeline.state.didState(did);
    if (state?.kind === 'org' && state.keys.some(([listed]) => equalBytes(listed, key))) return did;
  }
  return undefined;
}

async function makeGenesis({
  pipeline,
  signers,
  node,
  clock,
  random,
  makeRecoveryKeys,
}: OrganisationComponents): Promise<string> {
  const own = await signers.obtain(ORGANISATION_KEY);
  const rotation = await signers.obtain(ROTATION_KEY);
  const recovery = await makeRecoveryKeys(RECOVERY_KEYS);
  const genesis = signStatement<'didop/v1'>(
    {
      t: 'didop/v1',
      op: 'genesis',
      kind: 'org',
      iat: Math.floor(clock.nowMs() / 1000),
      keys: [[own.publicKey, ALL_USES]],
      nxt: [digestOf(rotation.publicKey)],
      nthr: 1,
      rec: recovery.map((key) => digestOf(key)),
      rthr: RECOVERY_THRESHOLD,
      peer: [peerIdOfKey(node.publicKey)],
      nce: random.bytes(16),
    },
    [own, node],
  );
  await pipeline.submit([genesis]);
  return didOfGenesis(genesis.id);
}
