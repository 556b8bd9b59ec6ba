/** The example of SPEC.md, "Handshake": an agent of beta asks acme. Every value follows from names and repeated bytes. */
import {
  createPresentation,
  encodeHandshakeFrame,
  type HandshakeChannel,
  protocolId,
  signFrame,
  startTranscript,
  type Transcript,
  withMessage,
} from '../../../protocol/index.ts';
import {
  createAgent,
  createHeartbeat,
  createOrganisation,
  createPerson,
  createRootLink,
  NOW_SECONDS,
} from '../../builders.ts';

export const acme = createOrganisation('acme');
export const alice = createPerson(acme, 'alice');
export const beta = createOrganisation('beta');
export const bob = createPerson(beta, 'bob');
export const worker = createAgent(beta, 'worker');
export const ident = createRootLink(beta, bob, { aud: worker.did, cap: [{ can: 'read:reports/*' }] });
export const grant = createRootLink(acme, alice, {
  aud: worker.did,
  cap: [{ can: 'read:reports/*' }],
  rate: [{ can: 'read:reports/*', n: 10, per: 60 }],
});
export const wanted = [{ can: 'read:reports/q3', res: ['s3://reports/q3/'] }];

export const channel: HandshakeChannel = {
  protocolId: protocolId('agentmesh', 'iatp'),
  initiator: beta.node.peerId,
  responder: acme.node.peerId,
  channelBinding: new Uint8Array(32).fill(0x0c),
};

/** What was said before each frame. */
export interface Frames {
  readonly hello: Uint8Array;
  readonly offer: Uint8Array;
  readonly proof: Uint8Array;
  readonly result: Uint8Array;
}
export const before: Record<keyof Frames, Transcript> = {} as Record<keyof Frames, Transcript>;

before.hello = startTranscript(channel);
const hello = encodeHandshakeFrame('hello', {
  v: 1,
  did: worker.did,
  to: acme.did,
  non: new Uint8Array(32).fill(0x11),
  want: wanted,
  min: 300,
  pur: 'billing',
});
before.offer = withMessage(before.hello, hello);
const offer = signFrame(
  'offer',
  'R',
  before.offer,
  {
    did: acme.did,
    non: new Uint8Array(32).fill(0x22),
    pres: createPresentation({}, [createHeartbeat(acme).envelope]),
    need: { min: 300 },
  },
  acme.keys.auth,
);
before.proof = withMessage(before.offer, offer);
const proof = signFrame(
  'proof',
  'I',
  before.proof,
  {
    pres: createPresentation(
      { ident: ident.id, grant: grant.id },
      [createHeartbeat(beta), ident].map(({ envelope }) => envelope),
    ),
  },
  worker.keys.auth,
);
before.result = withMessage(before.proof, proof);
const result = signFrame(
  'result',
  'R',
  before.result,
  {
    sid: new Uint8Array(16).fill(0x33),
    caps: wanted,
    exp: NOW_SECONDS + 900,
    rates: [{ can: 'read:reports/*', n: 10, per: 60 }],
  },
  acme.keys.auth,
);
export const frames: Frames = { hello, offer, proof, result };
