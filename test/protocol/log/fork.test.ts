import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  type Checkpoint,
  evaluateFork,
  examineExtension,
  FORK_DOUBTS,
  type ForkEvidence,
  formatCheckpointText,
  formatNote,
  isPowerOfTwo,
} from '../../../protocol/log/index.ts';
import { isSignatureValidSodium } from '../../../protocol/sodium.ts';
import { describeWithShared } from '../../shared.ts';
import { naiveConsistency, naiveRoot } from './naive-tree.ts';
import { bytesOf, cosignLine, leaves, logSigner, signedNote, signLine, textOf, witnessSigner } from './sample.ts';

const ORIGIN = 'example.org/log';
const log = logSigner(ORIGIN);
const witness = witnessSigner('witness.example/w');
const HONEST = leaves(40);
const OTHER = [...leaves(20, 'other'), ...HONEST.slice(20)];
const at = (tree: readonly Uint8Array[], treeSize: number, origin = ORIGIN): Checkpoint => ({
  origin,
  treeSize,
  root: naiveRoot(tree, treeSize),
});

/** A at size m of the honest history, B at size n of the other. */
const evidence = (m: number, n: number): ForkEvidence => ({
  vkey: log.vkey,
  a: signedNote(at(HONEST, m), log),
  b: signedNote(at(OTHER, n), log),
  rootOfAOnB: naiveRoot(OTHER, m),
  proof: m === n ? [] : naiveConsistency(m, OTHER, n),
});
const verdict = (changed: Partial<ForkEvidence>, base = evidence(5, 33)): string => {
  const found = evaluateFork({ ...base, ...changed }, isSignatureValidSodium);
  return found.proven ? 'proven' : found.reason;
};

describe('evidence of a fork', () => {
  test('proves it for every pair of sizes, equal ones and powers of two among them', () => {
    let count = 0;
    for (let m = 1; m <= 20; m++) {
      for (const n of new Set([m, m + 1, 2 * m, 32, 33, 40])) {
        expect(evaluateFork(evidence(m, n), isSignatureValidSodium)).toEqual({
          proven: true,
          origin: ORIGIN,
          sizes: [m, n],
        });
        count++;
      }
    }
    expect(count).toBeGreaterThan(100);
  });

  test('proves nothing against a log with one history, whatever root and proof are claimed', () => {
    for (const [m, n] of [
      [5, 33],
      [8, 33],
      [16, 32],
      [7, 7],
      [1, 40],
    ] as const) {
      const honest = { a: signedNote(at(HONEST, m), log), b: signedNote(at(HONEST, n), log) };
      const root = naiveRoot(HONEST, m);
      const proof = m === n ? [] : naiveConsistency(m, HONEST, n);
      expect(verdict({ ...honest, rootOfAOnB: root, proof })).toBe('same');
      const claims: Partial<ForkEvidence>[] = [
        { rootOfAOnB: naiveRoot(OTHER, m), proof },
        { rootOfAOnB: naiveRoot(OTHER, m), proof: m === n ? [] : naiveConsistency(m, OTHER, n) },
        { rootOfAOnB: naiveRoot(HONEST, n - 1), proof: [] },
        { rootOfAOnB: new Uint8Array(32), proof: [root] },
        { rootOfAOnB: new Uint8Array(0), proof },
        { rootOfAOnB: naiveRoot(OTHER, m), proof: [naiveRoot(OTHER, m), ...proof] },
      ];
      for (const claim of claims) expect(verdict({ ...honest, ...claim }), `${m} and ${n}`).toBe('proof');
    }
  });

  test('proves nothing without two notes that verify under the key', () => {
    const { a, b } = evidence(5, 33);
    const stranger = logSigner('stranger');
    expect(verdict({ vkey: stranger.vkey })).toBe('signature');
    expect(verdict({ a: signedNote(at(HONEST, 5), stranger) })).toBe('signature');
    expect(verdict({ b: signedNote(at(OTHER, 33), stranger) })).toBe('signature');
    expect(verdict({ b: bytesOf(textOf(b).replace('\n33\n', '\n34\n')) })).toBe('signature');
    expect(verdict({ a: a.slice(1) })).toBe('signature');
    expect(verdict({ a: new Uint8Array() })).toBe('signature');
    // Spoilt by whoever relayed it: a line under the log's name and key ID that does not verify.
    const spoilt = `${textOf(a)}${textOf(b).slice(textOf(b).indexOf('—'))}`;
    expect(verdict({ a: bytesOf(spoilt) })).toBe('signature');
    const extended = `${formatCheckpointText(at(HONEST, 5))}extension\n`;
    expect(verdict({ a: formatNote({ text: extended, signatures: [signLine(log, extended)] }) })).toBe('signature');
  });

  test('proves nothing about two logs under one key, or in the wrong order', () => {
    const { a, b } = evidence(5, 33);
    expect(verdict({ b: signedNote(at(OTHER, 33, 'another log'), log) })).toBe('origin');
    expect(verdict({ a: b, b: a })).toBe('order');
    expect(verdict({ a: signedNote(at([], 0), log) })).toBe('order');
    expect(verdict({ a: signedNote(at([], 0), log), b: signedNote(at([], 0), log) })).toBe('order');
  });

  test('proves nothing once a bit of root or proof changes', () => {
    const base = evidence(13, 40);
    const flip = (bytes: Uint8Array, bit: number): Uint8Array => {
      const out = Uint8Array.from(bytes);
      out[bit >> 3] = (out[bit >> 3] as number) ^ (1 << (bit & 7));
      return out;
    };
    expect(verdict({}, base)).toBe('proven');
    for (let bit = 0; bit < 256; bit += 5) {
      expect(verdict({ rootOfAOnB: flip(base.rootOfAOnB, bit) }, base)).toBe('proof');
      for (const i of base.proof.keys())
        expect(verdict({ proof: base.proof.map((hash, k) => (k === i ? flip(hash, bit) : hash)) }, base)).toBe('proof');
    }
    expect(verdict({ proof: base.proof.slice(1) }, base)).toBe('proof');
    expect(verdict({ proof: [...base.proof, base.rootOfAOnB] }, base)).toBe('proof');
  });

  test('convicts a witness that cosigned both branches, at whatever times', () => {
    const cosigned = (tree: readonly Uint8Array[], size: number, time: number): Uint8Array => {
      const text = formatCheckpointText(at(tree, size));
      return formatNote({ text, signatures: [cosignLine(witness, text, time)] });
    };
    const both = { vkey: witness.vkey, a: cosigned(HONEST, 5, 2000), b: cosigned(OTHER, 33, 1000) };
    expect(verdict(both)).toBe('proven');
    expect(verdict({ ...both, b: signedNote(at(OTHER, 33), log) })).toBe('signature');
  });

  test('says why not in words', () => {
    expect(Object.keys(FORK_DOUBTS)).toEqual(['signature', 'origin', 'order', 'same', 'proof']);
  });
});

describe('a failed extension', () => {
  test('hands over the other root, which then proves the fork, except at powers of two, where it is asked for', () => {
    for (let m = 1; m <= 20; m++) {
      const [old, next, proof] = [at(HONEST, m), at(OTHER, 40), naiveConsistency(m, OTHER)];
      const found = examineExtension(old, next, proof);
      const rootOfOldOnNew = naiveRoot(OTHER, m);
      if (isPowerOfTwo(m)) {
        expect(found).toEqual({ verdict: 'ask', level: Math.log2(m) });
        expect(examineExtension(old, next, proof, rootOfOldOnNew)).toEqual({ verdict: 'fork', rootOfOldOnNew });
        expect(examineExtension(old, next, proof, naiveRoot(HONEST, m))).toEqual({ verdict: 'garbage' });
        expect(examineExtension(old, next, proof, new Uint8Array(7))).toEqual({ verdict: 'garbage' });
      } else {
        expect(found).toEqual({ verdict: 'fork', rootOfOldOnNew });
      }
      expect(verdict({ rootOfAOnB: rootOfOldOnNew, proof }, evidence(m, 40))).toBe('proven');
    }
  });

  test('of equal size and another root is a fork without more', () => {
    const next = at(OTHER, 8);
    expect(examineExtension(at(HONEST, 8), next, [])).toEqual({ verdict: 'fork', rootOfOldOnNew: next.root });
    expect(examineExtension(at(HONEST, 8), at(HONEST, 8), [])).toEqual({ verdict: 'consistent' });
  });

  test('accuses nobody where the proof leads nowhere', () => {
    const garbage = { verdict: 'garbage' };
    const [old, next] = [at(HONEST, 5), at(HONEST, 33)];
    const proof = naiveConsistency(5, HONEST, 33);
    expect(examineExtension(old, next, proof)).toEqual({ verdict: 'consistent' });
    expect(examineExtension(old, next, proof.slice(1))).toEqual(garbage);
    expect(examineExtension(old, next, [])).toEqual(garbage);
    expect(examineExtension(old, next, proof.toReversed())).toEqual(garbage);
    expect(examineExtension(at(HONEST, 8), next, [])).toEqual(garbage);
    expect(examineExtension(next, old, [])).toEqual(garbage);
    expect(examineExtension(at(HONEST, 5, 'another log'), next, proof)).toEqual(garbage);
    expect(examineExtension(at([], 0), next, [])).toEqual({ verdict: 'consistent' });
    expect(examineExtension(at([], 0), next, proof)).toEqual(garbage);
  });

  test('names the level of the tile hash to ask for, at every power of two', () => {
    const hash = new Uint8Array(32);
    for (let k = 0; k <= 51; k++) {
      const [old, next] = [2 ** k, 2 ** (k + 1)].map((treeSize) => ({ origin: 'o', treeSize, root: hash })) as [
        Checkpoint,
        Checkpoint,
      ];
      expect(examineExtension(old, next, [hash])).toEqual({ verdict: 'ask', level: k });
    }
  });
});

describeWithShared('vectors/tlog/fork-venafi-2017.json', 'a real fork', (file) => {
  test('shows itself in the proof that the log served', () => {
    const fork = JSON.parse(readFileSync(file, 'utf8')) as Record<
      'root1' | 'root2' | 'rootOfSize1OnBranch2',
      string
    > & {
      size1: number;
      size2: number;
      proof: string[];
    };
    const base64 = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64'));
    const [old, next] = [
      { origin: ORIGIN, treeSize: fork.size1, root: base64(fork.root1) },
      { origin: ORIGIN, treeSize: fork.size2, root: base64(fork.root2) },
    ] as const;
    const proof = fork.proof.map(base64);
    const rootOfOldOnNew = base64(fork.rootOfSize1OnBranch2);
    expect(examineExtension(old, next, proof)).toEqual({ verdict: 'fork', rootOfOldOnNew });
    // Its signatures are not public here: the same roots under a key of ours.
    const signed = { a: signedNote(old, log), b: signedNote(next, log), rootOfAOnB: rootOfOldOnNew, proof };
    expect(verdict(signed)).toBe('proven');
  });
});
