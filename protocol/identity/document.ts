/**
 * The state of a did:mesh as other systems read it: a DID document (W3C DID 1.1, with Multikey of Controlled Identifiers
 * 1.0) inside a DID resolution result (W3C DID Resolution 1.0).
 *
 * What a reader may rely on is only what counts now: a frozen DID proves nothing, so its document lists no keys, and a
 * deactivated one has no document.
 */
import { multikeyText } from '../encoding/multikey.ts';
import type { DidState } from '../state/view.ts';
import type { KeyUse } from './operations.ts';

export interface VerificationMethod {
  readonly id: string;
  readonly type: 'Multikey';
  readonly controller: string;
  readonly publicKeyMultibase: string;
}

export interface DidService {
  readonly id: string;
  readonly type: string;
  /** An absolute URI; a map where the endpoint is none (DID 1.1 wants strings to be URIs, and multiaddrs are not). */
  readonly serviceEndpoint: string | { readonly multiaddr: string } | { readonly value: string };
}

/** Lists are empty, not absent, where there is nothing; that is the same to DID 1.1 and simpler to read. */
export interface DidDocument {
  readonly '@context': string[];
  readonly id: string;
  /** The organisation of an agent or person. */
  readonly controller?: string;
  readonly verificationMethod: VerificationMethod[];
  readonly authentication: string[];
  readonly assertionMethod: string[];
  readonly capabilityDelegation: string[];
  readonly service: DidService[];
}

export interface DidDocumentMetadata {
  /** RFC 3339, UTC; as claimed by the genesis and by the last operation. */
  readonly created: string;
  readonly updated: string;
  /** seq of the last operation of the history that counts. */
  readonly versionId: string;
  readonly deactivated: boolean;
  /** Only where true: two histories answer one commitment, and nothing counts until the DID is recovered. */
  readonly frozen?: true;
}

export interface DidResolution {
  readonly didDocument: DidDocument | null;
  /** Empty where nothing was found. */
  readonly didDocumentMetadata: DidDocumentMetadata | Readonly<Record<string, never>>;
  readonly didResolutionMetadata: {
    readonly contentType?: 'application/did';
    /** An RFC 9457 problem, typed as DID Resolution lists them. */
    readonly error?: { readonly type: string; readonly title: string };
  };
}

/** As DID Resolution gives it: without a document where the DID is deactivated. */
export function didResolution(state: DidState): DidResolution {
  const isDeactivated = state.status === 'deactivated';
  return {
    didDocument: isDeactivated ? null : didDocument(state),
    didDocumentMetadata: didDocumentMetadata(state),
    didResolutionMetadata: isDeactivated ? {} : { contentType: 'application/did' },
  };
}

export const didDocumentMetadata = (state: DidState): DidDocumentMetadata => ({
  created: dateTime(state.createdSeconds),
  updated: dateTime(state.updatedSeconds),
  versionId: String(state.seq),
  deactivated: state.status === 'deactivated',
  ...(state.status === 'frozen' ? { frozen: true } : {}),
});

/** The result for a DID whose log nobody asked could show. */
export const didNotFound: DidResolution = {
  didDocument: null,
  didDocumentMetadata: {},
  didResolutionMetadata: {
    error: { type: 'https://www.w3.org/ns/did#NOT_FOUND', title: 'No operation of this DID was found' },
  },
};

/** For people who look at a DID; whoever verifies wants `didResolution`, which has none for a deactivated DID. */
export function didDocument(state: DidState): DidDocument {
  const { did, ctl } = state;
  const keys = state.status === 'active' ? state.keys.map(([key, uses]) => [multikeyText(key), uses] as const) : [];
  const usedFor = (use: KeyUse): string[] =>
    keys.filter(([, uses]) => uses.includes(use)).map(([text]) => keyUrl(did, text));
  return {
    '@context': ['https://www.w3.org/ns/did/v1.1'],
    id: did,
    ...(ctl === undefined ? {} : { controller: ctl }),
    verificationMethod: keys.map(([text]) => verificationMethod(did, text)),
    authentication: usedFor('auth'),
    assertionMethod: usedFor('sign'),
    capabilityDelegation: usedFor('delegate'),
    service: [
      ...state.peers.map((peer) => peerService(did, peer)),
      ...state.services.map((row, i) => service(did, row, i)),
    ],
  };
}

const keyUrl = (did: string, text: string): string => `${did}#${text}`;

const verificationMethod = (did: string, text: string): VerificationMethod => ({
  id: keyUrl(did, text),
  type: 'Multikey',
  controller: did,
  publicKeyMultibase: text,
});

const peerService = (did: string, peer: string): DidService => ({
  id: `${did}#${peer}`,
  type: 'libp2p',
  serviceEndpoint: { multiaddr: `/p2p/${peer}` },
});

const service = (did: string, [type, endpoint]: readonly [string, string], i: number): DidService => ({
  id: `${did}#service-${i + 1}`,
  type,
  serviceEndpoint: endpointOf(endpoint),
});

function endpointOf(endpoint: string): DidService['serviceEndpoint'] {
  // RFC 3986: a scheme and only characters that a URI may hold.
  if (/^[A-Za-z][A-Za-z0-9+.-]*:[A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=%]+$/.test(endpoint)) return endpoint;
  return endpoint.startsWith('/') ? { multiaddr: endpoint } : { value: endpoint };
}

/** XML dateTime in UTC without fractions, as DID 1.1 wants it. */
const dateTime = (seconds: number): string => new Date(seconds * 1000).toISOString().replace('.000Z', 'Z');
