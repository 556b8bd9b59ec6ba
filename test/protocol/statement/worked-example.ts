/** The example of SPEC.md, "Envelope": every value follows from seeds of one repeated byte. */
import { digestOf, didOfGenesis, Link, type Statement, signStatement } from '../../../protocol/index.ts';
import { keyOf, type TestKey } from '../../builders.ts';

export const ORGANISATION: TestKey = keyOf(1);
export const NODE: TestKey = keyOf(2);
const commit = ({ publicKey }: TestKey): Uint8Array => digestOf(publicKey);

export const genesis: Statement<'didop/v1'> = signStatement<'didop/v1'>(
  {
    t: 'didop/v1',
    op: 'genesis',
    kind: 'org',
    iat: 1_795_000_000,
    keys: [[ORGANISATION.publicKey, ['auth', 'delegate', 'sign']]],
    nxt: [commit(keyOf(3))],
    nthr: 1,
    rec: [keyOf(4), keyOf(5), keyOf(6)].map(commit),
    rthr: 2,
    peer: [NODE.peerId],
    nce: new Uint8Array(16).fill(7),
  },
  [ORGANISATION, NODE],
);

export const did: string = didOfGenesis(genesis.id);

export const heartbeat: Statement<'heartbeat/v1'> = signStatement<'heartbeat/v1'>(
  {
    t: 'heartbeat/v1',
    iat: 1_795_000_060,
    iss: did,
    dseq: 0,
    head: Link.ofDigest(genesis.digest),
    rseq: 0,
    rhead: null,
  },
  [ORGANISATION],
);

/** Of the heartbeat's id: revocations of what is no link stay inert, but their bytes are as good as any. */
export const revocation: Statement<'revocation/v1'> = signStatement<'revocation/v1'>(
  {
    t: 'revocation/v1',
    iat: 1_795_000_060,
    iss: did,
    org: did,
    seq: 1,
    prv: null,
    tgt: { link: Link.ofDigest(heartbeat.digest) },
    rsn: 'superseded',
  },
  [ORGANISATION],
);
