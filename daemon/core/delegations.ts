/** Links that this daemon makes for its organisation and its agents, and what it says of chains. */
import type { DelegateBody } from '../../protocol/control/index.ts';
import {
  assembleStatement,
  createChildLink,
  createRootLink,
  digestOf,
  encodePayload,
  type IsSignatureValid,
  isOfKind,
  type Delegation,
  limits,
  Link,
  type LinkTerms,
  linksTo,
  MeshError,
  signStatement,
  type Statement,
  verifySignatures,
} from '../../protocol/index.ts';
import type { Clock, Random, Signer } from '../ports.ts';
import type { Agents } from './agents.ts';
import { Drafts } from './drafts.ts';
import type { Organisation } from './organisation.ts';
import type { OwnSigners } from './own-signers.ts';
import type { Pipeline } from './pipeline.ts';
import { capabilitiesFrom } from './views.ts';

type LinkStatement = Statement<'delegation/v1'>;

export interface DelegationsComponents {
  readonly organisation: Organisation;
  readonly agents: Agents;
  readonly pipeline: Pipeline;
  readonly signers: OwnSigners;
  readonly clock: Clock;
  readonly random: Random;
  readonly isSignatureValid: IsSignatureValid;
}

/** A link as made; unsigned where its issuer keeps its own key and has to sign `payload`. */
export type Made =
  | { readonly link: LinkStatement; readonly toSign: undefined }
  | { readonly link: Unsigned; readonly toSign: { readonly key: Uint8Array; readonly payload: Uint8Array } };
export interface Unsigned {
  readonly id: string;
  readonly payload: Delegation;
}

const TTL_SECONDS = 3_600; // what nobody gave a time lasts an hour, or as long as its parent

export class Delegations {
  readonly #components: DelegationsComponents;
  readonly #drafts: Drafts<{ readonly payload: Uint8Array; readonly issuer: string }>;

  constructor(components: DelegationsComponents) {
    this.#components = components;
    this.#drafts = new Drafts(components.clock, { what: 'link' });
  }

  /**
   * A root link of the organisation, or one that continues `from`, or `as`'s own root link. Published unless private;
   * on disk when it resolves. Errors: those of verifyChain before freshness, not_found, key_missing, the door's codes.
   */
  async create(body: DelegateBody): Promise<Made> {
    return body.from === undefined && body.as === undefined ? this.#createRoot(body) : this.#createChild(body);
  }

  /** The signature of an issuer that keeps its own key. Errors: not_found, expired, bad_signature, the door's codes. */
  async complete(id: string, signatures: readonly Uint8Array[], caller: string | undefined): Promise<LinkStatement> {
    const draft = this.#drafts.take(id, ({ issuer }) => caller === undefined || caller === issuer);
    const link = assembleStatement(draft.payload, signatures);
    if (!isOfKind(link, 'delegation/v1')) throw new MeshError('internal', 'Cannot complete a link: its draft is none');
    verifySignatures(link, this.#components.isSignatureValid);
    await this.#components.pipeline.submit([link]);
    return link;
  }

  async #createRoot(body: DelegateBody): Promise<Made> {
    const { organisation, agents, signers, pipeline } = this.#components;
    const sponsor = body.sponsor === undefined ? this.#onlySponsor() : body.sponsor;
    agents.requireSponsor(sponsor);
    const own = organisation.signer('delegate');
    const person = signers.signerFor(pipeline.state.didState(sponsor), sponsor, 'delegate');
    const payload = createRootLink(
      this.#terms(body, undefined),
      { organisation: { did: organisation.did, key: own.publicKey }, sponsor: { did: sponsor, key: person.publicKey } },
      this.#context(),
    );
    return this.#publish(payload, [own, person]);
  }

  async #createChild(body: DelegateBody): Promise<Made> {
    const { pipeline } = this.#components;
    const chain = this.#parentChain(body);
    const issuer = (chain.at(-1) as LinkStatement).payload.aud;
    if (body.as !== undefined && body.as !== issuer) {
      throw new MeshError(
        'holder_mismatch',
        `Cannot delegate from "${body.from}" as "${body.as}": it was given to "${issuer}"`,
        { is: body.as, want: issuer },
      );
    }
    const key = this.#issuerKey(issuer);
    const payload = createChildLink(this.#terms(body, chain.at(-1)), chain, key.publicKey, {
      ...this.#context(),
      view: pipeline.state,
    });
    return 'sign' in key ? this.#publish(payload, [key]) : this.#draft(payload, issuer, key.publicKey);
  }

  #parentChain(body: DelegateBody): LinkStatement[] {
    const { agents, pipeline } = this.#components;
    const leaf = body.from ?? agents.agent(body.as as string).rootLink;
    if (pipeline.state.link(leaf) === undefined)
      throw new MeshError('not_found', `Cannot delegate from link "${leaf}": it is not held here`, { id: leaf });
    return linksTo(pipeline.state, leaf);
  }

  /** The key of our organisation or of one of our agents; without `sign` where the agent keeps it. */
  #issuerKey(issuer: string): Signer | { readonly publicKey: Uint8Array } {
    const { organisation, agents, signers, pipeline } = this.#components;
    if (issuer === organisation.did) return organisation.signer('delegate');
    const agent = agents.agent(issuer);
    agents.requireActive(agent);
    if (agent.keyHeldBy === 'daemon') return signers.signerFor(pipeline.state.didState(issuer), issuer, 'delegate');
    const listed = pipeline.state.didState(issuer)?.keys.find(([, uses]) => uses.includes('delegate'));
    if (listed === undefined)
      throw new MeshError('key_missing', `Cannot delegate as "${agent.name}": it lists no key of use "delegate"`, {
        did: issuer,
      });
    return { publicKey: listed[0] };
  }

  #terms(body: DelegateBody, parent: LinkStatement | undefined): LinkTerms {
    const nowSeconds = Math.floor(this.#components.clock.nowMs() / 1000);
    const wanted = nowSeconds + (body.ttlSeconds ?? TTL_SECONDS);
    // Only a life that was asked for is refused where the parent's is shorter; a default one is cut to it.
    const expiresSeconds =
      body.ttlSeconds === undefined && parent !== undefined ? Math.min(wanted, parent.payload.exp) : wanted;
    return {
      audience: body.to,
      capabilities: capabilitiesFrom(body.capabilities),
      expiresSeconds,
      ...(body.depth !== undefined && { depth: body.depth }),
      ...(body.rates !== undefined && { rates: body.rates }),
      ...(body.at !== undefined && { at: body.at }),
      ...(body.purposes !== undefined && { purposes: body.purposes }),
      ...(body.minScore !== undefined && { minScore: body.minScore }),
      ...(body.stalenessSeconds !== undefined && { stalenessSeconds: body.stalenessSeconds }),
      ...(body.private === true && { private: true }),
    };
  }

  async #publish(payload: Delegation, signers: readonly Signer[]): Promise<Made> {
    const link = signStatement<'delegation/v1'>(payload, signers);
    await this.#components.pipeline.submit([link]);
    return { link, toSign: undefined };
  }

  #draft(payload: Delegation, issuer: string, key: Uint8Array): Made {
    const bytes = encodePayload<'delegation/v1'>(payload);
    const id = Link.ofDigest(digestOf(bytes)).text;
    this.#drafts.put(id, { payload: bytes, issuer });
    return { link: { id, payload }, toSign: { key, payload: bytes } };
  }

  #onlySponsor(): string {
    const sponsors = this.#components.agents.sponsors();
    const [only] = sponsors;
    if (only !== undefined && sponsors.length === 1) return only.did;
    const why =
      only === undefined ? 'the organisation has no sponsor yet' : `name one of the ${sponsors.length} sponsors`;
    throw new MeshError(
      'sponsor_missing',
      `Cannot delegate for the organisation: ${why}; a person signs each root link`,
      { is: sponsors.length, want: 1 },
    );
  }

  #context(): { readonly nonce: Uint8Array; readonly nowSeconds: number } {
    return {
      nonce: this.#components.random.bytes(limits.NONCE_BYTES),
      nowSeconds: Math.floor(this.#components.clock.nowMs() / 1000),
    };
  }
}
