/**
 * The trust bridge example of the Python project of which AgentMesh is the successor:
 *
 *   bridge = TrustBridge()
 *   verification = await bridge.verify_peer(peer_id="did:mesh:…", required_trust_score=700)
 *   if verification.verified:
 *       await bridge.send_message(…)
 *
 * Start a daemon (`npm start`), then give it the DID of an agent or organisation elsewhere:
 * node -C agentmesh-source examples/seed-bridge.ts did:mesh:…
 */
import { isMeshError, TrustBridge } from 'agentmesh/sdk';

const [peer = ''] = process.argv.slice(2);
const bridge = new TrustBridge();

// A peer that fails is an error here, not an answer that might be overlooked. Nobody has earned 700 yet: until there is
// evidence every score is the neutral 300, and this says so instead of inventing one.
try {
  const verification = await bridge.verifyPeer(peer, { requiredTrustScore: 700 });
  if (verification.verified) process.stdout.write(`${peer} has ${verification.score}\n`);
} catch (error) {
  if (!isMeshError(error) || error.code !== 'score_below') throw error;
  process.stdout.write(`Refused: ${error.code}, the score is ${error.data.is}, want ${error.data.min}\n`);
}

const verification = await bridge.verifyPeer(peer, { minScore: 300 });
if (verification.verified) {
  process.stdout.write(`Verified: ${verification.did} of ${verification.organisation}\n`);
  process.stdout.write(
    `Score ${verification.score} (${verification.scoreBasis}), checked ${verification.checked.join(', ')}\n`,
  );
}
await verification.close();
