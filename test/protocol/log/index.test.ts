import * as byName from 'agentmesh/protocol/log';
import { expect, test } from 'vitest';
import * as door from '../../../protocol/log/index.ts';
import { isSignatureValidPure } from '../../../protocol/signature.ts';
import { naiveInclusion, naiveRoot } from './naive-tree.ts';
import { bytesOf, leaves, logSigner, signedNote } from './sample.ts';

test('the package offers the door under its own name', () => {
  expect(Object.keys(byName).sort()).toEqual(Object.keys(door).sort());
  expect(byName.verifyProofFile).toBe(door.verifyProofFile);
});

test('a proof is verified with nothing but the door and the verifier that runs in a browser', () => {
  const log = logSigner('example.org/log');
  const tree = [byName.leafHash(bytesOf('an entry')), ...leaves(6)];
  const note = signedNote({ origin: 'example.org/log', treeSize: 7, root: naiveRoot(tree) }, log);
  const file = byName.formatProofFile({
    leafIndex: 0,
    hashes: naiveInclusion(0, tree),
    signed: byName.parseCheckpoint(note),
  });
  const policy = byName.parsePolicy(bytesOf(`log ${byName.formatVkey(log.vkey)}\nquorum none\n`));
  const entry = byName.leafHash(bytesOf('an entry'));
  const { checkpoint } = byName.verifyProofFile(byName.parseProofFile(file), entry, policy, isSignatureValidPure);
  expect(checkpoint.treeSize).toBe(7);
});
