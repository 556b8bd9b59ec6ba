/** Who of ours may revoke what, and what falls with it. */
import type { RevocationTargetJson } from '../../protocol/control/index.ts';
import { isEntitled, MeshError, type RevocationTarget, type Statement, targetKeyOf } from '../../protocol/index.ts';
import type { Signer } from '../ports.ts';
import type { MeshNode } from './node.ts';
import { targetFrom } from './views.ts';

export interface Revoked {
  readonly revocation: Statement<'revocation/v1'>;
  readonly cascade: readonly string[];
}

export class Revocations {
  readonly #node: MeshNode;

  constructor(node: MeshNode) {
    this.#node = node;
  }

  /**
   * Revokes as `as`, or as whoever of ours is entitled: the organisation first, then an agent of ours in the chain.
   * Errors: not_found (target not held), not_entitled, revoked, key_missing, the door's codes.
   */
  async revoke(target: RevocationTargetJson, reason: string, as: string | undefined): Promise<Revoked> {
    const { organisation } = this.#node;
    const tgt = targetFrom(target);
    const issuer = this.#issuerFor(tgt, as);
    this.#refuseTwice(tgt, issuer);
    const revocation = await organisation.revoke(
      tgt,
      reason,
      issuer === organisation.did ? undefined : { did: issuer, signer: this.#signer(issuer) },
    );
    return { revocation, cascade: this.#node.cascadeOf(revocation) };
  }

  /** Whether a held revocation's issuer is entitled; null where its target is not held. */
  applies({ payload: { iss, tgt } }: Statement<'revocation/v1'>): boolean | null {
    const { state } = this.#node;
    if (tgt.link !== undefined) {
      const link = state.link(tgt.link.text);
      return link === undefined ? null : isEntitled(iss, link, state);
    }
    const held = state.didState(tgt.did as string);
    if (held === undefined) return null;
    return held.ctl !== undefined && (iss === held.ctl || (tgt.key !== undefined && iss === tgt.did));
  }

  #issuerFor(tgt: RevocationTarget, as: string | undefined): string {
    const { organisation, agents } = this.#node;
    const entitled = this.#entitled(tgt);
    if (as !== undefined) {
      if (entitled(as)) return as;
      throw new MeshError(
        'not_entitled',
        `Cannot revoke as "${as}": it is neither an issuer above, nor the root organisation, the sponsor or the holder`,
        { did: as },
      );
    }
    const own = [
      organisation.did,
      ...agents.agents().map(({ did }) => did),
      ...agents.sponsors().map(({ did }) => did),
    ];
    const issuer = own.find(entitled);
    if (issuer !== undefined) return issuer;
    throw new MeshError(
      'not_entitled',
      'Cannot revoke: neither this organisation nor an agent of it is an issuer above, the root organisation, the sponsor or the holder',
    );
  }

  #entitled(tgt: RevocationTarget): (did: string) => boolean {
    const { state } = this.#node;
    if (tgt.link !== undefined) {
      const link = state.link(tgt.link.text);
      if (link === undefined)
        throw new MeshError('not_found', `Cannot revoke link "${tgt.link.text}": it is not held here`, {
          id: tgt.link.text,
        });
      return (did) => isEntitled(did, link, state);
    }
    const target = tgt.did as string; // the schema wants one of the two
    const held = state.didState(target);
    if (held === undefined)
      throw new MeshError('not_found', `Cannot revoke "${target}": its log is not held here`, { did: target });
    return (did) => held.ctl !== undefined && (did === held.ctl || (tgt.key !== undefined && did === target));
  }

  #refuseTwice(tgt: RevocationTarget, issuer: string): void {
    const known = this.#node.state.revocationsOf(targetKeyOf(tgt)).find(({ payload }) => payload.iss === issuer);
    if (known !== undefined) throw new MeshError('revoked', 'Cannot revoke: it is revoked already', { id: known.id });
  }

  #signer(issuer: string): Signer {
    const { signers, state } = this.#node;
    return signers.signerFor(state.didState(issuer), issuer, 'sign');
  }
}
