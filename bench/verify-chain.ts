/**
 * verifyChainBytes of chains of 3 links (root by organisation and sponsor, two delegations: 4 signatures), cold: link
 * bytes never seen, the issuers' DID states and heartbeats held. Beside it the bare verification of the same 4
 * signatures by the same verifier, alternating chain by chain, so that both meet the same machine. Then verification
 * again through the cache while nothing new is learnt. Exits 1 above the bars. `node bench/verify-chain.ts`
 */
import { signedBytes } from '../protocol/domains.ts';
import { createChainCache } from '../protocol/delegation/chain-cache.ts';
import { type ChainCheck, verifyChain, verifyChainBytes } from '../protocol/delegation/verify.ts';
import { rawKeyOf } from '../protocol/encoding/multikey.ts';
import { isSignatureValidSodium } from '../protocol/sodium.ts';
import { admitAll, MeshState } from '../protocol/state/mesh-state.ts';
import type { Statement } from '../protocol/statement/statement.ts';
import {
  createAgent,
  createChildLink,
  createHeartbeat,
  createOrganisation,
  createPerson,
  createRootLink,
  NOW_MS,
} from '../test/builders.ts';

const COLD_FACTOR_MAX = 1.5;
const CACHED_US_MAX = 20;
const CHAINS = 4_000;
const WARM_UP = 2_000;
const CACHED_BATCH = 1_000;
const CACHED_BATCHES = 200;

const acme = createOrganisation('acme');
const alice = createPerson(acme, 'alice');
const beta = createOrganisation('beta');
const betaAgent = createAgent(beta, 'beta agent');
const gamma = createOrganisation('gamma');
const gammaAgent = createAgent(gamma, 'gamma agent');

type Link = Statement<'delegation/v1'>;

function createChain(i: number): Link[] {
  const root = createRootLink(acme, alice, { aud: beta.did, nonce: `root ${i}` });
  const first = createChildLink(root, beta, {
    aud: betaAgent.did,
    nonce: `first ${i}`,
    cap: [{ can: 'read:reports/*' }],
  });
  const leaf = createChildLink(first, betaAgent, {
    aud: gammaAgent.did,
    nonce: `leaf ${i}`,
    cap: [{ can: 'read:reports/q3' }],
  });
  return [root, first, leaf];
}

const view = new MeshState();
admitAll(
  view,
  [
    ...[acme, alice, beta, betaAgent, gamma, gammaAgent].map(({ genesis }) => genesis),
    ...[acme, beta, gamma].map((organisation) => createHeartbeat(organisation)),
  ],
  NOW_MS,
);
const check: ChainCheck = {
  view,
  roots: new Set([acme.did]),
  nowMs: NOW_MS,
  isSignatureValid: isSignatureValidSodium,
  request: { capabilities: [{ can: 'read:reports/q3' }] },
};

const chains = Array.from({ length: CHAINS }, (_, i) => createChain(i));
const bare = chains.map((links) =>
  links.flatMap(({ payload, payloadBytes, signatures }) =>
    payload.by.map((key, i) => ({
      key: rawKeyOf(key),
      signature: signatures[i] as Uint8Array,
      message: signedBytes('delegation', payloadBytes),
    })),
  ),
);

const medianUs = (samplesMs: number[]): number => {
  const sorted = samplesMs.sort((a, b) => a - b);
  return (sorted[Math.floor(sorted.length / 2)] as number) * 1000;
};

const coldMs: number[] = [];
const bareMs: number[] = [];
chains.forEach((links, i) => {
  const envelopes = links.map(({ envelope }) => Uint8Array.from(envelope)); // bytes of their own, as from a socket
  const signatures = bare[i] ?? [];
  const t0 = performance.now();
  const report = verifyChainBytes(envelopes, check);
  const t1 = performance.now();
  let valid = 0;
  for (const { signature, message, key } of signatures) if (isSignatureValidSodium(signature, message, key)) valid += 1;
  const t2 = performance.now();
  if (report.ids.length !== 3 || valid !== 4) throw new Error('Cannot measure: a chain did not verify');
  if (i < WARM_UP) return;
  coldMs.push(t1 - t0);
  bareMs.push(t2 - t1);
});

const cache = createChainCache();
const [links = []] = chains;
const expected = verifyChain(links, check);
function cachedBatchMs(): number {
  const start = performance.now();
  for (let i = 0; i < CACHED_BATCH; i++) {
    const report = cache.verify(links, { ...check, nowMs: NOW_MS + i });
    if (report.leaf !== expected.leaf) throw new Error('Cannot measure: the cached chain did not verify');
  }
  return (performance.now() - start) / CACHED_BATCH;
}
const cachedMs = Array.from({ length: CACHED_BATCHES }, cachedBatchMs);

const [cold, base, cached] = [medianUs(coldMs), medianUs(bareMs), medianUs(cachedMs)];
const factor = cold / base;
console.log(
  `chains measured          ${coldMs.length} of 3 links, 4 signatures, ${links.reduce((sum, { envelope }) => sum + envelope.length, 0)} bytes each`,
);
console.log(`bare signatures          ${base.toFixed(1)} us (median of 4 verifications)`);
console.log(`verifyChainBytes, cold   ${cold.toFixed(1)} us (median)`);
console.log(`factor                   ${factor.toFixed(3)}, want <= ${COLD_FACTOR_MAX}`);
console.log(`cached, nothing new      ${cached.toFixed(2)} us, want <= ${CACHED_US_MAX} (median of batches)`);
if (factor > COLD_FACTOR_MAX || cached > CACHED_US_MAX) {
  console.error('above the bar');
  process.exitCode = 1;
}
