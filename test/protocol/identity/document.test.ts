import { describe, expect, test } from 'vitest';
import { isMeshDid, type KeyUse, multikeyText, parseMultikeyText } from '../../../protocol/index.ts';
import { didDocument, didNotFound, didResolution } from '../../../protocol/identity/document.ts';
import type { DidState } from '../../../protocol/state/view.ts';
import { createAgent, createOrganisation, keyOf } from '../../builders.ts';

const acme = createOrganisation('acme');
const agent = createAgent(acme, 'agent');
const [first, second] = [keyOf('first'), keyOf('second')];

const state = (change: Partial<DidState> = {}): DidState => ({
  did: acme.did,
  kind: 'org',
  ctl: undefined,
  organisation: acme.did,
  status: 'active',
  head: acme.genesis.id,
  seq: 3,
  keys: [
    [first.publicKey, ['auth', 'sign']],
    [second.publicKey, ['delegate', 'sign']],
  ],
  listed: new Map(),
  peers: [acme.node.peerId],
  services: [],
  next: { commitments: [], threshold: 0 },
  recovery: { commitments: [], threshold: 0 },
  contested: false,
  createdSeconds: 1_795_000_000,
  updatedSeconds: 1_795_000_061,
  ...change,
});

describe('the document of an active DID', () => {
  const document = didDocument(state());

  test('is a DID 1.1 document with its keys as Multikeys', () => {
    expect(document['@context']).toEqual(['https://www.w3.org/ns/did/v1.1']);
    expect(document.id).toBe(acme.did);
    expect(isMeshDid(document.id)).toBe(true);
    expect(document.verificationMethod).toEqual(
      [first, second].map((key) => ({
        id: `${acme.did}#${key.text}`,
        type: 'Multikey',
        controller: acme.did,
        publicKeyMultibase: key.text,
      })),
    );
    for (const method of document.verificationMethod) {
      expect(multikeyText(parseMultikeyText(method.publicKeyMultibase))).toBe(method.publicKeyMultibase);
    }
  });

  test('lists each key under the relationships of its uses and no other', () => {
    const url = (key: { text: string }): string => `${acme.did}#${key.text}`;
    expect(document.authentication).toEqual([url(first)]);
    expect(document.assertionMethod).toEqual([url(first), url(second)]);
    expect(document.capabilityDelegation).toEqual([url(second)]);
    const known: KeyUse[] = ['auth', 'delegate', 'sign'];
    for (const use of known) {
      const alone = didDocument(state({ keys: [[first.publicKey, [use]]] }));
      const lists = [alone.authentication, alone.assertionMethod, alone.capabilityDelegation];
      expect(lists.filter((list) => list.length > 0)).toEqual([[url(first)]]);
    }
  });

  test('names the organisation as the controller of its agent, and none of the organisation itself', () => {
    expect(document).not.toHaveProperty('controller');
    expect(didDocument(state({ did: agent.did, ctl: acme.did, kind: 'agent', peers: [] })).controller).toBe(acme.did);
  });

  test('lists PeerIds and services, each with an id of its own, and only URIs as strings', () => {
    const services = [
      ['libp2p', '/ip4/192.0.2.1/tcp/4001'],
      ['website', 'https://example.org/a?b=c#d'],
      ['note', 'call us'],
      ['note', 'https://example.org/a b'],
      ['note', ''],
    ] as const;
    const { service } = didDocument(state({ services }));
    expect(service.map(({ type, serviceEndpoint }) => [type, serviceEndpoint])).toEqual([
      ['libp2p', { multiaddr: `/p2p/${acme.node.peerId}` }],
      ['libp2p', { multiaddr: '/ip4/192.0.2.1/tcp/4001' }],
      ['website', 'https://example.org/a?b=c#d'],
      ['note', { value: 'call us' }],
      ['note', { value: 'https://example.org/a b' }],
      ['note', { value: '' }],
    ]);
    expect(new Set(service.map(({ id }) => id)).size).toBe(service.length);
    for (const { id } of service) expect(id.startsWith(`${acme.did}#`)).toBe(true);
  });

  test('holds nothing but JSON', () => {
    expect(JSON.parse(JSON.stringify(document))).toEqual(document);
  });
});

describe('the resolution', () => {
  test('of an active DID has its document, with seq as the version and times in whole seconds', () => {
    expect(didResolution(state())).toEqual({
      didDocument: didDocument(state()),
      didDocumentMetadata: {
        created: '2026-11-18T11:06:40Z',
        updated: '2026-11-18T11:07:41Z',
        versionId: '3',
        deactivated: false,
      },
      didResolutionMetadata: { contentType: 'application/did' },
    });
  });

  test('of a deactivated DID has no document, and says why', () => {
    const { didDocument: document, didDocumentMetadata } = didResolution(state({ status: 'deactivated', keys: [] }));
    expect(document).toBe(null);
    expect(didDocumentMetadata).toMatchObject({ deactivated: true, versionId: '3' });
    expect(didDocument(state({ status: 'deactivated' })).verificationMethod).toEqual([]);
  });

  test('of a frozen DID has a document without keys: it proves nothing until it is recovered', () => {
    const { didDocument: document, didDocumentMetadata } = didResolution(state({ status: 'frozen' }));
    expect(document).toMatchObject({
      id: acme.did,
      verificationMethod: [],
      authentication: [],
      assertionMethod: [],
      capabilityDelegation: [],
    });
    expect(didDocumentMetadata).toMatchObject({ deactivated: false, frozen: true });
  });

  test('of a DID that nobody knows is an error of the kind that DID Resolution lists', () => {
    expect(didNotFound.didDocument).toBe(null);
    expect(didNotFound.didResolutionMetadata.error?.type).toBe('https://www.w3.org/ns/did#NOT_FOUND');
  });

  test('writes the last second that it can', () => {
    const { didDocumentMetadata } = didResolution(state({ createdSeconds: 0, updatedSeconds: 253_402_300_799 }));
    expect(didDocumentMetadata).toMatchObject({ created: '1970-01-01T00:00:00Z', updated: '9999-12-31T23:59:59Z' });
  });
});
