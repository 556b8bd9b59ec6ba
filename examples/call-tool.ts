/**
 * A tool that another organisation exposes, called by an agent of this one, and a message to the agent there. Both sides
 * decide by their own policies, log it, and sign a receipt.
 *
 * Start a daemon (`npm start`) that knows the other one, and be granted `mcp:SERVER/*` and `mesh:message` there
 * (docs/calls.md); then give DIDs of the own agent and of the other one, server, tool and arguments:
 * node -C agentmesh-source examples/call-tool.ts did:mesh:… did:mesh:… files read_text_file '{"path":"/srv/q3.txt"}'
 */
import { isMeshError, TrustBridge } from 'agentmesh/sdk';

const [as, peer = '', server = '', tool = '', args = '{}'] = process.argv.slice(2);
await using bridge = new TrustBridge({ as });

try {
  // Asked again with this key, what was done is not done twice.
  const { content, receipt } = await bridge.call(peer, server, tool, JSON.parse(args), { key: 'example-2026-0042' });
  for (const part of content) if (part['type'] === 'text') console.log(part['text']);
  if (receipt !== null) console.log(`${receipt.half ? 'Half receipt' : 'Receipt'} ${receipt.id}: ${receipt.out}`);
} catch (error) {
  if (!isMeshError(error)) throw error;
  console.log(`Not done, or not known: ${error.code}, ${error.message}`); // who says no, and by which rule or link
}

const { state } = await bridge.sendMessage(peer, `${tool} was called`);
console.log(`Message ${state}`);
