import { describe, expect, test } from 'vitest';
import { encodeCbor } from '../../../protocol/encoding/cbor.ts';
import { encodeHandshakeFrame } from '../../../protocol/iatp/frames.ts';
import { createPresentation, openPresentation } from '../../../protocol/iatp/presentation.ts';
import * as limits from '../../../protocol/limits.ts';
import { createCredential, createHeartbeat, createRevocation, keyOf } from '../../builders.ts';
import { acme, grant, ident, worker } from './worked-example.ts';

const credential = createCredential(ident, worker, keyOf('ephemeral'));

describe('createPresentation()', () => {
  test('names what it is about and leaves out what does not apply', () => {
    expect(createPresentation({}, [])).toEqual({ set: [] });
    expect(openPresentation(createPresentation({ ident: ident.id, grant: grant.id }, []))).toMatchObject({
      ident: ident.id,
      grant: grant.id,
    });
  });

  test('takes as many envelopes as fit, the first ones first', () => {
    const many = Array.from({ length: 100 }, (_, i) => createRevocation(acme, ident, { rsn: `${i}` }).envelope);
    expect(createPresentation({}, many).set).toEqual(many.slice(0, limits.PRESENTED_STATEMENTS_MAX));
    const large = Array.from({ length: 20 }, (_, i) => new Uint8Array(8 * 1024).fill(i));
    const { set } = createPresentation({}, large);
    expect(set).toEqual(large.slice(0, set.length));
    expect(set.length).toBeGreaterThanOrEqual(6);
    const frame = encodeHandshakeFrame('proof', { pres: { set }, sig: new Uint8Array(64) });
    expect(frame.length).toBeLessThanOrEqual(limits.IATP_FRAME_BYTES_MAX);
  });
});

describe('openPresentation()', () => {
  test('keeps private links apart from what goes through the door', () => {
    const heartbeat = createHeartbeat(acme);
    const opened = openPresentation(
      createPresentation(
        {},
        [heartbeat, credential, ident].map(({ envelope }) => envelope),
      ),
    );
    expect(opened.published).toEqual([heartbeat.envelope, ident.envelope]);
    expect(opened.private.map(({ id }) => id)).toEqual([credential.id]);
  });

  test('leaves out kinds that are not known here, as the door does', () => {
    const later = encodeCbor([encodeCbor({ t: 'checkpoint/v2', by: [], iat: 0 }), []]);
    expect(openPresentation({ set: [later] })).toEqual({ published: [], private: [] });
  });

  test.each([
    ['malformed', new Uint8Array()],
    ['malformed', Uint8Array.of(0x82)],
    ['signers', encodeCbor([grant.payloadBytes, []])],
    ['schema', encodeCbor([encodeCbor({ t: 'delegation/v1' }), []])],
  ])('refuses with %s what is no statement', (code, envelope) => {
    expect(() => openPresentation({ set: [envelope] })).toThrow(expect.objectContaining({ code }));
  });
});
