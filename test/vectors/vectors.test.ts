import { describe, expect, test } from 'vitest';
import { CHAIN_CODES, DIMENSIONS, isErrorCode, parseStatement } from '../../protocol/index.ts';
import { leafHash, parseEntry } from '../../protocol/log/index.ts';
import { approvalDigest, type GateRequest, type SignedApproval } from '../../protocol/policy/index.ts';
import { refusalOfApproval } from './approval.ts';
import { callVerdictOf } from './call.ts';
import { type ChainVector, verdictOf } from './chain.ts';
import { type EntryVector, refusalOfEntry, signedByOf } from './entry.ts';
import { refusalOfOperation, stateJson, stateOf } from './did.ts';
import { decidedBy, faultOfPolicy, type PolicyCase, type PolicyFault, policyOf, type PolicyVector } from './policy.ts';
import { type DefinitionVector, hashOf, type MessageVector, refusalOfMessage } from './mcp.ts';
import { SETS } from './sets.ts';
import { refusalOf } from './statement.ts';
import { filesOf, filesOnDisk, type InvalidVector, type ValidVector } from './vectors.ts';

describe.each(Object.entries(SETS))('the vectors of %s', (name, set) => {
  test('are what regenerate.ts would write, no more and no less', () => {
    expect(Object.keys(set.valid).length).toBeGreaterThan(5);
    expect(Object.keys(set.invalid).length).toBeGreaterThan(5);
    const onDisk = filesOnDisk(name);
    expect([...onDisk.keys()].sort()).toEqual([...filesOf(name, set).keys()].sort());
    for (const [path, text] of filesOf(name, set)) expect(onDisk.get(path), path).toBe(text);
  });

  test('each name the section that decides them, and the invalid ones a code of the list', () => {
    for (const vector of [...Object.values(set.valid), ...Object.values(set.invalid)])
      expect(vector.source.length).toBeGreaterThan(3);
    for (const [title, { code }] of Object.entries(set.invalid)) expect(isErrorCode(code), title).toBe(true);
  });

  test('are all different', () => {
    const bytes = [...Object.values(set.valid), ...Object.values(set.invalid)].map((vector) => JSON.stringify(vector));
    expect(new Set(bytes).size).toBe(bytes.length);
  });
});

/** The files themselves, as another implementation would read them. */
function read<T>(set: string, verdict: 'valid' | 'invalid'): [string, T][] {
  const folder = `${set}/${verdict}/`;
  return [...filesOnDisk(set)]
    .filter(([path]) => path.startsWith(folder))
    .map(([path, text]) => [path.slice(folder.length, -'.json'.length), JSON.parse(text) as T]);
}

test.each(read<ValidVector>('statement', 'valid'))('statement %s is accepted, with the id that it has', (_, vector) => {
  expect(refusalOf(vector)).toBeUndefined();
  const statement = parseStatement(Buffer.from(vector.envelopeBytes as string, 'hex'));
  expect({ id: statement.id, epoch: statement.epoch, kind: statement.t }).toEqual({
    id: vector.id,
    epoch: vector.epoch,
    kind: vector.kind,
  });
  expect(Buffer.from(statement.payloadBytes).toString('hex')).toBe(vector.payloadBytes);
});

test.each(read<InvalidVector>('statement', 'invalid'))('statement %s is refused with its code', (_, vector) => {
  expect(refusalOf(vector)).toBe(vector.code);
});

interface DidVector {
  readonly did: string;
  readonly operations: string[];
  readonly state: object;
}
test.each(read<DidVector>('did', 'valid'))(
  'DID %s has its state, in whatever order its operations come',
  (_, vector) => {
    const { did, operations, state } = vector;
    for (const order of [operations, [...operations].reverse(), [...operations.slice(1), ...operations.slice(0, 1)]]) {
      expect(JSON.parse(JSON.stringify(stateJson(stateOf(did, order))))).toEqual(state);
    }
  },
);

interface RefusedOperation {
  readonly held: string[];
  readonly operation: string;
  readonly code: string;
}
test.each(read<RefusedOperation>('did', 'invalid'))(
  'DID %s is refused with its code',
  (_, { held, operation, code }) => {
    expect(refusalOfOperation(held, operation)).toBe(code);
  },
);

test.each(read<ChainVector & { readonly effective: unknown }>('chain', 'valid'))(
  'chain %s allows what it says',
  (_, vector) => {
    expect(verdictOf(vector)).toEqual({ effective: vector.effective });
  },
);

test.each(read<ChainVector & { readonly code: string; readonly dimension?: string }>('chain', 'invalid'))(
  'chain %s is refused with its code',
  (_, vector) => {
    const { code, dimension } = verdictOf(vector);
    expect(code).toBe(vector.code);
    if (vector.dimension !== undefined) expect(dimension).toBe(vector.dimension);
  },
);

test('chains have a vector for every code and every dimension', () => {
  const vectors = read<{ code: string; dimension?: string }>('chain', 'invalid').map(([, vector]) => vector);
  expect([...new Set(vectors.map(({ code }) => code))].sort()).toEqual([...CHAIN_CODES].sort());
  const dimensions = vectors.flatMap(({ dimension }) => dimension ?? []);
  expect([...new Set(dimensions)].sort()).toEqual([...DIMENSIONS].sort());
});

interface WholeEntry extends EntryVector {
  readonly id: string;
  readonly key: string;
  readonly leafHash: string;
  readonly signedBy?: string;
}
test.each(read<WholeEntry>('entry', 'valid'))('entry %s is accepted, and is what it says', (_, vector) => {
  expect(refusalOfEntry(vector)).toBeUndefined();
  if (vector.signedBy !== undefined) {
    expect(signedByOf(vector)).toBe(vector.signedBy);
    return;
  }
  const { entry, bytes } = parseEntry(Uint8Array.from(Buffer.from(vector.entryBytes, 'hex')));
  expect({ id: entry.id, key: entry.data.sig.kid, leafHash: Buffer.from(leafHash(bytes)).toString('hex') }).toEqual({
    id: vector.id,
    key: vector.key,
    leafHash: vector.leafHash,
  });
});

test.each(read<EntryVector & { readonly code: string }>('entry', 'invalid'))(
  'entry %s is refused with its code',
  (_, vector) => {
    expect(refusalOfEntry(vector)).toBe(vector.code);
    // What comes before it in its log is good: the code is about the entry, or about a log that ends with it.
    for (const [i, entryBytes] of (vector.before ?? []).entries())
      expect(refusalOfEntry({ entryBytes }), `entry ${i}`).toBeUndefined();
  },
);

test.each(read<PolicyVector & { readonly digest: string; readonly cases: readonly PolicyCase[] }>('policy', 'valid'))(
  'policy %s has the digest that it says, and decides so',
  (_, vector) => {
    expect(policyOf(vector).digest).toBe(vector.digest);
    for (const { effect, rule, code, ...asked } of vector.cases)
      expect(decidedBy(vector, asked)).toEqual({ effect, rule, code });
  },
);

test.each(read<PolicyVector & PolicyFault>('policy', 'invalid'))(
  'policy %s is refused at its place',
  (_, { files, code, file, line, column }) => {
    expect(faultOfPolicy({ files })).toEqual({ code, file, line, column });
  },
);

interface ApprovalVector {
  readonly agent: string;
  readonly request: GateRequest;
  readonly digest: string;
  readonly approval: SignedApproval;
}
test.each(read<ApprovalVector>('approval', 'valid'))('approval %s is for its request', (_, vector) => {
  expect(approvalDigest(vector.agent, vector.request)).toBe(vector.digest);
  expect(vector.approval.digest).toBe(vector.digest);
  expect(refusalOfApproval(vector.approval)).toBeUndefined();
});

test.each(read<ApprovalVector & { readonly code: string }>('approval', 'invalid'))(
  'approval %s is refused with its code',
  (_, { approval, code }) => {
    expect(refusalOfApproval(approval)).toBe(code);
  },
);

test.each(read<DefinitionVector>('mcp', 'valid'))('tool %s has its hash', (_, vector) => {
  expect(hashOf(vector)).toBe(vector.hash);
});

test('definitions in another order, and with another _meta, have one hash', () => {
  const hashes = new Map(read<DefinitionVector>('mcp', 'valid').map(([name, { hash }]) => [name, hash]));
  expect(hashes.get('definition-in-another-order')).toBe(hashes.get('definition-with-a-schema'));
  expect(hashes.get('definition-without-its-meta')).toBe(hashes.get('definition-of-a-name'));
  expect(new Set(hashes.values()).size).toBe(hashes.size - 2);
});

test.each(read<MessageVector>('mcp', 'invalid'))('MCP %s is refused with its codes', (_, vector) => {
  const { code, rpcCode, rpcId } = vector;
  expect(refusalOfMessage(vector)).toEqual({ code, rpcCode, rpcId });
});

test.each(read<ValidVector>('call', 'valid'))('calls %s is accepted, with the body that it makes', (_, vector) => {
  const { bodySha256 } = vector;
  expect(callVerdictOf(vector)).toEqual(bodySha256 === undefined ? {} : { bodySha256 });
});

test.each(read<InvalidVector>('call', 'invalid'))('calls %s is refused with its code', (_, vector) => {
  expect(callVerdictOf(vector)).toEqual({ code: vector.code });
});
