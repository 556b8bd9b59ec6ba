/** Changing the organisation's own DID, also with keys that are kept elsewhere and bring their signatures. */
import type { OperationAnswer } from '../../protocol/control/index.ts';
import {
  assembleStatement,
  digestOf,
  encodePayload,
  type IsSignatureValid,
  Link,
  MeshError,
  multikeyText,
  signingInput,
  toBase64url,
  verifySignatures,
} from '../../protocol/index.ts';
import type { Clock, Signer } from '../ports.ts';
import { Drafts } from './drafts.ts';
import type { Organisation, PreparedOperation } from './organisation.ts';
import type { Pipeline } from './pipeline.ts';

export interface OperationsComponents {
  readonly organisation: Organisation;
  readonly pipeline: Pipeline;
  readonly clock: Clock;
  readonly isSignatureValid: IsSignatureValid;
}

const DRAFT_MS = 30 * 60_000; // to fetch a recovery key from where it is kept
const DRAFTS_MAX = 16; // each freezes nothing, but only one of them can come into force

type Own = Signer | { readonly publicKey: Uint8Array };
const isHeld = (signer: PreparedOperation['signers'][number]): signer is Signer => 'sign' in signer;

export class Operations {
  readonly #components: OperationsComponents;
  readonly #drafts: Drafts<{ readonly prepared: PreparedOperation; readonly payload: Uint8Array }>;

  constructor(components: OperationsComponents) {
    this.#components = components;
    this.#drafts = new Drafts(components.clock, { what: 'operation', keepMs: DRAFT_MS, countMax: DRAFTS_MAX });
  }

  /** Prepares and publishes an operation, or says who has to sign it. Errors: of `prepare`, the door's codes. */
  async offer(prepare: () => PreparedOperation | Promise<PreparedOperation>): Promise<OperationAnswer> {
    return this.#components.organisation.inTurn(async () => this.#offer(await prepare()));
  }

  async #offer(prepared: PreparedOperation): Promise<OperationAnswer> {
    const payload = encodePayload<'didop/v1'>(prepared.payload);
    if (prepared.signers.every(isHeld)) return this.#publish(prepared, payload, []);
    const id = Link.ofDigest(digestOf(payload)).text;
    this.#drafts.put(id, { prepared, payload });
    return this.#answer(id, prepared, payload, false);
  }

  /** Errors: not_found, expired, conflict (something changed meanwhile), signers, bad_signature, the door's codes. */
  async complete(id: string, signatures: readonly Uint8Array[]): Promise<OperationAnswer> {
    return this.#components.organisation.inTurn(() => this.#complete(id, signatures));
  }

  async #complete(id: string, signatures: readonly Uint8Array[]): Promise<OperationAnswer> {
    const draft = this.#drafts.take(id);
    this.#components.organisation.verifyCurrent(draft.prepared.payload);
    return this.#publish(draft.prepared, draft.payload, signatures);
  }

  async #publish(
    prepared: PreparedOperation,
    payload: Uint8Array,
    elsewhere: readonly Uint8Array[],
  ): Promise<OperationAnswer> {
    const input = signingInput('didop/v1', payload);
    const brought = [...elsewhere];
    const signatures = prepared.signers.map((signer: Own) => ('sign' in signer ? signer.sign(input) : brought.shift()));
    if (signatures.includes(undefined) || brought.length > 0) {
      throw new MeshError(
        'signers',
        `Cannot complete an operation: ${elsewhere.length} signatures came, want ${prepared.signers.filter((s) => !isHeld(s)).length}`,
      );
    }
    const operation = assembleStatement(payload, signatures as Uint8Array[]);
    verifySignatures(operation, this.#components.isSignatureValid);
    await this.#components.pipeline.submit([operation], () =>
      this.#components.organisation.verifyCurrent(prepared.payload),
    );
    return this.#answer(operation.id, prepared, payload, true);
  }

  #answer(id: string, { payload, signers }: PreparedOperation, bytes: Uint8Array, applied: boolean): OperationAnswer {
    if (payload.op === 'genesis' || payload.op === 'update')
      throw new MeshError('internal', `Cannot show a "${payload.op}" as an operation`);
    const purpose = payload.op;
    const elsewhere = applied ? [] : signers.filter((signer) => !isHeld(signer));
    return {
      id,
      did: this.#components.organisation.did,
      operation: purpose,
      seq: payload.seq,
      applied,
      toSign: elsewhere.map(({ publicKey }) => ({
        purpose,
        key: multikeyText(publicKey),
        payload: toBase64url(bytes),
      })),
      keys: 'keys' in payload ? payload.keys.map(([key, uses]) => ({ key: multikeyText(key), uses: [...uses] })) : [],
      files: [],
    };
  }
}
